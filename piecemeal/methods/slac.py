"""Super-label-aware cross-entropy (SLAC): Kemnitz et al. (2018), eq. (3).

Where the annotator drew a super label, the loss asks that the summed probability of its members be
high; elsewhere it is plain cross-entropy. Both are the cross-entropy of a label set.
"""

from torch import Tensor

from piecemeal.losses import marginal_cross_entropy
from piecemeal.methods._base import Method


class Slac(Method):
    """Marginal cross-entropy over whatever label sets the annotation holds."""

    def __init__(self, classes: int, reduction: str = "mean"):
        super().__init__(classes)
        self.reduction = reduction

    def loss(self, logits: Tensor, codes: Tensor, sets: Tensor) -> Tensor:
        """-log of the summed probability of each voxel's label set."""
        return marginal_cross_entropy(logits, codes, sets, reduction=self.reduction)
