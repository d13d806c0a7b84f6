"""Predictions of a whole scan, returned to the scan's own space."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from piecemeal.datasets.grid import resample_from_grid
from piecemeal.datasets.store import PreparedScan
from piecemeal.methods._base import Method


class ForwardPasses:
    """Counts the single inputs, slices or windows, that `network` evaluates in a `with` block.

    `count` is 8 after a batch of 8, whoever asks for it: method, ensemble or sliding window. It is
    0 without a network.
    """

    def __init__(self, network: nn.Module | None):
        self.network, self.count = network, 0

    def __enter__(self) -> ForwardPasses:
        if self.network is not None:
            self._hook = self.network.register_forward_hook(self._add)
        return self

    def __exit__(self, *_) -> None:
        if self.network is not None:
            self._hook.remove()

    def _add(self, network: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        self.count += len(inputs[0])


def predict(method: Method, network: nn.Module | None, scan: PreparedScan) -> np.ndarray:
    """Class ids (z, y, x) uint8 on the scan's native grid.

    Probabilities, not labels, are resampled (linearly) to the native pixels, then the most likely
    class is taken, as in the code that Kemnitz et al. cite (acdc_segmenter).
    """
    if network is None:
        probabilities = method.without_network(np.asarray(scan.labels))
    else:
        probabilities = slice_probabilities(method, network, np.asarray(scan.image))
    native = resample_from_grid(probabilities, scan.geometry, order=1)
    # Outside the grid every probability is 0, and argmax gives the first class: background.
    return native.argmax(axis=0).astype(np.uint8)


@torch.inference_mode()
def slice_probabilities(
    method: Method, network: nn.Module, image: np.ndarray, batch_size: int = 8
) -> np.ndarray:
    """Probabilities (classes, z, y, x) float32 of an image (z, y, x), slice by slice."""
    device = next(network.parameters()).device
    parts = []
    for start in range(0, len(image), batch_size):
        # Copied: the image may be a memory map that torch must not write to.
        slices = torch.from_numpy(image[start : start + batch_size].copy())[:, None].to(device)
        parts.append(method.probabilities(network(slices)).cpu())
    return torch.cat(parts).transpose(0, 1).contiguous().numpy()
