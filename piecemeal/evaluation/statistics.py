"""Intervals and tests for scores of the same cases under several methods and seeds.

A case (a patient) is the unit: its phases and structures are not independent, so they are averaged
before anything is tested. A table of values has one row a case and one column a seed.
"""

from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats


class Interval(NamedTuple):
    """A confidence interval; both ends are NaN where none can be given."""

    low: float
    high: float

    def against(self, margin: float) -> Literal["below", "above", "astride"]:
        """Say on which side of `margin` the whole interval lies, `astride` if on neither.

        With the margin a difference too small to matter, `below` is one-sided equivalence
        (non-inferiority) at half the error of the interval (Schuirmann 1987; Walker and Nowacki,
        J Gen Intern Med 2011). An undefined interval is astride of everything.
        """
        if self.high < margin:
            return "below"
        return "above" if self.low > margin else "astride"


def paired_differences(first: pd.Series, second: pd.Series) -> pd.Series:
    """Return first - second where both have a value.

    Both are indexed alike, one entry a score (say by case, phase, structure and seed). An entry
    that is absent or NaN on one side has no partner and is left out.
    """
    first, second = first.align(second, join="inner")
    return (first - second).dropna()


def by_case(values: pd.Series, case: list[str], seed: str = "seed") -> pd.DataFrame:
    """Average everything within a case; return cases x seeds, NaN where a seed has no value.

    `case` and `seed` name the levels of the index that identify a case and a seed.
    """
    return values.groupby(level=[*case, seed]).mean().unstack(seed)


def mean_over_cases(values: pd.DataFrame) -> float:
    """Mean over cases of the mean over seeds; `values` is cases x seeds. NaN if there is none."""
    return float(values.mean(axis=1).mean())


def bootstrap_interval(
    values: pd.DataFrame, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Confidence interval of `mean_over_cases` by a hierarchical percentile bootstrap.

    Each resample draws cases with replacement, and within each drawn case as many of its seeds,
    with replacement, as it has values for (Davison and Hinkley, Bootstrap Methods, 1997, section
    3.8). The same `seed` of the random numbers gives the same interval.

    values: cases x seeds; NaN marks a seed that a case has no value for. Fewer than two cases with
    a value give an undefined interval.
    """
    table = values.to_numpy(dtype=float)
    table = table[np.isfinite(table).any(axis=1)]
    cases = len(table)
    if cases < 2:
        return Interval(np.nan, np.nan)

    # NaN sorts last, so the first counts[i] columns of row i are its values.
    table = np.sort(table, axis=1)
    counts = np.isfinite(table).sum(axis=1)

    random = np.random.default_rng(seed)
    drawn = random.integers(cases, size=(resamples, cases))
    drawn_counts = counts[drawn]
    totals = np.zeros(drawn.shape)
    for draw in range(counts.max()):
        column = random.integers(drawn_counts)
        totals += np.where(draw < drawn_counts, table[drawn, column], 0)
    means = (totals / drawn_counts).mean(axis=1)
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(low), float(high))


def signed_rank_p(differences: pd.DataFrame) -> float:
    """Two-sided p-value of Wilcoxon's signed-rank test over cases.

    differences: cases x seeds of paired differences, averaged over seeds first. Cases without any
    difference are left out as Wilcoxon (1945) does; 1 if there is no other, NaN without cases.
    """
    of_cases = differences.mean(axis=1).dropna()
    if of_cases.empty:
        return np.nan
    nonzero = of_cases[of_cases != 0]
    return float(stats.wilcoxon(nonzero).pvalue) if len(nonzero) else 1.0


def holm(p_values: np.ndarray) -> np.ndarray:
    """Adjust p-values for their number (Holm, Scand J Stat 1979); NaN is no test and stays NaN."""
    p_values = np.asarray(p_values, dtype=float)
    adjusted = np.full(p_values.shape, np.nan)
    tested = np.flatnonzero(~np.isnan(p_values))
    ascending = tested[np.argsort(p_values[tested], kind="stable")]
    factors = np.arange(len(ascending), 0, -1)
    adjusted[ascending] = np.minimum(np.maximum.accumulate(p_values[ascending] * factors), 1)
    return adjusted
