"""The target adaptive loss of PIPO-FAN and UniMOS.

Equation 1 of Li et al. (2023), which is printed without its minus sign.

A data set draws some structures and leaves the others in its background, so the loss asks of a
voxel without a drawn one that the background or any of the others be likely: marginal
cross-entropy over label sets. The released code of UniMOS weights the two kinds of voxels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from piecemeal.losses import marginal_cross_entropy


def voxel_weights(codes: Tensor, sets: Tensor, background: float, target: float) -> Tensor:
    """What every voxel counts, float32 (B, *space), from codes (B, *space) and sets (B, K, C).

    `background` where its set holds class 0, `target` where not, 0 where it holds every class.
    """
    sets = sets.bool()
    weights = torch.where(sets[:, :, 0], background, target)
    weights = weights.masked_fill(sets.all(dim=2), 0)
    return weights.gather(1, codes.flatten(1).long()).view(codes.shape)


def weighted_values(
    logits: Tensor, codes: Tensor, sets: Tensor, background: float, target: float
) -> Tensor:
    """-log q_A of every voxel times its weight, (B, *space); arguments as in piecemeal.losses."""
    values = marginal_cross_entropy(logits, codes, sets, reduction="none")
    return values * voxel_weights(codes, sets, background, target)


def target_adaptive_loss(
    logits: Tensor, codes: Tensor, sets: Tensor, background: float = 1.0, target: float = 1.0
) -> Tensor:
    """Weighted mean of -log q_A over the voxels of which something is known; 0 without any.

    With weights of 1 this is marginal cross-entropy with the reduction known_mean.
    """
    total = weighted_values(logits, codes, sets, background, target).sum()
    weights = voxel_weights(codes, sets, background, target).sum()
    return total / weights.where(weights > 0, 1)
