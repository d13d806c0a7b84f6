"""What surrounds the heart in a short-axis picture: wall, lung, fat, liver, stomach, vessels."""

import numpy as np

from piecemeal.datasets.phantoms.drawing.shapes import (
    coverage,
    direction,
    ellipse,
    harmonics,
    paint,
    series,
    texture,
)


def tissue_levels(rng: np.random.Generator) -> dict[str, float]:
    """Signal levels of one subject, left ventricular blood near 1.

    Ranges overlap on purpose: the muscle of one subject is as bright as the liver of another, fat
    and stomach as bright as blood.
    """
    blood = rng.uniform(0.85, 1.1)
    return {
        "left blood": blood,
        "right blood": blood * rng.uniform(0.65, 1.0),
        "muscle": blood * rng.uniform(0.25, 0.42),
        "fat": rng.uniform(0.65, 1.25),
        "liver": rng.uniform(0.28, 0.75),
        "stomach": rng.uniform(0.2, 1.0),
        "lung": rng.uniform(0.03, 0.14),
        "chest muscle": rng.uniform(0.22, 0.42),
    }


def paint_chest(
    rng: np.random.Generator,
    points: np.ndarray,
    heights: np.ndarray,
    pixel: float,
    left_edge: float,
    bottom: float,
    tissue: dict[str, float],
) -> np.ndarray:
    """Signal levels float32 (slices, rows, columns) of everything but the heart.

    points: complex mm, heart axis at 0, the front wall of the chest to the left. left_edge,
    bottom: where the heart ends on the left (negative x) and below (positive y), mm.
    """
    slices = len(heights)
    canvas = np.full(points.shape, tissue["lung"], np.float32)
    vessels = texture(rng, points.shape, 4.0)
    canvas += np.clip(vessels - 2.0, 0, 1) * tissue["left blood"] * 1.6

    # Front wall, from outside in: air, skin fat, muscle with ribs, lung.
    half = (rng.uniform(125, 165), rng.uniform(105, 140))
    thick_fat, thick_muscle = rng.uniform(8, 26), rng.uniform(7, 14)
    lean = rng.normal(0, 0.18)
    inner_left = left_edge - rng.uniform(4, 16)
    centre = complex(inner_left + half[0], rng.normal(0, 15))
    wall = ellipse(points, centre, half, lean, harmonics(rng, [0.02, 0.03, 0.02], slices, 0.3))
    ribs = np.clip(1.2 * texture(rng, points.shape, 7.0), 0, 0.75)
    paint(canvas, coverage(-wall, pixel), tissue["chest muscle"] * (1 - ribs))
    paint(canvas, coverage(thick_muscle - wall, pixel), tissue["fat"] * 1.05)
    paint(canvas, coverage(thick_muscle + thick_fat - wall, pixel), 0.015)

    # Liver under the heart, rising towards the apex; vessels in it.
    rise = rng.uniform(0.1, 0.4) * heights
    liver_half = (rng.uniform(65, 95), rng.uniform(45, 65))
    top = bottom + rng.uniform(-6, 7)
    liver_centre = complex(rng.uniform(-45, -5), top + liver_half[1]) - 1j * rise
    liver = ellipse(
        points,
        liver_centre,
        liver_half,
        rng.normal(0.1, 0.15),
        harmonics(rng, [0.02, 0.03, 0.02], slices, 0.5),
    )
    liver = np.maximum(liver, wall)
    speckle = 1 + 0.10 * texture(rng, points.shape, 5.0)
    speckle += 0.5 * np.clip(texture(rng, points.shape, 6.0) - 1.6, 0, 1)
    paint(canvas, coverage(liver - 2.5, pixel), tissue["fat"] * 0.5)
    paint(canvas, coverage(liver, pixel), tissue["liver"] * speckle)

    # Stomach or spleen below on the right: a round body with a rim, easily taken for a ventricle.
    size = rng.uniform(20, 36)
    place = complex(rng.uniform(38, 75), bottom + size * rng.uniform(0.3, 0.9)) - 0.6j * rise
    body = ellipse(
        points,
        place,
        (size, size * rng.uniform(0.6, 1.0)),
        rng.normal(0, 0.5),
        harmonics(rng, [0.05, 0.06, 0.03], slices, 0.6),
    )
    paint(canvas, coverage(body - rng.uniform(2, 6), pixel), tissue["muscle"])
    paint(canvas, coverage(body, pixel), tissue["stomach"] * speckle)

    # Vessels full of blood: descending aorta, inferior vena cava, one in the upper mediastinum.
    for x, y, size in ((56, 26, 11.5), (8, bottom + 15, 9.5), (0, -60, 9)):
        at = complex(x + rng.normal(0, 10), y + rng.normal(0, 8))
        vessel = ellipse(points, at, (size * rng.uniform(0.7, 1.2), size), rng.uniform(0, 3))
        paint(canvas, coverage(vessel - 1.5, pixel), tissue["muscle"] * 0.7)
        paint(canvas, coverage(vessel, pixel), tissue["left blood"] * rng.uniform(0.6, 1.1))
    return canvas


def fat_around(rng: np.random.Generator, points: np.ndarray) -> np.ndarray:
    """Thickness (mm) of the fat over the heart by direction: patches, none in places."""
    _, unit = direction(points)
    patches = harmonics(rng, [2.0, 1.5, 1.5, 1.0, 1.0], points.shape[0], 0.8)
    return np.clip(rng.uniform(0.5, 3.5) + series(unit, patches), 0, 9)
