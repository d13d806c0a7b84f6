"""The pre-trained U-Net of Moseley et al. (2023): presence first, then the mask."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from piecemeal.errors import InputError
from piecemeal.methods._sigmoid_dice import SigmoidDice, focal, presence


class PretrainedUNet(SigmoidDice):
    """The encoder learns whether a slice shows the organ; then everything learns the mask.

    pretraining: share of the steps that the first phase takes (not stated in the paper: half).
    positive, negative: weights of its focal loss (the paper's 0.5 and 0.5); gamma: its exponent.
    """

    uses_all_parameters = False

    def __init__(
        self,
        classes: int,
        pretraining: float = 0.5,
        positive: float = 0.5,
        negative: float = 0.5,
        gamma: float = 2.0,
    ):
        super().__init__(classes)
        if not 0 < pretraining < 1:
            raise InputError(
                f"pretrained_u_net: pretraining is {pretraining}; expected a share between 0 and 1"
            )
        self.pretraining = self.watched_from = pretraining
        self.weights = (positive, negative, gamma)

    def training_loss(
        self, forward: Callable[..., Any], images: Tensor, codes: Tensor, sets: Tensor, done: float
    ) -> Tensor:
        """The focal loss of presence in the first phase, the Dice of the mask in the second."""
        if done < self.pretraining:
            present = forward(images, output="presence")
            return focal(present[:, 0], *presence(codes, sets), *self.weights)
        return self.loss(forward(images), codes, sets)
