"""From the cohort's grid to the scan's own pixels, on the device that predicts."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from piecemeal.datasets.grid import Geometry, covered


class ToNative:
    """Linear resampling of planes (classes, size, size) of the grid; see `datasets.grid`.

    `inside` are the native pixels (y, x) that the grid covers. Agrees there with
    `resample_from_grid` up to rounding in float32.
    """

    def __init__(self, geometry: Geometry, device: torch.device):
        inside, taps = [], []
        for source, target, spacing in zip(
            geometry.grid_shape[1:], geometry.native_shape[1:], geometry.spacing[1:], strict=True
        ):
            step = spacing / geometry.grid_spacing
            where, first = covered(source, target, step)
            # Positions beyond the outermost centres take the value of the border.
            position = (first + step * np.arange(where.stop - where.start)).clip(0, source - 1)
            low = np.floor(position).astype(np.int64)
            high = np.minimum(low + 1, source - 1)
            fraction = torch.tensor(position - low, dtype=torch.float32, device=device)
            inside.append(where)
            taps.append((*(torch.from_numpy(i).to(device) for i in (low, high)), fraction))
        self.inside = tuple(inside)
        self._rows, self._columns = taps

    def __call__(self, plane: Tensor) -> Tensor:
        """The pixels `inside` of a plane (classes, size, size) of the grid: (classes, y, x)."""
        low, high, fraction = self._columns
        plane = torch.lerp(plane.index_select(2, low), plane.index_select(2, high), fraction)
        low, high, fraction = self._rows
        rows = fraction[:, None]
        return torch.lerp(plane.index_select(1, low), plane.index_select(1, high), rows)
