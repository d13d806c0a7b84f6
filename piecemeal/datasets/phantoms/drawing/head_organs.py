"""Soft parts of a parametric head: brain, eyes, muscles of the jaw, glands, mouth, skin.

Frame as in `skull`. Organs touch: glands fill what bone and muscle leave, which are drawn later.
"""

import numpy as np

from piecemeal.datasets.phantoms.drawing.figures import Part, Placing, part
from piecemeal.datasets.phantoms.drawing.skull import grown, uneven
from piecemeal.datasets.phantoms.drawing.solids import Common, Half, Outside, Rippled, Solid, Union

EYE, EYE_RADIUS = (12, -73, 32), 12.2
BRAINSTEM_END = (-22, 15, 0)
# Along the axis of the brainstem, top to bottom, and its radii.
BRAINSTEM = (
    [(26, 0, 0), (20, 2, 0), (6, 5, 0), (-10, 10, 0), BRAINSTEM_END],
    (11, 13, 11.5, 9.5, 7),
)


def skin(place: Placing, inside: Solid, nose: float) -> Solid:
    """The outside of the head, without neck; `inside` is the brain's cavity."""
    scalp = Outside(Outside(inside), -12.0, grown(inside, 14.0))
    face = (
        place.ball((-22, -38, 0), (60, 61, 69)),
        place.ball((-34, -8, 0), (46, 42, 78)),
        place.ball((-56, -34, 0), (48, 62, 61)),
        place.ball((-34, -72, 0), (52, 30, 36)),
        place.ball((-80, -74, 0), (19, 21, 26)),
        place.ball((-4, -102, 0), (15 * nose, 17 * nose, 14), (-25, 0, 0)),
    )
    return Union((scalp, *face), 22.0)


def ears(place: Placing) -> list[Part]:
    """Both outer ears."""
    found = []
    for half in (place, place.mirrored()):
        shell = Union(
            (
                half.ball((0, 9, 77), (29, 16, 4.5), (10, 25, 8)),
                half.ball((-16, 4, 73), (12, 9, 5)),
            ),
            6.0,
        )
        found.append(Part(shell, (("skin", 0.0),)))
    return found


def brain(rng: np.random.Generator, place: Placing, inside: Solid) -> list[Part]:
    """Fluid-filled cavity, hemispheres with sulci, ventricles, cerebellum."""
    shrunk = rng.uniform(0.5, 3.5)
    folds = Rippled(inside, uneven(rng, 26.0), 1.1)
    ventricle = rng.uniform(3.0, 7.5)
    parts = [
        part(inside, "fluid"),
        Part(folds, (("brain", 1.0 + shrunk), ("white matter", 5.0 + shrunk))),
    ]
    for half in (place, place.mirrored()):
        horn = half.tube(
            [(54, -30, 11), (66, -8, 10), (66, 14, 14), (54, 36, 24)],
            ventricle * np.array([0.8, 1, 0.9, 1.1]),
        )
        parts += [
            part(horn, "fluid"),
            part(half.tube([(28, -8, 68), (32, -20, 50), (34, -8, 40)], (4, 2.5, 1)), "fluid"),
        ]
    return [
        *parts,
        part(place.ball((46, -2, 0), (13, 14, 0.35 * ventricle)), "fluid"),
        part(place.ball((26, 8, 0), (7, 16, 18)), "fluid"),  # cisterns around the midbrain
        part(place.ball((8, 16, 0), (22, 6, 14)), "fluid"),
        part(
            place.plate(
                [(108, -60, 0), (112, 30, 0), (80, 80, 0)],
                [(62, -66, 0), (74, 10, 0), (30, 84, 0)],
                0.8,
            ),
            "nerve",
        ),  # the falx
    ]


def brainstem(rng: np.random.Generator, place: Placing) -> list[Part]:
    """Midbrain, pons and medulla in one, as readers outline it."""
    path, radii = BRAINSTEM
    size = rng.normal(1, 0.07)
    stem = Union(
        (
            place.tube(path, np.array(radii) * size),
            place.ball((12, 2, 0), (14, 12 * size, 17 * size)),
        ),
        4.0,
    )
    pituitary = place.ball((21, -25, 0), (4.5, 5, 7))
    return [part(pituitary, "gland", "pituitary"), part(stem, "brain", "brainstem")]


def eyes(rng: np.random.Generator, place: Placing) -> list[Part]:
    """Orbits with fat, muscles, optic nerves, eyeballs cut into front and back segment."""
    parts = []
    size = EYE_RADIUS * rng.normal(1, 0.035)
    apart = rng.normal(0, 1.2)
    for half, side in ((place, "left"), (place.mirrored(), "right")):
        z, y, x = np.array(EYE) + rng.normal((0, 0, apart), 0.6)
        parts.append(part(half.ball((11, -60, 30), (18, 25, 17), (0, -22, 0)), "fat"))
        for dz, dx in ((0, 11), (0, -10), (10, 0), (-10, 0)):
            way = [
                (z + 0.8 * dz, y + 3, x + 0.8 * dx),
                (z + 0.9 * dz, y + 14, x + 0.9 * dx - 5),
                (12, -33, 16),
            ]
            parts.append(part(half.tube(way, (1.2, 2.4, 1.5)), "muscle"))
        lid = half.ball((z - 1, y - 6, x), (15, 9, 16))
        globe = half.ball((z, y, x), (size, size, size))
        parts += [
            part(
                half.tube([(z, y + 10, x - 1), (z + 1, y + 24, x - 8), (13, -34, 15)], 2.6),
                "nerve",
                f"{side} optic nerve",
            ),
            part(half.tube([(13, -34, 15), (20, -24, 6)], 2.2), "nerve", f"{side} optic nerve"),
            part(half.tube([(20, -24, 6), (23, -19, 0)], 2.5), "nerve", "optic chiasm"),
            part(
                half.ball((z + 9, y + 2, x + 9), (5, 8, 3.5), (0, 30, 0)),
                "gland",
                f"{side} lacrimal gland",
            ),
            part(lid, "skin"),
            Part(globe, (("nerve", 0.0), ("vitreous", 1.2)), f"{side} eye back"),
        ]
        front = Half(place.rotation @ np.array([0.0, 1.0, 0.0]), 0.0)
        edge = half.put([(z, y - 0.52 * size, x)])[0]
        front = Half(front.normal, float(front.normal @ edge))
        parts += [
            part(Common((globe, front)), "", f"{side} eye front"),
            part(half.ball((z, y - 0.62 * size, x), (4.6, 2.2, 4.6)), "lens"),
        ]
    return parts


def jaw_muscles(rng: np.random.Generator, place: Placing) -> list[Part]:
    """Chewing muscles, tongue, floor of the mouth, lips, wall of the throat."""
    bulk = rng.normal(1, 0.1)
    parts = []
    for half in (place, place.mirrored()):
        parts += [
            part(half.ball((22, -32, 65), (34, 30, 6.5 * bulk), (0, 0, -8)), "muscle"),
            part(half.tube([(20, -34, 64), (-10, -32, 54)], (9 * bulk, 7)), "muscle"),
            part(half.ball((-40, -28, 56), (29, 16, 8.5 * bulk), (-10, 10, -6)), "muscle"),
            part(half.ball((-45, -22, 38), (24, 12, 6.5 * bulk), (-15, -10, 12)), "muscle"),
            part(half.ball((-15, -24, 36), (8, 17, 13)), "muscle"),
            part(
                half.ball((-47, -60, 42), (15, 22, 3.5), (0, -25, 0)),
                "muscle",
                "buccal mucosa",
            ),
            part(half.tube([(-18, 10, 14), (-55, 8, 13)], (8, 7)), "muscle"),  # long muscles
            part(half.tube([(-24, -18, 20), (-50, -10, 22), (-80, -4, 22)], (5, 5, 5)), "mucosa"),
        ]
    return [
        *parts,
        part(place.ball((-66, -48, 0), (18, 40, 33)), "muscle"),
        part(place.ball((-80, -48, 0), (7, 36, 26)), "muscle"),
        part(place.tube([(-42, -98, 14), (-42, -101, 0), (-42, -98, -14)], 5), "muscle", "lips"),
        part(place.tube([(-53, -94, 14), (-53, -97, 0), (-53, -94, -14)], 5.5), "muscle", "lips"),
    ]


def mouth(rng: np.random.Generator, place: Placing) -> list[Part]:
    """Oral cavity as readers outline it, tongue with its fat septum, the air over it."""
    size = rng.normal(1, 0.06)
    parts = [
        part(place.ball((-56, -56, 0), (20 * size, 31 * size, 25)), "muscle", "oral cavity"),
        part(
            place.plate([(-46, -62, 0), (-50, -34, 0)], [(-80, -66, 0), (-80, -40, 0)], 0.7), "fat"
        ),
    ]
    if rng.random() < 0.7:
        parts.append(part(place.ball((-41, -58, rng.normal(0, 3)), (2.5, 18, 12)), "air"))
    return parts


def glands(rng: np.random.Generator, place: Placing, face: Solid) -> list[Part]:
    """Parotids behind and over the jaw's ramus, submandibular glands under its body.

    face: the skin, which they stay some millimetres away from.
    """
    parts = []
    both = rng.normal(0, 0.09)
    for half, side in ((place, "left"), (place.mirrored(), "right")):
        size = np.exp(both + rng.normal(0, 0.05))
        parotid = Rippled(
            Union(
                (
                    half.ball((-36, -8, 59), (25 * size, 16 * size, 8.5 * size), (-8, 12, -4)),
                    half.ball((-56, 2, 55), (13 * size, 10, 7.5 * size), (-10, 0, 0)),
                    half.ball((-34, 3, 48), (16 * size, 8, 10 * size)),
                    half.tube([(-26, -14, 64), (-28, -38, 66)], (6 * size, 3)),
                ),
                8.0,
            ),
            uneven(rng, 30.0),
            0.8,
        )
        parotid = Common((parotid, Outside(Outside(face), 2.5)))
        parts += [
            part(parotid, "parotid", f"{side} parotid"),
            part(half.tube([(-14, 0, 50), (-60, 4, 50)], (3, 3.5)), "vein"),
            part(
                half.ball((-78, -26, 33), (15 * size, 18 * size, 9 * size), (-20, -25, 10)),
                "gland",
                f"{side} submandibular gland",
            ),
        ]
    return parts
