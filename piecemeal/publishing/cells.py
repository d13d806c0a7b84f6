"""One number of a table: a column's mean over cases, and the mean of such means."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np
import pandas as pd

from piecemeal.evaluation import statistics
from piecemeal.publishing.misses import CASE, Convention, in_words


class Cell(NamedTuple):
    """One number of the table and what it rests on; nan where there is none."""

    status: str
    mean: float = np.nan
    std: float = np.nan
    n_cases: int = 0
    n_seeds: int = 0
    ci_low: float = np.nan
    ci_high: float = np.nan
    grid: pd.DataFrame | None = None  # cases x seeds, only while the average is being formed


def grid_of(rows: pd.DataFrame, values: pd.Series) -> pd.DataFrame:
    """Values of one arm in one column as cases x seeds, without cases that have no value."""
    grid = rows.assign(value=values).pivot(index=CASE, columns="seed", values="value")
    return grid.dropna(how="all")


def column_cell(rows: pd.DataFrame, values: pd.Series, *, is_distance: bool) -> Cell:
    """One arm in one column; `rows` are its scores there, `values` what each of them counts."""
    if rows.empty:
        return Cell("no case has it")
    grid = grid_of(rows, values)
    status = in_words(rows, len(grid)) if is_distance else "ok"
    if grid.empty:
        return Cell(status, n_seeds=rows["seed"].nunique())
    return summary(grid, status)


def summary(grid: pd.DataFrame, status: str) -> Cell:
    """Mean, std over cases and interval of cases x seeds."""
    found = statistics.summary(grid)
    numbers = (found.mean, found.std, found.n_cases, found.n_seeds, *found.interval)
    return Cell(status, *numbers, grid)


def completed(grid: pd.DataFrame, cases: pd.Index, seeds: pd.Index) -> pd.DataFrame:
    """Give every case and seed a value, so that grids can be set side by side; same mean.

    A seed that a case lacks takes the case's mean, and a case that is not there the mean of all.
    """
    of_case = grid.mean(axis=1).reindex(cases)
    wide = grid.reindex(index=cases, columns=seeds)
    return wide.T.fillna(of_case).T.fillna(of_case.mean())


def average_grid(grids: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Mean over columns, cases x seeds, of one grid a column.

    Completed first, so that the mean over cases of the case's mean over columns is the mean of
    the column means.
    """
    cases = reduce(pd.Index.union, [grid.index for grid in grids])
    seeds = reduce(pd.Index.union, [grid.columns for grid in grids])
    return sum(completed(grid, cases, seeds) for grid in grids) / len(grids)


def average_cell(cells: Sequence[Cell], convention: Convention) -> Cell:
    """Mean of one arm's column means; empty as soon as one column is."""
    n_cases, n_seeds = max(c.n_cases for c in cells), max(c.n_seeds for c in cells)
    if empty := sum(cell.grid is None for cell in cells):
        return Cell(f"{empty} of {len(cells)} columns empty", n_cases=n_cases, n_seeds=n_seeds)
    touched = sum(cell.status != "ok" for cell in cells)
    what = "cases left out" if convention.counts == "excluded" else "misses"
    grid = average_grid([cell.grid for cell in cells])
    low, high = statistics.bootstrap_interval(grid)
    return Cell(
        f"{what} in {touched} of {len(cells)} columns" if touched else "ok",
        float(np.mean([cell.mean for cell in cells])),
        float(np.mean([cell.std for cell in cells])),
        len(grid),
        n_seeds,
        low,
        high,
    )
