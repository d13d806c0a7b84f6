"""Put a paper's comparative sentences to the test on the scores of our runs.

The sentences are data: `config/papers/<key>/claims.yaml`. A claim compares two arms of the paper
(an arm is a row of its runs.tsv) within one cohort. Scores are paired by scan, structure and seed,
the differences averaged within the patient, and the patients are what the interval and the test
run over. Differences count towards the claim: positive means that the arm called `better` is better
(a higher Dice, a shorter distance).
"""

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, field_validator

from piecemeal.config import load_model
from piecemeal.errors import InputError
from piecemeal.evaluation import statistics

ALPHA = 0.05
# Wilcoxon's two-sided test cannot reach ALPHA with fewer cases than this, whatever they say.
FEWEST_CASES = 6

CASE = ["dataset", "case"]
SCORE = [*CASE, "phase", "structure", "seed"]
COLUMNS = [
    "paper",
    "claim",
    "statement",
    "metric",
    "better",
    "worse",
    "difference",
    "ci_low",
    "ci_high",
    "p_value",
    "p_holm",
    "n_cases",
    "n_seeds",
    "verdict",
]

Metric = Literal["dice", "assd_mm", "hd_mm", "hd95_mm"]
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
    metric: Metric = Field("dice", description="the column of scores.csv that is compared")
    better: str = Field(min_length=1, description="the arm that should have the better score")
    worse: str = Field(min_length=1, description="the arm it is compared with")

    def differences(self, scores: pd.DataFrame) -> pd.DataFrame:
        """Return what is tested, patients x seeds, from the scores of the claim's cohort."""
        return statistics.by_case(self._advantage(scores), CASE)

    def p_value(self, differences: pd.DataFrame) -> float:
        """Return the p-value that enters the correction for many tests."""
        return statistics.signed_rank_p(differences)

    def verdict(self, interval: statistics.Interval, p_holm: float) -> Verdict:
        """Judge by the interval, and by the corrected p-value."""
        side = interval.against(0)
        if side == "astride" or not p_holm < ALPHA:
            return "inconclusive"
        return "supported" if side == "above" else "contradicted"

    def _advantage(self, scores: pd.DataFrame) -> pd.Series:
        """By how much `better` is better, for every score that both arms have.

        A structure that both prediction and reference lack says nothing and is dropped. One that
        was missed has a Dice of 0 and counts; it has no distance, so a claim about distances
        compares only structures that both arms found.
        """
        scores = scores[scores["status"] != "both_empty"]
        better, worse = (_of_arm(scores, arm, self.metric) for arm in (self.better, self.worse))
        if self.metric == "dice":
            return statistics.paired_differences(better, worse)
        return statistics.paired_differences(worse, better)


class Superior(Claim):
    """The better arm has the better scores."""

    kind: Literal["superior"] = Field(description="`better` has better scores than `worse`")


class Close(Claim):
    """The worse arm stays within a margin of the better one."""

    kind: Literal["close"] = Field(
        description="`worse` falls short of `better` by less than `margin`"
    )
    margin: float = Field(gt=0, description="the largest shortfall that counts as close")
    margin_reason: str = Field(min_length=1, description="where the margin comes from")

    def p_value(self, differences: pd.DataFrame) -> float:
        """Return NaN: the interval alone decides."""
        return np.nan

    def verdict(self, interval: statistics.Interval, p_holm: float) -> Verdict:
        """Judge by the side of the margin on which the whole interval lies."""
        side = interval.against(self.margin)
        return {"below": "supported", "above": "contradicted", "astride": "inconclusive"}[side]


class LargerGain(Claim):
    """The gain of the better arm is larger in some structures than in others."""

    kind: Literal["larger_gain"] = Field(
        description="the gain of `better` over `worse` is larger in `structures` than in `others`"
    )
    structures: list[str] = Field(min_length=1, description="where the gain should be larger")
    others: list[str] = Field(min_length=1, description="where it should be smaller")

    def differences(self, scores: pd.DataFrame) -> pd.DataFrame:
        """Return the mean gain in `structures` minus that in `others`, patients x seeds."""
        scored = set(scores["structure"])
        unknown = sorted({*self.structures, *self.others} - scored)
        if unknown:
            raise InputError(
                f"claim {self.claim}: no scores of {', '.join(unknown)} in cohort {self.cohort}; "
                f"its structures are {', '.join(sorted(scored))}"
            )
        advantage = self._advantage(scores)
        place = advantage.index.get_level_values("structure")
        gain, other_gain = (
            statistics.by_case(advantage[place.isin(names)], CASE)
            for names in (self.structures, self.others)
        )
        return gain.sub(other_gain).dropna(how="all")


class Claims(BaseModel):
    """The content of a claims.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    claims: list[Annotated[Superior | Close | LargerGain, Field(discriminator="kind")]] = Field(
        description="the paper's comparative sentences"
    )

    @field_validator("claims")
    @classmethod
    def _ids_are_unique(cls, claims: list[Claim]) -> list[Claim]:
        ids = [claim.claim for claim in claims]
        repeated = sorted({name for name in ids if ids.count(name) > 1})
        if repeated:
            raise ValueError(f"claim ids must differ, repeated: {', '.join(repeated)}")
        return claims


def load_claims(path: Path) -> list[Claim]:
    """Read a claims.yaml; InputError naming the file, the key and what is allowed."""
    return list(load_model(path, Claims).claims)


def evaluate_claims(paper: str, claims: list[Claim], scores: pd.DataFrame) -> pd.DataFrame:
    """Test the claims of a paper: one row a claim, the columns of claims.csv.

    scores: the rows of the scores.csv of the paper's runs, and a column `arm` that says which arm
    of the paper a row belongs to. A claim is left out where one of its arms has no scores in its
    cohort. p-values are corrected by Holm over the claims of this paper that have one; a claim
    with fewer than six patients is inconclusive.

    Raises InputError where an arm has two scores for the same scan, structure and seed, or where
    a claim names structures that its cohort does not score.
    """
    rows, tested, intervals = [], [], []
    for claim in claims:
        of_cohort = scores[scores["cohort"] == claim.cohort]
        if not {claim.better, claim.worse} <= set(of_cohort["arm"]):
            continue
        differences = claim.differences(of_cohort)
        interval = statistics.bootstrap_interval(differences, level=1 - ALPHA)
        rows.append(
            {
                "paper": paper,
                "claim": claim.claim,
                "statement": claim.statement,
                "metric": claim.metric,
                "better": claim.better,
                "worse": claim.worse,
                "difference": statistics.mean_over_cases(differences),
                "ci_low": interval.low,
                "ci_high": interval.high,
                "p_value": claim.p_value(differences),
                "n_cases": len(differences),
                "n_seeds": differences.shape[1],
            }
        )
        tested.append(claim)
        intervals.append(interval)

    table = pd.DataFrame(rows, columns=COLUMNS)
    table["p_holm"] = statistics.holm(table["p_value"])
    table["verdict"] = [
        claim.verdict(interval, p_holm) if n_cases >= FEWEST_CASES else "inconclusive"
        for claim, interval, p_holm, n_cases in zip(
            tested, intervals, table["p_holm"], table["n_cases"], strict=True
        )
    ]
    return table


def _of_arm(scores: pd.DataFrame, arm: str, metric: Metric) -> pd.Series:
    """Return one metric of one arm, indexed by scan, structure and seed."""
    # An empty phase reads back from CSV as NaN, which never equals itself.
    rows = scores[scores["arm"] == arm]
    rows = rows.assign(phase=rows["phase"].astype(object).fillna(""))
    twice = rows[rows.duplicated(SCORE)]
    if len(twice):
        where = ", ".join(f"{name} {twice.iloc[0][name]}" for name in SCORE)
        raise InputError(
            f"arm {arm} has more than one score for {where}: give each run of the arm once"
        )
    return rows.set_index(SCORE)[metric]
