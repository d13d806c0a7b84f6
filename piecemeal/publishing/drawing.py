"""From a figure's entry in figures.yaml and the runs' folders to the figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from piecemeal.datasets.grid import Geometry, resample_from_grid
from piecemeal.datasets.orientation import to_canonical
from piecemeal.datasets.store import PreparedScan
from piecemeal.papers import (
    AttentionFigure,
    CaseScores,
    Comparison,
    FigureBase,
    NotedCurves,
    QualitativeFigure,
    Table,
    TrainingCurves,
    ViewsFigure,
    cohorts_of,
)
from piecemeal.publishing import collect, trained
from piecemeal.publishing.attention import attention_curves, levels
from piecemeal.publishing.examples import Panel, example_slices, largest_slice, median_scan
from piecemeal.publishing.figures import (
    case_scores,
    case_values,
    noted_curves,
    nothing,
    training_curves,
)
from piecemeal.publishing.views import look_at, view_rows


def draw(
    spec: FigureBase,
    table: Table | None,
    given: Mapping[str, Any],
    runs: Path,
    prepared: Mapping[str, Path],
) -> Figure:
    """Draw the figure `spec`, of the arms that were run.

    table: the one whose columns a figure of case scores shows; given: the parameters all published
    files of the paper share; runs: the folder of all runs; prepared: cohort -> prepared folder.
    """
    entries, cohorts = given["runs"], given["cohorts"]
    records = collect.read_records(runs, entries)
    sources = collect.circumstances(given, records, {})
    phantom = any(sources.is_phantom(record["cohort"]) for record in records)
    note = f"Scale {given['scale']['title']}" + (", built-in phantoms" if phantom else "")
    asked = cohorts_of(spec, {table.key: table} if table else {})
    ran = _that_ran(spec, asked, entries)
    shown = [c for c, arms in ran.items() if arms]
    if not shown:
        why = f"{', '.join(spec.arms)} left out at this scale"
        reasons = [f"{cohorts[c]['title']}: {cohorts[c]['not_run'] or why}" for c in ran]
        return nothing("; ".join(reasons), note)
    if isinstance(spec, Comparison):
        somewhere = set().union(*ran.values())
        arms = {arm: heading for arm, heading in spec.arms.items() if arm in somewhere}
        spec = spec.model_copy(update={"arms": arms})
    if isinstance(spec, TrainingCurves | NotedCurves):
        titles = {c: cohorts[c]["title"] for c in shown}
        histories = collect.read_histories(runs, entries)
        if isinstance(spec, NotedCurves):
            return noted_curves(histories, titles, spec.arms, spec.columns, note)
        return training_curves(histories, titles, spec.arms, note)
    scores = collect.processed(collect.read_scores(runs, entries, cohorts), cohorts)
    if isinstance(spec, CaseScores):
        values = case_values(table, spec.metric, scores)
        values = values[values["arm"].isin(list(spec.arms))]
        return case_scores(values, spec.arms, spec.metric, note)
    if isinstance(spec, ViewsFigure):
        return _views(spec, given, scores, runs, prepared[spec.cohort], note)
    if isinstance(spec, AttentionFigure):
        return _attention(spec, given, scores, runs, prepared[spec.cohort], note)
    scores = scores[scores["arm"].isin(list(spec.arms))]
    panels = [
        _panel(spec, title, cohorts[cohort], rows, entries, runs, prepared[cohort])
        for cohort in shown
        for title, rows in _examples(spec, cohorts[cohort]["title"], scores, cohort)
    ]
    return example_slices(panels, spec.arms, note)


def _that_ran(
    spec: FigureBase, cohorts: Sequence[str], entries: list[Mapping[str, str]]
) -> dict[str, set[str]]:
    """Cohort -> those of the figure's arms that have runs there."""
    runs = [(entry["run"].split("/")[0], entry["arm"]) for entry in entries]
    return {c: {arm for cohort, arm in runs if cohort == c and arm in spec.arms} for c in cohorts}


def _examples(
    spec: QualitativeFigure, title: str, scores: pd.DataFrame, cohort: str
) -> list[tuple[str, pd.DataFrame]]:
    """Title and scores of every row that a cohort has."""
    rows = scores[scores["cohort"] == cohort]
    if not spec.each_dataset:
        return [(title, rows)]
    return list(rows[rows["status"] != "both_empty"].groupby("dataset"))


def _panel(
    spec: QualitativeFigure,
    title: str,
    about: Mapping[str, Any],
    rows: pd.DataFrame,
    entries: list[Mapping[str, str]],
    runs: Path,
    prepared: Path,
) -> Panel:
    """The slice with most foreground of the scan with the median score, first seed."""
    dataset, case, phase = median_scan(rows)
    cohort = rows["cohort"].iloc[0]
    name = f"{case}_{phase}" if phase else case
    scan = PreparedScan(prepared / dataset / name)
    z = largest_slice(np.asarray(scan.reference))
    predictions: dict[str, np.ndarray] = {}
    for entry in entries:  # in the order of the seeds: the first one is kept
        if entry["run"].startswith(f"{cohort}/") and entry["arm"] in spec.arms:
            path = runs / entry["run"] / "predictions" / dataset / f"{name}.nii.gz"
            predictions.setdefault(entry["arm"], _prediction(path, scan.geometry)[z])
    image = resample_from_grid(np.asarray(scan.image), scan.geometry, order=1)[z]
    spacing = scan.geometry.spacing
    return Panel(
        cohort=title,
        image=image,
        reference=np.asarray(scan.reference)[z],
        predictions=predictions,
        structures=about["structures"],
        spacing_yx=(spacing[1], spacing[2]),
        declared=scan.record["declared"],
    )


def _views(
    spec: ViewsFigure,
    given: Mapping[str, Any],
    scores: pd.DataFrame,
    runs: Path,
    prepared: Path,
    note: str,
) -> Figure:
    """Of every data set the scan with the median score of the arm; boxes from another scan."""
    run = trained.load(runs, given["networks"][spec.arm])
    rows = scores[(scores["cohort"] == spec.cohort) & (scores["arm"] == spec.arm)]
    looks = []
    for number, (dataset, title) in enumerate(given["datasets"].items()):
        if scans := trained.middle_scans(rows, dataset, prepared):
            looks.append(look_at(run, title, scans[0], scans[-1], first_seed=1000 * number))
    drawn = "views: of the random draws the first that pastes a box into strong view 1"
    return view_rows(looks, run.settings["structures"], f"{note}; {drawn}")


def _attention(
    spec: AttentionFigure,
    given: Mapping[str, Any],
    scores: pd.DataFrame,
    runs: Path,
    prepared: Path,
    note: str,
) -> Figure:
    """Of every data set the scan with the median score of the first arm."""
    rows = scores[(scores["cohort"] == spec.cohort) & (scores["arm"] == next(iter(spec.arms)))]
    chosen = {d: trained.middle_scans(rows, d, prepared) for d in given["datasets"]}
    scans = {dataset: found[0] for dataset, found in chosen.items() if found}
    found = {}
    for arm in spec.arms:
        run = trained.load(runs, given["networks"][arm])
        found[arm] = {dataset: levels(run, scan) for dataset, scan in scans.items()}
    titles = {dataset: given["datasets"][dataset] for dataset in scans}
    return attention_curves(found, spec.arms, titles, note)


def _prediction(path: Path, geometry: Geometry) -> np.ndarray:
    """Class ids (z, y, x) of a prediction, which lies in the file's own order, in the store's."""
    file = nib.load(path)
    volume = np.asarray(file.dataobj).transpose(2, 1, 0)
    return to_canonical(volume, None, file.affine)[0] if geometry.file_axes else volume
