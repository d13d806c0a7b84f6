"""What a patch is read with beside its window, so that turning it leaves no corner empty."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from piecemeal.augmentation_specs import AugmentationConfig
from piecemeal.errors import InputError
from piecemeal.training.augmentation import Augmentation
from piecemeal.training.data import WHOLE, Batch
from piecemeal.training.window import Window

UNKNOWN = 2  # the code behind the two of `patches`


def augmentation(shape, views=(WHOLE,), **operations) -> Augmentation:
    settings = AugmentationConfig.model_validate(operations).model_dump()
    return Augmentation(settings, 3, Window(shape, False), views)


def rotation(low: float, high: float, **options) -> dict:
    return {"probability": 1, "degrees": (low, high), **options}


def scaling(low: float, high: float, **options) -> dict:
    return {"probability": 1, "factor": (low, high), **options}


def patches(codes: np.ndarray, views: list[int]) -> Batch:
    """Samples whose image is their code."""
    codes = torch.as_tensor(codes, dtype=torch.uint8)
    sets = torch.eye(2, dtype=torch.bool)[None].repeat(len(codes), 1, 1)
    return Batch(codes.float()[:, None], codes, sets, torch.tensor(views, dtype=torch.int8))


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        ({}, (0, 0, 0)),
        ({"flip": {"x": 1}, "rot90": {"probability": 1}}, (0, 0, 0)),
        ({"rotation": {"probability": 0, "degrees": (-90, 90)}}, (0, 0, 0)),
        ({"scaling": scaling(1, 2)}, (0, 0, 0)),
        # Half a window of 8 is 4, and 8 at half the size.
        ({"scaling": scaling(0.5, 2)}, (0, 4, 4)),
        ({"scaling": scaling(0.5, 2, through_plane=True)}, (2, 4, 4)),
        # 4 (cos 45 + sin 45) = 5.66, whatever the end of the range.
        ({"rotation": rotation(-180, 180)}, (0, 2, 2)),
        # With c = cos 30, s = sin 30: z 2 c + 4 s = 3.7, y 2 s^2 + 4 c + 4 s c = 5.7 and
        # x 2 s c + 4 s + 4 c^2 = 5.9, beside halves of 2, 4 and 4.
        ({"rotation": rotation(0, 0, tilt_degrees=(30, 30), about="x")}, (2, 2, 2)),
        # 5.66 twice as far away.
        ({"rotation": rotation(45, 45), "scaling": scaling(0.5, 1)}, (0, 8, 8)),
    ],
)
def test_by_hand(operations, expected):
    assert augmentation((4, 8, 8), **operations).margin == expected


def test_windows_of_any_proportions():
    # A quarter turn: each axis reaches as far as the other does.
    assert augmentation((4, 8, 12), rotation=rotation(90, 90)).margin == (0, 2, 0)


def test_elongated_windows_reach_farthest_between_the_angles_looked_at():
    # sqrt(2.5^2 + 45^2) = 45.07 along z, at an angle of 3.2 degrees from a quarter turn.
    made = augmentation((5, 30, 90), views=(1,), rotation=rotation(-180, 180))
    assert made.margin == (43, 0, 1)


def test_quarter_turns_ask_for_a_square_window_not_for_what_is_read():
    made = augmentation((2, 4, 6), rot90={"probability": 1}, rotation=rotation(90, 90))
    assert made.margin == (0, 1, 0)
    with pytest.raises(InputError, match="plane has 4 x 6 voxels, expected a square"):
        made(patches(np.ones((1, 2, 6, 6)), [WHOLE]), 0, range(1), 1)


def test_slices_have_none():
    settings = AugmentationConfig.model_validate({"rotation": rotation(-45, 45)}).model_dump()
    assert Augmentation(settings, 3, Window((1, 8, 8), True)).margin == (0, 0, 0)
    assert Augmentation(settings, 3).margin == (0, 0, 0)


@pytest.mark.parametrize(
    ("view", "expected"),
    # The longest half of the plane across the view, twice as far away; nothing along the view.
    [(0, (0, 4, 5)), (1, (4, 0, 3)), (2, (6, 4, 0))],
)
@pytest.mark.parametrize("options", [{}, {"about": "x", "tilt_degrees": (-90, 90)}])
def test_drawn_slices_are_turned_about_the_axis_across_them(view, expected, options):
    turned = rotation(90, 90, **options)
    made = augmentation((4, 8, 6), views=(view,), rotation=turned, scaling=scaling(0.5, 1))
    assert made.margin == expected


def test_a_quarter_turn_lays_drawn_slices_across_the_other_axis():
    turned = {"rot90": {"probability": 1}, "scaling": scaling(0.5, 1)}
    assert augmentation((4, 8, 8), views=(1,), **turned).margin == (2, 4, 4)
    assert augmentation((4, 8, 8), views=(0,), **turned).margin == (0, 4, 4)


def test_the_middle_of_what_was_read_if_no_coin_falls():
    seldom = augmentation((2, 4, 4), rotation=rotation(-45, 45) | {"probability": 1e-9})
    z, y, x = (size + 2 * more for size, more in zip((2, 4, 4), seldom.margin, strict=True))
    codes = np.random.default_rng(0).integers(0, 2, (3, z, y, x))
    found = seldom(patches(codes, [WHOLE] * 3), 0, range(3), 3)
    middle = codes[:, :, seldom.margin[1] : -seldom.margin[1], seldom.margin[2] : -seldom.margin[2]]
    assert middle.shape == (3, 2, 4, 4)
    assert np.array_equal(found.codes, middle)
    assert np.array_equal(found.images[:, 0], middle)


def test_a_quarter_turn_shows_what_lies_beside_the_window():
    turned = augmentation((2, 4, 6), rotation=rotation(90, 90))
    assert turned.margin == (0, 1, 0)
    codes = np.random.default_rng(1).integers(0, 2, (2, 2, 6, 6))
    found = turned(patches(codes, [WHOLE] * 2), 0, range(2), 2)
    expected = np.rot90(codes, 1, (2, 3))[:, :, 1:-1]
    assert np.array_equal(found.codes, expected)
    torch.testing.assert_close(found.images[:, 0], found.codes.float(), atol=1e-4, rtol=0)


@given(data=st.data(), step=st.integers(0, 1000))
def test_no_voxel_comes_from_beyond_the_margin(data, step):
    """Of a scan that is the same everywhere, so is every window, whatever is done to it."""
    shape = tuple(data.draw(st.tuples(*3 * [st.sampled_from([2, 3, 6, 9])]), label="shape"))
    angle, tilt = (data.draw(st.sampled_from([0, 15, 40, 90, 180]), label=name) for name in "at")
    about = data.draw(st.sampled_from("zyx"), label="about")
    operations = {
        "flip": {"z": 0.5, "y": 0.5, "x": 0.5},
        "rotation": {
            "probability": 0.8,
            "degrees": (-angle, angle),
            "tilt_degrees": data.draw(st.sampled_from([None, (-tilt, tilt)]), label="tilt"),
            "about": about,
        },
        "scaling": {
            "probability": 0.8,
            "factor": (data.draw(st.sampled_from([0.4, 0.8, 1.2]), label="factor"), 1.5),
            "through_plane": data.draw(st.booleans(), label="through_plane"),
            "about": about,
        },
    }
    if shape[1] == shape[2]:
        operations["rot90"] = {"probability": 0.5}
    views = data.draw(st.lists(st.sampled_from([WHOLE, 0, 1, 2]), min_size=1, max_size=5))
    made = augmentation(shape, set(views), **operations)
    read = [size + 2 * more for size, more in zip(shape, made.margin, strict=True)]
    found = made(patches(np.ones((len(views), *read)), views), step, range(len(views)), len(views))
    assert found.codes.shape[1:] == found.images.shape[2:] == shape
    assert (found.codes == 1).all()
    torch.testing.assert_close(found.images, torch.ones_like(found.images), atol=1e-4, rtol=0)


def test_boxes_of_cutmix_are_of_the_window():
    always = {"rotation": rotation(-45, 45), "cutmix": {"probability": 1}}
    mixing = augmentation((8, 8, 8), **always)
    order = [*range(3), *mixing.partners(0, 3).tolist()]
    read = [size + 2 * more for size, more in zip((8, 8, 8), mixing.margin, strict=True)]
    found = mixing(patches(np.ones((6, *read))[order], [WHOLE] * 6), 0, range(3), 3)
    assert found.codes.shape == (3, 8, 8, 8)
    pasted = found.codes >= found.sets.shape[1] // 2
    assert pasted.any()
    assert not pasted.all()
