import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from piecemeal.datasets.grid import Geometry, resample_from_grid, resample_to_grid


def geometry(shape, spacing, grid_spacing, size):
    grid_shape = (shape[0], size, size)
    return Geometry(shape, spacing, np.eye(4), grid_spacing, grid_shape)


def blobs(shape, spacing):
    """Class ids of two smooth blobs, (z, y, x), in the middle of the plane."""
    y, x = (
        (np.arange(size) - (size - 1) / 2) * step
        for size, step in zip(shape[1:], spacing[1:], strict=True)
    )
    y, x = np.meshgrid(y, x, indexing="ij")
    plane = np.where((y / 30) ** 2 + (x / 40) ** 2 < 1, 1, 0)
    plane[(y + 5) ** 2 + (x - 8) ** 2 < 15**2] = 2
    return np.repeat(plane[None].astype(np.uint8), shape[0], axis=0)


def dice(first, second, label):
    first, second = first == label, second == label
    return 2 * np.sum(first & second) / (first.sum() + second.sum())


def test_voxel_centres_worked_by_hand():
    # Four pixels of 2 mm have centres at -3, -1, 1, 3 mm; five grid pixels of 1 mm at -2 to 2.
    row = np.tile(np.array([0.0, 10, 20, 30], np.float32), (1, 4, 1))
    grid = resample_to_grid(row, (5, 2, 2), 1, 5, order=1)
    np.testing.assert_allclose(grid[0, 2], [5, 10, 15, 20, 25], rtol=1e-6)


def test_outer_half_of_border_pixels_belongs_to_the_scan():
    # Two pixels of 2 mm span -2 to 2 mm; six grid pixels of 1 mm sit at -2.5, -1.5, ... 2.5.
    plane = np.array([[[3, 4], [3, 4]]], np.uint8)
    grid = resample_to_grid(plane, (5, 2, 2), 1, 6, order=0)
    assert grid[0, 2].tolist() == [0, 3, 3, 4, 4, 0]
    assert grid[0, :, 1].tolist() == [0, 3, 3, 3, 3, 0]


def test_same_spacing_is_a_centre_crop():
    volume = np.random.default_rng(0).normal(size=(2, 8, 6)).astype(np.float32)
    np.testing.assert_array_equal(
        resample_to_grid(volume, (9, 1, 1), 1, 4, order=1), volume[:, 2:6, 1:5]
    )


def test_same_spacing_is_a_centre_pad():
    volume = np.random.default_rng(0).normal(size=(2, 4, 2)).astype(np.float32)
    grid = resample_to_grid(volume, (9, 1, 1), 1, 6, order=1)
    expected = np.zeros((2, 6, 6), np.float32)
    expected[:, 1:5, 2:4] = volume
    np.testing.assert_array_equal(grid, expected)


@pytest.mark.parametrize(("native", "size"), [(7, 10), (8, 11), (8, 10), (7, 11)])
def test_labels_come_back_exactly_at_equal_spacing(native, size):
    labels = np.random.default_rng(0).integers(0, 4, (2, native, native)).astype(np.uint8)
    grid = resample_to_grid(labels, (9, 0.98, 0.98), 0.98, size, order=0)
    there = geometry(labels.shape, (9, 0.98, 0.98), 0.98, size)
    np.testing.assert_array_equal(resample_from_grid(grid, there, order=0), labels)


def test_rows_and_columns_have_their_own_spacing():
    volume = np.zeros((1, 4, 8), np.uint8)
    volume[0, 1:3, 2:6] = 1  # 2 rows of 2 mm, 4 columns of 1 mm
    grid = resample_to_grid(volume, (9, 2, 1), 1, 8, order=0)
    expected = np.zeros((8, 8), np.uint8)
    expected[2:6, 2:6] = 1
    np.testing.assert_array_equal(grid[0], expected)


@given(
    st.integers(60, 90),
    st.integers(60, 90),
    st.floats(1.2, 2.0),
    st.floats(1.2, 1.6),
)
def test_labels_survive_the_way_to_the_grid_and_back(rows, columns, step, grid_step):
    shape, spacing = (2, rows, columns), (8.0, step, step)
    labels = blobs(shape, spacing)
    grid = resample_to_grid(labels, spacing, grid_step, 96, order=0)
    back = resample_from_grid(grid, geometry(shape, spacing, grid_step, 96), order=0)
    assert back.dtype == np.uint8
    assert back.shape == shape
    for label in (1, 2):
        assert dice(back, labels, label) > 0.95


def test_probabilities_survive_the_way_back():
    shape, spacing = (3, 100, 90), (10.0, 1.5625, 1.5625)
    labels = blobs(shape, spacing)
    grid = resample_to_grid(labels, spacing, 1.36719, 128, order=0)
    probabilities = np.stack([grid == label for label in range(3)]).astype(np.float32)
    back = resample_from_grid(probabilities, geometry(shape, spacing, 1.36719, 128), order=1)
    assert back.shape == (3, *shape)
    np.testing.assert_allclose(back.sum(0), 1, atol=1e-5)
    for label in (1, 2):
        assert dice(back.argmax(0), labels, label) > 0.95


def test_beyond_the_grid_is_background():
    there = geometry((1, 10, 10), (5, 1, 1), 1, 4)
    back = resample_from_grid(np.full((2, 1, 4, 4), 0.5, np.float32), there, order=1)
    assert back[:, 0, 3:7, 3:7].min() == 0.5
    assert back.sum() == pytest.approx(0.5 * 2 * 16)


def test_plane_that_falls_between_the_grid_pixels():
    grid = resample_to_grid(np.ones((2, 2, 2), np.float32), (1, 0.01, 0.01), 1, 4, order=1)
    assert not grid.any()


def test_is_fast_enough_for_every_prediction():
    probabilities = np.random.default_rng(0).random((4, 10, 128, 128), np.float32)
    there = geometry((10, 256, 216), (10, 1.5625, 1.5625), 1.36719, 128)
    start = time.perf_counter()
    resample_from_grid(probabilities, there, order=1)
    assert time.perf_counter() - start < 0.5
