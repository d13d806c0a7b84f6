"""What a method reads out of its network, averaged over flips."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from piecemeal.methods._base import Method

AUTOCAST = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Reader:
    """Turns images (B, channels, *space) into probabilities (B, classes, *space) in float32.

    The probabilities lie on the device of the network. flips: sets of axes (0, 1, 2 for z, y, x);
    the images are evaluated as they are and once more for every set, flipped along its axes, and
    the probabilities, flipped back, are averaged. precision: float32, or bfloat16 or float16 for
    autocast around the network.
    """

    def __init__(
        self,
        method: Method,
        network: nn.Module,
        flips: Sequence[Sequence[int]] = (),
        precision: str = "float32",
    ):
        self.device = next(network.parameters()).device
        self._method, self._network = method, network
        # Counted from the last axis, so that y and x are the same of a slice and of a window.
        self._flips = [[axis - 3 for axis in axes] for axes in flips]
        self._reduced = AUTOCAST[precision]

    def __call__(self, images: Tensor) -> Tensor:
        """Probabilities of `images`, which may lie on any device."""
        if self.device.type == "cuda" and not images.is_cuda:
            # From pinned memory, the next batch is read while the device works on this one.
            images = images.pin_memory()
        images = images.to(self.device, non_blocking=True)
        total = self._evaluate(images)
        for axes in self._flips:
            total = total + self._evaluate(images.flip(axes)).flip(axes)
        return total / (1 + len(self._flips)) if self._flips else total

    def _evaluate(self, images: Tensor) -> Tensor:
        dtype, enabled = self._reduced or torch.bfloat16, self._reduced is not None
        with torch.autocast(self.device.type, dtype, enabled=enabled):
            return self._method.read_out(self._network, images)
