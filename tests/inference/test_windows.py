import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter1d
from torch import nn

from piecemeal.inference import windows
from piecemeal.inference.windows import importance, spans, window_planes

CPU = torch.device("cpu")
WEIGHTS = ["uniform", "gaussian"]
LENGTHS = st.integers(1, 40)
OVERLAPS = st.floats(0, 0.95)


def corners(length, size, overlap):
    axis = spans(length, size, overlap, "uniform", CPU)
    return [span.inside.start - span.within.start for span in axis]


def predicted(read, image, size, overlap=0.5, weights="gaussian", batch_size=2):
    planes = window_planes(read, image, size, overlap, weights, batch_size, CPU)
    return torch.stack(list(planes), dim=1).numpy()


def random_image(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def place_dependent(images):
    """Two classes that depend on the window a voxel is seen in, and on its place there."""
    ramp = torch.arange(images[0, 0].numel()).view(images.shape[2:]) / images[0].numel()
    return torch.cat([images * ramp, images.mean((2, 3, 4), keepdim=True) + ramp], dim=1)


@pytest.mark.parametrize(
    ("length", "size", "overlap", "expected"),
    [
        (10, 4, 0.5, [0, 2, 4, 6]),
        (11, 4, 0.5, [0, 2, 4, 6, 7]),
        (11, 4, 0, [0, 4, 7]),
        (8, 4, 0, [0, 4]),
        (9, 5, 0.5, [0, 2, 4]),
        (30, 20, 0.9, [0, 2, 4, 6, 8, 10]),
        (5, 3, 0.95, [0, 1, 2]),
        (4, 4, 0.5, [0]),
        (3, 6, 0.5, [-1]),
        (3, 7, 0.5, [-2]),
    ],
)
def test_windows_worked_by_hand(length, size, overlap, expected):
    assert corners(length, size, overlap) == expected


def test_a_small_volume_lies_in_the_middle_of_its_window():
    (span,) = spans(3, 6, 0.5, "gaussian", CPU)
    assert (span.inside, span.within) == (slice(0, 3), slice(1, 4))
    assert span.weights.tolist() == [1, 1, 1]


def test_uniform_weights_worked_by_hand():
    first, second = spans(6, 4, 0.5, "uniform", CPU)
    assert first.weights.tolist() == [1, 1, 0.5, 0.5]
    assert second.weights.tolist() == [0.5, 0.5, 1, 1]


def test_gaussian_weights_worked_by_hand():
    """Windows of 4 voxels: half a voxel off the middle is one sigma, the border is three."""
    first, second = spans(6, 4, 0.5, "gaussian", CPU)
    near = 1 / (1 + math.exp(-4))
    assert first.weights.tolist() == pytest.approx([1, 1, near, 1 - near])
    assert second.weights.tolist() == pytest.approx([1 - near, near, 1, 1])


def test_gaussian_is_that_of_nnu_net():
    """The filtered point of its compute_gaussian, in a window with a voxel in the middle."""
    point = np.zeros(33)
    point[33 // 2] = 1
    expected = gaussian_filter1d(point, 33 / 8, mode="constant")
    np.testing.assert_allclose(importance(33, "gaussian"), expected / expected.max(), atol=1e-9)


def test_gaussian_is_that_of_monai_but_for_its_lower_bound():
    from monai.data.utils import compute_importance_map

    ours = importance(32, "gaussian")
    theirs = compute_importance_map((32,), "gaussian").numpy()
    np.testing.assert_allclose(ours.clip(1e-3), theirs, rtol=1e-5)
    assert ours.min() < 1e-3


@given(LENGTHS, LENGTHS, OVERLAPS, st.sampled_from(WEIGHTS))
def test_weights_of_every_voxel_sum_to_one(length, size, overlap, weights):
    total = np.zeros(length)
    for span in spans(length, size, overlap, weights, CPU):
        assert len(span.weights) == min(size, length)
        total[span.inside] += span.weights.numpy()
    np.testing.assert_allclose(total, 1, atol=1e-5)


@given(LENGTHS, LENGTHS, OVERLAPS)
def test_windows_overlap_as_much_as_asked(length, size, overlap):
    starts = corners(length, size, overlap)
    steps = np.diff(starts)
    assert (steps > 0).all()
    assert (steps <= max(1, size * (1 - overlap) + 1e-6)).all()
    assert starts == [0, *starts[1:-1], length - size] or len(starts) == 1


@given(
    st.tuples(*3 * [st.integers(1, 9)]),
    st.tuples(*3 * [st.integers(1, 6)]),
    OVERLAPS,
    st.sampled_from(WEIGHTS),
    st.integers(1, 5),
)
def test_every_voxel_comes_back_where_it_was(shape, size, overlap, weights, batch_size):
    image = np.arange(1, math.prod(shape) + 1, dtype=np.float32).reshape(shape)
    back = predicted(lambda images: images, image, size, overlap, weights, batch_size)
    np.testing.assert_allclose(back[0], image, rtol=1e-5)


def whole_volume(read, image, size, overlap, weights):
    """Sums and weights of the whole padded volume at once, as it is usually written."""
    front = [max(0, (s - n) // 2) for s, n in zip(size, image.shape, strict=True)]
    back = [max(0, s - n - f) for s, n, f in zip(size, image.shape, front, strict=True)]
    padded = np.pad(image, list(zip(front, back, strict=True)))
    starts = [corners(*axis, overlap) for axis in zip(padded.shape, size, strict=True)]
    z, y, x = (importance(n, weights) for n in size)
    window = z[:, None, None] * y[:, None] * x
    sums, total = np.zeros((2, *padded.shape)), np.zeros(padded.shape)
    for corner in itertools.product(*starts):
        place = tuple(slice(c, c + s) for c, s in zip(corner, size, strict=True))
        sums[:, *place] += window * read(torch.from_numpy(padded[place])[None, None])[0].numpy()
        total[place] += window
    inside = tuple(slice(f, f + n) for f, n in zip(front, image.shape, strict=True))
    return (sums / total)[:, *inside]


@given(
    st.tuples(*3 * [st.integers(1, 9)]),
    st.tuples(*3 * [st.integers(1, 5)]),
    OVERLAPS,
    st.sampled_from(WEIGHTS),
    st.integers(1, 5),
)
def test_plane_by_plane_is_the_whole_volume(shape, size, overlap, weights, batch_size):
    image = random_image(*shape)
    expected = whole_volume(place_dependent, image, size, overlap, weights)
    found = predicted(place_dependent, image, size, overlap, weights, batch_size)
    assert found.shape == (2, *shape)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_half_precision_is_summed_in_float32():
    image = np.full((12, 4, 4), 1 / 3, np.float32)
    found = predicted(lambda images: images.half(), image, (4, 4, 4), 0.75)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[0], np.float32(np.float16(1 / 3)), rtol=1e-6)


@pytest.mark.parametrize("overlap", [0, 0.25, 0.5, 0.75])
def test_sums_are_as_deep_as_a_window(monkeypatch, overlap):
    shapes = []

    class Recorded(windows.Accumulator):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            shapes.append(tuple(self.sums.shape))

    monkeypatch.setattr(windows, "Accumulator", Recorded)
    predicted(place_dependent, random_image(40, 9, 8), (4, 5, 5), overlap)
    predicted(place_dependent, random_image(3, 2, 8), (4, 5, 5), overlap)
    assert shapes == [(4, 2, 9, 8), (3, 2, 2, 8)]


def test_a_plane_is_released_when_no_later_window_touches_it():
    """Windows of 4 planes at 0, 2 and 4: the second ends the wait of planes 0 and 1."""
    seen = []

    def read(images):
        seen.append(len(images))
        return images

    planes = window_planes(read, random_image(8, 3, 3), (4, 3, 3), 0.5, "uniform", 1, CPU)
    assert [len(seen) for _ in planes] == [2, 2, 3, 3, 3, 3, 3, 3]


def test_batches_run_on_from_row_to_row():
    """2 x 2 x 2 windows."""
    seen = []

    def read(images):
        seen.append(tuple(images.shape))
        return images

    predicted(read, random_image(6, 6, 6), (4, 4, 4), 0.5, batch_size=3)
    assert seen == [(3, 1, 4, 4, 4), (3, 1, 4, 4, 4), (2, 1, 4, 4, 4)]


def test_padding_is_zero():
    seen = []
    predicted(
        lambda images: seen.append(images) or images, np.ones((1, 2, 3), np.float32), (1, 4, 3)
    )
    assert seen[0][0, 0].tolist() == [[[0, 0, 0], [1, 1, 1], [1, 1, 1], [0, 0, 0]]]


def by_monai(read, image, size, overlap, **options):
    from monai.inferers import sliding_window_inference

    with torch.no_grad():
        return sliding_window_inference(
            torch.from_numpy(image)[None, None], size, 2, read, overlap, **options
        )[0].numpy()


CASES = [
    ((13, 11, 10), (6, 5, 4), 0.5),
    ((13, 11, 10), (6, 5, 4), 0.25),
    ((13, 11, 10), (6, 5, 4), 0.0),
    ((3, 11, 4), (6, 5, 5), 0.5),
    ((7, 5, 4), (7, 5, 4), 0.5),
]


@pytest.mark.parametrize(("shape", "size", "overlap"), CASES)
@pytest.mark.parametrize(("ours", "theirs"), [("uniform", "constant"), ("gaussian", "gaussian")])
def test_a_pointwise_network_gives_what_it_gives_the_whole_image(
    shape, size, overlap, ours, theirs
):
    def pointwise(images):
        return torch.cat([images.tanh(), 1 - images.square()], dim=1)

    image = random_image(*shape)
    expected = pointwise(torch.from_numpy(image)[None, None])[0].numpy()
    for found in (
        predicted(pointwise, image, size, overlap, ours),
        by_monai(pointwise, image, size, overlap, mode=theirs),
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("shape", "size", "overlap"), CASES)
@pytest.mark.parametrize("weights", WEIGHTS)
def test_a_convolution_gives_what_monai_gives(shape, size, overlap, weights):
    """With our weights: MONAI's own Gaussian is raised to 0.001 in the corners of a window."""
    torch.manual_seed(0)
    network = nn.Conv3d(1, 2, 3, padding=1).requires_grad_(False)
    image = random_image(*shape)
    z, y, x = (torch.from_numpy(importance(n, weights)).float() for n in size)
    window = z[:, None, None] * y[:, None] * x
    expected = by_monai(network, image, size, overlap, mode="gaussian", roi_weight_map=window)
    found = predicted(network, image, size, overlap, weights)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
