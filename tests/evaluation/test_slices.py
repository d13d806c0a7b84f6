"""Distances slice by slice, on slices worked out by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from piecemeal.errors import InputError
from piecemeal.evaluation.metrics import evaluate
from piecemeal.evaluation.slices import COLUMNS, slice_distances

EMPTY = [[0, 0, 0, 0], [0, 0, 0, 0]]
LEFT = [[1, 0, 0, 0], [1, 0, 0, 0]]
WIDE = [[1, 1, 1, 0], [1, 1, 1, 0]]
CORNER = [[0, 0, 0, 0], [0, 0, 0, 1]]


def score(prediction, reference, spacing=(1, 1), labels=(1,)):
    """The first row of `slice_distances`, as a Series."""
    frame = slice_distances(np.array(prediction), np.array(reference), labels, spacing)
    assert list(frame.columns) == COLUMNS
    return frame.iloc[0]


def test_the_mean_is_over_the_slices_that_both_masks_have():
    # 2 columns from LEFT to the far end of WIDE; 0 between equals; sqrt(3^2 + 1^2) from the far
    # corner of LEFT to CORNER.
    row = score([LEFT, WIDE, LEFT, EMPTY], [WIDE, WIDE, CORNER, EMPTY])
    assert row.hd_slice_px == pytest.approx((2 + 0 + np.sqrt(10)) / 3)
    assert (row.slices, row.left_out) == (3, 0)


def test_a_slice_of_one_mask_alone_is_left_out_and_counted():
    row = score([LEFT, EMPTY, CORNER, EMPTY], [WIDE, WIDE, EMPTY, EMPTY])
    assert (row.hd_slice_px, row.slices, row.left_out) == (2, 1, 2)


def test_without_a_shared_slice_there_is_no_mean():
    # In space the two lie one slice apart, and the distance in the volume is defined.
    above, below = np.array([LEFT, EMPTY]), np.array([EMPTY, LEFT])
    row = score(above, below)
    assert np.isnan(row.hd_slice_px)
    assert (row.slices, row.left_out) == (0, 2)
    assert evaluate(above, below, [1], (1, 1, 1)).loc[0, "hd_mm"] == 1


def test_distances_are_in_the_given_pixels():
    # 2 columns of half a pixel; a row is a quarter.
    assert score([LEFT], [WIDE], (0.25, 0.5)).hd_slice_px == 1
    assert score([[LEFT[0], EMPTY[0]]], [[EMPTY[0], LEFT[0]]], (0.25, 0.5)).hd_slice_px == 0.25


def test_structures_are_measured_apart_and_named():
    prediction, reference = np.array([LEFT]), np.array([LEFT])
    prediction[0, 0, 3] = 2
    frame = slice_distances(prediction, reference, {2: "two", 1: "one", 7: "none"}, (1, 1))
    assert frame["label"].tolist() == ["two", "one", "none"]
    assert frame["slices"].tolist() == [0, 1, 0]
    assert frame["left_out"].tolist() == [1, 0, 0]
    np.testing.assert_array_equal(frame["hd_slice_px"], [np.nan, 0, np.nan])


masks = arrays(np.uint8, (3, 4, 5), elements=st.sampled_from([0, 0, 1, 2]))


@settings(max_examples=30)
@given(prediction=masks, reference=masks)
def test_slices_are_measured_as_the_metrics_measure_images(prediction, reference):
    frame = slice_distances(prediction, reference, [1, 2], (1.5, 0.5)).set_index("label")
    swapped = slice_distances(reference, prediction, [1, 2], (1.5, 0.5)).set_index("label")
    for label in (1, 2):
        ours, theirs = (volume == label for volume in (prediction, reference))
        both = ours.any(axis=(1, 2)) & theirs.any(axis=(1, 2))
        planes = [
            evaluate(prediction[z], reference[z], [label], (1.5, 0.5)).loc[0, "hd_mm"]
            for z in np.flatnonzero(both)
        ]
        row = frame.loc[label]
        assert row.slices == both.sum()
        assert row.left_out == (ours.any(axis=(1, 2)) ^ theirs.any(axis=(1, 2))).sum()
        expected = np.mean(planes) if planes else np.nan
        np.testing.assert_allclose(row.hd_slice_px, expected)
        np.testing.assert_allclose(swapped.loc[label, "hd_slice_px"], expected)


@pytest.mark.parametrize(
    ("prediction", "reference"), [(LEFT, LEFT), ([LEFT], [LEFT, LEFT]), ([LEFT, LEFT], [LEFT])]
)
def test_anything_but_two_volumes_of_one_shape_is_refused(prediction, reference):
    with pytest.raises(InputError, match=r"expected two volumes \(z, y, x\) of one shape"):
        score(prediction, reference)
