"""One number of a table: a column's mean over cases, and the mean of such means."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np
import pandas as pd

from piecemeal.evaluation import statistics
from piecemeal.publishing.misses import (
    CASE,
    Convention,
    counted,
    in_words,
    rests_on_misses,
    slices_of,
    with_slices,
)
from piecemeal.table_specs import Metric, Spread

NOT_ITS_TASK = "not one of its tasks"  # status of an arm that no scan of the column is asked of


class Cell(NamedTuple):
    """One number of the table and what it rests on; nan where there is none."""

    status: str
    mean: float = np.nan
    std: float = np.nan
    n_cases: int = 0
    n_seeds: int = 0
    ci_low: float = np.nan
    ci_high: float = np.nan
    # Only while the average is being formed: cases x seeds, and slices left out of so many.
    grid: pd.DataFrame | None = None
    slices: tuple[int, int] = (0, 0)


def grids_of(
    rows: pd.DataFrame, metric: Metric, counts: str | float, compared: Collection[str]
) -> dict[str, pd.DataFrame]:
    """Every arm's scores in one column as cases x seeds, in the metric's unit.

    The score of a case is the mean over those of the column's structures that it has; a case
    without any value is not there. rows: scores of one column, all arms (`tables.in_column`);
    counts: as in `Convention`; compared: arms whose misses leave a case out for all, and whose
    largest score a normalised metric is divided by.
    """
    values = counted(rows, metric.score, counts, compared) * metric.factor
    of_scan = rows.assign(value=values).groupby(["arm", *CASE, "seed"])["value"].mean()
    grids = {
        arm: of_arm.droplevel("arm").unstack("seed").dropna(how="all")
        for arm, of_arm in of_scan.groupby(level="arm")
    }
    return _normalised(grids, compared) if metric.normalised else grids


def _normalised(
    grids: Mapping[str, pd.DataFrame], compared: Collection[str]
) -> dict[str, pd.DataFrame]:
    """Divided by the largest score of the compared arms; without one of them, by that of all."""
    scored = {arm: grid for arm, grid in grids.items() if not grid.empty}
    chosen = [grid for arm, grid in scored.items() if arm in compared] or list(scored.values())
    largest = max((grid.max(axis=None) for grid in chosen), default=0.0)
    return {arm: grid / (largest or 1.0) for arm, grid in grids.items()}


def column_cell(rows: pd.DataFrame, grid: pd.DataFrame, metric: Metric, spread: Spread) -> Cell:
    """One arm in one column; `rows` are its scores there, `grid` what its cases count."""
    slices = slices_of(rows, metric.score)
    status = in_words(rows, len(grid), metric.score) if metric.is_distance else "ok"
    status = with_slices(status, *slices)
    if grid.empty:
        return Cell(status, n_seeds=rows["seed"].nunique())
    return summary(grid, status, spread)._replace(slices=slices)


def summary(grid: pd.DataFrame, status: str, spread: Spread = "cases") -> Cell:
    """Mean, std and interval of cases x seeds; spread: what the std is over."""
    found = statistics.summary(grid)
    std = found.std if spread == "cases" else statistics.std_over_seeds(grid)
    return Cell(status, found.mean, std, found.n_cases, found.n_seeds, *found.interval, grid)


def completed(grid: pd.DataFrame, cases: pd.Index, seeds: pd.Index) -> pd.DataFrame:
    """Give every case and seed a value, so that grids can be set side by side; same mean.

    A seed that a case lacks takes the case's mean, and a case that is not there the mean of all.
    The others are moved away from it, by as much as there are more cases now: means of resampled
    cases then vary as those of the cases that are there, not as if none were lacking.
    """
    if grid.index.equals(cases) and grid.columns.equals(seeds) and grid.notna().to_numpy().all():
        return grid
    of_case = grid.mean(axis=1).reindex(cases)
    wide = grid.reindex(index=cases, columns=seeds).T.fillna(of_case).T
    mean, more = of_case.mean(), len(cases) / len(grid)
    return (mean + (wide - mean) * more).fillna(mean)


def average_grid(grids: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Mean over columns, cases x seeds, of one grid a column.

    Completed first, so that the mean over cases of the case's mean over columns is the mean of
    the column means.
    """
    cases = reduce(pd.Index.union, [grid.index for grid in grids])
    seeds = reduce(pd.Index.union, [grid.columns for grid in grids])
    return sum(completed(grid, cases, seeds) for grid in grids) / len(grids)


def average_cell(cells: Sequence[Cell], convention: Convention, spread: Spread) -> Cell:
    """Mean of one arm's column means; empty as soon as one column is.

    Its std is the mean of the columns' stds over cases, or that of the runs' own averages.
    """
    if all(cell.status == NOT_ITS_TASK for cell in cells):
        return cells[0]
    n_cases, n_seeds = max(c.n_cases for c in cells), max(c.n_seeds for c in cells)
    if empty := sum(cell.grid is None for cell in cells):
        return Cell(f"{empty} of {len(cells)} columns empty", n_cases=n_cases, n_seeds=n_seeds)
    touched = sum(rests_on_misses(cell.status) for cell in cells)
    what = "cases left out" if convention.counts == "excluded" else "misses"
    grid = average_grid([cell.grid for cell in cells])
    low, high = statistics.bootstrap_interval(grid)
    status = f"{what} in {touched} of {len(cells)} columns" if touched else "ok"
    of_cases = float(np.mean([cell.std for cell in cells]))
    return Cell(
        with_slices(status, *np.sum([cell.slices for cell in cells], axis=0)),
        float(np.mean([cell.mean for cell in cells])),
        of_cases if spread == "cases" else statistics.std_over_seeds(grid),
        len(grid),
        n_seeds,
        low,
        high,
    )
