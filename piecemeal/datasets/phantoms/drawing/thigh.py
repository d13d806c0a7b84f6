"""A parametric right thigh cut across: bone, muscle groups, fat between and around them.

Muscles are ellipses that compete for the space inside the muscle envelope: a point belongs to the
nearest one, and where two are almost equally near lies the fat between them. Picture axes: front
up, the inner side of the thigh to the right. Lengths in mm.
"""

import cmath
import math
from typing import NamedTuple

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

BONE, QUADRICEPS, FLEXORS, SARTORIUS, SUBCUTANEOUS, ADDUCTORS, INTERMUSCULAR = range(1, 8)

# Muscle bellies: group, centre and half axes relative to the envelope's radius, long axis turned
# by degrees, how far the centre travels from the upper to the lower thigh.
BELLIES = (
    (QUADRICEPS, (-0.05, -0.78), (0.34, 0.20), 0, (0.0, -0.08)),  # rectus femoris
    (QUADRICEPS, (-0.68, -0.28), (0.42, 0.24), -60, (0.0, 0.06)),  # vastus lateralis
    (QUADRICEPS, (-0.22, -0.32), (0.36, 0.26), 0, (0.0, 0.0)),  # vastus intermedius
    (QUADRICEPS, (0.38, -0.42), (0.34, 0.22), 60, (0.06, 0.18)),  # vastus medialis
    (SARTORIUS, (0.70, -0.50), (0.22, 0.085), 50, (0.16, 0.52)),
    (ADDUCTORS, (0.46, 0.10), (0.36, 0.22), 25, (0.02, 0.08)),  # longus, magnus
    (ADDUCTORS, (0.84, 0.22), (0.20, 0.09), 80, (-0.02, 0.14)),  # gracilis
    (FLEXORS, (-0.42, 0.56), (0.32, 0.22), 30, (-0.04, 0.0)),  # biceps femoris
    (FLEXORS, (0.06, 0.74), (0.26, 0.18), 0, (0.0, 0.0)),  # semitendinosus
    (FLEXORS, (0.46, 0.62), (0.30, 0.17), -35, (0.04, 0.0)),  # semimembranosus
)
LARGEST = 91.0  # mm, half width of the largest thigh
THINNEST_FAT = 3.2  # mm under the skin


class Thigh(NamedTuple):
    """Signed distances (mm, negative inside) and the nearest muscle group of every pixel."""

    skin: np.ndarray
    envelope: np.ndarray
    bone: np.ndarray
    marrow: np.ndarray
    fat_between: np.ndarray
    bundle: np.ndarray
    group: np.ndarray
    half_width: float


def sample_thigh(rng: np.random.Generator, points: np.ndarray, along: np.ndarray) -> Thigh:
    """Draw a thigh on complex `points` (slices, rows, columns), mm, its middle at 0.

    along: (slices, 1, 1) position in the stack, -0.5 (upper) to 0.5 (lower).
    """
    leanness = float(rng.beta(2, 2))  # 1: little fat, full muscles
    wasting = (1 - leanness) * rng.uniform(0.5, 1.4)
    skin, envelope, half_axes, half_width = _cut_hull(rng, points, along, leanness)

    turned = points * cmath.rect(1, rng.normal(0, 0.16))
    # One fold field for all slices: neighbouring slices show the same muscles.
    folds = [texture(rng, (1, *points.shape[1:]), points.shape[2] / 6) for _ in "xy"]
    folded = turned + rng.uniform(1.5, 3.5) * (folds[0] + 1j * folds[1])
    scale = sum(half_axes) / 2
    group, fat_between = _cut_muscles(rng, folded, along, envelope, scale, wasting)

    at = complex(rng.normal(-0.16, 0.04), rng.normal(-0.06, 0.04)) * scale
    size = rng.uniform(13, 16.5)
    shape = (size, size * rng.uniform(0.88, 1.05))
    contour = harmonics(rng, [0.02, 0.05, 0.03], len(along), 0.2)
    bone = ellipse(folded, at, shape, rng.uniform(0, 3), contour)
    marrow = bone + size * rng.uniform(0.32, 0.48)

    at = complex(rng.normal(0.34, 0.04), rng.normal(-0.08, 0.04)) * scale
    shape = (rng.uniform(4, 6), rng.uniform(3, 4))
    bundle = ellipse(folded, at, shape, rng.uniform(0, 3))
    fat_between = np.minimum(fat_between, bundle - 2.5)
    return Thigh(skin, envelope, bone, marrow, fat_between, bundle, group, half_width)


def _cut_hull(
    rng: np.random.Generator, points: np.ndarray, along: np.ndarray, leanness: float
) -> tuple[np.ndarray, np.ndarray, tuple[float, float], float]:
    """Skin, muscle envelope, half axes of the envelope and half width of the whole thigh."""
    half_across = rng.uniform(60, 77)
    half_down = half_across * rng.uniform(0.90, 1.08)
    thickness = 4 + 15 * (1 - leanness) * rng.uniform(0.6, 1.1)
    # No thigh outgrows the field of view.
    fit = min(1, LARGEST / (max(half_across, half_down) + 1.3 * thickness))
    half_across, half_down, thickness = half_across * fit, half_down * fit, thickness * fit
    taper = 1 - rng.uniform(0.02, 0.08) * along
    envelope = ellipse(
        points / taper,
        0,
        (half_across, half_down),
        rng.normal(0, 0.3),
        harmonics(rng, [0.005, 0.02, 0.025, 0.012], len(along), 0.25),
    )
    _, unit = direction(points)
    # Fat is thickest on the inner and the back side, and thins to a few millimetres outside.
    uneven = harmonics(rng, [0.12, 0.12, 0.06], len(along), 0.2)
    uneven[0] += cmath.rect(0.3, rng.normal(-0.6, 0.5))
    skin = envelope - np.maximum(thickness * (1 + series(unit, uneven)), THINNEST_FAT)
    return skin, envelope, (half_across, half_down), half_across + thickness


def _cut_muscles(
    rng: np.random.Generator,
    points: np.ndarray,
    along: np.ndarray,
    envelope: np.ndarray,
    scale: float,
    wasting: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Group of the nearest belly at every pixel, and signed distance to the fat between."""
    level = rng.uniform(0, 1) + 0.12 * along
    proportion = {group: rng.normal(1, 0.08) for group in range(1, 8)}
    distances = []
    for group, centre, half_axes, degrees, travel in BELLIES:
        size = proportion[group] * rng.normal(1, 0.06) * scale
        at = complex(*centre) + level * complex(*travel)
        at = at + complex(rng.normal(0, 0.035), rng.normal(0, 0.035))
        turn = math.radians(degrees + rng.normal(0, 9))
        distances.append(ellipse(points, at * scale, [half * size for half in half_axes], turn))
    order = np.argsort(distances, axis=0)[:3]
    first, second, third = np.take_along_axis(np.stack(distances), order, 0)
    groups = np.array([belly[0] for belly in BELLIES], np.uint8)[order]

    # Sheets of fat along the borders: wide between groups and where three muscles meet.
    same = groups[0] == groups[1]
    patchy = np.clip(1 + 0.6 * texture(rng, points.shape, points.shape[2] / 9), 0.15, 2.5)
    corner = np.clip(1 - (third - first) / 12, 0, 1)
    outermost = np.clip(1 + envelope / 14, 0, 1)
    sheet = (0.35 + 0.8 * wasting) * np.where(same, 0.4, 1.0) * patchy
    sheet += (0.9 + 2.2 * wasting) * corner + np.where(same, 0.2, 1.2) * outermost
    border = (second - first) / 2 - sheet
    # Away from every belly there is only fat: the hollows that muscles leave free.
    hollow = 9.0 - 3.5 * wasting - first
    islands = 2.3 - texture(rng, points.shape, 3.5) - 0.6 * wasting
    return groups[0], np.minimum(np.minimum(border, hollow), 2.0 * islands)


def label(thigh: Thigh) -> np.ndarray:
    """Labels uint8 (slices, rows, columns): 1 to 7, see the names at the top; 0 elsewhere.

    The vessels and nerves between the muscles count as intermuscular fat, the skin as background.
    """
    labels = np.where(thigh.fat_between < 0, np.uint8(INTERMUSCULAR), thigh.group)
    labels[thigh.envelope > 0] = SUBCUTANEOUS
    labels[thigh.skin > 0] = 0
    labels[thigh.bone < 0] = BONE
    return labels


def paint_thigh(
    rng: np.random.Generator, points: np.ndarray, thigh: Thigh, pixel: float
) -> np.ndarray:
    """T1-like signal float32 (slices, rows, columns): one level for muscle, one for fat."""
    fat = rng.uniform(0.85, 1.05)
    muscle = fat * rng.uniform(0.26, 0.42)
    shape = points.shape
    canvas = np.full(shape, 0.01, np.float32)
    if rng.random() < 0.6:
        # The other thigh enters the picture on the inner side: fat that no label covers.
        reach = thigh.half_width + rng.uniform(4, 12)
        other = ellipse(points, complex(reach + 75, rng.normal(0, 8)), (75, 80), rng.normal(0, 0.2))
        paint(canvas, coverage(other, pixel), fat)
        paint(canvas, coverage(other + rng.uniform(7, 18), pixel), muscle)
    paint(canvas, coverage(thigh.skin - 1.8, pixel), muscle * 0.8)
    lobules = 1 - 0.35 * np.clip(texture(rng, shape, 4.0) - 1.3, 0, 1)
    paint(canvas, coverage(thigh.skin, pixel), fat * lobules)
    strands = 1 + 0.10 * texture(rng, shape, 2.5)
    paint(canvas, coverage(thigh.envelope, pixel), muscle * strands)
    inside = coverage(thigh.envelope, pixel)
    paint(canvas, inside * coverage(thigh.fat_between, 0.8 * pixel), fat * rng.uniform(0.85, 1.0))
    fascia = coverage(np.abs(thigh.envelope) - 0.4, pixel)
    paint(canvas, 0.7 * fascia, muscle)
    paint(canvas, coverage(thigh.bundle, pixel), muscle * rng.uniform(0.3, 1.1))
    paint(canvas, coverage(thigh.bone, pixel), 0.06)
    paint(canvas, coverage(thigh.marrow, pixel), fat * rng.uniform(0.8, 1.0))
    return canvas
