"""Leaf-Dice with marginal cross-entropy: label-set supervision of Fidon et al. (MICCAI 2021).

The Dice asks for the classes that stand alone and passes over voxels of merged ones; the
cross-entropy asks that the summed probability of a voxel's label set be high. Both are consistent
with label sets: what the annotator left open costs nothing. Their denominators are squared, ours
are not.
"""

from torch import Tensor

from piecemeal.losses import leaf_dice, marginal_cross_entropy
from piecemeal.methods._levels import OnLevels


class LeafDice(OnLevels):
    """The sum of both, on whatever label sets the annotation holds."""

    def loss(self, logits: Tensor, codes: Tensor, sets: Tensor) -> Tensor:
        """Leaf-Dice of the images + mean -log q_A of the voxels of which anything is known.

        logits (B, C, *space), codes (B, *space), sets (B, K, C).
        """
        dice = leaf_dice(logits, codes, sets, reduction="known_mean")
        return dice + marginal_cross_entropy(logits, codes, sets, reduction="known_mean")
