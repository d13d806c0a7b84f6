"""Spleen, stomach, liver, duodenum, pancreas, and the veins between them."""

import numpy as np

from piecemeal.datasets.phantoms.drawing.parts import Hand, Layer, sheet, strands
from piecemeal.datasets.phantoms.drawing.solids import Common, Half, Outside, Solid, Tube, Union
from piecemeal.datasets.phantoms.drawing.torso_bowel import BOWEL
from piecemeal.datasets.phantoms.drawing.torso_walls import Habitus

STOMACH = ("gastric wall", "gastric content")
FREE = ("visceral fat", *BOWEL)


def add_stomach_and_spleen(hand: Hand, body: Habitus) -> None:
    """Add spleen and stomach under the left dome of the diaphragm."""
    lift = body.breath
    size = hand.about(1.0, 0.09)
    centre = np.array([156 + 0.8 * lift, 34, 98]) + hand.shift(3)
    outer = hand.ellipsoid(centre, (67 * size, 53 * size, 39 * size), (38, -10, 20))
    # A crescent: the stomach's side is hollow.
    hollow = hand.ellipsoid(centre + np.array([0, -26, -50]), (90, 46, 44), (30, 0, 0))
    spleen = hand.rippled(Common((outer, Outside(hollow))), 1.6, 40)
    hand.add("spleen", spleen, "spleen", over=FREE)

    full = hand.about(1.09, 0.12)
    dome = body.diaphragm.domes[1]
    path = [
        (dome - 34, 20, 66),
        (dome - 48, 6, 62),
        (142 + 0.6 * lift, -26, 60),
        (112 + 0.4 * lift, -46, 54),
        (90 + 0.2 * lift, -52, 30),
        (88 + 0.2 * lift, -50, 4),
        (96 + 0.2 * lift, -42, -18),
        (100, -32, -32),
    ]
    radii = np.array([26, 32, 29, 24, 19, 17, 12, 8]) * full
    stomach = hand.rippled(hand.tube(path, radii, stray=3.0, step=7), 1.5, 35)
    # Gas floats on the meal: the patient lies on the back.
    level = Half(np.array([0, 1.0, 0]), float(hand.rng.uniform(-58, -12)))
    inside = (Layer("gastric content", 4.0), Layer("gas", 4.2, level))
    hand.add("stomach", stomach, "gastric wall", *inside, over=(*FREE, "spleen"))


def add_liver(hand: Hand, body: Habitus) -> Solid:
    """Add liver with its clefts and vessels, and the gallbladder; return the liver's solid.

    The diaphragm, the wall and the neighbours cut the liver to its final shape.
    """
    lift = body.breath
    size = hand.about(1.0, 0.06)
    right = hand.ellipsoid(
        (136 + 0.9 * lift, 2, -70), (98 * size, 82, 68 * size), (0, 6, 0), tilt=3
    )
    reach = 70 * hand.rng.uniform(0.85, 1.2)
    left = hand.ellipsoid((172 + lift, -42, 2), (36 * size, 40, reach), (-8, 12, 0), tilt=3)
    # The underside rises from the lower right to the upper left and from the front to the back.
    slope = np.radians(hand.rng.uniform(27, 39))
    under = np.array([-np.cos(slope), -0.1, np.sin(slope)])
    under /= np.linalg.norm(under)
    foot = np.array([body.liver_edge + 42 * np.tan(slope), -20, -62])
    underside = Half(under, float(under @ foot))
    shape = Common((Union((right, left), blend=22.0), hand.rippled(underside, 5.0, 80)))
    liver = hand.rippled(shape, 1.5, 50)
    hand.add("liver", liver, "liver", over=(*FREE, *STOMACH, "spleen"))
    cleft = {
        "a": (150 + lift, -84, -12, 2.5),
        "b": (100 + lift, -76, -16, 5),
        "c": (148 + lift, -26, -14, 2.5),
        "d": (110 + lift, -14, -30, 7),
    }
    hand.add("", sheet(cleft, "abc bcd"), "visceral fat", over=("liver",))
    _add_liver_vessels(hand, lift)
    _add_gallbladder(hand, underside)
    return liver


def _add_liver_vessels(hand: Hand, lift: float) -> None:
    """Hepatic veins down from the vena cava, portal branches up from the gate of the liver."""
    end = np.array([198 + 0.9 * lift, 8, -26])
    gate = np.array([134 + 0.8 * lift, 0, -44])
    veins = ((152, 6, -92), (156, -44, -52), (166, -38, 18))
    branches = ((118, 22, -92), (132, -26, -96), (168, 30, -84), (158, -44, -76), (158, -44, 2))
    for start, ends, wide, tissue in (
        (end, veins, (6, 4.5, 2.2), "venous blood"),
        (gate, branches, (5.5, 4, 2), "portal blood"),
    ):
        twigs = []
        for place in ends:
            tip = np.add(place, (lift, 0, 0))
            bend = np.add(0.5 * (start + tip), (5, 0, 0))
            twigs.append(hand.tube([start, bend, tip], wide, stray=2.5))
        hand.add(None, strands(*twigs), tissue, over=("liver",))


def _add_gallbladder(hand: Hand, underside: Half) -> None:
    """Gallbladder, half sunk in the underside of the liver, its end to the front and down."""
    length, girth = hand.about(33, 0.12), hand.about(13.5, 0.14)
    y, x = np.array([-42, -50]) + hand.shift(3)[1:]
    height = (underside.offset - underside.normal[1:] @ (y, x)) / underside.normal[0]
    bag = hand.ellipsoid((height - 7, y, x), (length, girth, girth), (0, 18, 32))
    over = (*FREE, *STOMACH, "liver")
    hand.add("gallbladder", bag, "bowel wall", Layer("bile", 1.5), over=over)


def add_pancreas(hand: Hand, body: Habitus) -> None:
    """Add duodenum, pancreas, and the veins behind it that join to the portal vein."""
    lift = 0.5 * body.breath
    moved = hand.shift(2)
    front = body.back(45) - 50
    curve = [
        (100 + lift, -32, -32),
        (102 + lift, -22, -46),
        (84 + lift, -4, -54),
        (56, 2, -54),
        (38, -8, -44),
        (34, front, -18),
        (38, front, 8),
        (52, front + 6, 28),
        (68, front + 2, 34),
    ]
    radii = np.array([10, 14, 13, 13, 12.5, 11, 10.5, 11, 10]) * hand.about(1.0, 0.07)
    bend = hand.tube(np.array(curve) + moved, radii, stray=1.5, step=6, folds=(0.06, 17))
    lumen = (Layer("bowel content", 3.0), Layer("gas", 5.0, hand.waves(60, 3, -1.0)))
    over = (*FREE, *STOMACH, "liver")
    hand.add("duodenum", bend, "bowel wall", *lumen, over=over)

    ridge = body.back(100) - 50
    course = [
        (54, -6, -30),
        (72 + lift, -12, -34),
        (86 + lift, -18, -26),
        (98 + lift, ridge - 6, -6),
        (108 + lift, ridge, 18),
        (114 + lift, -8, 42),
        (122 + lift, 12, 62),
        (132 + lift, 26, 78),
    ]
    radii = np.array([12, 17, 16, 10.5, 12.5, 13.5, 13, 10]) * hand.about(1.0, 0.06)
    gland = hand.tube(np.array(course) + moved, radii, stray=2.0, step=6)
    lobed = hand.rippled(gland, 1.3, 16, 5)
    hand.add("pancreas", lobed, "pancreas", over=(*FREE, *STOMACH, "liver", "spleen"))
    veins = strands(*_portal_veins(hand, lift, body.back(100) - 38, moved))
    over = (*over, "pancreas", "spleen", "portal blood", "venous blood")
    hand.add("portal and splenic vein", veins, "portal blood", over=over)


def _portal_veins(hand: Hand, lift: float, behind: float, moved: np.ndarray) -> list[Tube]:
    """Splenic vein along the back of the pancreas (y `behind`), portal vein, its left branch."""
    splenic = [
        (102 + lift, behind - 2, -10),
        (109 + lift, behind + 3, 16),
        (116 + lift, 3, 42),
        (127 + lift, 18, 62),
        (141 + lift, 28, 82),
    ]
    portal = [
        (58, -26, -10),
        (84 + lift, -24, -12),
        (102 + lift, behind - 2, -12),
        (122 + 1.2 * lift, -8, -30),
        (134 + 1.6 * lift, -2, -44),
        (138 + 1.6 * lift, 2, -62),
    ]
    left = [(134 + 1.6 * lift, -2, -42), (142 + 1.8 * lift, -20, -26), (148 + 2 * lift, -34, -12)]
    wide = hand.about(1.0, 0.1)
    return [
        hand.tube(np.array(path) + moved, np.array(radii) * wide, stray=1.0)
        for path, radii in (
            (splenic, (5.5, 5.2, 5, 4.8, 4)),
            (portal, (5, 6, 7, 7.5, 7, 5.5)),
            (left, (6, 5, 4.5)),
        )
    ]
