"""The kinds of claims: what each of them compares, how it is tested, and when it holds.

A claim compares two arms of a paper (an arm is a row of its runs.tsv) within one cohort. Scores
are paired by scan, structure and seed, so that of an arm with fewer seeds than the other only the
shared ones count. The differences are averaged within the patient, the interval is over patients
and seeds, and the test over patients or, where the claim says so, over seeds. Differences count
towards the claim: positive means that the arm called `better` is better (a higher Dice, a shorter
distance).

An empty mask never flatters an arm. A structure that was missed or invented counts a Dice of 0 and,
as a distance, the diagonal of the scan (`diagonal_mm`; slice by slice that of its plane,
`slice_diagonal_px`), which no distance within the scan exceeds.
Arms that both miss it, or both invent it, differ by 0. Beside an arm that invented a structure, one
that rightly found none counts a Dice of 1 and a distance of 0. A structure that neither the
reference nor either arm has says nothing.
"""

import math
from typing import Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, model_validator

from piecemeal.errors import InputError
from piecemeal.evaluation import statistics
from piecemeal.evaluation.empty_masks import diagonal_of, lost, refuse_without_slices

ALPHA = 0.05

CASE = ["dataset", "case"]
SCORE = [*CASE, "phase", "structure", "seed"]
TESTS = {
    "wilcoxon": statistics.signed_rank_p,
    "permutation": statistics.paired_permutation_p,
}

Metric = Literal["dice", "assd_mm", "hd_mm", "hd95_mm", "hd_slice_px"]
Verdict = Literal["supported", "contradicted", "inconclusive"]


class Claim(BaseModel):
    """What every kind of claim says about itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    claim: str = Field(
        pattern=r"^[a-z][a-z0-9_]*$", description="id of the claim; ends in the name of its cohort"
    )
    statement: str = Field(min_length=1, description="what is tested, in one sentence")
    quote: str = Field(min_length=1, description="the paper's sentence, word for word")
    note: str = Field("", description="how the test follows from the quoted sentence")
    cohort: str = Field(min_length=1, description="the cohort whose test cases decide")
    metric: Metric = Field(
        "dice",
        description="what is compared: a column of scores.csv, or hd_slice_px of scores.json",
    )
    better: str = Field(min_length=1, description="the arm that should have the better score")
    worse: str = Field(min_length=1, description="the arm it is compared with")
    test: Literal["wilcoxon", "permutation"] = Field(
        "wilcoxon",
        description="paired test over patients: signed ranks, or the mean under flipped signs",
    )
    over: Literal["patients", "seeds"] = Field(
        "patients",
        description="what the test runs over: patients, averaged over seeds, or seeds, averaged "
        "over patients, as papers that repeat their training do; of n of them and m claims of a "
        "paper no corrected p-value is below m * 2^(1 - n)",
    )

    @model_validator(mode="after")
    def _arms_differ(self) -> "Claim":
        if self.better == self.worse:
            raise ValueError(f"better and worse are both {self.better}: compare two arms")
        return self

    @property
    def threshold(self) -> float:
        """The difference that the interval and the test are held against."""
        return 0.0

    def pairs(self, scores: pd.DataFrame) -> pd.DataFrame:
        """Pair what the two arms score, from the scores of the claim's cohort.

        One row a scan, structure and seed that both arms were scored on, columns `better` and
        `worse`. Rows in which both arms are right about an absent structure are left out. Raises
        InputError where a score that should be there is not.
        """
        better, worse = (_of_arm(scores, arm) for arm in (self.better, self.worse))
        for of_arm in (better, worse):
            refuse_without_slices(of_arm, self.metric)
        better, worse = better.align(worse, join="inner", axis=0)
        absent = (better["status"] == "both_empty") & (worse["status"] == "both_empty")
        values = {"better": _counted(better, self.metric), "worse": _counted(worse, self.metric)}
        pairs = pd.DataFrame(values)[~absent]
        lacking = pairs[pairs.isna().any(axis=1)]
        if len(lacking):
            where = ", ".join(map(str, lacking.index[0]))
            raise InputError(
                f"claim {self.claim}: {self.better} or {self.worse} has no {self.metric}, or for a "
                f"miss no {diagonal_of(self.metric)}, for {where}; delete its scores.csv and start "
                "again"
            )
        return pairs

    def differences(self, pairs: pd.DataFrame) -> pd.DataFrame:
        """Return what is tested, patients x seeds."""
        return statistics.by_case(self._advantage(pairs), CASE)

    def p_value(self, differences: pd.DataFrame) -> float:
        """Return the two-sided p-value that enters the correction for many tests.

        differences: patients x seeds. A test over seeds is of the mean difference over patients
        that each seed has: it says whether training again would find the same on these patients,
        and nothing of others.
        """
        return self._p_against(self.threshold, differences)

    def _p_against(self, threshold: float, differences: pd.DataFrame) -> float:
        tested = differences - threshold
        return TESTS[self.test](tested.T if self.over == "seeds" else tested)

    def premise(self, pairs: pd.DataFrame) -> bool:
        """Whether what the claim takes for granted holds; without it nothing is supported."""
        return True

    def verdict(self, interval: statistics.Interval, p_holm: float) -> Verdict:
        """Judge by the side of the threshold that the interval is on, and the corrected p-value."""
        side = interval.against(self.threshold)
        if side == "astride" or not p_holm < ALPHA:
            return "inconclusive"
        return "supported" if side == "above" else "contradicted"

    def _advantage(self, pairs: pd.DataFrame) -> pd.Series:
        """By how much `better` is better, for every pair."""
        if self.metric == "dice":
            return pairs["better"] - pairs["worse"]
        return pairs["worse"] - pairs["better"]


class Superior(Claim):
    """The better arm has the better scores."""

    kind: Literal["superior"] = Field(description="`better` has better scores than `worse`")


class Close(Claim):
    """The worse arm stays within a margin of the better one.

    A test of non-inferiority: what is tested is the difference minus the margin. Only the side of
    the margin matters, for an arm that is better than the one it should come close to is no worse
    than close. Supported means a two-sided p-value below 5 % and a 95 % interval below the margin,
    and so a one-sided test at 2.5 %. The two one-sided tests of Schuirmann (J Pharmacokinet
    Biopharm 1987) are commonly run at 5 % each, beside a 90 % interval (Walker and Nowacki, J Gen
    Intern Med 2011). We are stricter on purpose: every row of claims.csv then has the same interval
    and the same kind of p-value, Holm's correction compares like with like, and a shortfall beyond
    the margin is found (contradicted) with the same error as one within it.
    """

    kind: Literal["close"] = Field(
        description="`worse` falls short of `better` by less than `margin`"
    )
    margin: float = Field(gt=0, description="the largest shortfall that counts as close")
    margin_reason: str = Field(min_length=1, description="where the margin comes from")

    @property
    def threshold(self) -> float:
        """The margin."""
        return self.margin

    def verdict(self, interval: statistics.Interval, p_holm: float) -> Verdict:
        """Judge by the side of the margin: below it is what the claim says."""
        judged = super().verdict(interval, p_holm)
        swapped = {"supported": "contradicted", "contradicted": "supported"}
        return swapped.get(judged, judged)


class Similar(Claim):
    """The two arms differ by less than a margin, whichever of them is the better one.

    Tested against both bounds, each as strictly as a claim of the kind `close` is.
    """

    kind: Literal["similar"] = Field(
        description="`better` and `worse` differ by less than `margin`, either way"
    )
    margin: float = Field(gt=0, description="the smallest difference that counts as one")
    margin_reason: str = Field(min_length=1, description="where the margin comes from")

    def p_value(self, differences: pd.DataFrame) -> float:
        """Return the larger of the p-values against both bounds; beyond one, that against it."""
        mean = statistics.mean_over_cases(differences)
        bounds = (-self.margin, self.margin)
        if not abs(mean) < self.margin:
            bounds = (math.copysign(self.margin, mean),)
        return max(self._p_against(bound, differences) for bound in bounds)

    def verdict(self, interval: statistics.Interval, p_holm: float) -> Verdict:
        """Judge by where the interval lies: between the bounds, or wholly beyond one of them."""
        low, high = (interval.against(bound) for bound in (-self.margin, self.margin))
        if not p_holm < ALPHA or "astride" in (low, high):
            return "inconclusive"
        return "supported" if (low, high) == ("above", "below") else "contradicted"


class LargerGain(Claim):
    """The gain of the better arm is larger in some structures than in others.

    The claim is about where the gain is, so `better` being bad in `others` makes the difference
    larger. That alone must not support the claim: there has to be a gain in `structures` at all.
    """

    kind: Literal["larger_gain"] = Field(
        description="the gain of `better` over `worse` is larger in `structures` than in `others`"
    )
    structures: list[str] = Field(min_length=1, description="where the gain should be larger")
    others: list[str] = Field(min_length=1, description="where it should be smaller")

    @model_validator(mode="after")
    def _structures_differ(self) -> "LargerGain":
        both = sorted({*self.structures} & {*self.others})
        if both:
            raise ValueError(f"in structures and in others: {', '.join(both)}; name each once")
        return self

    def pairs(self, scores: pd.DataFrame) -> pd.DataFrame:
        """Pair what the two arms score in the structures that the claim names."""
        named = {*self.structures, *self.others}
        scored = set(scores["structure"])
        unknown = sorted(named - scored)
        if unknown:
            raise InputError(
                f"claim {self.claim}: no scores of {', '.join(unknown)} in cohort {self.cohort}; "
                f"its structures are {', '.join(sorted(scored))}"
            )
        return super().pairs(scores[scores["structure"].isin(named)])

    def differences(self, pairs: pd.DataFrame) -> pd.DataFrame:
        """Return the mean gain in `structures` minus that in `others`, patients x seeds."""
        gain, other_gain = (self._gain(pairs, names) for names in (self.structures, self.others))
        return gain.sub(other_gain).dropna(how="all")

    def premise(self, pairs: pd.DataFrame) -> bool:
        """Whether the interval of the gain in `structures` lies above 0."""
        gain = self._gain(pairs, self.structures)
        return statistics.bootstrap_interval(gain, level=1 - ALPHA).against(0) == "above"

    def _gain(self, pairs: pd.DataFrame, names: list[str]) -> pd.DataFrame:
        """Mean gain in the structures `names`, patients x seeds."""
        advantage = self._advantage(pairs)
        place = advantage.index.get_level_values("structure")
        return statistics.by_case(advantage[place.isin(names)], CASE)


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


def _counted(scores: pd.DataFrame, metric: Metric) -> pd.Series:
    """What one arm's scores count beside those of another arm."""
    gone = lost(scores, metric)
    # Both arms share the reference, so beside `both_empty` can only stand the same or `invented`.
    rightly_empty = scores["status"] == "both_empty"
    if metric == "dice":
        return scores["dice"].mask(rightly_empty, 1.0).mask(gone, 0.0)
    return scores[metric].mask(rightly_empty, 0.0).mask(gone, scores[diagonal_of(metric)])
