"""Heads over a few structures: a softmax with the background, or a sigmoid for each.

Structures that exclude each other, as organs do, are read out of either. Projected landmarks lie
over each other: there a voxel may be of several, and only sigmoids will do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from piecemeal.errors import InputError
from piecemeal.methods._tasks import asked_of, beside_background, on_channels, wanted

HEADS = ("softmax", "sigmoid")


class Head(NamedTuple):
    """What the channels of a network's head are.

    sigmoid: a channel for each of n structures; otherwise that of the background is before them.
    overlapping: whether a voxel may be of several structures at once.
    """

    sigmoid: bool = False
    overlapping: bool = False

    def channels(self, structures: int) -> int:
        """Channels of a head over so many structures."""
        return structures if self.sigmoid else structures + 1

    def chances(self, logits: Tensor) -> Tensor:
        """Probabilities of the structures, without the background: (B, n, *space) float32."""
        if self.sigmoid:
            return logits.float().sigmoid()
        return logits.float().softmax(dim=1)[:, 1:]

    def named(self, logits: Tensor, channels: Tensor, asked: Sequence[int]) -> Tensor:
        """Probabilities of classes (B, C, *space) float32 from logits (B, channels, *space).

        channels (C,) long: that of every class, from 1 for structures, 0 without; asked: the
        classes that the answer may have, no two of one channel. Of a softmax, all else is
        background. Of sigmoids the likeliest structure asked for is found, and the background where
        all of them are below one half. Overlapping structures each have their own probability,
        whatever the others', and the background what the likeliest leaves.
        """
        if not self.sigmoid:
            return asked_of(logits.float().softmax(dim=1), channels, asked)
        odds = logits.float().index_select(1, (channels - 1).clamp(min=0))
        unasked = ~on_channels(wanted(channels, asked), odds)
        odds = odds.masked_fill(unasked, -torch.inf)
        if not self.overlapping:
            return beside_background(odds[:, 1:])
        found = odds.sigmoid()
        found[:, 0] = 1 - found[:, 1:].amax(dim=1)
        return found

    def side_by_side(
        self,
        heads: Sequence[Tensor],
        tasks: Sequence[Sequence[int]],
        classes: int,
        asked: Sequence[int] | None,
    ) -> Tensor:
        """As `named`, from the logits of one head for each of `tasks`, a channel a structure.

        Of several heads each structure has its odds against the background of its own. A head may
        have more channels than its task has structures. None asks for all of `tasks`.
        """
        channels, before = torch.zeros(classes, dtype=torch.long), 0
        odds = []
        for logits, task in zip(heads, tasks, strict=True):
            channels[list(task)] = torch.arange(before + 1, before + 1 + len(task))
            logits = logits.float()
            odds.append(logits if self.sigmoid else logits[:, 1:] - logits[:, :1])
            before += odds[-1].shape[1]
        if not self.sigmoid:
            odds.insert(0, torch.zeros_like(odds[0][:, :1]))
        asked = [c for task in tasks for c in task] if asked is None else asked
        return self.named(torch.cat(odds, dim=1), channels.to(odds[0].device), asked)


def head_of(name: str | None, overlapping: bool) -> Head:
    """The head of this name; None: a sigmoid for `overlapping` structures, else a softmax.

    Raises InputError on another name, and on a softmax over structures that overlap.
    """
    if name not in (None, *HEADS):
        raise InputError(f"head is '{name}'; allowed: {', '.join(HEADS)}")
    if overlapping and name == "softmax":
        raise InputError(
            "head: softmax given, but the structures of this cohort overlap, and those of a "
            "softmax cannot; expected sigmoid, set options.head in the method's file to it"
        )
    return Head(overlapping if name is None else name == "sigmoid", overlapping)
