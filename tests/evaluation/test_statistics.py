"""Statistics on examples small enough to work out, and the coverage of the interval."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from piecemeal.evaluation.statistics import (
    Interval,
    bootstrap_interval,
    by_case,
    holm,
    mean_over_cases,
    paired_permutation_p,
    rank_stability,
    signed_rank_p,
    std_over_seeds,
    summary,
)

# ---- Holm ----


def test_holm_by_hand():
    # In order 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1: 0.02, 0.03, 0.06, 0.04; the last must not
    # be below the one before it.
    adjusted = holm(np.array([0.01, 0.04, 0.03, 0.005]))
    assert adjusted.tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_leaves_out_what_was_not_tested():
    adjusted = holm(np.array([np.nan, 0.02, 0.7, np.nan]))
    assert np.isnan(adjusted[[0, 3]]).all()
    assert adjusted[1:3].tolist() == pytest.approx([0.04, 0.7])


def test_holm_stays_a_probability():
    assert holm(np.array([0.6, 0.9])).tolist() == [1, 1]
    assert holm(np.array([])).size == 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_lies_between_uncorrected_and_bonferroni(p_values):
    adjusted = holm(np.array(p_values))
    assert (adjusted >= p_values).all()
    assert (adjusted <= np.minimum(np.array(p_values) * len(p_values), 1) + 1e-12).all()


# ---- tests over cases ----


def cases(*rows):
    return pd.DataFrame(list(rows), dtype=float)


def test_signed_rank_by_hand():
    # All of 6 differences positive: 2 of the 2^6 sign patterns are as extreme.
    assert signed_rank_p(cases([1], [2], [3], [4], [5], [6])) == pytest.approx(2 / 64)


def test_signed_rank_against_scipy():
    differences = np.random.default_rng(3).normal(0.3, size=(15, 2))
    expected = stats.wilcoxon(differences.mean(axis=1)).pvalue
    assert signed_rank_p(pd.DataFrame(differences)) == pytest.approx(expected)


def test_signed_rank_averages_seeds_and_skips_equal_cases():
    # Case means 0, 1, 2: the first does not count, 2 of 4 sign patterns are as extreme.
    assert signed_rank_p(cases([1, -1], [1, 1], [0, 4])) == pytest.approx(0.5)


def test_signed_rank_says_nothing_where_ranks_and_mean_disagree():
    # A little better in 30 cases, much worse in 4: the ranks speak for it, the mean against it.
    few_bad = pd.DataFrame(np.append(np.arange(1, 31) / 1000, [-1, -2, -3, -4]))
    assert stats.wilcoxon(few_bad[0]).pvalue < 0.05
    assert signed_rank_p(few_bad) > 0.9


def test_permutation_by_hand():
    # Of 16 sums with signs, 7 and twice 5 are at least 5; as many are at most -5.
    assert paired_permutation_p(cases([1], [2], [3], [-1])) == pytest.approx(6 / 16)
    assert paired_permutation_p(cases([1], [2], [3])) == pytest.approx(2 / 8)
    # Means over seeds 1, 2, 3, and a case without a value.
    averaged = cases([0, 2], [2, np.nan], [3, 3], [np.nan, np.nan])
    assert paired_permutation_p(averaged) == pytest.approx(2 / 8)


def test_permutation_of_many_cases_is_random_but_the_same():
    values = pd.DataFrame(np.random.default_rng(2).normal(0.4, size=40))
    p_value = paired_permutation_p(values)
    # Of normal values the t-test is the standard.
    assert p_value == pytest.approx(stats.ttest_1samp(values[0], 0).pvalue, abs=0.01)
    assert paired_permutation_p(values) == p_value
    # No random pattern reaches the observed one, which itself is counted on both sides.
    assert paired_permutation_p(pd.DataFrame(np.ones(40))) == pytest.approx(2 / 10_000)


BOTH_TESTS = pytest.mark.parametrize("p_value", [signed_rank_p, paired_permutation_p])


@BOTH_TESTS
def test_p_value_without_differences(p_value):
    assert p_value(cases(*[[0]] * 20)) == 1
    assert p_value(cases([3])) == 1
    assert np.isnan(p_value(cases()))
    assert np.isnan(p_value(cases([np.nan])))


@BOTH_TESTS
@settings(max_examples=30)
@given(st.lists(st.integers(-9, 9), min_size=1, max_size=8))
def test_p_value_does_not_depend_on_which_arm_comes_first(p_value, values):
    differences = pd.DataFrame(values, dtype=float)
    assert 0 < p_value(differences) <= 1
    assert p_value(differences) == pytest.approx(p_value(-differences))


# ---- averaging ----


def test_averages_within_the_case():
    names = ["case", "structure", "seed"]
    values = pd.Series({("a", "x", 0): 4.0, ("a", "y", 0): 1.0, ("a", "x", 1): 1.0})
    table = by_case(values.rename_axis(names), ["case"])
    assert table.to_dict() == {0: {"a": 2.5}, 1: {"a": 1.0}}


def test_every_case_has_the_same_weight():
    # The second case was scored with one seed only: (1 + 5) / 2, not (1 + 1 + 5) / 3.
    assert mean_over_cases(cases([1, 1], [5, np.nan])) == 3
    assert np.isnan(mean_over_cases(cases()))


def test_summary_by_hand():
    # Case means 2 and 5; a case and a seed without a value are not counted.
    values = cases([1, 3, np.nan], [5, np.nan, np.nan], [np.nan] * 3)
    expected = (3.5, 1.5, 2, 2, bootstrap_interval(values))
    assert summary(values) == expected
    assert summary(values, level=0.5).interval == bootstrap_interval(values, level=0.5)


def test_summary_of_nothing():
    found = summary(cases([np.nan]))
    assert np.isnan([found.mean, found.std, *found.interval]).all()
    assert (found.n_cases, found.n_seeds) == (0, 0)


# ---- bootstrap ----


def test_bootstrap_is_deterministic():
    values = pd.DataFrame(np.random.default_rng(0).normal(size=(12, 3)))
    assert bootstrap_interval(values) == bootstrap_interval(values)
    assert bootstrap_interval(values, seed=1) != bootstrap_interval(values)


def test_bootstrap_of_two_cases():
    # Resamples of {0, 4} have means 0, 2, 4 with probabilities 1/4, 1/2, 1/4.
    assert bootstrap_interval(cases([0], [4])) == (0, 4)
    assert bootstrap_interval(cases([0], [4]), level=0.4) == (2, 2)


def test_bootstrap_draws_the_same_seeds_for_all_cases():
    # No case differs from another: seeds {0, 2} alone give means 0, 1, 2 with probabilities 1/4,
    # 1/2, 1/4, however many cases there are.
    values = cases(*[[0, 2]] * 10)
    assert bootstrap_interval(values) == (0, 2)
    assert bootstrap_interval(values, level=0.4) == (1, 1)


def test_a_case_whose_drawn_seeds_lack_a_value_drops_out():
    # Case a has the values {0, -}, case b {4, 2}. Seeds drawn twice the first: a 0, b 4; once
    # each: a 0, b 3; twice the second: no a, b 2. With cases drawn aa, ab, bb (1/4, 1/2, 1/4) the
    # means are 0 (3/16), 1.5 (4/16), 2 (5/16), 3 (2/16), 4 (1/16); aa without a value (1/16) does
    # not count.
    values = cases([0, np.nan], [4, 2])
    assert bootstrap_interval(values, level=0.95) == (0, 4)
    assert bootstrap_interval(values, level=0.8) == (0, 3)
    assert bootstrap_interval(values, level=0.5) == (1.5, 2)


def test_equal_seeds_are_no_more_than_one():
    values = pd.DataFrame(np.random.default_rng(4).normal(size=(15, 1)))
    three = pd.concat([values] * 3, axis=1, keys=range(3))
    assert bootstrap_interval(three) == pytest.approx(bootstrap_interval(values))


def test_what_has_no_value_changes_nothing():
    values = pd.DataFrame(np.random.default_rng(6).normal(size=(9, 2)))
    padded = values.reindex(index=range(11), columns=range(3))
    assert bootstrap_interval(padded) == bootstrap_interval(values)


def test_bootstrap_needs_two_cases():
    for values in (cases(), cases([1, 2]), cases([1], [np.nan])):
        assert np.isnan(bootstrap_interval(values)).all()


def test_bootstrap_agrees_with_scipy():
    values = np.random.default_rng(5).normal(size=40)
    expected = stats.bootstrap(
        (values,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    ours = bootstrap_interval(pd.DataFrame(values), resamples=4000)
    assert ours == pytest.approx((expected.low, expected.high), abs=0.03)


def test_bootstrap_covers_the_true_mean_of_crossed_effects():
    # Seeds shift all cases alike, as much as cases differ. Drawing seeds within cases covers the
    # truth in 0.66 of the trials only, drawing them crossed in 0.90; 200 trials leave 0.02.
    random = np.random.default_rng(11)
    covered = 0
    for trial in range(200):
        values = random.normal(size=(20, 1)) + random.normal(size=(1, 8))
        low, high = bootstrap_interval(pd.DataFrame(values), resamples=300, seed=trial)
        covered += low <= 0 <= high
    assert 0.8 <= covered / 200 <= 0.97


@settings(max_examples=30)
@given(st.lists(st.floats(-5, 5), min_size=2, max_size=8))
def test_interval_lies_within_the_values(values):
    low, high = bootstrap_interval(pd.DataFrame(values), resamples=100)
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9


# ---- ranks ----


def row(ranks, arm):
    return ranks.table.set_index("arm").loc[arm]


def test_a_certain_ranking():
    base = pd.DataFrame(np.random.default_rng(0).normal(size=(10, 2)))
    values = {"second": base, "third": base - 0.1, "first": base + 0.1}
    # Cases differ far more than arms: only the same cases, and seeds, for all keep the order.
    ranks = rank_stability(values, "higher")
    assert ranks.table.columns.tolist() == ["arm", "rank", "rank_low", "rank_high", "first"]
    assert ranks.table.values.tolist() == [
        ["first", 1, 1, 1, 1],
        ["second", 2, 2, 2, 0],
        ["third", 3, 3, 3, 0],
    ]
    assert ranks.kendall_tau == pytest.approx(1)
    assert rank_stability(values, "lower").table["arm"].tolist() == ["third", "second", "first"]


def test_an_uncertain_ranking_by_hand():
    # Means of `uneven` are 0, 1.5, 3 with probabilities 1/4, 1/2, 1/4; `even` always has 1.
    ranks = rank_stability({"even": cases([1], [1]), "uneven": cases([0], [3])}, "higher")
    assert ranks.table["arm"].tolist() == ["uneven", "even"]
    assert ranks.table["rank"].tolist() == [1, 2]
    assert ranks.table["rank_low"].tolist() == [1, 1]
    assert ranks.table["rank_high"].tolist() == [2, 2]
    assert ranks.table["first"].tolist() == pytest.approx([0.75, 0.25], abs=0.04)
    # tau is 1 in 3/4 of the resamples and -1 in 1/4.
    assert ranks.kendall_tau == pytest.approx(0.5, abs=0.08)


def test_quantiles_of_ranks_are_ranks():
    # Of two resamples that disagree, an interpolated quantile would lie between the ranks.
    values = {"even": cases([1], [1]), "uneven": cases([0], [3])}
    tables = [rank_stability(values, "higher", resamples=2, seed=seed).table for seed in range(20)]
    found = pd.concat(tables)[["rank_low", "rank_high"]]
    assert set(found.to_numpy().ravel()) == {1, 2}


def test_ties_share_rank_and_first_place():
    values = cases([1], [4])
    ranks = rank_stability({"a": values, "b": values, "c": values - 1}, "higher")
    assert ranks.table["rank"].tolist() == [1.5, 1.5, 3]
    assert ranks.table["first"].tolist() == [0.5, 0.5, 0]
    assert np.isnan(rank_stability({"a": values, "b": values}, "higher").kendall_tau)


def test_a_resample_in_which_all_arms_tie_has_no_tau():
    # Drawing the first case twice ties the arms; every other resample ranks them alike.
    ranks = rank_stability({"a": cases([1], [2]), "b": cases([1], [1])}, "higher")
    assert ranks.kendall_tau == pytest.approx(1)
    assert row(ranks, "a")["first"] == pytest.approx(0.75 + 0.25 / 2, abs=0.03)


def test_only_cases_of_every_arm_count():
    # In the case that b lacks, a would be far behind.
    a = pd.DataFrame([2.0, 2.0, -90.0], index=["x", "y", "z"])
    b = pd.DataFrame([1.0, 1.0], index=["y", "x"])
    ranks = rank_stability({"a": a, "b": b}, "higher")
    assert ranks.table[["arm", "first"]].values.tolist() == [["a", 1], ["b", 0]]


def test_seeds_are_drawn_together_only_where_arms_have_the_same():
    seeds = cases(*[[0, 10]] * 5)
    together = rank_stability({"a": seeds + 1, "b": seeds[[1, 0]]}, "higher")
    assert row(together, "a")["first"] == 1
    # Means over seeds 1, 6, 11 against 0, 5, 10, with 1/4, 1/2, 1/4 each: 11 of 16.
    other = seeds.set_axis([2, 3], axis=1)
    apart = rank_stability({"a": seeds + 1, "b": other}, "higher")
    assert row(apart, "a")["first"] == pytest.approx(11 / 16, abs=0.04)


def test_a_case_drops_out_of_a_resample_for_all_arms():
    # With seed 1 alone, a lacks the case in which both are bad: it must not pull b down.
    a = cases([-9, np.nan], [1, 1], [1, 1])
    b = cases([-8, -8], [2, 2], [2, 2])
    assert row(rank_stability({"a": a, "b": b}, "higher"), "b")["first"] == 1


def test_ranks_of_too_little():
    alone = rank_stability({"a": cases([1], [2])}, "higher")
    assert alone.table.values.tolist() == [["a", 1, 1, 1, 1]]
    assert np.isnan(alone.kendall_tau)
    one_case = rank_stability({"a": cases([1]), "b": cases([2])}, "higher")
    assert one_case.table[["arm", "rank"]].values.tolist() == [["b", 1], ["a", 2]]
    assert one_case.table[["rank_low", "rank_high", "first"]].isna().all(axis=None)
    assert np.isnan(one_case.kendall_tau)
    none_shared = rank_stability({"a": cases([1]), "b": cases([np.nan])}, "higher")
    assert none_shared.table["rank"].isna().all()


def test_ranks_are_deterministic():
    random = np.random.default_rng(1)
    values = {name: pd.DataFrame(random.normal(size=(10, 2))) for name in "abc"}
    first, second = (rank_stability(values, "lower") for _ in range(2))
    pd.testing.assert_frame_equal(first.table, second.table)
    assert first.kendall_tau == second.kendall_tau != rank_stability(values, "lower", seed=1)[1]


# ---- margins ----


def test_interval_against_a_margin():
    interval = Interval(-0.01, 0.02)
    assert interval.against(0.03) == "below"
    assert interval.against(-0.02) == "above"
    assert interval.against(0) == "astride"
    assert interval.against(0.02) == "astride"
    assert Interval(np.nan, np.nan).against(0) == "astride"


# ---- spread over seeds ----


def test_spread_over_seeds_by_hand():
    # Means over cases: 2, 4 and (the case without a value left out) 3.
    table = cases([1, 4, np.nan], [3, 4, 3])
    assert std_over_seeds(table) == pytest.approx(1.0)


def test_one_seed_has_no_spread():
    assert np.isnan(std_over_seeds(cases([1, np.nan], [3, np.nan])))
