"""Plain cross-entropy on complete labels: Kemnitz et al. (2018), eq. (1).

The lower bound trains it on the completely labelled half, the upper bound on everything, unaltered.
"""

import numpy as np
from torch import Tensor

from piecemeal.errors import InputError
from piecemeal.losses import marginal_cross_entropy
from piecemeal.methods._base import Method


class CrossEntropy(Method):
    """Refuses annotations that leave a choice: those need another method."""

    def check(self, sets: np.ndarray) -> None:
        """Refuse a table (K, C) with a set of several classes, unless it is the one of all."""
        members = sets.sum(axis=-1)
        if ((members > 1) & (members < self.classes)).any():
            raise InputError(
                "cross_entropy needs complete labels, but the annotation holds sets of several "
                "classes; choose a complete annotation, or naive_masking or slac, in runs.tsv"
            )

    def loss(self, logits: Tensor, codes: Tensor, sets: Tensor) -> Tensor:
        """Mean over all voxels of -log q(y), which is the marginal one when every set is {y}.

        0 for voxels of which nothing is known, as those that augmentation moves in from outside.
        """
        return marginal_cross_entropy(logits, codes, sets)
