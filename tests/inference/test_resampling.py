import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from piecemeal.datasets.grid import Geometry, resample_from_grid
from piecemeal.inference.resampling import ToNative

CPU = torch.device("cpu")


def geometry(native, spacing, grid_spacing, size):
    return Geometry((1, *native), (5, *spacing), np.eye(4), grid_spacing, (1, size, size))


def native_plane(plane, there):
    """(classes, y, x) of the whole native plane, 0 outside the grid."""
    to_native = ToNative(there, CPU)
    whole = np.zeros((len(plane), *there.native_shape[1:]), np.float32)
    whole[:, *to_native.inside] = to_native(torch.from_numpy(plane)).numpy()
    return whole


def test_voxel_centres_worked_by_hand():
    # Two grid pixels of 4 mm have centres at -2, 2 mm; native ones of 2 mm at -5, -3, -1, 1, 3, 5,
    # of which the outer ones lie beyond the grid, and the next take the value of its border.
    plane = np.array([[[0, 8], [0, 8]]], np.float32)
    found = native_plane(plane, geometry((6, 6), (2, 2), 4, 2))
    assert found[0, 2].tolist() == [0, 0, 2, 6, 8, 0]
    assert found[0, :, 3].tolist() == [0, 6, 6, 6, 6, 0]


def test_rows_and_columns_have_their_own_spacing():
    plane = np.random.default_rng(0).random((1, 4, 4), np.float32)
    to_native = ToNative(geometry((2, 8), (2, 0.5), 1, 4), CPU)
    assert to_native.inside == (slice(0, 2), slice(0, 8))
    found = to_native(torch.from_numpy(plane))
    np.testing.assert_allclose(found[0, 0, 0], plane[0, :2, 0].mean(), rtol=1e-6)


def test_a_scan_that_falls_between_the_grid_pixels():
    there = geometry((2, 2), (100, 100), 1, 4)
    assert native_plane(np.ones((2, 4, 4), np.float32), there).sum() == 0


@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.tuples(st.floats(0.3, 4), st.floats(0.3, 4)),
    st.floats(0.3, 4),
    st.integers(1, 32),
)
def test_agrees_with_the_grid(native, spacing, grid_spacing, size):
    plane = np.random.default_rng(0).dirichlet([1, 1, 1], (size, size)).astype(np.float32)
    plane = np.ascontiguousarray(plane.transpose(2, 0, 1))
    there = geometry(native, spacing, grid_spacing, size)
    expected = resample_from_grid(plane[:, None], there, order=1)[:, 0]
    found = native_plane(plane, there)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    second, first = np.sort(expected, axis=0)[-2:]
    clear = first - second > 2e-5
    np.testing.assert_array_equal(found.argmax(0)[clear], expected.argmax(0)[clear])
    np.testing.assert_array_equal((found == 0).all(0), (expected == 0).all(0))
