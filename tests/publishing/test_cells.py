import numpy as np
import pandas as pd
import pytest

from piecemeal.publishing.cells import average_grid, completed


def grid(values, cases, seeds=(0, 1)):
    return pd.DataFrame(values, index=list(cases), columns=list(seeds), dtype=float)


@pytest.mark.parametrize("sizes", [(5, 4, 4), (3, 3), (7, 1), (4,)])
def test_the_mean_of_columns_of_other_cases_varies_as_much_as_theirs(sizes):
    """Of independent means, variances add up; a mean over columns is a sum of these."""
    rng = np.random.default_rng(0)
    names = iter("abcdefghijklm")
    columns = [grid(rng.random((n, 1)), [next(names) for _ in range(n)], [0]) for n in sizes]
    average = average_grid(columns)
    means, spread = average[0], sum(c[0].var(ddof=0) / len(c) for c in columns) ** 0.5
    assert means.mean() == pytest.approx(np.mean([c[0].mean() for c in columns]))
    assert means.std(ddof=0) / len(means) ** 0.5 == pytest.approx(spread / len(sizes))


def test_runs_vary_in_an_average_as_in_its_columns():
    """The mean of seed 0 is 0.3 in one column of two cases, 0.6 in another of one."""
    first, second = grid([[0.2, 0.4], [0.4, 0.8]], "pq"), grid([[0.6, 0.0]], "r")
    assert average_grid([first, second]).mean().tolist() == pytest.approx([0.45, 0.3])


def test_completing_keeps_the_mean():
    lacking = grid([[0.2, np.nan], [0.8, 0.4]], "pq")
    full = completed(lacking, pd.Index(["p", "q", "r"]), pd.Index([0, 1]))
    # p lacks seed 1 and takes its own 0.2; r is not there and takes (0.2 + 0.6) / 2. The distances
    # from it grow by 3 / 2.
    expected = grid([[0.1, 0.1], [1.0, 0.4], [0.4, 0.4]], "pqr")
    pd.testing.assert_frame_equal(full, expected)


def test_the_average_of_unequal_columns_is_the_mean_of_their_means():
    first, second = grid([[0.2, 0.4], [0.8, 0.6]], "pq"), grid([[0.5, np.nan]], "q")
    average = average_grid([first, second])
    assert list(average.index) == ["p", "q"]
    assert average.mean(axis=1).mean() == pytest.approx((0.5 + 0.5) / 2)
    assert average.loc["q"].tolist() == pytest.approx([(0.8 + 0.5) / 2, (0.6 + 0.5) / 2])
