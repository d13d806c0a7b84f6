"""Metrics on masks worked out by hand. Against other implementations: test_agreement.py."""

import math

import numpy as np
import pytest

from piecemeal.errors import InputError
from piecemeal.evaluation.boundaries import LONGEST_AXIS, trace
from piecemeal.evaluation.metrics import COLUMNS, evaluate

DISTANCES = ["assd_mm", "hd_mm", "hd95_mm"]


def score(prediction, reference, spacing, labels=(1,)):
    """The first row of `evaluate`, as a Series."""
    frame = evaluate(np.asarray(prediction), np.asarray(reference), labels, spacing)
    return frame.iloc[0]


def boundary_voxels(mask):
    """How many boundary voxels the structure 1 of `mask` has."""
    return len(trace(mask, mask, [1]).reference)


# ---- answers worked out by hand ----


def test_square_shifted_by_one_column():
    # Two 2x2 squares that share one column; every voxel is a boundary voxel. With columns 3 mm and
    # rows 2 mm apart, the 2 unshared voxels of each square are 3 mm from the shared column.
    prediction = [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]]
    reference = [[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    row = score(prediction, reference, (2.0, 3.0))
    assert row.status == "ok"
    assert row.dice == 2 * 2 / (4 + 4)
    assert (row.true_voxels, row.predicted_voxels, row.overlap_voxels) == (4, 4, 2)
    assert row.assd_mm == (2 * 3 + 2 * 3) / 8
    assert row.hd_mm == 3
    # Directed distances are 0, 0, 3, 3: rank 0.95 * 3 = 2.85 lies between the two threes.
    assert row.hd95_mm == pytest.approx(3)


def test_assd_pools_both_surfaces():
    # d(P, R) = [0]; d(R, P) = [0, 1, 2, 3]. Pooled mean 6 / 5; the mean of means would be 3 / 4.
    row = score([[1, 0, 0, 0]], [[1, 1, 1, 1]], (1, 1))
    assert row.assd_mm == pytest.approx(6 / 5)
    assert row.hd_mm == 3
    # 95th percentile of [0, 1, 2, 3]: rank 2.85. Of the pooled distances it would be 2.8.
    assert row.hd95_mm == pytest.approx(2.85)


def test_hd95_is_the_larger_directed_percentile():
    # Swapping the two masks leaves every metric unchanged.
    one = np.array([[1, 0, 0, 0, 1]])
    many = np.array([[1, 1, 1, 0, 0]])
    there, back = score(one, many, (1, 2)), score(many, one, (1, 2))
    # d(one, many) = [0, 4], percentile 3.8; d(many, one) = [0, 2, 4], percentile 3.8.
    assert there.hd95_mm == back.hd95_mm == pytest.approx(3.8)
    assert there.assd_mm == back.assd_mm == pytest.approx((4 + 6) / 5)


def test_pooled_hd95_by_name():
    # d(P, R) = [0]; d(R, P) = [0, 1, 2, 3]. Pooled and in order 0, 0, 1, 2, 3: rank 3.8 is 2.8.
    frame = evaluate(np.array([[1, 0, 0, 0]]), np.ones((1, 4), int), [1], (1, 1), hd95="pooled")
    assert frame.hd95_mm[0] == pytest.approx(2.8)
    assert frame.hd_mm[0] == 3
    with pytest.raises(InputError, match="hd95 is 'mean', expected one of directed, pooled"):
        evaluate(IMAGE, IMAGE, [1], (1, 1), hd95="mean")


def test_interior_voxels_carry_no_distance():
    # A filled 5x5 square against one with a hole in the middle: the filled square's boundary is its
    # outer ring (16 voxels). With the centre missing, its 4 face neighbours become boundary too;
    # each is 1 mm from the outer ring. The corners around the hole touch it only diagonally and
    # stay interior.
    filled = np.zeros((7, 7), int)
    filled[1:6, 1:6] = 1
    holed = filled.copy()
    holed[3, 3] = 0
    row = score(holed, filled, (1, 1))
    assert boundary_voxels(filled) == 16
    assert boundary_voxels(holed) == 20
    assert row.assd_mm == pytest.approx(4 / (16 + 20))
    assert row.hd_mm == 1


def test_anisotropic_3d_single_voxels():
    prediction, reference = np.zeros((2, 3, 4, 5), int)
    prediction[0, 0, 0] = 1
    reference[1, 2, 3] = 1
    row = score(prediction, reference, (5.0, 1.5, 2.0))
    expected = math.sqrt(5**2 + 3**2 + 6**2)
    assert row[DISTANCES].tolist() == pytest.approx([expected] * 3)
    assert row.dice == 0


def test_border_of_the_volume_is_background():
    # Both masks fill whole rows of a 3-column image. Rows 0..2 against rows 0..3: the middle of row
    # 1 is the only interior voxel of the first; rows 1 and 2 lose their middle in the second. Were
    # the border treated as more of the structure, only the last rows would be boundary.
    small, large = np.zeros((2, 5, 3), int)
    small[:3], large[:4] = 1, 1
    assert boundary_voxels(small) == 8
    assert boundary_voxels(large) == 10
    row = score(small, large, (1, 1))
    # d(small, large): (2, 1) is interior of large, 1 mm from (2, 0); all else 0. d(large, small):
    # the three voxels of row 3 are 1 mm from row 2; all else 0.
    assert row.hd_mm == 1
    assert row.assd_mm == pytest.approx((1 + 3) / 18)


def test_structure_filling_the_whole_volume():
    full = np.ones((3, 3, 3), int)
    hollow = full.copy()
    hollow[1, 1, 1] = 0
    assert boundary_voxels(full) == 26
    row = score(hollow, full, (1, 1, 1))
    # The 26 shell voxels are boundary in both.
    assert row[DISTANCES].tolist() == [0, 0, 0]
    assert row.dice == pytest.approx(2 * 26 / 53)


def test_every_voxel_of_a_single_slice_volume_is_boundary():
    # Its neighbours above and below lie outside the volume.
    assert boundary_voxels(np.ones((1, 4, 4), int)) == 16
    assert boundary_voxels(np.ones((4, 4), int)) == 12


def test_two_far_voxels_of_a_large_volume():
    # Farther apart than any offset that is tried: 299 steps of 0.7, 2.5 and 1.1 mm.
    prediction, reference = np.zeros((2, 300, 300, 300), np.uint8)
    prediction[0, 0, 0] = reference[299, 299, 299] = 7
    row = score(prediction, reference, (0.7, 2.5, 1.1), labels=[7])
    assert row.hd_mm == pytest.approx(299 * math.sqrt(0.7**2 + 2.5**2 + 1.1**2))
    assert row.assd_mm == row.hd95_mm == row.hd_mm


def test_near_and_far_distances_are_ordered_together():
    # d(P, R) = [0] and a far island at 90 mm; d(R, P) = [0]. Pooled: 0, 0, 90.
    prediction, reference = np.zeros((2, 1, 200), int)
    prediction[0, 10] = reference[0, 10] = prediction[0, 100] = 1
    frame = evaluate(prediction, reference, [1], (1, 1), hd95="pooled")
    assert frame.hd_mm[0] == 90
    assert frame.assd_mm[0] == pytest.approx(30)
    assert frame.hd95_mm[0] == pytest.approx(0.9 * 90)  # rank 1.9 of 0, 0, 90


def test_structures_are_scored_apart_from_each_other():
    # Two touching structures swap places; a third is where it was. Background scored too.
    prediction, reference = np.array([[1, 1, 2, 0, 5]]), np.array([[2, 1, 1, 0, 5]])
    frame = evaluate(prediction, reference, [5, 2, 0, 1], (1, 2)).set_index("label")
    assert frame.hd_mm.to_dict() == {5: 0, 2: 4, 0: 0, 1: 2}
    assert frame.dice.to_dict() == {5: 1, 2: 0, 0: 1, 1: 0.5}


def test_identical_masks():
    labels = np.zeros((4, 4), np.uint8)
    labels[1:3, 1:4] = 2
    row = score(labels, labels, (1, 1), labels=[2])
    assert row.dice == 1
    assert row[DISTANCES].tolist() == [0, 0, 0]


# ---- empty masks ----


def test_every_combination_of_empty_masks():
    reference = np.array([[1, 1, 0, 0, 3]])
    prediction = np.array([[1, 0, 0, 2, 0]])
    frame = evaluate(prediction, reference, [1, 2, 3, 4], (1, 1)).set_index("label")
    assert frame.status.to_dict() == {1: "ok", 2: "invented", 3: "missed", 4: "both_empty"}
    assert frame.dice[2] == 0
    assert frame.dice[3] == 0
    assert np.isnan(frame.dice[4])
    assert frame.loc[[2, 3, 4], DISTANCES].isna().all(axis=None)
    assert frame.loc[1, DISTANCES].notna().all()
    assert frame.true_voxels.tolist() == [2, 0, 1, 0]
    assert frame.predicted_voxels.tolist() == [1, 1, 0, 0]


# ---- the frame ----


def test_columns_and_names():
    image = np.array([[0, 1], [2, 2]], np.uint8)
    frame = evaluate(image, image, {2: "liver", 1: "spleen"}, [1, 1])
    assert frame.columns.tolist() == COLUMNS
    assert frame.label.tolist() == ["liver", "spleen"]
    assert evaluate(image, image, np.array([1, 2]), [1, 1]).label.tolist() == [1, 2]


def test_no_labels_give_no_rows():
    image = np.zeros((2, 2), int)
    frame = evaluate(image, image, [], (1, 1))
    assert frame.columns.tolist() == COLUMNS
    assert frame.empty


def test_labels_beyond_the_dtype_are_absent():
    image = np.ones((2, 2), np.uint8)
    assert score(image, image, (1, 1), labels=[300]).status == "both_empty"


@pytest.mark.parametrize("kinds", [("i1", "u8"), (">i2", "i4"), ("i8", ">u4")])
def test_any_integer_type_and_layout(kinds):
    prediction = np.array([[0, 3, 3], [3, 3, 1], [0, 0, 1]]).astype(kinds[0])
    reference = np.array([[0, 0, 3], [3, 3, 1], [0, 1, 1]]).astype(kinds[1])
    expected = evaluate(prediction.astype(int), reference.astype(int), [1, 3], (1, 2))
    assert evaluate(prediction, reference, [1, 3], (1, 2)).equals(expected)
    strided = np.repeat(prediction, 2, axis=1)[:, ::2]
    assert evaluate(strided, np.asfortranarray(reference), [1, 3], (1, 2)).equals(expected)


def test_negative_ids_and_ids_that_nobody_asked_for():
    image = np.array([[-1, 0, 40_000, 7]])
    frame = evaluate(image, np.array([[-1, -1, 40_000, 8]]), [40_000, -1], (1, 1))
    assert frame.status.tolist() == ["ok", "ok"]
    assert frame.dice.tolist() == [1, pytest.approx(2 / 3)]


def test_more_structures_than_fit_in_one_pass():
    image = np.arange(600).reshape(20, 30)
    frame = evaluate(image, image[::-1], range(600), (1, 1))
    assert frame.label.tolist() == list(range(600))
    # Voxel i of row r moves to row 19 - r.
    rows = np.arange(600) // 30
    assert frame.hd_mm.tolist() == np.abs(19 - 2 * rows).tolist()


def test_inputs_stay_untouched():
    prediction = np.array([[0, 1], [1, 1]], np.uint8)
    reference = np.array([[1, 1], [0, 1]], np.uint8)
    prediction.flags.writeable = reference.flags.writeable = False
    evaluate(prediction, reference, [1], (1, 1))


# ---- bad input ----


IMAGE = np.zeros((3, 3), int)


@pytest.mark.parametrize(
    ("prediction", "reference", "labels", "spacing", "message"),
    [
        (IMAGE, np.zeros((3, 4), int), [1], (1, 1), r"shape \(3, 3\)"),
        (np.zeros(3, int), np.zeros(3, int), [1], (1,), "2D or 3D"),
        (IMAGE.astype(float), IMAGE, [1], (1, 1), "prediction has dtype float64"),
        (IMAGE, IMAGE.astype(np.float32), [1], (1, 1), "reference has dtype float32"),
        (IMAGE, IMAGE, [1], (1, 1, 1), "expected 2 positive"),
        (IMAGE, IMAGE, [1], 1.0, "expected 2 positive"),
        (IMAGE, IMAGE, [1], (1, 0), "expected 2 positive"),
        (IMAGE, IMAGE, [1], (1, -2), "expected 2 positive"),
        (IMAGE, IMAGE, [1], (1, np.nan), "expected 2 positive"),
        (IMAGE, IMAGE, [1], (1, np.inf), "expected 2 positive"),
        (IMAGE, IMAGE, [1], (1, "wide"), "expected 2 positive"),
        (IMAGE, IMAGE, [1.5], (1, 1), "integer class ids"),
        (IMAGE, IMAGE, {"liver": 1}, (1, 1), "integer class ids"),
        (IMAGE, IMAGE, 5, (1, 1), "labels are 5, expected integer class ids"),
        (IMAGE, IMAGE, [0, 70_000], (1, 1), "from 0 to 70000, .* no more than 65535 apart"),
        (*2 * [np.zeros((1, LONGEST_AXIS + 1), np.uint8)], [1], (1, 1), "score parts"),
    ],
)
def test_bad_input_says_what_was_expected(prediction, reference, labels, spacing, message):
    with pytest.raises(InputError, match=message):
        evaluate(prediction, reference, labels, spacing)
