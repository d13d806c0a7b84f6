"""What a sample can answer for, how answers become a prediction, and a network for each task.

A task is a structure, each its own question (is a voxel of it or not?), or a few that are drawn
together, whose classes then are named by what was asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.modules.batchnorm import _BatchNorm

from piecemeal.errors import InputError
from piecemeal.methods._levels import as_levels


def of_cohort(
    tasks: Sequence[Sequence[int]] | None, classes: int, disjoint: bool = False
) -> list[list[int]]:
    """Class ids of each task; without `tasks`, one of all structures. classes: with background.

    A run may learn a part of its cohort's tasks, so structures may be in none. Raises InputError
    without a task, on one without structures, a structure that there is not, one that is twice in a
    task, and if `disjoint`, in two.
    """
    structures = list(range(1, classes))
    found = [structures] if tasks is None else [list(task) for task in tasks]
    listed = [c for task in found for c in task]
    if not found or any(not task or len(set(task)) < len(task) for task in found):
        raise InputError(
            f"tasks: {found} is empty or has a task that is, or that names a structure twice; "
            "expected class ids, each once"
        )
    if not set(listed) <= set(structures):
        raise InputError(
            f"tasks: {found} expected to hold structures of 1 to {classes - 1} and no others; "
            "correct the tasks of the cohort"
        )
    if disjoint and (twice := sorted({c for c in listed if listed.count(c) > 1})):
        raise InputError(
            f"tasks: structures {twice} are in more than one task, expected each in one; give "
            "them a name of their own in every task"
        )
    return found


def check_one_task(
    tasks: Sequence[Sequence[int]], structures: Sequence[int], what: str, advice: str
) -> None:
    """Raise InputError if `structures` are of several tasks; what: who has them, to begin with."""
    if sum(not set(task).isdisjoint(structures) for task in tasks) > 1:
        raise InputError(
            f"{what} is annotated for the structures {list(structures)}, expected those of one of "
            f"the tasks {list(tasks)}; {advice}"
        )


def check_case(
    tasks: Sequence[Sequence[int]], sets: np.ndarray, overlapping: bool, method: str
) -> None:
    """Raise InputError, naming `method`, if a case with `sets` (K, C) teaches several tasks.

    Its task cannot be told then.
    """
    advice = (
        "choose an annotation with `known: declared`, in which a scan says nothing of others, in a "
        "cohort whose `tasks` name the structures that are learned together"
    )
    check_one_task(tasks, taught(sets, overlapping), f"{method}: a training case", advice)


def taught(sets: np.ndarray, overlapping: bool) -> list[int]:
    """Class ids that a case with the label sets (K, C) can teach."""
    own = answerable(torch.from_numpy(sets)[None], overlapping)[0]
    return (1 + own.nonzero().flatten()).tolist()


def asked_of(chances: Tensor, channels: Tensor, asked: Sequence[int]) -> Tensor:
    """Probabilities of classes (B, C, *space) from those of channels (B, n, *space), float32.

    channels (C,) long: that of every class, 0 where it has none; asked: the classes that the answer
    may have, no two of one channel. All else is background.
    """
    found = chances.index_select(1, channels)
    found = found * on_channels(wanted(channels, asked), found)
    found[:, 0] = (1 - found.sum(dim=1)).clamp(min=0)
    return found


def wanted(channels: Tensor, asked: Sequence[int]) -> Tensor:
    """Which classes an answer may have, bool (C,): those `asked` that have a channel."""
    found = torch.zeros(len(channels), dtype=torch.bool)
    found[list(asked)] = True
    return found.to(channels.device) & (channels > 0)


def on_channels(values: Tensor, maps: Tensor) -> Tensor:
    """`values` (C,) in the shape in which they meet the channels of `maps` (B, C, *space)."""
    return values.view(-1, *(1,) * (maps.ndim - 2))


def answerable(sets: Tensor, overlapping: bool = False) -> Tensor:
    """Which structures a sample can teach, bool (B, C - 1), by its table `sets` (B, K, C).

    Some label set has to be the structure alone, and each that says anything has to be that or to
    leave it out: scans in which the liver alone was drawn, with the sets {liver} and {background,
    kidney, spleen}, teach the liver; complete labels teach everything. Where structures are
    `overlapping`, a set of several says that all of them are there, which leaves nothing undecided.
    """
    alone = of_one_class(sets)
    if overlapping:
        return alone.any(dim=1)[:, 1:]
    says_anything = sets.any(dim=2, keepdim=True) & ~sets.all(dim=2, keepdim=True)
    undecided = (sets & ~alone & says_anything).any(dim=1)
    return (alone.any(dim=1) & ~undecided)[:, 1:]


def tasks_taught(sets: Tensor, tasks: Sequence[Sequence[int]], overlapping: bool = False) -> Tensor:
    """Which tasks, class ids of each, a sample can teach a structure of, bool (B, T); on the CPU.

    sets: its table (B, K, C), as for `answerable`.
    """
    own = answerable(sets.cpu(), overlapping)
    return torch.stack([own[:, [c - 1 for c in task]].any(dim=1) for task in tasks], dim=1)


def of_structures(codes: Tensor, sets: Tensor) -> tuple[Tensor, Tensor]:
    """Per structure (B, C - 1, *space) float: drawn there, and known to be there or not."""
    alone = of_one_class(sets)
    drawn = torch.stack([at(alone[:, :, c], codes) for c in range(1, sets.shape[2])], dim=1)
    excluded = torch.stack([at(~sets[:, :, c], codes) for c in range(1, sets.shape[2])], dim=1)
    return drawn.float(), (drawn | excluded).float()


def undecided(codes: Tensor, sets: Tensor) -> Tensor:
    """Voxels of which the annotation leaves more than one class open, (B, *space) bool."""
    return at(sets.sum(dim=2) > 1, codes)


def at(table: Tensor, codes: Tensor) -> Tensor:
    """Row b of `table` (B, K) at the codes of sample b: (B, *space)."""
    return table.gather(1, codes.long().flatten(1)).view(codes.shape)


def beside_background(logits: Tensor) -> Tensor:
    """Probabilities (B, classes, *space) float32 from one logit a structure (B, C - 1, *space).

    Softmax beside a background of logit 0: the sigmoid, where there is one structure. With several
    the likeliest wins, and the background where all are below one half.
    """
    background = torch.zeros_like(logits[:, :1])
    return torch.softmax(torch.cat([background, logits], dim=1).float(), dim=1)


class OnePerTask(nn.Module):
    """A network for each of T tasks, all of them trained in one run, each by its own samples.

    members: the networks, of one kind; channels: logits of each, or of all alike. One pass is one
    evaluation of one member.
    """

    def __init__(self, members: Sequence[nn.Module], channels: int | Sequence[int]):
        super().__init__()
        self.members = nn.ModuleList(members)
        self.channels = [channels] * len(members) if isinstance(channels, int) else list(channels)
        self.memory_format = getattr(members[0], "memory_format", torch.contiguous_format)
        self.precision = getattr(members[0], "precision", None)
        self._meet = any(isinstance(module, _BatchNorm) for module in self.modules())

    def forward(
        self,
        images: Tensor,
        task: int | None = None,
        rows: Sequence[Sequence[bool]] | None = None,
        **options: Any,
    ) -> Any:
        """Logits (B, sum of channels, *space) of all tasks, one after the other in the channels.

        task: of that one alone, (B, channels, *space). rows: (B, T), the images that the member of
        each task sees (lists, as several GPUs would bring a tensor with the images); its logits of
        the others are 0. A member that sees none is not evaluated: it remembers nothing of the
        batch, and its parameters get no gradient.
        options: for the members. Where these give a list of levels, so does this, unless none is
        evaluated.
        """
        if task is not None:
            return self.members[task](images, **options)
        if rows is None:
            return self._joined(images, [member(images, **options) for member in self.members])
        seen = torch.as_tensor(rows, dtype=torch.bool)
        used = (_used(seen, images.device) if self._meet else seen.any(dim=0)).tolist()
        outputs = [
            self._of_rows(member, images, column, options) if needed else None
            for member, needed, column in zip(self.members, used, seen.T, strict=True)
        ]
        return self._joined(images, outputs)

    def _of_rows(self, member: nn.Module, images: Tensor, rows: Tensor, options: dict) -> Any:
        if rows.all():
            return member(images, **options)
        places = rows.nonzero().flatten().to(images.device, non_blocking=True)
        output = member(images[places], **options)
        levels = [
            logits.new_zeros(len(images), *logits.shape[1:]).index_copy(0, places, logits)
            for logits in as_levels(output)
        ]
        return levels if isinstance(output, list) else levels[0]

    def _joined(self, images: Tensor, outputs: Sequence[Any]) -> Any:
        """All logits side by side, level by level; zeros where there is no output.

        A loss of nothing else than zeros has a gradient to compute all the same.
        """
        evaluated = next((output for output in outputs if output is not None), None)
        if evaluated is None:
            spaces = [images.shape[2:]]
        else:
            spaces = [logits.shape[2:] for logits in as_levels(evaluated)]
        joined = []
        for level, space in enumerate(spaces):
            parts = [
                torch.zeros(len(images), n, *space, device=images.device, requires_grad=True)
                if output is None
                else as_levels(output)[level]
                for output, n in zip(outputs, self.channels, strict=True)
            ]
            joined.append(torch.cat(parts, dim=1))
        return joined if isinstance(evaluated, list) else joined[0]


def _used(rows: Tensor, device: torch.device) -> Tensor:
    """Which columns of `rows` (B, T) have a row in any process of the run, bool (T,).

    Batch norms of several processes meet in every pass: where one makes it, all have to, and be it
    without an image. The processes ask each other on `device`.
    """
    used = rows.any(dim=0).int()
    if dist.is_available() and dist.is_initialized():
        used = used.to(device)
        dist.all_reduce(used, dist.ReduceOp.MAX)
    return used.bool()


def of_one_class(sets: Tensor) -> Tensor:
    """The sets of one class, the others emptied; (B, K, C) bool."""
    return sets & (sets.sum(dim=2, keepdim=True) == 1)
