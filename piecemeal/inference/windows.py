"""Prediction of a volume in overlapping windows, with the memory of one window's depth.

Windows lie on a grid along z, y and x and are visited in the order of z. A plane that no later
window touches is handed on at once, so sums are kept of (window depth, classes, y, x) at most.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Span(NamedTuple):
    """A window along one axis.

    inside: the voxels of the volume that it covers; within: the same voxels in the window, whose
    other voxels are padding; weights: of these voxels. What all spans of the axis give to a voxel
    of the volume sums to 1.
    """

    inside: slice
    within: slice
    weights: Tensor


# A window: where it lies along z, y and x.
Place = tuple[Span, Span, Span]


def importance(size: int, weights: str) -> np.ndarray:
    """What the voxels of a window count along one axis of `size` voxels, float64.

    weights: `uniform`, or `gaussian` with a standard deviation of size / 8 as in nnU-Net (Isensee
    et al. 2021, compute_gaussian). Its peak is the middle of the window, so that flips change
    nothing; nnU-Net's is voxel size // 2, half a voxel off in windows of even size.
    """
    if weights == "uniform":
        return np.ones(size)
    position = np.arange(size) - (size - 1) / 2
    return np.exp(-((position / (size / 8)) ** 2) / 2)


def spans(length: int, size: int, overlap: float, weights: str, device: torch.device) -> list[Span]:
    """The windows of `size` voxels along an axis of `length` voxels, in order.

    They follow each other in steps of `size` less the overlap, a share of `size`, rounded down;
    the last ends with the volume. A volume smaller than the window lies in its middle, the odd
    voxel of padding behind it. This is where MONAI's sliding_window_inference puts its windows;
    nnU-Net spreads as many evenly. weights: see `importance`.
    """
    if length <= size:
        corners = [-((size - length) // 2)]
    else:
        # 1e-6: ten times 1 - 0.9 is a little less than 1.
        step = max(1, int(size * (1 - overlap) + 1e-6))
        corners = [*range(0, length - size, step), length - size]
    counts = importance(size, weights)
    places, total = [], np.zeros(length)
    for corner in corners:
        inside = slice(max(corner, 0), min(corner + size, length))
        within = slice(inside.start - corner, inside.stop - corner)
        total[inside] += counts[within]
        places.append((inside, within))
    shares = (counts[within] / total[inside] for inside, within in places)
    return [
        Span(*place, torch.tensor(share, dtype=torch.float32, device=device))
        for place, share in zip(places, shares, strict=True)
    ]


class Accumulator:
    """Weighted probabilities of the planes that windows still touch, in float32.

    `sums` (depth, classes, y, x) is a ring: plane z of the volume is its plane z % depth, and
    `first` is the lowest plane it holds.
    """

    def __init__(self, depth: int, classes: int, plane: Sequence[int], device: torch.device):
        self.sums = torch.zeros(depth, classes, *plane, device=device)
        self.first = 0

    def add(self, probabilities: Tensor, window: Place) -> None:
        """Add those (classes, *size) of a window, which covers `depth` planes of the volume."""
        z, y, x = window
        weights = z.weights[:, None, None] * y.weights[:, None] * x.weights
        part = (probabilities[:, z.within, y.within, x.within] * weights).transpose(0, 1)
        start = z.inside.start % len(self.sums)
        turn = len(self.sums) - start
        self.sums[start:, :, y.inside, x.inside].add_(part[:turn])
        self.sums[:start, :, y.inside, x.inside].add_(part[turn:])

    def release(self, stop: int) -> Iterator[Tensor]:
        """The planes (classes, y, x) below `stop`, which nothing is added to any more."""
        while self.first < stop:
            plane = self.sums[self.first % len(self.sums)]
            done = plane.clone()
            plane.zero_()
            self.first += 1
            yield done


def window_planes(
    read: Callable[[Tensor], Tensor],
    image: np.ndarray,
    size: Sequence[int],
    overlap: float,
    weights: str,
    batch_size: int,
    device: torch.device,
) -> Iterator[Tensor]:
    """Probabilities (classes, y, x) of every plane of an image (z, y, x), in order.

    read: windows (B, 1, *size) to probabilities (B, classes, *size) on `device`; overlap, weights:
    see `spans`. What lies beyond the image is 0.
    """

    def read_at(windows: Sequence[Place]) -> Tensor:
        return read(_cut(image, windows, size))

    return merged_planes(read_at, image.shape, size, overlap, weights, batch_size, device)


def merged_planes(
    read_at: Callable[[Sequence[Place]], Tensor],
    shape: Sequence[int],
    size: Sequence[int],
    overlap: float,
    weights: str,
    batch_size: int,
    device: torch.device,
) -> Iterator[Tensor]:
    """Probabilities (classes, y, x) of every plane of a volume of `shape` (z, y, x), in order.

    read_at: places of windows to their probabilities (B, classes, *size) on `device`, at most
    `batch_size` at a time; the others: see `window_planes`.
    """
    axes = [
        spans(length, window, overlap, weights, device)
        for length, window in zip(shape, size, strict=True)
    ]
    windows, sums = list(itertools.product(*axes)), None
    for start in range(0, len(windows), batch_size):
        batch = windows[start : start + batch_size]
        for window, probabilities in zip(batch, read_at(batch), strict=True):
            if sums is None:
                depth = min(size[0], shape[0])
                sums = Accumulator(depth, len(probabilities), shape[1:], device)
            yield from sums.release(window[0].inside.start)
            sums.add(probabilities, window)
    yield from sums.release(shape[0])


def _cut(image: np.ndarray, windows: Sequence[Place], size: Sequence[int]) -> Tensor:
    """The voxels (B, 1, *size) of the windows, 0 in the padding."""
    voxels = np.zeros((len(windows), 1, *size), np.float32)
    for target, (z, y, x) in zip(voxels[:, 0], windows, strict=True):
        target[z.within, y.within, x.within] = image[z.inside, y.inside, x.inside]
    return torch.from_numpy(voxels)
