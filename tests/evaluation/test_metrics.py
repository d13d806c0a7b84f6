"""Metrics on masks worked out by hand, and against two independent ways to compute them."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import ndimage

from piecemeal.errors import InputError
from piecemeal.evaluation.metrics import COLUMNS, boundary, evaluate

DISTANCES = ["assd_mm", "hd_mm", "hd95_mm"]


def score(prediction, reference, spacing, labels=(1,)):
    """The first row of `evaluate`, as a Series."""
    frame = evaluate(np.asarray(prediction), np.asarray(reference), labels, spacing)
    return frame.iloc[0]


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
    assert boundary(filled == 1).sum() == 16
    assert boundary(holed == 1).sum() == 20
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
    assert boundary(small == 1).sum() == 8
    assert boundary(large == 1).sum() == 10
    row = score(small, large, (1, 1))
    # d(small, large): (2, 1) is interior of large, 1 mm from (2, 0); all else 0. d(large, small):
    # the three voxels of row 3 are 1 mm from row 2; all else 0.
    assert row.hd_mm == 1
    assert row.assd_mm == pytest.approx((1 + 3) / 18)


def test_structure_filling_the_whole_volume():
    full = np.ones((3, 3, 3), int)
    hollow = full.copy()
    hollow[1, 1, 1] = 0
    assert boundary(full == 1).sum() == 26
    row = score(hollow, full, (1, 1, 1))
    # The 26 shell voxels are boundary in both.
    assert row[DISTANCES].tolist() == [0, 0, 0]
    assert row.dice == pytest.approx(2 * 26 / 53)


def test_every_voxel_of_a_single_slice_volume_is_boundary():
    # Its neighbours above and below lie outside the volume.
    assert boundary(np.ones((1, 4, 4), bool)).all()


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


def test_inputs_stay_untouched():
    prediction = np.array([[0, 1], [1, 1]], np.uint8)
    reference = np.array([[1, 1], [0, 1]], np.uint8)
    prediction.flags.writeable = reference.flags.writeable = False
    evaluate(prediction, reference, [1], (1, 1))


# ---- against other ways to compute the same ----


def by_hand(prediction, reference, spacing):
    """All distances between all boundary voxels, found with plain loops."""

    def boundary_points(mask):
        points = []
        for index in np.ndindex(mask.shape):
            if not mask[index]:
                continue
            neighbours = [
                tuple(index[a] + (step if a == axis else 0) for a in range(mask.ndim))
                for axis in range(mask.ndim)
                for step in (-1, 1)
            ]
            inside = [
                all(0 <= i < n for i, n in zip(place, mask.shape, strict=True)) and mask[place]
                for place in neighbours
            ]
            if not all(inside):
                points.append([i * s for i, s in zip(index, spacing, strict=True)])
        return points

    true_points, predicted_points = boundary_points(reference), boundary_points(prediction)
    there = [min(math.dist(p, r) for r in true_points) for p in predicted_points]
    back = [min(math.dist(r, p) for p in predicted_points) for r in true_points]

    def percentile_95(values):
        ordered, rank = sorted(values), 0.95 * (len(values) - 1)
        low = math.floor(rank)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (rank - low) * (ordered[high] - ordered[low])

    return [
        (sum(there) + sum(back)) / (len(there) + len(back)),
        max(there + back),
        max(percentile_95(there), percentile_95(back)),
    ]


@st.composite
def pairs(draw):
    shape = draw(
        st.one_of(
            st.tuples(st.integers(1, 7), st.integers(1, 7)),
            st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 5)),
        )
    )
    mask = npst.arrays(np.uint8, shape, elements=st.integers(0, 1), fill=st.just(1))
    spacing = draw(st.tuples(*[st.floats(0.3, 8)] * len(shape)))
    return draw(mask), draw(mask), spacing


@settings(max_examples=150, deadline=None)
@given(pairs())
def test_agrees_with_brute_force(pair):
    prediction, reference, spacing = pair
    row = score(prediction, reference, spacing)
    if prediction.any() and reference.any():
        expected = by_hand(prediction == 1, reference == 1, spacing)
        assert row[DISTANCES].tolist() == pytest.approx(expected, abs=1e-6)
    else:
        assert row.status != "ok"


@settings(max_examples=60, deadline=None)
@given(pairs())
def test_symmetric_in_prediction_and_reference(pair):
    prediction, reference, spacing = pair
    there, back = score(prediction, reference, spacing), score(reference, prediction, spacing)
    columns = ["dice", *DISTANCES]
    assert there[columns].tolist() == pytest.approx(back[columns].tolist(), nan_ok=True)


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_distance_transform(seed):
    random = np.random.default_rng(seed)
    spacing = (5.0, 1.37, 0.9)
    smooth = ndimage.gaussian_filter(random.normal(size=(2, 8, 40, 40)), (0, 1, 4, 4))
    prediction, reference = (smooth > 0.01).astype(np.int16)
    row = score(prediction, reference, spacing)

    # Distance to the nearest boundary voxel, at every voxel of the full volume.
    edges = [boundary(mask == 1) for mask in (prediction, reference)]
    maps = [ndimage.distance_transform_edt(~edge, sampling=spacing) for edge in edges]
    there, back = maps[1][edges[0]], maps[0][edges[1]]
    assert row.hd_mm == pytest.approx(max(there.max(), back.max()), abs=1e-6)
    assert row.assd_mm == pytest.approx(np.concatenate([there, back]).mean(), abs=1e-6)
    percentiles = np.percentile(there, 95), np.percentile(back, 95)
    assert row.hd95_mm == pytest.approx(max(percentiles), abs=1e-6)


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
    ],
)
def test_bad_input_says_what_was_expected(prediction, reference, labels, spacing, message):
    with pytest.raises(InputError, match=message):
        evaluate(prediction, reference, labels, spacing)
