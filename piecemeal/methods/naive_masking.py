"""Naive masking: voxels of a super label are left out of the loss; Kemnitz et al. (2018), eq. (2).

The mean runs over all voxels of the batch, masked ones included, as for SLAC; `reduction:
known_mean` divides by the unmasked ones instead.
"""

from torch import Tensor

from piecemeal.losses import naive_cross_entropy
from piecemeal.methods._base import Method


class NaiveMasking(Method):
    """Cross-entropy where the class is known, nothing elsewhere."""

    def __init__(self, classes: int, reduction: str = "mean"):
        super().__init__(classes)
        self.reduction = reduction

    def loss(self, logits: Tensor, codes: Tensor, sets: Tensor) -> Tensor:
        """Cross-entropy of the voxels whose set holds one class."""
        return naive_cross_entropy(logits, codes, sets, reduction=self.reduction)
