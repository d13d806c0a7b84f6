"""Label sharing: one small label space for the labels of many tasks (Anand et al. 2024).

Every label of a task gets a shared label, a number from 1, under two constraints (section 2): each
label has exactly one, and no two labels of a task have the same. The paper sorts the labels of each
task by their mean relative size and matches them by rank, so that there are as many shared labels
as the largest task has labels (section 2.1). All that a new task needs is its own sizes.

A mapping is {task: {label: shared label}}. A shared label says nothing without the task: liver and
lung may be the same one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from random import Random
from statistics import fmean
from typing import NamedTuple

from piecemeal.errors import InputError

ORDERS = ("size", "reversed", "random")


class Addition(NamedTuple):
    """A mapping with a task more, and how many shared labels it has more than before.

    mapping: {task: {label: shared label}}. grown: channels that the head of a trained network must
    gain. In the paper it is 0: a new task has at most as many labels as there are shared ones.
    """

    mapping: dict[str, dict[str, int]]
    grown: int


def mean_relative_sizes(counts: Iterable[Mapping[str, int]]) -> dict[str, float]:
    """Mean share of each label in what is labelled, over the training volumes of one task.

    counts: for every volume, the voxels of every label of the task, zero where it is absent;
    volumes without any label do not count. One pass over them, so a generator will do.
    Raises InputError if volumes differ in their labels, a count is no whole number from 0, or no
    volume shows any label.
    """
    shares: dict[str, list[float]] = {}
    for number, voxels in enumerate(counts):
        if number == 0:
            shares = {label: [] for label in voxels}
        _check_counts(voxels, shares, number)
        if total := sum(int(count) for count in voxels.values()):
            for label, found in shares.items():
                found.append(int(voxels[label]) / total)
    if not any(shares.values()):
        raise InputError(
            "relative sizes: none of the volumes shows any label of the task, expected at least "
            "one that does; look at the task's labels and at its training volumes"
        )
    return {label: fmean(found) for label, found in shares.items()}


def share_labels(
    sizes: Mapping[str, Mapping[str, float]], order: str = "size", seed: int = 0
) -> dict[str, dict[str, int]]:
    """Shared labels from mean relative sizes {task: {label: size}} (Anand et al. 2024, 2.1).

    order: "size" is the paper's: the largest label of every task has shared label 1; ties go by
    name. Two others are there to see whether it matters. "reversed" has every second task begin
    with its smallest label, so that large ones share with small ones (to turn all tasks round
    would hardly change which labels share). "random" draws, by `seed` and the name of the task.
    Raises InputError without tasks, on a task without labels, on a size that is no finite number
    from 0, or on an unknown order.
    """
    _check_tasks(sizes)
    largest = max(map(len, sizes.values()))
    mapping = {
        task: _shared(task, place, labels, largest, order, seed)
        for place, (task, labels) in enumerate(sizes.items())
    }
    check_shared(mapping, sizes)
    return mapping


def from_table(table: Mapping[str, Iterable[str]]) -> dict[str, dict[str, int]]:
    """The mapping of a printed table {task: labels in the order of its columns}.

    Raises InputError without tasks, on a task without labels or with one twice.
    """
    mapping = {}
    for task, row in table.items():
        labels = list(row)
        if twice := sorted({label for label in labels if labels.count(label) > 1}):
            raise InputError(f"sharing: task '{task}' names {twice} twice; name each label once")
        mapping[task] = {label: shared for shared, label in enumerate(labels, start=1)}
    check_shared(mapping)
    return mapping


def add_task(
    mapping: Mapping[str, Mapping[str, int]],
    task: str,
    sizes: Mapping[str, float],
    order: str = "size",
    seed: int = 0,
) -> Addition:
    """`mapping` with a new task of mean relative `sizes` (Anand et al. 2024, section 2.2).

    The tasks before it keep their shared labels. order, seed: those of the mapping. Where the new
    task has more labels than there are shared ones, which the paper rules out, there are new ones.
    Raises InputError if the task is there already, and as `share_labels` does.
    """
    check_shared(mapping)
    if task in mapping:
        raise InputError(
            f"sharing: task '{task}' is there already, expected a new one; the tasks are "
            f"{', '.join(mapping)}"
        )
    _check_tasks({task: sizes})
    before = shared_count(mapping)
    place, largest = len(mapping), max(before, len(sizes))
    added = {name: dict(labels) for name, labels in mapping.items()}
    added[task] = _shared(task, place, sizes, largest, order, seed)
    check_shared(added)
    return Addition(added, shared_count(added) - before)


def shared_count(mapping: Mapping[str, Mapping[str, int]]) -> int:
    """Number n* of shared labels: channels of the network, background aside."""
    return max(shared for labels in mapping.values() for shared in labels.values())


def groups(mapping: Mapping[str, Mapping[str, int]]) -> dict[int, dict[str, str]]:
    """What shares what: {shared label: {task: its label}}, tasks without one left out."""
    return {
        shared: {
            task: label
            for task, labels in mapping.items()
            for label, given in labels.items()
            if given == shared
        }
        for shared in range(1, shared_count(mapping) + 1)
    }


def check_shared(
    mapping: Mapping[str, Mapping[str, int]], labels: Mapping[str, Iterable[str]] | None = None
) -> None:
    """Check both constraints of the paper (section 2).

    Each label has exactly one shared label, a whole number from 1, and no other label of its task
    has it. labels: {task: labels}, where they are known: none may be left out, none be added.
    Raises InputError otherwise, and if there is no task or one without labels.
    """
    _check_not_empty(mapping)
    if labels is not None:
        _check_labels(mapping, labels)
    for task, given in mapping.items():
        owner: dict[int, str] = {}
        for label, shared in given.items():
            if not _whole(shared) or shared < 1:
                raise InputError(
                    f"sharing: '{label}' of task '{task}' has the shared label {shared!r}, "
                    "expected a whole number from 1; 0 is the background"
                )
            if (other := owner.setdefault(shared, label)) != label:
                raise InputError(
                    f"sharing: '{other}' and '{label}' of task '{task}' have the same shared "
                    f"label {shared}, expected one label of a task at most; move one of them"
                )


def _shared(
    task: str, place: int, sizes: Mapping[str, float], largest: int, order: str, seed: int
) -> dict[str, int]:
    """Shared labels of one task, the `place`-th, where there are `largest` of them."""
    ranked = sorted(sizes, key=lambda label: (-sizes[label], label))
    taken = list(range(1, len(ranked) + 1))
    match order:
        case "size":
            pass
        case "reversed":
            if place % 2:
                ranked.reverse()
        case "random":
            # A generator for each task: a new one leaves those of the others alone.
            taken = Random(f"{seed} {task}").sample(range(1, largest + 1), len(ranked))
        case _:
            raise InputError(f"sharing: order is '{order}'; allowed: {', '.join(ORDERS)}")
    pairs = zip(taken, ranked, strict=True)
    return {label: shared for shared, label in sorted(pairs)}


def _check_tasks(sizes: Mapping[str, Mapping[str, float]]) -> None:
    _check_not_empty(sizes)
    for task, labels in sizes.items():
        for label, size in labels.items():
            number = isinstance(size, Real) and not isinstance(size, bool)
            if not number or not math.isfinite(size) or size < 0:
                raise InputError(
                    f"sharing: '{label}' of task '{task}' has the mean relative size {size!r}, "
                    "expected a finite number from 0; see mean_relative_sizes"
                )


def _check_not_empty(tasks: Mapping[str, Mapping]) -> None:
    if not tasks:
        raise InputError("sharing: there are no tasks, expected at least one; name one")
    if empty := [task for task, labels in tasks.items() if not labels]:
        raise InputError(f"sharing: tasks {empty} have no labels; name some, or leave the task out")


def _check_labels(
    mapping: Mapping[str, Mapping[str, int]], labels: Mapping[str, Iterable[str]]
) -> None:
    for task in [*labels, *mapping]:
        found, wanted = sorted(mapping.get(task, ())), sorted(labels.get(task, ()))
        if found != wanted:
            raise InputError(
                f"sharing: the mapping of task '{task}' has the labels {found}, expected {wanted}; "
                "give each label of every task one shared label"
            )


def _check_counts(voxels: Mapping[str, int], labels: Iterable[str], number: int) -> None:
    if set(voxels) != set(labels):
        raise InputError(
            f"relative sizes: volume {number} counts {sorted(voxels)}, expected {sorted(labels)} "
            "as in the first; count every label of the task, zero where it is absent"
        )
    wrong = {label: count for label, count in voxels.items() if not _whole(count) or count < 0}
    if wrong:
        raise InputError(
            f"relative sizes: volume {number} counts {wrong}, expected whole numbers of voxels "
            "from 0"
        )


def _whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)
