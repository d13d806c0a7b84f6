"""Projections of scans: which pixels and values, in which order, of which copies."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from piecemeal import bitmasks
from piecemeal.datasets import projections
from piecemeal.datasets.projections import Change, changed, changes, masks_on_grid, shadow
from piecemeal.datasets.scans import CaseFiles, Scan
from piecemeal.datasets.whole import Whole

SHAPE = (6, 8, 10)
SPACING = (4.0, 2.0, 1.0)
# To the right, to the front and up, as RAS has it; x runs to the left and y back.
AFFINE = np.array([[-1, 0, 0, 50], [0, -2, 0, 30], [0, 0, 4, -9], [0, 0, 0, 1.0]])
# Two blocks, one above the other: seen from above they overlap, from the front and the side not.
LOW = np.s_[1:3, 1:4, 1:4]
HIGH = np.s_[4:6, 2:5, 2:6]
TURN = {"rotation_deg": [10, 10, 10], "gain": 0.1, "offset": 0.1}


def settings(axis="axial", tasks=None, grid=(None, None), **how):
    view = {"dataset": "blocks", "axis": axis, "part": how.pop("part", (0.0, 1.0))}
    tasks = tasks or {"view": ["view: low", "view: high"]}
    names = [name for own in tasks.values() for name in own]
    projection = {"value": "mean", "copies": 0, "seed": 1, "needs": "any", "around_mm": None}
    return {
        "labels": [[1, "low"], [2, "high"], [3, "absent"]],
        "sides": {},
        "side_check": [],
        "orientation": "canonical",
        "structures": [[name, [name.split(": ")[1]]] for name in names],
        "grid": {"spacing_mm": [None] * 3, "size": [None, *grid], "fit": True},
        "intensity": {"kind": "window", "low": 0, "high": 100, "scale": [0.0, 1.0]},
        "tasks": tasks,
        "projection": projection | TURN | {"views": dict.fromkeys(tasks, view)} | how,
    }


@pytest.fixture
def whole() -> Whole:
    rng = np.random.default_rng(0)
    labels = np.zeros(SHAPE, np.uint8)
    labels[LOW], labels[HIGH] = 1, 2
    scan = Scan(rng.uniform(0, 1, SHAPE).astype(np.float32), labels, SPACING, AFFINE)
    return Whole(scan, None, {"exact": "0", "coarse": np.zeros(1)}, "LPS")


def project(whole, settings):
    """Arrays and record of each task, in order."""
    case = CaseFiles("subject001", "", Path("ct"), Path("labels"))
    return projections.project_scan(whole, case, "blocks", settings, list(settings["tasks"]))


def plane(shape, *block):
    mask = np.zeros(shape, bool)
    mask[block] = True
    return mask


def test_structures_that_overlap_in_a_projection_keep_both_their_pixels(whole):
    ((arrays, record),) = project(whole, settings("axial"))
    (mask,) = arrays["reference"]
    np.testing.assert_array_equal(bitmasks.bit(mask, 0), plane((8, 10), *LOW[1:]))
    np.testing.assert_array_equal(bitmasks.bit(mask, 1), plane((8, 10), *HIGH[1:]))
    assert (mask == 3).sum() == 2 * 2
    assert record["declared"] == ["view: low", "view: high"]
    # Volumes are those in space: 2 * 3 * 3 and 2 * 3 * 4 voxels of 8 mm3.
    assert record["volumes_ml"] == {"view: low": 0.144, "view: high": 0.192}


@pytest.mark.parametrize(
    ("axis", "shape", "column"), [("coronal", (6, 10), 2), ("sagittal", (6, 8), 1)]
)
def test_from_the_front_and_the_side_up_is_up(whole, axis, shape, column):
    ((arrays, _),) = project(whole, settings(axis))
    (mask,) = arrays["reference"]
    assert not (mask == 3).any()
    upside_down = bitmasks.pack([plane(shape, block[0], block[column]) for block in (LOW, HIGH)])
    np.testing.assert_array_equal(mask[::-1], upside_down)
    assert np.flatnonzero((mask == 2).any(1)).max() < np.flatnonzero((mask == 1).any(1)).min()


@pytest.mark.parametrize("axis", ["axial", "coronal", "sagittal"])
def test_mean_and_maximum_are_of_the_voxels_along_the_axis(whole, axis):
    number = projections.AXES[axis]
    for value in ("mean", "maximum"):
        ((arrays, _),) = project(whole, settings(axis, value=value))
        expected = getattr(np, value[:4] if value == "mean" else "max")(whole.scan.image, number)
        np.testing.assert_allclose(
            arrays["image"][0], expected if axis == "axial" else expected[::-1], atol=1e-6
        )


def test_mean_and_maximum_by_hand():
    volume = np.array([[[0.0, 1.0]], [[0.5, 0.0]], [[1.0, 0.5]]])
    assert projections.projected(volume, 0, "mean").tolist() == [[0.5, 0.5]]
    assert projections.projected(volume, 0, "maximum").tolist() == [[1.0, 1.0]]
    assert projections.projected(volume, 2, "maximum").tolist() == [[1.0], [0.5], [1.0]]
    assert projections.projected(volume, 2, "mean").tolist() == [[0.75], [0.25], [0.5]]


def test_bits_are_in_the_order_of_the_task(whole):
    tasks = {"one": ["one: low", "one: high"], "other": ["other: high", "other: low"]}
    (one, _), (other, _) = project(whole, settings(tasks=tasks))
    for k in (0, 1):
        np.testing.assert_array_equal(
            bitmasks.bit(one["reference"], k), bitmasks.bit(other["reference"], 1 - k)
        )
    assert one["reference"][0, 1, 1] == 1
    assert other["reference"][0, 1, 1] == 2


def test_changes_depend_on_seed_scan_and_number_alone():
    how = TURN | {"copies": 3, "seed": 5}
    assert changes(how, "foot", "subject001")[0] is None

    def numbers(**of):
        given = {"dataset": "foot", "scan": "subject001"} | of
        drawn = changes(
            how | {key: given.pop(key) for key in ("copies", "seed") & of.keys()}, **given
        )
        return [[*one.rotation.ravel(), one.gain, one.offset] for one in drawn[1:]]

    first = numbers()
    assert len(first) == 3
    assert numbers(copies=2) == first[:2]
    assert numbers(copies=0) == []
    others = [first, numbers(seed=6), numbers(dataset="hip"), numbers(scan="subject002")]
    every = {tuple(one) for drawn in others for one in drawn}
    assert len(every) == 12


def test_changes_stay_within_what_is_asked_for():
    for change in changes(TURN | {"copies": 200, "seed": 0, "rotation_deg": [8, 0, 0]}, "a", "b")[
        1:
    ]:
        z, y, x = change.rotation
        np.testing.assert_allclose(z, [1, 0, 0], atol=1e-12)  # about z alone
        assert y[1] >= np.cos(np.radians(8)) - 1e-12
        assert x[1] == -y[2]
        assert abs(change.gain) <= 0.1
        assert abs(change.offset) <= 0.1


def test_the_first_image_is_the_scan_as_it_is_and_copies_differ(whole):
    ((alone, _),) = project(whole, settings())
    ((arrays, record),) = project(whole, settings(copies=3))
    assert arrays["image"].shape == arrays["labels"].shape == (4, 8, 10)
    assert record["native_shape"] == [4, 8, 10]
    np.testing.assert_array_equal(arrays["image"][:1], alone["image"])
    np.testing.assert_array_equal(arrays["reference"][:1], alone["reference"])
    assert len({image.tobytes() for image in arrays["image"]}) == 4


def test_copies_of_all_views_are_turned_alike(whole):
    # A turn about z: from above it is one in the plane, from the front it changes columns only.
    content = settings("axial", {"a": ["a: low"], "b": ["b: low"]}, copies=1)
    content["projection"]["rotation_deg"] = [45, 0, 0]
    content["projection"]["views"]["b"] = {"dataset": "blocks", "axis": "coronal", "part": (0, 1)}
    (above, _), (front, _) = project(whole, content)
    np.testing.assert_array_equal(
        above["reference"][1].any(axis=0), front["reference"][1].any(axis=0)
    )


def quarter(axis: int) -> Change:
    """A turn by 90 degrees in the plane of the other two axes."""
    first, second = (a for a in range(3) if a != axis)
    rotation = np.eye(3)
    rotation[[first, second]] = 0
    rotation[first, second], rotation[second, first] = -1, 1
    return Change(rotation, 0.0, 0.0)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_image_and_structures_turn_the_same_way(axis):
    # scale 0 to 1; voxels of one size, so that a quarter turn moves voxels onto voxels.
    volume = np.zeros((7, 7, 7), np.float32)
    volume[1:3, 1:5, 2:4] = 1
    turned = changed(volume, (2.0, 2.0, 2.0), quarter(axis), settings())
    plane_of = tuple(a for a in range(3) if a != axis)
    expected = [np.rot90(volume, k, plane_of) for k in (1, 3)]
    assert any(np.allclose(turned, one, atol=1e-5) for one in expected)
    for view in range(3):
        found = shadow(np.argwhere(volume), volume.shape, (2.0, 2.0, 2.0), quarter(axis), view)
        np.testing.assert_array_equal(found, projections.projected(turned, view, "maximum") > 0.5)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_rod_falls_on_the_pixels_that_its_turned_image_shows(axis, number):
    spacing, shape = (4.0, 2.0, 1.0), (24, 48, 96)
    rod = np.zeros(shape, bool)
    rod[8:19, 19:29, 15:75] = True
    how = TURN | {"copies": 3, "seed": 2, "gain": 0, "offset": 0, "rotation_deg": [30, 30, 30]}
    change = changes(how, "a", "b")[number]
    turned = changed(rod.astype(np.float32), spacing, change, settings())
    seen = projections.projected(turned, axis, "maximum") > 0.5

    def alike(change):
        found = shadow(np.argwhere(rod), shape, spacing, change, axis)
        return (seen & found).sum() / (seen | found).sum()

    assert alike(change) > 0.85
    assert alike(change) > alike(None)
    assert alike(change) > alike(change._replace(rotation=change.rotation.T))


@given(
    st.tuples(st.integers(6, 13), st.integers(6, 13), st.integers(6, 13)),
    st.integers(1, 8),
    st.sampled_from([0, 1, 2]),
)
def test_a_single_voxel_is_never_lost(voxel, number, axis):
    change = changes(TURN | {"copies": 8, "seed": 3}, "a", "b")[number]
    found = shadow(np.array([voxel]), (20, 20, 20), (3.0, 2.0, 1.0), change, axis)
    assert 1 <= found.sum() <= 8


def test_what_is_turned_out_of_the_image_is_not_seen():
    corner = np.array([[0, 0, 0]])
    change = changes(TURN | {"copies": 1, "seed": 0, "rotation_deg": [45, 0, 0]}, "a", "b")[1]
    assert not shadow(corner, (3, 20, 20), (1.0, 1.0, 1.0), change, 0).any()
    assert shadow(corner, (3, 20, 20), (1.0, 1.0, 1.0), None, 0).sum() == 1


def test_contrast_and_brightness_change_within_the_window():
    volume = np.array([[[-1.0, 0.0, 1.0]]], np.float32)
    content = settings() | {"intensity": {"scale": [-1.0, 1.0]}}
    # From the window's lower end: 0, 1, 2 times 1.5, and a tenth of its width less.
    found = changed(volume, (1.0, 1.0, 1.0), Change(np.eye(3), 0.5, -0.1), content)
    np.testing.assert_allclose(found, [[[-1.0, 0.3, 1.0]]], atol=1e-6)
    assert changed(volume, (1.0, 1.0, 1.0), None, content) is volume


def test_a_part_shows_what_lies_in_it(whole):
    tasks = {"low": ["low: low", "low: high"], "high": ["high: low", "high: high"]}
    content = settings("axial", tasks)
    views = content["projection"]["views"]
    views["low"] = views["low"] | {"part": [0.0, 0.5]}
    views["high"] = views["high"] | {"part": [0.5, 1.0]}
    (low, of_low), (high, of_high) = project(whole, content)
    assert set(np.unique(low["reference"])) == {0, 1}
    assert set(np.unique(high["reference"])) == {0, 2}
    assert list(of_low["volumes_ml"]) == ["low: low"]
    assert list(of_high["volumes_ml"]) == ["high: high"]
    np.testing.assert_allclose(low["image"][0], whole.scan.image[:3].mean(0), atol=1e-6)
    np.testing.assert_allclose(high["image"][0], whole.scan.image[3:].mean(0), atol=1e-6)


def test_slices_far_from_the_structures_are_left_out(whole):
    ((arrays, record),) = project(whole, settings(tasks={"v": ["v: high"]}, around_mm=7.9))
    assert record["box"][0] == (3, 6)  # one slice of 4 mm below
    np.testing.assert_allclose(arrays["image"][0], whole.scan.image[3:].mean(0), atol=1e-6)


def test_a_view_of_what_is_not_there_is_no_case(whole):
    tasks = {"v": ["v: low", "v: absent"]}
    assert "left_out" not in project(whole, settings(tasks=tasks))[0][1]
    assert project(whole, settings(tasks=tasks, needs="all"))[0] == (
        {},
        {"left_out": "v: absent not in it"},
    )
    nothing = settings(tasks={"v": ["v: absent"]})
    assert project(whole, nothing)[0][1] == {"left_out": "v: absent not in it"}
    whole.scan.labels = None
    assert project(whole, nothing)[0][1] == {"left_out": "nobody has drawn v: absent"}


@pytest.mark.parametrize("axis", ["axial", "coronal", "sagittal"])
def test_a_pixel_lies_on_the_line_that_it_is_the_projection_of(whole, axis):
    ((_, record),) = project(whole, settings(axis))
    number = projections.AXES[axis]
    ahead = AFFINE[:3, 2 - number] / np.linalg.norm(AFFINE[:3, 2 - number])
    for voxel in [(0, 0, 0), (5, 7, 9), (2, 3, 1)]:
        row, column = (n for a, n in enumerate(voxel) if a != number)
        row = row if axis == "axial" else SHAPE[0] - 1 - row
        pixel = np.array(record["affine"]) @ [column, row, 0, 1]
        away = (AFFINE @ [*voxel[::-1], 1] - pixel)[:3]
        np.testing.assert_allclose(away - (away @ ahead) * ahead, 0, atol=1e-9)
    steps = np.linalg.norm(np.array(record["affine"])[:3, :3], axis=0)[::-1]
    np.testing.assert_allclose(record["spacing"], steps)
    assert record["spacing"] == [1.0, *(mm for a, mm in enumerate(SPACING) if a != number)]
    assert record["file_axes"] == ""


def test_images_are_stretched_to_the_grid_and_views_are_not(whole):
    ((arrays, record),) = project(whole, settings(grid=(4, 20), copies=2))
    assert arrays["image"].shape == arrays["labels"].shape == (3, 4, 20)
    assert arrays["reference"].shape == (3, 8, 10)
    assert record["grid_spacing"] == [1.0, 4.0, 0.5]
    assert record["notes"] == []


def test_what_a_grid_without_stretching_cuts_off_is_noted(whole):
    content = settings(grid=(8, 6))
    content["grid"]["fit"] = False
    ((_, record),) = project(whole, content)
    assert record["notes"] == ["view: low: only 67 % fits the grid"]


def test_a_thin_structure_is_not_lost_on_a_coarse_grid():
    masks = np.zeros((2, 12, 9), np.uint8)
    masks[0, 5, 1:8] = 1
    masks[0, 2:9, 4] |= 2
    found = masks_on_grid(masks, (1.0, 1.0, 1.0), (1.0, 4.0, 3.0), (2, 3, 3))
    np.testing.assert_array_equal(found[0], [[0, 2, 0], [1, 3, 1], [0, 2, 0]])
    assert not found[1].any()


@given(st.integers(0, 2**32), st.integers(3, 20), st.integers(3, 20))
def test_every_pixel_of_a_structure_is_found_again_on_the_grid(seed, rows, columns):
    masks = np.random.default_rng(seed).choice([0, 0, 0, 1, 2, 4], (1, 9, 11)).astype(np.uint8)
    steps = (1.0, 18 / rows, 22 / columns)
    found = masks_on_grid(masks, (1.0, 2.0, 2.0), steps, (1, rows, columns))
    for _, row, column in np.argwhere(masks):
        there = (np.array([row, column]) + 0.5) * 2 / steps[1:] - 0.5
        # Half-way between two, either will do.
        low, high = np.rint(there - 1e-6).astype(int), np.rint(there + 1e-6).astype(int) + 1
        here = found[0, low[0] : high[0], low[1] : high[1]]
        assert np.bitwise_or.reduce(here, axis=None) & masks[0, row, column]
    assert np.bitwise_or.reduce(found, axis=None) == np.bitwise_or.reduce(masks, axis=None)


def test_a_finer_grid_repeats_pixels():
    masks = np.random.default_rng(1).integers(0, 8, (1, 5, 4)).astype(np.uint8)
    found = masks_on_grid(masks, (1.0, 2.0, 3.0), (1.0, 1.0, 1.0), (1, 10, 12))
    np.testing.assert_array_equal(found, masks.repeat(2, axis=1).repeat(3, axis=2))
