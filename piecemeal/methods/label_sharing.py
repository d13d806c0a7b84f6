"""Label sharing (Anand et al. 2024): the structures of all tasks share the channels of one network.

With M tasks of n_i structures each there are n* = max n_i channels and the background. In every
task the largest structure has channel 1, the next channel 2, and so on (section 2.1). A channel
means nothing without the task: asked about the wrong one, the network finds its structures all the
same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from piecemeal.errors import InputError
from piecemeal.methods._batch_dice import SMOOTH, BatchDice, Targets, make_targets
from piecemeal.methods._tasks import answerable, asked_of
from piecemeal.sharing import ORDERS, from_table, mean_relative_sizes, share_labels

log = logging.getLogger(__name__)

LISTED = "listed"
UNMAPPED = ("negative", "masked")


class LabelSharing(BatchDice):
    """Softmax over n* shared channels and the background.

    tasks: class ids of each, no structure in two. order: what shares with what: "size" is the
    paper's; "reversed" and "random" (by `seed`) are there to see whether it matters (see
    `sharing.share_labels`), and "listed" takes the structures of a task as they are listed.
    unmapped: what a sample is to a channel in which its task has no structure: a "negative", as it
    is known to be absent there, or "masked" out of the sums.

    channels (C,) long: the channel of every class. sizes: mean relative size of every structure in
    its task, by class id; both from the training cases. Before these are seen, channels are as for
    "listed".
    """

    def __init__(
        self,
        classes: int,
        tasks: Sequence[Sequence[int]] | None = None,
        order: str = "size",
        seed: int = 0,
        unmapped: str = "negative",
        smooth: float = SMOOTH,
    ):
        super().__init__(classes, tasks, smooth)
        for key, value, allowed in (
            ("order", order, (*ORDERS, LISTED)),
            ("unmapped", unmapped, UNMAPPED),
        ):
            if value not in allowed:
                raise InputError(
                    f"label_sharing: {key} is '{value}'; allowed: {', '.join(allowed)}"
                )
        self.order, self.seed, self.unmapped = order, seed, unmapped
        self.shared = max(map(len, self.tasks))
        self.sizes: dict[int, float] = {}
        names = {str(number): map(str, task) for number, task in enumerate(self.tasks)}
        self.channels = self._channels(from_table(names))

    def check(self, sets: np.ndarray) -> None:
        """Raise InputError if a case teaches structures of several tasks: they share channels."""
        self._check_one_task(_taught(sets), "a training case")

    def learn_from(self, cases: Sequence[Any]) -> None:
        """Find which structures share a channel, by their sizes where they are annotated.

        Raises InputError if no case of a task is annotated for all its structures, or shows any.
        """
        if self.order != LISTED:
            counts: list[list[dict[str, int]]] = [[] for _ in self.tasks]
            for case in cases:
                taught = _taught(case.sets)
                for task, of_task in zip(self.tasks, counts, strict=True):
                    if set(task) <= set(taught):
                        of_task.append(_voxels(case, task))
            sizes = {str(n): self._sizes(n, volumes) for n, volumes in enumerate(counts)}
            self.sizes = {int(c): size for of_task in sizes.values() for c, size in of_task.items()}
            self.channels = self._channels(share_labels(sizes, self.order, self.seed))
        for channel in range(1, self.shared + 1):
            log.info("label sharing: channel %d: %s", channel, self._describe(channel))

    def output_channels(self) -> int:
        """The shared channels and the background."""
        return self.shared + 1

    def build(self, network: Callable[[int], nn.Module]) -> nn.Module:
        """The network together with what its channels mean."""
        return SharedChannels(super().build(network), self.channels)

    def targets(self, codes: Tensor, sets: Tensor) -> Targets:
        """Structures of a sample as the channels that they share with those of others."""
        channels = self.channels.to(codes.device)
        return make_targets(codes, sets, channels, self.shared, self.unmapped == "masked")

    def ask(self, structures: Sequence[int] | None) -> None:
        """The structures of one task, or some of them, may be found in the predictions that follow.

        Raises InputError on structures of several tasks: where they share a channel, they cannot be
        told apart.
        """
        if structures is not None:
            self._check_one_task(structures, "a scan to predict")
        super().ask(structures)

    def probabilities(self, logits: Tensor) -> Tensor:
        """A shared channel as the structure of the task asked for; without one there, background.

        While nothing is asked, as when a training is watched, a channel is that of the first task
        that has one there, whatever the sample shows.
        """
        return self._named(logits, self.channels.to(logits.device))

    def read_out(self, network: SharedChannels, images: Tensor) -> Tensor:
        """As `probabilities`, by the channels that the network was trained with."""
        logits = network(images)
        with torch.autocast(images.device.type, enabled=False):
            return self._named(logits, network.channels)

    def _named(self, logits: Tensor, channels: Tensor) -> Tensor:
        asked = self._first_come(channels) if self.asked is None else self.asked
        return asked_of(logits.float().softmax(dim=1), channels, asked)

    def _first_come(self, channels: Tensor) -> list[int]:
        if len(self.tasks) == 1:
            return self.tasks[0]
        first: dict[int, int] = {}
        given = channels.tolist()
        for c in (c for task in self.tasks for c in task):
            first.setdefault(given[c], c)
        return list(first.values())

    def _channels(self, mapping: dict[str, dict[str, int]]) -> Tensor:
        channels = torch.zeros(self.classes, dtype=torch.long)
        for of_task in mapping.values():
            for c, channel in of_task.items():
                channels[int(c)] = channel
        return channels

    def _sizes(self, number: int, volumes: list[dict[str, int]]) -> dict[str, float]:
        if not any(any(voxels.values()) for voxels in volumes):
            raise InputError(
                f"label_sharing: no training case is annotated for, and shows, the structures "
                f"{self.tasks[number]} of a task, whose sizes say what shares a channel; enlarge "
                f"the split, change the annotation, or set options.order to {LISTED}"
            )
        return mean_relative_sizes(volumes)

    def _check_one_task(self, structures: Sequence[int], what: str) -> None:
        if sum(not set(task).isdisjoint(structures) for task in self.tasks) > 1:
            raise InputError(
                f"label_sharing: {what} is annotated for the structures {list(structures)}, "
                f"expected those of one of the tasks {self.tasks}; give each task scans of its own"
            )

    def _describe(self, channel: int) -> str:
        sharing = (self.channels == channel).nonzero().flatten().tolist()
        sizes = (f" ({self.sizes[c]:.3f})" if c in self.sizes else "" for c in sharing)
        return ", ".join(f"class {c}{size}" for c, size in zip(sharing, sizes, strict=True))


class SharedChannels(nn.Module):
    """A network and, saved with its weights, which of its channels is whose.

    channels (C,) long: the channel of every class, 0 for the background.
    """

    def __init__(self, network: nn.Module, channels: Tensor):
        super().__init__()
        self.network = network
        self.memory_format = getattr(network, "memory_format", torch.contiguous_format)
        self.register_buffer("channels", channels.clone())

    def forward(self, *arguments: Any, **options: Any) -> Any:
        """What the network gives."""
        return self.network(*arguments, **options)


def _taught(sets: np.ndarray) -> list[int]:
    """Class ids that a case with the label sets (K, C) can teach."""
    return (1 + answerable(torch.from_numpy(sets)[None])[0].nonzero().flatten()).tolist()


def _voxels(case: Any, task: Sequence[int]) -> dict[str, int]:
    """Voxels of every structure of a task that are drawn in a case.

    Only slices that show one are read, one at a time.
    """
    codes = {c: case.named[c] for c in task if c in case.named}
    found = np.zeros(len(case.sets), dtype=np.int64)
    for z in np.flatnonzero(case.places.slices[list(codes.values())].any(axis=0)):
        found += np.bincount(case.codes[z].ravel(), minlength=len(found))
    return {str(c): int(found[codes[c]]) if c in codes else 0 for c in task}
