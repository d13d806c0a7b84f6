"""The kinds of claims: what each of them compares, how it is tested, and when it holds.

A claim compares two arms of a paper (an arm is a row of its runs.tsv) within one cohort. Scores
are paired by scan, structure and seed, so that of an arm with fewer seeds than the other only the
shared ones count. The differences are averaged within the patient, the interval is over patients
and seeds, and the test over patients or, where the claim says so, over seeds. Differences count
towards the claim: positive means that the arm called `better` is better (a higher Dice, a shorter
distance).

A scan that was cut into tasks is scored in several parts, each on the structures of its own task:
they are of one patient. What only one of the arms has learned is not compared. What an empty mask
counts is said in `pairs`.
"""

import math
from typing import Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, model_validator

from piecemeal.errors import InputError
from piecemeal.evaluation import statistics
from piecemeal.evaluation.empty_masks import diagonal_of
from piecemeal.evaluation.pairs import CASE, Metric, paired, within_tasks

ALPHA = 0.05

TESTS = {
    "wilcoxon": statistics.signed_rank_p,
    "permutation": statistics.paired_permutation_p,
}

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
    structures: list[str] = Field(
        [], description="the structures that it is about; none: all of the cohort"
    )
    datasets: list[str] = Field(
        [], description="the data sets whose test scans decide; none: all of the cohort"
    )
    modality: str | None = Field(
        None, description="the modality whose test scans decide; null: all of the cohort"
    )
    normalised: bool = Field(
        False,
        description="distances: divided by the largest one that either arm has in any scan of the "
        "task, with any seed, so that every task counts alike",
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

    @model_validator(mode="after")
    def _distances_are_normalised(self) -> "Claim":
        if self.normalised and self.metric == "dice":
            raise ValueError("normalised: of distances only; Dice scores end at 1 anyway")
        return self

    @property
    def measured(self) -> str:
        """What is compared, as claims.csv has it."""
        return f"{self.metric}, normalised" if self.normalised else self.metric

    @property
    def named(self) -> list[str]:
        """The structures that count; none: all."""
        return self.structures

    @property
    def threshold(self) -> float:
        """The difference that the interval and the test are held against."""
        return 0.0

    def pairs(self, scores: pd.DataFrame) -> pd.DataFrame:
        """Pair what the two arms score, from the scores of the claim's cohort.

        One row a scan, structure and seed that both arms were scored on, columns `better` and
        `worse`. Rows in which both arms are right about an absent structure are left out. Raises
        InputError where a score that should be there is not, or a structure is unknown.
        """
        scored = set(scores["structure"])
        # Where small structures are not scored, the few scans of a small scale may have none.
        small = "least_voxels" in scores and scores["least_voxels"].notna().any()
        if not small and (unknown := sorted({*self.named} - scored)):
            raise InputError(
                f"claim {self.claim}: no scores of {', '.join(unknown)} in cohort {self.cohort}; "
                f"its structures are {', '.join(sorted(scored))}"
            )
        if self.named:
            scores = scores[scores["structure"].isin(self.named)]
        if self.datasets:
            scores = scores[scores["dataset"].isin(self.datasets)]
        if self.modality:
            scores = scores[scores["modality"] == self.modality]
        pairs = paired(scores, self.better, self.worse, self.metric)
        lacking = pairs[pairs.isna().any(axis=1)]
        if len(lacking):
            where = ", ".join(map(str, lacking.index[0]))
            raise InputError(
                f"claim {self.claim}: {self.better} or {self.worse} has no {self.metric}, or for a "
                f"miss no {diagonal_of(self.metric)}, for {where}; delete its scores.csv and start "
                "again"
            )
        return within_tasks(pairs, scores) if self.normalised else pairs

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

    @property
    def named(self) -> list[str]:
        """Where the gain should be larger, and where smaller."""
        return [*self.structures, *self.others]

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
