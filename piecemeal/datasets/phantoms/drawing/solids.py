"""Smooth implicit solids in space, in millimetres.

A solid knows the box that holds it, (low, high) corners in (z, y, x), and its *signed distance*
on a `Space`: a float32 array, negative inside, in millimetres, exact to first order at the
surface. Solids are evaluated only inside their box, so that many small ones cost little.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from piecemeal.datasets.phantoms.drawing.spaces import Box, Space, join, overlap

FAR = np.float32(1e3)  # distance to what is out of reach
REACH = 6.0  # mm around a tube or a sheet within which distances are true
EVERYWHERE: Box = (np.full(3, -np.inf), np.full(3, np.inf))


class Solid(Protocol):
    """Anything with a box and a signed distance."""

    @property
    def box(self) -> Box:
        """Corners (low, high) of a box that holds the solid."""
        ...

    def distance(self, space: Space) -> np.ndarray:
        """Signed distance in mm, float32, of shape `space.shape`."""
        ...


@dataclass(frozen=True)
class Ellipsoid:
    """Ellipsoid: centre (z, y, x), half axes along the rows of `axes` (unit vectors), mm."""

    centre: np.ndarray
    half: np.ndarray
    axes: np.ndarray

    @property
    def box(self) -> Box:
        """See Solid."""
        reach = np.sqrt(((self.axes * self.half[:, None]) ** 2).sum(0)) + 1
        return self.centre - reach, self.centre + reach

    def distance(self, space: Space) -> np.ndarray:
        """See Solid."""
        level = slope = np.float32(0)
        for axis, half in zip(self.axes, self.half, strict=True):
            along = space.along(axis / half, -float(self.centre @ axis) / half)
            square = along * along
            level = level + square
            slope = slope + square * np.float32(half**-2)
        level = np.sqrt(level)
        # Level / |gradient| turns the level, which has no unit, into millimetres near the surface.
        return (level - 1) * level / np.sqrt(slope + np.float32(1e-12))


@dataclass(frozen=True)
class Tube:
    """Round strands: straight pieces (n, 2, 3) from end to end, with radii (n, 2), mm.

    Distances are true within REACH of a strand and FAR elsewhere.
    """

    pieces: np.ndarray
    radii: np.ndarray

    @property
    def box(self) -> Box:
        """See Solid."""
        reach = self.radii.max(1)[:, None] + 1
        return (self.pieces.min(1) - reach).min(0), (self.pieces.max(1) + reach).max(0)

    def distance(self, space: Space) -> np.ndarray:
        """See Solid."""
        nearest = np.full(space.shape, FAR)
        for (start, end), (first, last) in zip(self.pieces, self.radii, strict=True):
            reach = max(first, last) + REACH
            found = space.crop((np.minimum(start, end) - reach, np.maximum(start, end) + reach))
            if found is None:
                continue
            where, inner = found
            way = end - start
            length = max(float(way @ way), 1e-6)
            share = np.clip(inner.along(way / length, -float(start @ way) / length), 0, 1)
            ahead = inner.along(2 * way, -2 * float(start @ way)) - np.float32(length) * share
            gap = np.sqrt(np.maximum(inner.squares(start) - share * ahead, 0))
            gap -= np.float32(first) + np.float32(last - first) * share
            np.minimum(nearest[where], gap, out=nearest[where])
        return nearest


@dataclass(frozen=True)
class Sheet:
    """Thick sheet of triangles: corners (n, 3, 3), half thickness at each corner (n, 3), mm.

    Thickness changes evenly between the corners, and slowly compared to their distance.
    Distances are true within REACH of the sheet and FAR elsewhere.
    """

    corners: np.ndarray
    halves: np.ndarray

    @property
    def box(self) -> Box:
        """See Solid."""
        reach = self.halves.max(1)[:, None] + 1
        return (self.corners.min(1) - reach).min(0), (self.corners.max(1) + reach).max(0)

    def distance(self, space: Space) -> np.ndarray:
        """See Solid."""
        nearest = np.full(space.shape, FAR)
        for triangle, halves in zip(self.corners, self.halves, strict=True):
            reach = halves.max() + REACH
            found = space.crop((triangle.min(0) - reach, triangle.max(0) + reach))
            if found is not None:
                where, inner = found
                gap = _to_triangle(inner, triangle, halves)
                np.minimum(nearest[where], gap, out=nearest[where])
        return nearest


def _to_triangle(space: Space, triangle: np.ndarray, halves: np.ndarray) -> np.ndarray:
    """Distance to a triangle less the half thickness at the nearest point, which is v, w on it."""
    first, one, two = triangle[0], triangle[1] - triangle[0], triangle[2] - triangle[0]
    a, b, c = (np.float32(number) for number in (one @ one, one @ two, two @ two))
    whole = np.float32(a * c - b * b)
    along_one = space.along(one, -float(first @ one))
    along_two = space.along(two, -float(first @ two))
    far = space.squares(first)

    def gap(v: np.ndarray, w: np.ndarray) -> np.ndarray:
        square = far + v * (v * a + w * (2 * b) - 2 * along_one) + w * (w * c - 2 * along_two)
        thick = np.float32(halves[0]) + v * np.float32(halves[1] - halves[0])
        return np.sqrt(np.maximum(square, 0)) - (thick + w * np.float32(halves[2] - halves[0]))

    v, w = (c * along_one - b * along_two) / whole, (a * along_two - b * along_one) / whole
    over = (v >= 0) & (w >= 0) & (v + w <= 1)
    nearest = np.where(over, gap(v, w), FAR)
    zero = np.float32(0)
    nearest = np.minimum(nearest, gap(np.clip(along_one / a, 0, 1), zero))
    nearest = np.minimum(nearest, gap(zero, np.clip(along_two / c, 0, 1)))
    edge = np.clip((along_two - along_one + a - b) / (a - 2 * b + c), 0, 1)
    return np.minimum(nearest, gap(1 - edge, edge))


@dataclass(frozen=True)
class Half:
    """Half space: inside where `normal` @ point < `offset`; `normal` (z, y, x) of length one."""

    normal: np.ndarray
    offset: float
    box: Box = EVERYWHERE

    def distance(self, space: Space) -> np.ndarray:
        """See Solid."""
        return space.along(self.normal, -self.offset)


@dataclass(frozen=True)
class Waves:
    """Random smooth field of about zero mean and unit deviation: a sum of plane waves.

    vectors: (n, 3) radians per mm along z, y, x. phases: (n,). As a solid, it is inside where the
    field is below `threshold`, which leaves islands some half wavelength across.
    """

    vectors: np.ndarray
    phases: np.ndarray
    threshold: float = 0.0
    box: Box = EVERYWHERE

    def distance(self, space: Space) -> np.ndarray:
        """See Solid; in units of deviation, not mm."""
        total = np.full(space.shape, np.float32(-self.threshold))
        size = np.float32(np.sqrt(2 / len(self.phases)))
        for (across, down, along), phase in zip(self.vectors, self.phases, strict=True):
            turn = space.z * np.float32(across) + space.y * np.float32(down) + np.float32(phase)
            total += size * np.cos(turn) * np.cos(space.x * np.float32(along))
            total -= size * np.sin(turn) * np.sin(space.x * np.float32(along))
        return total


@dataclass(frozen=True)
class Rippled:
    """A solid whose surface strays in and out by about `height` mm, following `waves`."""

    solid: Solid
    waves: Waves
    height: float

    @property
    def box(self) -> Box:
        """See Solid."""
        low, high = self.solid.box
        return low - 3 * self.height, high + 3 * self.height

    def distance(self, space: Space) -> np.ndarray:
        """See Solid."""
        return self.solid.distance(space) + np.float32(self.height) * self.waves.distance(space)


@dataclass(frozen=True)
class Union:
    """What lies in any of the solids; edges between them rounded over about `blend` mm."""

    solids: tuple[Solid, ...]
    blend: float = 0.0

    @property
    def box(self) -> Box:
        """See Solid."""
        low, high = join([solid.box for solid in self.solids])
        return low - self.blend / 4, high + self.blend / 4

    def distance(self, space: Space) -> np.ndarray:
        """See Solid."""
        total = self.solids[0].distance(space)
        for solid in self.solids[1:]:
            other = solid.distance(space)
            nearest = np.minimum(total, other)
            if self.blend:
                width = np.float32(self.blend)
                near = np.maximum(width - np.abs(total - other), 0)
                nearest -= near * near / (4 * width)
            total = nearest
        return total


@dataclass(frozen=True)
class Common:
    """What lies in all of the solids."""

    solids: tuple[Solid, ...]

    @property
    def box(self) -> Box:
        """See Solid."""
        return overlap([solid.box for solid in self.solids])

    def distance(self, space: Space) -> np.ndarray:
        """See Solid."""
        total = self.solids[0].distance(space)
        for solid in self.solids[1:]:
            total = np.maximum(total, solid.distance(space))
        return total


@dataclass(frozen=True)
class Outside:
    """What does not lie in the solid, nor within `gap` mm of it."""

    solid: Solid
    gap: float = 0.0
    box: Box = EVERYWHERE

    def distance(self, space: Space) -> np.ndarray:
        """See Solid."""
        return np.float32(self.gap) - self.solid.distance(space)


@dataclass(frozen=True)
class Grown:
    """A solid with `by` mm more all round."""

    solid: Solid
    by: float

    @property
    def box(self) -> Box:
        """See Solid."""
        low, high = self.solid.box
        return low - self.by, high + self.by

    def distance(self, space: Space) -> np.ndarray:
        """See Solid."""
        return self.solid.distance(space) - np.float32(self.by)


@dataclass(frozen=True)
class Seam:
    """What lies within `half` mm of the surface of a solid, on either side."""

    solid: Solid
    half: float

    @property
    def box(self) -> Box:
        """See Solid."""
        low, high = self.solid.box
        return low - self.half, high + self.half

    def distance(self, space: Space) -> np.ndarray:
        """See Solid."""
        return np.abs(self.solid.distance(space)) - np.float32(self.half)
