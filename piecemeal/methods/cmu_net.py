"""CMU-Net (Moseley et al. 2023): segmentation and presence of the organ, learned together."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from piecemeal.methods._sigmoid_dice import SigmoidDice, focal, presence


class CMUNet(SigmoidDice):
    """Half the Dice of the mask, half the focal loss of the slice's presence.

    positive, negative: weights of the focal loss (the paper's 0.8 and 0.2); gamma: its exponent,
    2 as in Lin et al., which the paper does not state. The network says both from one pass
    (`forward(images, output="both")`); the mask alone is validated, and predicted. gated: slices
    whose presence is below one half are predicted empty, which the paper does not do.
    """

    def __init__(
        self,
        classes: int,
        positive: float = 0.8,
        negative: float = 0.2,
        gamma: float = 2.0,
        gated: bool = False,
    ):
        super().__init__(classes)
        self.weights, self.gated = (positive, negative, gamma), gated

    def training_loss(
        self, forward: Callable[..., Any], images: Tensor, codes: Tensor, sets: Tensor, done: float
    ) -> Tensor:
        """0.5 Dice + 0.5 focal (section 2.2)."""
        logits, present = forward(images, output="both")
        classification = focal(present[:, 0], *presence(codes, sets), *self.weights)
        return 0.5 * self.loss(logits, codes, sets) + 0.5 * classification

    def read_out(self, network: nn.Module, images: Tensor) -> Tensor:
        """Class probabilities; with `gated` those of background where the organ is found absent."""
        if not self.gated:
            return super().read_out(network, images)
        logits, present = network(images, output="both")
        with torch.autocast(images.device.type, enabled=False):
            chances = self.probabilities(logits)
            absent = (present.float() < 0).view(-1, *[1] * (chances.ndim - 1))
            empty = torch.zeros_like(chances)
            empty[:, 0] = 1
            return torch.where(absent, empty, chances)
