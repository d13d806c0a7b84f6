"""A parametric foot with its ankle for landmarks; see `extremity`.

Frame in mm: 0 in the ankle joint, z up the leg, toes to the front (-y), x to the outer side.
"""

import numpy as np

from piecemeal.datasets.phantoms.drawing.extremity import Limb, flesh, placing, shaft
from piecemeal.datasets.phantoms.drawing.figures import Part, Placing, bone, part
from piecemeal.datasets.phantoms.drawing.solids import Common, Solid, Union

# Metatarsals, inner to outer: base and head (z, y, x), radii at base, middle and head, mm.
METATARSALS = (
    ((-34, -78, -20), (-60, -138, -27), (9, 6.5, 9)),
    ((-30, -78, -7), (-56, -149, -11), (7, 4.3, 6.2)),
    ((-33, -74, 4), (-57, -145, 3), (6.8, 4.2, 6)),
    ((-39, -68, 14), (-59, -137, 16), (6.8, 4.2, 6)),
    ((-46, -60, 25), (-61, -126, 29), (7.5, 4.5, 6)),
)
TOES = ((26, 21), (24, 20), (22, 18), (20, 16), (18, 14))  # lengths of first and last phalanges
LANDMARKS = {
    "talo-navicular joint": [(-24, -44, -10)],
    "medial malleolus": [(-20, 2, -27)],
    "lateral malleolus": [(-31, 14, 27)],
    "sub-taloid joint": [(-29, 10, -14), (-30, 10, 16)],
    "tibia": [(2, 2, 0), (78, 6, 0)],
}


def foot(rng: np.random.Generator, side: int) -> Limb:
    """One foot. Lines: metatarsals from base to head, the tibia upwards, the sub-taloid joint from
    the inner to the outer side; the rest are points."""
    place = placing(rng, 1.0, side)
    fat = rng.uniform(2, 9)
    parts = [flesh(_outline(place, fat), fat), *_muscles(place), *_leg(place), *_tarsus(rng, place)]
    landmarks = {name: place.put(points) for name, points in LANDMARKS.items()}
    names = ("first metatarsal", "second metatarsal", "third metatarsal")
    for number, (base, head, radii) in enumerate(METATARSALS):
        parts += _ray(place, np.array(base), np.array(head), radii, number)
        if number < len(names):
            landmarks[names[number]] = place.put([base, head])
    return Limb(tuple(parts), landmarks, ((-95, -225, -80), (95, 85, 80)))


def _outline(place: Placing, fat: float) -> Solid:
    return Union(
        (
            place.tube(
                [(240, 10, 2), (90, 8, 2), (20, 8, 2), (-20, 8, 2)],
                np.array([46, 36, 33, 32]) + fat,
            ),
            place.ball((-50, 42, 4), (30 + 0.5 * fat, 34, 29)),
            place.tube([(-40, 10, 4), (-44, -50, 4), (-56, -110, 2)], (33, 31, 24)),
            place.plate(
                [(-60, -80, -24), (-64, -136, -30)], [(-62, -70, 26), (-66, -128, 32)], 19.0
            ),
            *(
                place.tube([head, (head[0] - 8, head[1] - length - 12, head[2])], (12, 9))
                for (_, head, _), (length, _) in zip(METATARSALS, TOES, strict=True)
            ),
            place.tube([(-62, -146, -27), (-66, -190, -25)], (14, 12)),
        ),
        20.0,
    )


def _muscles(place: Placing) -> list[Part]:
    return [
        part(place.tube([(240, 40, 0), (70, 36, 0)], (32, 10)), "muscle"),
        part(place.tube([(80, 38, 0), (0, 37, 1), (-40, 58, 2)], (6, 6, 6)), "muscle"),  # tendon
        part(place.tube([(240, -14, 20), (60, -14, 10)], (18, 9)), "muscle"),
        part(place.tube([(240, 22, 34), (40, 24, 30)], (14, 6)), "muscle"),
        part(
            place.plate([(-60, 20, -8), (-66, -110, -16)], [(-60, 20, 14), (-66, -110, 22)], 7.0),
            "muscle",
        ),
    ]


def _leg(place: Placing) -> list[Part]:
    """Lower ends of tibia and fibula, the two malleoli."""
    tibia = Union(
        (
            Common(
                (
                    place.tube([(-2, 3, -3), (60, 5, 0)], (25, 14)),
                    place.ball((46, 4, 0), (46, 70, 70)),
                )
            ),
            place.ball((-8, 2, -24), (14, 12, 7)),
        ),
        8.0,
    )
    outer = Union(
        (place.ball((-16, 14, 26), (16, 10, 8)), place.tube([(-14, 14, 26), (30, 14, 24)], (8, 6))),
        6.0,
    )
    return [
        shaft(place.tube([(46, 5, 0), (120, 8, 0), (260, 10, 0)], (15, 13, 14)), 4.0),
        bone(tibia, 1.8),
        shaft(place.tube([(24, 14, 24), (120, 18, 26), (260, 18, 28)], (6.5, 6.5, 6.5)), 2.5),
        bone(outer, 1.8),
    ]


def _tarsus(rng: np.random.Generator, place: Placing) -> list[Part]:
    """Talus, heel bone, navicular, cuboid, cuneiforms; narrow clefts of cartilage between."""
    talus = Union(
        (
            place.ball((-14, 2, 0), (12, 22, 17)),
            place.tube([(-17, -14, -4), (-22, -32, -9)], (11, 12)),
        ),
        8.0,
    )
    heel = Union(
        (
            place.tube([(-42, -18, 12), (-44, 14, 5), (-50, 44, 3)], (12, 14, 16)),
            place.ball((-52, 50, 3), (23, 14, 15)),
            place.ball((-36, -2, -10), (6, 12, 9)),
        ),
        8.0,
    )
    spongy = str(rng.choice(["spongy", "dense spongy"]))
    return [
        bone(heel, 1.6, spongy),
        bone(talus, 1.6, spongy),
        part(
            place.plate([(-29, -6, -8), (-29, 22, -10)], [(-30, -6, 16), (-30, 22, 16)], 1.4),
            "cartilage",
        ),
        bone(place.ball((-26, -51, -11), (13, 6.5, 17), (10, 0, 0)), 1.5, spongy),
        bone(place.ball((-44, -46, 19), (12, 17, 12)), 1.5, spongy),
        bone(place.ball((-31, -66, -20), (12, 10, 8)), 1.5, spongy),
        bone(place.ball((-28, -66, -6), (10, 9, 6)), 1.5, spongy),
        bone(place.ball((-32, -63, 6), (10, 10, 6)), 1.5, spongy),
    ]


def _ray(
    place: Placing, base: np.ndarray, head: np.ndarray, radii: tuple, number: int
) -> list[Part]:
    """A metatarsal and its toe."""
    middle = 0.5 * (base + head) + np.array([2, 0, 0])
    long = place.tube([base, middle, head], radii)
    parts = [bone(long, 2.0)]
    start = head + np.array([-4, -1.3 * radii[2], 0])
    for length, thick in zip(TOES[number], (0.85, 0.7), strict=True):
        wide = radii[2] * thick
        end = start + np.array([-3, -length, 0.05 * head[2]])
        parts.append(bone(place.tube([start, end], (wide, 0.75 * wide)), 1.4))
        start = end + np.array([0, -1.6 * wide, 0])
    if number == 0:
        parts += [bone(place.ball(head + np.array([-11, 2, x]), (4, 5, 4)), 1.0) for x in (-6, 6)]
    return parts
