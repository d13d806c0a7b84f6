"""Partial loss with an ignored label, as nnU-Net's version 2 learns from sparse annotations.

(Gotkowski et al. 2024; Isensee et al., Nature Methods 2021.) Voxels whose class is not known for
certain are left out, of the cross-entropy and of the Dice. It is the natural baseline for scribbles
and sparse slices; of partial labels it keeps the drawn structures alone, without any background.
"""

from __future__ import annotations

import torch
from torch import Tensor

from piecemeal.losses import naive_cross_entropy
from piecemeal.methods._batch_dice import SMOOTH, batch_dice, make_targets
from piecemeal.methods._levels import OnLevels
from piecemeal.methods._tasks import of_one_class


class IgnoreLabel(OnLevels):
    """Cross-entropy of the known voxels plus the soft Dice of the batch over the same ones."""

    most_processes = 1  # the samples of a batch share the sums of the Dice

    def loss(self, logits: Tensor, codes: Tensor, sets: Tensor) -> Tensor:
        """Mean cross-entropy of the known voxels + 1 minus the mean Dice of the structures.

        logits (B, C, *space), codes (B, *space), sets (B, K, C). 0 if nothing is known.
        """
        known = of_one_class(sets)
        channels = torch.arange(self.classes, device=codes.device)
        targets = make_targets(codes, known, channels, self.classes - 1)
        entropy = naive_cross_entropy(logits, codes, known, reduction="known_mean")
        return entropy + batch_dice(logits, targets, SMOOTH)
