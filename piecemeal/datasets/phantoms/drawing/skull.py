"""Bones, teeth and air spaces of a parametric head.

Frame in mm (z up, y back, x left), 0 midway between the openings of the ears, the lower rim of the
orbits level with them. Paired parts are given for the left side and mirrored.
"""

import numpy as np

from piecemeal.datasets.phantoms.drawing.figures import Part, Placing, bone, part
from piecemeal.datasets.phantoms.drawing.solids import Common, Half, Outside, Solid, Union, Waves
from piecemeal.datasets.phantoms.drawing.spaces import Box

CONDYLE = (-3, -14, 51)


def cavity(place: Placing) -> Solid:
    """The space for the brain: hemispheres on their floor, temporal lobes, posterior fossa."""
    floor = place.put([(16, 0, 0)])[0]
    upward = place.rotation @ np.array([0.98, 0.2, 0.0])
    upward /= np.linalg.norm(upward)
    above = Half(-upward, float(-upward @ floor))
    lobes = [place.ball((18, -12, side * 40), (21, 33, 26)) for side in (1, -1)]
    return Union(
        (
            Common((place.ball((40, 2, 0), (75, 87, 69)), above)),
            *lobes,
            place.ball((3, 40, 0), (24, 39, 52)),
            place.ball((-8, 14, 0), (18, 17, 17)),
        ),
        8.0,
    )


def braincase(rng: np.random.Generator, place: Placing, inside: Solid) -> list[Part]:
    """The vault and the base of the skull around the brain's cavity; no brain yet."""
    wall = rng.uniform(5.5, 7.5)
    shell = Outside(Outside(inside), -wall, grown(inside, wall))
    parts = [
        Part(shell, (("cortical", 0.0), ("spongy", 1.8), ("cortical", wall - 1.8))),
        bone(place.ball((33, -83, 0), (17, 9, 24)), 2.0, "spongy"),
        bone(place.tube([(24, -26, 0), (0, -16, 0), (-17, -7, 0)], (9, 7, 5)), 1.5, "spongy"),
        bone(place.ball((12, -31, 0), (15, 15, 18)), 1.5, "dense spongy"),
    ]
    for half in (place, place.mirrored()):
        parts += [
            bone(half.tube([(-2, 16, 60), (0, 4, 42), (4, -12, 16)], (11, 10, 5)), 1.5, "spongy"),
            part(half.tube([(0, 8, 54), (1, 4, 40), (4, -8, 22)], (6, 6, 3)), "dense spongy"),
            bone(half.ball((-16, 20, 59), (19, 13, 10), (15, 0, 0)), 1.8, "cells"),
            part(half.ball((2, 10, 52), (7, 8, 8)), "cells"),
            bone(half.ball((-25, 5, 17), (7, 12, 6)), 1.5),
            part(half.tube([(-16, 3, 42), (-42, -2, 40)], (3.5, 1.5)), "cortical"),  # styloid
        ]
    return parts


def cranial_air(rng: np.random.Generator, place: Placing) -> list[Part]:
    """Ear canals, frontal and sphenoid sinus; laid over the bone."""
    frontal = rng.uniform(0.4, 1.2)
    parts = [
        part(place.ball((13, -32, rng.normal(0, 2)), (9, 10, rng.uniform(8, 14))), "air"),
        part(place.tube([(0, 15, 0), (-32, 16, 0)], (13, 12)), "fluid"),  # foramen magnum
    ]
    for half, side in ((place, "left"), (place.mirrored(), "right")):
        size = (14 * frontal, 4.5 * frontal, 12 * frontal * rng.uniform(0.7, 1.2))
        parts += [
            part(half.ball((34, -85, 9), size), "air"),
            part(half.ball((3, -3, 24), (3.5, 4, 4)), "fluid", f"{side} cochlea"),
            part(half.tube([(0, 0, 82), (0, 2, 64), (2, 3, 48)], (4.5, 3.6, 3.2)), "air"),
        ]
    return parts


def face(rng: np.random.Generator, place: Placing) -> list[Part]:
    """Orbital rims, cheek bones, nose, upper jaw and its sinuses, palate; before the orbits."""
    parts = [
        bone(place.ball((-33, -60, 0), (3.5, 28, 23)), 1.2, "thin bone"),  # hard palate
        bone(place.tube([(30, -91, 0), (20, -97, 0), (6, -106, 0)], (6, 5, 3)), 1.5, "thin bone"),
        part(place.tube([(-12, -36, 0), (-34, -40, 0)], 2.5), "thin bone"),
        bone(_arch(place, -40, 46, 26, 6.5), 1.5, "spongy"),
    ]
    for half in (place, place.mirrored()):
        sinus = half.ball((-17, -60, 31), (18, 19, 15) * rng.normal(1, 0.06, 3), (0, 0, -15))
        walled = Outside(Outside(sinus), -1.3, grown(sinus, 1.3))
        rim = [(-6, -76, 18), (-8, -76, 36), (2, -70, 49), (16, -68, 51)]
        rim += [(29, -75, 45), (33, -83, 30), (27, -88, 16)]
        parts += [
            bone(half.tube(rim, (4, 5, 5, 5, 5.5, 5, 5)), 1.5, "spongy"),
            bone(half.ball((-10, -66, 52), (12, 11, 11)), 1.8, "spongy"),
            bone(half.tube([(-9, -58, 60), (-6, -38, 68), (-2, -14, 67)], (4.5, 3.2, 3.6)), 1.5),
            part(
                half.plate([(26, -72, 48), (22, -50, 52)], [(-6, -66, 48), (2, -46, 46)], 1.6),
                "cortical",
            ),
            part(
                half.plate([(-10, -36, 13), (-38, -36, 14)], [(-10, -24, 18), (-36, -26, 20)], 1.5),
                "cortical",
            ),
            part(walled, "thin bone"),
            part(sinus, str(rng.choice(["air"] * 7 + ["mucosa"]))),
        ]
    return parts + _nose(rng, place)


def _nose(rng: np.random.Generator, place: Placing) -> list[Part]:
    """Nasal cavity with septum and turbinates, ethmoid cells between the orbits."""
    bent = rng.normal(0, 2.5)
    parts = [part(place.ball((12, -58, 0), (15, 25, 13)), "cells")]
    for half in (place, place.mirrored()):
        parts += [
            part(half.ball((-10, -68, 7), (21, 34, 6)), "air"),
            part(half.tube([(-20, -88, 9), (-22, -66, 10), (-20, -44, 9)], (2, 4.5, 3)), "mucosa"),
            part(half.tube([(-6, -80, 9), (-7, -64, 9.5), (-6, -48, 9)], (1.5, 3, 2)), "mucosa"),
        ]
    septum = place.plate(
        [(16, -88, 0), (-4, -66, bent), (12, -40, 0)],
        [(-28, -94, 0), (-28, -66, 0), (-28, -38, 0)],
        1.2,
    )
    return [*parts, part(septum, "thin bone")]


def _arch(place: Placing, z: float, depth: float, width: float, radius: float) -> Solid:
    """A horseshoe, open to the back: half an ellipse at height z, front end at y -86."""
    angles = np.radians([0, 22, 45, 68, 90, 112, 135, 158, 180])
    path = [(z, -86 + depth - depth * np.sin(a), width * np.cos(a)) for a in angles]
    return place.tube(path, radius)


def teeth(rng: np.random.Generator, place: Placing) -> list[Part]:
    """Two rows of teeth, some lost, some filled with metal."""
    parts = []
    lost = rng.choice([0.0, 0.1, 0.6, 1.0], p=[0.4, 0.35, 0.15, 0.1])
    for z, depth, width in ((-49, 45, 25), (-59, 44, 23)):
        for angle in np.radians(np.linspace(2, 178, 14)):
            gone = rng.random() < lost
            centre = (z, -85 + depth - depth * np.sin(angle), width * np.cos(angle))
            size = 3.2 + 1.6 * abs(np.cos(angle))
            if not gone:
                parts.append(part(place.ball(centre, (9.5, size, size)), "tooth"))
    return parts


def mandible(rng: np.random.Generator, place: Placing, name: str) -> list[Part]:
    """Lower jaw: a bowed body, two rami with condyle and coronoid process; label and bone."""
    solids = []
    body = [(-61, -14, 46), (-67, -38, 40), (-72, -60, 30), (-75, -76, 16), (-75, -82, 0)]
    low = [(z - 10 - 2 * (x < 20), y - (1 if x else 4), x) for z, y, x in body]
    high = [(z + 9, y, 0.94 * x) for z, y, x in body]
    for half in (place, place.mirrored()):
        solids += [
            half.plate(high, low, (3.6, 4.0, 4.4, 4.9, 5.3)),
            half.plate(
                [(-58, -7, 47), (-36, -7, 48), (-18, -10, 50)],
                [(-65, -30, 44), (-38, -34, 45), (-22, -34, 46)],
                (3.6, 2.9, 2.7),
            ),
            half.tube([(-24, -11, 50), (-10, -12, 51)], (5.5, 5)),
            half.ball(CONDYLE, (6, 5, 10)),
            half.tube([(-26, -30, 46), (-6, -34, 45)], (5, 2.5)),
        ]
    jaw = Union(tuple(solids), 2.0)
    return [Part(jaw, (("cortical", 0.0), ("jaw", rng.uniform(2.2, 3.0))), name)]


def grown(solid: Solid, by: float) -> Box:
    """The box of a solid, `by` mm larger on every side."""
    low, high = solid.box
    return low - by, high + by


def uneven(rng: np.random.Generator, wavelength: float) -> Waves:
    """Random islands of about half a `wavelength` (mm)."""
    vectors = rng.normal(0, 2 * np.pi / wavelength / 1.7, (8, 3))
    return Waves(vectors, rng.uniform(0, 2 * np.pi, 8))
