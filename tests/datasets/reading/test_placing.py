"""What was drawn on another grid is brought onto the image by geometry."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from piecemeal.datasets.reading.placing import placed, turned_like
from piecemeal.datasets.reading.volumes import Volume
from piecemeal.errors import InputError

SHAPE = (8, 9, 5)
LPS = np.array([[-1.5, 0, 0, 40], [0, -2, 0, 30], [0, 0, 3, -20], [0, 0, 0, 1]])
IMAGE = Volume("ct.nrrd", np.zeros(SHAPE, np.int16), LPS)


def drawn(voxels, start=(0, 0, 0), steps=((1, 0, 0), (0, 1, 0), (0, 0, 1))) -> Volume:
    """Voxels whose first lies at the index `start` of the image, and whose axes step so there."""
    own = np.eye(4)
    own[:3, :3] = np.transpose(steps)
    own[:3, 3] = start
    return Volume("mask.seg.nrrd", np.asarray(voxels, np.uint8), LPS @ own)


def test_same_grid_is_taken_as_it_is():
    mask = drawn(np.ones(SHAPE))
    voxels, notes = placed(IMAGE, mask)
    assert voxels is mask.voxels
    assert notes == []


def test_same_grid_a_little_off():
    mask = drawn(np.ones(SHAPE), start=(0, 0, 0.1))  # 0.3 mm
    voxels, notes = placed(IMAGE, mask)
    assert voxels is mask.voxels
    assert notes == ["lies 0.3 mm off the image"]


@pytest.mark.parametrize("rest", [0, 0.04, -0.04])
def test_a_cropped_box_on_the_same_lattice(rest):
    box = np.arange(1, 13).reshape(2, 3, 2)
    voxels, notes = placed(IMAGE, drawn(box, start=(3 + rest, 4, 1)))
    expected = np.zeros(SHAPE)
    expected[3:5, 4:7, 1:3] = box
    np.testing.assert_array_equal(voxels, expected)
    assert notes == []


def test_a_box_that_reaches_out_of_the_image():
    voxels, notes = placed(IMAGE, drawn(np.ones((3, 3, 3)), start=(-1, 7, 4)))
    assert voxels.shape == SHAPE
    assert voxels[0:2, 7:9, 4].all()
    assert voxels.sum() == 4
    assert notes == ["voxels outside the image: 23"]


@pytest.mark.parametrize("start", [(20, 0, 0), (-9, -9, -9)])
def test_a_box_wholly_outside(start):
    with pytest.raises(InputError, match=r"mask\.seg\.nrrd: lies outside its image ct\.nrrd"):
        placed(IMAGE, drawn(np.ones((2, 2, 2)), start))


def test_an_empty_box_outside_draws_nothing():
    voxels, _ = placed(IMAGE, drawn(np.zeros((2, 2, 2)), (20, 0, 0)))
    assert not voxels.any()


def test_a_box_between_the_voxels_goes_to_the_nearest():
    mask = np.zeros((4, 4, 4))
    mask[1:3, 1:3, 1:3] = 7
    voxels, notes = placed(IMAGE, drawn(mask, start=(2.3, 3, 0)))
    expected = np.zeros(SHAPE)
    expected[3:5, 4:6, 1:3] = 7
    np.testing.assert_array_equal(voxels, expected)
    assert voxels.dtype == np.uint8
    assert notes == ["resampled to the image's grid (nearest voxel)"]


def test_a_coarser_grid():
    # Twice the step along x: index 0, 1, 2, 3 lie at 0, 2, 4, 6 of the image.
    mask = np.zeros((4, 9, 5))
    mask[1] = 1
    voxels, _ = placed(IMAGE, drawn(mask, steps=((2, 0, 0), (0, 1, 0), (0, 0, 1))))
    filled = np.flatnonzero(voxels.any(axis=(1, 2)))
    assert 2 in filled
    assert set(filled) <= {1, 2, 3}
    assert voxels.all(axis=(1, 2))[filled].all()


@given(st.permutations([0, 1, 2]), st.tuples(*[st.sampled_from([-1, 1])] * 3))
def test_axes_in_any_order_and_direction_give_the_same_voxels(order, signs):
    """The same voxels, stored with swapped and flipped axes, come back bit by bit."""
    rng = np.random.default_rng(0)
    there = rng.integers(0, 2, SHAPE)
    there[0, 0, 0] = there[-1, -1, -1] = 1
    stored = there[tuple(slice(None, None, sign) for sign in signs)].transpose(order)
    steps = np.diag(signs)[list(order)]
    start = [0 if sign > 0 else size - 1 for sign, size in zip(signs, SHAPE, strict=True)]
    mask = drawn(stored, start, steps)
    np.testing.assert_array_equal(placed(IMAGE, mask)[0], there)
    turned = turned_like(IMAGE, mask)
    np.testing.assert_array_equal(turned.voxels, there)
    np.testing.assert_allclose(turned.affine, LPS, atol=1e-12)


def test_a_turn_is_noted():
    assert turned_like(IMAGE, drawn(np.ones(SHAPE))).notes == ()
    flipped = drawn(np.ones(SHAPE), (7, 0, 0), ((-1, 0, 0), (0, 1, 0), (0, 0, 1)))
    assert turned_like(IMAGE, flipped).notes == ("turned from RPS to the image's LPS",)
