"""From the cohort's grid to the scan's own voxels, on the device that predicts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from piecemeal.bitmasks import FOUND
from piecemeal.datasets.grid import TIE, Geometry, covered


class Taps(NamedTuple):
    """For every native voxel of an axis the two of the grid between which it lies.

    low, high: their indices, equal where it lies on one; fraction: how far it is from low to high.
    """

    low: np.ndarray
    high: np.ndarray
    fraction: np.ndarray


def taps(source: int, target: int, step: float, nearest: bool = False) -> tuple[slice, Taps]:
    """The native voxels of an axis that the grid covers, and their taps; see `covered`.

    nearest: one voxel of the grid each, as `resample_from_grid` takes it for labels.
    """
    inside, first = covered(source, target, step)
    # Positions beyond the outermost centres take the value of the border.
    position = (first + step * np.arange(inside.stop - inside.start)).clip(0, source - 1)
    if nearest:
        position = np.floor(position + 0.5 - TIE)
    low = np.floor(position).astype(np.int64)
    fraction = position - low
    return inside, Taps(low, low + (fraction > 0), fraction)


class ToNative:
    """Resampling of the planes of the grid to those of the scan; see `datasets.grid`.

    Linear, or nearest: the class of a native voxel is then that of the grid's nearest voxel.
    `inside` are the native voxels (z, y, x) that the grid covers. Agrees there with
    `resample_from_grid` up to rounding in float32.
    """

    def __init__(self, geometry: Geometry, device: torch.device, nearest: bool = False):
        axes = zip(geometry.grid_shape, geometry.native_shape, geometry.steps, strict=True)
        found = (taps(*axis, nearest) for axis in axes)
        inside, (self._planes, *in_plane) = zip(*found, strict=True)
        self.inside: tuple[slice, slice, slice] = inside
        self._shape, self._device = geometry.native_shape, device
        self._rows, self._columns = (
            (
                torch.from_numpy(axis.low).to(device),
                torch.from_numpy(axis.high).to(device),
                torch.tensor(axis.fraction, dtype=torch.float32, device=device),
            )
            for axis in in_plane
        )

    def __call__(self, planes: Iterable[Tensor], bits: Sequence[int] = ()) -> Tensor:
        """The most likely class (z, y, x) uint8 of every native voxel, background outside the grid.

        planes: probabilities (classes, y, x) on the grid, in the order of z. They are asked for
        one by one, and none after the last that a native plane needs.
        bits: classes that may overlap, 8 at most. With them the result is a bit mask over them (see
        `bitmasks`): each is there where its own probability is at least 0.5.
        """
        z, y, x = self.inside
        # The result stays on the device to the end: reading every plane back would wait for it.
        found = torch.zeros(self._shape, dtype=torch.uint8, device=self._device)
        for plane, probabilities in zip(found[z], self.probabilities(planes), strict=True):
            if bits:
                plane[y, x] = _as_bits(probabilities[list(bits)] >= FOUND)
            else:
                plane[y, x] = probabilities.argmax(dim=0).to(torch.uint8)
        return found

    def probabilities(self, planes: Iterable[Tensor]) -> Iterator[Tensor]:
        """Those (classes, y, x) of the native voxels `inside`, plane by plane; see `__call__`.

        No more than two planes of the grid are held.
        """
        planes, read = iter(planes), 0
        below = above = None
        for low, high, fraction in zip(*(axis.tolist() for axis in self._planes), strict=True):
            while read <= high:
                below = above  # first, so that a third plane is not held while the next is made
                above = next(planes)
                read += 1
            yield self._in_plane(above if low == high else torch.lerp(below, above, fraction))

    def _in_plane(self, plane: Tensor) -> Tensor:
        low, high, fraction = self._columns
        plane = torch.lerp(plane.index_select(2, low), plane.index_select(2, high), fraction)
        low, high, fraction = self._rows
        rows = fraction[:, None]
        return torch.lerp(plane.index_select(1, low), plane.index_select(1, high), rows)


def _as_bits(found: Tensor) -> Tensor:
    """What is found (n, y, x), bool, as one bit mask (y, x), uint8."""
    values = 2 ** torch.arange(len(found), device=found.device)
    return (found * values.view(-1, 1, 1)).sum(dim=0).to(torch.uint8)
