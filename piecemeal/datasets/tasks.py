"""Cohorts of several tasks: the part of a scan that shows one of them and no other.

Anand et al. (2024), section 3.1, take the slices between two regions out of the images of both, so
that no image shows two tasks. Here a scan becomes one case of each task that it shows: the longest
run of its axial slices on which something of the task is drawn and nothing of another one, without
a margin at both ends.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from piecemeal.datasets.labelling import Labelled
from piecemeal.datasets.scans import Scan


def tasks_with(
    labelled: Collection[str],
    tasks: Mapping[str, Sequence[str]],
    structures: Mapping[str, Sequence[str]],
) -> tuple[str, ...]:
    """The tasks of which a data set labels anything.

    labelled: structures of the data set; tasks: task -> structures of the cohort; structures: these
    -> structures of the data sets that make them up.
    """
    return tuple(
        task
        for task, names in tasks.items()
        if any(part in labelled for name in names for part in structures[name])
    )


def find_part(drawn: Labelled | None, task: str, settings: Mapping[str, Any]) -> tuple[slice, str]:
    """The slices (axis 0) of a scan that are its case of a task; and '', or why it has none.

    settings: structures [[class, parts], ...], tasks {task: [class, ...]}, and transition: margin,
    the slices taken off both ends of a run, and least, those that must be left. Of runs of the same
    length the lowest is taken.
    """
    nothing, own = slice(0), settings["tasks"][task]
    if drawn is None or not set(own) & set(drawn.declared):
        return nothing, "nobody has drawn its structures"
    names = [name for name, _ in settings["structures"]]
    shown = _shown(drawn.ids, len(names))
    is_own = np.array([name in own for name in names])
    run = _longest(shown[:, is_own].any(axis=1), shown[:, ~is_own].any(axis=1))
    margin, least = settings["transition"]["margin"], settings["transition"]["least"]
    if run.stop - run.start - 2 * margin < least:
        return nothing, (
            f"{run.stop - run.start} slices show it and no other task; it takes {least} beside a "
            f"margin of {margin} at both ends"
        )
    return slice(run.start + margin, run.stop - margin), ""


def cut_out(
    scan: Scan, drawn: Labelled, planes: slice, own: Collection[str]
) -> tuple[Scan, Labelled]:
    """These slices of a scan, where they lie in the world; only the classes `own` are declared."""
    affine = scan.affine.copy()
    affine[:3, 3] += planes.start * affine[:3, 2]
    labels = None if scan.labels is None else scan.labels[planes]
    part = replace(scan, image=scan.image[planes], labels=labels, affine=affine)
    declared = [name for name in drawn.declared if name in own]
    return part, replace(drawn, ids=drawn.ids[planes], declared=declared)


def _shown(ids: np.ndarray, classes: int) -> np.ndarray:
    """Which of the classes 1, 2, ... each slice shows: bool (z, classes)."""
    counts = [np.bincount(plane.ravel(), minlength=classes + 1) for plane in ids]
    return np.array(counts)[:, 1:] > 0


def _longest(own: np.ndarray, other: np.ndarray) -> slice:
    """The first of the longest runs from one slice of `own` to another without one of `other`.

    Slices that show nothing at all may lie between: eyes and jaw need not touch.
    """
    best, start, last = slice(0, 0), None, 0
    for z, (here, elsewhere) in enumerate(zip(own, other, strict=True)):
        if elsewhere:
            start = None
        elif here:
            start, last = z if start is None else start, z
            if last + 1 - start > best.stop - best.start:
                best = slice(start, last + 1)
    return best
