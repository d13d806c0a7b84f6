"""Prepare one scan: read, turn, check, normalise (whole.py), resample and store it (store.py).

In a cohort of several tasks it is stored in parts, one for each task that it shows (tasks.py), or
one for each of its views (projections.py).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from piecemeal.datasets.projections import project_scan
from piecemeal.datasets.scans import CaseFiles, File, content_ids, name_below
from piecemeal.datasets.store import PreparedScan
from piecemeal.datasets.tasks import cut_out, find_part
from piecemeal.datasets.whole import Whole, on_grid, read_whole
from piecemeal.errors import InputError
from piecemeal.provenance import share, write_text


@dataclass(frozen=True)
class Job:
    """One scan to prepare. `settings` is all that decides the result besides the source files.

    settings: layout; labels [[raw value or mask, structure], ...]; sides, side_check, unit_spacing
    (as in dataset_specs); modality; declared, of this scan; structures [[class, [its parts]], ...];
    orientation, grid, intensity of this modality (as in cohort_specs); code, a hash of it; of a
    cohort with tasks also tasks, and transition or projection (as in cohort_specs; copies: of this
    scan).
    relatives: folders where the same scan may lie already, of other splits of the cohort.
    tasks: those of which the data set labels anything, or has a view; none in a cohort without.
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
        """The whole scan, or its part or view of each task."""
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
    whole = read_whole(job.case, job.dataset, job.settings)
    if "projection" in job.settings:
        made = project_scan(whole, job.case, job.dataset, job.settings, job.tasks)
    else:
        made = (_part_of(whole, part) for part in job.parts)
    records = []
    for part, (arrays, record) in zip(job.parts, made, strict=True):
        record |= {"source": source, "settings": part.settings}
        records.append(_write(part.target, arrays, record))
    return records


def _part_of(whole: Whole, part: Part) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arrays and record of a scan, or of its slices of a task."""
    if not part.task:
        return on_grid(whole, part.settings)
    planes, reason = find_part(whole.drawn, part.task, part.settings)
    return ({}, {"left_out": reason}) if reason else _cut(whole, part, planes)


def _cut(whole: Whole, part: Part, planes: slice) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arrays and record of the slices of a scan that are its case of a task."""
    own = part.settings["tasks"][part.task]
    scan, drawn = cut_out(whole.scan, whole.drawn, planes, own)
    arrays, record = on_grid(whole._replace(scan=scan, drawn=drawn), part.settings)
    return arrays, record | {"task": part.task, "planes": [planes.start, planes.stop]}


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
    """Make the folder `partial` the `target`, once all of it surely lies on the disk.

    After a power cut a name may be there whose content is not, and scan.json would vouch for it.
    """
    for path in sorted(partial.iterdir()):
        with path.open("rb") as file:
            os.fsync(file.fileno())
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
