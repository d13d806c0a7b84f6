import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from piecemeal.bitmasks import bit, pack
from piecemeal.errors import InputError
from piecemeal.evaluation.metrics import evaluate
from piecemeal.evaluation.overlapping import bit_by_bit, largest_components
from piecemeal.evaluation.slices import slice_distances

NAMES = {0: "head", 1: "shaft"}
MASKS = hnp.arrays(np.uint8, (4, 5), elements=st.integers(0, 3))


def drawn(*boxes: tuple[slice, slice]) -> np.ndarray:
    """A bit mask of 8 x 8 with a box a bit."""
    masks = [np.zeros((8, 8), bool) for _ in boxes]
    for mask, box in zip(masks, boxes, strict=True):
        mask[box] = True
    return pack(masks)


def test_where_structures_cross_both_are_counted():
    """Two bars of 2 x 8 cross in 4 pixels; the second is found a row of 0.5 mm too low."""
    true = drawn(np.s_[:, 3:5], np.s_[2:4, :])
    found = drawn(np.s_[:, 3:5], np.s_[3:5, :])
    head, shaft = bit_by_bit(evaluate, found, true, NAMES, (0.5, 2.0)).to_dict("records")
    assert (head["label"], head["dice"], head["hd_mm"]) == ("head", 1, 0)
    assert (shaft["label"], shaft["dice"], shaft["hd_mm"]) == ("shaft", 0.5, 0.5)
    assert (shaft["true_voxels"], shaft["overlap_voxels"]) == (16, 8)


@given(MASKS, MASKS)
def test_a_structure_is_scored_as_if_it_were_alone(found, true):
    rows = bit_by_bit(evaluate, found, true, NAMES, (1, 2))
    for k, name in NAMES.items():
        alone = [bit(volume, k).astype(int) * 7 for volume in (found, true)]
        wanted = evaluate(*alone, {7: name}, (1, 2))
        pd.testing.assert_frame_equal(rows.iloc[[k]].reset_index(drop=True), wanted)


def test_bits_are_measured_slice_by_slice_as_well():
    true, found = np.full((1, 8, 8), 3, np.uint8), np.full((1, 8, 8), 1, np.uint8)
    rows = bit_by_bit(slice_distances, found, true, NAMES, (1, 1))
    assert rows["label"].tolist() == ["head", "shaft"]
    assert rows["slices"].tolist() == [1, 0]
    assert rows["left_out"].tolist() == [0, 1]


def test_class_ids_of_another_type_are_refused():
    with pytest.raises(InputError, match="int64 volume"):
        bit_by_bit(evaluate, np.zeros((2, 2), int), np.zeros((2, 2), np.uint8), NAMES, (1, 1))


def test_of_each_structure_asked_for_the_largest_component_is_kept():
    """Both have the same stray pixel, where a third runs through."""
    volume = drawn(np.s_[0:2, 0:2], np.s_[0:1, 0:3], np.s_[5, :])
    volume[5, 5] |= 0b011
    cleaned = largest_components(volume, [0])
    assert cleaned[5, 5] == 0b110
    volume[5, 5] = 0b110
    np.testing.assert_array_equal(cleaned, volume)


@given(hnp.arrays(np.uint8, (3, 4)))
def test_nothing_is_taken_from_what_is_not_cleaned(volume):
    np.testing.assert_array_equal(largest_components(volume, []), volume)


def test_of_nothing_asked_for_there_are_no_rows():
    volume = np.ones((1, 2, 2), dtype=np.uint8)
    found = bit_by_bit(evaluate, volume, volume, {}, (1, 1, 1))
    assert len(found) == 0
    assert list(found) == list(evaluate(volume, volume, {1: "a"}, (1, 1, 1)))
