"""From a figure's entry in figures.yaml and the runs' folders to the figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from piecemeal.datasets.store import read_cases
from piecemeal.figure_specs import (
    AnnotationMatrix,
    AttentionFigure,
    CaseScores,
    Comparison,
    FigureBase,
    Leaderboard,
    NotedCurves,
    QualitativeFigure,
    SharingFigure,
    StagesFigure,
    TableFigure,
    TrainingCurves,
    ViewsFigure,
    cohorts_of,
    shown_of,
)
from piecemeal.publishing import chosen, collect, style, trained
from piecemeal.publishing.attention import attention_curves, levels
from piecemeal.publishing.compared import structure_scores
from piecemeal.publishing.composition import annotation_matrix, sources_of
from piecemeal.publishing.examples import example_slices
from piecemeal.publishing.figures import case_scores, noted_curves, nothing, training_curves
from piecemeal.publishing.leaderboard import leaderboard, standings
from piecemeal.publishing.shared_labels import sharing_of, sharing_tables
from piecemeal.publishing.stages import stage_curves
from piecemeal.publishing.values import case_values, column_grids, metric_of, only
from piecemeal.publishing.views import look_at, view_rows
from piecemeal.table_specs import Table

_NAMED = 3  # arms that a note names one by one


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
    Raises InputError if a run was trained on other data than lie there.
    """
    entries, cohorts = given["runs"], given["cohorts"]
    records = collect.read_records(runs, entries)
    collect.refuse_other_data(records, prepared)
    sources = collect.circumstances(given, records, {})
    asked = cohorts_of(spec, {table.key: table} if table else {})
    phantom = any(sources.is_phantom(cohort) for cohort in asked)
    note = f"Scale {given['scale']['title']}" + (", built-in phantoms" if phantom else "")
    ran = _that_ran(spec, asked, entries)
    # Where all arms are left out, the figure does not wait for the data.
    bare = {c for c in asked if not (spec.arms or cohorts[c]["not_run"]) and c in prepared}
    shown = [c for c, arms in ran.items() if arms or c in bare]
    if not shown:
        why = f"{', '.join(spec.arms) or 'all arms'} left out at this scale"
        reasons = [f"{cohorts[c]['title']}: {cohorts[c]['not_run'] or why}" for c in ran]
        return nothing("; ".join(reasons), note)
    if isinstance(spec, AnnotationMatrix):
        structures = cohorts[spec.cohort]["structures"]
        sources = sources_of(read_cases(prepared[spec.cohort]), structures)
        return annotation_matrix(sources, given["datasets"], note)
    if isinstance(spec, Comparison | QualitativeFigure):
        spec, note = _of_those_that_ran(spec, set().union(*ran.values()), note)
    if isinstance(spec, TrainingCurves | NotedCurves):
        titles = {c: cohorts[c]["title"] for c in shown}
        histories = collect.read_histories(runs, entries)
        if isinstance(spec, NotedCurves):
            return noted_curves(histories, titles, spec.arms, spec.columns, note)
        return training_curves(histories, titles, spec.arms, note)
    if isinstance(spec, SharingFigure):
        return _sharing(spec, entries, runs, note)
    scores = collect.processed(collect.read_scores(runs, entries, cohorts), cohorts)
    if isinstance(spec, TableFigure):
        return _of_table(spec, shown_of(spec, table), scores, note)
    if isinstance(spec, ViewsFigure):
        return _views(spec, given, scores, runs, prepared[spec.cohort], note)
    if isinstance(spec, AttentionFigure):
        return _attention(spec, given, scores, runs, prepared[spec.cohort], note)
    scores = scores[scores["arm"].isin(list(spec.arms))]
    panels = []
    for cohort in shown:
        about, folder = cohorts[cohort], prepared[cohort]
        predicted = {
            arm: runs / run / "predictions" for arm, run in _first_runs(spec, cohort, entries)
        }
        of_cohort = scores[scores["cohort"] == cohort]
        for title, scan in chosen.examples(spec, about, of_cohort, folder):
            panels.append(chosen.panel(title, scan, about, predicted, folder))
    return example_slices(panels, spec.arms, note)


def _that_ran(
    spec: FigureBase, cohorts: Sequence[str], entries: list[Mapping[str, str]]
) -> dict[str, set[str]]:
    """Cohort -> those of the figure's arms that have runs there."""
    runs = [(entry["run"].split("/")[0], entry["arm"]) for entry in entries]
    return {c: {arm for cohort, arm in runs if cohort == c and arm in spec.arms} for c in cohorts}


def _of_those_that_ran(
    spec: Comparison | QualitativeFigure, ran: set[str], note: str
) -> tuple[Comparison | QualitativeFigure, str]:
    """The figure without the arms that ran nowhere, and a note that says which these are."""
    absent = [heading for arm, heading in spec.arms.items() if arm not in ran]
    if not absent:
        return spec, note
    arms = {arm: heading for arm, heading in spec.arms.items() if arm in ran}
    said = ", ".join(absent) if len(absent) <= _NAMED else f"{len(absent)} arms"
    return spec.model_copy(update={"arms": arms}), f"{note}; left out at this scale: {said}"


def _first_runs(
    spec: FigureBase, cohort: str, entries: list[Mapping[str, str]]
) -> list[tuple[str, str]]:
    """Arm and run of the first seed of every arm that ran on a cohort, in the figure's order."""
    found: dict[str, str] = {}
    for entry in entries:  # in the order of the seeds: the first one is kept
        if entry["run"].startswith(f"{cohort}/"):
            found.setdefault(entry["arm"], entry["run"])
    return [(arm, found[arm]) for arm in spec.arms if arm in found]


def _of_table(spec: TableFigure, table: Table, scores: pd.DataFrame, note: str) -> Figure:
    """A figure of what the cells of a table are made of."""
    if isinstance(spec, Leaderboard):
        metric = metric_of(table, spec.metric)
        boards = standings(table, spec.metric, spec.arms, scores)
        return leaderboard(boards, style.named(metric), metric.better, note)
    grids, metric = column_grids(table, spec.metric, scores), metric_of(table, spec.metric)
    if isinstance(spec, StagesFigure):
        return stage_curves(grids, spec.orders, metric, note)
    if isinstance(spec, CaseScores):
        return case_scores(case_values(only(grids, spec.arms)), spec.arms, spec.metric, note)
    return structure_scores(grids, spec.arms, metric, note)


def _sharing(
    spec: SharingFigure, entries: list[Mapping[str, str]], runs: Path, note: str
) -> Figure:
    """What the first run of every arm says of its channels."""
    found = {}
    for arm, run in _first_runs(spec, spec.cohort, entries):
        (record,) = collect.read_records(runs, [{"run": run}])
        found[spec.arms[arm]] = sharing_of(record)
    return sharing_tables(found, note)


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
