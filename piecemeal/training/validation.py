"""What a run is watched by: its own loss and the Dice of its structures on the validation split."""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from piecemeal.bitmasks import FOUND
from piecemeal.methods._base import Method
from piecemeal.training.data import Samples
from piecemeal.training.distributed import Group
from piecemeal.training.window import Draw


class Watched(NamedTuple):
    """`loss`: mean over the data sets of the mean over their samples, so that none counts more for
    its size; in a cohort of several tasks, the mean over the tasks of that. `dice`: mean over the
    structures of Dice over all voxels.

    A structure that neither occurs nor is found does not enter the mean, nor do voxels in which a
    structure is found that the labels of their scan cannot tell from background.
    """

    loss: float
    dice: float

    def demerit(self, selection: str) -> float:
        """What weights are chosen by ("loss" or "dice"), the lower the better.

        Those without a finite loss are never chosen.
        """
        return 1 - self.dice if selection == "dice" and math.isfinite(self.loss) else self.loss


class Part(NamedTuple):
    """Samples that go into batches together: of one data set and task, and asked the same.

    structures: class ids of the task, in the order of its bits; asked: those of them for which the
    cases can answer; both None in a cohort without tasks.
    """

    dataset: str
    task: str
    structures: tuple[int, ...] | None
    asked: tuple[int, ...] | None


@torch.no_grad()
def validate(
    network: nn.Module,
    method: Method,
    samples: Samples,
    batch_size: int,
    group: Group,
    device: torch.device,
    autocast: contextlib.AbstractContextManager,
    tasks: Mapping[str, Sequence[int]] | None = None,
    overlapping: bool = False,
) -> Watched:
    """Loss (of the arm's own labels) and Dice (against the full labels) of all `samples`.

    A batch is of one data set and task, and the processes of the group take turns at the batches:
    so a batch, and with it a loss that is no mean over samples, is the same for any number of them.
    tasks: task -> class ids, those of the run; where there are some, the method is asked for the
    structures of the batch's task. overlapping: labels are bit masks over these, and a structure is
    found where its own probability is at least 0.5 (see `inference.predict`).
    """
    memory_format = memory_format_of(network, device)
    network.eval()
    parts = _parts(samples, tasks or {})
    batches = [
        (part, draws[i : i + batch_size])
        for part, draws in parts.items()
        for i in range(0, len(draws), batch_size)
    ]
    numbers = {part: number for number, part in enumerate(parts)}
    totals = torch.zeros(len(parts), dtype=torch.float64, device=device)
    voxels = torch.zeros(2, method.classes, dtype=torch.float64, device=device)
    for part, draws in batches[group.rank :: group.size]:
        batch = samples.batch(draws).to(device, memory_format)
        with autocast:
            logits = network(batch.images)
        views = {"views": batch.views} if method.wants_views else {}
        loss = method.loss(logits, batch.codes, batch.sets_for(method).to(device), **views).detach()
        totals[numbers[part]] += loss * len(draws)
        method.ask(part.asked)
        chances = method.probabilities(logits)
        method.ask(None)
        true = samples.labels(draws).to(device)
        if overlapping:
            voxels += _voxels_of_bits(chances, true, part)
        else:
            unknown = samples.undeclared(draws, method.classes).to(device)
            voxels += _voxels_of_ids(chances.argmax(dim=1), true, unknown)
    network.train()
    group.sum(totals)
    group.sum(voxels)
    common, both = voxels[:, 1:]
    dice = 2 * common / both.clamp(min=1)
    # At least one, so that the mean is a number even where nothing occurs and nothing is found.
    mean_dice = dice.sum() / (both > 0).sum().clamp(min=1)
    return Watched(_mean_loss(parts, totals.tolist()), mean_dice.item())


def _parts(samples: Samples, tasks: Mapping[str, Sequence[int]]) -> dict[Part, list[Draw]]:
    """All samples, part by part, in the order in which the cases come."""
    found: dict[Part, list[Draw]] = {}
    for draw in samples.every():
        case = samples.cases[draw.case]
        structures = asked = None
        if tasks:
            structures = tuple(tasks[case.task])
            asked = tuple(c for c in structures if c not in case.undeclared)
        found.setdefault(Part(case.dataset, case.task, structures, asked), []).append(draw)
    return found


def _mean_loss(parts: Mapping[Part, Sequence[Draw]], totals: Sequence[float]) -> float:
    """Mean over tasks of the mean over their data sets of the mean over the samples of these."""
    samples: Counter[tuple[str, str]] = Counter()
    for part, draws in parts.items():
        samples[part.task, part.dataset] += len(draws)
    datasets = Counter(task for task, _ in samples)
    shares = (
        total / samples[part.task, part.dataset] / datasets[part.task]
        for part, total in zip(parts, totals, strict=True)
    )
    return sum(shares) / len(datasets)


def memory_format_of(network: nn.Module, device: torch.device) -> torch.memory_format:
    """The order of memory in which the network says that it is fastest; on a CPU known for 3D.

    There narrow 3D networks take up to a third less time with the channels last, wide ones as long
    as otherwise. Of 2D networks some are slower.
    """
    if device.type == "cpu" and any(isinstance(module, nn.Conv3d) for module in network.modules()):
        return torch.channels_last_3d
    return getattr(network, "memory_format", torch.contiguous_format)


def _looked_up(table: Tensor, ids: Tensor) -> Tensor:
    """Row b of `table` (B, C) at the class ids of sample b of `ids` (B, *space)."""
    return table.gather(1, ids.flatten(1)).view(ids.shape)


def _voxels_of_ids(found: Tensor, true: Tensor, unknown: Tensor) -> Tensor:
    """For every class the voxels where both have it, and the sum of those of each: (2, C) float64.

    found, true: class ids (B, *space); unknown: bool (B, C), see `Samples.undeclared`.
    """
    found = torch.where((true == 0) & _looked_up(unknown, found), 0, found)
    classes = unknown.shape[1]
    agreed = true[true == found]
    common, drawn, predicted = (
        ids.long().flatten().bincount(minlength=classes) for ids in (agreed, true, found)
    )
    return torch.stack([common, drawn + predicted]).double()


def _voxels_of_bits(chances: Tensor, true: Tensor, part: Part) -> Tensor:
    """As `_voxels_of_ids`, of what was asked; chances (B, C, *space), true: bits (B, *space)."""
    voxels = torch.zeros(2, chances.shape[1], dtype=torch.float64, device=chances.device)
    for k, c in enumerate(part.structures):
        if c in part.asked:
            found, drawn = chances[:, c] >= FOUND, (true >> k) % 2 == 1
            voxels[0, c] = (found & drawn).sum()
            voxels[1, c] = found.sum() + drawn.sum()
    return voxels
