"""Prepare scans: normalise, resample, map labels, split, and store them.

As in the cardiac pipeline that Kemnitz et al. 2018 build on (Baumgartner et al., STACOM 2017):
intensities get zero mean and unit standard deviation over the whole volume before resampling,
planes are resampled linearly (labels: nearest) and centred on a square grid, slices are left alone.
"""

import hashlib
import json
import logging
import multiprocessing
import os
import shutil
import threading
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from piecemeal.datasets import layouts
from piecemeal.datasets.grid import resample_to_grid
from piecemeal.datasets.scans import BadCase, CaseFiles, map_labels, sha256_of
from piecemeal.datasets.splits import choose_patients, split_cases
from piecemeal.datasets.store import PreparedScan
from piecemeal.errors import InputError
from piecemeal.provenance import locked, write_text

log = logging.getLogger(__name__)

# Nearest-neighbour labels change areas by a few per cent; less than this means a cut.
KEPT_FRACTION = 0.95

COLUMNS = [
    *("dataset", "scan", "case", "modality", "phase", "group", "split", "half"),
    *("slices", "spacing_z", "spacing_y", "spacing_x", "source_sha256"),
]


def zscore(image: np.ndarray, where: Path) -> np.ndarray:
    """Zero mean, unit standard deviation over the volume. Raises InputError if it is constant."""
    deviation = image.std(dtype=np.float64)
    if deviation == 0:
        raise InputError(f"{where}: every voxel has the same value; copy it again or leave it out")
    return ((image - image.mean(dtype=np.float64)) / deviation).astype(np.float32)


INTENSITIES = {"zscore": zscore}


@dataclass(frozen=True)
class _Job:
    """One scan to prepare. `settings` is all that decides the result besides the source files."""

    dataset: str
    modality: str
    case: CaseFiles
    root: Path
    target: Path
    settings: dict


def prepare(
    folder: Path,
    sources: dict[str, dict],
    structures: list[str],
    grid_spacing: float,
    size: int,
    intensity: str,
    split: dict[str, int],
    workers: int = 1,
) -> pd.DataFrame:
    """Prepare every scan of the sources into `folder` (see store.py); returns its cases.csv.

    sources: {data set: {"root": folder in its layout, "layout": name, "modality": "CT" or "MR",
    "labels": {raw value: structure}, "exclude": {scan or patient: reason}, "patients": only these
    or None, "limit": the first so many patients (of those named) or None}}. Each must label every
    structure.
    structures: class 1, 2, ... of the cohort. grid_spacing: mm. size: pixels a side. intensity:
    a key of INTENSITIES. split: seed, train, validation, test (patients of each data set).

    A scan that is there already, from the same files with the same settings, is not touched. One
    bad scan does not stop the others: all are tried, then InputError lists the bad ones.
    Raises InputError too if the split asks for more patients than a data set has, if `patients` or
    `exclude` name what is not there, or if a data set does not label all structures. A second
    process on the same folder waits for the first.
    """
    with locked(folder):
        (folder / "cases.csv").unlink(missing_ok=True)
        _check(sources, structures, intensity)
        settings = {
            "structures": list(structures),
            "grid_spacing": grid_spacing,
            "size": size,
            "intensity": intensity,
        }
        jobs, splits, bad = _plan(folder, sources, settings, split)
        outcomes = _run(jobs, workers)
        rows = [row for row, _ in outcomes if row]
        bad += [
            (job.dataset, job.case.scan, reason)
            for job, (_, reason) in zip(jobs, outcomes, strict=True)
            if reason
        ]
        if bad:
            raise InputError(_explain(bad, len(rows)))
        for row in rows:
            row |= splits[row["dataset"]].loc[row["case"]].to_dict()
        table = pd.DataFrame(rows, columns=COLUMNS).astype({"half": "Int64"})
        table = table.sort_values(["dataset", "scan"], ignore_index=True)
        write_text(folder / "cases.csv", table.to_csv(index=False))
    return table


def _plan(
    folder: Path, sources: dict[str, dict], settings: dict, split: dict[str, int]
) -> tuple[list[_Job], dict[str, pd.DataFrame], list[tuple[str, str, str]]]:
    """What to prepare, the split of each data set, and the bad scans: data set, scan, reason."""
    jobs: list[_Job] = []
    splits, bad = {}, []
    for dataset, source in sorted(sources.items()):
        cases, bad_cases = _usable_cases(dataset, source)
        patients = choose_patients(dataset, source, {one.case for one in (*cases, *bad_cases)})
        try:
            splits[dataset] = split_cases(patients, **split).set_index("case")
        except InputError as error:
            raise InputError(f"data set {dataset} in {source['root']}: {error}") from None
        labels = {str(value): name for value, name in sorted(source["labels"].items())}
        of_source = settings | {"labels": labels, "layout": source["layout"]}
        for case in cases:
            if case.case in splits[dataset].index:
                target = folder / dataset / case.scan
                where = (Path(source["root"]), target)
                jobs.append(_Job(dataset, source["modality"], case, *where, of_source))
        bad += [(dataset, b.scan, b.reason) for b in bad_cases if b.case in splits[dataset].index]
    return jobs, splits, bad


def _check(sources: dict[str, dict], structures: list[str], intensity: str) -> None:
    if intensity not in INTENSITIES:
        raise InputError(f"intensity: {intensity!r} is unknown; use one of {sorted(INTENSITIES)}")
    for dataset, source in sorted(sources.items()):
        labelled = set(source["labels"].values())
        # Their voxels carry no label there, and would be taken for background.
        if absent := [name for name in structures if name not in labelled]:
            raise InputError(
                f"data set {dataset} does not label {absent}, only {sorted(labelled)}; for now a "
                "data set must label all structures of a cohort: correct the names, or leave the "
                "structure or the data set out of the cohort in config/cohorts"
            )


def _usable_cases(dataset: str, source: dict) -> tuple[list[CaseFiles], list[BadCase]]:
    """Cases of a source and those whose files do not add up, both without the excluded ones."""
    bad: list[BadCase] = []
    cases = layouts.load(source["layout"]).find_cases(Path(source["root"]), bad)
    exclude = source.get("exclude") or {}
    names = {name for one in (*cases, *bad) for name in (one.case, one.scan)}
    for entry, reason in exclude.items():
        # The scans of a patient whose files do not even tell them apart have no names yet.
        if entry not in names and not any(entry.startswith(f"{one.scan}_") for one in bad):
            raise InputError(
                f"config/datasets/{dataset}.yaml, key exclude.{entry}: matches no patient and no "
                f"scan in {source['root']}, expected a name like {min(names)}; correct or delete it"
            )
        log.info("%s/%s is left out: %s", dataset, entry, reason)
    return tuple(
        [one for one in group if not {one.case, one.scan} & exclude.keys()]
        for group in (cases, bad)
    )


def _run(jobs: list[_Job], workers: int) -> list[tuple[dict | None, str]]:
    if workers <= 1:
        return [_prepare_or_explain(job) for job in jobs]
    # Forked workers need not import the calling script again, which Snakemake's wrapper around it
    # does not allow.
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(workers, context, initializer=_end_with_parent) as pool:
        return list(pool.map(_prepare_or_explain, jobs))


def _end_with_parent() -> None:
    """End this worker when its parent is killed; it would wait for work and hold LOCK for ever."""

    def watch() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _prepare_or_explain(job: _Job) -> tuple[dict | None, str]:
    try:
        return _prepare_scan(job), ""
    except InputError as error:
        return None, str(error)


def _prepare_scan(job: _Job) -> dict:
    """Store one scan unless it is there already; returns its row of cases.csv without the split."""
    case = job.case
    sums = sha256_of(path for path in (case.image, case.labels) if path)
    source = {path.relative_to(job.root).as_posix(): digest for path, digest in sums.items()}
    record = _finished_record(job.target, source, job.settings)
    if record is None:
        record = _store(job, source)
    return {
        "dataset": job.dataset,
        "scan": case.scan,
        "case": case.case,
        "modality": job.modality,
        "phase": case.phase,
        "group": case.group,
        "slices": record["native_shape"][0],
        **dict(zip(["spacing_z", "spacing_y", "spacing_x"], record["spacing"], strict=True)),
        "source_sha256": hashlib.sha256("".join(sums.values()).encode()).hexdigest(),
    }


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


def _store(job: _Job, source: dict) -> dict:
    case, settings = job.case, job.settings
    scan = layouts.load(settings["layout"]).read(case)
    geometry = (scan.spacing, settings["grid_spacing"], settings["size"])
    image = INTENSITIES[settings["intensity"]](scan.image, case.image)
    arrays = {"image": resample_to_grid(image, *geometry, order=1)}
    if scan.labels is not None:
        table = {int(value): name for value, name in settings["labels"].items()}
        arrays["reference"] = map_labels(scan.labels, table, settings["structures"], case.labels)
        arrays["labels"] = resample_to_grid(arrays["reference"], *geometry, order=0)
        _warn_if_cut(arrays, scan.spacing, settings["grid_spacing"], case)

    partial = job.target.with_name(job.target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name, array in arrays.items():
        np.save(partial / f"{name}.npy", array)
    record = {
        "native_shape": list(scan.image.shape),
        "spacing": list(scan.spacing),
        "affine": scan.affine.tolist(),
        "grid_spacing": settings["grid_spacing"],
        "grid_shape": list(arrays["image"].shape),
        "source": source,
        "settings": settings,
        "bytes": _sizes(partial),
    }
    write_text(partial / "scan.json", json.dumps(record, indent=1))
    shutil.rmtree(job.target, ignore_errors=True)
    partial.rename(job.target)
    return record


def _warn_if_cut(
    arrays: dict, spacing: tuple[float, float, float], grid_spacing: float, case: CaseFiles
) -> None:
    """Log a scan whose structures reach beyond the grid: no prediction can find that part."""
    native = np.count_nonzero(arrays["reference"]) * spacing[1] * spacing[2]
    kept = np.count_nonzero(arrays["labels"]) * grid_spacing**2 / native if native else 1.0
    if kept < KEPT_FRACTION:
        log.warning("%s: only %.0f %% of the labelled area fits the grid", case.labels, 100 * kept)


def _explain(bad: list[tuple[str, str, str]], prepared: int) -> str:
    files = sorted({f"config/datasets/{dataset}.yaml" for dataset, _, _ in bad})
    return "\n".join(
        [
            f"{len(bad)} scans could not be prepared; the other {prepared} are done and kept:",
            *(f"  {dataset}/{scan}: {reason}" for dataset, scan, reason in sorted(bad)),
            "Repair the file or list the scan under `exclude` in " + ", ".join(files) + ".",
        ]
    )
