"""Splitting what merges both sides, and refusing what is mirrored. x runs to the left."""

from pathlib import Path

import numpy as np
import pytest

from piecemeal.datasets.sides import check_sides, split_sides
from piecemeal.errors import InputError

FILE = Path("labels.nii.gz")
SHAPE = (4, 12, 40)


def body() -> np.ndarray:
    """A body in air: columns 4 to 35, its mid-plane at 19.5."""
    image = np.full(SHAPE, -1000, np.float32)
    image[:, 2:, 4:36] = 50
    return image


def organs(*columns: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    for first, last in columns:
        mask[1:3, 5:8, first : last + 1] = True
    return mask


def test_two_components_are_the_two_sides():
    mask = organs((8, 12), (25, 31))
    left, note = split_sides(mask, body())
    assert note == ""
    np.testing.assert_array_equal(left, organs((25, 31)))


def test_both_organs_may_lie_on_one_side_of_the_mid_plane():
    left, note = split_sides(organs((21, 24), (28, 33)), body())
    assert note == ""
    np.testing.assert_array_equal(left, organs((28, 33)))


def test_a_crumb_goes_to_the_nearer_organ():
    mask = organs((6, 13), (26, 33))
    mask[0, 0, 30] = mask[0, 0, 10] = True
    left, _ = split_sides(mask, body())
    assert left[0, 0, 30]
    assert not left[0, 0, 10]
    assert np.count_nonzero(left) == np.count_nonzero(organs((26, 33))) + 1


def test_organs_that_touch_are_split_at_the_mid_plane_of_the_body():
    left, note = split_sides(organs((10, 29)), body())
    assert note == "both sides touch: split at the mid-plane of the body"
    np.testing.assert_array_equal(left, organs((20, 29)))


@pytest.mark.parametrize(("columns", "side"), [((8, 13), "right"), ((27, 31), "left")])
def test_one_organ_stays_whole_on_its_side(columns, side):
    mask = organs(columns)
    left, note = split_sides(mask, body())
    assert note == f"one organ only, on the {side} of the mid-plane"
    assert np.count_nonzero(left) == (np.count_nonzero(mask) if side == "left" else 0)


def test_one_organ_that_reaches_a_little_across_stays_whole():
    mask = organs((8, 19))
    mask[1, 5, 20] = True
    left, note = split_sides(mask, body())
    assert note == "one organ only, on the right of the mid-plane"
    assert not left.any()


def test_nothing_to_split_is_nothing_on_either_side():
    left, note = split_sides(np.zeros(SHAPE, bool), body())
    assert note == ""
    assert not left.any()


def test_the_sides_together_are_the_whole():
    for columns in (((8, 12), (25, 31)), ((10, 29),), ((8, 13),)):
        mask = organs(*columns)
        left, _ = split_sides(mask, body())
        assert not (left & ~mask).any()


def test_a_mirrored_scan_is_refused():
    ids = np.zeros(SHAPE, np.uint8)
    ids[1, 5, 8:14] = 1  # on the right
    ids[1, 5, 28:31] = 2
    numbers = {"liver": 1, "spleen": 2, "stomach": 3}
    pairs = [("liver", "spleen"), ("liver", "stomach")]
    check_sides(ids, numbers, pairs, FILE)
    with pytest.raises(InputError, match=r"labels\.nii\.gz: liver lies to .* left of spleen"):
        check_sides(ids[:, :, ::-1], numbers, pairs, FILE)


def test_one_organ_in_pieces_is_one_organ():
    """A left kidney that a cyst cuts in two, one piece above the other."""
    mask = np.zeros(SHAPE, bool)
    mask[0, 5:8, 27:32] = mask[2:, 5:8, 28:33] = True
    left, note = split_sides(mask, body())
    assert note == "one organ only, on the left of the mid-plane"
    np.testing.assert_array_equal(left, mask)


def test_the_small_organ_of_the_other_side_is_not_lost_beside_two_large_pieces():
    mask = np.zeros(SHAPE, bool)
    mask[0, 3:9, 27:32] = mask[2:, 3:9, 27:33] = True
    right = organs((9, 11))
    left, note = split_sides(mask | right, body())
    assert note == ""
    np.testing.assert_array_equal(left, mask)
