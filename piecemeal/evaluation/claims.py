"""Put a paper's comparative sentences to the test on the scores of our runs.

The sentences are data: `config/papers/<key>/claims.yaml`. A claim compares two arms of the paper
(an arm is a row of its runs.tsv) within one cohort. Scores are paired by scan, structure and seed,
the differences averaged within the patient, and the patients are what the interval and the test
run over. Differences count towards the claim: positive means that the arm called `better` is better
(a higher Dice, a shorter distance).

An empty mask never flatters an arm. Dice: a structure that was missed or invented counts 0; one
that is not there counts 1 for the arm that left it out while the other invented it. Distance: a
missed or invented structure has none, and no number can stand in for it; where a single pair lacks
a distance on either side the claim is inconclusive, and its difference and interval describe only
the pairs that have both. A structure that neither the reference nor either arm has says nothing.
"""

from collections.abc import Mapping
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

    def pairs(self, scores: pd.DataFrame) -> pd.DataFrame:
        """Pair what the two arms score, from the scores of the claim's cohort.

        One row a scan, structure and seed that both arms were scored on, columns `better` and
        `worse`; NaN is a distance that a missed or invented structure does not have. Rows in which
        both arms are right about an absent structure are left out.
        """
        better, worse = (_of_arm(scores, arm) for arm in (self.better, self.worse))
        better, worse = better.align(worse, join="inner", axis=0)
        absent = (better["status"] == "both_empty") & (worse["status"] == "both_empty")
        values = {"better": _counted(better, self.metric), "worse": _counted(worse, self.metric)}
        return pd.DataFrame(values)[~absent]

    def differences(self, pairs: pd.DataFrame) -> pd.DataFrame:
        """Return what is tested, patients x seeds."""
        return statistics.by_case(self._advantage(pairs), CASE)

    def p_value(self, differences: pd.DataFrame) -> float:
        """Return the p-value that enters the correction for many tests."""
        return statistics.signed_rank_p(differences)

    def verdict(self, interval: statistics.Interval, p_holm: float) -> Verdict:
        """Judge by the interval, and by the corrected p-value."""
        side = interval.against(0)
        if side == "astride" or not p_holm < ALPHA:
            return "inconclusive"
        return "supported" if side == "above" else "contradicted"

    def _advantage(self, pairs: pd.DataFrame) -> pd.Series:
        """By how much `better` is better, for every pair in which both arms have a value."""
        if self.metric == "dice":
            return statistics.paired_differences(pairs["better"], pairs["worse"])
        return statistics.paired_differences(pairs["worse"], pairs["better"])


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
        advantage = self._advantage(pairs)
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


def evaluate_claims(
    paper: str, claims: list[Claim], scores: pd.DataFrame, cohorts: Mapping[str, str | None]
) -> pd.DataFrame:
    """Test the claims of a paper: one row a claim, the columns of claims.csv.

    scores: the rows of the scores.csv of the paper's runs, and a column `arm` that says which arm
    of the paper a row belongs to.
    cohorts: every cohort of the paper's runs.tsv -> None, or why it was not run at this scale.

    A claim about a cohort that was not run is left out. p-values are corrected by Holm over the
    claims of this paper that have one. A claim is inconclusive, whatever its interval and p-value
    say, with fewer than six patients, or where an arm has no distance in any of the pairs because
    it missed or invented the structure.

    Raises InputError where a claim names a cohort that is not in `cohorts`, an arm without scores
    in its cohort, or structures that its cohort does not score, and where an arm has two scores
    for the same scan, structure and seed.
    """
    rows, verdicts = [], []
    for claim in claims:
        _check_cohort(paper, claim, cohorts)
        if cohorts[claim.cohort] is not None:
            continue
        of_cohort = scores[scores["cohort"] == claim.cohort]
        _check_arms(paper, claim, of_cohort)
        pairs = claim.pairs(of_cohort)
        differences = claim.differences(pairs)
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
        # The pairs that lack a value are the bad ones: what is left speaks too well of an arm.
        decides = len(differences) >= FEWEST_CASES and pairs.notna().all(axis=None)
        verdicts.append((claim, interval, decides))

    table = pd.DataFrame(rows, columns=COLUMNS)
    table["p_holm"] = statistics.holm(table["p_value"])
    table["verdict"] = [
        claim.verdict(interval, p_holm) if decides else "inconclusive"
        for (claim, interval, decides), p_holm in zip(verdicts, table["p_holm"], strict=True)
    ]
    return table


def _check_cohort(paper: str, claim: Claim, cohorts: Mapping[str, str | None]) -> None:
    if claim.cohort not in cohorts:
        raise InputError(
            f"{_file_of(paper)}: claim {claim.claim} is about cohort {claim.cohort}, which is not "
            f"in the paper's runs.tsv; its cohorts are {', '.join(sorted(cohorts))}: correct the "
            "claim, or add the cohort's runs"
        )


def _check_arms(paper: str, claim: Claim, scores: pd.DataFrame) -> None:
    arms = sorted(set(scores["arm"]))
    for arm in (claim.better, claim.worse):
        if arm not in arms:
            raise InputError(
                f"{_file_of(paper)}: claim {claim.claim} compares arm {arm}, which has no scores "
                f"in cohort {claim.cohort}; the arms there are {', '.join(arms) or 'none'}: "
                "correct the claim, or add the arm to runs.tsv"
            )


def _file_of(paper: str) -> str:
    return f"config/papers/{paper}/claims.yaml"


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
    status = scores["status"]
    if metric != "dice":
        return scores[metric].where(status == "ok")
    # Both arms share the reference, so beside `both_empty` can only stand the same or `invented`.
    counted = scores["dice"].mask(status == "both_empty", 1.0)
    return counted.mask(status.isin(("missed", "invented")), 0.0)
