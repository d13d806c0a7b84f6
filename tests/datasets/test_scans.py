"""What a case is made of, and what raw label values stand for."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from piecemeal.datasets.members import Member
from piecemeal.datasets.scans import (
    BadCase,
    CaseFiles,
    content_ids,
    found_or_raise,
    label_table,
    map_labels,
    name_below,
)
from piecemeal.errors import InputError

RAW = np.array([[[0, 1, 2], [500, 3, 0]]])


def test_a_scan_is_named_by_patient_and_phase():
    case = CaseFiles("patient001", "ED", Path("a"), Path("b"))
    assert case.scan == "patient001_ED"
    assert CaseFiles("case_01", "", Path("a"), None).scan == "case_01"


def test_files_of_a_case_are_all_its_files():
    image, second, labels, mask, info = map(Path, "abcde")
    several = {"slices": (second,), "masks": (("liver", mask),), "described_by": (info,)}
    assert CaseFiles("x", "", image, labels, **several).files == (image, second, labels, mask, info)
    assert CaseFiles("x", "", image, None).files == (image,)


def test_bad_cases_go_to_who_asks_for_them_or_are_raised():
    bad = [BadCase("a", "a", "a.nii: is missing"), BadCase("b", "b", "b.nii: is missing")]
    asked = []
    assert found_or_raise([], bad, asked) == []
    assert asked == bad
    with pytest.raises(InputError, match=r"a\.nii: is missing\nb\.nii: is missing"):
        found_or_raise([], bad, None)
    assert found_or_raise([], [], None) == []


def test_raw_values_stay_and_masks_are_numbered():
    assert label_table({4: "spleen", 2: "liver"}) == {4: "spleen", 2: "liver"}
    assert label_table({"Eye_AL": "eye", "Eye_PL": "eye"}) == {1: "eye", 2: "eye"}


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.int64])
def test_structures_are_numbered_in_the_order_of_the_table(dtype):
    table = {1: "bone", 2: "muscle", 500: "fat", 3: "muscle"}
    ids, structures = map_labels(RAW.astype(dtype), table, Path("gt.nii"))
    assert structures == ["bone", "muscle", "fat"]
    assert ids.dtype == np.uint8
    assert ids.tolist() == [[[0, 1, 2], [3, 2, 0]]]


def test_a_value_may_stand_for_background():
    table = {1: "bone", 2: "background", 500: "fat", 3: "background"}
    ids, structures = map_labels(RAW, table, Path("gt.nii"))
    assert structures == ["bone", "fat"]
    assert ids.tolist() == [[[0, 1, 0], [2, 0, 0]]]


@pytest.mark.parametrize(("dtype", "value"), [(np.int8, -1), (np.uint8, 7), (np.uint16, 700)])
def test_label_outside_the_map(dtype, value):
    raw = np.array([[[0, 1, value]]], dtype)
    with pytest.raises(InputError, match=rf"gt\.nii: label values \[{value}\] are not in"):
        map_labels(raw, {1: "bone"}, Path("gt.nii"))


@pytest.mark.parametrize("value", [0, 4])
def test_empty_labels(value):
    raw, table = np.full((2, 2, 2), value), {1: "bone", 4: "background"}
    with pytest.raises(InputError, match=r"gt\.nii: no voxel is labelled"):
        map_labels(raw, table, Path("gt.nii"))
    ids, _ = map_labels(raw, table, Path("gt.nii"), may_be_empty=True)
    assert not ids.any()


def test_content_ids_change_with_the_content(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    before = content_ids([tmp_path / "a"])
    assert before[tmp_path / "a"].startswith("ba7816bf")
    (tmp_path / "a").write_bytes(b"abd")
    assert content_ids([tmp_path / "a"]) != before
    with pytest.raises(InputError, match="b: cannot be read"):
        content_ids([tmp_path / "b"])


def test_names_below_the_root_in_folders_and_zips(tmp_path):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("s0000/ct.nii.gz", b"")
    assert name_below(tmp_path, tmp_path / "s0000" / "ct.nii.gz") == "s0000/ct.nii.gz"
    member = Member(tmp_path / "set.zip", "s0000/ct.nii.gz")
    assert name_below(tmp_path, member) == "set.zip!/s0000/ct.nii.gz"
