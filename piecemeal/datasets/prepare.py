"""Prepare cohorts: every scan of their data sets on one grid, in one list of classes, and split."""

import json
import logging
import multiprocessing
import os
import re
import threading
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from piecemeal.datasets import layouts
from piecemeal.datasets.leakage import find_twins, separate
from piecemeal.datasets.prepare_scan import Job, prepare_scan
from piecemeal.datasets.scans import BadCase, CaseFiles
from piecemeal.datasets.splits import (
    carve_validation,
    choose_patients,
    read_split,
    split_cases,
    with_halves,
)
from piecemeal.datasets.store import PreparedScan
from piecemeal.errors import InputError
from piecemeal.provenance import locked, write_text

log = logging.getLogger(__name__)

COLUMNS = [
    *("dataset", "scan", "case", "modality", "phase", "group", "split", "half"),
    *("slices", "spacing_z", "spacing_y", "spacing_x", "fov_z", "fov_y", "fov_x"),
    *("declared", "present", "volumes_ml", "notes", "patient", "source_sha256"),
]


def prepare(
    folder: Path,
    sources: dict[str, dict[str, Any]],
    structures: dict[str, list[str]],
    orientation: str,
    grid: dict[str, Any],
    intensity: dict[str, dict[str, Any]],
    split: dict[str, Any],
    workers: int = 1,
) -> pd.DataFrame:
    """Prepare every scan of the sources into `folder` (see store.py); returns its cases.csv.

    sources: {data set: {"root": folder in its layout, "patients": only these or None, "limit": the
    first so many of them or None, "exclude": {scan or patient: reason}, and "layout",
    "layout_options", "labels" [[raw, structure], ...], "sides", "side_check", "unit_spacing",
    "modality", "other_modality" as in dataset_specs}}.
    structures: class 1, 2, ... of the cohort -> structures of the data sets that make it up.
    orientation, grid, intensity, split: as in cohort_specs; split["file"] is a path.

    A scan that is there already, from the same files with the same settings, is not touched. One
    bad scan does not stop the others: all are tried, then InputError lists the bad ones.
    Raises InputError too if the split asks for patients that are not there, if `patients` or
    `exclude` name such, if a data set labels no structure of the cohort or no data set labels one.
    A second process on the same folder waits for the first.
    """
    with locked(folder):
        (folder / "cases.csv").unlink(missing_ok=True)
        _check(sources, structures)
        of_cohort = {
            "structures": [[name, parts] for name, parts in structures.items()],
            "orientation": orientation,
            "grid": grid,
        }
        jobs, splits, bad = _plan(folder, sources, of_cohort, intensity, split)
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
        table = _separated(folder, table, split.get("twins") == "keep")
        write_text(folder / "cases.csv", table.to_csv(index=False))
    return table


def _plan(
    folder: Path,
    sources: dict[str, dict],
    of_cohort: dict[str, Any],
    intensity: dict[str, dict],
    split: dict[str, Any],
) -> tuple[list[Job], dict[str, pd.DataFrame], list[tuple[str, str, str]]]:
    """What to prepare, the split of each data set, and the bad scans: data set, scan, reason."""
    jobs: list[Job] = []
    splits, bad = {}, []
    for dataset, source in sorted(sources.items()):
        cases, bad_cases = _usable_cases(dataset, source)
        patients = choose_patients(dataset, source, {one.case for one in (*cases, *bad_cases)})
        try:
            splits[dataset] = _split(dataset, source, patients, split).set_index("case")
        except InputError as error:
            raise InputError(f"data set {dataset} in {source['root']}: {error}") from None
        for case in cases:
            if case.case in splits[dataset].index:
                settings = _settings(dataset, source, case, intensity) | of_cohort
                where = (Path(source["root"]), folder / dataset / case.scan)
                jobs.append(Job(dataset, case, *where, json.loads(json.dumps(settings))))
        bad += [(dataset, b.scan, b.reason) for b in bad_cases if b.case in splits[dataset].index]
    return jobs, splits, bad


def _split(
    dataset: str, source: dict[str, Any], patients: list[str], split: dict[str, Any]
) -> pd.DataFrame:
    """Columns case, split, half of the patients of one data set."""
    seed = split["seed"]
    if split.get("file"):
        chosen = source.get("patients") is not None or source.get("limit") is not None
        missing = "ignore" if chosen else "error"
        excluded = source.get("exclude") or {}
        table = read_split(Path(split["file"]), dataset, patients, missing, excluded)
        if split.get("validation_share"):
            table = carve_validation(table, split["validation_share"], seed)
        return with_halves(table, seed)
    own = split.get("datasets", {}).get(dataset)
    counts = own or {key: split[key] for key in ("train", "validation", "test")}
    return split_cases(patients, seed, **counts)


def _settings(
    dataset: str, source: dict[str, Any], case: CaseFiles, intensity: dict[str, dict]
) -> dict[str, Any]:
    """What a scan is prepared with, as far as its data set decides it."""
    modality = source["modality"]
    for other, pattern in source["other_modality"].items():
        if re.search(pattern, case.case):
            modality = other
    if modality not in intensity:
        raise InputError(
            f"data set {dataset}: {case.scan} is {modality}, for which the cohort has no "
            f"`intensity`, only for {sorted(intensity)}; add it in config/cohorts"
        )
    of_source = ("layout", "labels", "sides", "side_check", "unit_spacing")
    return {
        **{key: source[key] for key in of_source},
        "modality": modality,
        "intensity": intensity[modality],
    }


def _check(sources: dict[str, dict], structures: dict[str, list[str]]) -> None:
    """Refuse cohorts whose structures and data sets do not fit together."""
    wanted = {part for parts in structures.values() for part in parts}
    labelled: set[str] = set()
    for dataset, source in sorted(sources.items()):
        sides = source["sides"]
        own = {side for _, name in source["labels"] for side in sides.get(name, [name])}
        if not own & wanted:
            raise InputError(
                f"data set {dataset} labels none of {sorted(wanted)}, only {sorted(own)}; correct "
                "the names, or leave the data set out of the cohort in config/cohorts"
            )
        labelled |= own
    if absent := sorted(wanted - labelled):
        raise InputError(
            f"no data set of the cohort labels {absent}, only {sorted(labelled)}; correct the "
            "names, or leave the structures out of the cohort in config/cohorts"
        )


def _usable_cases(dataset: str, source: dict) -> tuple[list[CaseFiles], list[BadCase]]:
    """Cases of a source and those whose files do not add up, both without the excluded ones."""
    bad: list[BadCase] = []
    layout, root = layouts.load(source["layout"]), Path(source["root"])
    cases = layout.find_cases(root, bad, **source["layout_options"])
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


def _separated(folder: Path, table: pd.DataFrame, keep: bool) -> pd.DataFrame:
    """The table with one `patient` for all twins, and without those that train what others test.

    keep: leave these in, and only say so.
    """
    prints = []
    for row in table.itertuples():
        scan = PreparedScan(folder / row.dataset / row.scan)
        coarse = np.load(scan.folder / "coarse.npy")
        prints.append(((row.dataset, row.case), scan.record["fingerprint"], coarse))
    separated, removed = separate(table, find_twins(prints))
    for dataset, case, reason in removed:
        does = "stays, though it is" if keep else "leaves its set: it is"
        log.warning("%s/%s %s %s", dataset, case, does, reason)
    if keep:
        separated = table.assign(patient=table["dataset"] + "/" + table["case"])
    return separated[COLUMNS]


def _run(jobs: list[Job], workers: int) -> list[tuple[dict | None, str]]:
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


def _prepare_or_explain(job: Job) -> tuple[dict | None, str]:
    try:
        return prepare_scan(job), ""
    except InputError as error:
        return None, str(error)


def _explain(bad: list[tuple[str, str, str]], prepared: int) -> str:
    files = sorted({f"config/datasets/{dataset}.yaml" for dataset, _, _ in bad})
    return "\n".join(
        [
            f"{len(bad)} scans could not be prepared; the other {prepared} are done and kept:",
            *(f"  {dataset}/{scan}: {reason}" for dataset, scan, reason in sorted(bad)),
            "Repair the file or list the scan under `exclude` in " + ", ".join(files) + ".",
        ]
    )
