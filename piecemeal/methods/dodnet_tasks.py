"""DoDNet as Anand et al. (2024) compare with it: told the anatomy task, on nnU-Net.

As large a head as the largest task needs serves all of them, its weights computed from the image
and the task (section 3.2). Unlike label sharing it has to be told the task in training too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from piecemeal.methods._base import check_told
from piecemeal.methods._batch_dice import SMOOTH, BatchDice, Targets, batch_dice, listed
from piecemeal.methods._tasks import check_case, tasks_taught


class DoDNetTasks(BatchDice):
    """A head for each of T tasks over n channels, as many as the largest task has structures.

    tasks: class ids of each, no structure in two. A structure has the channel of its place in its
    task. A sample is a negative for the channels in which its task has no structure. The network,
    dodnet_nnunet, is told by the method how many tasks there are.
    """

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
        self.largest = max(map(len, self.tasks))
        self.size = self.head.channels(self.largest)  # channels of the head of one task
        self.channels = listed(self.tasks, classes)

    def check(self, sets: np.ndarray) -> None:
        """Raise InputError if a case teaches structures of several tasks: it is told one."""
        check_case(self.tasks, sets, self.head.overlapping, "dodnet_tasks")

    def output_channels(self) -> int:
        """Channels of all tasks together."""
        return len(self.tasks) * self.size

    def build(self, network: Callable[..., nn.Module]) -> nn.Module:
        """The network, whose head has the channels of one task; InputError if it is told none."""
        built = network(self.size, tasks=len(self.tasks))
        check_told(built)
        return built

    def targets(self, codes: Tensor, sets: Tensor) -> Targets:
        """Structures of a sample as the channels of the head of its own task."""
        return self.in_channels(codes, sets, self.channels, self.largest)

    def training_loss(
        self,
        forward: Callable[..., Any],
        images: Tensor,
        codes: Tensor,
        sets: Tensor,
        done: float,
        tables: Tensor | None = None,
    ) -> Tensor:
        """The Dice of the batch, of every sample by the head of its own task."""
        told = self.told(sets if tables is None else tables)
        logits = forward(images, task=told.to(images.device, non_blocking=True))
        return batch_dice(logits, self.targets(codes, sets), self.smooth, self.head)

    def loss(self, logits: Tensor, codes: Tensor, sets: Tensor) -> Tensor:
        """The same of logits of all tasks, (B, T * channels of one, *space)."""
        of_tasks = logits.unflatten(1, (len(self.tasks), self.size))
        own = of_tasks[torch.arange(len(logits)), self.told(sets)]
        return batch_dice(own, self.targets(codes, sets), self.smooth, self.head)

    def told(self, sets: Tensor) -> Tensor:
        """Number of the task of each sample, (B,) long on the CPU, by sets (B, K, C).

        0 where it has none.
        """
        return tasks_taught(sets, self.tasks, self.head.overlapping).byte().argmax(dim=1)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Of the tasks asked, of all of them while nothing is; see `read_out`.

        logits: of all tasks, (B, T * channels of one, *space).
        """
        of_tasks = logits.split(self.size, dim=1)
        return self._merged({number: of_tasks[number] for number in self.tasks_asked()})

    def read_out(self, network: nn.Module, images: Tensor) -> Tensor:
        """The head of the task asked for; what is not asked for is background.

        Of several tasks each structure has its odds against the background of its own head, and
        the backbone runs once for all of them.
        """
        features = network.features(images)
        of_tasks = {number: network.head(features, number) for number in self.tasks_asked()}
        with torch.autocast(images.device.type, enabled=False):
            return self._merged(of_tasks)

    def _merged(self, of_tasks: dict[int, Tensor]) -> Tensor:
        tasks = [self.tasks[number] for number in of_tasks]
        return self.head.side_by_side(list(of_tasks.values()), tasks, self.classes, self.asked)
