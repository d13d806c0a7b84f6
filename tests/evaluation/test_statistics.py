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
    paired_differences,
    signed_rank_p,
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


# ---- signed-rank test ----


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


def test_signed_rank_without_differences():
    assert signed_rank_p(cases([0], [0])) == 1
    assert np.isnan(signed_rank_p(cases()))
    assert np.isnan(signed_rank_p(cases([np.nan])))


# ---- pairing and averaging ----


def test_pairs_by_index_and_averages_within_the_case():
    names = ["case", "structure", "seed"]
    first = pd.Series(
        {("a", "x", 0): 5.0, ("a", "y", 0): 3.0, ("b", "x", 0): 1.0, ("a", "x", 1): 9.0}
    ).rename_axis(names)
    second = pd.Series(
        {("a", "y", 0): 2.0, ("a", "x", 0): 1.0, ("b", "x", 0): np.nan, ("a", "x", 1): 8.0}
    ).rename_axis(names)
    table = by_case(paired_differences(first, second), ["case"])
    # Case a, seed 0: (5 - 1 + 3 - 2) / 2; seed 1: 9 - 8. Case b has no partner.
    assert table.to_dict() == {0: {"a": 2.5}, 1: {"a": 1.0}}


def test_every_case_has_the_same_weight():
    # The second case was scored with one seed only: (1 + 5) / 2, not (1 + 1 + 5) / 3.
    assert mean_over_cases(cases([1, 1], [5, np.nan])) == 3
    assert np.isnan(mean_over_cases(cases()))


# ---- bootstrap ----


def test_bootstrap_is_deterministic():
    values = pd.DataFrame(np.random.default_rng(0).normal(size=(12, 3)))
    assert bootstrap_interval(values) == bootstrap_interval(values)
    assert bootstrap_interval(values, seed=1) != bootstrap_interval(values)


def test_bootstrap_of_two_cases():
    # Resamples of {0, 4} have means 0, 2, 4 with probabilities 1/4, 1/2, 1/4.
    assert bootstrap_interval(cases([0], [4])) == (0, 4)
    assert bootstrap_interval(cases([0], [4]), level=0.4) == (2, 2)


def test_bootstrap_resamples_seeds_within_cases():
    # The case means are all 1, so only the seeds within them vary.
    low, high = bootstrap_interval(cases(*[[0, 2]] * 10))
    assert 0.3 < low < 1 < high < 1.7


def test_bootstrap_draws_no_absent_seed():
    values = cases([1, np.nan, 1], [np.nan, 1, np.nan], [np.nan] * 3)
    assert bootstrap_interval(values) == (1, 1)


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


def test_bootstrap_covers_the_true_mean():
    # Cases vary with deviation 1, seeds within them with deviation 0.5. Percentile intervals of 30
    # cases cover a little less than their level; 200 trials leave a deviation of 1.7 %.
    random = np.random.default_rng(11)
    covered = 0
    for _ in range(200):
        values = random.normal(size=(30, 1)) + random.normal(0, 0.5, size=(30, 3))
        low, high = bootstrap_interval(pd.DataFrame(values), resamples=300)
        covered += low <= 0 <= high
    assert 0.88 <= covered / 200 <= 1


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(-5, 5), min_size=2, max_size=8))
def test_interval_lies_within_the_values(values):
    low, high = bootstrap_interval(pd.DataFrame(values), resamples=100)
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9


# ---- margins ----


def test_interval_against_a_margin():
    interval = Interval(-0.01, 0.02)
    assert interval.against(0.03) == "below"
    assert interval.against(-0.02) == "above"
    assert interval.against(0) == "astride"
    assert interval.against(0.02) == "astride"
    assert Interval(np.nan, np.nan).against(0) == "astride"
