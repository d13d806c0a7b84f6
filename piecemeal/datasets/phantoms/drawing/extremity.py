"""Parametric hip and knee for landmarks: bones that meet in joints, in muscle, fat and skin.

Every region has its own frame (z up, y back, x to the left of a left limb), 0 in its main joint,
mm. Landmarks are points, or lines as chains of points, fixed to the bones.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from piecemeal.datasets.phantoms.drawing import figures
from piecemeal.datasets.phantoms.drawing.figures import Bend, Part, Placing, bone, part
from piecemeal.datasets.phantoms.drawing.solids import Common, Half, Outside, Solid, Union

TURNS = 5.0  # degrees, deviation of how a limb lies


@dataclass(frozen=True)
class Limb:
    """A drawn region: parts in painting order; landmarks: name -> points (n, 3); box: low, high."""

    parts: tuple[Part, ...]
    landmarks: Mapping[str, np.ndarray]
    box: tuple[tuple[float, float, float], tuple[float, float, float]]


def placing(rng: np.random.Generator, bend: float, side: int) -> Placing:
    """Draw size, bend (mm) and turn of a left (`side` 1) or right (-1) limb."""
    size = rng.normal(1, 0.05) * rng.normal(1, 0.025, 3)
    turned = figures.turn(*np.clip(rng.normal(0, TURNS, 3), -2 * TURNS, 2 * TURNS))
    return Placing(rng, Bend(rng, bend), size, turned, np.zeros(3), np.zeros(3), side)


def flesh(outside: Solid, fat: float) -> Part:
    """Skin, fat under it, and a mixture of muscle and fat that muscles are laid over."""
    return Part(outside, (("skin", 0.0), ("fat", 2.0), ("mixed", 2.0 + fat)))


def shaft(solid: Solid, wall: float) -> Part:
    """The hollow part of a long bone."""
    return bone(solid, wall, "marrow")


def hip(rng: np.random.Generator) -> Limb:
    """The pelvis with both hips, 0 between the femoral heads; lines run from right to left."""
    place = placing(rng, 1.6, 1)
    spread, fat = rng.normal(88, 4), rng.uniform(6, 28)
    parts = [flesh(_pelvic_outline(place, fat), fat)]
    for half in (place, place.mirrored()):
        parts += _hip_muscles(half, rng.normal(1, 0.08))
    parts += [
        part(place.ball((14, -38, rng.normal(0, 4)), (26, 26, 34)), "fluid"),
        part(place.ball((50, -30, 30), (30, 26, 40)), "mixed"),
        part(place.ball((20, 45, 0), (22, 10, 12)), "air" if rng.random() < 0.5 else "muscle"),
    ]
    parts += _sacrum(place)
    for half in (place, place.mirrored()):
        parts += _innominate(half, spread) + _upper_femur(half, spread)
    pairs = {
        "femur head": (0, 0, spread),
        "iliac": (80, -50, 120),
        "ischiac spine": (2, 57, 49),
    }
    landmarks = {name: place.put([(z, y, -x), (z, y, x)]) for name, (z, y, x) in pairs.items()}
    return Limb(tuple(parts), landmarks, ((-125, -140, -205), (170, 150, 205)))


def _pelvic_outline(place: Placing, fat: float) -> Solid:
    belly = place.ball((90, -10, 0), (120, 96 + fat, 132 + fat))
    seat = place.ball((-10, 20, 0), (110, 88 + fat, 158 + fat))
    thighs = [
        place.tube([(-40, 0, side * 96), (-260, -6, side * 92)], (72 + 0.8 * fat, 66 + 0.6 * fat))
        for side in (1, -1)
    ]
    return Union((belly, seat, *thighs), 40.0)


def _hip_muscles(half: Placing, bulk: float) -> list[Part]:
    return [
        part(half.ball((0, 78, 72), (72, 26 * bulk, 56), (0, -20, 25)), "muscle"),
        part(half.ball((70, 0, 128), (52, 52, 16 * bulk), (0, 20, 15)), "muscle"),
        part(half.ball((84, -2, 92), (48, 44, 13 * bulk), (0, 15, 22)), "muscle"),  # iliacus
        part(
            half.tube(
                [(190, 20, 44), (90, -4, 60), (10, -42, 84), (-50, -10, 100)],
                (24 * bulk, 20, 14, 10),
            ),
            "muscle",
        ),
        part(half.tube([(-10, -46, 96), (-250, -42, 98)], (20, 34 * bulk)), "muscle"),
        part(half.tube([(-40, 0, 66), (-250, 0, 70)], (22, 34 * bulk)), "muscle"),
        part(half.tube([(-46, 44, 70), (-250, 40, 92)], (16, 32 * bulk)), "muscle"),
        part(half.tube([(-20, 10, 130), (-250, 0, 126)], (14, 22 * bulk)), "muscle"),
        part(half.ball((4, 6, 62), (20, 30, 9)), "muscle"),  # obturator
        part(half.tube([(20, -60, 92), (-250, -60, 84)], 5.5), "artery"),
    ]


def _sacrum(place: Placing) -> list[Part]:
    """Sacrum, coccyx and the last two lumbar vertebrae."""
    bodies = [
        *(((92, 46, 0), (15, 18, 26)), ((67, 64, 0), (13, 14, 22)), ((44, 76, 0), (12, 11, 19))),
        *(((23, 82, 0), (11, 9, 15)), ((5, 81, 0), (9, 7, 11))),
    ]
    wings = [place.ball((86, 56, side * 32), (20, 15, 21), (15, 0, 0)) for side in (1, -1)]
    sacrum = Union((*(place.ball(at, size) for at, size in bodies), *wings), 8.0)
    parts = [bone(sacrum, 1.8), part(place.tube([(95, 68, 0), (40, 88, 0)], 5), "fluid")]
    parts.append(bone(place.tube([(-6, 78, 0), (-18, 72, 0), (-30, 62, 0)], (6, 5, 3)), 1.5))
    for z, y in ((124, 32), (160, 24), (196, 22)):
        body = Common(
            (
                place.ball((z, y, 0), (22, 20, 27)),
                place.ball((z, y, 0), (13.5, 60, 60)),
            )
        )
        arch = [(z + 4, y + 16, 20), (z, y + 36, 14), (z - 4, y + 40, 0)]
        parts += [
            bone(body, 1.8),
            part(place.ball((z - 18, y + 4, 0), (5, 17, 23)), "disc"),
            *(bone(half.tube(arch, (6, 7, 5)), 1.6) for half in (place, place.mirrored())),
            *(
                bone(half.tube([(z + 2, y + 20, 22), (z + 4, y + 24, 46)], (5, 3.5)), 1.4)
                for half in (place, place.mirrored())
            ),
            bone(place.tube([(z - 4, y + 40, 0), (z - 10, y + 62, 0)], (5, 6)), 1.4),
        ]
    return parts


def _innominate(half: Placing, spread: float) -> list[Part]:
    """Hip bone: iliac wing with its crest, socket, ischium with its spine, pubis."""
    crest = [(78, -50, 120), (114, -28, 136), (134, 10, 132), (122, 50, 98), (90, 76, 48)]
    root = [(34, -30, 98), (30, -10, 94), (34, 14, 86), (46, 40, 70), (60, 60, 48)]
    hollow = half.ball((0, 0, spread), (25.5, 25.5, 25.5))
    opening = half.rotation @ (np.array([-0.5, -0.25, 0.83]) * [1, 1, half.side])
    edge = half.put([(-7, -4, spread + 6)])[0]
    socket = Common(
        (
            half.ball((2, 2, spread - 3), (35, 34, 33)),
            Outside(hollow),
            Half(
                opening / np.linalg.norm(opening), float(opening @ edge / np.linalg.norm(opening))
            ),
        )
    )
    return [
        bone(half.plate(crest, root, (5, 3.5, 3.0, 4.5, 8)), 1.4),
        bone(half.tube([(40, -34, 102), *crest], (6, 6, 7, 6.5, 7, 8)), 1.8),
        bone(
            half.plate(
                [(40, -20, 94), (44, 20, 82), (58, 50, 58)],
                [(20, -14, 92), (18, 24, 80), (30, 46, 60)],
                (9, 9, 8),
            ),
            1.8,
        ),
        bone(socket, 2.0),
        bone(
            half.plate(
                [(20, 34, 72), (-8, 42, 64), (-46, 42, 62)],
                [(0, 22, 70), (-22, 24, 66), (-52, 26, 56)],
                (7, 8, 11),
            ),
            1.8,
        ),
        bone(half.tube([(8, 42, 64), (3, 56, 51)], (5, 2)), 1.2),
        bone(half.tube([(6, -26, 66), (2, -44, 34), (-8, -52, 14)], (10, 8, 9)), 1.8),
        bone(half.ball((-16, -52, 10), (17, 8, 8)), 1.8),
        bone(half.tube([(-28, -48, 12), (-46, -16, 36), (-54, 20, 54)], (7, 6, 8)), 1.8),
        part(half.ball((-15, -52, 0), (14, 7, 2.5)), "cartilage"),
    ]


def _upper_femur(half: Placing, spread: float) -> list[Part]:
    """Femoral head, neck, trochanters and shaft."""
    x = spread
    neck = Union(
        (
            half.tube([(0, 0, x), (-16, 2, x + 20), (-34, 6, x + 36)], (17, 15.5, 18)),
            half.ball((-14, 20, x + 46), (21, 15, 14)),
            half.ball((-64, 20, x + 22), (12, 9, 9)),
            half.tube([(-30, 6, x + 36), (-78, 4, x + 32)], (20, 17)),
        ),
        8.0,
    )
    stem = half.tube([(-60, 4, x + 33), (-150, -4, x + 24), (-270, -8, x + 12)], (17, 15, 14.5))
    return [
        shaft(stem, 5.0),
        bone(neck, 2.6, "dense spongy"),
        Part(
            half.ball((0, 0, x), (25.5, 25.5, 25.5)),
            (("cartilage", 0.0), ("cortical", 1.6), ("dense spongy", 3.4)),
        ),
    ]


def knee(rng: np.random.Generator, side: int) -> Limb:
    """One knee, 0 in the middle of the joint. Lines: condyles and plateau run from the inner to
    the outer side, femur and tibia along their axes away from the joint."""
    place = placing(rng, 1.2, side)
    fat, bulk = rng.uniform(3, 16), rng.normal(1, 0.08)
    parts = [
        flesh(_knee_outline(place, fat), fat),
        *_knee_muscles(place, bulk),
        *_knee_bones(rng, place),
    ]
    lines = {
        "condyles": [(16, 36, -23), (17, 33, 23)],
        "plateau": [(-7, 4, -34), (-7, 4, 34)],
        "femur": [(30, 0, 0), (92, -3, 3)],
        "tibia": [(-10, 2, 0), (-92, 3, 0)],
    }
    landmarks = {name: place.put(points) for name, points in lines.items()}
    return Limb(tuple(parts), landmarks, ((-120, -95, -92), (120, 95, 92)))


def _knee_outline(place: Placing, fat: float) -> Solid:
    thigh = [(260, 4, 6), (130, 6, 2), (40, 2, 0), (0, 2, 0)]
    calf = [(0, 2, 0), (-50, 8, 0), (-110, 14, 0), (-240, 8, 0)]
    return Union(
        (
            place.tube(thigh, np.array([72, 62, 53, 50]) + fat),
            place.tube(calf, np.array([50, 48, 53, 42]) + fat),
            place.ball((28, -34, 2), (32, 24 + 0.5 * fat, 32)),
        ),
        25.0,
    )


def _knee_muscles(place: Placing, bulk: float) -> list[Part]:
    return [
        part(
            place.tube([(250, -28, 12), (90, -26, 20), (52, -28, 14)], (30 * bulk, 19, 6)), "muscle"
        ),
        part(
            place.tube([(250, -20, -26), (90, -14, -34), (46, -8, -38)], (28 * bulk, 19, 6)),
            "muscle",
        ),
        part(
            place.tube([(250, 38, -20), (90, 40, -30), (10, 40, -38)], (27 * bulk, 15, 6)), "muscle"
        ),
        part(place.tube([(250, 36, 28), (90, 38, 32), (0, 32, 42)], (24 * bulk, 15, 6)), "muscle"),
        *(
            part(
                place.tube(
                    [(30, 42, x), (-20, 46, x), (-90, 44, 0.9 * x), (-230, 34, 0.6 * x)],
                    (7, 14, 24 * bulk, 20),
                ),
                "muscle",
            )
            for x in (-22, 22)
        ),
        part(
            place.tube([(-40, -14, 26), (-110, -12, 26), (-230, -14, 20)], (6, 16 * bulk, 14)),
            "muscle",
        ),
        part(place.tube([(-40, 24, 8), (-230, 24, 4)], (10, 18)), "muscle"),
        part(place.tube([(60, -46, 2), (28, -52, 2), (-44, -34, 0)], (5, 3, 4.5)), "muscle"),
        part(place.tube([(230, 20, -14), (80, 30, 0), (-60, 30, 0)], (5, 4.5, 4)), "artery"),
    ]


def _knee_bones(rng: np.random.Generator, place: Placing) -> list[Part]:
    condyle = rng.normal(1, 0.05)
    femur = Union(
        (
            place.ball((17, 10, -23), (21, 28 * condyle, 16)),
            place.ball((18, 8, 23), (20, 27 * condyle, 16)),
            place.ball((30, -14, 0), (22, 16, 28)),
            place.tube([(36, 0, 0), (78, -2, 2)], (28, 17)),
        ),
        14.0,
    )
    notch = place.ball((4, 24, 0), (18, 22, 8.5))
    tibia = Union(
        (
            Common((place.ball((-16, 4, 0), (26, 27, 39)), place.ball((-20, 4, 0), (16, 60, 60)))),
            place.tube([(-24, 2, 0), (-70, 0, 0)], (25, 14)),
            place.ball((-46, -18, 2), (14, 9, 10)),
        ),
        12.0,
    )
    return [
        shaft(place.tube([(64, -2, 2), (120, -4, 4), (270, -10, 10)], (16, 15, 15)), 4.5),
        bone(Common((femur, Outside(notch))), 1.8),
        shaft(place.tube([(-56, 1, 0), (-130, 4, 0), (-270, 8, 0)], (16, 14, 13.5)), 4.5),
        bone(tibia, 1.8),
        *(part(place.ball((-3.5, 4, x), (1.6, 20, 14)), "cartilage") for x in (-21, 21)),
        bone(place.ball((-26, 24, 36), (13, 9, 9)), 1.6),
        shaft(place.tube([(-34, 25, 36), (-120, 22, 30), (-270, 16, 26)], (7, 6.5, 6.5)), 2.6),
        bone(place.ball((30 + rng.normal(0, 4), -44, 2), (21, 10, 21)), 1.8),
    ]
