"""MultiTalent (Ulrich et al., MICCAI 2023): a sigmoid for every structure of every data set.

A structure is asked of the samples alone that are annotated for it, so protocols that contradict
each other live side by side. Here a structure is a class of the cohort: it has the same sigmoid in
all data sets, as their protocols are brought to common structures beforehand.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from piecemeal.methods._levels import OnLevels
from piecemeal.methods._tasks import answerable, beside_background, of_structures

SMOOTH = 1e-5  # of the Dice, in numerator and denominator, as in nnU-Net


class MultiTalent(OnLevels):
    """Cross-entropy and the Dice of the batch, summed over the structures that it can teach."""

    most_processes = 1  # the samples of a batch share the sums of the Dice

    def output_channels(self) -> int:
        """One a structure; the background has none."""
        return self.classes - 1

    def loss(self, logits: Tensor, codes: Tensor, sets: Tensor) -> Tensor:
        """Sum over the structures of binary cross-entropy + 1 - Dice, each over the whole batch.

        logits (B, C - 1, *space), codes (B, *space), sets (B, K, C). Voxels count that are known to
        be of the structure or not, in the samples that can teach it. A structure that no sample
        teaches costs nothing.
        """
        drawn, known = of_structures(codes, sets)
        logits, over = logits.float(), (0, *range(2, logits.ndim))
        pairs = answerable(sets).float()
        counted = known * pairs.view(pairs.shape + (1,) * (logits.ndim - 2))
        surprise = F.binary_cross_entropy_with_logits(
            logits, drawn, weight=counted, reduction="none"
        )
        entropy = surprise.sum(over) / counted.sum(over).clamp(min=1)
        chances, drawn = logits.sigmoid() * counted, drawn * counted
        both = chances.sum(over) + drawn.sum(over)
        dice = (2 * (chances * drawn).sum(over) + SMOOTH) / (both + SMOOTH)
        return ((entropy + 1 - dice) * pairs.any(dim=0)).sum()

    def probabilities(self, logits: Tensor) -> Tensor:
        """The likeliest structure, and the background where all are below one half."""
        return beside_background(logits)
