"""Prediction slice by slice, with neighbouring slices as further channels (2.5D) where asked.

A network that was trained on parts of the slices predicts a slice in overlapping tiles of their
size, as PIPO-FAN's authors do (Fang and Yan, TMI 2020): tiles of 224 x 224 pixels at steps of 112,
four of a slice of 256 x 256.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from piecemeal.inference.windows import Place, merged_planes


def slice_planes(
    read: Callable[[Tensor], Tensor], image: np.ndarray, neighbours: int, batch_size: int
) -> Iterator[Tensor]:
    """Probabilities (classes, y, x) of every slice of an image (z, y, x), in order.

    read: images (B, 2 * neighbours + 1, y, x) to probabilities (B, classes, y, x). The channels are
    the slices z - neighbours to z + neighbours; the first and the last slice stand in for those
    beyond them.
    """
    for start in range(0, len(image), batch_size):
        slices = np.arange(start, min(start + batch_size, len(image)))
        yield from read(torch.from_numpy(stacked(image, slices, neighbours)))


def stacked(image: np.ndarray, slices: np.ndarray, neighbours: int) -> np.ndarray:
    """The slices (n,) of an image (z, y, x) with their neighbours: (n, 2 * neighbours + 1, y, x).

    A copy: the image may be a memory map, which torch must not write to.
    """
    return np.asarray(image[_channels(slices, image, neighbours)])


def tile_planes(
    read: Callable[[Tensor], Tensor],
    image: np.ndarray,
    neighbours: int,
    size: tuple[int, int],
    overlap: float,
    weights: str,
    batch_size: int,
    device: torch.device,
) -> Iterator[Tensor]:
    """As `slice_planes`, every slice in tiles of `size` (h, w) of which batches may cross slices.

    read: tiles (B, 2 * neighbours + 1, h, w) to probabilities (B, classes, h, w) on `device`;
    overlap, weights: see `windows.spans`. What lies beyond a slice is 0.
    """

    def read_at(tiles: Sequence[Place]) -> Tensor:
        pixels = np.zeros((len(tiles), 2 * neighbours + 1, *size), np.float32)
        for target, (z, y, x) in zip(pixels, tiles, strict=True):
            channels = _channels(np.array(z.inside.start), image, neighbours)
            target[:, y.within, x.within] = image[channels, y.inside, x.inside]
        return read(torch.from_numpy(pixels)).unsqueeze(2)

    size_3d = (1, *size)
    return merged_planes(read_at, image.shape, size_3d, overlap, weights, batch_size, device)


def _channels(slices: np.ndarray, image: np.ndarray, neighbours: int) -> np.ndarray:
    """Which slices (*slices, 2 * neighbours + 1) are the channels of `slices`."""
    around = np.arange(-neighbours, neighbours + 1)
    return (slices[..., None] + around).clip(0, len(image) - 1)
