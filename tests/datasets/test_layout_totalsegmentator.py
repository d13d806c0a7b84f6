"""Reading TotalSegmentator: folder or zip, masks that are missing, empty, overlapping."""

import gzip
import zipfile

import numpy as np
import pytest

from piecemeal.datasets.layouts import totalsegmentator as layout
from piecemeal.datasets.scans import label_table
from piecemeal.errors import InputError

SHAPE = (8, 9, 7)
SPACING = (1.5, 1.5, 1.5)
LABELS = {"spleen": "spleen", "stomach": "stomach", "gallbladder": "gallbladder"}
TABLE = "image_id;age;gender;institute;study_type;split\n"


def box(start, stop, value=1):
    mask = np.zeros(SHAPE, np.uint8)
    mask[start:stop, 2:5, 2:5] = value
    return mask


@pytest.fixture
def dataset(tmp_path, volumes):
    """Three subjects in a folder around it all; the first has an overlap, s0003 no gallbladder."""
    root = tmp_path / "Totalsegmentator_dataset"
    for number in (0, 3, 11):
        folder = root / f"s{number:04d}"
        image = np.random.default_rng(number).normal(0, 100, SHAPE).astype(np.int16)
        volumes.write(folder / "ct.nii.gz", image, SPACING)
        masks = {"spleen": box(1, 4), "stomach": box(3, 6), "vertebrae_L1": box(0, 8)}
        masks["gallbladder"] = box(0, 0)
        if number == 3:
            del masks["gallbladder"]
        for name, mask in masks.items():
            volumes.write(folder / "segmentations" / f"{name}.nii.gz", mask, SPACING)
    rows = ["s0000;70;m;A;ct;train", "s0003;;f;A;ct;val", "s0011;60;m;B;ct;test"]
    # With the mark that Excel writes, as in the published file.
    (root / "meta.csv").write_text(TABLE + "\n".join(rows) + "\n", encoding="utf-8-sig")
    return root


@pytest.fixture
def zipped(dataset, tmp_path_factory):
    """A folder that holds nothing but the zip as published."""
    folder = tmp_path_factory.mktemp("raw")
    with zipfile.ZipFile(folder / "Totalsegmentator_dataset_v201.zip", "w") as archive:
        for path in sorted(dataset.rglob("*")):
            archive.write(path, path.relative_to(dataset.parent))
        archive.writestr("__MACOSX/Totalsegmentator_dataset/._meta.csv", b"junk")
    return folder


def test_every_subject_of_the_table(dataset):
    cases = layout.find_cases(dataset)
    assert [(case.scan, case.split) for case in cases] == [
        ("s0000", "train"),
        ("s0003", "validation"),
        ("s0011", "test"),
    ]
    assert cases[0].image == dataset / "s0000" / "ct.nii.gz"
    assert cases[0].labels is None
    names = [name for name, _ in cases[0].masks]
    assert names == ["gallbladder", "spleen", "stomach", "vertebrae_L1"]
    assert dict(cases[0].masks)["spleen"] == dataset / "s0000" / "segmentations" / "spleen.nii.gz"
    assert cases[0].described_by == (dataset / "meta.csv",)


def test_with_and_without_a_folder_around(dataset):
    assert layout.find_cases(dataset.parent) == layout.find_cases(dataset)


@pytest.mark.parametrize("place", ["folder of the zip", "zip"])
def test_the_zip_is_read_where_it_is(dataset, zipped, place):
    (archive,) = zipped.glob("*.zip")
    cases = layout.find_cases(zipped if place == "folder of the zip" else archive)
    unpacked = layout.find_cases(dataset)
    assert [(c.scan, c.split) for c in cases] == [(c.scan, c.split) for c in unpacked]
    for ours, theirs in zip(cases, unpacked, strict=True):
        assert [name for name, _ in ours.masks] == [name for name, _ in theirs.masks]
        one, other = layout.read(ours, LABELS), layout.read(theirs, LABELS)
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.labels, other.labels)
    assert list(zipped.iterdir()) == [archive]


def test_reads_the_wanted_masks_in_writing_order(dataset):
    scan = layout.read(layout.find_cases(dataset)[0], LABELS)
    assert scan.spacing == (1.5, 1.5, 1.5)
    assert scan.labels.dtype == np.uint8
    expected = np.maximum(box(1, 4), 2 * box(3, 6)).T  # the stomach comes later
    np.testing.assert_array_equal(scan.labels, expected)
    assert scan.notes == ("labels: voxels in several masks: 9, the later of `labels` wins",)
    assert label_table(LABELS)[2] == "stomach"


@pytest.mark.parametrize("number", [0, 1], ids=["all zero", "no file"])
def test_an_absent_structure(dataset, number):
    scan = layout.read(layout.find_cases(dataset)[number], LABELS)
    assert set(np.unique(scan.labels)) == {0, 1, 2}


def test_a_value_of_4_is_inside_and_noted(dataset, volumes):
    mask = box(3, 6)
    mask[4, 3, 3:5] = 4
    volumes.write(dataset / "s0011" / "segmentations" / "stomach.nii.gz", mask, SPACING)
    scan = layout.read(layout.find_cases(dataset)[2], LABELS)
    assert (scan.labels == 2).sum() == np.count_nonzero(mask)
    assert "labels: stomach: voxels neither 0 nor 1: 2" in scan.notes


def test_masks_a_little_off_are_taken_and_noted(dataset, volumes):
    path = dataset / "s0003" / "segmentations" / "spleen.nii.gz"
    volumes.write(path, box(1, 4), SPACING, shift=0.21)
    scan = layout.read(layout.find_cases(dataset)[1], LABELS)
    assert scan.notes[0] == "labels: spleen: lies 0.21 mm off the image"


@pytest.mark.parametrize(("shape", "shift"), [((8, 9, 6), 0), (SHAPE, 0.6)])
def test_masks_that_do_not_lie_on_the_image(dataset, volumes, shape, shift):
    path = dataset / "s0003" / "segmentations" / "spleen.nii.gz"
    volumes.write(path, np.ones(shape, np.uint8), SPACING, shift=shift)
    with pytest.raises(InputError, match=r"s0003/segmentations/spleen\.nii\.gz: "):
        layout.read(layout.find_cases(dataset)[1], LABELS)


def test_truncated_ct(dataset):
    path = dataset / "s0003" / "ct.nii.gz"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match=r"s0003/ct\.nii\.gz: is truncated"):
        layout.read(layout.find_cases(dataset)[1], LABELS)


def test_damaged_ct_in_a_zip(dataset, tmp_path):
    content = bytearray(gzip.compress(bytes(range(256)) * 40))
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("meta.csv", TABLE + "s0000;70;m;A;ct;train\n")
        archive.writestr("s0000/ct.nii.gz", content)
        archive.write(dataset / "s0000/segmentations/spleen.nii.gz", "s0000/segmentations/a.nii.gz")
    raw = (tmp_path / "set.zip").read_bytes()
    (tmp_path / "set.zip").write_bytes(raw.replace(content[:40], bytes(40), 1))
    (case,) = layout.find_cases(tmp_path / "set.zip")
    with pytest.raises(InputError, match=r"set\.zip!/s0000/ct\.nii\.gz: is truncated, corrupt"):
        layout.read(case, LABELS)


def test_subject_without_folder(dataset):
    table = dataset / "meta.csv"
    table.write_text(table.read_text() + "s0099;1;m;A;ct;train\n")
    bad = []
    assert len(layout.find_cases(dataset, bad)) == 3
    assert [one.scan for one in bad] == ["s0099"]
    with pytest.raises(InputError, match=r"s0099/ct\.nii\.gz: is missing, though .*meta\.csv"):
        layout.find_cases(dataset)


def test_subject_without_masks(dataset):
    for path in (dataset / "s0011" / "segmentations").iterdir():
        path.unlink()
    with pytest.raises(InputError, match="s0011/segmentations: is missing, though"):
        layout.find_cases(dataset)


def test_subject_that_the_table_does_not_have(dataset):
    table = dataset / "meta.csv"
    table.write_text(TABLE + "s0003;;f;A;ct;val\n", encoding="utf-8")
    assert [case.case for case in layout.find_cases(dataset)] == ["s0003"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image_id,split\ns0000,train\n", "has no column image_id and split"),
        ("image_id;age\ns0000;1\n", "has no column split"),
        (TABLE + "s0000;70;m;A;ct;training\n", "the split of s0000 is 'training'"),
        ("", "has no column"),
        (TABLE, "has no line, expected one a subject"),
    ],
)
def test_table_of_another_form(dataset, text, message):
    (dataset / "meta.csv").write_text(text)
    with pytest.raises(InputError, match=rf"meta\.csv: {message}"):
        layout.find_cases(dataset)


def test_nothing_here(tmp_path):
    with pytest.raises(InputError, match=r"no TotalSegmentator data set here, expected meta\.csv"):
        layout.find_cases(tmp_path)
