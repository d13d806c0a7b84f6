"""Soft Dice of the structures of a whole batch, after nnU-Net: what Anand et al. (2024) train on.

The paper says "Dice loss" and "nnU-Net". Here that is the form of nnU-Net's version 2: sums over
all samples of a batch, the background left out, and every level of the decoder but the coarsest
(Isensee et al., Nature Methods 2021). Of several processes each has the sums of its own samples.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from piecemeal.errors import InputError
from piecemeal.methods._base import Method
from piecemeal.methods._tasks import answerable, at, of_cohort

SMOOTH = 1e-5  # in numerator and denominator


class Targets(NamedTuple):
    """What a batch asks of the n channels behind the background.

    voxels: (B, *space) short, the channel of a voxel, 0 for background and -1 where it is unknown.
    taught: bool (B, n), whether the sample has a structure in the channel. counted: bool (B, n),
    whether its voxels enter the sums of the channel, be it as a negative alone.
    """

    voxels: Tensor
    taught: Tensor
    counted: Tensor


def make_targets(
    codes: Tensor, sets: Tensor, channels: Tensor, count: int, masked: bool = False
) -> Targets:
    """Targets of codes (B, *space) and sets (B, K, C), for `count` channels.

    channels (C,) long: from 1 for structures, 0 for classes without. A sample teaches the
    structures with a channel for which it is `answerable`. Drawn as one of these, a voxel is of
    that channel; known to be none of them, background, whatever else it may be; else unknown.
    masked: a channel in which a sample has no structure does not count for it; otherwise it is a
    negative there.
    """
    own = answerable(sets) & (channels[1:] > 0)
    mine = sets[:, :, 1:] & own[:, None]
    possible, alone = mine.any(dim=2), sets.sum(dim=2) == 1
    row = torch.where(possible & ~alone, -1, (mine * channels[1:]).sum(dim=2))
    nothing = ~sets.any(dim=2) | ~own.any(dim=1, keepdim=True)
    row = row.masked_fill(nothing, -1).short()
    places = channels[1:, None] == torch.arange(1, count + 1, device=channels.device)
    taught = (own[:, :, None] & places).any(dim=1)
    counted = taught if masked else own.any(dim=1, keepdim=True).expand_as(taught)
    return Targets(at(row, codes), taught, counted)


def batch_dice(logits: Tensor, targets: Targets, smooth: float = SMOOTH) -> Tensor:
    """1 minus the mean over channels of (2 sum pg + smooth) / (sum p + sum g + smooth).

    p: softmax of logits (B, n + 1, *space). Sums are over the known voxels of all samples that
    count for the channel; channels that no sample of the batch teaches are left out of the mean, as
    their Dice is 0 whatever is predicted. 0, with zero gradient, if there is none.
    """
    chance = logits.float().softmax(dim=1)[:, 1:]
    space, voxels = tuple(range(2, logits.ndim)), targets.voxels.unsqueeze(1)
    numbers = torch.arange(1, chance.shape[1] + 1, device=logits.device)
    drawn = voxels == numbers.view(-1, *(1,) * len(space))
    overlap, predicted, labelled = (
        (of_samples.sum(dim=space) * targets.counted).sum(dim=0)
        for of_samples in (chance * drawn, chance * (voxels >= 0), drawn)
    )
    dice = (2 * overlap + smooth) / (predicted + labelled + smooth)
    taught = targets.taught.any(dim=0)
    return ((1 - dice) * taught).sum() / taught.sum().clamp(min=1)


def at_level(targets: Targets, space: Sequence[int]) -> Targets:
    """The same of the voxels in the middle of those of a coarser grid."""
    voxels = targets.voxels
    for axis, (have, want) in enumerate(zip(voxels.shape[1:], space, strict=True), start=1):
        if have != want:
            middles = (2 * torch.arange(want, device=voxels.device) + 1) * have // (2 * want)
            voxels = voxels.index_select(axis, middles)
    return targets._replace(voxels=voxels)


def level_weights(levels: int) -> list[float]:
    """Weights of the levels from fine to coarse: 1/2^k, the coarsest 0 beside others, sum 1.

    It is not left out, so that every head has a gradient.
    """
    weights = [0.0 if 0 < k == levels - 1 else 0.5**k for k in range(levels)]
    return [weight / sum(weights) for weight in weights]


def pyramid_dice(levels: Sequence[Tensor], targets: Targets, smooth: float = SMOOTH) -> Tensor:
    """Weighted `batch_dice` of logits on several levels (deep supervision), from fine to coarse."""
    return sum(
        weight * batch_dice(logits, at_level(targets, logits.shape[2:]), smooth)
        for weight, logits in zip(level_weights(len(levels)), levels, strict=True)
    )


class BatchDice(Method):
    """Base of methods that learn tasks of several structures each by the Dice of a batch.

    tasks: class ids of the structures of each (one task of all without them). No task is told to
    the network: a sample's is what it is `answerable` for, and a scan's, when it is predicted, what
    it was `ask`ed. Networks with a `pyramid` (nnunet) are trained on all its levels, others on
    their prediction alone.
    """

    def __init__(
        self,
        classes: int,
        tasks: Sequence[Sequence[int]] | None,
        smooth: float = SMOOTH,
        disjoint: bool = True,
    ):
        super().__init__(classes)
        if not smooth > 0:
            raise InputError(
                f"smooth: {smooth} given, expected more than 0: empty channels have 0/0"
            )
        self.tasks, self.smooth = of_cohort(tasks, classes, disjoint), smooth
        self.asked: list[int] | None = None
        self.options: dict[str, Any] = {}  # of the network, in training

    def ask(self, structures: Sequence[int] | None) -> None:
        """Only these may be found in the predictions that follow."""
        self.asked = None if structures is None else list(structures)

    def notice_levels(self, network: nn.Module) -> None:
        """See whether `network` gives the logits of its levels in training."""
        deep = callable(getattr(network, "pyramid", None))
        self.options = {"output": "pyramid"} if deep else {}

    def build(self, network: Callable[[int], nn.Module]) -> nn.Module:
        """The network, one for all tasks."""
        built = super().build(network)
        self.notice_levels(built)
        return built

    @abstractmethod
    def targets(self, codes: Tensor, sets: Tensor) -> Targets:
        """What codes (B, *space) under sets (B, K, C) ask of the channels."""

    def training_loss(
        self, forward: Callable[..., Any], images: Tensor, codes: Tensor, sets: Tensor, done: float
    ) -> Tensor:
        """The Dice on all levels that the network has."""
        levels = forward(images, **self.options)
        levels = levels if isinstance(levels, list) else [levels]
        return pyramid_dice(levels, self.targets(codes, sets), self.smooth)

    def loss(self, logits: Tensor, codes: Tensor, sets: Tensor) -> Tensor:
        """The Dice of the prediction, logits (B, n + 1, *space).

        The samples of a batch share their sums, so it depends on what is together in a batch.
        """
        return batch_dice(logits, self.targets(codes, sets), self.smooth)
