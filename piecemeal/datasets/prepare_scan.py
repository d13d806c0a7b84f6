"""Prepare one scan: read, turn, check, normalise, resample and store it (store.py).

In a cohort of several tasks it is stored in parts, one for each task that it shows (tasks.py).
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from piecemeal.datasets import layouts
from piecemeal.datasets.grid import GridSpec, resample_to_grid
from piecemeal.datasets.intensity import normalise
from piecemeal.datasets.labelling import Labelled, cut_by_grid, labelled, volumes_ml
from piecemeal.datasets.leakage import fingerprint
from piecemeal.datasets.orientation import to_canonical
from piecemeal.datasets.scans import CaseFiles, File, Scan, content_ids, name_below
from piecemeal.datasets.store import PreparedScan
from piecemeal.datasets.tasks import cut_out, find_part
from piecemeal.errors import InputError
from piecemeal.provenance import share, write_text

CANONICAL = "LPS"  # arrays (z, y, x): up, back, to the patient's left


@dataclass(frozen=True)
class Job:
    """One scan to prepare. `settings` is all that decides the result besides the source files.

    settings: layout; labels [[raw value or mask, structure], ...]; sides, side_check, unit_spacing
    (as in dataset_specs); modality; declared, of this scan; structures [[class, [its parts]], ...];
    orientation, grid, intensity of this modality (as in cohort_specs); code, a hash of it; of a
    cohort with tasks also tasks and transition (as in cohort_specs).
    relatives: folders where the same scan may lie already, of other splits of the cohort.
    tasks: those of which the data set labels anything; none in a cohort without tasks.
    """

    dataset: str
    case: CaseFiles
    root: Path
    target: Path
    settings: dict[str, Any]
    relatives: tuple[Path, ...] = ()
    tasks: tuple[str, ...] = ()

    @property
    def parts(self) -> list[Part]:
        """The whole scan, or its part of each task."""
        if not self.tasks:
            return [Part("", self.target, self.settings, self.relatives)]
        return [
            Part(
                task,
                _named(self.target, task),
                self.settings | {"task": task},
                tuple(_named(folder, task) for folder in self.relatives),
            )
            for task in self.tasks
        ]


class Part(NamedTuple):
    """What is stored of a scan as one case: where, and all that decides it, as in `Job`."""

    task: str
    target: Path
    settings: dict[str, Any]
    relatives: tuple[Path, ...]


class Prepared(NamedTuple):
    """Rows of cases.csv without the split, and names of parts that are no cases, with reasons."""

    rows: list[dict[str, Any]]
    left_out: list[tuple[str, str]]


class _Whole(NamedTuple):
    """A scan, turned and normalised, its labels, its fingerprint and the axes of its file."""

    scan: Scan
    drawn: Labelled | None
    prints: dict[str, Any]
    file_axes: str


def prepare_scan(job: Job) -> Prepared:
    """Store one scan, or its parts, unless they are there already.

    Raises InputError naming the file that is at fault.
    """
    case = job.case
    sums = content_ids([case.image, *case.slices, *_drawn(case)])
    source = {name_below(job.root, file): digest for file, digest in sums.items()}
    records = []
    for part in job.parts:
        found = _finished_record(part.target, source, part.settings) or _adopted(part, source)
        records += [found] if found else []
    if len(records) < len(job.parts):
        records = _store(job, source)
    digest = hashlib.sha256("".join(sums.values()).encode()).hexdigest()
    prepared = Prepared([], [])
    for part, record in zip(job.parts, records, strict=True):
        if reason := record.get("left_out"):
            prepared.left_out.append((part.target.name, reason))
        else:
            prepared.rows.append(_row(job, part, record) | {"source_sha256": digest})
    return prepared


def _row(job: Job, part: Part, record: dict[str, Any]) -> dict[str, Any]:
    case = job.case
    shape, spacing = record["native_shape"], record["spacing"]
    volumes = record["volumes_ml"]
    return {
        "dataset": job.dataset,
        "scan": part.target.name,
        "case": case.case,
        "modality": job.settings["modality"],
        "phase": case.phase,
        "task": part.task,
        "group": case.group,
        "slices": shape[0],
        **dict(zip(["spacing_z", "spacing_y", "spacing_x"], spacing, strict=True)),
        **{f"fov_{a}": round(n * mm, 3) for a, n, mm in zip("zyx", shape, spacing, strict=True)},
        "declared": ";".join(record["declared"]),
        "present": ";".join(volumes),
        "volumes_ml": ";".join(f"{ml:g}" for ml in volumes.values()),
        "notes": "; ".join(record["notes"]),
    }


def _named(folder: Path, task: str) -> Path:
    return folder.with_name(f"{folder.name}_{task}")


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


def _adopted(part: Part, source: dict) -> dict | None:
    """The record of the same part from another folder of the cohort, now in this one too.

    Leaving a scan out or splitting otherwise makes a new folder, and nothing of it a new scan.
    """
    for folder in sorted(part.relatives):
        record = _finished_record(folder, source, part.settings)
        if record is not None:
            partial = _partial(part.target)
            for path in folder.iterdir():
                share(path, partial / path.name)
            _appear(partial, part.target)
            return record
    return None


def _sizes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in sorted(folder.glob("*.np[yz]"))}


def _store(job: Job, source: dict[str, str]) -> list[dict[str, Any]]:
    """Store all parts of a scan; their records."""
    whole = _read(job)
    records = []
    for part in job.parts:
        if not part.task:
            arrays, record = _on_grid(whole, part.settings)
        else:
            planes, reason = find_part(whole.drawn, part.task, part.settings)
            arrays, record = ({}, {"left_out": reason}) if reason else _cut(whole, part, planes)
        record |= {"source": source, "settings": part.settings}
        records.append(_write(part.target, arrays, record))
    return records


def _read(job: Job) -> _Whole:
    case, settings = job.case, job.settings
    scan = layouts.load(settings["layout"]).read(case, dict(settings["labels"]))
    _check_spacing(scan, job)
    turned, file_axes = _turned(scan)
    prints = fingerprint(turned.image, settings["modality"])
    if settings["orientation"] == "canonical":
        scan = turned
    else:
        file_axes = ""
    drawn = labelled(scan, case, settings)
    # Before a part is cut out: a task's intensities are those that its scan has as a whole.
    image = normalise(scan.image, settings["intensity"], case.image)
    return _Whole(replace(scan, image=image), drawn, prints, file_axes)


def _cut(whole: _Whole, part: Part, planes: slice) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arrays and record of the slices of a scan that are its case of a task."""
    own = part.settings["tasks"][part.task]
    scan, drawn = cut_out(whole.scan, whole.drawn, planes, own)
    arrays, record = _on_grid(whole._replace(scan=scan, drawn=drawn), part.settings)
    return arrays, record | {"task": part.task, "planes": [planes.start, planes.stop]}


def _on_grid(whole: _Whole, settings: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arrays and record of a scan: its image and labels on the grid, its labels as they are."""
    scan, drawn, prints, file_axes = whole
    wanted = settings["grid"]
    grid = GridSpec(tuple(wanted["spacing_mm"]), tuple(wanted["size"]), wanted["fit"])
    shape, spacing = grid.of(scan.image.shape, scan.spacing)
    geometry = (scan.spacing, spacing, shape)
    # What lies outside of a scan is as dark as what is darkest inside.
    outside = settings["intensity"].get("scale", [0.0])[0]
    arrays = {
        "image": resample_to_grid(scan.image, *geometry, order=1, outside=outside),
        "coarse": prints["coarse"],
    }
    notes, volumes = list(scan.notes), {}
    if drawn is not None:
        names = [name for name, _ in settings["structures"]]
        arrays["reference"] = drawn.ids
        arrays["labels"] = resample_to_grid(drawn.ids, *geometry, order=0)
        volumes = volumes_ml(drawn.ids, scan.spacing, names)
        notes += [*drawn.notes, *cut_by_grid(drawn.ids, scan.spacing, (shape, spacing), names)]
    record = {
        "native_shape": list(scan.image.shape),
        "spacing": list(scan.spacing),
        "affine": scan.affine.tolist(),
        "file_axes": file_axes,
        "grid_spacing": list(spacing),
        "grid_shape": list(shape),
        "declared": [] if drawn is None else drawn.declared,
        "volumes_ml": volumes,
        "fingerprint": prints["exact"],
        "notes": notes,
    }
    return arrays, record


def _write(target: Path, arrays: dict[str, np.ndarray], record: dict[str, Any]) -> dict[str, Any]:
    partial = _partial(target)
    # Read whole, once, and mostly background: a hundredth of its size. The others are mapped.
    packed = {"reference": arrays.pop("reference")} if "reference" in arrays else {}
    for name, array in packed.items():
        np.savez_compressed(partial / f"{name}.npz", array)
    for name, array in arrays.items():
        np.save(partial / f"{name}.npy", array)
    record["bytes"] = _sizes(partial)
    write_text(partial / "scan.json", json.dumps(record, indent=1))
    _appear(partial, target)
    return record


def _partial(target: Path) -> Path:
    """An empty folder beside `target`, to become it."""
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    return partial


def _appear(partial: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)


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
