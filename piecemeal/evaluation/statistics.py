"""Intervals and tests for scores of the same cases under several methods and seeds.

A case (a patient) is the unit: its phases and structures are not independent, so they are averaged
before anything is tested. A table of values has one row a case and one column a seed.
"""

from collections.abc import Mapping
from functools import reduce
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import scipy  # its `stats`, slow to import, where it is first used


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


def by_case(values: pd.Series, case: list[str], seed: str = "seed") -> pd.DataFrame:
    """Average everything within a case; return cases x seeds, NaN where a seed has no value.

    `case` and `seed` name the levels of the index that identify a case and a seed.
    """
    return values.groupby(level=[*case, seed]).mean().unstack(seed)


def mean_over_cases(values: pd.DataFrame) -> float:
    """Mean over cases of the mean over seeds; `values` is cases x seeds. NaN if there is none."""
    return float(values.mean(axis=1).mean())


def std_over_seeds(values: pd.DataFrame) -> float:
    """Standard deviation over seeds of each seed's mean over cases; `values` is cases x seeds.

    The sample's (ddof 1), as a paper of several runs reports it; NaN with one seed.
    """
    return float(values.mean(axis=0).dropna().std(ddof=1))


def bootstrap_interval(
    values: pd.DataFrame, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Confidence interval of `mean_over_cases` by a crossed percentile bootstrap.

    All seeds are scored on the same cases, so what a seed does is shared by all of them. Each
    resample therefore draws cases with replacement and, independently of them, seeds with
    replacement (the pigeonhole bootstrap: Owen, Ann Appl Stat 2007). A case whose drawn seeds all
    lack a value drops out of that resample. With one seed it is the plain bootstrap over cases.
    The same `seed` of the random numbers gives the same interval.

    Measured coverage at 95 %, for normal effects of cases (SD 1), of seeds (SD 0.3, shared by all
    cases) and of both together (SD 0.3): 0.91 for 20 cases and 3 seeds (0.86 if seeds are drawn
    within each case), 0.89 for 2 seeds, 0.92 for 10. More cases do not make up for few seeds: 0.78
    for 100 cases and 2 seeds, 0.86 for 3, 0.91 for 5. One seed says nothing of other seeds: 0.74
    for 20 cases, 0.44 for 100. Without an effect of seeds 0.91 for 10 cases, 0.93 for 20, 0.94
    to 0.95 from 50 on, however many seeds.

    values: cases x seeds; NaN marks a seed that a case has no value for. Fewer than two cases with
    a value give an undefined interval.
    """
    scored = _scored(values)
    if len(scored) < 2:
        return Interval(np.nan, np.nan)
    (means,) = _resampled_means([scored], resamples, seed)
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(low), float(high))


class Summary(NamedTuple):
    """The mean over cases of the mean over seeds, and what it rests on; NaN without cases.

    std is the population's, of the cases' means over seeds; NaN with one case.
    """

    mean: float
    std: float
    n_cases: int
    n_seeds: int
    interval: Interval


def summary(values: pd.DataFrame, level: float = 0.95) -> Summary:
    """Summarise a table of cases x seeds; cases and seeds without any value are not counted."""
    scored = _scored(values)
    std = float(scored.mean(axis=1).std(ddof=0)) if len(scored) > 1 else np.nan
    interval = bootstrap_interval(scored, level)
    return Summary(mean_over_cases(scored), std, *scored.shape, interval)


class Ranks(NamedTuple):
    """How arms rank by their mean, and how much of that depends on the cases and seeds at hand.

    table: one row an arm, best first. Columns: `arm`; `rank`, 1 is the best and ties share their
    mean rank; `rank_low` and `rank_high`, the 2.5 % and 97.5 % quantiles of the rank over the
    resamples; `first`, the share of resamples in which the arm is the best, split among ties.
    kendall_tau: mean over the resamples of Kendall's tau-b between their ranking and that of
    `table`; NaN with fewer than two arms, or where all arms tie.
    """

    table: pd.DataFrame
    kendall_tau: float


def rank_stability(
    values: Mapping[str, pd.DataFrame],
    better: Literal["higher", "lower"],
    resamples: int = 2000,
    seed: int = 0,
) -> Ranks:
    """Rank arms by `mean_over_cases`, and again in every resample of a crossed bootstrap.

    Ranking the means of bootstrap samples and comparing by Kendall's tau follows Wiesenfarth et
    al. (Sci Rep 2021, challengeR); why a bare ranking is not enough: Maier-Hein et al. (Nat Commun
    2018). Only cases that every arm has a value for take part, and a resample draws the same ones
    for all arms. Seeds are drawn as in `bootstrap_interval`, together for arms with equal seeds.

    values: arm -> cases x seeds, for one arm or more. With fewer than two shared cases nothing is
    resampled, with none there is no rank either: NaN.
    """
    shared = reduce(pd.Index.intersection, [_scored(table).index for table in values.values()])
    tables = [_scored(table.loc[shared]) for table in values.values()]
    sign = -1 if better == "higher" else 1
    rank = scipy.stats.rankdata([sign * mean_over_cases(table) for table in tables])
    ranks = np.full((len(tables), 1), np.nan)
    if len(shared) >= 2:
        ranks = scipy.stats.rankdata(sign * _resampled_means(tables, resamples, seed), axis=0)
    # A quantile of ranks should be a rank.
    low, high = np.quantile(ranks, [0.025, 0.975], axis=1, method="inverted_cdf")
    best = np.where(np.isnan(ranks), np.nan, ranks == ranks.min(axis=0))
    first = (best / best.sum(axis=0)).mean(axis=1)
    columns = {"rank": rank, "rank_low": low, "rank_high": high, "first": first}
    table = pd.DataFrame({"arm": list(values), **columns})
    table = table.sort_values("rank", kind="stable", ignore_index=True)
    return Ranks(table, _mean_kendall_tau(ranks, rank))


def _mean_kendall_tau(ranks: np.ndarray, rank: np.ndarray) -> float:
    """Mean of tau-b between `rank` and the columns of `ranks`, of those that have one."""
    if len(rank) < 2:
        return np.nan
    different, counts = np.unique(ranks, axis=1, return_counts=True)
    taus = np.array([scipy.stats.kendalltau(column, rank).statistic for column in different.T])
    defined = ~np.isnan(taus)
    if not defined.any():
        return np.nan
    return float(np.average(taus[defined], weights=counts[defined]))


def _scored(values: pd.DataFrame) -> pd.DataFrame:
    """Drop the cases and the seeds that have no value at all; seeds in order."""
    if values.notna().to_numpy().all():  # as nearly always; tables ask for it a thousand times
        return values.sort_index(axis=1)
    return values.dropna(how="all").dropna(axis=1, how="all").sort_index(axis=1)


def _resampled_means(tables: list[pd.DataFrame], resamples: int, seed: int) -> np.ndarray:
    """Means of tables in the resamples of a crossed bootstrap, tables x resamples.

    The tables are cases x seeds and have the same cases, drawn the same for all. How often a case
    or a seed is drawn is its weight. A case that drops out for one table does so for all, and a
    resample in which none is left does not count.
    """
    random = np.random.default_rng(seed)
    cases = len(tables[0])
    case_draws = random.multinomial(cases, np.full(cases, 1 / cases), size=resamples)
    seed_draws = {}
    of_cases = np.empty((len(tables), resamples, cases))
    for table, means in zip(tables, of_cases, strict=True):
        names = tuple(table.columns)
        if names not in seed_draws:
            equal = np.full(len(names), 1 / len(names))
            seed_draws[names] = random.multinomial(len(names), equal, size=resamples)
        draws = seed_draws[names]
        scored = table.notna().to_numpy()
        with np.errstate(invalid="ignore"):  # 0 / 0: no drawn seed has a value
            means[:] = (draws @ table.fillna(0).to_numpy().T) / (draws @ scored.T)
    weights = np.where(np.isnan(of_cases).any(axis=0), 0, case_draws)
    counted = weights.any(axis=1)
    totals = (np.nan_to_num(of_cases) * weights).sum(axis=2)
    return totals[:, counted] / weights.sum(axis=1)[counted]


def signed_rank_p(differences: pd.DataFrame) -> float:
    """Two-sided p-value of Wilcoxon's signed-rank test over cases.

    It is twice the one-sided p-value towards the sign of the mean difference. That is the usual
    two-sided one unless ranks and mean point to different sides (one arm a little better in most
    cases, and much worse in a few); then it is near 1 and speaks for neither.

    differences: cases x seeds of paired differences, averaged over seeds first. Cases without any
    difference are left out as Wilcoxon (1945) does; 1 if the mean is 0, NaN without cases.
    """
    of_cases = differences.mean(axis=1).dropna()
    if of_cases.empty:
        return np.nan
    mean = of_cases.mean()
    if mean == 0:
        return 1.0
    towards = "greater" if mean > 0 else "less"
    one_sided = scipy.stats.wilcoxon(of_cases[of_cases != 0], alternative=towards).pvalue
    return min(1.0, 2 * float(one_sided))


def paired_permutation_p(differences: pd.DataFrame) -> float:
    """Two-sided p-value of the paired permutation test of the mean over cases.

    If the arms did not differ, each case's difference could as well have the other sign (Fisher,
    The Design of Experiments, 1935, section 21). Up to 13 cases all patterns of signs are gone
    through; with more cases 9,999 random ones are, the same at every call.

    differences: cases x seeds of paired differences, averaged over seeds first. 1 if all are 0,
    NaN without cases.
    """
    of_cases = differences.mean(axis=1).dropna()
    if of_cases.empty:
        return np.nan
    if len(of_cases) == 1:  # scipy asks for two; either sign of one is as extreme
        return 1.0
    test = scipy.stats.permutation_test(
        (of_cases.to_numpy(),), np.mean, permutation_type="samples", rng=np.random.default_rng(0)
    )
    return float(test.pvalue)


def holm(p_values: np.ndarray) -> np.ndarray:
    """Adjust p-values for their number (Holm, Scand J Stat 1979); NaN is no test and stays NaN."""
    p_values = np.asarray(p_values, dtype=float)
    adjusted = np.full(p_values.shape, np.nan)
    tested = np.flatnonzero(~np.isnan(p_values))
    ascending = tested[np.argsort(p_values[tested], kind="stable")]
    factors = np.arange(len(ascending), 0, -1)
    adjusted[ascending] = np.minimum(np.maximum.accumulate(p_values[ascending] * factors), 1)
    return adjusted
