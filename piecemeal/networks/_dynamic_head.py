"""The dynamic head of DoDNet (Zhang et al., CVPR 2021, section 3.3), for any backbone.

Weights and biases of three 1x1(x1) convolutions, 8 to 8 to 8 to the channels of one task, are not
learned but computed, for every image: by one linear layer, the controller, from the backbone's
deepest map averaged over space and from what tells the task, which in DoDNet is its number as
one-hot vector. The backbone knows nothing of the task, so one pass of it serves all tasks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import gcd

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from piecemeal.errors import InputError

CHANNELS = 8  # of the maps that the dynamic convolutions work on
GROUPS = 16
CONVOLUTION = {2: nn.Conv2d, 3: nn.Conv3d}


def group_norm(channels: int) -> nn.GroupNorm:
    """16 groups, or as many as `channels` can be divided into."""
    return nn.GroupNorm(gcd(GROUPS, channels), channels)


class ToldHead(nn.Module, ABC):
    """From the deepest and the last map of a backbone to the logits of a task, however told.

    deep_channels, last_channels: of these maps; channels: logits of one task; seen: length of what
    the controller sees, of the image and of the task.
    """

    def __init__(
        self,
        deep_channels: int,
        last_channels: int,
        tasks: int,
        channels: int,
        dimensions: int,
        seen: int,
    ):
        super().__init__()
        self.tasks, self.channels = tasks, channels
        self.outputs = (CHANNELS, CHANNELS, channels)  # of the dynamic convolutions
        self.sizes = [CHANNELS * outputs for outputs in self.outputs] + list(self.outputs)
        self.deep = nn.Sequential(group_norm(deep_channels), nn.ReLU(inplace=True))
        self.last = nn.Sequential(
            group_norm(last_channels),
            nn.ReLU(inplace=True),
            CONVOLUTION[dimensions](last_channels, CHANNELS, 1),
        )
        self.controller = nn.Linear(seen, sum(self.sizes))

    @abstractmethod
    def told(self, tasks: Tensor, context: Tensor) -> Tensor:
        """What tells the controller the `tasks` (B,), beside the `context` of the images."""

    def features(self, deep: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        """What `forward` needs of an image: (B, deep_channels), and 8 maps (B, 8, *space)."""
        return self.deep(deep).flatten(2).mean(dim=2), self.last(last)

    def forward(self, features: tuple[Tensor, Tensor], task: int | Tensor) -> Tensor:
        """Logits (B, channels, *space) of one task for all images, or of one task id each (B,)."""
        context, maps = features
        told = self.told(self._ids(task, context), context)
        numbers = self.controller(torch.cat([context, told], dim=1)).split(self.sizes, dim=1)
        x = maps.flatten(2)
        for layer, outputs in enumerate(self.outputs):
            weight = numbers[layer].unflatten(1, (outputs, CHANNELS))
            bias = numbers[len(self.outputs) + layer].unsqueeze(2)
            x = torch.baddbmm(bias, weight, F.relu(x) if layer else x)
        return x.unflatten(2, maps.shape[2:])

    def _ids(self, task: int | Tensor, context: Tensor) -> Tensor:
        if isinstance(task, Tensor):
            return self._checked(task, len(context))
        if not isinstance(task, int) or not 0 <= task < self.tasks:
            raise self._unknown(task)
        return torch.full((len(context),), task, device=context.device)

    def _checked(self, tasks: Tensor, images: int) -> Tensor:
        if tasks.shape != (images,) or tasks.is_floating_point():
            raise InputError(
                f"dynamic head: tasks are {tasks.dtype} {tuple(tasks.shape)}; expected whole "
                f"numbers ({images},), one for each image"
            )
        # Of a tensor on a GPU nothing is asked, which would wait for it.
        if tasks.device.type == "cpu" and not ((tasks >= 0) & (tasks < self.tasks)).all():
            raise self._unknown(tasks.tolist())
        return tasks

    def _unknown(self, task: int | list[int]) -> InputError:
        return InputError(
            f"dynamic head: asked for task {task}; it was built for tasks 0 to {self.tasks - 1}, "
            "see the network's option tasks"
        )


class DynamicHead(ToldHead):
    """DoDNet's own, which is told a task by its number; sizes as for `ToldHead`."""

    def __init__(
        self, deep_channels: int, last_channels: int, tasks: int, channels: int, dimensions: int
    ):
        seen = deep_channels + tasks
        super().__init__(deep_channels, last_channels, tasks, channels, dimensions, seen)

    def told(self, tasks: Tensor, context: Tensor) -> Tensor:
        ids = torch.arange(self.tasks, device=context.device)
        return (tasks.unsqueeze(1) == ids).to(context.dtype)


class ToldNetwork(nn.Module, ABC):
    """Images and a task to logits of that task: `features`, which know no task, then `dynamic`.

    dynamic: the head; tasks: their number.
    """

    tasks: int
    dynamic: ToldHead

    def forward(self, x: Tensor, task: int | Tensor | None = None) -> Tensor:
        """Logits of `task`: one for all images, or an id for each (B,).

        Without a task, those of all tasks, one after the other in the channels:
        (B, tasks * out_channels, *space).
        """
        features = self.features(x)
        if task is not None:
            return self.head(features, task)
        return torch.cat([self.head(features, task) for task in range(self.tasks)], dim=1)

    @abstractmethod
    def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """All that the head needs of the images, for whatever task."""

    def head(self, features: tuple[Tensor, Tensor], task: int | Tensor) -> Tensor:
        """Logits (B, out_channels, *space) of `task`, as in `forward`; InputError if unknown."""
        return self.dynamic(features, task)
