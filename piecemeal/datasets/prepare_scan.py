"""Prepare one scan: read, turn, check, normalise, resample and store it (store.py)."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from piecemeal.datasets import layouts
from piecemeal.datasets.grid import GridSpec, Shape, Spacing, resample_to_grid
from piecemeal.datasets.intensity import normalise
from piecemeal.datasets.leakage import fingerprint
from piecemeal.datasets.orientation import to_canonical
from piecemeal.datasets.scans import (
    CaseFiles,
    File,
    Scan,
    content_ids,
    label_table,
    map_labels,
    name_below,
)
from piecemeal.datasets.sides import check_sides, split_sides
from piecemeal.datasets.store import PreparedScan
from piecemeal.errors import InputError
from piecemeal.provenance import write_text

log = logging.getLogger(__name__)

KEPT_FRACTION = 0.95  # of the labelled voxels; below it a scan is reported as cut by the grid
CANONICAL = "LPS"  # arrays (z, y, x): up, back, to the patient's left


@dataclass(frozen=True)
class Job:
    """One scan to prepare. `settings` is all that decides the result besides the source files.

    settings: layout; labels [[raw value or mask, structure], ...]; sides, side_check, unit_spacing
    (as in dataset_specs); modality; structures [[class, [its parts]], ...]; orientation, grid,
    intensity of this modality (as in cohort_specs).
    """

    dataset: str
    case: CaseFiles
    root: Path
    target: Path
    settings: dict[str, Any]


@dataclass
class _Labelled:
    """Class ids (z, y, x) uint8 in the order of the image; names of declared structures; notes."""

    ids: np.ndarray
    declared: list[str]
    notes: list[str]


def prepare_scan(job: Job) -> dict[str, Any]:
    """Store one scan unless it is there already; returns its row of cases.csv without the split.

    Raises InputError naming the file that is at fault.
    """
    case = job.case
    sums = content_ids([case.image, *case.slices, *_drawn(case)])
    source = {name_below(job.root, file): digest for file, digest in sums.items()}
    record = _finished_record(job.target, source, job.settings)
    if record is None:
        record = _store(job, source)
    shape, spacing = record["native_shape"], record["spacing"]
    volumes = record["volumes_ml"]
    return {
        "dataset": job.dataset,
        "scan": case.scan,
        "case": case.case,
        "modality": job.settings["modality"],
        "phase": case.phase,
        "group": case.group,
        "slices": shape[0],
        **dict(zip(["spacing_z", "spacing_y", "spacing_x"], spacing, strict=True)),
        **{f"fov_{a}": round(n * mm, 3) for a, n, mm in zip("zyx", shape, spacing, strict=True)},
        "declared": ";".join(record["declared"]),
        "present": ";".join(volumes),
        "volumes_ml": ";".join(f"{ml:g}" for ml in volumes.values()),
        "notes": "; ".join(record["notes"]),
        "source_sha256": hashlib.sha256("".join(sums.values()).encode()).hexdigest(),
    }


def _drawn(case: CaseFiles) -> list[File]:
    return [*([case.labels] if case.labels else []), *(file for _, file in case.masks)]


def _finished_record(target: Path, source: dict, settings: dict) -> dict | None:
    """scan.json of a scan prepared from these files with these settings and whole, else None."""
    try:
        record = PreparedScan(target).record
    except InputError:
        return None
    same = record["source"] == source and record["settings"] == settings
    return record if same and record["bytes"] == _sizes(target) else None


def _sizes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in sorted(folder.glob("*.npy"))}


def _store(job: Job, source: dict[str, str]) -> dict[str, Any]:
    case, settings = job.case, job.settings
    scan = layouts.load(settings["layout"]).read(case, dict(settings["labels"]))
    _check_spacing(scan, job)
    turned, file_axes = _turned(scan)
    prints = fingerprint(turned.image, settings["modality"])
    if settings["orientation"] == "canonical":
        scan = turned
    else:
        file_axes = ""
    labelled = _labelled(scan, job)

    wanted = settings["grid"]
    grid = GridSpec(tuple(wanted["spacing_mm"]), tuple(wanted["size"]), wanted["fit"])
    shape, spacing = grid.of(scan.image.shape, scan.spacing)
    geometry = (scan.spacing, spacing, shape)
    image = normalise(scan.image, settings["intensity"], case.image)
    arrays = {"image": resample_to_grid(image, *geometry, order=1), "coarse": prints["coarse"]}
    volumes = {}
    if labelled is not None:
        arrays["reference"] = labelled.ids
        arrays["labels"] = resample_to_grid(labelled.ids, *geometry, order=0)
        volumes = _volumes_ml(labelled.ids, scan.spacing, settings["structures"])
        _warn_if_cut(labelled.ids, scan.spacing, (shape, spacing), case.scan)
    record = {
        "native_shape": list(scan.image.shape),
        "spacing": list(scan.spacing),
        "affine": scan.affine.tolist(),
        "file_axes": file_axes,
        "grid_spacing": list(spacing),
        "grid_shape": list(shape),
        "declared": [] if labelled is None else labelled.declared,
        "volumes_ml": volumes,
        "fingerprint": prints["exact"],
        "notes": [*scan.notes, *([] if labelled is None else labelled.notes)],
        "source": source,
        "settings": settings,
    }
    return _write(job.target, arrays, record)


def _write(target: Path, arrays: dict[str, np.ndarray], record: dict[str, Any]) -> dict[str, Any]:
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name, array in arrays.items():
        np.save(partial / f"{name}.npy", array)
    record["bytes"] = _sizes(partial)
    write_text(partial / "scan.json", json.dumps(record, indent=1))
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    return record


def _check_spacing(scan: Scan, job: Job) -> None:
    false = job.settings["modality"] == "CT" and job.settings["unit_spacing"] == "reject"
    if false and all(mm == 1.0 for mm in scan.spacing):
        raise InputError(
            f"{job.case.image}: claims voxels of exactly 1 x 1 x 1 mm, which on a CT means that "
            "the true size was lost; list the scan under `exclude` in "
            f"config/datasets/{job.dataset}.yaml, or set `unit_spacing: accept` there"
        )


def _turned(scan: Scan) -> tuple[Scan, str]:
    """The scan in canonical order, and the axes of its file."""
    image, labels, affine, file_axes = to_canonical(scan.image, scan.labels, scan.affine, CANONICAL)
    z, y, x = (float(step) for step in np.linalg.norm(affine[:3, :3], axis=0)[::-1])
    return Scan(image, labels, (z, y, x), affine, scan.notes), file_axes


def _labelled(scan: Scan, job: Job) -> _Labelled | None:
    """The scan's labels in classes of the cohort; None if nobody has drawn on it."""
    if scan.labels is None:
        return None
    case, settings = job.case, job.settings
    labels = dict(settings["labels"])
    where = case.labels or case.image
    # A field of view may show none of the structures that have a mask each.
    ids, structures = map_labels(
        scan.labels, label_table(labels), where, may_be_empty=bool(case.masks)
    )
    numbers = {name: i for i, name in enumerate(structures, start=1)}
    notes = _split_sides(ids, numbers, scan.image, settings["sides"])
    if settings["orientation"] == "canonical":
        pairs = [pair for pair in settings["side_check"] if set(pair) <= set(numbers)]
        check_sides(ids, numbers, pairs, where)
    drawn = labels.values() if case.declared is None else [labels[raw] for raw in case.declared]
    known = {side for name in drawn for side in settings["sides"].get(name, [name])}
    declared = []
    lookup = np.zeros(max(numbers.values(), default=0) + 1, np.uint8)
    for number, (name, parts) in enumerate(settings["structures"], start=1):
        there = [part for part in parts if part in numbers]
        lookup[[numbers[part] for part in there]] = number
        if there and known.issuperset(there):
            declared.append(name)
    return _Labelled(lookup[ids], declared, notes)


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


def _volumes_ml(ids: np.ndarray, spacing: Spacing, structures: list) -> dict[str, float]:
    """Volume in ml of every class that occurs, in the order of the classes."""
    counts = np.zeros(len(structures) + 1, np.int64)
    for plane in ids:
        counts += np.bincount(plane.ravel(), minlength=len(counts))
    ml = float(np.prod(spacing)) / 1000
    return {
        name: round(int(count) * ml, 3)
        for (name, _), count in zip(structures, counts[1:], strict=True)
        if count
    }


def _warn_if_cut(ids: np.ndarray, spacing: Spacing, grid: tuple[Shape, Spacing], name: str) -> None:
    """Log a scan whose structures reach beyond the grid: no prediction can find that part."""
    inside = []
    for voxels, mm, size, step in zip(ids.shape, spacing, *grid, strict=True):
        from_middle = np.abs(np.arange(voxels) - (voxels - 1) / 2) * mm
        inside.append(from_middle <= size * step / 2 + 1e-6)
    whole = np.count_nonzero(ids)
    kept = np.count_nonzero(ids[np.ix_(*inside)]) / whole if whole else 1.0
    if kept < KEPT_FRACTION:
        log.warning("%s: only %.0f %% of the labelled volume fits the grid", name, 100 * kept)
