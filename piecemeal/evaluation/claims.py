"""Put a paper's comparative sentences to the test on the scores of our runs.

The sentences are data: `config/papers/<key>/claims.yaml`. What each kind of claim compares and
tests is in `claim_kinds`.
"""

from collections.abc import Collection, Mapping, Sequence

import pandas as pd

from piecemeal.claim_specs import Claim
from piecemeal.errors import InputError
from piecemeal.evaluation import statistics
from piecemeal.evaluation.claim_kinds import ALPHA, way_to_test

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


def evaluate_claims(
    paper: str,
    claims: list[Claim],
    scores: pd.DataFrame,
    cohorts: Mapping[str, str | None],
    left_out: Mapping[str, Collection[str]] | None = None,
) -> pd.DataFrame:
    """Test the claims of a paper: one row a claim, the columns of claims.csv.

    scores: the rows of the scores.csv of the paper's runs, and two more columns: `arm`, which arm
    of the paper a row belongs to, and, read by claims on distances alone, `diagonal_mm`, the
    diagonal of the row's scan. Claims on `hd_slice_px` read it, `slices` and `slice_diagonal_px`,
    normalised ones the `task` of the scan.
    cohorts: every cohort of the paper's runs.tsv -> None, or why it was not run at this scale.
    left_out: cohort -> the arms of runs.tsv that have no runs there at this scale.

    A claim about a cohort or an arm that was not run is left out. p-values are corrected by Holm
    over all other claims of the paper. A verdict needs both the interval, which is of the mean and
    counts with other cases and other seeds, and the corrected p-value, which is of these seeds, or
    of these patients in a claim over seeds. With n patients (seeds) no p-value of either test is
    below 2^(1 - n), and with m claims no corrected one below m * 2^(1 - n): where that is not below
    5 %, as with six of them and two claims, every claim is inconclusive.

    Raises InputError where a claim names a cohort that is not in `cohorts`, an arm that is neither
    scored nor left out in its cohort, or structures that its cohort does not score, where an arm
    has two scores for the same scan, structure and seed, where a score is empty that should not be,
    and where a claim on `hd_slice_px` finds a cohort that is not scored slice by slice.
    """
    for claim in claims:
        _check_cohort(paper, claim, cohorts)
    run = to_test(claims, cohorts, left_out)
    for claim in run:
        _check_arms(paper, claim, scores[scores["cohort"] == claim.cohort])

    rows, evidence = [], []
    for claim in run:
        test = way_to_test(claim)
        pairs = test.pairs(scores[scores["cohort"] == claim.cohort])
        differences = test.differences(pairs)
        found = statistics.summary(differences, level=1 - ALPHA)
        rows.append(
            {
                "paper": paper,
                "claim": claim.claim,
                "statement": claim.statement,
                "metric": claim.measured,
                "better": claim.better,
                "worse": claim.worse,
                "difference": found.mean,
                "ci_low": found.interval.low,
                "ci_high": found.interval.high,
                "p_value": test.p_value(differences),
                "n_cases": found.n_cases,
                "n_seeds": found.n_seeds,
            }
        )
        evidence.append((test, pairs, found))

    table = pd.DataFrame(rows, columns=COLUMNS)
    table["p_holm"] = statistics.holm(table["p_value"])
    verdicts = []
    for (test, pairs, found), p_holm in zip(evidence, table["p_holm"], strict=True):
        verdict = test.verdict(found.interval, p_holm)
        unfounded = verdict == "supported" and not test.premise(pairs)
        verdicts.append("inconclusive" if unfounded else verdict)
    table["verdict"] = verdicts
    return table


def to_test(
    claims: Sequence[Claim],
    cohorts: Mapping[str, str | None],
    left_out: Mapping[str, Collection[str]] | None = None,
) -> list[Claim]:
    """The claims about cohorts and arms that were run, which alone are tested.

    cohorts, left_out: as for `evaluate_claims`.
    """
    gone = {(cohort, arm) for cohort, arms in (left_out or {}).items() for arm in arms}
    return [
        claim
        for claim in claims
        if cohorts[claim.cohort] is None
        and not gone & {(claim.cohort, claim.better), (claim.cohort, claim.worse)}
    ]


def least_p_holm(claims: Sequence[Claim], tested: pd.DataFrame) -> pd.Series:
    """The least corrected p-value that each claim could have had; NaN of one without a case.

    Of n patients, or seeds in a claim over them, each with a difference of its own, no test finds
    one below 2^(1 - n): all signs alike. Holm's correction of these is the least there is, as no
    corrected p-value falls where another one rises. Where it is not below 5 %, the claim is
    inconclusive whatever the scores are.

    tested: from `evaluate_claims`, which leaves out some of `claims`; indexed as that is.
    """
    over = {claim.claim: claim.over for claim in claims}
    by_seeds = tested["claim"].map(over) == "seeds"
    number = tested["n_cases"].mask(by_seeds, tested["n_seeds"]).astype(float)
    floors = (2.0 ** (1 - number)).where(tested["n_cases"] > 0)
    floors = floors.mask(tested["n_cases"] == 1, 1.0)  # has no interval, whatever its seeds
    return pd.Series(statistics.holm(floors), tested.index, dtype=float)


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
