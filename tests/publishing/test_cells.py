import numpy as np
import pandas as pd
import pytest

from piecemeal.publishing.cells import average_grid, completed


def grid(values, cases, seeds=(0, 1)):
    return pd.DataFrame(values, index=list(cases), columns=list(seeds), dtype=float)


def test_completing_keeps_the_mean():
    lacking = grid([[0.2, np.nan], [0.8, 0.4]], "pq")
    full = completed(lacking, pd.Index(["p", "q", "r"]), pd.Index([0, 1]))
    # p lacks seed 1 and takes its own 0.2; r is not there and takes (0.2 + 0.6) / 2.
    expected = grid([[0.2, 0.2], [0.8, 0.4], [0.4, 0.4]], "pqr")
    pd.testing.assert_frame_equal(full, expected)


def test_the_average_of_unequal_columns_is_the_mean_of_their_means():
    first, second = grid([[0.2, 0.4], [0.8, 0.6]], "pq"), grid([[0.5, np.nan]], "q")
    average = average_grid([first, second])
    assert list(average.index) == ["p", "q"]
    assert average.mean(axis=1).mean() == pytest.approx((0.5 + 0.5) / 2)
    assert average.loc["q"].tolist() == pytest.approx([(0.8 + 0.5) / 2, (0.6 + 0.5) / 2])
