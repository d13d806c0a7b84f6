"""Claims on score tables built to support them, to contradict them, and to decide nothing."""

from functools import cache
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from piecemeal.claim_specs import Claim, Close, LargerGain, Similar, Superior, load_claims
from piecemeal.errors import InputError
from piecemeal.evaluation.claim_kinds import TESTS, way_to_test
from piecemeal.evaluation.claims import COLUMNS, evaluate_claims, least_p_holm
from piecemeal.evaluation.statistics import mean_over_cases, paired_permutation_p

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "config" / "papers" / "kemnitz2018"
REFERENCE = ROOT / "docs" / "reference" / "pocket"
COMMON = {
    "statement": "One is better.",
    "quote": "We found it better.",
    "cohort": "heart",
    "better": "one",
    "worse": "two",
}
COHORTS = {"heart": None, "thigh": "real data only"}


def superior(**changes):
    return Superior(**COMMON | {"claim": "one_beats_two", "kind": "superior"} | changes)


def close(**changes):
    return Close(
        **COMMON
        | {"claim": "two_is_close", "kind": "close", "margin": 0.05, "margin_reason": "chosen"}
        | changes
    )


def similar(**changes):
    return Similar(
        **COMMON
        | {"claim": "one_is_like_two", "kind": "similar", "margin": 0.05, "margin_reason": "chosen"}
        | changes
    )


def larger_gain(**changes):
    return LargerGain(
        **COMMON
        | {
            "claim": "more_in_a",
            "kind": "larger_gain",
            "structures": ["a"],
            "others": ["b"],
        }
        | changes
    )


def differences_of(claim, table):
    test = way_to_test(claim)
    return test.differences(test.pairs(table))


def evaluate(claims, table, paper="paper", cohorts=COHORTS, left_out=None):
    return evaluate_claims(paper, claims, table, cohorts, left_out)


def scores(differences, other_differences=None, metric="dice", seeds=(0, 1), **columns):
    """Scores of arms one and two, patient by patient that much apart in structure a (and b)."""
    per_structure = {"a": differences, "b": differences}
    if other_differences is not None:
        per_structure["b"] = other_differences
    rows = [
        {
            "cohort": "heart",
            "arm": arm,
            "dataset": "acdc",
            "case": f"patient{i:03}",
            "phase": phase,
            "structure": structure,
            "seed": seed,
            "status": "ok",
            "dice": 0.8,
            "hd_mm": 8.0,
            "diagonal_mm": 100.0,
        }
        | {metric: 0.8 + i / 1000 + (difference if arm == "one" else 0)}
        | columns
        for structure, values in per_structure.items()
        for i, difference in enumerate(values)
        for phase in ("ED", "ES")
        for seed in seeds
        for arm in ("one", "two")
    ]
    return pd.DataFrame(rows)


def spread(centre, width, n=12):
    """Return n values around `centre`, evenly up to `width` away."""
    return centre + width * np.linspace(-1, 1, n)


def verdict(claim, table):
    return evaluate([claim], table).iloc[0].verdict


# ---- each kind, each verdict ----


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        (spread(0.04, 0.03), "supported"),
        (spread(-0.04, 0.03), "contradicted"),
        (spread(0.002, 0.03), "inconclusive"),
        (np.zeros(12), "inconclusive"),
    ],
)
def test_superior(differences, expected):
    assert verdict(superior(), scores(differences)) == expected
    # A distance is better when it is shorter.
    by_distance = scores(-differences, metric="hd_mm")
    assert verdict(superior(metric="hd_mm"), by_distance) == expected


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        (spread(0.01, 0.03), "supported"),
        (spread(-0.2, 0.03), "supported"),
        (spread(0.09, 0.03), "contradicted"),
        (spread(0.05, 0.03), "inconclusive"),
    ],
)
def test_close(differences, expected):
    assert verdict(close(), scores(differences)) == expected


@pytest.mark.parametrize("differences", [spread(0.01, 0.03), spread(0.09, 0.03)])
def test_closeness_tests_the_difference_minus_the_margin(differences):
    row = evaluate([close()], scores(differences)).iloc[0]
    # All of 12 patients differ by less than the margin, or all by more: 2 of 2^12 sign patterns.
    assert row.p_value == pytest.approx(2 / 2**12)
    assert row.difference == pytest.approx(differences.mean())


def test_closeness_needs_a_significant_test():
    # Nine patients a little beyond the margin, five far within: the ranks cannot be sure.
    table = scores(np.append(spread(0.06, 0.005, n=9), spread(-0.2, 0.03, n=5)))
    row = evaluate([close()], table).iloc[0]
    assert row.ci_high < 0.05
    assert row.p_value > 0.05
    assert row.verdict == "inconclusive"


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        (spread(0.01, 0.03), "supported"),
        (spread(0, 0.09), "supported"),
        (spread(0.09, 0.03), "contradicted"),
        (spread(0.05, 0.03), "inconclusive"),
        # Within the margin on average, but by no means surely.
        (spread(0, 0.3), "inconclusive"),
    ],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_similar(differences, expected, sign):
    assert verdict(similar(), scores(sign * differences)) == expected


@pytest.mark.parametrize("test", ["wilcoxon", "permutation"])
@pytest.mark.parametrize("sign", [1, -1])
def test_similarity_is_tested_against_both_bounds_and_beyond_one_against_that(test, sign):
    claim = similar(test=test)

    def against(centre):
        """The p-value of the claim, and those of the differences less and plus the margin."""
        table = scores(sign * spread(centre, 0.06))
        differences = differences_of(claim, table)
        alone = [TESTS[test](differences - sign * bound) for bound in (0.05, -0.05)]
        return evaluate([claim], table).p_value[0], *alone

    found, near, far = against(0.02)
    assert found == near > far
    found, near, far = against(0.08)
    assert found == near > far
    # Beyond the near bound the far one would be passed as well: it is not what is asked.
    found, near, far = against(0.2)
    assert found == near


def test_similarity_over_seeds_tests_seeds():
    table = of_seeds(spread(0.01, 0.02, 8), n=3)
    assert verdict(similar(over="seeds"), table) == "supported"
    assert evaluate([similar(over="seeds")], table).p_value[0] == pytest.approx(2 / 2**8)
    assert verdict(similar(), table) == "inconclusive"


def test_similarity_needs_a_significant_test():
    # As for closeness, and mirrored: nine patients a little beyond the margin, five far within.
    differences = np.append(spread(0.06, 0.005, n=9), spread(-0.03, 0.005, n=5))
    for sign in (1, -1):
        row = evaluate([similar(margin=0.055)], scores(sign * differences)).iloc[0]
        assert row.ci_high < 0.055
        assert row.ci_low > -0.055
        assert row.p_value > 0.05
        assert row.verdict == "inconclusive"


@pytest.mark.parametrize(
    ("gain", "other_gain", "expected"),
    [
        (spread(0.05, 0.02), spread(0.01, 0.02), "supported"),
        (spread(0.01, 0.02), spread(0.05, 0.01), "contradicted"),
        (spread(0.05, 0.02), spread(0.05, 0.01), "inconclusive"),
    ],
)
def test_larger_gain(gain, other_gain, expected):
    assert verdict(larger_gain(), scores(gain, other_gain)) == expected


def test_a_larger_gain_needs_a_gain():
    # In b arm one is far worse; in a it is no better.
    losses = spread(-0.3, 0.03)
    row = evaluate([larger_gain()], scores(spread(0, 0.03), losses)).iloc[0]
    assert row.ci_low > 0
    assert row.p_holm < 0.05
    assert row.verdict == "inconclusive"
    assert verdict(larger_gain(), scores(spread(0.05, 0.03), losses)) == "supported"
    # The claim is wrong where the gain is smaller, whether there is one or not.
    assert verdict(larger_gain(), scores(losses, spread(0, 0.03))) == "contradicted"


@pytest.mark.parametrize(
    ("claim", "differences", "other_differences"),
    [
        (superior(), spread(0.04, 0.03), None),
        # Arm one should be the better one and is the worse one, by more than the margin.
        (close(), spread(-0.09, 0.03), None),
        (larger_gain(), spread(0.05, 0.02), spread(0.01, 0.02)),
    ],
    ids=["superior", "close", "larger_gain"],
)
@pytest.mark.parametrize("test", ["wilcoxon", "permutation"])
def test_verdicts_change_when_the_arms_scores_are_swapped(
    claim, differences, other_differences, test
):
    claim = claim.model_copy(update={"test": test})
    table = scores(differences, other_differences)
    assert verdict(claim, table) == "supported"
    assert verdict(claim, swapped(table, "one", "two")) == "contradicted"


@pytest.mark.parametrize("centre", [0.01, 0.05, 0.09])
def test_similarity_is_the_same_whichever_arm_is_called_better(centre):
    table = scores(spread(centre, 0.03))
    assert verdict(similar(), table) == verdict(similar(), swapped(table, "one", "two"))


def swapped(table, first, second):
    return table.assign(arm=table["arm"].replace({first: second, second: first}))


# ---- numbers ----


def test_row_of_claims_csv():
    table = evaluate([superior()], scores(spread(0.04, 0.03)), paper="kemnitz2018")
    assert table.columns.tolist() == COLUMNS
    row = table.iloc[0]
    assert (row.paper, row.claim, row.statement) == (
        "kemnitz2018",
        "one_beats_two",
        "One is better.",
    )
    assert (row.metric, row.better, row.worse) == ("dice", "one", "two")
    assert row.difference == pytest.approx(0.04)
    assert row.ci_low < 0.04 < row.ci_high
    # All of 12 patients differ the same way: 2 of 2^12 sign patterns.
    assert row.p_value == row.p_holm == pytest.approx(2 / 2**12)
    assert (row.n_cases, row.n_seeds) == (12, 2)


def test_no_corrected_p_value_falls_below_what_patients_and_claims_allow():
    table = scores(spread(0.04, 0.01, n=7))
    claims = [superior(claim=f"number_{i}") for i in range(4)]
    for some, expected in ((claims[:3], "supported"), (claims, "inconclusive")):
        found = evaluate(some, table)
        assert found.p_holm.tolist() == pytest.approx([len(some) * 2.0 ** (1 - 7)] * len(some))
        assert set(found.verdict) == {expected}


@pytest.mark.parametrize("claim", [superior(), close(), larger_gain()])
def test_the_named_test_gives_the_p_value(claim):
    random = np.random.default_rng(0)
    table = scores(random.normal(0.04, 0.05, size=12), random.normal(0, 0.05, size=12))
    exact = evaluate([claim.model_copy(update={"test": "permutation"})], table).iloc[0]
    shift = claim.margin if claim.kind == "close" else 0
    tested = differences_of(claim, table) - shift
    assert exact.p_value == paired_permutation_p(tested)
    assert exact.p_value != evaluate([claim], table).p_value[0]


def test_holm_runs_over_all_claims_that_were_run():
    claims = [superior(), close(), larger_gain(), superior(claim="gone", cohort="thigh")]
    table = evaluate(claims, scores(spread(0.04, 0.03), spread(0.05, 0.03)))
    assert table.claim.tolist() == ["one_beats_two", "two_is_close", "more_in_a"]
    assert table.p_holm[0] == pytest.approx(3 * table.p_value[0])
    assert table.p_holm.notna().all()


def test_correction_can_take_a_verdict_away():
    # 6 patients: p = 2 / 64 alone, 4 / 64 as one of two.
    table = scores(spread(0.04, 0.03, n=6))
    assert verdict(superior(), table) == "supported"
    both = evaluate([superior(), close(margin=0.2)], table)
    assert both.p_value.tolist() == pytest.approx([2 / 64] * 2)
    assert both.verdict.tolist() == ["inconclusive"] * 2


def test_patients_are_the_unit_not_scans():
    # 5 patients, each with 2 phases, 2 structures and 2 seeds, are still 5: too few for a test.
    for claim in (superior(), close(margin=0.2), superior(test="permutation")):
        table = evaluate([claim], scores(spread(0.04, 0.03, n=5)))
        assert table.p_value[0] == pytest.approx(2 / 2**5)
        assert (table.n_cases[0], table.verdict[0]) == (5, "inconclusive")


def test_same_case_name_in_two_datasets_is_two_patients():
    both = pd.concat([scores(spread(0.04, 0.03)), scores(spread(0.04, 0.03), dataset="mnms")])
    assert evaluate([superior()], both).n_cases[0] == 24


def test_only_the_cohort_of_the_claim_counts():
    table = scores(spread(0.04, 0.03))
    other = scores(spread(-0.4, 0.03), cohort="thigh")
    assert evaluate([superior()], pd.concat([table, other])).difference[0] == pytest.approx(0.04)


# ---- empty structures ----


def test_missed_counts_and_both_empty_does_not():
    table = scores(np.zeros(8), seeds=(0,))
    # Arm two misses structure a of one patient in both phases; structure b of another patient is
    # absent altogether.
    missed = (table.arm == "two") & (table.case == "patient000") & (table.structure == "a")
    table.loc[missed, ["status", "dice"]] = ["missed", 0.0]
    absent = (table.case == "patient001") & (table.structure == "b")
    table.loc[absent, "dice"] = np.nan
    table.loc[absent, "status"] = "both_empty"
    row = evaluate([superior()], table).iloc[0]
    # 0.8 in one of two structures of one of eight patients.
    assert row.difference == pytest.approx(0.8 / 2 / 8)
    assert row.n_cases == 8


def of(table, arm, structure="a", case="patient000"):
    return (table.arm == arm) & (table.case == case) & (table.structure == structure)


@pytest.mark.parametrize(("inventor", "sign"), [("one", -1), ("two", 1)])
def test_inventing_an_absent_structure_costs_its_arm(inventor, sign):
    table = scores(np.zeros(8), seeds=(0,))
    other = "two" if inventor == "one" else "one"
    table.loc[of(table, inventor), ["status", "dice"]] = ["invented", 0.0]
    table.loc[of(table, other), ["status", "dice"]] = ["both_empty", np.nan]
    row = evaluate([superior()], table).iloc[0]
    # 1 against 0 in one of two structures of one of eight patients.
    assert row.difference == pytest.approx(sign * 1 / 2 / 8)
    assert row.n_cases == 8


def test_inventing_in_every_patient_decides():
    table = scores(np.zeros(8))
    absent = table.structure == "a"
    table.loc[absent & (table.arm == "one"), ["status", "dice"]] = ["both_empty", np.nan]
    table.loc[absent & (table.arm == "two"), ["status", "dice"]] = ["invented", np.nan]
    result = evaluate([superior(), close(), larger_gain()], table)
    # Structure a: 1 against 0; structure b: no difference.
    assert result.difference.tolist() == pytest.approx([0.5, 0.5, 1.0])
    assert result.verdict.tolist() == ["supported", "contradicted", "supported"]


def test_inventing_by_both_arms_is_a_tie():
    table = scores(np.zeros(8))
    for arm in ("one", "two"):
        table.loc[of(table, arm), ["status", "dice"]] = ["invented", 0.0]
    row = evaluate([superior()], table).iloc[0]
    assert (row.difference, row.n_cases) == (0, 8)


@pytest.mark.parametrize(
    ("one", "two", "expected"),
    [
        ("missed", "ok", -93),
        ("ok", "missed", 93),
        ("missed", "missed", 0),
        ("invented", "both_empty", -100),
        ("both_empty", "invented", 100),
        ("invented", "invented", 0),
    ],
)
def test_a_distance_that_is_lacking_counts_the_diagonal(one, two, expected):
    # In one phase of one patient and one seed; the diagonal of every scan is 100 mm long.
    table = scores(np.zeros(8), metric="hd_mm")
    here = (table.phase == "ED") & (table.seed == 0)
    for arm, status in (("one", one), ("two", two)):
        value = 7.0 if status == "ok" else np.nan
        table.loc[here & of(table, arm), ["status", "hd_mm"]] = [status, value]
    claims = [superior(metric="hd_mm"), close(metric="hd_mm"), larger_gain(metric="hd_mm")]
    result = evaluate(claims, table)
    # One of 2 phases and 2 seeds, of 8 patients, in one of 2 structures or in a minus b.
    share = expected / 4 / 8
    assert result.difference.tolist() == pytest.approx([share / 2, share / 2, share])
    assert result.n_cases.tolist() == [8, 8, 8]


def test_the_diagonal_is_that_of_the_scan():
    table = scores(np.zeros(8), seeds=(0,), metric="hd_mm")
    longer = (table.case == "patient001") & (table.phase == "ES")
    table.loc[longer, "diagonal_mm"] = 300.0
    lost = of(table, "two", case="patient001")
    table.loc[lost, ["status", "hd_mm"]] = ["missed", np.nan]
    row = evaluate([superior(metric="hd_mm")], table).iloc[0]
    found = 0.8 + 1 / 1000
    assert row.difference == pytest.approx((100 - found + 300 - found) / 2 / 2 / 8)


def test_misses_decide_a_claim_on_distances():
    table = scores(np.full(8, 1.0), metric="hd_mm")
    assert verdict(superior(metric="hd_mm"), table) == "contradicted"
    lost = (table.arm == "two") & (table.structure == "a")
    table.loc[lost, ["status", "hd_mm"]] = ["missed", np.nan]
    assert verdict(superior(metric="hd_mm"), table) == "supported"
    assert verdict(close(metric="hd_mm", margin=2), table) == "contradicted"


def test_distances_that_are_rightly_empty_do_not_matter():
    table = scores(np.full(8, -1.0), np.zeros(8), metric="hd_mm")
    absent = (table.structure == "a") & (table.case == "patient000")
    table.loc[absent, ["status", "hd_mm"]] = ["both_empty", np.nan]
    row = evaluate([superior(metric="hd_mm")], table).iloc[0]
    # Patient 0 has structure b alone, without a difference; the other 7 differ by 1 in a.
    assert row.difference == pytest.approx(7 * (1 / 2) / 8)


def test_structures_that_a_claim_does_not_name_do_not_matter():
    table = scores(np.full(8, -1.0), np.zeros(8), metric="hd_mm")
    rest = table[table.structure == "a"].assign(structure="c")
    rest.loc[rest.arm == "one", ["status", "hd_mm"]] = ["missed", np.nan]
    with_rest = pd.concat([table, rest])
    assert evaluate([larger_gain(metric="hd_mm")], with_rest).difference[0] == pytest.approx(1)
    assert evaluate([superior(metric="hd_mm")], with_rest).difference[0] < -30


@pytest.mark.parametrize(
    ("changes", "metric"),
    [
        ({"status": "missed", "hd_mm": np.nan, "diagonal_mm": np.nan}, "hd_mm"),
        ({"hd_mm": np.nan}, "hd_mm"),
        ({"dice": np.nan}, "dice"),
    ],
    ids=["diagonal", "distance", "dice"],
)
def test_a_score_that_should_be_there_is_asked_for(changes, metric):
    table = scores(np.zeros(8))
    here = of(table, "two", case="patient003") & (table.phase == "ES") & (table.seed == 1)
    table.loc[here, list(changes)] = list(changes.values())
    with pytest.raises(InputError) as error:
        evaluate([superior(metric=metric)], table)
    for named in ("one_beats_two", metric, "two", "acdc, patient003, ES, a, 1", "delete"):
        assert named in str(error.value)


def test_a_claim_on_dice_needs_no_diagonal():
    table = scores(spread(0.04, 0.03)).drop(columns="diagonal_mm")
    assert verdict(superior(), table) == "supported"


# ---- over seeds ----


def of_seeds(gains, n=12):
    """Scores of n patients whose gain depends on the seed alone, but for a little."""
    parts = [scores(spread(gain, 0.001, n), seeds=(seed,)) for seed, gain in enumerate(gains)]
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize("test", ["wilcoxon", "permutation"])
def test_a_test_over_seeds_counts_seeds(test):
    # Better in all of 12 patients, but only with five seeds of six.
    table = of_seeds([0.05, 0.04, 0.03, 0.04, 0.05, -0.001])
    over_patients, over_seeds = (
        evaluate([superior(test=test, over=unit)], table).iloc[0] for unit in ("patients", "seeds")
    )
    assert over_patients.p_value == pytest.approx(2 / 2**12)
    # Of 2^6 patterns of signs, the one found and the one with the smallest flipped; two-sided.
    assert over_seeds.p_value == pytest.approx(4 / 2**6)
    same = ["difference", "ci_low", "ci_high", "n_cases", "n_seeds"]
    pd.testing.assert_series_equal(over_patients[same], over_seeds[same], check_names=False)
    assert (over_patients.verdict, over_seeds.verdict) == ("supported", "inconclusive")


@pytest.mark.parametrize(("seeds", "expected"), [(6, "supported"), (5, "inconclusive")])
def test_fewer_than_six_seeds_decide_nothing(seeds, expected):
    table = of_seeds(spread(0.04, 0.01, seeds), n=3)
    assert verdict(superior(over="seeds"), table) == expected
    assert verdict(close(over="seeds", margin=0.2), table) == expected


def test_an_arm_of_one_seed_is_compared_by_that_seed():
    table = of_seeds([0.04, 0.9, 0.9])
    table = table[(table["arm"] == "one") | (table["seed"] == 0)]
    row = evaluate([superior()], table).iloc[0]
    assert row.difference == pytest.approx(0.04)
    assert (row.n_cases, row.n_seeds, row.verdict) == (12, 1, "supported")
    assert evaluate([superior(over="seeds")], table).p_value[0] == 1


# ---- slice by slice ----


def sliced(differences):
    """As `scores`, of the distance slice by slice; the plane's diagonal is 50 px."""
    of_slices = {"slices": 3, "left_out": 1, "slice_diagonal_px": 50.0}
    return scores(differences, metric="hd_slice_px", **of_slices)


def test_a_claim_on_slices_reads_their_distances():
    by_slice = superior(metric="hd_slice_px")
    assert verdict(by_slice, sliced(spread(-0.04, 0.03))) == "supported"
    assert verdict(by_slice, sliced(spread(0.04, 0.03))) == "contradicted"


@pytest.mark.parametrize("status", ["missed", "invented", "ok"])
def test_a_scan_without_a_slice_counts_the_diagonal_of_its_plane(status):
    table = sliced(np.zeros(8))
    lost = of(table, "two")
    table.loc[lost, ["status", "hd_slice_px", "slices"]] = [status, np.nan, 0]
    row = evaluate([superior(metric="hd_slice_px")], table).iloc[0]
    assert row.difference == pytest.approx((50 - 0.8) / 2 / 8)


def test_slices_that_are_rightly_empty_do_not_matter():
    table = sliced(np.zeros(8))
    absent = (table.structure == "a") & (table.case == "patient000")
    empty = ["both_empty", np.nan, 0, 0]
    table.loc[absent, ["status", "hd_slice_px", "slices", "left_out"]] = empty
    assert evaluate([superior(metric="hd_slice_px")], table).difference[0] == pytest.approx(0)


@pytest.mark.parametrize("lacking", ["all", "two"])
def test_a_cohort_that_is_not_scored_by_slices_is_named(lacking):
    table = sliced(np.zeros(8))
    if lacking == "all":
        table = table.drop(columns=["hd_slice_px", "slices", "left_out", "slice_diagonal_px"])
    else:
        table.loc[table["arm"] == "two", ["hd_slice_px", "slices"]] = np.nan
    with pytest.raises(InputError, match=r"scoring\.slices.*config/cohorts/heart\.yaml"):
        evaluate([superior(metric="hd_slice_px")], table)


# ---- a method that drops an organ gets worse ----

DISTANCES = ["assd_mm", "hd_mm", "hd95_mm"]
PLACES = [(case, structure, seed) for case in "xyz" for structure in "ab" for seed in (0, 1)]


@st.composite
def scores_of_an_arm(draw, arm):
    """Any scores; a distance is at most the scan's diagonal, a miss may be there already."""
    rows = []
    for case, structure, seed in PLACES:
        lost = draw(st.sampled_from([False, False, False, True]))
        row = {"cohort": "heart", "arm": arm, "dataset": "acdc", "case": case, "phase": "ED"}
        row |= {"structure": structure, "seed": seed, "diagonal_mm": 100.0 + ord(case)}
        row |= {"status": "missed" if lost else "ok"}
        row["dice"] = 0.0 if lost else draw(st.floats(0, 1))
        for metric in DISTANCES:
            row[metric] = np.nan if lost else draw(st.floats(0, row["diagonal_mm"]))
        rows.append(row)
    return pd.DataFrame(rows)


@pytest.mark.parametrize("metric", ["dice", *DISTANCES])
@pytest.mark.parametrize(("arm", "sign"), [("one", 1), ("two", -1)])
@settings(max_examples=20)
@given(
    one=scores_of_an_arm("one"),
    two=scores_of_an_arm("two"),
    dropped=st.sets(st.sampled_from(PLACES), min_size=1),
)
def test_a_method_that_drops_an_organ_gets_worse(metric, arm, sign, one, two, dropped):
    table = pd.concat([one, two], ignore_index=True)
    places = pd.Series(list(zip(table.case, table.structure, table.seed, strict=True)))
    lost = (table.arm == arm) & places.isin(dropped)

    for claim in (superior(metric=metric), close(metric=metric), larger_gain(metric=metric)):
        # A larger gain in a than in b is about a: a loss in b speaks for it, see the class.
        here = lost & (table.structure == "a") if claim.kind == "larger_gain" else lost
        after = table.copy()
        after.loc[here, "status"] = "missed"
        after.loc[here, "dice"] = 0.0
        after.loc[here, DISTANCES] = np.nan
        before, now = (mean_over_cases(differences_of(claim, scored)) for scored in (table, after))
        # The difference counts for arm one.
        assert sign * now <= sign * before + 1e-9


def test_nothing_to_compare_is_inconclusive():
    table = scores(np.zeros(8)).assign(status="both_empty", dice=np.nan)
    result = evaluate([superior(), close(), similar(), larger_gain()], table)
    assert result.verdict.tolist() == ["inconclusive"] * 4
    assert result.n_cases.tolist() == [0, 0, 0, 0]
    assert result[["difference", "p_value"]].isna().all(axis=None)


# ---- absent runs, odd tables ----


def test_claims_about_a_cohort_that_was_not_run_are_left_out():
    # Its arms have no scores there, and that is no error.
    result = evaluate([superior(cohort="thigh")], scores(spread(0.04, 0.03)))
    assert result.columns.tolist() == COLUMNS
    assert result.empty


@pytest.mark.parametrize("side", ["better", "worse"])
def test_claims_about_an_arm_that_was_left_out_are_left_out(side):
    table = scores(spread(0.04, 0.03))
    claims = [superior(), superior(claim="about_three", **{side: "three"})]
    result = evaluate(claims, table, left_out={"heart": ["three"], "thigh": ["one"]})
    assert result.claim.tolist() == ["one_beats_two"]
    assert result.p_holm.tolist() == result.p_value.tolist()  # it does not count for Holm
    # Left out elsewhere, it is missing here.
    with pytest.raises(InputError, match="arm three"):
        evaluate(claims, table, left_out={"thigh": ["three"]})


def test_an_unknown_cohort_is_an_error():
    with pytest.raises(InputError) as error:
        evaluate([superior(cohort="hart")], scores(spread(0.04, 0.03)), paper="who2020")
    for named in ("config/papers/who2020/claims.yaml", "one_beats_two", "hart", "heart, thigh"):
        assert named in str(error.value)


@pytest.mark.parametrize("side", ["better", "worse"])
def test_an_arm_without_scores_is_an_error(side):
    # Scores in another cohort do not help.
    table = pd.concat(
        [
            scores(spread(0.04, 0.03)),
            scores(spread(0.04, 0.03), cohort="thigh").assign(arm="three"),
        ]
    )
    with pytest.raises(InputError) as error:
        evaluate([superior(**{side: "three"})], table, paper="who2020")
    for named in ("config/papers/who2020/claims.yaml", "one_beats_two", "arm three", "one, two"):
        assert named in str(error.value)


def test_a_cohort_that_was_run_but_has_no_scores_is_an_error():
    with pytest.raises(InputError, match=r"arm one, .* the arms there are none"):
        evaluate([superior(cohort="thigh")], scores(np.zeros(8)), cohorts={"thigh": None})


def test_an_empty_phase_survives_a_csv_file():
    table = scores(spread(0.04, 0.03)).query("phase == 'ED'").assign(phase="")
    read_back = pd.read_csv(StringIO(table.to_csv(index=False)))
    assert read_back.phase.isna().all()
    row = evaluate([superior()], read_back).iloc[0]
    assert (row.n_cases, row.verdict) == (12, "supported")


def test_a_run_given_twice_is_an_error():
    table = scores(spread(0.04, 0.03))
    with pytest.raises(InputError, match=r"arm one has more than one score for .*patient000"):
        evaluate([superior()], pd.concat([table, table]))


def test_where_small_structures_are_not_scored_one_may_be_nowhere():
    """The few scans of a small scale may not show it: no mistake, and no verdict."""
    table = scores(spread(0.04, 0.03)).assign(least_voxels=50)
    row = evaluate([superior(structures=["c"])], table).iloc[0]
    assert (row.verdict, row.n_cases) == ("inconclusive", 0)


def test_a_claim_may_be_of_one_source():
    better = scores(spread(0.04, 0.03)).assign(modality="CT")
    worse = scores(spread(-0.04, 0.03)).assign(modality="MR", dataset="amos")
    table = pd.concat([better, worse])
    found = {
        name: evaluate([superior(**of)], table).iloc[0]
        for name, of in {
            "all": {},
            "amos": {"datasets": ["amos"]},
            "CT": {"modality": "CT"},
            "none": {"datasets": ["acdc"], "modality": "MR"},
        }.items()
    }
    verdicts = {name: row.verdict for name, row in found.items()}
    assert verdicts == {
        **{"all": "inconclusive", "amos": "contradicted"},
        **{"CT": "supported", "none": "inconclusive"},
    }
    assert [row.n_cases for row in found.values()] == [24, 12, 12, 0]


def test_unknown_structures_are_an_error():
    with pytest.raises(InputError, match=r"more_in_a: no scores of c in cohort heart.* a, b"):
        evaluate([larger_gain(structures=["c"])], scores(np.zeros(8)))


# ---- the file ----


def written(folder, **changes):
    path = folder / "claims.yaml"
    claim = COMMON | {"claim": "one_beats_two", "kind": "superior"} | changes
    path.write_text(yaml.safe_dump({"claims": [claim]}))
    return path


def test_reads_a_file(tmp_path):
    assert load_claims(written(tmp_path)) == [superior()]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"beter": "one"}, "beter"),
        ({"metric": "iou"}, "metric"),
        ({"kind": "best"}, "kind"),
        ({"claim": "SLAC wins"}, "claim"),
        ({"kind": "close", "margin": -1, "margin_reason": "x"}, "margin"),
        ({"kind": "close"}, "margin_reason"),
        ({"kind": "similar", "margin": 0.1}, "margin_reason"),
        ({"kind": "similar", "margin": 0, "margin_reason": "x"}, "margin"),
        ({"test": "t-test"}, "test"),
        ({"worse": "one"}, "better and worse are both one"),
        ({"kind": "larger_gain", "structures": ["a", "b"], "others": ["b"]}, "others: b"),
    ],
)
def test_a_wrong_key_names_file_and_key(tmp_path, changes, named):
    path = written(tmp_path, **changes)
    with pytest.raises(InputError) as error:
        load_claims(path)
    assert str(path) in str(error.value)
    assert named in str(error.value)


def test_ids_must_differ(tmp_path):
    path = written(tmp_path)
    content = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({"claims": content["claims"] * 2}))
    with pytest.raises(InputError, match="repeated: one_beats_two"):
        load_claims(path)


def test_a_file_names_the_test(tmp_path):
    (claim,) = load_claims(written(tmp_path, test="permutation"))
    assert isinstance(claim, Claim)
    assert claim.test == "permutation"
    assert superior().test == "wilcoxon"


def test_a_wrong_claim_is_found_before_any_is_tested():
    # The first claim could not be tested: its scores are there twice.
    table = scores(np.zeros(8))
    with pytest.raises(InputError, match="arm three"):
        evaluate([superior(), superior(claim="b", worse="three")], pd.concat([table, table]))


# ---- the claims of the paper ----


def test_kemnitz_arms_and_cohorts_exist():
    runs = pd.read_csv(CONFIG / "runs.tsv", sep="\t")
    known = set(zip(runs.cohort, runs.arm, strict=True))
    for claim in load_claims(CONFIG / "claims.yaml"):
        assert claim.claim.endswith(f"_{claim.cohort}")
        assert {(claim.cohort, claim.better), (claim.cohort, claim.worse)} <= known


def test_kemnitz_margins_follow_from_the_published_table():
    published = pd.read_csv(CONFIG / "published" / "table2.csv").query("metric == 'DSC'")
    means = published.pivot(index=["anatomy", "structure"], columns="method", values="mean")
    shortfall = (means["xent-ub"] - means["slac"]).groupby("anatomy").max()
    margins = {c.cohort: c.margin for c in load_claims(CONFIG / "claims.yaml") if c.kind == "close"}
    assert margins == pytest.approx(shortfall.to_dict())


def test_moseley_calls_nothing_smaller_an_improvement():
    folder = CONFIG.with_name("moseley2023")
    published = pd.read_csv(folder / "published" / "table1.csv").query("metric == 'DSC'")
    means = published.set_index("method")["mean"]
    (claim,) = (c for c in load_claims(folder / "claims.yaml") if c.kind == "similar")
    assert claim.margin == pytest.approx(means["cmu-net"] - means["u-net"])
    assert abs(means["pretrained-u-net"] - means["u-net"]) < claim.margin


@cache
def reference_scores():
    """Scores of a real run on ACDC. All claims are on Dice, so no diagonal is needed."""
    files = sorted(REFERENCE.glob("runs/*/*/*/*/scores.csv"))
    runs = pd.read_csv(CONFIG / "runs.tsv", sep="\t")
    return pd.concat(map(pd.read_csv, files)).merge(runs, on=["cohort", "annotation", "method"])


def evaluate_reference(claims, table):
    return evaluate(claims, table, "kemnitz2018", {"cardiac": None, "thigh": "private data"})


def test_reference_scores_give_the_reference_verdicts():
    committed = pd.read_csv(REFERENCE / "claims.csv")
    found = evaluate_reference(load_claims(CONFIG / "claims.yaml"), reference_scores())
    assert found["claim"].tolist() == committed["claim"].tolist()
    assert found["verdict"].tolist() == committed["verdict"].tolist()
    assert found["difference"].tolist() == pytest.approx(committed["difference"].tolist())
    assert set(found["verdict"]) == {"supported", "inconclusive"}


def test_reference_verdicts_flip_when_the_arms_scores_are_swapped():
    for claim in load_claims(CONFIG / "claims.yaml"):
        if claim.kind == "superior" and claim.cohort == "cardiac":
            table = swapped(reference_scores(), claim.better, claim.worse)
            assert evaluate_reference([claim], table)["verdict"].tolist() == ["contradicted"]


@pytest.mark.parametrize(("patients", "claims"), [(6, 1), (6, 2), (7, 3), (7, 4), (10, 25)])
def test_the_least_p_is_what_differences_of_one_sign_have(patients, claims):
    asked = [superior(claim=f"claim{i}", test="permutation") for i in range(claims)]
    tested = evaluate(asked, scores(spread(0.5, 0.1, patients)))
    least = least_p_holm(asked, tested)
    assert least.tolist() == pytest.approx([claims * 2.0 ** (1 - patients)] * claims)
    assert tested["p_holm"].tolist() == pytest.approx(least.clip(upper=1).tolist())
    assert set(tested["verdict"]) == {"supported" if (least < 0.05).all() else "inconclusive"}


def test_the_least_p_of_a_claim_over_seeds_counts_the_seeds():
    asked = [superior(over="seeds", test="permutation")]
    tested = evaluate(asked, scores(spread(0.5, 0.1, 12), seeds=range(4)))
    assert least_p_holm(asked, tested).tolist() == [0.125] == tested["p_holm"].tolist()


@settings(max_examples=50, deadline=None)
@given(
    patients=st.integers(2, 8),
    values=st.lists(st.lists(st.integers(-5, 5), min_size=8, max_size=8), min_size=1, max_size=3),
    test=st.sampled_from(["wilcoxon", "permutation"]),
)
def test_no_claim_has_a_smaller_p(patients, values, test):
    # Arms of their own, so that each claim has differences of its own.
    tables, asked = [], []
    for number, differences in enumerate(values):
        names = {"one": f"one{number}", "two": f"two{number}"}
        found = scores([d / 10 for d in differences[:patients]])
        tables.append(found.assign(arm=found["arm"].map(names)))
        better, worse = names.values()
        asked.append(superior(claim=f"c{number}", better=better, worse=worse, test=test))
    tested = evaluate(asked, pd.concat(tables))
    assert (tested["p_holm"] >= least_p_holm(asked, tested) - 1e-12).all()


def test_one_patient_decides_nothing_whatever_the_seeds():
    asked = [superior(over="seeds", test="permutation")]
    tested = evaluate(asked, scores([0.5], seeds=range(9)))
    assert tested["verdict"].tolist() == ["inconclusive"]
    assert least_p_holm(asked, tested).tolist() == [1.0]


def test_a_claim_without_a_case_has_no_least_p():
    tested = evaluate([superior()], scores(spread(0.5, 0.1))).assign(n_cases=0)
    assert least_p_holm([superior()], tested).isna().all()
