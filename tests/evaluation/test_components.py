"""Keeping the largest component, on volumes small enough to see the answer."""

import numpy as np

from piecemeal.evaluation.components import largest_component


def test_only_the_largest_component_of_each_structure_stays():
    labels = np.array([[1, 1, 0, 1], [0, 0, 0, 0], [2, 0, 2, 2]], np.uint8)
    expected = np.array([[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 2, 2]], np.uint8)
    cleaned = largest_component(labels, [1, 2])
    assert cleaned.dtype == np.uint8
    np.testing.assert_array_equal(cleaned, expected)
    assert labels[2, 0] == 2  # the input stays as it was


def test_other_structures_are_left_alone():
    labels = np.array([[1, 0, 1, 1], [2, 0, 2, 2]])
    np.testing.assert_array_equal(largest_component(labels, [2]), [[1, 0, 1, 1], [0, 0, 2, 2]])


def test_diagonal_neighbours_are_apart():
    labels = np.array([[1, 1, 0], [0, 0, 1], [0, 0, 0]])
    np.testing.assert_array_equal(largest_component(labels, [1]), [[1, 1, 0], [0, 0, 0], [0, 0, 0]])


def test_slices_connect_in_3d():
    # One voxel in each of three slices, stacked, beats two voxels side by side.
    labels = np.zeros((3, 2, 4), int)
    labels[:, 0, 0] = 1
    labels[1, 1, 2:] = 1
    cleaned = largest_component(labels, [1])
    assert cleaned[:, 0, 0].tolist() == [1, 1, 1]
    assert cleaned.sum() == 3


def test_of_equals_the_first_stays():
    np.testing.assert_array_equal(
        largest_component(np.array([[0, 0, 1], [1, 0, 1], [1, 0, 0]]), [1]),
        [[0, 0, 1], [0, 0, 1], [0, 0, 0]],
    )
    labels = np.zeros((2, 3, 3), int)
    labels[0, 2, 2] = labels[1, 0, 0] = 1
    assert np.flatnonzero(largest_component(labels, [1])).tolist() == [8]


def test_absent_structures_and_empty_volumes():
    empty = np.zeros((2, 2, 2), np.int16)
    np.testing.assert_array_equal(largest_component(empty, [1, 2]), empty)
    full = np.ones((2, 2, 2), np.int16)
    np.testing.assert_array_equal(largest_component(full, [1, 2]), full)
