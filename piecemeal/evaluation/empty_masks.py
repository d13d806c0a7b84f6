"""Which scores of a structure there can be none of, and the distance that stands in for them.

A distance needs the structure in both masks. Where one of them lacks it, the structure was missed
or invented. The distance slice by slice (`slices`) needs it in both masks of one slice at least: a
prediction that lies above or below the reference counts as a miss there.
"""

import pandas as pd

from piecemeal.errors import InputError

LOST = ("missed", "invented")
BY_SLICE = "hd_slice_px"


def lost(scores: pd.DataFrame, metric: str) -> pd.Series:
    """Whether a score has no `metric` though there was something to score."""
    gone = scores["status"].isin(LOST)
    if metric != BY_SLICE:
        return gone
    return gone | (scores["status"].eq("ok") & scores[BY_SLICE].isna())


def diagonal_of(metric: str) -> str:
    """The column that holds the longest `metric` a scan allows, which is what a miss counts."""
    return "slice_diagonal_px" if metric == BY_SLICE else "diagonal_mm"


def refuse_without_slices(scores: pd.DataFrame, metric: str) -> None:
    """InputError if `metric` is `BY_SLICE` and not all of the scores were measured so."""
    if metric != BY_SLICE:
        return
    unknown = scores.reindex(columns=["slices", diagonal_of(metric)]).isna().any(axis=1)
    without = scores[unknown]
    if len(without):
        cohort = without.iloc[0]["cohort"]
        raise InputError(
            f"scores.json of arm {without.iloc[0]['arm']} has no slices, which {BY_SLICE} is read "
            f"from: give scoring.slices in config/cohorts/{cohort}.yaml, the plane in whose pixels "
            "they are measured, which scores the cohort's runs again"
        )
