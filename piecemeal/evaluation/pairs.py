"""Scores of two arms side by side: what each of them counts on the same scans.

An empty mask never flatters an arm. A structure that was missed or invented counts a Dice of 0 and,
as a distance, the diagonal of the scan (`diagonal_mm`; slice by slice that of its plane,
`slice_diagonal_px`), which no distance within the scan exceeds.
Arms that both miss it, or both invent it, differ by 0. Beside an arm that invented a structure, one
that rightly found none counts a Dice of 1 and a distance of 0. A structure that neither the
reference nor either arm has says nothing.
"""

import pandas as pd

from piecemeal.errors import InputError
from piecemeal.evaluation.empty_masks import diagonal_of, lost, refuse_without_slices
from piecemeal.table_specs import ScoreName

CASE = ["dataset", "case"]
# A structure is of one task, so this tells the tasks of a scan apart as well.
SCORE = [*CASE, "phase", "structure", "seed"]


def paired(scores: pd.DataFrame, better: str, worse: str, metric: ScoreName) -> pd.DataFrame:
    """What both arms count, indexed by `SCORE`: one row a scan, structure and seed of both.

    Columns `better` and `worse`; nan where a score that should be there is not. Rows in which both
    arms are right about an absent structure are left out. Raises InputError where an arm has two
    scores of the same, and where the cohort was not scored slice by slice and the metric is.
    """
    ahead, behind = (_of_arm(scores, arm) for arm in (better, worse))
    for of_arm in (ahead, behind):
        refuse_without_slices(of_arm, metric)
    ahead, behind = ahead.align(behind, join="inner", axis=0)
    absent = (ahead["status"] == "both_empty") & (behind["status"] == "both_empty")
    values = {"better": _counted(ahead, metric), "worse": _counted(behind, metric)}
    return pd.DataFrame(values)[~absent]


def within_tasks(pairs: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Pairs of distances divided by the largest one of the task that they are of.

    scores: with the `task` of every structure; without that column all are of one task.
    """
    tasks = scores.reindex(columns=["structure", "task"]).astype(object).fillna({"task": ""})
    tasks = tasks.drop_duplicates("structure").set_index("structure")["task"]
    of_task = pairs.index.get_level_values("structure").map(tasks)
    largest = pairs.max(axis=1).groupby(of_task).transform("max")
    return pairs.div(largest.where(largest > 0, 1.0), axis=0)


def _of_arm(scores: pd.DataFrame, arm: str) -> pd.DataFrame:
    """Return the scores of one arm, indexed by scan, structure and seed."""
    # An empty phase reads back from CSV as NaN, which never equals itself.
    rows = scores[scores["arm"] == arm]
    rows = rows.assign(phase=rows["phase"].astype(object).fillna(""))
    twice = rows[rows.duplicated(SCORE)]
    if len(twice):
        where = ", ".join(f"{name} {twice.iloc[0][name]}" for name in SCORE)
        raise InputError(
            f"arm {arm} has more than one score for {where}: give each run of the arm once"
        )
    return rows.set_index(SCORE)


def _counted(scores: pd.DataFrame, metric: ScoreName) -> pd.Series:
    """What one arm's scores count beside those of another arm."""
    gone = lost(scores, metric)
    # Both arms share the reference, so beside `both_empty` can only stand the same or `invented`.
    rightly_empty = scores["status"] == "both_empty"
    if metric == "dice":
        return scores["dice"].mask(rightly_empty, 1.0).mask(gone, 0.0)
    return scores[metric].mask(rightly_empty, 0.0).mask(gone, scores[diagonal_of(metric)])
