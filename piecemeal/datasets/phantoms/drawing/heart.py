"""A parametric heart cut across its long axis, beating between diastole and systole.

The left ventricle is a pair of blunt half ellipsoids (cavity and outer surface) hanging from the
valve plane at height 0, apex at positive heights; the right ventricle is a wobbling ellipse that
the left one bites into, which leaves a crescent along the septum. Lengths in mm.
"""

import cmath
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from piecemeal.datasets.phantoms.drawing.shapes import coverage, direction, ellipse, paint, series

RIGHT_VENTRICLE, MYOCARDIUM, LEFT_VENTRICLE = 1, 2, 3
FREE_WALL = 2.5  # thickness of the right ventricular wall, which nobody labels
THINNEST_WALL = 3.8
SMALLEST_RIGHT = 60.0  # mm2 of right ventricle in a slice, the least that a reader draws
FAR = np.float32(1e3)  # distance to what a slice does not meet

# Ranges of: cavity radius, wall, relative systolic radius, depth of the right ventricle beyond
# the septum, relative systolic depth of it. Tuned to the volumes published for each group.
GROUPS = {
    "NOR": ((24, 29), (7.5, 10.5), (0.66, 0.74), (38, 48), (0.66, 0.78)),
    "DCM": ((32, 39), (6.5, 9.0), (0.86, 0.95), (36, 48), (0.76, 0.92)),
    "HCM": ((22, 27), (12, 17), (0.52, 0.66), (34, 44), (0.62, 0.76)),
    "MINF": ((27, 34), (7.5, 10.5), (0.78, 0.88), (34, 46), (0.68, 0.84)),
    "RV": ((23, 28), (7.0, 10.0), (0.66, 0.78), (50, 62), (0.74, 0.88)),
}


@dataclass(frozen=True)
class Heart:
    """Shape of one heart; coefficients are Fourier series along the slices, see `harmonics`."""

    radius: float
    wall: float
    squeeze: float
    length: float
    shortening: float
    bluntness: float
    tilt: complex
    cavity_wobble: np.ndarray
    wall_wobble: np.ndarray
    scar: tuple[float, float, float]
    septum: float
    depth: float
    depth_squeeze: float
    height: float
    right_top: float
    right_length: float
    right_wobble: np.ndarray
    papillary: tuple[tuple[float, float, float], ...]


class Section(NamedTuple):
    """Signed distances (mm) of one phase, (slices, rows, columns), and the mixing width."""

    cavity: np.ndarray
    outer: np.ndarray
    right: np.ndarray
    papillary: np.ndarray
    atrium: np.ndarray
    right_atrium: np.ndarray
    aorta: np.ndarray
    below_base: np.ndarray
    below_right_top: np.ndarray
    width: np.ndarray


def sample_heart(rng: np.random.Generator, group: str, slices: int, contours) -> Heart:
    """Draw a heart of a diagnostic `group`; `contours(amplitudes)` draws Fourier coefficients."""
    radius, wall, squeeze, depth, depth_squeeze = (rng.uniform(*r) for r in GROUPS[group])
    septum = np.pi + np.radians(rng.normal(-4, 14))
    scar = (0.0, 1.0, 0.0)
    if group == "MINF":
        scar = (rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 0.95), rng.uniform(0.4, 0.65))
    papillary = tuple(
        (septum + np.radians(rng.normal(at, 14)), rng.uniform(0.55, 0.78), rng.uniform(3.2, 5.5))
        for at in (115, 230)
    )
    return Heart(
        radius=radius,
        wall=wall,
        squeeze=squeeze,
        length=rng.uniform(62, 78) + 0.5 * (radius - 26),
        shortening=(1 - squeeze) * rng.uniform(0.2, 0.4),
        bluntness=rng.uniform(2.0, 3.0),
        tilt=complex(rng.normal(0, 0.09), rng.normal(0.03, 0.09)),
        cavity_wobble=contours([0.02, 0.035, 0.02, 0.015]),
        wall_wobble=contours([0.16, 0.10, 0.06]) * (1.5 if group == "HCM" else 1.0),
        scar=scar,
        septum=septum,
        depth=depth,
        depth_squeeze=depth_squeeze,
        height=rng.uniform(37, 46) + 0.25 * (depth - 35),
        right_top=rng.uniform(-2, 4),
        right_length=rng.uniform(0.8, 1.0),
        right_wobble=contours([0.04, 0.04, 0.06, 0.02]),
        papillary=papillary,
    )


def _profile(level: np.ndarray, power: float) -> np.ndarray:
    """Relative radius of a blunt half ellipsoid: 1 at level 0, 0 from level 1 on."""
    return np.sqrt(np.clip(1 - np.clip(level, 0, 1) ** power, 0, None))


def cut(heart: Heart, points: np.ndarray, heights: np.ndarray, contraction: float) -> Section:
    """Cut the heart at `heights` (slices, 1, 1) mm below the diastolic valve plane.

    points: complex mm (slices, rows, columns), the long axis at 0. contraction: 0 end diastole,
    1 end systole. Muscle keeps its volume: what the cavity loses, the wall gains in thickness.
    """
    points = points - heart.tilt * heights
    base = contraction * heart.shortening * heart.length
    left = _cut_left(heart, points, heights - base, base, contraction)
    right_top = heart.right_top + 0.8 * base
    right = _cut_right(heart, points, heights, right_top, contraction, left)

    toward = cmath.rect(1, heart.septum)
    return Section(
        cavity=left.cavity,
        outer=left.outer,
        right=right,
        papillary=_cut_papillary(heart, points, left),
        atrium=ellipse(points, 3j - 9 * toward, (heart.radius + 2, heart.radius - 4)),
        right_atrium=ellipse(
            points,
            (heart.radius + heart.wall + 0.3 * heart.depth) * toward + 4j,
            (0.42 * heart.depth, 0.5 * heart.height),
            heart.septum,
        ),
        aorta=ellipse(points, 13 * toward - 12j, (12.5, 12.5)),
        below_base=heights - base,
        below_right_top=heights - right_top,
        width=left.width,
    )


class _Left(NamedTuple):
    """Left ventricle: distances, and per slice its level (0 base, 1 apex) and radii."""

    cavity: np.ndarray
    outer: np.ndarray
    level: np.ndarray
    cavity_radius: np.ndarray
    outer_radius: np.ndarray
    width: np.ndarray


def _cut_left(
    heart: Heart, points: np.ndarray, below_base: np.ndarray, base: float, contraction: float
) -> _Left:
    """Cavity and outer surface; `base` is how far (mm) the valve plane has come down."""
    cavity_length = heart.length - base
    outer_length = cavity_length + 0.8 * heart.wall
    full = heart.radius * (1 - contraction * (1 - heart.squeeze))
    muscle = (heart.radius + heart.wall) ** 2 - heart.radius**2
    full_outer = math.sqrt(full**2 + muscle * heart.length / cavity_length)
    level = below_base / cavity_length
    cavity_profile = _profile(level, heart.bluntness)
    outer_profile = _profile(below_base / outer_length, heart.bluntness)

    radius, unit = direction(points)
    at, extent, thinning = heart.scar
    # A scar neither thickens nor moves: the closer to its middle, the more it stays as it was.
    scarred = np.exp(((unit * cmath.rect(1, -at)).real - 1) * 2 / extent) if thinning else 0
    stays = 0.9 * thinning * scarred * (heart.radius - full)
    cavity_edge = cavity_profile * (full * (1 + series(unit, heart.cavity_wobble)) + stays)
    wall = (full_outer - full) * (1 + np.clip(series(unit, heart.wall_wobble), -0.45, 0.6))
    wall = np.maximum(wall * (1 - 1.25 * thinning * scarred), THINNEST_WALL)
    outer_edge = np.where(
        cavity_profile > 0,
        cavity_edge + wall * np.clip(outer_profile * 1.3, 0, 1),
        outer_profile * full_outer,
    )
    # The wall slopes near the apex, so a thick slice blurs it: mixing widens with the slope.
    slope = full * np.abs(np.gradient(cavity_profile[:, 0, 0]))[:, None, None]
    return _Left(
        cavity=radius - cavity_edge,
        outer=radius - outer_edge,
        level=level,
        cavity_radius=full * cavity_profile,
        outer_radius=full_outer * outer_profile,
        width=np.clip(0.35 * slope, 0.8, 5.0),
    )


def _cut_right(
    heart: Heart,
    points: np.ndarray,
    heights: np.ndarray,
    top: float,
    contraction: float,
    left: _Left,
) -> np.ndarray:
    """Right ventricle: an ellipse reaching out from behind the septum, less the left ventricle."""
    apex = heart.right_length * (heart.length + 0.8 * heart.wall)
    fade = _profile((heights - top) / (apex - top), 1.7)
    depth = heart.depth * (1 - contraction * (1 - heart.depth_squeeze))
    tall = heart.height * (1 - 0.5 * contraction * (1 - heart.depth_squeeze))
    inner = 0.4 * left.outer_radius.max() * fade
    toward = cmath.rect(1, heart.septum)
    free = (points * toward.conjugate()).real > inner
    # On the septal side the ellipse is short: it ends inside the left ventricle.
    reach = np.where(free, (left.outer_radius + depth) * fade - inner, 2.2 * inner)
    right = ellipse(points, inner * toward, (reach, tall * fade), heart.septum, heart.right_wobble)
    return np.where(fade > 0, np.maximum(right, -left.outer - 1), FAR)


def _cut_papillary(heart: Heart, points: np.ndarray, left: _Left) -> np.ndarray:
    """Papillary muscles: rods in the cavity that thin out towards base and apex."""
    belly = np.clip(1 - ((left.level - 0.52) / 0.33) ** 2, 0, 1)
    nearest = np.full(points.shape, FAR)
    for angle, place, size in heart.papillary:
        rod = ellipse(points, left.cavity_radius * cmath.rect(place, angle), (1.25 * size, size))
        rod = rod + size * (1 - np.sqrt(belly))
        nearest = np.minimum(nearest, np.where(belly > 0, rod, FAR))
    return nearest


def label(section: Section, slips: list[np.ndarray], pixel: float) -> np.ndarray:
    """Raw labels uint8 as a reader draws them: papillary muscles belong to the cavity.

    slips: how far (mm) the reader's contour of cavity, outer surface and right ventricle strays.
    """
    cavity_slip, outer_slip, right_slip = slips
    labels = np.zeros(section.cavity.shape, np.uint8)
    labels[(section.right < right_slip) & (section.below_right_top >= 0)] = RIGHT_VENTRICLE
    in_heart = section.below_base >= 0
    labels[(section.outer < outer_slip) & in_heart] = MYOCARDIUM
    inner = np.maximum(section.cavity - cavity_slip, section.outer - outer_slip + 2.5)
    labels[(inner < 0) & in_heart] = LEFT_VENTRICLE
    right = labels == RIGHT_VENTRICLE
    slivers = right.sum((1, 2), keepdims=True) * pixel**2 < SMALLEST_RIGHT
    labels[right & slivers] = 0
    return labels


def paint_heart(
    canvas: np.ndarray,
    section: Section,
    thickness: float,
    pixel: float,
    tissue: dict[str, float],
    flow: np.ndarray,
    trabeculae: np.ndarray,
) -> None:
    """Paint the heart over `canvas` (signal levels) in place.

    flow: relative signal of moving blood. trabeculae: random field, muscle strands where high.
    """
    width = np.hypot(section.width, pixel)
    muscle = tissue["muscle"]
    left, right = tissue["left blood"] * flow, tissue["right blood"] * flow
    below = np.clip(section.below_base / thickness + 0.5, 0, 1)
    right_below = np.clip(section.below_right_top / thickness + 0.5, 0, 1)

    # Above the valve plane: atria and the root of the aorta, blood that no label covers.
    above = np.clip(1.5 - below * 1.5, 0, 1)
    paint(canvas, above * coverage(section.atrium - 2, pixel), muscle)
    paint(canvas, above * coverage(section.atrium, pixel), left * 0.93)
    right_above = np.clip(1.5 - right_below * 1.5, 0, 1)
    paint(canvas, right_above * coverage(section.right_atrium - 2, pixel), muscle)
    paint(canvas, right_above * coverage(section.right_atrium, pixel), right)
    paint(canvas, above * coverage(section.aorta - 1.5, pixel), muscle * 0.6)
    paint(canvas, above * coverage(section.aorta, pixel), left)

    strands = np.clip(0.9 * trabeculae - 0.55, 0, 0.8)
    paint(canvas, right_below * coverage(section.right - FREE_WALL, width), muscle * 0.85)
    inside = right_below * coverage(section.right, width)
    paint(canvas, inside, right + strands * (muscle - right))
    paint(canvas, below * coverage(section.outer, width), muscle)
    near_wall = np.clip(1 + section.cavity / 7, 0, 1)
    paint(
        canvas,
        below * coverage(section.cavity, width),
        left + strands * near_wall * (muscle - left),
    )
    papillary = np.maximum(section.papillary, section.cavity)
    paint(canvas, below * coverage(papillary, pixel), muscle)
