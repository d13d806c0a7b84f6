"""DoDNet (Zhang et al., CVPR 2021): one network that is asked for a structure at a time."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from piecemeal.methods._base import TaskConditioned
from piecemeal.methods._tasks import answerable, beside_background, of_structures

SMOOTH = 1.0  # of the Dice, in the denominator alone


class DoDNet(TaskConditioned):
    """Dice and cross-entropy of every structure that a sample can teach.

    A task is a structure, with one logit; in the paper it is an organ and its tumour.
    """

    def __init__(self, classes: int):
        super().__init__(classes, range(classes - 1))

    def loss(self, logits: Tensor, codes: Tensor, sets: Tensor) -> Tensor:
        """Mean of Dice + cross-entropy over the pairs of a sample and a structure that it teaches.

        Per pair 1 - 2 sum pt / (sum p + sum t + 1) plus the mean of -log p or -log (1 - p), over
        the voxels that are known to be of the structure or not. logits (B, C - 1, *space), codes
        (B, *space), sets (B, K, C). As in the released code, a window without the structure has a
        Dice loss of 1 and no gradient of it. Without any pair the loss is 0, with zero gradient.
        """
        drawn, known = of_structures(codes, sets)
        logits, space = logits.float(), tuple(range(2, logits.ndim))
        chance = torch.sigmoid(logits) * known
        overlap, total = (chance * drawn).sum(space), chance.sum(space) + drawn.sum(space)
        surprise = F.binary_cross_entropy_with_logits(logits, drawn, weight=known, reduction="none")
        entropy = surprise.sum(space) / known.sum(space).clamp(min=1)
        pairs = answerable(sets)
        losses = (1 - 2 * overlap / (total + SMOOTH) + entropy) * pairs
        return losses.sum() / pairs.sum().clamp(min=1)

    def merge(self, outputs: Sequence[Tensor]) -> Tensor:
        """The likeliest structure, and the background where all are below one half."""
        return beside_background(torch.cat(list(outputs), dim=1))
