"""A paper's table in long form: measured numbers with the published ones beside them.

What an empty mask counts is said in `misses`, what cost means in `cost`. Where prediction and
reference are both empty there is nothing to score, and the row does not enter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from io import StringIO
from pathlib import Path

import pandas as pd

from piecemeal.errors import InputError
from piecemeal.papers import AS_PREDICTED
from piecemeal.publishing.cells import NOT_ITS_TASK, Cell, average_cell, column_cell, grids_of
from piecemeal.publishing.cost import speed_cell
from piecemeal.publishing.misses import LOST, conventions, refuse_without_diagonal
from piecemeal.publishing.published import as_printed, by_arm, places_of, with_published
from piecemeal.table_specs import Column, Half, Table

COLUMNS = [
    *("method", "base", "setting", "column", "metric", "unit", "mean", "std", "n_cases"),
    *("n_seeds", "ci_low", "ci_high", "published_mean", "published_std", "difference", "status"),
]
TRAINING = ["cohort", "arm", "seed", "minutes_per_epoch", "training_minutes", "parameters", "tasks"]
NO_COLUMN = ""  # of a measure of cost


def read_back(path: Path, columns: Iterable[str]) -> pd.DataFrame:
    """Read a csv of `columns` that a job before wrote; InputError if it is damaged.

    One that was cut at the end of a line is not known for it: see whose rows these are.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        if not text.endswith("\n"):
            raise ValueError("its last line is cut")
        return pd.read_csv(StringIO(text))[list(columns)]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: cannot be read ({error}); delete it and start again") from None


def read_table(path: Path, table: Table) -> pd.DataFrame:
    """Read the long form of `table` back from its csv; InputError if it is damaged.

    An empty column reads as a missing number there.
    """
    rows = read_back(path, COLUMNS)
    rows = rows.assign(column=rows["column"].astype(object).fillna(NO_COLUMN))
    cells = by_arm(table, rows)[["method", "setting", "column", "metric"]]
    there = set(cells.itertuples(index=False, name=None))
    # What one arm has (a further setting, another convention for misses), all have.
    wanted = {(arm.name, *place) for arm in table.arms for _, *place in there}
    if absent := (places_of(table) | wanted) - there:
        raise InputError(
            f"{path}: has no row of {', '.join(min(absent))}; delete it and start again"
        )
    return rows


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
    return _texts(scores, "phase")


def _texts(scores: pd.DataFrame, name: str) -> pd.Series:
    return scores[name].astype(object).fillna("")


def settings(table: Table, scores: pd.DataFrame) -> Iterator[tuple[Half, str, pd.DataFrame]]:
    """Yield every part of the table in printed order: its half, its setting and its scores."""
    for half in table.halves:
        for setting, treatment in treatments(half, scores).items():
            chosen = (scores["cohort"] == half.cohort) & (scores["postprocessing"] == treatment)
            part = scores[chosen]
            yield half, setting, _of_shared_seeds(table, part) if table.shared_seeds else part


def _of_shared_seeds(table: Table, scores: pd.DataFrame) -> pd.DataFrame:
    """Without the seeds of compared arms that another compared arm, which ran, has not."""
    compared = scores["arm"].isin(table.compared)
    seeds = [set(of_arm) for _, of_arm in scores[compared].groupby("arm")["seed"]]
    shared = set.intersection(*seeds) if seeds else set()
    return scores[~compared | scores["seed"].isin(shared)]


def in_column(scores: pd.DataFrame, column: Column) -> pd.DataFrame:
    """The scores of its structures in one phase, wherever there was something to score."""
    rows = _asked(scores, column)
    return rows[rows["status"] != "both_empty"]


def _asked(scores: pd.DataFrame, column: Column) -> pd.DataFrame:
    """The same, and where neither mask has the structure."""
    wanted = scores["structure"].isin(column.members) & (scores["phase"] == column.phase)
    if column.datasets:
        wanted &= scores["dataset"].isin(column.datasets)
    if column.modality:
        wanted &= scores["modality"] == column.modality
    return scores[wanted]


def build_table(
    table: Table,
    scores: pd.DataFrame,
    published: pd.DataFrame,
    not_run: Mapping[str, str] | None = None,
    training: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Build the long form of `table`, columns `COLUMNS`, one row a number.

    A mean is over cases of the case's mean over seeds; std is the population's, over cases (as
    in the code the first paper cites); the interval is a 95 % bootstrap over cases and seeds.
    The average column is the mean of the column means and its std the mean of the column stds:
    all six averages that Kemnitz et al. (2018) print for the cardiac upper bound follow in this
    way from their printed columns. Their thigh averages, whose columns hold copied and lost
    cells, follow only in part. A table whose `spread` is over runs has the sample's std of each
    seed's mean over cases instead, in the average column of each seed's average, and none for an
    arm of one seed; arms need not have the same seeds, unless the table says `shared_seeds`.

    `method`, `base` and `setting` are the arm's name, the table's base and the half's setting, or
    what the arm says that they are called (`published.as_printed`).

    A missed or invented structure has Dice 0. A distance has a row under its plain name, by the
    table's policy `misses`, and beside it one by every other convention, named after it (module
    `misses`). Its `status` says in how many cases the structure was missed, and under `excluded`
    how many cases are left; these are its `n_cases`. Of a distance slice by slice it says how many
    slices only one mask has. Every entry of `speed` has one row an arm
    and half, with an empty `column` (module `cost`). A column of several structures counts their
    mean in each case. An arm that was never asked for them, in a cohort of which it knows only some
    tasks, has no number there, and its status says so.

    Parameters
    ----------
    scores
        Rows of the runs' scores.csv with more columns: `arm`; `postprocessing` ("as predicted"
        or, for a cohort that asks for it, what was done); `diagonal_mm` of the scan's volume; and
        `forward_passes`, `modality`, `least_voxels` and what `read_scores` has of some scans, where
        the table or its cohort asks for them.
    published
        From `read_published`.
    not_run
        Cohort -> why it has no runs at this scale.
    training
        One row an arm and run, columns `TRAINING`; only training time needs it.

    Raises InputError when a case is scored twice, a score is empty though nothing was missed, a
    structure was missed or invented in a scan without a diagonal, a column of the table occurs in
    no score of its cohort or mixes tasks, or `hd_slice_px` is asked of a cohort that is not scored
    slice by slice.
    """
    if training is None:
        training = pd.DataFrame(columns=TRAINING)
    rows = []
    for half, setting, of_setting in settings(table, checked(table, scores)):
        ran = set(of_setting["arm"])
        # Of a cohort that is run, an arm may be left out.
        unscored = table.weights == "last" and of_setting.empty
        why = "last weights are not scored at this scale" if unscored else "left out at this scale"
        absent = Cell(f"not run: {(not_run or {}).get(half.cohort, why)}")
        measured = _measured(table, half, of_setting)
        if setting == half.setting:  # post-processing changes neither time nor passes
            measured |= _cost(table, of_setting, training[training["cohort"] == half.cohort])
        for arm in table.arms:
            for (column, name, unit), cells in measured.items():
                cell = cells[arm.name] if arm.name in ran else absent
                row = {"method": arm.name, "base": table.base, "setting": setting}
                rows.append(row | {"column": column, "metric": name, "unit": unit} | cell._asdict())
    return as_printed(table, with_published(pd.DataFrame(rows), published))[COLUMNS]


def checked(table: Table, scores: pd.DataFrame) -> pd.DataFrame:
    """Scores with empty phases and tasks as ''; raises InputError as `build_table` says."""
    task = _texts(scores, "task") if "task" in scores else ""
    scores = scores.assign(phase=phases(scores), task=task)
    for half in table.halves:
        rows = scores[scores["cohort"] == half.cohort]
        scored = set(zip(rows["structure"], rows["phase"], strict=True))
        asked = {(name, column.phase) for column in half.columns for name in column.members}
        # Where small structures are not scored, few scans may have none of one that is known.
        small = "least_voxels" in rows and rows["least_voxels"].notna().any()
        if scored and not small and (absent := sorted(asked - scored)):
            raise InputError(
                f"table '{table.key}', setting '{half.setting}': {absent} is in no score of cohort "
                f"'{half.cohort}', which has {sorted(scored)}; correct tables.yaml"
            )
        if any(column.modality for column in half.columns) and "modality" not in rows:
            raise InputError(
                f"table '{table.key}' has columns of one modality, but the scores of cohort "
                f"'{half.cohort}' do not say theirs; delete their scores.csv and start again"
            )
        for column in half.columns:
            tasks = sorted(set(_asked(rows, column)["task"]))
            if len(tasks) > 1:
                raise InputError(
                    f"table '{table.key}', setting '{half.setting}': column '{column.name}' mixes "
                    f"structures of the tasks {tasks}, which no scan shows together; split it"
                )
    keys = ["arm", "cohort", "postprocessing", "seed", "dataset", "case", "phase", "task"]
    keys.append("structure")
    twice = scores[scores.duplicated(keys)]
    if len(twice):
        raise InputError(
            f"scored twice: {twice.iloc[0][keys].to_dict()}; an arm must be one run a seed"
        )
    found = ~scores["status"].isin([*LOST, "both_empty"])
    undefined = scores[found & scores[["dice", "assd_mm", "hd_mm", "hd95_mm"]].isna().any(axis=1)]
    if len(undefined):
        raise InputError(
            f"status ok, but a score is empty: {undefined.iloc[0][keys].to_dict()}; score again"
        )
    refuse_without_diagonal(scores)
    return scores


_Measured = dict[tuple[str, str, str], dict[str, Cell]]  # (column, metric, unit) -> arm -> cell


def _measured(table: Table, half: Half, scores: pd.DataFrame) -> _Measured:
    """Every metric of one setting by every convention, the average last."""
    found: _Measured = {}
    ways = [(metric, way) for metric in table.metrics for way in conventions(metric, table.misses)]
    for column in half.columns:
        rows, asked = in_column(scores, column), set(_asked(scores, column)["arm"])
        of_arm = dict(list(rows.groupby("arm")))
        for metric, way in ways:
            grids = grids_of(rows, metric, way.counts, table.compared)
            found[column.name, way.name, metric.unit] = cells = {}
            for arm in (arm.name for arm in table.arms):
                # What no arm was asked, no scan at this scale has.
                none = arm in asked or not asked
                cells[arm] = Cell("no case has it" if none else NOT_ITS_TASK)
                if arm in grids:
                    cells[arm] = column_cell(of_arm[arm], grids[arm], metric, table.spread)
    if half.average is None:
        return found
    for metric, way in ways:
        columns = [found[column.name, way.name, metric.unit] for column in half.columns]
        found[half.average, way.name, metric.unit] = {
            arm.name: average_cell([cells[arm.name] for cells in columns], way, table.spread)
            for arm in table.arms
        }
    return found


def _cost(table: Table, scores: pd.DataFrame, training: pd.DataFrame) -> _Measured:
    """Every measure of cost of one half, of the arms that ran."""
    return {
        (NO_COLUMN, speed.name, speed.unit): {
            arm: speed_cell(speed, ran, training[training["arm"] == arm])
            for arm, ran in scores.groupby("arm")
        }
        for speed in table.speed
    }
