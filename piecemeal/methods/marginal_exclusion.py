"""Marginal and exclusion loss for partial labels (Shi et al., Medical Image Analysis 2021).

What was not annotated is merged with the background, as in the target adaptive loss. Beyond that,
structures exclude each other: where one was drawn, none of those that nobody annotated can be.
"""

from __future__ import annotations

import torch
from torch import Tensor

from piecemeal.losses import marginal_cross_entropy, marginal_dice
from piecemeal.methods._levels import OnLevels
from piecemeal.methods._tasks import answerable, at

SMOOTH = 1e-5  # in the denominator of the exclusion Dice


class MarginalExclusion(OnLevels):
    """Cross-entropy and Dice of merged classes, and the same of what is excluded."""

    def loss(self, logits: Tensor, codes: Tensor, sets: Tensor) -> Tensor:
        """The four losses, summed; logits (B, C, *space), codes (B, *space), sets (B, K, C)."""
        cross_entropy = marginal_cross_entropy(logits, codes, sets, reduction="known_mean")
        dice = marginal_dice(logits, codes, sets, reduction="known_mean")
        return cross_entropy + dice + exclusion(logits, codes, sets)


def exclusion(logits: Tensor, codes: Tensor, sets: Tensor) -> Tensor:
    """How much un-annotated structures are predicted where another one was drawn.

    For each un-annotated structure n of a sample, p_n its probability and e_n (0 or 1) whether a
    voxel was drawn as a structure that cannot be n: the mean over the voxels of
    e_n log(1 + p_n), and the Dice 2 sum p_n e_n / (sum p_n + sum e_n), both to be small. The mean
    over such pairs of a sample and a structure; 0 if there are none. (Shi et al. 2021;
    un-annotated are the structures for which the sample is not `answerable`.)
    """
    chances = logits.float().softmax(dim=1)[:, 1:]
    drawn = sets.any(dim=2) & ~sets[:, :, 0]
    tables = drawn.unsqueeze(2) & ~sets
    excluded = [at(tables[:, :, c], codes) for c in range(1, sets.shape[2])]
    excluded = torch.stack(excluded, dim=1).float()
    space = tuple(range(2, logits.ndim))
    inside, outside = (chances * excluded).sum(space), excluded.sum(space)
    dice = 2 * inside / (chances.sum(space) + outside + SMOOTH)
    entropy = (excluded * torch.log1p(chances)).mean(space)
    pairs = ~answerable(sets) & (outside > 0)
    return ((dice + entropy) * pairs).sum() / pairs.sum().clamp(min=1)
