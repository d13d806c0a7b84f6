"""Flips, turns and the affine resampling, on windows small enough to work out by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from piecemeal.augmentation_specs import AugmentationConfig
from piecemeal.training.augmentation import Augmentation
from piecemeal.training.augmentation.spatial import affine_matrices
from piecemeal.training.data import Batch

UNKNOWN = 9  # the code behind the nine of the table below


def batch_of(codes: np.ndarray, views: list[int] | None = None) -> Batch:
    """Samples whose image is their code."""
    codes = torch.as_tensor(np.asarray(codes), dtype=torch.uint8)
    sets = torch.eye(9, dtype=torch.bool)[None].repeat(len(codes), 1, 1)
    views = None if views is None else torch.tensor(views, dtype=torch.int8)
    return Batch(codes.float()[:, None], codes, sets, views)


def augment(batch: Batch, step: int = 0, **operations: dict) -> Batch:
    config = AugmentationConfig.model_validate(operations).model_dump()
    return Augmentation(config, 3)(batch, step, range(len(batch.codes)), len(batch.codes))


def rotated(codes: np.ndarray, degrees: float, views=None, **options) -> Batch:
    always = {"probability": 1, "degrees": (degrees, degrees), **options}
    return augment(batch_of(codes, views), rotation=always)


def scaled(codes: np.ndarray, factor: float, views=None, **options) -> Batch:
    always = {"probability": 1, "factor": (factor, factor), **options}
    return augment(batch_of(codes, views), scaling=always)


@pytest.mark.parametrize(
    ("axis", "expected"),
    [
        ("z", [[[5, 6], [7, 8]], [[1, 2], [3, 4]]]),
        ("y", [[[3, 4], [1, 2]], [[7, 8], [5, 6]]]),
        ("x", [[[2, 1], [4, 3]], [[6, 5], [8, 7]]]),
    ],
)
def test_flip(axis, expected):
    found = augment(batch_of([[[[1, 2], [3, 4]], [[5, 6], [7, 8]]]]), flip={axis: 1})
    assert found.codes[0].tolist() == expected
    assert found.images[0, 0].tolist() == expected
    assert found.sets.shape == (1, 9, 9)


def test_every_axis_has_its_own_coin():
    found = augment(batch_of(np.tile([[1, 2], [3, 4]], (40, 1, 1))), flip={"y": 0.5, "x": 0.5})
    assert {tuple(codes.flatten().tolist()) for codes in found.codes} == {
        (1, 2, 3, 4),
        (2, 1, 4, 3),
        (3, 4, 1, 2),
        (4, 3, 2, 1),
    }


def test_quarter_turns():
    found = augment(batch_of(np.tile([[1, 2], [3, 4]], (40, 1, 1))), rot90={"probability": 1})
    assert {tuple(codes.flatten().tolist()) for codes in found.codes} == {
        (2, 4, 1, 3),
        (4, 3, 2, 1),
        (3, 1, 4, 2),
    }
    assert torch.equal(found.images[:, 0], found.codes.float())


@pytest.mark.parametrize("side", [4, 5])
@pytest.mark.parametrize("quarters", [1, 2, 3, -1])
def test_rotation_by_right_angles_is_rot90(side, quarters):
    codes = np.random.default_rng(side).integers(0, 9, (2, side, side))
    found = rotated(codes, 90 * quarters)
    assert np.array_equal(found.codes, np.rot90(codes, quarters, (1, 2)))
    torch.testing.assert_close(found.images[:, 0], found.codes.float(), atol=1e-4, rtol=0)


def test_rotation_is_rigid_in_windows_of_any_proportions():
    found = rotated([[[0, 1, 2, 0], [0, 3, 4, 0]]], 90)
    # Nothing is known of the two columns that the narrow side turns into.
    assert found.codes.tolist() == [[[UNKNOWN, 2, 4, UNKNOWN], [UNKNOWN, 1, 3, UNKNOWN]]]
    expected = torch.tensor([[[[0.0, 2, 4, 0], [0, 1, 3, 0]]]])
    torch.testing.assert_close(found.images, expected, atol=1e-4, rtol=0)


def test_rotation_turns_every_slice_alike():
    codes = np.random.default_rng(0).integers(0, 9, (2, 3, 6, 6))
    found = rotated(codes, 90)
    assert np.array_equal(found.codes, np.rot90(codes, 1, (2, 3)))
    torch.testing.assert_close(found.images[:, 0], found.codes.float(), atol=1e-4, rtol=0)


PLANES = {"z": (2, 3), "y": (1, 3), "x": (1, 2)}  # axes of a batch of codes


@pytest.mark.parametrize("quarters", [1, 2, 3])
@pytest.mark.parametrize("about", "zyx")
def test_rotation_about_an_axis_turns_the_plane_across_it(about, quarters):
    codes = np.random.default_rng(quarters).integers(0, 9, (2, 4, 4, 4))
    found = rotated(codes, 90 * quarters, about=about)
    assert np.array_equal(found.codes, np.rot90(codes, quarters, PLANES[about]))
    torch.testing.assert_close(found.images[:, 0], found.codes.float(), atol=1e-4, rtol=0)


def test_tilts_are_about_the_axes_that_the_rotation_leaves():
    codes = np.random.default_rng(3).integers(0, 9, (2, 4, 4, 4))
    found = rotated(codes, 0, about="y", tilt_degrees=(180, 180))
    # Half a turn over (y, x), then over (z, y), is half a turn over (z, x).
    assert np.array_equal(found.codes, codes[:, ::-1, :, ::-1])


@pytest.mark.parametrize("about", "zyx")
def test_scaling_about_an_axis_leaves_it_alone(about):
    codes = np.random.default_rng(4).integers(0, 9, (1, 4, 4, 4))
    found = scaled(codes, 2, about=about)
    expected = codes
    for axis in PLANES[about]:
        expected = np.repeat(np.take(expected, (1, 2), axis), 2, axis)
    assert np.array_equal(found.codes, expected)


@pytest.mark.parametrize("options", [{}, {"about": "x", "tilt_degrees": (-90, 90)}])
def test_slices_that_alone_were_drawn_on_are_turned_about_the_axis_across_them(options):
    codes = np.random.default_rng(5).integers(0, 9, (3, 4, 4, 4))
    found = rotated(codes, 90, [0, 1, 2], **options)
    for sample, turned, axes in zip(codes, found.codes, [(1, 2), (0, 2), (0, 1)], strict=True):
        assert np.array_equal(turned, np.rot90(sample, 1, axes))
    assert found.views.tolist() == [0, 1, 2]


@pytest.mark.parametrize("options", [{}, {"about": "x", "through_plane": True}])
def test_slices_that_alone_were_drawn_on_are_scaled_in_their_plane(options):
    found = scaled(np.full((3, 4, 4, 4), 5), 0.5, [0, 1, 2], **options)
    for axis, codes in enumerate(found.codes):
        known = (codes == 5).numpy()
        assert known.sum() == 16
        assert known.any(axis=tuple({0, 1, 2} - {axis})).all()


def test_a_quarter_turn_lays_slices_across_the_other_axis():
    codes = np.zeros((60, 4, 4, 4))
    codes[:30, :, 1], codes[30:, 1] = 7, 7  # coronal slices, axial ones
    found = augment(batch_of(codes, [1] * 30 + [0] * 30), rot90={"probability": 0.8})
    for sample, view in zip(found.codes, found.views, strict=True):
        across = [(sample == 7).float().mean(dim=[a for a in range(3) if a != b]) for b in range(3)]
        assert sorted(across[view].tolist()) == [0, 0, 0, 1]
    assert set(found.views[:30].tolist()) == {1, 2}
    assert set(found.views[30:].tolist()) == {0}


WILD = {
    "flip": {"z": 0.5, "y": 0.5, "x": 0.5},
    "rot90": {"probability": 0.5},
    "rotation": {"probability": 0.8, "degrees": (-180, 180), "tilt_degrees": (-90, 90)},
    "scaling": {"probability": 0.8, "factor": (0.3, 3), "through_plane": True},
}


@given(data=st.data(), step=st.integers(0, 1000), about=st.sampled_from("zyx"))
def test_drawn_slices_stay_slices(data, step, about):
    """Code 0 says nothing, 5 something: across the view no slice has both, and none is lost."""
    depth, side = (data.draw(st.sampled_from([1, 3, 5, 7])) for _ in range(2))
    views = data.draw(st.lists(st.integers(0, 2), min_size=1, max_size=6))
    drawn = data.draw(hnp.arrays(bool, (len(views), side)))
    codes = np.zeros((len(views), depth, side, side), np.uint8)
    for sample, view, planes in zip(codes, views, drawn, strict=True):
        there = planes[:depth] if view == 0 else planes
        np.moveaxis(sample, view, 0)[: len(there)][there] = 5
    wild = {name: dict(options) for name, options in WILD.items()}
    wild["rotation"]["about"] = wild["scaling"]["about"] = about
    found = augment(batch_of(codes, views), step, **wild)
    for sample, view, before, planes in zip(found.codes, found.views, views, drawn, strict=True):
        count = planes[:depth].sum() if before == 0 else planes.sum()
        across = np.moveaxis((sample == 5).numpy(), int(view), 0)
        others = np.moveaxis((sample == 0).numpy(), int(view), 0)
        assert not (across.any((1, 2)) & others.any((1, 2))).any()
        # Of odd sizes the centre never leaves the window.
        assert across.any((1, 2)).sum() == count


@pytest.mark.parametrize(("tilt", "axes"), [((90, 0), (1, 3)), ((0, 90), (1, 2))])
def test_tilts_turn_about_the_other_axes(tilt, axes):
    codes = np.random.default_rng(1).integers(0, 9, (2, 4, 4, 4))
    (matrix,) = affine_matrices(1, (0.0, *tilt), (1.0, 1.0, 1.0))
    expected = np.rot90(codes, 1, axes)
    centre = np.full(3, 1.5)
    for place in np.ndindex(4, 4, 4):
        z, y, x = np.rint(matrix @ (place - centre) + centre).astype(int)
        assert np.array_equal(expected[(slice(None), *place)], codes[:, z, y, x])


def test_tilted_windows_are_resampled_in_space():
    codes = np.random.default_rng(2).integers(0, 9, (2, 4, 4, 4))
    found = rotated(codes, 0, tilt_degrees=(180, 180))
    # Half a turn over (z, x), then over (z, y), is half a turn in the plane.
    assert np.array_equal(found.codes, codes[:, :, ::-1, ::-1])
    torch.testing.assert_close(found.images[:, 0], found.codes.float(), atol=1e-4, rtol=0)


def test_scaling_by_two_doubles_every_voxel():
    found = scaled([[[0, 0, 0, 0], [0, 1, 2, 0], [0, 2, 1, 0], [0, 0, 0, 0]]], 2)
    assert found.codes.tolist() == [[[1, 1, 2, 2], [1, 1, 2, 2], [2, 2, 1, 1], [2, 2, 1, 1]]]


def test_scaling_interpolates_images():
    ramp = batch_of(np.tile(np.arange(8), (1, 8, 1)))
    found = augment(ramp, scaling={"probability": 1, "factor": (2, 2)}).images
    expected = torch.arange(8.0) / 2 + 1.75  # half the slope about the centre, 3.5
    torch.testing.assert_close(found[0, 0], expected.expand(8, 8), atol=1e-4, rtol=0)


def test_outside_the_window_is_padding():
    found = scaled(np.full((1, 4, 4), 5), 0.5)
    expected = np.full((4, 4), UNKNOWN)
    expected[1:3, 1:3] = 5
    assert np.array_equal(found.codes[0], expected)
    assert found.images[0, 0, 0, 0] == 0
    assert found.sets.shape == (1, 10, 9)
    assert not found.sets[0, UNKNOWN].any()  # padding
    assert torch.equal(found.sets[:, :9], batch_of(np.zeros((1, 1, 1))).sets)


def test_rotation_and_scaling_have_coins_of_their_own():
    codes = np.tile([[0, 1, 2, 0], [0, 3, 4, 0], [0, 5, 6, 0], [0, 7, 8, 0]], (60, 1, 1))
    turn, scale = {"degrees": (180, 180)}, {"factor": (2, 2)}
    found = augment(
        batch_of(codes), rotation={"probability": 0.5} | turn, scaling={"probability": 0.5} | scale
    )
    enlarged = np.kron([[3, 4], [5, 6]], np.ones((2, 2), int))
    outcomes = [codes[0], np.rot90(codes[0], 2), enlarged, np.rot90(enlarged, 2)]
    assert {tuple(c.flatten().tolist()) for c in found.codes} == {
        tuple(outcome.flatten().tolist()) for outcome in outcomes
    }


@pytest.mark.parametrize(("through_plane", "inside"), [(False, 16), (True, 8)])
def test_scaling_through_the_plane(through_plane, inside):
    found = scaled(np.full((1, 4, 4, 4), 5), 0.5, through_plane=through_plane)
    assert (found.codes == 5).sum() == inside
    assert (found.codes == UNKNOWN).sum() == 64 - inside


def test_the_highest_code_survives():
    codes = torch.full((1, 4, 4), 254, dtype=torch.uint8)
    sets = torch.ones(1, 255, 2, dtype=torch.bool)
    batch = Batch(codes.float()[:, None], codes, sets)
    found = augment(batch, scaling={"probability": 1, "factor": (0.5, 0.5)})
    assert found.codes.unique().tolist() == [254, 255]


@given(
    codes=hnp.arrays(np.uint8, hnp.array_shapes(min_dims=3, max_dims=4, min_side=1, max_side=7)),
    step=st.integers(0, 1000),
)
def test_codes_are_moved_never_made(codes, step):
    batch = batch_of(codes % 9)
    turn = {"probability": 0.8, "degrees": (-180, 180)}
    found = augment(batch, step, rotation=turn, scaling={"probability": 0.8, "factor": (0.3, 3)})
    for before, after in zip(batch.codes, found.codes, strict=True):
        assert set(after.unique().tolist()) <= {*before.unique().tolist(), UNKNOWN}


@pytest.mark.parametrize("space", [(40, 60), (30, 40, 50)], ids=["2D", "3D"])
def test_image_and_codes_stay_together(space):
    centred = np.stack(np.meshgrid(*[np.arange(s) - 0.4 * s for s in space], indexing="ij"))
    blob = ((centred / (0.3 * np.array(space)).reshape(-1, *[1] * len(space))) ** 2).sum(0) < 1
    turn = {"probability": 1, "degrees": (-60, 60)}
    scale = {"probability": 1, "factor": (0.7, 1.4)}
    if len(space) == 3:
        turn, scale = turn | {"tilt_degrees": (-30, 30)}, scale | {"through_plane": True}
    found = augment(
        batch_of(np.tile(blob, (6, *[1] * len(space)))),
        flip={"x": 0.5},
        rotation=turn,
        scaling=scale,
    )
    images, known = found.images[:, 0], found.codes != UNKNOWN
    away_from_edges = known & ((images < 0.01) | (images > 0.99))
    assert away_from_edges.sum() > 0.8 * known.sum()
    assert torch.equal((images > 0.5)[away_from_edges], (found.codes == 1)[away_from_edges])
    for codes in found.codes:
        assert (codes == 1).sum() > 0.2 * blob.sum()
