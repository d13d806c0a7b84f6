"""DoDNet as Chen et al. (CVPR 2024) compare with it: every structure a task, one a sample."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from piecemeal.methods._tasks import answerable
from piecemeal.methods.dodnet import DoDNet


class DoDNetClasses(DoDNet):
    """Dice and cross-entropy of one structure of each sample: that which it was drawn to show.

    Of samples drawn for none, or for the background, it is a random one of those that they can
    teach. The network is told it, and computes no other. Samples that teach nothing are left out of
    the mean.
    """

    wants_shown = True
    wants_tables = True

    def training_loss(
        self,
        forward: Callable[..., Any],
        images: Tensor,
        codes: Tensor,
        sets: Tensor,
        done: float,
        shown: Tensor | None = None,
        tables: Tensor | None = None,
    ) -> Tensor:
        """Mean over the samples that teach a structure of that structure's losses."""
        drawn = draw_tasks(sets.cpu() if tables is None else tables, shown)
        tasks, taught = (t.to(sets.device, non_blocking=True) for t in drawn)
        questions = of_tasks(sets, tasks) & taught.view(-1, 1, 1)
        return self.loss(forward(images, task=tasks), codes, questions)


def draw_tasks(sets: Tensor, shown: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """For each sample of sets (B, K, C) a structure that it teaches: the class `shown` (B,) of it.

    Where that is none of them, each is as likely as the others. Returns their tasks, (B,) long, and
    whether the sample teaches any, (B,) bool; task 0 if it does not. All on the CPU, where every
    machine draws alike.
    """
    known = answerable(sets)
    taught = known.any(dim=1)
    if shown is not None:
        classes = torch.arange(1, 1 + known.shape[1])
        chosen = known & (classes == shown.unsqueeze(1))
        known = torch.where(chosen.any(dim=1, keepdim=True), chosen, known)
    tasks = torch.multinomial(known.float() + ~taught.unsqueeze(1), 1).flatten()
    return tasks * taught, taught


def of_tasks(sets: Tensor, tasks: Tensor) -> Tensor:
    """Sets (B, K, C) as the question of each sample's task (B,) has them: (B, K, 2) bool.

    May it be something else, may it be the structure?
    """
    structure = torch.zeros_like(sets[:, 0]).scatter_(1, 1 + tasks.unsqueeze(1), True).unsqueeze(1)
    return torch.stack([(sets & ~structure).any(dim=2), (sets & structure).any(dim=2)], dim=2)
