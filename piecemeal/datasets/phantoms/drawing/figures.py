"""Bodies as lists of parts, laid over each other like paper cuttings, and how parts are placed.

A part is a solid with layers of tissue from the outside in, and may be a labelled structure. Later
parts cover earlier ones. Positions are (z, y, x) in mm: z towards the head, y towards the back, x
towards the patient's left. One subject differs from the next by a smooth bend of all its points,
so that neighbours stay neighbours, and by the size and place of each part.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from piecemeal.datasets.phantoms.drawing.shapes import coverage, paint
from piecemeal.datasets.phantoms.drawing.solids import Ellipsoid, Sheet, Solid, Tube
from piecemeal.datasets.phantoms.drawing.spaces import Space

NOTHING = "nothing"
Points = Sequence[Sequence[float]]

# Hounsfield units, their unevenness, and the signal of T1-weighted MR (fat 1, its unevenness as a
# share), of tissues without contrast agent.
TISSUES = {
    "air": (-1000, 0, 0.0),
    "fat": (-100, 12, 1.0),
    "skin": (-10, 20, 0.55),
    "muscle": (58, 12, 0.42),
    "mixed": (-20, 45, 0.65),  # muscle and fat
    "brain": (38, 5, 0.46),
    "white matter": (30, 4, 0.58),
    "fluid": (8, 4, 0.16),
    "cord": (32, 8, 0.48),
    "vitreous": (12, 4, 0.18),
    "lens": (85, 8, 0.4),
    "nerve": (25, 8, 0.5),
    "parotid": (-20, 35, 0.78),
    "girdle": (-5, 45, 0.6),  # muscles with fat between
    "gland": (50, 16, 0.55),
    "thyroid": (115, 18, 0.5),
    "mucosa": (48, 14, 0.45),
    "artery": (48, 6, 0.12),
    "vein": (46, 6, 0.14),
    "cortical": (1150, 160, 0.04),
    "thin bone": (600, 180, 0.1),
    "spongy": (330, 110, 0.6),
    "dense spongy": (520, 130, 0.5),
    "jaw": (180, 120, 0.6),
    "marrow": (10, 40, 0.9),
    "tooth": (1900, 450, 0.03),
    "cells": (-350, 480, 0.15),
    "cartilage": (130, 90, 0.35),
    "disc": (85, 15, 0.35),
    "lung": (-850, 45, 0.05),
    "plastic": (-150, 30, 0.0),
}


@dataclass(frozen=True)
class Part:
    """A solid; layers: (tissue, mm that its surface lies inside the solid's), outermost first.

    name: the structure that the solid is labelled as; "" leaves the labels below it, NOTHING takes
    them away. A part without layers is a label only.
    """

    solid: Solid
    layers: tuple[tuple[str, float], ...] = ()
    name: str = ""


def part(solid: Solid, tissue: str = "", name: str = "") -> Part:
    """A part of one tissue, or of none."""
    return Part(solid, ((tissue, 0.0),) if tissue else (), name)


def bone(solid: Solid, wall: float, inside: str = "spongy", name: str = NOTHING) -> Part:
    """A bone with a cortical wall of `wall` mm; no soft organ is outlined across it."""
    return Part(solid, (("cortical", 0.0), (inside, wall)), name)


def draw(
    parts: Sequence[Part],
    space: Space,
    palette: Mapping[str, tuple[float, float]],
    names: Sequence[str],
    width: float,
    grain: np.ndarray,
    slip: np.ndarray | float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Levels float32 (air around) and labels uint8 (index in `names`, from 1), both (z, y, x).

    palette: tissue -> (level, unevenness). width: mm over which neighbours mix in a voxel. grain:
    random field of unit deviation, times the unevenness. slip: mm by which the reader's contours
    stray outwards.
    """
    canvas = np.full(space.shape, palette["air"][0], np.float32)
    labels = np.zeros(space.shape, np.uint8)
    slip = np.broadcast_to(np.float32(slip), space.shape)
    number = {name: index for index, name in enumerate((NOTHING, *names))}
    for one in parts:
        low, high = one.solid.box
        found = space.crop((low - width / 2, high + width / 2))
        if found is None:
            continue
        where, inner = found
        distance = one.solid.distance(inner)
        for tissue, depth in one.layers:
            level, uneven = palette[tissue]
            value = level + uneven * grain[where] if uneven else level
            paint(canvas[where], coverage(distance + np.float32(depth), width), value)
        if one.name in number:
            np.copyto(labels[where], number[one.name], where=distance < slip[where])
    return canvas, labels


def texture(rng: np.random.Generator, space: Space, grain_mm: float) -> np.ndarray:
    """Smooth random field over a space, float32, about unit deviation.

    grain_mm: distance between independent values.
    """
    axes = (space.z[:, 0, 0], space.y[0, :, 0], space.x[0, 0, :])
    coarse = [int(np.ceil(abs(float(axis[-1] - axis[0])) / grain_mm)) + 2 for axis in axes]
    field = rng.standard_normal(coarse, dtype=np.float32) / np.float32(0.54)
    for number in range(3):
        # Linear interpolation along one axis after the other, as a product with a thin matrix.
        place = np.abs(axes[number] - axes[number][0])[:, None] / np.float32(grain_mm)
        weights = np.maximum(1 - np.abs(place - np.arange(coarse[number], dtype=np.float32)), 0)
        field = np.moveaxis(np.tensordot(weights, field, (1, number)), 0, number)
    return np.ascontiguousarray(field)


def grid(
    shape: tuple[int, int, int], spacing: tuple[float, ...], middle: tuple[float, ...]
) -> Space:
    """Voxel centres of a block of `shape` and `spacing` whose middle lies at `middle`."""
    z, y, x = (
        ((np.arange(n) - (n - 1) / 2) * step + at).astype(np.float32)
        for n, step, at in zip(shape, spacing, middle, strict=True)
    )
    count, rows, columns = shape
    return Space(
        z[:, None, None],
        np.broadcast_to(y[None, :, None], (count, rows, 1)),
        np.broadcast_to(x[None, None, :], (count, 1, columns)),
    )


class Bend:
    """A smooth random displacement of points: sums of waves of about `height` mm."""

    def __init__(self, rng: np.random.Generator, height: float, wavelength: float = 170.0):
        self.vectors = rng.normal(0, 2 * np.pi / wavelength / 1.7, (6, 3))
        self.phases = rng.uniform(0, 2 * np.pi, 6)
        self.ways = rng.normal(0, height / np.sqrt(3), (6, 3))

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 3) displaced."""
        return points + np.sin(points @ self.vectors.T + self.phases) @ self.ways


def turn(pitch: float = 0.0, yaw: float = 0.0, roll: float = 0.0) -> np.ndarray:
    """Rotation (3, 3) of (z, y, x): angles in degrees about the x, the z and the y axis.

    A positive pitch lifts the chin; a positive yaw turns the face to the patient's left.
    """
    (p, q), (u, v), (r, s) = (
        (np.cos(angle), np.sin(angle)) for angle in np.radians([pitch, yaw, roll])
    )
    about_x = np.array([[p, -q, 0], [q, p, 0], [0, 0, 1]])
    about_z = np.array([[1, 0, 0], [0, u, v], [0, -v, u]])
    about_y = np.array([[r, 0, -s], [0, 1, 0], [s, 0, r]])
    return about_x @ about_z @ about_y


@dataclass(frozen=True)
class Placing:
    """Puts shapes given in a subject's own frame into the picture: bent, scaled, turned, moved.

    side: 1 for the patient's left, -1 mirrors x for the right.
    """

    rng: np.random.Generator
    bend: Bend
    scale: np.ndarray
    rotation: np.ndarray
    pivot: np.ndarray
    shift: np.ndarray
    side: int = 1

    def put(self, points: Points) -> np.ndarray:
        """Where points (..., 3) come to lie."""
        points = np.asarray(points, float) * [1, 1, self.side]
        points = self.bend(points) * self.scale
        return (points - self.pivot) @ self.rotation.T + self.pivot + self.shift

    def ball(
        self, centre: Sequence[float], half: Sequence[float], angles: Sequence[float] = (0, 0, 0)
    ) -> Ellipsoid:
        """Ellipsoid with half axes (z, y, x), turned by (pitch, yaw, roll) degrees."""
        pitch, yaw, roll = angles
        own = turn(pitch, yaw * self.side, roll * self.side)
        sizes = np.asarray(half, float) * self.scale * self.rng.normal(1, 0.03, 3)
        return Ellipsoid(self.put(centre), sizes, (self.rotation @ own).T)

    def tube(self, points: Points, radii: float | Sequence[float]) -> Tube:
        """A chain of straight pieces with one radius, or one a point."""
        path = self.put(points)
        radii = np.broadcast_to(np.asarray(radii, float), len(path)) * self.scale.mean()
        return Tube(np.stack([path[:-1], path[1:]], 1), np.stack([radii[:-1], radii[1:]], 1))

    def plate(self, first: Points, second: Points, half: float | Sequence[float]) -> Sheet:
        """A plate between two rails of as many points, `half` mm thick to either side.

        half: one number, or one for each pair of points.
        """
        a, b = self.put(first), self.put(second)
        thick = np.broadcast_to(np.asarray(half, float), len(a)) * self.scale.mean()
        corners, halves = [], []
        for i in range(len(a) - 1):
            corners += [[a[i], b[i], a[i + 1]], [b[i], b[i + 1], a[i + 1]]]
            halves += [[thick[i], thick[i], thick[i + 1]], [thick[i], thick[i + 1], thick[i + 1]]]
        return Sheet(np.array(corners), np.array(halves))

    def mirrored(self) -> "Placing":
        """The same, for shapes of the patient's right given as those of the left."""
        return replace(self, side=-self.side)
