"""Normalising intensities, one kind a modality."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from piecemeal.datasets.intensity import normalise
from piecemeal.errors import InputError

FILE = Path("scan.nii.gz")
WINDOW = {"kind": "window", "low": -200.0, "high": 200.0, "scale": [-1, 1]}
PERCENTILES = {"kind": "percentiles", "low": 1.0, "high": 99.0, "above": 0.0, "scale": [0, 1]}


def test_zscore_has_no_mean_and_unit_deviation():
    image = np.random.default_rng(0).normal(300, 40, (3, 8, 8)).astype(np.float32)
    normal = normalise(image, {"kind": "zscore"}, FILE)
    assert normal.dtype == np.float32
    assert abs(normal.mean()) < 1e-5
    assert normal.std() == pytest.approx(1, abs=1e-5)


def test_a_window_is_clipped_and_scaled():
    hu = np.array([-1024, -200, -100, 0, 50, 200, 3000], np.float32)
    np.testing.assert_allclose(normalise(hu, WINDOW, FILE), [-1, -1, -0.5, 0, 0.25, 1, 1])


def test_percentiles_are_those_of_the_voxels_above():
    body = np.arange(1, 102, dtype=np.float32)  # 1st and 99th percentile: 2 and 100
    image = np.concatenate([np.zeros(500, np.float32), body])
    normal = normalise(image, PERCENTILES, FILE)
    np.testing.assert_allclose(normal[[0, 500, 501, 550, 599, 600]], [0, 0, 0, 0.5, 1, 1])
    of_all = normalise(image, PERCENTILES | {"above": None}, FILE)
    assert of_all[550] < 0.6 < of_all[599]


def test_the_image_itself_stays_as_it_is():
    image = np.linspace(-500, 500, 11, dtype=np.float32)
    before = image.copy()
    for how in ({"kind": "zscore"}, WINDOW, PERCENTILES):
        normalise(image, how, FILE)
        np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("how", [{"kind": "zscore"}, PERCENTILES], ids=["zscore", "percentiles"])
def test_a_constant_volume_is_refused(how):
    with pytest.raises(InputError, match=r"scan\.nii\.gz: .*leave it out"):
        normalise(np.full((2, 3, 3), 7, np.float32), how, FILE)


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (-90, -86), (800, 3000)], ids=["scaled", "narrow", "outside"]
)
def test_a_volume_that_is_next_to_constant_in_the_window_is_refused(low, high):
    image = np.linspace(low, high, 8, dtype=np.float32).reshape(2, 2, 2)
    how = {"kind": "window", "low": -200, "high": 300, "scale": (0, 1)}
    said = f"scan: its intensities, {low} to {high}, are next to constant within the window"
    with pytest.raises(InputError, match=said):
        normalise(image, how, "scan")


def test_a_volume_without_a_voxel_above_is_refused():
    with pytest.raises(InputError, match="no voxel lies above 0"):
        normalise(np.full((2, 3, 3), -5, np.float32), PERCENTILES, FILE)


@given(st.lists(st.floats(-2000, 3000, width=32), min_size=2, max_size=40))
def test_a_window_keeps_the_order_and_its_limits(values):
    hu = np.array([-2000, *sorted(values), 3000], np.float32)
    scaled = normalise(hu, WINDOW, FILE)
    assert (np.diff(scaled) >= 0).all()
    assert scaled.min() >= -1 - 1e-6
    assert scaled.max() <= 1 + 1e-6
