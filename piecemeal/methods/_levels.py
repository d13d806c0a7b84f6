"""Deep supervision: a loss on every level of a network that gives the logits of several (nnunet).

The weights are those of nnU-Net (Isensee et al., Nature Methods 2021): halved from level to level,
without the coarsest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from piecemeal.methods._base import Method


class OnLevels(Method):
    """Base of methods whose loss is taken on all levels of networks with a `pyramid`.

    Networks without one are trained on their prediction alone.
    """

    def __init__(self, classes: int):
        super().__init__(classes)
        self.options: dict[str, Any] = {}  # of the network, in training

    def notice_levels(self, network: nn.Module) -> None:
        """See whether `network` gives the logits of its levels in training."""
        deep = callable(getattr(network, "pyramid", None))
        self.options = {"output": "pyramid"} if deep else {}

    def build(self, network: Callable[..., nn.Module]) -> nn.Module:
        """The network, whose levels are noticed."""
        built = super().build(network)
        self.notice_levels(built)
        return built

    def training_loss(
        self, forward: Callable[..., Any], images: Tensor, codes: Tensor, sets: Tensor, done: float
    ) -> Tensor:
        """Weighted sum of the losses on all levels that the network has."""
        levels = as_levels(forward(images, **self.options))
        return sum(
            weight * self.loss(logits, codes_at(codes, logits.shape[2:]), sets)
            for weight, logits in zip(level_weights(len(levels)), levels, strict=True)
        )


def as_levels(output: Any) -> list[Tensor]:
    """What a network gave, as a list of logits from fine to coarse."""
    return output if isinstance(output, list) else [output]


def codes_at(codes: Tensor, space: Sequence[int]) -> Tensor:
    """Codes (B, *space) of the voxels in the middle of those of a coarser grid."""
    for axis, (have, want) in enumerate(zip(codes.shape[1:], space, strict=True), start=1):
        if have != want:
            middles = (2 * torch.arange(want, device=codes.device) + 1) * have // (2 * want)
            codes = codes.index_select(axis, middles)
    return codes


def level_weights(levels: int) -> list[float]:
    """Weights of the levels from fine to coarse: 1/2^k, the coarsest 0 beside others, sum 1.

    It is not left out, so that every head has a gradient.
    """
    weights = [0.0 if 0 < k == levels - 1 else 0.5**k for k in range(levels)]
    return [weight / sum(weights) for weight in weights]
