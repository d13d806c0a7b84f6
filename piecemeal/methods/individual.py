"""The gold standard of Anand et al. (2024): a model of its own for every task.

All are trained in one run, none of them knowing of the others.
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
    make_targets,
    pyramid_dice,
)
from piecemeal.methods._tasks import OnePerTask, asked_of, beside_background


class Individual(BatchDice):
    """For each task a softmax over its structures and the background, trained on its samples alone.

    A step moves the models of which its batch has samples. tasks: class ids of each, no structure
    in two.
    """

    uses_all_parameters = False

    def __init__(
        self, classes: int, tasks: Sequence[Sequence[int]] | None = None, smooth: float = SMOOTH
    ):
        super().__init__(classes, tasks, smooth)
        self.work = 1 / len(self.tasks)  # a sample is of one task
        self.sizes = [1 + len(task) for task in self.tasks]  # channels of the models

    def output_channels(self) -> int:
        """Of all models together."""
        return sum(self.sizes)

    def build(self, network: Callable[[int], nn.Module]) -> nn.Module:
        """One network a task, drawn one after the other."""
        members = [network(channels) for channels in self.sizes]
        self.notice_levels(members[0])
        return OnePerTask(members, self.sizes)

    def targets(self, codes: Tensor, sets: Tensor) -> list[Targets]:
        """For each task: what codes (B, *space) under sets (B, K, C) ask of its model."""
        found = []
        for task in self.tasks:
            channels = torch.zeros(self.classes, dtype=torch.long)
            channels[task] = torch.arange(1, len(task) + 1)
            found.append(make_targets(codes, sets, channels.to(codes.device), len(task), True))
        return found

    def training_loss(
        self, forward: Callable[..., Any], images: Tensor, codes: Tensor, sets: Tensor, done: float
    ) -> Tensor:
        """Sum over the models of each one's own Dice, so that none feels how many there are."""
        targets = self.targets(codes, sets)
        rows = torch.stack([of_task.taught.any(dim=1) for of_task in targets], dim=1)
        levels = forward(images, rows=rows, **self.options)
        levels = levels if isinstance(levels, list) else [levels]
        of_models = zip(*(logits.split(self.sizes, dim=1) for logits in levels), strict=True)
        return sum(
            pyramid_dice(own, wanted, self.smooth)
            for own, wanted in zip(of_models, targets, strict=True)
        )

    def loss(self, logits: Tensor, codes: Tensor, sets: Tensor) -> Tensor:
        """Mean of the Dice of the models of which the batch has samples; 0 if there are none.

        logits: of all models, (B, sum of channels, *space).
        """
        targets = self.targets(codes, sets)
        of_models = zip(logits.split(self.sizes, dim=1), targets, strict=True)
        total = sum(batch_dice(own, wanted, self.smooth) for own, wanted in of_models)
        return total / max(1, sum(bool(wanted.taught.any()) for wanted in targets))

    def probabilities(self, logits: Tensor) -> Tensor:
        """Of the models asked, of all of them while nothing is; see `read_out`.

        logits: of all models, (B, sum of channels, *space).
        """
        of_models = logits.split(self.sizes, dim=1)
        return self._merged({number: of_models[number] for number in self._wanted()})

    def read_out(self, network: OnePerTask, images: Tensor) -> Tensor:
        """The softmax of the model of the task asked for, in one pass; what is not asked for is
        background.

        With several tasks the likeliest structure, each against the background of its own model.
        """
        of_models = {number: network(images, task=number) for number in self._wanted()}
        with torch.autocast(images.device.type, enabled=False):
            return self._merged(of_models)

    def _wanted(self) -> list[int]:
        """Numbers of the tasks that are asked."""
        if self.asked is None:
            return list(range(len(self.tasks)))
        return [n for n, task in enumerate(self.tasks) if not set(task).isdisjoint(self.asked)]

    def _merged(self, of_models: dict[int, Tensor]) -> Tensor:
        odds = [logits[:, 1:].float() - logits[:, :1].float() for logits in of_models.values()]
        answered = [c for number in of_models for c in self.tasks[number]]
        channels = torch.zeros(self.classes, dtype=torch.long)
        channels[answered] = torch.arange(1, len(answered) + 1)
        chances = beside_background(torch.cat(odds, dim=1))
        asked = answered if self.asked is None else self.asked
        return asked_of(chances, channels.to(chances.device), asked)
