"""A scan's labels in the classes of a cohort: merged, split into sides, checked and measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from piecemeal.datasets.grid import Shape, Spacing
from piecemeal.datasets.scans import CaseFiles, Scan, label_table, map_labels
from piecemeal.datasets.sides import check_sides, split_sides

KEPT_FRACTION = 0.99  # of a structure's voxels; below it a scan is noted as cut by the grid
LESION = " tumour"  # lies in its organ: whoever does not tell it apart labels it as the organ


@dataclass
class Labelled:
    """Class ids (z, y, x) uint8 in the order of the image; names of declared structures; notes."""

    ids: np.ndarray
    declared: list[str]
    notes: list[str]


def labelled(scan: Scan, case: CaseFiles, settings: dict[str, Any]) -> Labelled | None:
    """The scan's labels in classes of the cohort; None if nobody has drawn on it.

    settings: those of `prepare_scan.Job`. A structure made up of parts is declared if every part
    was drawn wherever it is; a tumour that a data set does not tell apart is part of its organ.
    Raises InputError on values outside the map, mirrored scans, and labels without any voxel.
    """
    if scan.labels is None:
        return None
    labels = dict(settings["labels"])
    where = case.labels or case.image
    # A field of view may show none of the structures that have a mask each.
    may_be_empty = bool(case.masks) or case.may_be_empty
    ids, structures = map_labels(scan.labels, label_table(labels), where, may_be_empty=may_be_empty)
    numbers = {name: i for i, name in enumerate(structures, start=1)}
    notes = _split_sides(ids, numbers, scan.image, settings["sides"])
    if settings["orientation"] == "canonical":
        pairs = [pair for pair in settings["side_check"] if set(pair) <= set(numbers)]
        check_sides(ids, numbers, pairs, where)
    asked = labels if case.declared is None else [raw for raw in case.declared if raw in labels]
    drawn = [labels[raw] for raw in asked]
    known = {side for name in drawn for side in settings["sides"].get(name, [name])}
    declared = []
    lookup = np.zeros(max(numbers.values(), default=0) + 1, np.uint8)
    for number, (name, parts) in enumerate(settings["structures"], start=1):
        there = [part for part in parts if part in numbers]
        lookup[[numbers[part] for part in there]] = number
        needed = [part for part in parts if part in numbers or not part.endswith(LESION)]
        if needed and known.issuperset(needed):
            declared.append(name)
    return Labelled(lookup[ids], declared, notes)


def _split_sides(
    ids: np.ndarray, numbers: dict[str, int], image: np.ndarray, sides: dict[str, list[str]]
) -> list[str]:
    """Split merged structures in place; `numbers` then names the sides instead. Returns notes."""
    notes = []
    for name, (right, left) in sides.items():
        merged = numbers.pop(name)
        numbers[right] = merged
        numbers[left] = max(numbers.values()) + 1
        is_left, note = split_sides(ids == merged, image)
        ids[is_left] = numbers[left]
        notes += [f"{name}: {note}"] if note else []
    return notes


def volumes_ml(ids: np.ndarray, spacing: Spacing, names: list[str]) -> dict[str, float]:
    """Volume in ml of every class that occurs, in the order of the classes."""
    counts = _counts(ids, len(names))
    ml = float(np.prod(spacing)) / 1000
    return {
        name: round(int(count) * ml, 3)
        for name, count in zip(names, counts[1:], strict=True)
        if count
    }


def cut_by_grid(
    ids: np.ndarray, spacing: Spacing, grid: tuple[Shape, Spacing], names: list[str]
) -> list[str]:
    """Notes on structures that reach beyond the grid: no prediction can find that part."""
    inside = []
    for voxels, mm, size, step in zip(ids.shape, spacing, *grid, strict=True):
        from_middle = np.abs(np.arange(voxels) - (voxels - 1) / 2) * mm
        inside.append(np.flatnonzero(from_middle <= size * step / 2 + 1e-6))
    box = tuple(slice(where[0], where[-1] + 1) if where.size else slice(0) for where in inside)
    whole, kept = _counts(ids, len(names)), _counts(ids[box], len(names))
    return [
        f"{name}: only {100 * fits / count:.0f} % fits the grid"
        for name, count, fits in zip(names, whole[1:], kept[1:], strict=True)
        if fits < KEPT_FRACTION * count
    ]


def _counts(ids: np.ndarray, classes: int) -> np.ndarray:
    """Voxels of class 0, 1, ..."""
    # Plane by plane: counting copies what it counts to eight bytes a voxel.
    counts = np.zeros(classes + 1, np.int64)
    for plane in ids:
        counts += np.bincount(plane.ravel(), minlength=classes + 1)
    return counts
