"""Prediction slice by slice, with neighbouring slices as further channels (2.5D) where asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor


def slice_planes(
    read: Callable[[Tensor], Tensor], image: np.ndarray, neighbours: int, batch_size: int
) -> Iterator[Tensor]:
    """Probabilities (classes, y, x) of every slice of an image (z, y, x), in order.

    read: images (B, 2 * neighbours + 1, y, x) to probabilities (B, classes, y, x). The channels are
    the slices z - neighbours to z + neighbours; the first and the last slice stand in for those
    beyond them.
    """
    around = np.arange(-neighbours, neighbours + 1)
    for start in range(0, len(image), batch_size):
        slices = np.arange(start, min(start + batch_size, len(image)))
        channels = (slices[:, None] + around).clip(0, len(image) - 1)
        # Indexing by arrays copies: the image may be a memory map that torch must not write to.
        yield from read(torch.from_numpy(np.asarray(image[channels])))
