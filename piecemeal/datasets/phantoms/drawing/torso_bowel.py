"""Small bowel, colon and rectum: the space that other organs of the belly leave."""

import numpy as np

from piecemeal.datasets.phantoms.drawing.parts import Hand, Layer, strands
from piecemeal.datasets.phantoms.drawing.solids import Half, Rippled
from piecemeal.datasets.phantoms.drawing.torso_walls import Habitus

BOWEL = ("bowel wall", "bowel content", "stool", "gas")


def add_bowel(hand: Hand, body: Habitus) -> None:
    """Add loops of small bowel, the frame of the colon, and the rectum."""
    rng = hand.rng
    radius = hand.about(12.5, 0.06)
    loops = []
    for depth in range(3):
        y = -56 + 27 * depth - 0.6 * body.belly * (2 - depth) / 2
        rows = np.arange(62 - 8 * depth, -112, -2.15 * radius)
        path = []
        for row, z in enumerate(rows):
            reach = np.interp(z, [-130, -90, -30, 70], [34, 58, 78, 66]) - 6 * depth
            for x in np.linspace(-reach, reach, 6)[:: 1 if row % 2 else -1]:
                path.append((z, y, x))
        points = np.array(path) + 5.0 * np.clip(rng.standard_normal((len(path), 3)), -1.6, 1.6)
        loops.append(hand.tube(points, radius * rng.uniform(0.75, 1.12, len(points)), step=13))
    hand.add(
        "small bowel",
        strands(*loops),
        "bowel wall",
        Layer("bowel content", 2.6),
        Layer("gas", 4.5, hand.waves(70, 4, -1.2)),
        over=("visceral fat",),
    )
    _add_colon(hand, body)


def _add_colon(hand: Hand, body: Habitus) -> None:
    lift = 0.5 * body.breath
    out = 0.4 * body.belly
    sag = hand.rng.uniform(-8, 46)
    # The right flexure hangs under the liver, the left one before the tip of the spleen.
    bend = min(body.liver_edge - 26, 66)
    frame = [
        (-62, -36, -80),
        (-44, -24, -93 - out),
        (-8, 2, -100 - out),
        (0.5 * bend, 10, -100 - out),
        (bend, 2, -90 - out),
        (bend - 2, -36 - out, -70),
        (sag + 6, -64 - out, -30),
        (sag, -66 - out, 12),
        (sag + 24, -58 - out, 62),
        (94 + 0.6 * lift, -32, 94),
        (112 + lift, -4, 105),
        (92 + lift, 28, 112),
        (55, 30, 108 + out),
        (0, 24, 104 + out),
        (-42, 0, 98 + out),
    ]
    radii = [22, 26, 24, 23, 22, 20, 20, 20, 19, 19, 19, 17, 16, 15, 15]
    loop = hand.rng.uniform(-26, 26)
    frame += [(-70, -34, 84), (-76, -46, 50), (-64, -44, loop)]
    frame += [(-70, -4, 0.6 * loop), (-84, 26, 0), (-104, 38, -2)]
    radii += [14, 14, 15, 15, 14, 14]
    frame = np.array(frame) + hand.shift(3)
    wide = np.array(radii) * hand.about(1.0, 0.08) * hand.rng.uniform(0.85, 1.12, len(radii))
    tube = hand.tube(frame, wide, stray=2.5, step=6, folds=(0.1, 27))
    # Gas gathers where the bowel lies in front; stool elsewhere.
    rising = Rippled(Half(np.array([0, 1.0, 0]), -18.0), hand.waves(60, 4), 26.0)
    hand.add(
        "colon",
        tube,
        "bowel wall",
        Layer("stool", 2.4),
        Layer("gas", 3.2, rising),
        over=("visceral fat", *BOWEL),
    )
    end = frame[-1]
    path = [end, (-118, 46, 2), (-140, 52, 0), (-160, 46, 0), (-182, 40, 0), (-196, 52, 0)]
    radii = np.array([13, 15, 18, 18, 12, 9]) * hand.about(1.0, 0.12)
    rectum = hand.tube(path, radii, stray=1.0)
    inside = (Layer("stool", 4.0), Layer("gas", 7.0, hand.waves(40, 3, -0.3)))
    over = ("visceral fat", "muscle", "fat", *BOWEL)
    hand.add("rectum", rectum, "bowel wall", *inside, over=over)
