"""One sigmoid a structure and the soft Dice of each slice: what the arms of Moseley et al. share.

The paper segments one structure, the liver. With several, each has a sigmoid of its own.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from piecemeal.methods._base import Method
from piecemeal.methods._tasks import at, beside_background, of_structures

SMOOTH = 1.0  # of the Dice, as in MultiMix, whose code the paper builds on


class SigmoidDice(Method):
    """Soft Dice per slice and structure; the network has a channel for each structure."""

    def output_channels(self) -> int:
        """One a structure; the background has none."""
        return self.classes - 1

    def loss(self, logits: Tensor, codes: Tensor, sets: Tensor) -> Tensor:
        """Mean over slices and structures of 1 - (2 sum pg + 1) / (sum p + sum g + 1).

        (Moseley et al. 2023, with the Dice of MultiMix.) logits (B, C - 1, *space), codes
        (B, *space), sets (B, K, C). The sums leave out voxels whose label set neither is the
        structure alone nor excludes it; a slice without the structure gives sum p / (sum p + 1).
        """
        drawn, known = of_structures(codes, sets)
        chance = torch.sigmoid(logits.float()) * known
        space = tuple(range(2, logits.ndim))
        overlap = (chance * drawn).sum(space)
        total = chance.sum(space) + drawn.sum(space)
        return (1 - (2 * overlap + SMOOTH) / (total + SMOOTH)).mean()

    def probabilities(self, logits: Tensor) -> Tensor:
        """Softmax beside a background of logit 0: the sigmoid, where there is one structure.

        With several the likeliest wins, and the background where all are below one half.
        """
        return beside_background(logits)


def presence(codes: Tensor, sets: Tensor) -> tuple[Tensor, Tensor]:
    """Whether each slice shows any structure (B,) float, and whether that is known (B,) bool.

    A voxel whose label set leaves the background out shows one; a slice all of whose voxels are
    background alone shows none; of any other slice it is not known. So augmentation that moves
    voxels of the set of every class in leaves no slice known to show none.
    """
    foreground = ~sets[:, :, 0] & sets.any(dim=2)
    background = sets[:, :, 0] & (sets.sum(dim=2) == 1)
    shows = at(foreground, codes).flatten(1).any(dim=1)
    shows_none = at(background, codes).flatten(1).all(dim=1)
    return shows.float(), shows | shows_none


def focal(
    logits: Tensor, target: Tensor, known: Tensor, positive: float, negative: float, gamma: float
) -> Tensor:
    """Focal loss of one logit a slice, mean over the slices of which the target is known.

    -w (1 - p_t)^gamma log p_t, w = positive or negative (Lin et al., ICCV 2017, eq. 5; weights of
    Moseley et al. 2023). logits, target (B,); 0 if nothing is known.
    """
    surprise = F.binary_cross_entropy_with_logits(logits.float(), target, reduction="none")
    weight = torch.where(target > 0, positive, negative)
    losses = weight * (1 - torch.exp(-surprise)) ** gamma * surprise
    return (losses * known).sum() / known.sum().clamp(min=1)
