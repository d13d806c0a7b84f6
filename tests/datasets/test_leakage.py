"""The same scan under several names: found by its voxels, and kept out of training."""

import hashlib
import itertools
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from piecemeal.datasets.leakage import THRESHOLD_HU, Removal, find_twins, fingerprint, separate
from piecemeal.datasets.orientation import to_canonical

LEVELS = 255 / 2000  # of a coarse copy, for one HU

OPENKBP = Path(os.environ.get("PIECEMEAL_DATA", "/nowhere")) / "openkbp"


def body(seed: int, shape=(40, 64, 72)) -> np.ndarray:
    """HU (z, y, x): a body in air, with organs at random places."""
    rng = np.random.default_rng(seed)
    place = [np.linspace(-1, 1, n) for n in shape]
    z, y, x = np.meshgrid(*place, indexing="ij", sparse=True)
    image = np.where((y / rng.uniform(0.6, 0.9)) ** 2 + (x / 0.95) ** 2 < 1, 40.0, -1000.0)
    image = image + 0 * z
    for _ in range(12):
        dz, dy, dx = rng.uniform(-0.6, 0.6, 3)
        inside = (z - dz) ** 2 + (y - dy) ** 2 + (x - dx) ** 2 < rng.uniform(0.15, 0.4) ** 2
        image[inside] = rng.choice([-800, -100, 60, 150, 600])
    return np.rint(image + rng.normal(0, 15, shape)).astype(np.float32)


def scans(**images: np.ndarray) -> list[tuple]:
    prints = {name: fingerprint(image) for name, image in images.items()}
    return [(name, one["exact"], one["coarse"]) for name, one in prints.items()]


def flat(value: int) -> np.ndarray:
    return np.full((32, 32, 32), value, np.uint8)


def table(*rows: str, **columns) -> pd.DataFrame:
    parts = [row.split() for row in rows]
    return pd.DataFrame(parts, columns=["dataset", "case", "split"]).assign(**columns)


def test_the_exact_digest_covers_shape_and_voxels():
    image = body(0)
    first = fingerprint(image)["exact"]
    assert fingerprint(image.astype(np.int16))["exact"] == first
    assert fingerprint(np.asfortranarray(image))["exact"] == first
    assert fingerprint(image.reshape(64, 40, 72))["exact"] != first
    image[0, 0, 0] += 1
    assert fingerprint(image)["exact"] != first


def test_the_exact_digest_does_not_change_with_versions():
    image = np.array([[[1, 2]], [[-3, 70000]]], np.float32)
    voxels = np.array([1, 2, -3, 70000], "<i4").tobytes()
    assert fingerprint(image)["exact"] == hashlib.sha256(b"(2, 1, 2)" + voxels).hexdigest()


def test_a_coarse_copy_has_the_means_of_equal_shares_of_each_axis():
    image = np.zeros((64, 32, 48), np.float32)
    image[:2] = [[[100]], [[300]]]  # the first 32nd of z: 200 HU on average
    image[2:4] = 3000  # clipped to 1000
    image[..., 0] -= 300  # with half of the next voxel, the first 32nd of x: 200 HU lower
    coarse = fingerprint(image)["coarse"]
    assert coarse.dtype == np.uint8
    assert coarse.shape == (32, 32, 32)
    expected = {(0, 1): 200, (1, 1): 1000, (2, 1): 0, (0, 0): 0, (2, 0): -200, (1, 0): 1000}
    for (z, x), hu in expected.items():
        assert set(coarse[z, :, x]) == {round((hu + 1000) * LEVELS)}


def test_fewer_voxels_than_a_coarse_copy_has():
    image = np.zeros((6, 20, 33), np.float32)
    image[3:] = 1000
    coarse = fingerprint(image)["coarse"]
    assert set(coarse[:16].ravel()) == {128}
    assert set(coarse[16:].ravel()) == {255}


def test_grey_levels_of_an_mr_are_stretched_before_they_are_compared():
    image = body(3) + 1000
    doubled, as_ct = fingerprint(2 * image + 500, "MR"), fingerprint(2 * image + 500)
    assert np.abs(doubled["coarse"] - fingerprint(image, "MR")["coarse"].astype(int)).max() <= 1
    assert np.ptp(doubled["coarse"]) > 200
    assert as_ct["coarse"].mean() > 200  # above the window of a CT


def test_an_image_of_one_value_has_a_fingerprint():
    assert np.ptp(fingerprint(np.full((5, 5, 5), 7.0), "MR")["coarse"]) == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda image: ndimage.zoom(image, 0.7, order=1, grid_mode=True, mode="nearest"),
        lambda image: ndimage.zoom(image, (1, 2, 2), order=3, grid_mode=True, mode="nearest"),
        lambda image: image.clip(-1000, 400),
        lambda image: np.where(image < -900, -2048, image),
        lambda image: image + np.random.default_rng(9).normal(0, 20, image.shape),
        lambda image: image[:, ::-1],
        lambda image: image[::-1, ::-1, ::-1],
    ],
    ids=["coarser", "finer", "clipped", "padding", "noise", "mirrored", "turned"],
)
def test_the_same_scan_is_found_after(change):
    images = {f"other{seed}": body(seed) for seed in range(1, 6)}
    found = find_twins(scans(one=body(0), changed=change(body(0)), **images))
    assert found == [{"one", "changed"}]


def test_another_orientation_of_the_file_changes_nothing():
    image, affine = body(0), np.diag([2.0, 2.0, 5.0, 1.0])
    stored = image[::-1].transpose(0, 2, 1)  # along z from the head down; x and y swapped
    turned = np.array([[0, 2.0, 0, 0], [2.0, 0, 0, 0], [0, 0, -5.0, 5.0 * 39], [0, 0, 0, 1]])
    first, *_ = to_canonical(image, None, affine)
    second, *_ = to_canonical(stored, None, turned)
    assert fingerprint(first)["exact"] == fingerprint(second)["exact"]


def test_different_bodies_are_no_twins():
    assert find_twins(scans(**{f"case{seed}": body(seed) for seed in range(12)})) == []


@pytest.mark.parametrize(("apart", "groups"), [(3, 1), (4, 0)])  # 23.5 and 31.4 HU
def test_the_threshold_is_a_mean_difference_in_hu(apart, groups):
    assert 3 / LEVELS < THRESHOLD_HU < 4 / LEVELS
    assert len(find_twins([("a", "1", flat(100)), ("b", "2", flat(100 + apart))])) == groups


def test_the_larger_of_two_values_does_not_wrap_round():
    assert find_twins([("a", "1", flat(0)), ("b", "2", flat(255))]) == []


def test_equal_digests_are_twins_whatever_their_copies():
    found = find_twins([("a", "1", flat(0)), ("b", "2", flat(100)), ("c", "1", flat(200))])
    assert found == [{"a", "c"}]


def test_twins_of_twins_are_one_group_and_the_largest_comes_first():
    levels = {"a": 10, "b": 13, "c": 16, "d": 100, "e": 103, "f": 200}
    found = find_twins([(name, name, flat(value)) for name, value in levels.items()])
    assert found == [{"a", "b", "c"}, {"d", "e"}]


def test_scans_of_one_key_are_no_twins_but_share_those_they_have():
    ed, es, other = (flat(value) for value in (10, 100, 101))
    assert find_twins([("patient", "1", ed), ("patient", "2", ed)]) == []
    found = find_twins([("patient", "1", ed), ("patient", "2", es), ("twin", "3", other)])
    assert found == [{"patient", "twin"}]


@pytest.mark.parametrize("some", [[], [("a", "1", flat(0))]])
def test_nobody_to_be_a_twin_of(some):
    assert find_twins(some) == []


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.integers(20, 60))
def test_no_pair_is_missed_by_the_summary(seed, spread):
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 200, (32, 32, 32))
    copies = [base + rng.integers(0, high, base.shape) for high in rng.integers(1, spread, 6)]
    copies = [
        np.flip(copy, np.flatnonzero(rng.random(3) < 0.5)).clip(0, 255).astype(np.uint8)
        for copy in copies
    ]
    near = set()
    for one, other in itertools.combinations(range(6), 2):
        for axes in itertools.chain.from_iterable(
            itertools.combinations(range(3), count) for count in range(4)
        ):
            apart = np.abs(copies[one].astype(int) - np.flip(copies[other], axes)).mean()
            if apart / LEVELS < THRESHOLD_HU:
                near.add((one, other))
    found = find_twins([(number, str(number), copy) for number, copy in enumerate(copies)])
    together = {pair for group in found for pair in itertools.combinations(sorted(group), 2)}
    assert near <= together
    assert {number for pair in near for number in pair} == set().union(*found)


def test_one_pair_of_twins_among_hundreds():
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 255, (600, 4, 4, 4), np.uint8)
    copies = [block.repeat(8, 0).repeat(8, 1).repeat(8, 2) for block in blocks]
    many = [(number, str(number), copy) for number, copy in enumerate(copies)]
    assert find_twins([*many, ("twin", "t", np.flip(copies[599], 0))]) == [{599, "twin"}]


def test_who_is_tested_on_leaves_training_and_validation():
    cases = table("lits 74 test", "abdomen 297 train", "abdomen 928 validation", "abdomen 1 train")
    kept, removed = separate(cases, [{("lits", "74"), ("abdomen", "297"), ("abdomen", "928")}])
    assert list(kept.case) == ["74", "1"]
    assert removed == [
        Removal("abdomen", "297", "the same scan as lits/74, which is in the test set"),
        Removal("abdomen", "928", "the same scan as lits/74, which is in the test set"),
    ]


def test_who_is_validated_on_leaves_training():
    cases = table("a 1 train", "b 1 validation")
    kept, removed = separate(cases, [{("a", "1"), ("b", "1")}])
    assert list(kept.dataset) == ["b"]
    assert removed == [Removal("a", "1", "the same scan as b/1, which is in the validation set")]


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_twins_in_one_set_stay_and_count_as_one_patient(split):
    cases = table(f"a 2 {split}", f"a 1 {split}", f"b 7 {split}", f"b 1 {split}")
    kept, removed = separate(cases, [{("a", "1"), ("a", "2"), ("b", "7")}])
    assert removed == []
    assert list(kept.patient) == ["a/1", "a/1", "a/1", "b/1"]
    assert kept.drop(columns="patient").equals(cases)


def test_every_scan_of_a_patient_leaves():
    cases = table("a 1 train", "a 1 train", "b 1 test", phase=["ED", "ES", ""])
    kept, removed = separate(cases, [{("a", "1"), ("b", "1")}])
    assert list(kept.dataset) == ["b"]
    assert [one.case for one in removed] == ["1"]


def test_twins_that_are_not_in_the_table_do_not_matter():
    cases = table("a 1 train", "b 1 test")
    kept, removed = separate(cases, [{("a", "1"), ("c", "1")}, {("d", "1"), ("d", "2")}])
    assert removed == []
    assert list(kept.patient) == ["a/1", "b/1"]


def test_nothing_to_separate():
    cases = table("a 1 train", "a 2 test")
    kept, removed = separate(cases, [])
    assert removed == []
    assert kept.equals(cases.assign(patient=["a/1", "a/2"]))


@pytest.mark.skipif(not OPENKBP.is_dir(), reason="PIECEMEAL_DATA: no real openkbp here")
def test_real_patients_are_told_apart_and_found_again():
    files = sorted((OPENKBP / "imagesTr").glob("*.nii.gz"))
    found = []
    for number, file in enumerate(files):
        nifti = nib.load(file)
        image, *_ = to_canonical(np.asarray(nifti.dataobj, np.float32).T, None, nifti.affine)
        found += scans(**{file.name: image})
        if number % 15 == 0:
            coarser = ndimage.zoom(image, 0.77, order=1, grid_mode=True, mode="nearest")
            found += scans(**{f"{file.name} coarser": coarser[:, ::-1]})
    expected = [{file.name, f"{file.name} coarser"} for file in files[::15]]
    assert sorted(map(sorted, find_twins(found))) == sorted(map(sorted, expected))
