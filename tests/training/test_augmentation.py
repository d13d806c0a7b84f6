"""What holds for every operation: who gets what, and that nothing else is touched."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from piecemeal.augmentation_specs import AugmentationConfig
from piecemeal.errors import InputError
from piecemeal.training.augmentation import Augmentation
from piecemeal.training.data import Batch

CLASSES, SETS, SEED, STEP = 4, 3, 11, 5
OPTIONS = {
    "rot90": {},
    "rotation": {"degrees": [-40, 40]},
    "scaling": {"factor": [0.6, 1.7]},
    "noise": {"sigma": [0.1, 0.5]},
    "blur": {"sigma": [0.5, 1.5]},
    "brightness": {"factor": [0.5, 2], "shift": [-1, 1]},
    "contrast": {"factor": [0.5, 2]},
    "low_resolution": {"factor": [0.3, 0.9]},
    "gamma": {"exponent": [0.5, 2], "inverted": 0.5},
    "cutmix": {},
}
OPERATIONS = ["flip", *OPTIONS]
THROUGH_PLANE = {
    "rotation": {"tilt_degrees": [-30, 30]},
    "scaling": {"through_plane": True},
    "blur": {"through_plane": True},
    "low_resolution": {"through_plane": True},
}


def settings(probability: float, *names: str, space: int = 2) -> dict:
    """Settings of the named operations, as the plan gives them."""
    chosen = {n: {"probability": probability} | o for n, o in OPTIONS.items() if n in names}
    if "flip" in names:
        chosen["flip"] = dict.fromkeys("zyx" if space == 3 else "yx", probability)
    if space == 3:
        for name in set(THROUGH_PLANE) & set(names):
            chosen[name] |= THROUGH_PLANE[name]
    return AugmentationConfig.model_validate(chosen).model_dump(mode="json")


def batch(rows: int, *space: int, channels: int = 1) -> Batch:
    rng = np.random.default_rng(rows)
    images = torch.from_numpy(rng.normal(size=(rows, channels, *space)).astype(np.float32))
    codes = torch.from_numpy(rng.integers(0, SETS, (rows, *space), dtype=np.uint8))
    sets = torch.from_numpy(rng.random((rows, SETS, CLASSES)) < 0.5)
    return Batch(images, codes, sets)


def of_rows(effective: Batch, rows: list[int]) -> Batch:
    return Batch(effective.images[rows], effective.codes[rows], effective.sets[rows])


def augment(effective: Batch, config: dict, step=STEP, seed=SEED, rows: range | None = None):
    """What a process that has `rows` of the effective batch makes of them."""
    size = len(effective.codes)
    rows = range(size) if rows is None else rows
    augmentation = Augmentation(config, seed)
    partners = augmentation.partners(step, size)
    chosen = list(rows) + ([] if partners is None else [int(partners[r]) for r in rows])
    return augmentation(of_rows(effective, chosen), step, rows, size)


def assert_same(found: Batch, expected: Batch) -> None:
    for name in ("images", "codes", "sets", "views"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name


def changed_rows(before: Batch, after: Batch) -> list[bool]:
    return [
        not (torch.equal(a, b) and torch.equal(c, d))
        for a, b, c, d in zip(before.images, after.images, before.codes, after.codes, strict=True)
    ]


@pytest.mark.parametrize("config", [{}, AugmentationConfig().model_dump()], ids=["{}", "nulls"])
def test_without_settings_nothing_is_done(config):
    one = batch(4, 8, 8)
    assert_same(augment(one, config), one)
    assert Augmentation(config, SEED).partners(STEP, 4) is None


@pytest.mark.parametrize("name", OPERATIONS)
def test_probability_zero_is_off(name):
    one = batch(6, 8, 8)
    assert_same(augment(one, settings(0.0, name)), one)
    assert Augmentation(settings(0.0, name), SEED).partners(STEP, 6) is None


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_sample_has_its_own_coin(name):
    one = batch(24, 8, 8)
    changed = changed_rows(one, augment(one, settings(0.3, name)))
    assert any(changed)
    assert not all(changed)


@pytest.mark.parametrize("name", [name for name in OPTIONS if name != "cutmix"])
def test_every_sample_has_its_own_parameters(name):
    alike = of_rows(batch(1, 12, 12), [0] * 8)
    found = augment(alike, settings(1.0, name)).images.flatten(1)
    assert len({tuple(row.tolist()) for row in found}) > 2


@pytest.mark.parametrize("name", OPERATIONS)
def test_probability_one_takes_every_sample(name):
    one = batch(24, 16, 16)
    config = settings(1.0, name)
    if name == "cutmix":
        config["cutmix"]["alpha"] = 50.0  # boxes of about half the window
    assert all(changed_rows(one, augment(one, config)))


@pytest.mark.parametrize("space", [(16, 16), (6, 12, 12)], ids=["2D", "3D"])
@pytest.mark.parametrize("probability", [0.4, 1.0])
@pytest.mark.parametrize("parts", [[4, 4], [1, 7], [3, 2, 3]])
def test_rows_are_the_same_in_parts(space, probability, parts):
    effective = batch(8, *space, channels=1 if len(space) == 3 else 3)
    config = settings(probability, *OPERATIONS, space=len(space))
    whole = augment(effective, config)
    ends = np.cumsum([0, *parts])
    for start, end in pairwise(ends.tolist()):
        rows = range(start, end)
        assert_same(augment(effective, config, rows=rows), of_rows(whole, list(rows)))


def test_operations_do_not_disturb_each_other():
    # In the order of the settings; rotation without scaling, as these two are one resampling.
    names = [name for name in OPERATIONS if name != "scaling"]
    one = batch(8, 12, 12)
    step_by_step = one
    for name in names:
        step_by_step = augment(step_by_step, settings(0.6, name))
    assert_same(augment(one, settings(0.6, *names)), step_by_step)


def test_scaling_by_one_leaves_the_rotation_as_it_is():
    one = batch(8, 12, 12)
    both = settings(0.6, "rotation", "scaling")
    both["scaling"]["factor"] = [1.0, 1.0]
    found, expected = augment(one, both), augment(one, settings(0.6, "rotation"))
    turned = torch.tensor(changed_rows(one, expected))
    assert turned.any()
    assert torch.equal(found.images[turned], expected.images[turned])


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("other", [{"seed": SEED + 1}, {"step": STEP + 1}], ids=["seed", "step"])
def test_seed_and_step_count(name, other):
    one = batch(12, 12, 12)
    config = settings(0.5, name)
    assert_same(augment(one, config), augment(one, config))
    again = augment(one, config, **other)
    assert any(changed_rows(augment(one, config), again))


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_given_batch_is_left_alone(name):
    one, copy = batch(6, 8, 8), batch(6, 8, 8)
    augment_in_place = Augmentation(settings(1.0, name), SEED)
    rows = range(3) if name == "cutmix" else range(6)
    augment_in_place(one, STEP, rows, 6)
    assert_same(one, copy)


def test_tables_are_as_long_whatever_the_coins_say():
    effective = batch(8, 8, 8)
    config = settings(0.3, "rotation", "cutmix")
    lengths = {augment(effective, config, step=s, rows=range(1)).sets.shape for s in range(12)}
    assert lengths == {(1, 2 * (SETS + 1), CLASSES)}


def test_the_memory_format_of_the_images_stays():
    one = batch(4, 8, 8, channels=3)
    images = one.images.contiguous(memory_format=torch.channels_last)
    config = settings(0.7, *OPERATIONS)
    del config["cutmix"]
    found = augment(Batch(images, one.codes, one.sets), config).images
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(found, augment(one, config).images)


@pytest.mark.parametrize("space", [(16, 16), (6, 12, 12)], ids=["2D", "3D"])
def test_nothing_waits_for_the_device(space):
    # Reading a value off the meta device is an error; it has no generator for the noise.
    config = settings(0.6, *OPERATIONS, space=len(space)) | {"noise": None}
    one = batch(8, *space)
    there = Batch(*(t.to("meta") for t in (one.images, one.codes, one.sets)))
    found, expected = augment(there, config), augment(one, config)
    assert found.images.shape == expected.images.shape
    assert found.sets.shape == expected.sets.shape


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("space", [(16, 16), (6, 12, 12)], ids=["2D", "3D"])
def test_a_gpu_does_the_same_without_being_waited_for(space):
    one = batch(8, *space)
    there = one.to(torch.device("cuda"), torch.contiguous_format)
    config = settings(0.6, *OPERATIONS, space=len(space))
    torch.cuda.set_sync_debug_mode("error")
    try:
        noisy = augment(there, config)
        found = augment(there, config | {"noise": None})
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert noisy.images.isfinite().all()
    expected = augment(one, config | {"noise": None})
    torch.testing.assert_close(found.images.cpu(), expected.images, atol=1e-3, rtol=1e-3)
    assert (found.codes.cpu() == expected.codes).float().mean() > 0.999
    assert torch.equal(found.sets.cpu(), expected.sets)


@pytest.mark.parametrize(
    ("name", "options", "key"),
    [
        ("flip", {"z": 0.5}, "augmentation.flip"),
        ("rotation", {"tilt_degrees": [-5, 5]}, "augmentation.rotation"),
        ("rotation", {"about": "y"}, "augmentation.rotation"),
        ("scaling", {"through_plane": True}, "augmentation.scaling"),
        ("scaling", {"about": "x"}, "augmentation.scaling"),
        ("blur", {"through_plane": True}, "augmentation.blur"),
    ],
)
def test_slices_have_no_z(name, options, key):
    config = settings(0.5, name)
    config[name] |= options
    with pytest.raises(InputError, match=f"{key}.*slices"):
        augment(batch(2, 8, 8), config)


def test_boxes_are_not_pasted_into_slices_that_alone_were_drawn_on():
    one = batch(2, 4, 8, 8)
    sliced = Batch(*one.fields[:3], torch.tensor([-1, 1], dtype=torch.int8))
    mixing = Augmentation(settings(0.5, "cutmix"), SEED)
    with pytest.raises(InputError, match=r"augmentation\.cutmix.*every_nth_slice"):
        mixing(sliced, STEP, range(1), 2)


@pytest.mark.parametrize("parts", [[4, 4], [1, 7]])
def test_rows_in_slices_are_the_same_in_parts(parts):
    one = batch(8, 6, 12, 12)
    views = torch.tensor([-1, 0, 1, 2, 2, -1, -1, 1], dtype=torch.int8)
    effective = Batch(*one.fields[:3], views)
    names = [name for name in OPERATIONS if name != "cutmix"]
    config = settings(0.7, *names)  # in the plane, so that only some samples leave it
    whole = Augmentation(config, SEED)(effective, STEP, range(8), 8)
    assert not torch.equal(whole.views, views)
    for start, end in pairwise(np.cumsum([0, *parts]).tolist()):
        given = Batch(*(field[start:end] for field in effective.fields))
        found = Augmentation(config, SEED)(given, STEP, range(start, end), 8)
        for field, expected in zip(found.fields, whole.fields, strict=True):
            assert torch.equal(field, expected[start:end])


def test_quarter_turns_need_a_square():
    with pytest.raises(InputError, match=r"augmentation\.rot90.*8 x 6"):
        augment(batch(2, 8, 6), settings(0.5, "rot90"))


def test_tables_have_an_end():
    one = batch(2, 8, 8)
    sets = torch.ones(2, 255, CLASSES, dtype=torch.bool)
    long = Batch(one.images, one.codes, sets)
    assert augment(long, settings(0.5, "rotation")).sets.shape[1] == 256
    with pytest.raises(InputError, match="510 rows, expected at most 256"):
        augment(long, settings(0.5, "cutmix"))
