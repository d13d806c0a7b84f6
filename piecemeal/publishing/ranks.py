"""How the compared arms of a table rank, and how much of that rests on its cases and seeds."""

from __future__ import annotations

from functools import reduce

import pandas as pd

from piecemeal.evaluation.statistics import rank_stability
from piecemeal.publishing.cells import average_grid, completed, grids_of
from piecemeal.publishing.tables import checked, in_column, settings
from piecemeal.table_specs import Half, Metric, Table

COLUMNS = [
    *("setting", "column", "metric", "arm", "rank", "rank_low", "rank_high", "first"),
    *("kendall_tau", "n_cases", "n_seeds"),
]


def build_ranks(table: Table, scores: pd.DataFrame) -> pd.DataFrame:
    """Rank the compared arms in every printed metric and column, averages included.

    Columns `COLUMNS`, one row an arm; what they mean says `statistics.Ranks`. An arm without
    scores has no rank. A missed or invented structure has Dice 0, and in a distance counts the
    diagonal, whatever the table's policy: as in claims, no arm may rise by a miss. A case that
    only some arms have (the others rightly found nothing) counts the mean of their other cases
    for those that lack it, so that arms are ranked by the means that the table has.

    scores: as for `tables.build_table`, and refused for the same reasons.
    """
    parts = [pd.DataFrame(columns=COLUMNS)]
    for half, setting, of_setting in settings(table, checked(table, scores)):
        for metric in table.metrics:
            if not metric.printed:
                continue
            for column, grids in grids_of_setting(table, half, metric, of_setting).items():
                if not grids:
                    continue
                cases = reduce(pd.Index.union, [grid.index for grid in grids.values()])
                full = {arm: completed(g, cases, g.columns) for arm, g in grids.items()}
                ranks = rank_stability(full, metric.better)
                seeds = {arm: grid.shape[1] for arm, grid in grids.items()}
                parts.append(
                    ranks.table.assign(
                        setting=setting,
                        column=column,
                        metric=metric.name,
                        kendall_tau=ranks.kendall_tau,
                        n_cases=len(cases),
                        n_seeds=ranks.table["arm"].map(seeds),
                    )
                )
    return pd.concat(parts[1:] or parts, ignore_index=True)[COLUMNS]


def grids_of_setting(
    table: Table, half: Half, metric: Metric, scores: pd.DataFrame
) -> dict[str, dict[str, pd.DataFrame]]:
    """Column -> compared arm -> cases x seeds, the average last.

    A miss counts as for `build_ranks`. scores: those of one setting, see `tables.settings`.
    """
    columns: dict[str, dict[str, pd.DataFrame]] = {}
    for column in half.columns:
        rows = in_column(scores, column)
        counts = "diagonal" if metric.is_distance else 0.0
        grids = grids_of(rows, metric, counts, table.compared)
        columns[column.name] = {arm: grids[arm] for arm in table.compared if arm in grids}
    if half.average is not None:
        found = list(columns.values())
        columns[half.average] = {
            arm: average_grid([grids[arm] for grids in found])
            for arm in table.compared
            if all(arm in grids for grids in found)
        }
    return columns


def in_words(table: Table, ranks: pd.DataFrame) -> str:
    """The ranks of the first printed metric in the average, or the only, column of each half.

    '' where there are none.
    """
    labels = {arm.name: arm.full_label for arm in table.arms}
    first = next((metric.name for metric in table.metrics if metric.printed), None)
    said, resampled = [], False
    for half in table.halves:
        column = half.average or (half.columns[0].name if len(half.columns) == 1 else None)
        here = (ranks["setting"] == half.setting) & (ranks["column"] == column)
        rows = ranks[here & (ranks["metric"] == first)]
        places = []
        for row in rows.itertuples():
            spread = ""
            if row.rank_low > 0:
                spread, resampled = f" ({row.rank_low:g} to {row.rank_high:g})", True
            places.append(f"{labels[row.arm]} {row.rank:g}{spread}")
        if places:
            said.append(f"{half.setting}, {first}: {', '.join(places)}")
    if not said:
        return ""
    text = f"{'; '.join(said)}. 1 is the best of the compared arms"
    if resampled:
        text += "; in brackets, 95 % of the ranks that resampled cases and seeds give"
    return f"{text}. The csv of ranks has every metric and column."
