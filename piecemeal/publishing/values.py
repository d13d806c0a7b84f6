"""The scores behind a table's numbers, case by case: what figures draw, so that both agree."""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd

from piecemeal.publishing.cells import grids_of
from piecemeal.publishing.misses import conventions, refuse_without_diagonal
from piecemeal.publishing.tables import in_column, phases, settings
from piecemeal.table_specs import Metric, Table

# (setting, heading of a column) -> arm -> cases x seeds
Grids = dict[tuple[str, str], dict[str, pd.DataFrame]]


def metric_of(table: Table, name: str) -> Metric:
    """The metric of a table that is called `name`."""
    return next(metric for metric in table.metrics if metric.name == name)


def column_grids(table: Table, metric: str, scores: pd.DataFrame) -> Grids:
    """Scores as the table's main settings use them, in every column, of all arms that have any.

    A missed or invented structure counts as in the table: Dice 0, a distance by the table's policy.
    Seeds and norms are those of the table as well. Columns keep their printed order.
    """
    refuse_without_diagonal(scores)
    measure = metric_of(table, metric)
    counts = conventions(measure, table.misses)[0].counts
    return {
        (half.setting, column.heading): grids_of(
            in_column(of_setting, column), measure, counts, table.compared
        )
        for half, setting, of_setting in settings(table, scores.assign(phase=phases(scores)))
        if setting == half.setting
        for column in half.columns
    }


def case_values(grids: Grids) -> pd.DataFrame:
    """Means of the cases over seeds: columns setting, column, arm, case, value."""
    rows = [
        (setting, column, arm, "/".join(case), value)
        for (setting, column), of_arms in grids.items()
        for arm, grid in of_arms.items()
        for case, value in grid.mean(axis=1).items()
    ]
    return pd.DataFrame(rows, columns=["setting", "column", "arm", "case", "value"])


def only(grids: Grids, arms: Collection[str]) -> Grids:
    """The same, of some of the arms."""
    return {
        place: {arm: grid for arm, grid in of_arms.items() if arm in arms}
        for place, of_arms in grids.items()
    }


def columns_of(grids: Grids) -> dict[str, list[str]]:
    """Setting -> headings of its columns, in order."""
    found: dict[str, list[str]] = {}
    for setting, column in grids:
        found.setdefault(setting, []).append(column)
    return found


def arms_with_scores(grids: Grids, setting: str) -> set[str]:
    """The arms that have a score in any column of a setting."""
    return {arm for (where, _), of_arms in grids.items() if where == setting for arm in of_arms}
