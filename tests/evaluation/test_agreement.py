"""Metrics against implementations that share no code with them."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import ndimage

from piecemeal.evaluation import surface_distances
from piecemeal.evaluation.metrics import evaluate

MEASURES = ["dice", "assd_mm", "hd_mm", "hd95_mm"]
CLOSE = 1e-6


# ---- every boundary voxel against every other, with plain loops ----


def boundary_points(mask, spacing):
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


def percentile_95(values):
    ordered, rank = sorted(values), 0.95 * (len(values) - 1)
    low = math.floor(rank)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (rank - low) * (ordered[high] - ordered[low])


def by_brute_force(prediction, reference, spacing):
    """Dice, ASSD, HD, HD95 and pooled HD95 of two masks that both have voxels."""
    predicted = boundary_points(prediction, spacing)
    true = boundary_points(reference, spacing)
    there = [min(math.dist(p, r) for r in true) for p in predicted]
    back = [min(math.dist(r, p) for p in predicted) for r in true]
    overlap = sum(bool(p and r) for p, r in zip(prediction.flat, reference.flat, strict=True))
    return [
        2 * overlap / (prediction.sum() + reference.sum()),
        (sum(there) + sum(back)) / (len(there) + len(back)),
        max(there + back),
        max(percentile_95(there), percentile_95(back)),
        percentile_95(there + back),
    ]


@st.composite
def pairs(draw, structures=2):
    """Two small 2D or 3D volumes of `structures` structures, and a spacing."""
    shape = draw(
        st.one_of(
            st.tuples(st.integers(1, 7), st.integers(1, 7)),
            st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 5)),
        )
    )
    ids = st.integers(0, structures)
    volume = npst.arrays(np.uint8, shape, elements=ids, fill=ids)
    spacing = draw(st.tuples(*[st.floats(0.3, 8)] * len(shape)))
    return draw(volume), draw(volume), spacing


@pytest.mark.parametrize("offsets", [surface_distances.OFFSETS, 4])
@settings(max_examples=100)
@given(pair=pairs())
def test_agrees_with_brute_force(pair, offsets):
    prediction, reference, spacing = pair
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            surface_distances, "OFFSETS", offsets
        )  # few: most voxels are compared by blocks
        surface_distances._offsets.cache_clear()
        directed = evaluate(prediction, reference, [1, 2], spacing)
        pooled = evaluate(prediction, reference, [1, 2], spacing, hd95="pooled")
    surface_distances._offsets.cache_clear()
    for k in (1, 2):
        row = directed.iloc[k - 1]
        if not ((prediction == k).any() and (reference == k).any()):
            assert row.status != "ok"
            continue
        expected = by_brute_force(prediction == k, reference == k, spacing)
        found = [*row[MEASURES], pooled.hd95_mm[k - 1]]
        assert found == pytest.approx(expected, abs=CLOSE)


@settings(max_examples=60)
@given(pair=pairs())
def test_symmetric_in_prediction_and_reference(pair):
    prediction, reference, spacing = pair
    there = evaluate(prediction, reference, [1, 2], spacing)[MEASURES]
    back = evaluate(reference, prediction, [1, 2], spacing)[MEASURES]
    np.testing.assert_allclose(there, back, rtol=1e-12)


@settings(max_examples=40)
@given(pair=pairs(structures=1), axis=st.integers(0, 2), factor=st.floats(0.1, 10))
def test_moves_with_the_axes_and_grows_with_the_spacing(pair, axis, factor):
    prediction, reference, spacing = pair
    found = evaluate(prediction, reference, [1], spacing)[MEASURES]
    axis = axis % prediction.ndim
    turned = [np.moveaxis(np.flip(volume, axis), 0, -1) for volume in (prediction, reference)]
    again = evaluate(*turned, [1], np.roll(spacing, -1))[MEASURES]
    np.testing.assert_allclose(again, found, rtol=1e-12)
    larger = evaluate(prediction, reference, [1], np.array(spacing) * factor)
    np.testing.assert_allclose(larger[MEASURES[1:]], found[MEASURES[1:]] * factor, rtol=1e-9)


# ---- random smooth shapes, some far apart, some in pieces ----


def shapes(seed, shape=(10, 48, 56)):
    """A reference of four structures and three predictions: close, in pieces, far from it."""
    random = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(random.normal(size=(2, *shape)), (0, 1, 4, 4))
    field /= field.std()
    reference = np.digitize(field[0], [-0.8, 0.2, 0.7, 1.5]).astype(np.uint8)
    close = np.digitize(field[0] + 0.3 * field[1], [-0.8, 0.2, 0.7, 1.5]).astype(np.int16)
    pieces = np.where(random.random(shape) < 0.05, random.integers(0, 5, shape), close)
    far = np.zeros(shape, np.uint8)
    far[-1, -2:, -3:], reference[-3:, -20:, -20:] = 4, 0
    return reference, {"close": close, "pieces": pieces, "far": far}


@pytest.fixture(params=["close", "pieces", "far"])
def pair(request):
    reference, predictions = shapes(len(request.param))
    return predictions[request.param], reference


SPACING = (5.0, 1.37, 0.9)
LABELS = [1, 2, 3, 4]


def boundary(mask):
    return mask & ~ndimage.binary_erosion(mask, border_value=0)


def test_agrees_with_the_distance_transform(pair):
    rows = evaluate(*pair, LABELS, SPACING)
    assert "ok" in set(rows.status)
    for row in rows[rows.status == "ok"].itertuples():
        edges = [boundary(volume == row.label) for volume in pair]
        maps = [ndimage.distance_transform_edt(~edge, sampling=SPACING) for edge in edges]
        there, back = maps[1][edges[0]], maps[0][edges[1]]
        pooled = np.concatenate([there, back])
        percentiles = [np.percentile(lengths, 95) for lengths in (there, back)]
        assert row.hd_mm == pytest.approx(pooled.max(), abs=CLOSE)
        assert row.assd_mm == pytest.approx(pooled.mean(), abs=CLOSE)
        assert row.hd95_mm == pytest.approx(max(percentiles), abs=CLOSE)
        pooled_95 = evaluate(*pair, [row.label], SPACING, hd95="pooled").hd95_mm[0]
        assert pooled_95 == pytest.approx(np.percentile(pooled, 95), abs=CLOSE)


@pytest.mark.filterwarnings("ignore::FutureWarning:monai", "ignore:.*is all 0:UserWarning")
def test_agrees_with_monai(pair):
    import torch
    from monai.metrics import (
        compute_average_surface_distance,
        compute_dice,
        compute_hausdorff_distance,
    )

    one_hot = [
        torch.stack([torch.from_numpy(volume == label) for label in LABELS])[None]
        for volume in pair
    ]
    options = {"include_background": True, "spacing": SPACING}
    expected = [
        compute_dice(*one_hot, include_background=True),
        compute_average_surface_distance(*one_hot, symmetric=True, **options),
        compute_hausdorff_distance(*one_hot, **options),
        compute_hausdorff_distance(*one_hot, percentile=95, **options),
    ]
    rows = evaluate(*pair, LABELS, SPACING)
    ok = (rows.status == "ok").to_numpy()
    assert ok.any()
    # MONAI computes in float32.
    theirs = np.stack([values[0].double().numpy() for values in expected], axis=1)[ok]
    np.testing.assert_allclose(rows[MEASURES][ok], theirs, rtol=1e-4, atol=1e-4)


def test_threads_change_nothing(pair):
    assert evaluate(*pair, LABELS, SPACING, threads=3).equals(evaluate(*pair, LABELS, SPACING))
