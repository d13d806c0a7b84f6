"""Self-disambiguation (Chen et al., CVPR 2024): versatile segmentation from partial, sparse labels.

What was left out is disambiguated by the prediction itself: structures and background that the
annotation does not tell apart are learned as one, and the entropy of the prediction is kept low.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from piecemeal.ambiguity import Terms, ambiguity_terms
from piecemeal.errors import InputError
from piecemeal.methods._base import Method

DICE_CLASSES = ("annotated", "present_in_patch")
EMPTY_SLICES = ("used", "skipped")


class SelfDisambiguation(Method):
    """Ambiguity-aware focal cross-entropy + Dice + lambda times entropy, mean over the samples.

    Samples that were annotated in slices are learned slice by slice, others volume by volume, see
    `piecemeal.ambiguity`. lambda is `unannotated_weight` for samples without a voxel that is
    annotated as a structure, as in the released code, and 1 for others.

    gamma: of the focal weight. dice_classes: annotated, the background and all annotated structures
    have a Dice (eq. 2), or present_in_patch, those that the patch, or slice, shows (released code).
    empty_slices: what annotated slices without any structure are to the losses that need labels,
    used or skipped (released code). entropy: False leaves that out. entropy_scale: it is multiplied
    by; the first release summed over the patch's depth D instead of the C classes, which is D / C
    times as much. slice_dice_defect: as released, the Dice of slices has all classes for the merged
    background.

    notes: share of samples with the weight `unannotated_weight`, and the mean entropy, in nats.
    """

    wants_views = True
    wants_padding = True  # which has no entropy
    noted = ("unannotated", "entropy")

    def __init__(
        self,
        classes: int,
        gamma: float = 2.0,
        entropy: bool = True,
        dice_classes: str = "annotated",
        empty_slices: str = "used",
        entropy_scale: float = 1.0,
        slice_dice_defect: bool = False,
        unannotated_weight: float = 3.0,
    ):
        super().__init__(classes)
        _check_choice("dice_classes", dice_classes, DICE_CLASSES)
        _check_choice("empty_slices", empty_slices, EMPTY_SLICES)
        _check_weight("gamma", gamma)
        _check_weight("entropy_scale", entropy_scale)
        _check_weight("unannotated_weight", unannotated_weight)
        self.scale = entropy_scale if entropy else 0.0
        self.unannotated_weight = unannotated_weight
        self.options = {
            "gamma": gamma,
            "present_only": dice_classes == "present_in_patch",
            "skip_empty": empty_slices == "skipped",
            "whole_background": slice_dice_defect,
        }

    def loss(
        self, logits: Tensor, codes: Tensor, sets: Tensor, views: Tensor | None = None
    ) -> Tensor:
        """Cross-entropy and Dice, by slices or by volumes as `views` say, without the entropy."""
        terms = self.terms(logits, codes, sets, views)
        return (terms.cross_entropy + terms.dice).mean()

    def training_loss(
        self,
        forward: Callable[..., Any],
        images: Tensor,
        codes: Tensor,
        sets: Tensor,
        done: float,
        views: Tensor | None = None,
    ) -> Tensor:
        """All three losses of one step, samples by slices or by volumes, as `views` say."""
        terms = self.terms(forward(images), codes, sets, views)
        weight = torch.where(terms.foreground, 1.0, self.unannotated_weight)
        self.notes = {
            "unannotated": (~terms.foreground).float().mean(),
            "entropy": terms.entropy.detach().mean(),
        }
        return (terms.cross_entropy + terms.dice + self.scale * weight * terms.entropy).mean()

    def terms(
        self, logits: Tensor, codes: Tensor, sets: Tensor, views: Tensor | None = None
    ) -> Terms:
        """The losses sample by sample, with this method's options."""
        return ambiguity_terms(logits, codes, sets, views, **self.options)


def _check_choice(key: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InputError(f"{key}: {value!r} given, expected one of {', '.join(allowed)}")


def _check_weight(key: str, value: float) -> None:
    if not value >= 0:
        raise InputError(f"{key}: {value} given, expected 0 or more")
