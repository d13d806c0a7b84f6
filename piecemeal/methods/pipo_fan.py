"""PIPO-FAN (Fang and Yan, TMI 2020), a baseline of Li et al. (2023), with its own training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from piecemeal.errors import InputError
from piecemeal.methods._base import Method
from piecemeal.methods._target_adaptive import target_adaptive_loss


class PipoFan(Method):
    """Target adaptive loss: of each of the five maps first, then of what the attention makes of
    them.

    pyramid: share of the steps with deep pyramid supervision, in which the attention is not
    trained; half, as the papers do not state it. background, target: weights of voxels without
    and with a drawn structure; 1 and 1, as the released code leaves its weights out.
    """

    uses_all_parameters = False

    def __init__(
        self, classes: int, pyramid: float = 0.5, background: float = 1.0, target: float = 1.0
    ):
        super().__init__(classes)
        if not 0 <= pyramid < 1:
            raise InputError(f"pipo_fan: pyramid is {pyramid}; expected a share from 0 to below 1")
        self.pyramid = self.watched_from = pyramid
        self.weights = (background, target)

    def loss(self, logits: Tensor, codes: Tensor, sets: Tensor) -> Tensor:
        """Weighted mean of -log q_A of the fused logits."""
        return target_adaptive_loss(logits, codes, sets, *self.weights)

    def training_loss(
        self, forward: Callable[..., Any], images: Tensor, codes: Tensor, sets: Tensor, done: float
    ) -> Tensor:
        """The sum of the five maps' losses in the first phase, that of the fused logits after."""
        if done < self.pyramid:
            maps = forward(images, output="pyramid")
            return sum(self.loss(logits, codes, sets) for logits in maps)
        return self.loss(forward(images), codes, sets)
