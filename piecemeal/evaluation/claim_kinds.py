"""How the claims of `claim_specs` are tested: what each kind compares, and when it holds.

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

from piecemeal.claim_specs import Claim, Close, LargerGain, Similar, Superior
from piecemeal.errors import InputError
from piecemeal.evaluation import statistics
from piecemeal.evaluation.empty_masks import diagonal_of
from piecemeal.evaluation.pairs import CASE, paired, within_tasks

ALPHA = 0.05

TESTS = {
    "wilcoxon": statistics.signed_rank_p,
    "permutation": statistics.paired_permutation_p,
}

Verdict = Literal["supported", "contradicted", "inconclusive"]


class ClaimTest:
    """How a claim of the kind `superior` is tested, and what the other kinds share."""

    threshold = 0.0  # the difference that the interval and the test are held against

    def __init__(self, claim: Claim):
        self.claim = claim

    def pairs(self, scores: pd.DataFrame) -> pd.DataFrame:
        """Pair what the two arms score, from the scores of the claim's cohort.

        One row a scan, structure and seed that both arms were scored on, columns `better` and
        `worse`. Rows in which both arms are right about an absent structure are left out. Raises
        InputError where a score that should be there is not, or a structure is unknown.
        """
        claim, scored = self.claim, set(scores["structure"])
        # Where small structures are not scored, the few scans of a small scale may have none.
        small = "least_voxels" in scores and scores["least_voxels"].notna().any()
        if not small and (unknown := sorted({*claim.named} - scored)):
            raise InputError(
                f"claim {claim.claim}: no scores of {', '.join(unknown)} in cohort "
                f"{claim.cohort}; its structures are {', '.join(sorted(scored))}"
            )
        if claim.named:
            scores = scores[scores["structure"].isin(claim.named)]
        if claim.datasets:
            scores = scores[scores["dataset"].isin(claim.datasets)]
        if claim.modality:
            scores = scores[scores["modality"] == claim.modality]
        pairs = paired(scores, claim.better, claim.worse, claim.metric)
        lacking = pairs[pairs.isna().any(axis=1)]
        if len(lacking):
            where = ", ".join(map(str, lacking.index[0]))
            raise InputError(
                f"claim {claim.claim}: {claim.better} or {claim.worse} has no {claim.metric}, or "
                f"for a miss no {diagonal_of(claim.metric)}, for {where}; delete its scores.csv "
                "and start again"
            )
        return within_tasks(pairs, scores) if claim.normalised else pairs

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
        return TESTS[self.claim.test](tested.T if self.claim.over == "seeds" else tested)

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
        if self.claim.metric == "dice":
            return pairs["better"] - pairs["worse"]
        return pairs["worse"] - pairs["better"]


class CloseTest(ClaimTest):
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

    claim: Close

    def __init__(self, claim: Close):
        super().__init__(claim)
        self.threshold = claim.margin

    def verdict(self, interval: statistics.Interval, p_holm: float) -> Verdict:
        """Judge by the side of the margin: below it is what the claim says."""
        judged = super().verdict(interval, p_holm)
        swapped = {"supported": "contradicted", "contradicted": "supported"}
        return swapped.get(judged, judged)


class SimilarTest(ClaimTest):
    """The two arms differ by less than a margin, whichever of them is the better one.

    Tested against both bounds, each as strictly as a claim of the kind `close` is.
    """

    claim: Similar

    def p_value(self, differences: pd.DataFrame) -> float:
        """Return the larger of the p-values against both bounds; beyond one, that against it."""
        mean = statistics.mean_over_cases(differences)
        bounds = (-self.claim.margin, self.claim.margin)
        if not abs(mean) < self.claim.margin:
            bounds = (math.copysign(self.claim.margin, mean),)
        return max(self._p_against(bound, differences) for bound in bounds)

    def verdict(self, interval: statistics.Interval, p_holm: float) -> Verdict:
        """Judge by where the interval lies: between the bounds, or wholly beyond one of them."""
        low, high = (interval.against(bound) for bound in (-self.claim.margin, self.claim.margin))
        if not p_holm < ALPHA or "astride" in (low, high):
            return "inconclusive"
        return "supported" if (low, high) == ("above", "below") else "contradicted"


class LargerGainTest(ClaimTest):
    """The gain of the better arm is larger in some structures than in others.

    The claim is about where the gain is, so `better` being bad in `others` makes the difference
    larger. That alone must not support the claim: there has to be a gain in `structures` at all.
    """

    claim: LargerGain

    def differences(self, pairs: pd.DataFrame) -> pd.DataFrame:
        """Return the mean gain in `structures` minus that in `others`, patients x seeds."""
        both = (self.claim.structures, self.claim.others)
        gain, other_gain = (self._gain(pairs, names) for names in both)
        return gain.sub(other_gain).dropna(how="all")

    def premise(self, pairs: pd.DataFrame) -> bool:
        """Whether the interval of the gain in `structures` lies above 0."""
        gain = self._gain(pairs, self.claim.structures)
        return statistics.bootstrap_interval(gain, level=1 - ALPHA).against(0) == "above"

    def _gain(self, pairs: pd.DataFrame, names: list[str]) -> pd.DataFrame:
        """Mean gain in the structures `names`, patients x seeds."""
        advantage = self._advantage(pairs)
        place = advantage.index.get_level_values("structure")
        return statistics.by_case(advantage[place.isin(names)], CASE)


_TESTS: dict[type[Claim], type[ClaimTest]] = {
    Superior: ClaimTest,
    Close: CloseTest,
    Similar: SimilarTest,
    LargerGain: LargerGainTest,
}


def way_to_test(claim: Claim) -> ClaimTest:
    """How `claim` is tested."""
    return _TESTS[type(claim)](claim)
