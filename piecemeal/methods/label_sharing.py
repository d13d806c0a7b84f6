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
from piecemeal.methods._batch_dice import SMOOTH, BatchDice, Targets, listed
from piecemeal.methods._shared_channels import SharedChannels, voxels, with_rows_of
from piecemeal.methods._tasks import check_case, check_one_task, taught
from piecemeal.sharing import ORDERS, add_task, mean_relative_sizes, share_labels

log = logging.getLogger(__name__)

LISTED = "listed"
UNMAPPED = ("negative", "masked")


class LabelSharing(BatchDice):
    """One head over n* shared channels.

    tasks: class ids of each, no structure in two. order: what shares with what: "size" is the
    paper's; "reversed" and "random" (by `seed`) are there to see whether it matters (see
    `sharing.share_labels`), and "listed" takes the structures of a task as they are listed.
    unmapped: what a sample is to a channel in which its task has no structure: a "negative", as it
    is known to be absent there, or "masked" out of the sums.

    channels (C,) long: the channel of every class. sizes: mean relative size of every structure in
    its task, by class id; both from the training cases. Before these are seen, channels are as for
    "listed". grown: channels more than the run had from which this one goes on; the paper rules
    them out.
    """

    def __init__(
        self,
        classes: int,
        tasks: Sequence[Sequence[int]] | None = None,
        order: str = "size",
        seed: int = 0,
        unmapped: str = "negative",
        smooth: float = SMOOTH,
        head: str | None = None,
        overlapping: bool = False,
    ):
        super().__init__(classes, tasks, smooth, head=head, overlapping=overlapping)
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
        self.grown = 0
        self.learned: list[int] = []  # numbers of the tasks whose channels are another run's
        self.sizes: dict[int, float] = {}
        self.channels = listed(self.tasks, classes)

    def check(self, sets: np.ndarray) -> None:
        """Raise InputError if a case teaches structures of several tasks: they share channels."""
        check_case(self.tasks, sets, self.head.overlapping, "label_sharing")

    def continue_from(self, weights: dict[str, Tensor]) -> None:
        """Keep the channels and the sizes of the tasks that another run learned.

        Raises InputError if its weights have none, or some for structures that are of no task here
        or make up a part of one.
        """
        if not {"channels", "sizes"} <= set(weights) or len(weights["channels"]) != self.classes:
            raise InputError(
                f"label_sharing: the weights to go on from do not say which of {self.classes} "
                "classes has which channel; in runs.tsv, let `starts_from` name an arm of label "
                "sharing"
            )
        given, sizes = weights["channels"].tolist(), weights["sizes"].tolist()
        found = {c for c, channel in enumerate(given) if channel}
        self.learned = [n for n, task in enumerate(self.tasks) if found.issuperset(task)]
        if found != {c for n in self.learned for c in self.tasks[n]}:
            raise InputError(
                f"label_sharing: the weights to go on from have channels for the structures "
                f"{sorted(found)}, expected whole tasks of {self.tasks}; tell this run all tasks "
                "of the run before it"
            )
        for c in found:
            self.channels[c] = given[c]
        self.sizes = {c: sizes[c] for c in sorted(found) if sizes[c] == sizes[c]}
        self.grown = max(0, self.shared - max(given))

    def learn_from(self, cases: Sequence[Any]) -> None:
        """Find which structures share a channel, by their sizes where they are annotated.

        Tasks that another run learned keep what they have; new ones come after them, one after the
        other (Anand et al. 2024, section 2.2). Raises InputError if no case of a new one is
        annotated for all its structures, or shows any.
        """
        new = [n for n in range(len(self.tasks)) if n not in self.learned]
        if new and self.order != LISTED:
            sizes = {str(n): self._sizes(self.tasks[n], cases) for n in new}
            self.sizes |= {int(c): size for of in sizes.values() for c, size in of.items()}
            for task in self._mapping(sizes).values():
                for c, channel in task.items():
                    self.channels[int(c)] = channel
        if self.grown:
            log.warning(
                "label sharing: a new task has more structures than there are channels, which is "
                "outside the paper: the head gains %d",
                self.grown,
            )
        for channel in range(1, self.shared + 1):
            log.info("label sharing: channel %d: %s", channel, self._describe(channel))

    def output_channels(self) -> int:
        """Those of a head over the shared channels."""
        return self.head.channels(self.shared)

    def build(self, network: Callable[..., nn.Module]) -> nn.Module:
        """The network together with what its channels mean."""
        return SharedChannels(super().build(network), self.channels, self.sizes)

    def adopted(self, weights: dict[str, Tensor], fresh: dict[str, Tensor]) -> dict[str, Tensor]:
        """All of `weights`, but what the channels mean here; a head that grew keeps its rows."""
        kept = {
            key: with_rows_of(old, fresh[key]) if key in fresh else old
            for key, old in weights.items()
        }
        return kept | {key: fresh[key] for key in ("channels", "sizes")}

    def facts(self) -> dict[str, Any]:
        """The table of channels and sizes by class id, which is all that a new task needs."""
        return {
            "channels": {str(c): n for c, n in enumerate(self.channels.tolist()) if n},
            "relative_sizes": {str(c): size for c, size in sorted(self.sizes.items())},
            "grown": self.grown,
        }

    def targets(self, codes: Tensor, sets: Tensor) -> Targets:
        """Structures of a sample as the channels that they share with those of others."""
        masked = self.unmapped == "masked"
        return self.in_channels(codes, sets, self.channels, self.shared, masked)

    def ask(self, structures: Sequence[int] | None) -> None:
        """The structures of one task, or some of them, may be found in the predictions that follow.

        Raises InputError on structures of several tasks: where they share a channel, they cannot be
        told apart.
        """
        if structures is not None:
            advice = "give each task scans of its own"
            check_one_task(self.tasks, structures, "label_sharing: a scan to predict", advice)
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
        return self.head.named(logits, channels, asked)

    def _first_come(self, channels: Tensor) -> list[int]:
        if len(self.tasks) == 1:
            return self.tasks[0]
        first: dict[int, int] = {}
        given = channels.tolist()
        for c in (c for task in self.tasks for c in task):
            first.setdefault(given[c], c)
        return list(first.values())

    def _sizes(self, task: Sequence[int], cases: Sequence[Any]) -> dict[str, float]:
        """Mean relative sizes of the structures of a task."""
        overlapping = self.head.overlapping
        volumes = [
            voxels(case, task, overlapping)
            for case in cases
            if set(task) <= set(taught(case.sets, overlapping))
        ]
        if not any(any(counts.values()) for counts in volumes):
            raise InputError(
                f"label_sharing: no training case is annotated for, and shows, the structures "
                f"{list(task)} of a task, whose sizes say what shares a channel; enlarge the "
                f"split, change the annotation, or set options.order to {LISTED}"
            )
        return mean_relative_sizes(volumes)

    def _mapping(self, sizes: dict[str, dict[str, float]]) -> dict[str, dict[str, int]]:
        """Shared labels of all tasks, of which those in `sizes` are new."""
        given = self.channels.tolist()
        mapping = {str(n): {str(c): given[c] for c in self.tasks[n]} for n in self.learned}
        if not mapping:
            return share_labels(sizes, self.order, self.seed)
        for task, of_task in sizes.items():
            mapping = add_task(mapping, task, of_task, self.order, self.seed).mapping
        return mapping

    def _describe(self, channel: int) -> str:
        sharing = (self.channels == channel).nonzero().flatten().tolist()
        sizes = (f" ({self.sizes[c]:.3f})" if c in self.sizes else "" for c in sharing)
        return ", ".join(f"class {c}{size}" for c, size in zip(sharing, sizes, strict=True))
