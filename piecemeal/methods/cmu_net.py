"""CMU-Net (Moseley et al. 2023): segmentation and presence of the organ, learned together."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from piecemeal.methods._sigmoid_dice import SigmoidDice, focal, presence


class CMUNet(SigmoidDice):
    """Half the Dice of the mask, half the focal loss of the slice's presence.

    positive, negative: weights of the focal loss (the paper's 0.8 and 0.2); gamma: its exponent,
    2 as in Lin et al., which the paper does not state. The network says both from one pass
    (`forward(images, output="both")`); the mask alone is validated and predicted.
    """

    def __init__(
        self, classes: int, positive: float = 0.8, negative: float = 0.2, gamma: float = 2.0
    ):
        super().__init__(classes)
        self.weights = (positive, negative, gamma)

    def training_loss(
        self, forward: Callable[..., Any], images: Tensor, codes: Tensor, sets: Tensor, done: float
    ) -> Tensor:
        """0.5 Dice + 0.5 focal (section 2.2)."""
        logits, present = forward(images, output="both")
        classification = focal(present[:, 0], *presence(codes, sets), *self.weights)
        return 0.5 * self.loss(logits, codes, sets) + 0.5 * classification
