"""Solids that follow the body's axis: cross-sections that change with height.

A section is a superellipse, deeper in front than behind or the other way round, with a hollow in
the middle of its back where the spine stands.
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from scipy.interpolate import PchipInterpolator

from piecemeal.datasets.phantoms.drawing.solids import FAR, Solid
from piecemeal.datasets.phantoms.drawing.spaces import Box, Space

COLUMNS = ("z", "x", "y", "across", "front", "back")


@dataclass(frozen=True)
class Loft:
    """Superellipses stacked along z.

    table: rows of COLUMNS, rising in z: height, centre, half width, half depths, mm; smooth in
    between, nothing beyond the first and last row. power: 2 for ellipses, more for boxes.
    hollow: (depth, width): the back stands `depth` times nearer the centre in the midline, over
    about `width` mm to either side; depth 1 for none.
    """

    table: np.ndarray
    power: float = 2.0
    hollow: tuple[float, float] = (1.0, 1.0)

    @cached_property
    def _at(self) -> PchipInterpolator:
        return PchipInterpolator(self.table[:, 0], self.table[:, 1:])

    @property
    def box(self) -> Box:
        """See Solid."""
        _, x, y, across, front, back = self.table.T
        low = np.array([self.table[0, 0], (y - front).min(), (x - across).min()])
        return low - 1, np.array([self.table[-1, 0], (y + back).max(), (x + across).max()]) + 1

    def section(self, space: Space) -> tuple[np.ndarray, np.ndarray]:
        """Return level - 1 (0 on the surface) and its slope per mm, of full shape."""
        heights = space.z[:, 0, 0].astype(float)
        rows = self._at(np.clip(heights, self.table[0, 0], self.table[-1, 0])).astype(np.float32)
        x, y, across, front, back = (column[:, None, None] for column in rows.T)
        right, down = (space.x - x) / across, space.y - y
        down = down / np.where(down > 0, back, front)
        deep = np.where(down > 0, back, front)
        power = np.float32(self.power)
        wide, tall = np.abs(right) ** (power - 1), np.abs(down) ** (power - 1)
        level = wide * np.abs(right) - 1
        rise = tall * np.abs(down)
        slope_x, slope_y = power * wide / across, power * tall / deep
        depth, width = self.hollow
        if depth == 1:
            return level + rise, np.sqrt(slope_x**2 + slope_y**2)
        strength = np.float32(depth**self.power - 1) * np.exp(-(((space.x - x) / width) ** 2))
        behind = np.where(down > 0, np.float32(1), np.float32(0))
        level = level + rise + strength * (rise * behind)
        slope_y = slope_y + strength * (slope_y * behind)
        return level, np.sqrt(slope_x**2 + slope_y**2)

    def distance(self, space: Space) -> np.ndarray:
        """See Solid."""
        level, slope = self.section(space)
        gap = level / np.maximum(slope, np.float32(0.3 * self.power / self.table[:, 3:].max()))
        ends = np.maximum(self.table[0, 0] - space.z, space.z - self.table[-1, 0])
        return np.where(ends > 0, FAR, gap).astype(np.float32)


@dataclass(frozen=True)
class Padded:
    """A solid with a layer around it: `thickness` mm at heights `z`, more in front and behind.

    front, back: relative growth of the layer from the middle to 100 mm in front and behind.
    """

    solid: Solid
    z: np.ndarray
    thickness: np.ndarray
    front: float = 0.0
    back: float = 0.0

    @property
    def box(self) -> Box:
        """See Solid."""
        low, high = self.solid.box
        most = 2.5 * self.thickness.max() * np.array([0, 1, 1])
        return low - most, high + most

    def distance(self, space: Space) -> np.ndarray:
        """See Solid."""
        layer = np.interp(space.z, self.z, self.thickness).astype(np.float32)
        reach = np.clip(space.y / np.float32(100), -1, 1)
        growth = np.maximum(-reach * np.float32(self.front), reach * np.float32(self.back))
        return self.solid.distance(space) - layer * (1 + growth)


@dataclass(frozen=True)
class Diaphragm:
    """What lies above the diaphragm: two domes that spring from the wall of `chest`.

    insertion: heights (front, side, back) where it leaves the wall. domes: heights of the right
    and left one, and of the saddle between them. tops: their places (right x, left x), mm.
    """

    chest: Loft
    insertion: tuple[float, float, float]
    domes: tuple[float, float, float]
    tops: tuple[float, float]
    box: Box = field(init=False)

    def __post_init__(self):
        low, high = (corner.copy() for corner in self.chest.box)
        low[0] = min(self.insertion)
        object.__setattr__(self, "box", (low, high))

    def distance(self, space: Space) -> np.ndarray:
        """See Solid."""
        level, _ = self.chest.section(space)
        arch = np.sqrt(np.clip(1 - np.clip(1 + level, 0, 1) ** 2, 0, 1))
        front, side, back = self.insertion
        reach = np.clip(space.y / np.float32(85), -1, 1)
        foot = side + np.where(reach < 0, (front - side) * reach**2, (back - side) * reach**2)
        right, left, saddle = self.domes
        # Two bumps over the saddle; each falls off to the other side within some 45 mm.
        bumps = (right - saddle) * np.exp(-(((space.x - self.tops[0]) / 48) ** 2))
        bumps = bumps + (left - saddle) * np.exp(-(((space.x - self.tops[1]) / 48) ** 2))
        height = foot + (np.float32(saddle) + bumps - foot) * arch
        # The sheet is steep at the wall: the distance along z overstates the one across it.
        return ((height - space.z) / np.sqrt(1 + (3 * (1 - arch)) ** 2)).astype(np.float32)
