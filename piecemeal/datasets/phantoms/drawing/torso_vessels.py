"""Aorta and inferior vena cava with their branches, laid into what other organs have left."""

import numpy as np

from piecemeal.datasets.phantoms.drawing.parts import SIDES, Hand, strands
from piecemeal.datasets.phantoms.drawing.solids import Tube
from piecemeal.datasets.phantoms.drawing.torso_walls import Habitus

SOFT = (
    *("fat", "visceral fat", "mediastinal fat", "muscle", "lung", "liver", "pancreas"),
    *("gastric wall", "gastric content", "bowel wall", "bowel content", "stool", "gas"),
    *("arterial blood", "venous blood", "portal blood", "heart muscle", "heart blood"),
    "renal pelvis",
)
Point = tuple[float, float, float]


def add_great_vessels(hand: Hand, body: Habitus) -> None:
    """Add the aorta and its branches, the great veins of belly and chest."""
    wide = hand.about(1.0, 0.1)
    lean = hand.rng.normal(0, 2.5)
    arch = 322 + 0.5 * body.breath
    root = 250 + 0.7 * body.breath
    fork = 2 + hand.rng.normal(0, 6)

    def beside(z: float, x: float, gap: float) -> Point:
        """Point `gap` mm in front of the vertebral bodies."""
        depth = float(np.interp(z, [0, 140, 280], [17, 16, 15]))
        return z, body.back(z) - depth - gap, x + lean

    course = [
        (root, -22, 2),
        (root + 35, -28, -12),
        (arch - 8, -18, -8),
        (arch + 2, 2, 4),
        (arch - 6, 26, 18),
        (arch - 35, body.back(290) - 20, 26),
        beside(235, 22, 10),
        beside(170, 13, 12),
        beside(110, 10, 12),
        beside(50, 11, 11),
        beside(fork, 8, 10),
    ]
    radii = np.array([15, 15.5, 14, 13, 12.5, 12, 11.5, 11, 10, 9, 8.5]) * wide
    hand.add("aorta", hand.tube(course, radii, stray=0.8), "arterial blood", over=SOFT)

    arteries, veins = [], []
    for _, side in SIDES:
        arteries += _leg_arteries(hand, body, side, beside(fork + 3, 8 + side * 3, 9), wide)
        veins.append(_leg_vein(hand, body, side, wide))
        z = 86 if side > 0 else 78
        path = [beside(z + 6, side * 10, 24 if side > 0 else 10), (z, 18, side * 34)]
        veins.append(hand.tube([*path, (z - 2, 28, side * 56)], [5, 5, 4.5]))
        path = [beside(z + 8, 10, 8), (z + 2, 26, side * 34), (z - 2, 32, side * 56)]
        arteries.append(hand.tube(path, [3.5, 3, 2.5]))
    celiac = [beside(124, 8, 20), beside(122, 4, 34), (118, body.back(118) - 56, -10)]
    arteries.append(hand.tube(celiac, [5, 4, 3.5]))
    mesenteric = [beside(112, 8, 20), beside(96, 6, 33), beside(40, -2, 38), (-20, -18, -22)]
    arteries.append(hand.tube(mesenteric, [4.5, 4.5, 4, 2.5]))
    arteries.append(hand.tube([(arch, 0, 0), (355, 2, -10), (400, 6, -24)], [6.5, 6, 5.5]))
    arteries.append(hand.tube([(arch, 14, 14), (400, 12, 24)], [6.5, 6]))
    hand.add(None, strands(*arteries), "arterial blood", over=SOFT)
    hand.add(None, strands(*veins), "venous blood", over=SOFT)
    _add_caval_veins(hand, body, root, arch, wide)


def _leg_arteries(
    hand: Hand, body: Habitus, side: float, fork: Point, wide: float
) -> tuple[Tube, Tube]:
    """Iliac and femoral artery of one side from the `fork` of the aorta, and the inner branch."""
    path = [
        fork,
        (-38, body.back(-38) - 34, side * 28),
        (-62, 2, side * 50),
        (-105, -42, side * 68),
        (-150, -58, side * 72),
        (-230, -40, side * 76),
    ]
    inner = [(-60, 4, side * 50), (-90, 28, side * 52), (-130, 34, side * 46)]
    radii = np.array([6.5, 6, 5.5, 5.2, 5, 4.5]) * wide
    return hand.tube(path, radii, stray=1.0), hand.tube(inner, [4.5, 4, 2.5])


def _leg_vein(hand: Hand, body: Habitus, side: float, wide: float) -> Tube:
    """Iliac and femoral vein of one side, behind the artery and nearer the middle."""
    path = [
        (-20, body.back(-20) - 24, -12),
        (-45, body.back(-45) - 24, side * 24 - 2),
        (-66, 12, side * 50),
        (-108, -32, side * 62),
        (-150, -54, side * 60),
        (-230, -34, side * 66),
    ]
    return hand.tube(path, np.array([9, 8, 7, 6.5, 6.5, 5.5]) * wide, stray=1.0)


def _add_caval_veins(hand: Hand, body: Habitus, root: float, arch: float, wide: float) -> None:
    """Inferior vena cava up to the right atrium, and the veins that come down to it."""
    back = body.back
    course = [
        (-14, back(-14) - 27, -12),
        (40, back(40) - 29, -17),
        (90, back(90) - 30, -20),
        (130, back(130) - 28, -22),
        (170, back(170) - 32, -26),
        (205 + 0.8 * body.breath, 4, -26),
        (222 + 0.8 * body.breath, -8, -24),
    ]
    radii = np.array([10, 10, 10.5, 11, 12, 12, 12]) * hand.about(wide, 0.1)
    hand.add("inferior vena cava", hand.tube(course, radii, stray=1.0), "venous blood", over=SOFT)
    upper = [(root + 8, -6, -24), (root + 45, -8, -24), (arch + 10, -4, -22), (375, 4, -30)]
    across = [(arch + 18, -10, -18), (arch + 30, -14, 10), (375, -4, 34)]
    tubes = strands(hand.tube(upper, [11, 10, 9, 7]), hand.tube(across, [7, 7, 6]))
    hand.add(None, tubes, "venous blood", over=("mediastinal fat", "lung", "muscle"))
