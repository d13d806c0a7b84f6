"""Soft Dice of the structures of a whole batch, after nnU-Net: what Anand et al. (2024) train on.

The paper says "Dice loss" and "nnU-Net". Here that is the form of nnU-Net's version 2: sums over
all samples of a batch, the background left out, and every level of the decoder but the coarsest
(Isensee et al., Nature Methods 2021). Processes do not share these sums, so one trains alone.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from piecemeal.errors import InputError
from piecemeal.methods._heads import Head, head_of
from piecemeal.methods._levels import OnLevels, codes_at, level_weights
from piecemeal.methods._tasks import answerable, at, of_cohort

SMOOTH = 1e-5  # in numerator and denominator
SOFTMAX = Head()


class Targets(NamedTuple):
    """What a batch asks of n channels, a structure of the sample in each or none.

    codes: (B, *space) rows of the two tables. drawn: bool (B, K, n), whether a voxel of this code
    is of the structure in the channel. known: bool (B, K), whether it is known what the voxel is.
    taught: bool (B, n), whether the sample has a structure in the channel. counted: bool (B, n),
    whether its voxels enter the sums of the channel, be it as a negative alone.
    """

    codes: Tensor
    drawn: Tensor
    known: Tensor
    taught: Tensor
    counted: Tensor


def make_targets(
    codes: Tensor,
    sets: Tensor,
    channels: Tensor,
    count: int,
    masked: bool = False,
    overlapping: bool = False,
) -> Targets:
    """Targets of codes (B, *space) and sets (B, K, C), for `count` channels.

    channels (C,) long: from 1 for structures, 0 for classes without. A sample teaches the
    structures with a channel for which it is `answerable`. Drawn as one of these, a voxel is of
    that channel; known to be none of them, background, whatever else it may be; else unknown.
    masked: a channel in which a sample has no structure does not count for it; otherwise it is a
    negative there. overlapping: a set of several structures without the background says that all of
    them are there, not one of them.
    """
    own = answerable(sets, overlapping) & (channels[1:] > 0)
    mine = sets[:, :, 1:] & own[:, None]
    decided = ~sets[:, :, 0] if overlapping else sets.sum(dim=2) == 1
    known = (decided | ~mine.any(dim=2)) & sets.any(dim=2) & own.any(dim=1, keepdim=True)
    places = channels[1:, None] == torch.arange(1, count + 1, device=channels.device)
    drawn = _any_of(mine & decided[:, :, None], places)
    taught = _any_of(own, places)
    counted = taught if masked else own.any(dim=1, keepdim=True).expand_as(taught)
    return Targets(codes, drawn, known, taught, counted)


def batch_dice(
    logits: Tensor, targets: Targets, smooth: float = SMOOTH, head: Head = SOFTMAX
) -> Tensor:
    """1 minus the mean over channels of (2 sum pg + smooth) / (sum p + sum g + smooth).

    p: what `head` makes of logits (B, channels, *space). Sums are over the known voxels of all
    samples that count for the channel; channels that no sample of the batch teaches are left out of
    the mean, as their Dice is 0 whatever is predicted. 0, with zero gradient, if there is none.
    """
    chance = head.chances(logits)
    space = tuple(range(2, logits.ndim))
    known = at(targets.known, targets.codes).unsqueeze(1)
    drawn = _in_channels(targets.drawn, targets.codes)
    overlap, predicted, labelled = (
        (of_samples.sum(dim=space) * targets.counted).sum(dim=0)
        for of_samples in (chance * drawn, chance * known, drawn)
    )
    dice = (2 * overlap + smooth) / (predicted + labelled + smooth)
    taught = targets.taught.any(dim=0)
    return ((1 - dice) * taught).sum() / taught.sum().clamp(min=1)


def _any_of(structures: Tensor, places: Tensor) -> Tensor:
    """Whether any of `structures` (..., C - 1) is in a channel by `places` (C - 1, n)."""
    return (structures.unsqueeze(-1) & places).any(dim=-2)


def _in_channels(table: Tensor, codes: Tensor) -> Tensor:
    """Row b of `table` (B, K, n) at the codes of sample b: (B, n, *space)."""
    rows = codes.long().flatten(1).unsqueeze(1).expand(-1, table.shape[2], -1)
    return table.transpose(1, 2).gather(2, rows).unflatten(2, codes.shape[1:])


def pyramid_dice(
    levels: Sequence[Tensor], targets: Targets, smooth: float = SMOOTH, head: Head = SOFTMAX
) -> Tensor:
    """Weighted `batch_dice` of logits on several levels (deep supervision), from fine to coarse."""
    return sum(
        weight * batch_dice(logits, at_level(targets, logits.shape[2:]), smooth, head)
        for weight, logits in zip(level_weights(len(levels)), levels, strict=True)
    )


def at_level(targets: Targets, space: Sequence[int]) -> Targets:
    """The same of the voxels in the middle of those of a coarser grid."""
    return targets._replace(codes=codes_at(targets.codes, space))


class BatchDice(OnLevels):
    """Base of methods that learn tasks of several structures each by the Dice of a batch.

    tasks: class ids of the structures of each (one task of all without them). No task is told to
    most networks: a sample's is what it is `answerable` for, and a scan's, when it is predicted,
    what it was `ask`ed. overlapping: whether a voxel may be of several structures, so that a label
    set of several says that all of them are there. head: softmax or sigmoid; None: what the
    structures need (see `_heads`).
    """

    most_processes = 1  # the samples of a batch share their sums

    def __init__(
        self,
        classes: int,
        tasks: Sequence[Sequence[int]] | None,
        smooth: float = SMOOTH,
        disjoint: bool = True,
        head: str | None = None,
        overlapping: bool = False,
    ):
        super().__init__(classes)
        if not smooth > 0:
            raise InputError(
                f"smooth: {smooth} given, expected more than 0: empty channels have 0/0"
            )
        self.tasks, self.smooth = of_cohort(tasks, classes, disjoint), smooth
        self.head = head_of(head, overlapping)
        self.asked: list[int] | None = None

    def ask(self, structures: Sequence[int] | None) -> None:
        """Only these may be found in the predictions that follow."""
        self.asked = None if structures is None else list(structures)

    def tasks_asked(self) -> list[int]:
        """Numbers of the tasks of what is asked; of all of them while nothing is.

        Raises InputError if the structures asked for are of none.
        """
        if self.asked is None:
            return list(range(len(self.tasks)))
        found = [n for n, task in enumerate(self.tasks) if not set(task).isdisjoint(self.asked)]
        if not found:
            raise InputError(
                f"a scan to predict has the structures {self.asked}, expected some of the tasks "
                f"{self.tasks} that the run learned; leave its task out"
            )
        return found

    def in_channels(
        self, codes: Tensor, sets: Tensor, channels: Tensor, count: int, masked: bool = False
    ) -> Targets:
        """`make_targets` of the kind of structures that these are."""
        channels = channels.to(codes.device, non_blocking=True)
        return make_targets(codes, sets, channels, count, masked, self.head.overlapping)

    @abstractmethod
    def targets(self, codes: Tensor, sets: Tensor) -> Targets:
        """What codes (B, *space) under sets (B, K, C) ask of the channels."""

    def loss(self, logits: Tensor, codes: Tensor, sets: Tensor) -> Tensor:
        """The Dice of the prediction, logits (B, channels, *space).

        The samples of a batch share their sums, so it depends on what is together in a batch.
        """
        return batch_dice(logits, self.targets(codes, sets), self.smooth, self.head)


def listed(tasks: Sequence[Sequence[int]], classes: int) -> Tensor:
    """Channels (C,) long of classes by their place in their task, from 1; 0 for those of none."""
    channels = torch.zeros(classes, dtype=torch.long)
    for task in tasks:
        channels[list(task)] = torch.arange(1, len(task) + 1)
    return channels
