"""The walls of a torso: skin, fat, the hull of muscle, the cavity with diaphragm and lungs.

Heights are in the frame of `torso`: 0 at the iliac crests, the dome of the diaphragm about 220,
the base of the neck about 420.
"""

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator

from piecemeal.datasets.phantoms.drawing.lofts import Diaphragm, Loft, Padded
from piecemeal.datasets.phantoms.drawing.parts import SIDES, Hand, Layer, sheet
from piecemeal.datasets.phantoms.drawing.solids import (
    Common,
    Ellipsoid,
    Grown,
    Half,
    Seam,
    Solid,
    Tube,
    Union,
)
from piecemeal.datasets.phantoms.drawing.torso_muscles import add_gluteal_muscles

FLOOR = -188.0  # height of the pelvic floor
SHOULDER = (385.0, 18.0, 158.0)  # middle of the left humeral head
# Middle of the vertebral bodies: height and place front to back.
SPINE = np.array(
    [
        *((-58, 34), (-28, 24), (4, 14), (40, 11), (74, 14), (108, 22), (140, 32), (170, 41)),
        *((225, 51), (300, 54), (340, 49), (380, 39), (420, 24), (480, 8)),
    ],
    float,
)
# Heights, centres x and y, half width, depth in front of and behind the centre.
HULL = np.array(
    [
        (-222, 0, 22, 70, 20, 40),
        (-200, 0, 8, 142, 58, 80),
        (-165, 0, 0, 155, 78, 101),
        (-130, 0, 0, 154, 86, 104),
        (-85, 0, 0, 150, 90, 103),
        (-40, 0, 0, 144, 90, 96),
        (0, 0, 0, 139, 90, 90),
        (50, 0, 0, 139, 92, 87),
        (100, 0, 0, 146, 97, 90),
        (150, 0, 0, 150, 102, 95),
        (200, 0, 0, 151, 104, 99),
        (250, 0, 0, 150, 103, 104),
        (300, 0, 2, 146, 99, 105),
        (340, 0, 6, 134, 86, 98),
        (375, 0, 12, 112, 72, 82),
        (400, 0, 14, 86, 62, 68),
        (425, 0, 12, 62, 56, 58),
        (480, 0, 6, 58, 54, 54),
    ],
    float,
)
CAVITY = np.array(
    [
        (FLOOR, 0, 8, 10, 14, 28),
        (-174, 0, 5, 24, 28, 42),
        (-160, 0, 3, 37, 40, 52),
        (-140, 0, 2, 52, 60, 61),
        (-110, 0, 0, 70, 73, 70),
        (-75, 0, 0, 92, 76, 70),
        (-40, 0, 0, 112, 79, 64),
        (0, 0, 0, 121, 79, 63),
        (50, 0, 0, 123, 80, 67),
        (100, 0, 0, 130, 86, 75),
        (150, 0, 0, 136, 92, 78),
        (200, 0, 0, 136, 94, 84),
        (250, 0, 2, 130, 91, 86),
        (300, 0, 8, 117, 80, 80),
        (340, 0, 18, 98, 64, 66),
        (370, 0, 24, 77, 44, 50),
        (395, 0, 27, 52, 26, 32),
        (412, 0, 28, 24, 10, 14),
        (418, 0, 28, 8, 4, 5),
    ],
    float,
)
MEDIASTINUM = np.array(
    [
        (150, 10, 0, 42, 110, 70),
        (215, 10, -10, 40, 100, 70),
        (270, 4, -5, 33, 90, 66),
        (310, 2, 0, 32, 80, 62),
        (345, 0, 10, 30, 60, 50),
        (380, 0, 18, 26, 50, 40),
        (425, 0, 18, 30, 50, 40),
    ],
    float,
)


@dataclass(frozen=True)
class Habitus:
    """Build of one subject.

    fat: thickness under the skin, mm. belly: how far fat inside pushes the belly out, mm.
    breath: how much higher than usual the diaphragm stands, mm. spine: place of the vertebral
    bodies front to back by height. arms: degrees by which they are raised over the
    horizontal. liver_edge: height of the lowest point of the liver, on the right.
    """

    sex: str
    fat: float
    belly: float
    breath: float
    spine: PchipInterpolator
    hull: Solid
    cavity: Loft
    diaphragm: Diaphragm
    arms: float
    liver_edge: float

    def back(self, height: float) -> float:
        """Place (y) of the middle of the vertebral body at a height."""
        return float(self.spine(height))


def sample_habitus(hand: Hand, sex: str) -> Habitus:
    """Draw the build of a subject."""
    rng = hand.rng
    fat = float(np.clip(rng.gamma(3.5, 4.5) + (3 if sex == "female" else 0), 5, 32))
    belly = float(np.clip(rng.normal(-4 if sex == "female" else 3, 6) + 0.35 * (fat - 16), -12, 22))
    breath = float(np.clip(rng.normal(0, 7), -14, 14))
    bulge = np.exp(-(((HULL[:, 0] - 20) / 75) ** 2))
    hull, cavity = HULL.copy(), CAVITY.copy()
    hull[:, 4] += belly * bulge
    hull[:, 3] += 0.5 * belly * bulge
    bulge = np.exp(-(((CAVITY[:, 0] - 20) / 75) ** 2))
    cavity[:, 4] += belly * bulge
    cavity[:, 3] += 0.5 * belly * bulge
    inner = Loft(cavity, 2.3, (1.9, 36.0))
    right = 222 + breath + rng.normal(0, 3)
    left = right - rng.uniform(8, 20)
    return Habitus(
        sex=sex,
        fat=fat,
        belly=belly,
        breath=breath,
        spine=PchipInterpolator(SPINE[:, 0], SPINE[:, 1]),
        hull=hand.rippled(Loft(hull, 2.25, (1.06, 14.0)), 1.3, 130, 3),
        cavity=inner,
        diaphragm=Diaphragm(
            inner,
            (150 + breath / 2, 92 + breath / 2, 108 + breath / 2),
            (right, left, left - rng.uniform(4, 10)),
            (-66.0, 66.0),
        ),
        arms=float(rng.uniform(50, 78)),
        liver_edge=float(65 + 0.7 * breath + rng.uniform(-16, 14)),
    )


def _limbs(hand: Hand, body: Habitus, thick: float) -> tuple[Tube, ...]:
    """Muscle of shoulders, raised arms, neck and thighs, `thick` mm thicker all round."""
    tubes = []
    rise, reach = np.sin(np.radians(body.arms)), np.cos(np.radians(body.arms))
    for _, side in SIDES:
        z, y, x = SHOULDER
        hump = [(z - 12, y + 2, side * 95), (z, y, side * (x + 4))]
        tubes.append(hand.tube(hump, [46 + thick, 42 + thick]))
        arm = [
            (z, y, side * (x + 6)),
            (z + 60 * rise, y - 12, side * (x + 6 + 60 * reach)),
            (z + 130 * rise, y - 22, side * (x + 6 + 130 * reach)),
        ]
        tubes.append(hand.tube(arm, [42 + thick, 40 + thick, 38 + thick]))
        chest = [(z - 55, y - 62, side * 70), (z - 10, y - 24, side * 140)]
        tubes.append(hand.tube(chest, [24 + thick, 28 + thick]))
        wing = [(z - 110, y + 48, side * 112), (z - 15, y + 12, side * 150)]
        tubes.append(hand.tube(wing, [28 + thick, 34 + thick]))
        slope = [(z + 60, y + 12, side * 40), (z + 15, y + 18, side * 125)]
        tubes.append(hand.tube(slope, [26 + thick, 28 + thick]))
        thigh = [(-165, 6, side * 78), (-230, 4, side * 80), (-330, 0, side * 80)]
        tubes.append(hand.tube(thigh, [70 + thick, 71 + thick, 66 + thick], step=30))
    return tuple(tubes)


def add_walls(hand: Hand, body: Habitus) -> Union:
    """Add skin, fat, muscle and the fat inside; return the outline of the whole body."""
    heights = np.array([-330, -190, -100, 0, 100, 200, 300, 350, 400, 480], float)
    share = np.array([0.7, 0.9, 1.1, 1.0, 0.75, 0.55, 0.55, 0.6, 0.5, 0.35])
    around = Padded(body.hull, heights, body.fat * share + 1.5, front=0.35, back=0.5)
    limbs = _limbs(hand, body, 0.5 * body.fat + 1.5)
    breasts = _breasts(hand, body) if body.sex == "female" else ()
    outline = Union((around, *limbs, *breasts), blend=24.0)
    hand.add("", outline, "skin", Layer("fat", 2.0))
    for breast in breasts:
        core = hand.rippled(Grown(breast, -9.0), 6.0, 26)
        hand.add("", core, "gland", over=("fat",))
    muscle = Union((body.hull, *_limbs(hand, body, 0.0)), blend=16.0)
    hand.add("", muscle, "muscle", over=("fat", "skin", "gland"))
    _add_streaks(hand)
    _add_groins(hand)
    add_gluteal_muscles(hand, body.hull)
    hand.add("", body.cavity, "visceral fat")
    return outline


def _breasts(hand: Hand, body: Habitus) -> tuple[Ellipsoid, ...]:
    size = hand.about(38, 0.12) + 0.5 * body.fat
    half = (size * 1.1, size * 0.62, size * 1.15)
    return tuple(
        hand.ellipsoid((276, -84 - 0.6 * body.fat, side * 72), half, (side * 18, 0, 0))
        for _, side in SIDES
    )


def _add_streaks(hand: Hand) -> None:
    """Sheets of fat between the muscles of shoulders, hips and thighs."""
    for low, high, length, half in ((290, 480, 60, 0.15), (-340, -60, 70, 0.12)):
        wide = np.array([200, 400])
        box = np.array([low, *-wide], float), np.array([high, *wide], float)
        broken = hand.waves(55, 3, 0.5, box)
        seams = Common((Seam(hand.waves(length, 5, box=box), half), broken))
        hand.add("", seams, "fat", over=("muscle",))


def _add_groins(hand: Hand) -> None:
    """Fat around the vessels of the groin, beside the anus, and in the cleft of the buttocks."""
    for _, side in SIDES:
        path = [(-108, -44, side * 68), (-150, -60, side * 69), (-235, -42, side * 72)]
        ring = hand.rippled(hand.tube(path, [11, 13, 10], stray=2.0), 3.0, 28)
        hand.add("", ring, "fat", over=("muscle",))
        fossa = hand.ellipsoid((-180, 46, side * 27), (27, 24, 17), (side * 20, side * 14, 0))
        hand.add("", hand.rippled(fossa, 2.0, 40), "fat", over=("muscle",))
    cleft = {
        "a": (-110, 112, 0, 3),
        "b": (-215, 122, 0, 7),
        "c": (-215, 62, 0, 4),
        "d": (-150, 88, 0, 3),
    }
    hand.add("", sheet(cleft, "abd bcd"), "fat", over=("muscle",))


def add_lungs(hand: Hand, body: Habitus) -> None:
    """Add diaphragm, lungs with their lobes, and the fat of the mediastinum between them."""
    chest = Common((body.cavity, body.diaphragm))
    hand.add("", chest, "muscle", Layer("lung", 3.0))
    box = chest.box
    halves = {name: Half(np.array([0, 0, -side]), 0.0, box) for name, side in SIDES}
    for name, half in halves.items():
        hand.add(f"{name} lower lung lobe", half, over=("lung",))
    tilt = np.radians(hand.about(47, 0.08))
    up = np.array([-np.cos(tilt), np.sin(tilt), 0])
    for name, half in halves.items():
        level = hand.about(262, 0.03) + 0.5 * body.breath
        fissure = hand.rippled(Half(up, float(up @ (level, 6, 0))), 4.0, 120)
        upper = Common((half, fissure))
        hand.add(f"{name} upper lung lobe", upper, over=("lung",))
        if name == "right":
            level = hand.about(274, 0.03) + 0.5 * body.breath
            below = hand.rippled(Half(np.array([0.99, 0.12, 0]), level), 3.0, 100)
            hand.add("right middle lung lobe", Common((upper, below)), over=("lung",))
    table = MEDIASTINUM.copy()
    table[:, 1] += hand.rng.normal(0, 3)
    table[:, 3] *= hand.about(1.0, 0.07)
    middle = hand.rippled(Loft(table, 2.0), 3.0, 60)
    hand.add("", middle, "mediastinal fat", over=("lung",))
