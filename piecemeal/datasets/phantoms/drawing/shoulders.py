"""Shoulders and upper chest of a parametric body, as far as a neck scan shows them.

Positions are those of `neck`: height, depth from the spinal canal, x to the left. Nothing here
is labelled.
"""

import numpy as np

from piecemeal.datasets.phantoms.drawing.figures import Part, bone, part
from piecemeal.datasets.phantoms.drawing.lofts import Loft, Padded
from piecemeal.datasets.phantoms.drawing.neck import FLOOR, Neck, slope
from piecemeal.datasets.phantoms.drawing.solids import Solid

# Height, depth of the middle, half width, half depth in front and behind: muscle hulls.
CHEST = [(FLOOR, -50, 158, 112, 96), (-250, -46, 150, 98, 92), (-210, -36, 138, 78, 86)]
CHEST += [(-185, -26, 110, 62, 76), (-165, -20, 84, 54, 66), (-145, -14, 66, 46, 60)]
GIRDLE = [(FLOOR, -30, 212, 72, 76), (-250, -26, 212, 66, 76), (-210, -16, 210, 54, 68)]
GIRDLE += [(-176, -6, 204, 44, 52), (-160, 0, 192, 34, 42), (-146, 8, 166, 22, 30)]
GIRDLE += [(-136, 12, 118, 14, 22), (-128, 16, 74, 6, 16)]
LUNG = [(FLOOR, 72, -54, 50, 88, 62), (-250, 66, -46, 48, 74, 56), (-205, 54, -32, 40, 48, 44)]
LUNG += [(-175, 44, -20, 28, 28, 28), (-156, 38, -14, 12, 12, 12)]


def hulls(rng: np.random.Generator, neck: Neck, drop: float) -> tuple[Loft, Loft]:
    """Muscle hulls of chest and shoulder girdle; `drop` (mm) lowers the shoulders."""
    wide = rng.normal(1, 0.05)
    girdle = [(z - drop, 0, d, wide * a, f, b) for z, d, a, f, b in GIRDLE]
    girdle[0] = (FLOOR - 40, *girdle[0][1:])
    chest = [(z, 0, d, a, f, b) for z, d, a, f, b in CHEST]
    return neck.stack(chest, 2.3), neck.stack(girdle, 2.6)


def skin(hulls: tuple[Loft, Loft], fat: float) -> list[Solid]:
    """The hulls with `fat` mm over them, thinner towards the neck."""
    z, thick = np.array([-400.0, -200, -150, -110]), np.array([1.0, 1, 0.7, 0.3]) * fat
    return [Padded(hull, z, thick) for hull in hulls]


def chest(rng: np.random.Generator, neck: Neck, drop: float) -> list[Part]:
    """Muscles of the girdle, bones, ribs, lungs, great vessels; laid over the hulls."""
    parts = []
    for half in (neck, neck.mirrored()):
        parts += _muscles(rng, half, drop)
    inner = neck.stack([(z, 0, d + 2, a - 34, f - 22, b - 30) for z, d, a, f, b in CHEST[:-2]], 2.3)
    parts.append(part(inner, "fat"))
    for half in (neck, neck.mirrored()):
        parts += _ribs(half)
        parts += _girdle(rng, half, drop)
    plate = neck.plate(
        [(-184, -80, -20), (-230, -112, -14), (-300, -132, -14)],
        [(-184, -80, 20), (-230, -112, 14), (-300, -132, 14)],
        5.0,
    )
    parts.append(bone(plate, 1.5))
    for half in (neck, neck.mirrored()):
        parts.append(part(half.stack(sorted(LUNG)), "lung"))
    return parts + _vessels(rng, neck)


def _muscles(rng: np.random.Generator, half: Neck, drop: float) -> list[Part]:
    """Trapezius, deltoid, pectorals, what covers the shoulder blade; fat in between."""
    z, bulk = -184 - drop, rng.normal(1, 0.12)
    chest = (
        [(-188, -82, 24), (-194, -72, 80), (-200 - drop, -44, 136), (z - 30, -32, 164)],
        [(-300, -136, 20), (-290, -122, 72), (-262 - drop, -84, 122), (z - 52, -30, 168)],
    )
    behind = (
        [(z + 12, 32, 138), (z + 20, 50, 112), (z + 8, 60, 86)],
        [(z - 22, 36, 138), (z - 60, 56, 118), (z - 102, 62, 102)],
    )
    before = (
        [(z + 4, 6, 138), (z + 10, 20, 112), (z + 2, 34, 90)],
        [(z - 22, 10, 132), (z - 58, 26, 112), (z - 96, 32, 98)],
    )
    return [
        part(half.ball((-158 - drop, -26, 78), (14, 14, 34)), "fat"),
        part(half.ball((z - 20, -14, 140), (34, 24, 12)), "fat"),
        part(half.tube(slope(drop), tuple(bulk * r for r in (9, 9, 13, 15, 12))), "muscle"),
        part(half.ball((z - 2, -14, 172), (35, 37 * bulk, 36 * bulk)), "muscle"),
        part(half.plate(*chest, 8 * bulk), "muscle"),
        part(half.plate(*behind, 9 * bulk), "muscle"),
        part(half.plate(*before, 8 * bulk), "muscle"),
        part(half.tube([(z + 24, 30, 100), (z + 16, 8, 148)], 10 * bulk), "muscle"),
        part(half.tube([(z - 40, -14, 178), (FLOOR - 20, -18, 188)], 30 * bulk), "muscle"),
    ]


def _girdle(rng: np.random.Generator, half: Neck, drop: float) -> list[Part]:
    """Collar bone, shoulder blade, upper arm."""
    z, joint = -184 - drop, (-184 - drop, -12, 168)
    clavicle = [
        (-186 - 0.3 * drop, -78, 22),
        (-178 - 0.6 * drop, -66, 60),
        (-168 - drop, -34, 108),
        (-162 - drop, -8, 150),
    ]
    blade = (
        [(z + 6, 16, 140), (z + 16, 34, 112), (z + 6, 46, 84)],
        [(z - 20, 22, 134), (z - 60, 40, 116), (z - 100, 46, 100)],
    )
    return [
        bone(half.tube(clavicle, (8, 5.5, 5.5, 6.5)), 2.0, "marrow"),
        bone(half.plate(*blade, 2.6), 1.2),
        bone(
            half.tube(
                [(z + 8, 48, 84), (z + 16, 44, 118), (z + 26, 20, 152), (z + 27, 0, 160)],
                (3, 5, 6, 5),
            ),
            1.6,
        ),
        bone(half.ball((z, 6, 138), (17, 11, 8)), 1.6),
        bone(half.tube([(z + 14, -10, 136), (z + 10, -30, 140)], (5, 4)), 1.6),  # coracoid
        bone(half.ball(joint, (24, 23, 23)), 2.2),
        bone(
            half.tube(
                [(z - 8, -14, 172), (z - 30, -14, 176), (FLOOR - 30, -20, 186)], (19, 12, 11)
            ),
            4.0,
            "marrow",
        ),
    ]


def _ribs(half: Neck) -> list[Part]:
    """Six ribs, each a bow that falls from the spine to the front."""
    parts = []
    for k in range(6):
        z = -152 - 22.0 * k
        wide, front = 52 + 17.0 * k - 1.2 * k * k, -58 - 15.0 * k
        bow = [
            (z, 2, 18),
            (z - 2, 14, 0.55 * wide + 10),
            (z - 8, 6, wide),
            (z - 20 - 2 * k, -28, wide + 12),
            (z - 32 - 3 * k, front + 14, 0.85 * wide),
            (z - 40 - 4 * k, front - 12, 0.45 * wide + 8),
        ]
        parts.append(bone(half.tube(bow, (4, 5, 5, 5, 5, 4.5)), 1.4, "dense spongy"))
    return parts


def _vessels(rng: np.random.Generator, neck: Neck) -> list[Part]:
    """Arch of the aorta and what leaves it, veins that come together in front."""
    arch = [
        (FLOOR, -64, -14),
        (-262, -78, -14),
        (-236, -72, -2),
        (-228, -48, 12),
        (-246, -26, 18),
        (FLOOR, -22, 18),
    ]
    parts = [part(neck.tube(arch, 13), "artery")]
    for path in (
        [(-232, -68, -4), (-196, -64, -16), (-178, -56, -22), (-160, -46, -60), (-172, -36, -120)],
        [(-230, -56, 8), (-175, -50, 17)],
        [(-230, -48, 14), (-180, -38, 24), (-160, -42, 60), (-172, -36, 120)],
    ):
        parts.append(part(neck.tube(path, 5.0), "artery"))
    for path in (
        [(FLOOR, -72, -30), (-236, -78, -28), (-200, -76, -26), (-172, -60, -30)],
        [(-214, -86, -20), (-198, -82, 10), (-176, -62, 28)],
        [(-174, -62, -28), (-170, -62, -62), (-180, -44, -124)],
        [(-176, -62, 28), (-170, -62, 62), (-180, -44, 124)],
    ):
        parts.append(part(neck.tube(path, 6.5), "vein"))
    return parts
