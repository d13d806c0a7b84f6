"""A paper's table in long form: measured numbers with the published ones beside them.

What an empty mask counts (`POLICY`): a missed or invented structure has Dice 0; its distances are
undefined, and a mean that leaves it out would improve by the miss, so the cell stays empty and
two further rows give the means under the other conventions. Where prediction and reference are
both empty there is nothing to score, and the row does not enter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from piecemeal.errors import InputError
from piecemeal.evaluation.statistics import bootstrap_interval
from piecemeal.papers import AS_PREDICTED, Half, Metric, Table

COLUMNS = [
    *("method", "base", "setting", "column", "metric", "unit", "mean", "std", "n_cases"),
    *("n_seeds", "ci_low", "ci_high", "published_mean", "published_std", "difference", "status"),
]
POLICY = (
    "A missed or invented structure counts Dice 0. Its distances are undefined: the cell then "
    "stays empty, for a miss must never improve a mean, and the other conventions are given "
    "beside it. Cases where prediction and reference are both empty do not enter."
)
_CELL = ["method", "setting", "column", "metric"]
_LOST = ("missed", "invented")


class Cell(NamedTuple):
    """One number of the table and what it rests on; nan where there is none."""

    status: str
    mean: float = np.nan
    std: float = np.nan
    n_cases: int = 0
    n_seeds: int = 0
    ci_low: float = np.nan
    ci_high: float = np.nan
    grid: pd.DataFrame | None = None  # case x seed, only while the average is being formed


def read_published(table: Table, folder: Path) -> pd.DataFrame:
    """Read the numbers a paper printed: method, setting, column, metric, unit, mean, std, note.

    Unreadable numbers are nan. Raises InputError when the file lacks a column, or a row has no
    place in the table, occurs twice or is in another unit.
    """
    path = folder / table.published.file
    try:
        published = pd.read_csv(path, dtype={"unit": str, "note": str})
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {error}; restore the file") from None
    published = published.rename(columns=table.published.rename)
    if "note" not in published:
        published["note"] = ""
    published["note"] = published["note"].fillna("")
    wanted = [*_CELL, "unit", "mean", "std", "note"]
    if absent := [c for c in wanted if c not in published]:
        raise InputError(f"{path}: no column {', '.join(absent)}; name it in tables.yaml 'rename'")
    units = {metric.name: metric.unit for metric in table.metrics}
    places = {
        (arm.name, half.setting, column, metric)
        for arm in table.arms
        for half in table.halves
        for column in [*(c.name for c in half.columns), half.average]
        for metric in units
    }
    seen = set()
    for number, row in enumerate(published.itertuples(index=False), start=2):
        place = (row.method, row.setting, row.column, row.metric)
        if place not in places:
            raise InputError(f"{path}, line {number}: {place} is no cell of table '{table.key}'")
        if place in seen:
            raise InputError(f"{path}, line {number}: {place} is already there; keep one")
        if row.unit != units[row.metric]:
            raise InputError(
                f"{path}, line {number}: unit '{row.unit}', but tables.yaml says "
                f"'{units[row.metric]}' for {row.metric}; they must agree to be compared"
            )
        seen.add(place)
    return published[wanted]


def treatments(half: Half, scores: pd.DataFrame) -> dict[str, str]:
    """Post-processing of every setting of `half`: {setting: value of `postprocessing`}.

    The half's own name belongs to the post-processed scores where there are any; the plain
    ones are then shown as a further setting.
    """
    found = set(scores.loc[scores["cohort"] == half.cohort, "postprocessing"])
    processed = sorted(found - {AS_PREDICTED})
    if len(processed) > 1:
        raise InputError(f"cohort '{half.cohort}': one post-processing expected, got {processed}")
    if not processed:
        return {half.setting: AS_PREDICTED}
    named = {half.setting: processed[0]}
    if AS_PREDICTED in found:
        named[f"{half.setting}, {AS_PREDICTED}"] = AS_PREDICTED
    return named


def phases(scores: pd.DataFrame) -> pd.Series:
    """Phase of every row, '' where a csv has none (a column of nothing is read as numbers)."""
    return scores["phase"].astype(object).fillna("")


def build_table(
    table: Table,
    scores: pd.DataFrame,
    published: pd.DataFrame,
    not_run: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Build the long form of `table`, columns `COLUMNS`, one row a number.

    A mean is over cases of the case's mean over seeds; std is the population's, over cases (as
    in the code the first paper cites); the interval is a 95 % bootstrap over cases and seeds.
    The average column is the mean of the column means and its std the mean of the column stds:
    all six averages that Kemnitz et al. (2018) print for the cardiac upper bound follow in this
    way from their printed columns. Their thigh averages, whose columns hold copied and lost
    cells, follow only in part.

    Parameters
    ----------
    scores
        Rows of the runs' scores.csv with two more columns: `arm`, and `postprocessing`
        ("as predicted" or, for a cohort that asks for it, what was done).
    published
        From `read_published`.
    not_run
        Cohort -> why it has no runs at this scale.

    Raises InputError when a case is scored twice, a score is empty though nothing was missed, or
    a column of the table occurs in no score of its cohort.
    """
    scores = _checked(table, scores)
    reasons = not_run or {}
    rows = []
    for half in table.halves:
        for setting, treatment in treatments(half, scores).items():
            chosen = (scores["cohort"] == half.cohort) & (scores["postprocessing"] == treatment)
            for arm in table.arms:
                ran = scores[chosen & (scores["arm"] == arm.name)]
                why = f": {reasons[half.cohort]}" if half.cohort in reasons else ""
                for name, metric, cell in _cells(half, table.metrics, ran, f"not run{why}"):
                    row = {"method": arm.name, "base": table.base, "setting": setting}
                    row |= {"column": name, "metric": metric.name, "unit": metric.unit}
                    rows.append(row | cell._asdict())
    return _with_published(pd.DataFrame(rows), published)[COLUMNS]


def _checked(table: Table, scores: pd.DataFrame) -> pd.DataFrame:
    """Scores with empty phases as '' and Dice 0 for what was missed or invented."""
    scores = scores.assign(phase=phases(scores))
    for half in table.halves:
        rows = scores[scores["cohort"] == half.cohort]
        scored = set(zip(rows["structure"], rows["phase"], strict=True))
        asked = {(column.structure, column.phase) for column in half.columns}
        if scored and (absent := sorted(asked - scored)):
            raise InputError(
                f"table '{table.key}', setting '{half.setting}': {absent} is in no score of cohort "
                f"'{half.cohort}', which has {sorted(scored)}; correct tables.yaml"
            )
    scores = scores[scores["status"] != "both_empty"]
    keys = ["arm", "cohort", "postprocessing", "seed", "dataset", "case", "phase", "structure"]
    twice = scores[scores.duplicated(keys)]
    if len(twice):
        raise InputError(
            f"scored twice: {twice.iloc[0][keys].to_dict()}; an arm must be one run a seed"
        )
    lost = scores["status"].isin(_LOST)
    scores["dice"] = scores["dice"].mask(lost, 0.0)
    undefined = scores[~lost & scores[["dice", "assd_mm", "hd_mm", "hd95_mm"]].isna().any(axis=1)]
    if len(undefined):
        raise InputError(
            f"status ok, but a score is empty: {undefined.iloc[0][keys].to_dict()}; score again"
        )
    return scores


def _cells(
    half: Half, metrics: list[Metric], ran: pd.DataFrame, not_run: str
) -> Iterator[tuple[str, Metric, Cell]]:
    """Yield (column, metric, cell) of one arm in one setting, the average last."""
    averaged: dict[str, tuple[Metric, list[Cell]]] = {}
    for column in half.columns:
        rows = ran[(ran["structure"] == column.structure) & (ran["phase"] == column.phase)]
        for base in metrics:
            for metric, cell in _conventions(base, rows, not_run if ran.empty else None):
                averaged.setdefault(metric.name, (metric, []))[1].append(cell)
                yield column.name, metric, cell
    if half.average is not None:
        for metric, cells in averaged.values():
            yield half.average, metric, _average(cells, not_run if ran.empty else None)


def _conventions(
    metric: Metric, rows: pd.DataFrame, not_run: str | None
) -> Iterator[tuple[Metric, Cell]]:
    """One cell for the metric and, for distances, one for each other convention on misses."""
    names = convention_names(metric)
    if rows.empty:
        for name in names:
            yield metric.model_copy(update={"name": name}), Cell(not_run or "no case has it")
        return
    grid = rows.pivot(index=["dataset", "case"], columns="seed", values=metric.score)
    if not metric.is_distance:
        yield metric, _summary(grid, "ok")
        return
    status = rows.pivot(index=["dataset", "case"], columns="seed", values="status")
    lost = {word: int((status == word).any(axis=1).sum()) for word in _LOST}
    grid = grid.mask(status.isin(_LOST))
    said = ", ".join(f"{n} of {len(grid)} {word}" for word, n in lost.items() if n)
    if said:
        yield metric, Cell(said, n_cases=len(grid), n_seeds=grid.shape[1])
    else:
        yield metric, _summary(grid, "ok")
    if metric.miss_counts is None:
        return
    found = grid.dropna(how="all")
    part = f"{len(found)} of {len(grid)} found" if said else "ok"
    cell = Cell(part, n_seeds=grid.shape[1]) if found.empty else _summary(found, part)
    yield metric.model_copy(update={"name": names[1]}), cell
    counted = grid.mask(status.isin(_LOST), metric.miss_counts)
    yield metric.model_copy(update={"name": names[2]}), _summary(counted, "ok")


def convention_names(metric: Metric) -> list[str]:
    """The metric's name and, if misses can be counted, the names of the other conventions."""
    if metric.miss_counts is None:
        return [metric.name]
    counted = f"{metric.name}, a miss counts {metric.miss_counts:g} {metric.unit}"
    return [metric.name, f"{metric.name} where found", counted]


def _summary(grid: pd.DataFrame, status: str) -> Cell:
    per_case = grid.mean(axis=1)
    low, high = bootstrap_interval(grid)
    mean, std = per_case.mean(), per_case.std(ddof=0)
    return Cell(status, mean, std, len(grid), grid.shape[1], low, high, grid)


def _average(cells: list[Cell], not_run: str | None) -> Cell:
    if not_run:
        return Cell(not_run)
    n_cases, n_seeds = max(c.n_cases for c in cells), max(c.n_seeds for c in cells)
    if empty := sum(cell.grid is None for cell in cells):
        return Cell(f"{empty} of {len(cells)} columns empty", n_cases=n_cases, n_seeds=n_seeds)
    # A cell that a case lacks takes its column's mean, so that the mean over cases of the case's
    # mean over columns is the mean of the column means.
    grids = [cell.grid for cell in cells]
    index = grids[0].index
    for grid in grids[1:]:
        index = index.union(grid.index)
    full = [grid.reindex(index).fillna(c.mean) for grid, c in zip(grids, cells, strict=True)]
    low, high = bootstrap_interval(sum(full) / len(full))
    whole = all(cell.status == "ok" for cell in cells)
    return Cell(
        "ok" if whole else "only cases where found",
        float(np.mean([cell.mean for cell in cells])),
        float(np.mean([cell.std for cell in cells])),
        len(index),
        n_seeds,
        low,
        high,
    )


def _with_published(rows: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Join the printed numbers, the difference, and what the status says about them."""
    printed = published.rename(columns={"mean": "published_mean", "std": "published_std"})
    rows = rows.merge(printed.drop(columns="unit"), how="left", on=_CELL, indicator=True)
    rows["difference"] = rows["mean"] - rows["published_mean"]
    known = rows["_merge"] == "both"
    lost = {c: known & rows[f"published_{c}"].isna() for c in ("mean", "std")}
    for which, text in [
        (lost["mean"] & lost["std"], "published number unreadable"),
        (lost["mean"] & ~lost["std"], "published mean unreadable"),
        (~lost["mean"] & lost["std"], "published std unreadable"),
        (known & rows["note"].fillna("").ne(""), "published number doubtful"),
    ]:
        rows.loc[which, "status"] += f"; {text}"
    return rows
