"""Planes of the grid on their way back to the voxels of the scan."""

import weakref

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from piecemeal.bitmasks import bit
from piecemeal.datasets.grid import Geometry, resample_from_grid
from piecemeal.inference.resampling import ToNative

CPU = torch.device("cpu")


def geometry(native, spacing, grid_spacing, grid_shape):
    return Geometry(native, spacing, np.eye(4), grid_spacing, grid_shape)


def of_plane(native, spacing, pixel, size):
    """One slice that stays as it is, on `size` x `size` pixels."""
    return geometry((1, *native), (5, *spacing), (5, pixel, pixel), (1, size, size))


def of_slices(native, spacing, grid, grid_spacing):
    """Slices of two pixels that stay as they are."""
    return geometry((native, 1, 2), (spacing, 1, 1), (grid_spacing, 1, 1), (grid, 1, 2))


def native_volume(volume, there):
    """(classes, z, y, x) of the whole scan, 0 outside the grid."""
    to_native = ToNative(there, CPU)
    whole = np.zeros((len(volume), *there.native_shape), np.float32)
    planes = to_native.probabilities(torch.from_numpy(volume).transpose(0, 1))
    where = range(there.native_shape[0])[to_native.inside[0]]
    for z, plane in zip(where, planes, strict=True):
        whole[:, z, *to_native.inside[1:]] = plane.numpy()
    return whole


def native_plane(plane, there):
    return native_volume(plane[:, None], there)[:, 0]


def slices(*values):
    """Probabilities (classes, z, y, x) of two classes, the same in the two pixels of a slice."""
    first = np.array(values, np.float32)[:, None, None].repeat(2, 2)
    return np.stack([first, 1 - first])


def test_voxel_centres_worked_by_hand():
    # Two grid pixels of 4 mm have centres at -2, 2 mm; native ones of 2 mm at -5, -3, -1, 1, 3, 5,
    # of which the outer ones lie beyond the grid, and the next take the value of its border.
    plane = np.array([[[0, 8], [0, 8]]], np.float32)
    found = native_plane(plane, of_plane((6, 6), (2, 2), 4, 2))
    assert found[0, 2].tolist() == [0, 0, 2, 6, 8, 0]
    assert found[0, :, 3].tolist() == [0, 6, 6, 6, 6, 0]


def test_rows_and_columns_have_their_own_spacing():
    plane = np.random.default_rng(0).random((1, 4, 4), np.float32)
    to_native = ToNative(of_plane((2, 8), (2, 0.5), 1, 4), CPU)
    assert to_native.inside == (slice(0, 1), slice(0, 2), slice(0, 8))
    (found,) = to_native.probabilities([torch.from_numpy(plane)])
    np.testing.assert_allclose(found[0, 0, 0], plane[0, :2, 0].mean(), rtol=1e-6)


def test_slices_between_those_of_the_grid_worked_by_hand():
    """Grid slices of 4 mm at -2, 2 mm; native ones of 2 mm at -5, -3, -1, 1, 3, 5 mm."""
    there = of_slices(6, 2, 2, 4)
    assert ToNative(there, CPU).inside[0] == slice(1, 5)
    found = native_volume(slices(0, 1), there)
    assert found[0, :, 0, 0].tolist() == [0, 0, 0.25, 0.75, 1, 0]
    assert found[1, :, 0, 1].tolist() == [0, 1, 0.75, 0.25, 0, 0]


def test_slices_that_pass_over_some_of_the_grid_worked_by_hand():
    """Grid slices of 1 mm at -2.5 to 2.5 mm; native ones of 3.5 mm at -1.75 and 1.75 mm."""
    found = native_volume(slices(0.9, 0, 0.8, 0.9, 0.4, 0.2), of_slices(2, 3.5, 6, 1))
    np.testing.assert_allclose(found[0, :, 0, 0], [0.9 / 4, 0.75 * 0.4 + 0.25 * 0.2], rtol=1e-6)


def test_the_likelier_class_is_taken_between_the_slices():
    """The grid says class 1, then class 0; outside the grid is background."""
    volume = torch.from_numpy(slices(0, 1)).transpose(0, 1)
    ids = ToNative(of_slices(6, 2, 2, 4), CPU)(volume)
    assert ids.dtype == torch.uint8
    assert ids[:, 0].tolist() == [[0, 0], [1, 1], [1, 1], [0, 0], [0, 0], [0, 0]]


def test_bits_are_set_from_one_half_on():
    """Grid slices say class 0, then class 1; a quarter and three quarters lie between them."""
    volume = torch.from_numpy(slices(0, 1)).transpose(0, 1)
    bits = ToNative(of_slices(6, 2, 2, 4), CPU)(volume, [1, 0])
    assert bits.dtype == torch.uint8
    assert bits[:, 0, 0].tolist() == [0, 1, 1, 2, 2, 0]
    volume = torch.tensor([0.5, 0.4999, 0.5, 1]).view(1, 4, 1, 1).expand(1, 4, 1, 2)
    assert ToNative(of_slices(1, 2, 1, 2), CPU)(volume, [0, 1, 2]).tolist() == [[[5, 5]]]


def test_eight_structures_may_be_in_one_voxel():
    volume = torch.ones(1, 9, 1, 2)
    bits = ToNative(of_slices(1, 2, 1, 2), CPU)(volume, range(1, 9))
    assert bits.tolist() == [[[255, 255]]]


def test_a_scan_that_falls_between_the_grid_pixels():
    there = of_plane((2, 2), (100, 100), 1, 4)
    assert native_plane(np.ones((2, 4, 4), np.float32), there).sum() == 0


def test_a_scan_that_falls_between_the_grid_slices():
    asked = []
    planes = (asked.append(z) or torch.ones(2, 1, 2) for z in range(4))
    assert not ToNative(of_slices(2, 100, 4, 1), CPU)(planes).any()
    assert asked == []


@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.tuples(st.floats(0.3, 4), st.floats(0.3, 4)),
    st.floats(0.3, 4),
    st.integers(1, 32),
)
def test_agrees_with_the_grid_in_the_plane(native, spacing, pixel, size):
    plane = np.random.default_rng(0).dirichlet([1, 1, 1], (size, size)).astype(np.float32)
    plane = np.ascontiguousarray(plane.transpose(2, 0, 1))
    agree(plane[:, None], of_plane(native, spacing, pixel, size))


SPACINGS = st.tuples(*3 * [st.floats(0.3, 4)])
SHAPES = st.tuples(*3 * [st.integers(1, 14)])


@given(SHAPES, SPACINGS, SHAPES, SPACINGS)
def test_agrees_with_the_grid_in_space(native, spacing, grid_shape, grid_spacing):
    volume = np.random.default_rng(0).dirichlet([1, 1, 1], grid_shape).astype(np.float32)
    volume = np.ascontiguousarray(volume.transpose(3, 0, 1, 2))
    agree(volume, geometry(native, spacing, grid_spacing, grid_shape))


def agree(volume, there):
    expected = resample_from_grid(volume, there, order=1)
    found = native_volume(volume, there)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    second, first = np.sort(expected, axis=0)[-2:]
    clear = first - second > 2e-5
    outside = (expected == 0).all(0)
    np.testing.assert_array_equal((found == 0).all(0), outside)
    ids = ToNative(there, CPU)(torch.from_numpy(volume).transpose(0, 1)).numpy()
    np.testing.assert_array_equal(ids[clear], expected.argmax(0)[clear])
    assert not ids[outside].any()
    bits = ToNative(there, CPU)(torch.from_numpy(volume).transpose(0, 1), [2, 1]).numpy()
    for k, c in enumerate([2, 1]):
        clear = abs(expected[c] - 0.5) > 2e-5
        np.testing.assert_array_equal(bit(bits, k)[clear], (expected[c] >= 0.5)[clear])


def test_labels_of_the_nearest_voxel_worked_by_hand():
    """Grid slices of 4 mm at -4, 0, 4 mm; native ones of 2 mm at -5, -3, -1, 1, 3, 5 mm.

    Of class 1 the slices have 0.4, 0.45 and 1: between the last two it is the likelier one at 3 mm
    only, where linear interpolation has it from 1 mm on.
    """
    volume = torch.from_numpy(slices(0.6, 0.55, 0)).transpose(0, 1)
    there = of_slices(6, 2, 3, 4)
    assert ToNative(there, CPU, nearest=True)(volume)[:, 0, 0].tolist() == [0, 0, 0, 0, 1, 1]
    assert ToNative(there, CPU)(volume)[:, 0, 0].tolist() == [0, 0, 0, 1, 1, 1]


@given(st.tuples(st.integers(1, 6), *2 * [st.integers(1, 9)]), st.integers(0, 2**32 - 1))
def test_nearest_labels_are_those_of_the_way_that_labels_go(native, seed):
    rng = np.random.default_rng(seed)
    spacing, grid_spacing = (tuple(rng.choice([0.5, 1, 1.5, 3, 4.1], 3)) for _ in range(2))
    grid = tuple(rng.integers(1, 9, 3).tolist())
    volume = rng.random((3, *grid)).astype(np.float32)
    there = geometry(native, spacing, grid_spacing, grid)
    found = ToNative(there, CPU, nearest=True)(torch.from_numpy(volume).transpose(0, 1)).numpy()
    np.testing.assert_array_equal(found, resample_from_grid(volume.argmax(0), there, order=0))


@given(SHAPES)
def test_where_nothing_is_resampled_planes_come_as_they_are(shape):
    volume = np.random.default_rng(0).random((2, *shape), np.float32)
    there = geometry(shape, (3.3, 0.7, 0.9), (3.3, 0.7, 0.9), shape)
    assert native_volume(volume, there).tobytes() == volume.tobytes()


@pytest.mark.parametrize(
    "there", [of_slices(30, 1, 10, 3), of_slices(10, 3, 30, 1), of_slices(9, 1, 9, 1)]
)
def test_no_more_than_two_planes_are_held(there):
    alive, counts = weakref.WeakSet(), []

    def planes():
        for z in range(there.grid_shape[0]):
            plane = torch.full((2, 1, 2), float(z))
            alive.add(plane)
            counts.append(len(alive))
            yield plane
            del plane

    for _ in ToNative(there, CPU).probabilities(planes()):
        counts.append(len(alive))
    assert max(counts) == 2


def test_a_plane_is_asked_for_when_a_slice_needs_it_and_none_after_the_last():
    """Four native slices of 2 mm at -3 to 3 mm; grid slices of 2 mm at -5 to 5 mm."""
    asked = []
    planes = (asked.append(z) or torch.ones(2, 1, 2) for z in range(6))
    found = ToNative(of_slices(4, 2, 6, 2), CPU).probabilities(planes)
    assert [len(asked) for _ in found] == [2, 3, 4, 5]
    assert asked == [0, 1, 2, 3, 4]
