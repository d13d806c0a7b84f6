"""The gold standard of Anand et al. (2024): a model of its own for every task.

All are trained in one run, none of them knowing of the others but for the step whose weights are
kept, which they share.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from piecemeal.methods._batch_dice import (
    SMOOTH,
    BatchDice,
    Targets,
    batch_dice,
    listed,
    pyramid_dice,
)
from piecemeal.methods._levels import as_levels
from piecemeal.methods._tasks import OnePerTask, tasks_taught


class Individual(BatchDice):
    """For each task a head over its structures and the model to it, trained on its samples alone.

    A step moves the models of which its batch has samples. tasks: class ids of each, no structure
    in two.
    """

    uses_all_parameters = False
    wants_tables = True

    def __init__(
        self,
        classes: int,
        tasks: Sequence[Sequence[int]] | None = None,
        smooth: float = SMOOTH,
        head: str | None = None,
        overlapping: bool = False,
    ):
        super().__init__(classes, tasks, smooth, head=head, overlapping=overlapping)
        self.work = 1 / len(self.tasks)  # a sample is of one task
        self.sizes = [self.head.channels(len(task)) for task in self.tasks]  # of the models' heads

    def output_channels(self) -> int:
        """Of all models together."""
        return sum(self.sizes)

    def build(self, network: Callable[..., nn.Module]) -> nn.Module:
        """One network a task, drawn one after the other."""
        members = [network(channels) for channels in self.sizes]
        self.notice_levels(members[0])
        return OnePerTask(members, self.sizes)

    def targets(self, codes: Tensor, sets: Tensor) -> list[Targets]:
        """For each task: what codes (B, *space) under sets (B, K, C) ask of its model."""
        return [
            self.in_channels(codes, sets, listed([task], self.classes), len(task), masked=True)
            for task in self.tasks
        ]

    def training_loss(
        self,
        forward: Callable[..., Any],
        images: Tensor,
        codes: Tensor,
        sets: Tensor,
        done: float,
        tables: Tensor | None = None,
    ) -> Tensor:
        """Sum over the models of each one's own Dice, so that none feels how many there are."""
        targets = self.targets(codes, sets)
        known = sets if tables is None else tables
        rows = tasks_taught(known, self.tasks, self.head.overlapping).tolist()
        levels = as_levels(forward(images, rows=rows, **self.options))
        of_models = zip(*(logits.split(self.sizes, dim=1) for logits in levels), strict=True)
        return sum(
            pyramid_dice(own, wanted, self.smooth, self.head)
            for own, wanted in zip(of_models, targets, strict=True)
        )

    def loss(self, logits: Tensor, codes: Tensor, sets: Tensor) -> Tensor:
        """Mean of the Dice of the models of which the batch has samples; 0 if there are none.

        logits: of all models, (B, sum of channels, *space).
        """
        targets = self.targets(codes, sets)
        of_models = zip(logits.split(self.sizes, dim=1), targets, strict=True)
        total = sum(batch_dice(own, wanted, self.smooth, self.head) for own, wanted in of_models)
        return total / max(1, sum(bool(wanted.taught.any()) for wanted in targets))

    def probabilities(self, logits: Tensor) -> Tensor:
        """Of the models asked, of all of them while nothing is; see `read_out`.

        logits: of all models, (B, sum of channels, *space).
        """
        of_models = logits.split(self.sizes, dim=1)
        return self._merged({number: of_models[number] for number in self.tasks_asked()})

    def read_out(self, network: OnePerTask, images: Tensor) -> Tensor:
        """The head of the model of the task asked for, in one pass; what is not asked for is
        background.

        Of several tasks each structure has its odds against the background of its own model.
        """
        of_models = {number: network(images, task=number) for number in self.tasks_asked()}
        with torch.autocast(images.device.type, enabled=False):
            return self._merged(of_models)

    def _merged(self, of_models: dict[int, Tensor]) -> Tensor:
        tasks = [self.tasks[number] for number in of_models]
        return self.head.side_by_side(list(of_models.values()), tasks, self.classes, self.asked)
