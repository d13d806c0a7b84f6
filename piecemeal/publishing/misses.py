"""What a structure counts that was missed or invented: Dice 0; its distance by convention.

There is no distance to a structure that is not there. By `diagonal` it counts the diagonal of the
scan's volume: no distance within the scan exceeds it, so finding a structure never counts worse
than missing it. By `excluded` the case is left out of the column for every compared arm as soon
as one compared arm, with any seed, missed or invented the structure: all compared arms are then
averaged over the same cases. Such a mean says nothing of the cases left out, and may move either
way when an arm misses one more; hence its count stands beside it, and `diagonal` is the default.
The third convention is a number: what the code that a paper cites makes of a miss.

A distance slice by slice is a mean over the slices that have the structure in both masks. A scan
without such a slice is a miss as well, and a miss counts the diagonal of the scan's plane; how many
slices only one mask has is said beside the number, by every convention.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from typing import Literal, NamedTuple

import pandas as pd

from piecemeal.errors import InputError
from piecemeal.evaluation.empty_masks import (
    BY_SLICE,
    LOST,
    diagonal_of,
    lost,
    refuse_without_slices,
)
from piecemeal.table_specs import Metric, Misses, Table

CASE = ["dataset", "case"]
NO_SLICE = "without a shared slice"
LOSSES = (*LOST, NO_SLICE)  # what a status calls a case that has no distance
_LEFT_OUT = "slices left out"
_WORDS = {
    "diagonal": "a miss counts the diagonal",
    "excluded": "where every arm found it",
}


class Convention(NamedTuple):
    """One way to count what was missed: the metric's name under it, in words, and the value."""

    name: str
    words: str
    counts: Literal["diagonal", "excluded"] | float


def conventions(metric: Metric, misses: Misses) -> list[Convention]:
    """How the long form counts misses in `metric`: the table's own policy, then the others.

    The first has the metric's plain name. Dice has no other: a miss counts 0.
    """
    if not metric.is_distance:
        return [Convention(metric.name, "a miss counts 0", 0.0)]
    other: Misses = "excluded" if misses == "diagonal" else "diagonal"
    found = [
        Convention(metric.name, _WORDS[misses], misses),
        Convention(f"{metric.name}, {_WORDS[other]}", _WORDS[other], other),
    ]
    if metric.miss_counts is not None:
        words = f"a miss counts {metric.miss_counts:g} {metric.unit}"
        found.append(Convention(f"{metric.name}, {words}", words, metric.miss_counts))
    return found


def counted(
    rows: pd.DataFrame, score: str, counts: str | float, compared: Collection[str]
) -> pd.Series:
    """What every row of one column of a table counts; nan where it is left out of the mean.

    rows: scores of one column (of one structure or several), all arms; score: dice or a distance;
    counts: as in `Convention`; compared: the arms whose misses leave a case out for all arms. Any
    other arm's miss leaves the case out for that arm alone. Raises InputError where the score is
    slice by slice and a cohort was not scored so.
    """
    if rows.empty:
        return pd.Series(index=rows.index, dtype=float)
    refuse_without_slices(rows, score)
    gone = lost(rows, score)
    if counts == "excluded":
        case = [rows[name] for name in CASE]
        own = gone.groupby([rows["arm"], *case]).transform("any")
        shared = (gone & rows["arm"].isin(compared)).groupby(case).transform("any")
        return rows[score].mask(own | shared)
    return rows[score].mask(gone, rows[diagonal_of(score)] if counts == "diagonal" else counts)


def refuse_without_diagonal(scores: pd.DataFrame) -> None:
    """InputError if a structure was missed or invented in a scan of unknown diagonal."""
    known = scores["diagonal_mm"] if "diagonal_mm" in scores else pd.Series(index=scores.index)
    unknown = scores[scores["status"].isin(LOST) & ~(known > 0)]
    if len(unknown):
        scan = unknown.iloc[0][["arm", "cohort", *CASE, "phase", "structure", "status"]].to_dict()
        raise InputError(
            f"no diagonal_mm, which a missed or invented structure counts: {scan}; delete "
            "that run's scores.csv and start again"
        )


def in_words(rows: pd.DataFrame, left: int, score: str) -> str:
    """Say what a mean distance rests on: 'ok', or how many cases were missed and left out.

    rows: the scores of one arm in one column; left: the number of cases in the mean. A case counts
    as missed if any seed missed the structure, or one of several that the column is the mean of.
    """
    found = rows["status"].eq("ok")
    words = rows["status"].mask(found & lost(rows, score), NO_SLICE)
    scans = list(zip(*(rows[name] for name in CASE), strict=True))
    cases = len(set(scans))
    losses = Counter(word for word, _ in set(zip(words, scans, strict=True)))
    said = [f"{losses[word]} of {cases} {word}" for word in LOSSES if losses[word]]
    if left < cases:
        said.append(f"mean of {left} of {cases} cases" if left else "no case left")
    return ", ".join(said) or "ok"


def slices_of(rows: pd.DataFrame, score: str) -> tuple[int, int]:
    """How many slices a distance slice by slice leaves out, and of how many; 0 of 0 for others."""
    if score != BY_SLICE:
        return 0, 0
    left_out = int(rows["left_out"].sum())
    return left_out, left_out + int(rows["slices"].sum())


def with_slices(status: str, left_out: int, slices: int) -> str:
    """A status that also says how many slices were left out, if any were."""
    if not left_out:
        return status
    said = f"{left_out} of {slices} {_LEFT_OUT}"
    return said if status == "ok" else f"{status}, {said}"


def rests_on_misses(status: str) -> bool:
    """Whether a mean with this status would be another one by another convention."""
    said = status.split(";")[0].split(", ")
    return any(text != "ok" and not re.fullmatch(rf"\d+ of \d+ {_LEFT_OUT}", text) for text in said)


def policy(table: Table) -> str:
    """The table's policy on empty masks, for its footer."""
    said = ["A missed or invented structure counts Dice 0"]
    distances = [metric for metric in table.metrics if metric.is_distance]
    if distances and table.misses == "diagonal":
        said[0] += (
            " and, as a distance, the diagonal of the scan's volume, which no distance within "
            "the scan exceeds: a miss never improves a mean"
        )
    elif distances:
        said.append(
            "From the distances of a column a case is left out for every compared arm as soon as "
            "one of them, with any seed, missed or invented the structure, so that all are "
            "averaged over the same cases"
        )
    if distances:
        others = [c.words for m in distances for c in conventions(m, table.misses)[1:]]
        said.append(
            "Small under a distance: in how many cases this happened; the csv has the other "
            f"conventions as well ({'; '.join(dict.fromkeys(others))})"
        )
    if sliced := [metric.name for metric in distances if metric.score == BY_SLICE]:
        counts = ", and a miss the diagonal of its plane" if table.misses == "diagonal" else ""
        said.append(
            f"{' and '.join(sliced)}, in pixels of one plane at every scale, is the mean over "
            "the slices that have the structure in both masks; a scan without any counts as a "
            f"miss{counts}. "
            "Slices in which only one mask has it are left out, which may improve the mean: small "
            "under it, how many of the slices of all cases and seeds that either mask has it in"
        )
    said.append("Cases where prediction and reference are both empty do not enter")
    return ". ".join(said) + "."
