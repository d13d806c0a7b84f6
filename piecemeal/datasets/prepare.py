"""Prepare cohorts: every scan of their data sets on one grid, in one list of classes, and split."""

import json
import logging
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pandas as pd

from piecemeal.datasets.case_table import write_cases
from piecemeal.datasets.choosing import (
    by_publisher,
    check_cohort,
    labelled_by,
    settings_of,
    split_patients,
    usable_cases,
)
from piecemeal.datasets.leakage import Removal, find_twins, separate
from piecemeal.datasets.prepare_scan import Job, Prepared, prepare_scan
from piecemeal.datasets.splits import choose_patients
from piecemeal.datasets.store import SOURCES, TWINS, PreparedScan, nowhere
from piecemeal.datasets.tasks import tasks_with
from piecemeal.errors import InputError
from piecemeal.jobs import end_with_parent
from piecemeal.provenance import locked, write_text

log = logging.getLogger(__name__)

COLUMNS = [
    *("dataset", "scan", "case", "modality", "phase", "task", "group", "split", "half"),
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
    code: str = "",
    tasks: dict[str, list[str]] | None = None,
    transition: dict[str, int] | None = None,
    projection: dict[str, Any] | None = None,
) -> pd.DataFrame:
    """Prepare every scan of the sources into `folder` (see store.py); returns its cases.csv.

    sources: {data set: {"root": folder in its layout, "patients": only these or None, "limit": the
    first so many of them or None, "partial": whether excluded scans may be absent,
    "exclude": {scan or patient: reason}, and "layout",
    "layout_options", "labels" [[raw, structure], ...], "sides", "side_check", "unit_spacing",
    "modality", "other_modality" as in dataset_specs}}.
    structures: class 1, 2, ... of the cohort -> structures of the data sets that make it up.
    orientation, grid, intensity, split: as in cohort_specs; split["file"] is a path. code: a hash
    of the code that prepares. tasks, transition: as in cohort_specs; with tasks a scan is stored in
    parts `<scan>_<task>`, one for each task that it shows (tasks.py), of the same patient.
    projection: as in cohort_specs; the parts are views of the scan then (projections.py).

    A scan that is there already, from the same files with the same settings and code, is not
    touched; one that lies in another folder of the cohort (beside this one, <cohort>-<hash>) is
    linked. One bad scan does not stop the others: all are tried, then InputError lists the bad
    ones.
    Raises InputError too if the split asks for patients that are not there, if `patients` or
    `exclude` name such, if a data set labels no structure of the cohort or no data set labels one,
    or if no scan shows one of the tasks.
    A second process on the same folder waits for the first.
    """
    with locked(folder):
        (folder / "cases.csv").unlink(missing_ok=True)
        check_cohort(sources, structures, orientation)
        of_cohort = {
            "structures": [[name, parts] for name, parts in structures.items()],
            "orientation": orientation,
            "grid": grid,
            "code": code,
        }
        if projection:
            of_cohort |= {"tasks": tasks, "projection": projection}
        elif tasks:
            of_cohort |= {"tasks": tasks, "transition": transition}
        jobs, splits, bad = _plan(folder, sources, of_cohort, intensity, split)
        outcomes = _run(jobs, workers)
        bad += [
            (job.dataset, job.case.scan, reason)
            for job, (_, reason) in zip(jobs, outcomes, strict=True)
            if reason
        ]
        if bad:
            raise InputError(_explain(bad, sum(not reason for _, reason in outcomes), sources))
        rows = _rows(jobs, [prepared for prepared, _ in outcomes])
        _check_tasks(tasks or {}, rows)
        for row in rows:
            row |= splits[row["dataset"]].loc[row["case"]].to_dict()
        table = pd.DataFrame(rows, columns=COLUMNS).astype({"half": "Int64"})
        table = table.sort_values(["dataset", "scan"], ignore_index=True)
        for dataset, absent in nowhere(table).items():
            log.warning(
                "%s: no scan shows %s, though its labels have it; with `known: declared` it counts "
                "as known to be absent",
                dataset,
                ", ".join(absent),
            )
        table = _separated(folder, table, split.get("twins") == "keep")
        beside = [name for name in (SOURCES, TWINS) if (folder / name).exists()]
        write_cases(folder, table.to_csv(index=False), beside)
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
    cohort = folder.name.rpartition("-")[0]
    relatives = set(folder.parent.glob(f"{cohort}-*")) - {folder} if cohort else set()
    projection = of_cohort.get("projection")
    structures = dict(of_cohort["structures"])
    for dataset, source in sorted(sources.items()):
        cases, bad_cases = usable_cases(dataset, source)
        shown = _tasks_of(dataset, source, of_cohort)
        patients = choose_patients(dataset, source, {one.case for one in (*cases, *bad_cases)})
        theirs = {one.case: one.split for one in cases}
        try:
            splits[dataset] = split_patients(dataset, source, patients, split, theirs).set_index(
                "case"
            )
        except InputError as error:
            raise InputError(f"data set {dataset} in {source['root']}: {error}") from None
        for case in cases:
            if case.case in splits[dataset].index:
                settings = settings_of(dataset, source, case, intensity, structures) | of_cohort
                if projection and splits[dataset].split[case.case] != "train":
                    settings["projection"] = projection | {"copies": 0}
                place = Path(dataset, case.scan)
                where = (Path(source["root"]), folder / place)
                near = tuple(other / place for other in relatives if (other / dataset).exists())
                settings = json.loads(json.dumps(settings))
                jobs.append(Job(dataset, case, *where, settings, near, shown))
        # Nobody says of a bad patient which part of the publisher's split it is in.
        asked = set(patients if by_publisher(dataset, split) else splits[dataset].index)
        bad += [(dataset, b.scan, b.reason) for b in bad_cases if b.case in asked]
    return jobs, splits, bad


def _tasks_of(dataset: str, source: dict, of_cohort: dict[str, Any]) -> tuple[str, ...]:
    """The tasks that the scans of a data set may be cases of."""
    if projection := of_cohort.get("projection"):
        views = projection["views"].items()
        return tuple(task for task, view in views if view["dataset"] == dataset)
    return tasks_with(
        labelled_by(source), of_cohort.get("tasks", {}), dict(of_cohort["structures"])
    )


def _rows(jobs: list[Job], outcomes: list[Prepared]) -> list[dict[str, Any]]:
    """The rows of all scans; what is no case of its task is told."""
    for job, prepared in zip(jobs, outcomes, strict=True):
        for name, reason in prepared.left_out:
            log.info("%s/%s is left out: %s", job.dataset, name, reason)
    return [row for prepared in outcomes for row in prepared.rows]


def _check_tasks(tasks: dict[str, list[str]], rows: list[dict[str, Any]]) -> None:
    if absent := sorted(tasks.keys() - {row["task"] for row in rows}):
        raise InputError(
            f"no scan is a case of {absent}: none shows enough slices of it and of no other task; "
            "take less away (`transition` in config/cohorts), or add scans; of a projection, none "
            "has its structures (`projection.needs`, and `part` of its view)"
        )


def _separated(folder: Path, table: pd.DataFrame, keep: bool) -> pd.DataFrame:
    """The table with one `patient` for all twins, and without those that train what others test.

    keep: leave these in, and only say so. What left is listed in twins.csv beside cases.csv. Raises
    InputError if nothing is left of a set.
    """
    prints = []
    # All parts of a scan have the fingerprint of the whole.
    for row in table.drop_duplicates(["dataset", "case", "phase"]).itertuples():
        scan = PreparedScan(folder / row.dataset / row.scan)
        prints.append(((row.dataset, row.case), scan.record["fingerprint"], scan.coarse))
    separated, removed = separate(table, find_twins(prints))
    for dataset, case, reason in removed:
        does = "stays, though it is" if keep else "leaves its set: it is"
        log.warning("%s/%s %s %s", dataset, case, does, reason)
    if keep:
        separated = table.assign(patient=table["dataset"] + "/" + table["case"])
    elif emptied := sorted(set(table["split"]) - set(separated["split"])):
        dataset, case, reason = removed[0]
        patients = len(table[["dataset", "case"]].drop_duplicates())
        raise InputError(
            f"no scan of the set '{emptied[0]}' is left: {len(removed)} of {patients} patients are "
            f"taken for others of another set, such as {dataset}/{case} for {reason}; if they only "
            "look alike, set `split.twins: keep` in the cohort's file"
        )
    left = pd.DataFrame([] if keep else removed, columns=Removal._fields)
    write_text(folder / TWINS, left.to_csv(index=False))
    return separated[COLUMNS]


def _run(jobs: list[Job], workers: int) -> list[tuple[Prepared | None, str]]:
    if workers <= 1:
        return [_prepare_or_explain(job) for job in jobs]
    # Forked workers need not import the calling script again, which Snakemake's wrapper around it
    # does not allow.
    context = multiprocessing.get_context("fork")
    try:
        with ProcessPoolExecutor(workers, context, initializer=end_with_parent) as pool:
            return list(pool.map(_prepare_or_explain, jobs))
    except BrokenProcessPool:
        raise InputError(
            f"a worker was killed, most likely for memory: {workers} scans are prepared at a time, "
            "and a CT of 512 x 512 x 1000 voxels takes about 7 GB; start again with fewer threads "
            "(`--set-threads prepare=2`) or more memory (`--set-resources prepare:mem_mb=...`); "
            "what is done is kept"
        ) from None


def _prepare_or_explain(job: Job) -> tuple[Prepared | None, str]:
    try:
        return prepare_scan(job), ""
    except InputError as error:
        return None, str(error)


def _explain(
    bad: list[tuple[str, str, str]], prepared: int, sources: dict[str, dict[str, Any]]
) -> str:
    files = sorted({f"config/datasets/{dataset}.yaml" for dataset, _, _ in bad})
    roots = {Path(sources[dataset]["root"]) for dataset, _, _ in bad}
    ours = sorted(root for root in roots if root.name in ("phantom", "download"))
    again = [
        f"To have it drawn or unpacked again: rm -r {root} {root.with_name('manifest.json')}"
        for root in ours
    ]
    return "\n".join(
        [
            f"{len(bad)} scans could not be prepared; the other {prepared} are done and kept:",
            *(f"  {dataset}/{scan}: {reason}" for dataset, scan, reason in sorted(bad)),
            "Repair the file or list the scan under `exclude` in " + ", ".join(files) + ".",
            *again,
        ]
    )
