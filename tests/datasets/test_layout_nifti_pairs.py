"""NIfTI images with one file of labels each, under the names of many data sets."""

import logging
import zipfile

import numpy as np
import pytest

from piecemeal.datasets.layouts import nifti_pairs as layout
from piecemeal.errors import InputError

AMOS = {
    "images": ["imagesTr/*.nii.gz", "imagesVa/*.nii.gz", "imagesTs/*.nii.gz"],
    "labels": ["labelsTr/{case}.nii.gz", "labelsVa/{case}.nii.gz"],
    "case": r"amos_(\d{4})",
    "unlabelled": "skip",
}
KEEP = AMOS | {"unlabelled": "keep"}
# What each data set has on disk, options that read it, and the cases to find.
LAYOUTS = {
    "word": (
        ["WORD/imagesTr/word_0002.nii.gz", "WORD/labelsTr/word_0002.nii.gz"],
        {"images": ["**/images*/word_*.nii.gz"], "labels": ["**/labels*/{case}.nii.gz"]},
        r"word_(\d{4})",
        ["word_0002"],
    ),
    "btcv": (
        ["RawData/Training/img/img0001.nii.gz", "RawData/Training/label/label0001.nii.gz"],
        {"images": ["**/Training/img/*.nii.gz"], "labels": ["**/label/label{number}.nii.gz"]},
        r"img(\d{4})",
        ["img0001"],
    ),
    "flare22": (
        [
            "FLARE22Train/images/FLARE22_Tr_0001_0000.nii.gz",
            "FLARE22Train/labels/FLARE22_Tr_0001.nii.gz",
        ],
        {"images": ["**/images/*.nii.gz"], "labels": ["**/labels/{case}.nii.gz"]},
        r"FLARE22_Tr_(\d{4})",
        ["FLARE22_Tr_0001"],
    ),
    "abdomenct1k": (
        [f"AbdomenCT-1K-ImagePart1/Case_0000{n}_0000.nii.gz" for n in (1, 2)]
        + [f"Mask/Case_0000{n}.nii.gz" for n in (1, 2)],
        {"images": ["**/Case_*_0000.nii.gz"], "labels": ["**/{case}.nii.gz"]},
        r"Case_(\d{5})",
        ["Case_00001", "Case_00002"],
    ),
    "lits": (
        [f"media/Training Batch 1/{kind}-{n}.nii" for kind in ("volume", "segmentation")
         for n in (0, 10, 2)],
        {"images": ["**/volume-*.nii"], "labels": ["**/segmentation-{number}.nii"]},
        r"volume-(\d+)",
        ["volume-0", "volume-10", "volume-2"],
    ),
    "kits19": (
        [f"data/case_0000{n}/{kind}.nii.gz" for kind in ("imaging", "segmentation")
         for n in (0, 1)],
        {"images": ["data/case_*/imaging.nii.gz"], "labels": ["data/{case}/segmentation.nii.gz"]},
        r"case_(\d{5})",
        ["case_00000", "case_00001"],
    ),
}  # fmt: skip


@pytest.fixture
def write(tmp_path, volumes):
    """Write small volumes under these names, labels where the name says so."""

    def files(*names):
        for name in names:
            labels = any(word in name for word in ("label", "Mask", "segmentation"))
            volumes.write(tmp_path / name, volumes.draw(len(name))[labels])
        return tmp_path

    return files


@pytest.fixture
def amos(write):
    return write(
        *(f"imagesTr/amos_000{n}.nii.gz" for n in (4, 1)),
        *(f"labelsTr/amos_000{n}.nii.gz" for n in (4, 1)),
        *("imagesVa/amos_0008.nii.gz", "labelsVa/amos_0008.nii.gz"),
        "imagesTs/amos_0002.nii.gz",
    )


@pytest.mark.parametrize("name", LAYOUTS)
def test_published_layouts(write, name):
    files, patterns, case, expected = LAYOUTS[name]
    root = write(*files)
    cases = layout.find_cases(root, **patterns, case=case)
    assert [one.scan for one in cases] == expected
    found = {str(file.relative_to(root)) for one in cases for file in (one.image, one.labels)}
    assert found == set(files)
    for one in cases:
        scan = layout.read(one, {1: "liver"})
        assert set(np.unique(scan.labels)) == {0, 1, 2, 3}
        assert scan.image.std() > 1


def test_images_without_labels_are_bad_unless_their_publisher_left_them_so(amos):
    options = {key: value for key, value in AMOS.items() if key != "unlabelled"}
    bad = []
    cases = layout.find_cases(amos, bad, **options)
    assert [case.case for case in cases] == ["amos_0001", "amos_0004", "amos_0008"]
    assert [(one.case, one.scan) for one in bad] == [("amos_0002", "amos_0002")]
    assert bad[0].reason == (
        f"{amos / 'imagesTs/amos_0002.nii.gz'}: its labels are missing, expected "
        "labelsTr/amos_0002.nii.gz or labelsVa/amos_0002.nii.gz; copy them from the data set"
    )
    with pytest.raises(InputError, match=r"imagesTs/amos_0002\.nii\.gz: its labels are missing"):
        layout.find_cases(amos, **options)


def test_missing_labels_are_named_by_number_where_a_pattern_has_it(write):
    root = write("RawData/Training/img/img0001.nii.gz", "RawData/Training/img/img0002.nii.gz")
    bad = []
    options = LAYOUTS["btcv"][1] | {"case": LAYOUTS["btcv"][2]}
    assert layout.find_cases(root, bad, **options) == []
    assert "expected **/label/label0001.nii.gz; copy" in bad[0].reason


def test_images_without_labels_may_be_no_cases(amos):
    cases = layout.find_cases(amos, **AMOS)
    assert [case.case for case in cases] == ["amos_0001", "amos_0004", "amos_0008"]


def test_images_without_labels_may_be_cases(amos):
    case = layout.find_cases(amos, **KEEP)[1]
    assert (case.case, case.labels) == ("amos_0002", None)
    assert layout.read(case, {1: "liver"}).labels is None


@pytest.mark.parametrize(("empty", "kept"), [("bad", False), ("keep", True)])
def test_scans_that_show_nothing_may_be_cases(amos, empty, kept):
    cases = layout.find_cases(amos, **AMOS, empty=empty)
    assert {case.may_be_empty for case in cases} == {kept}


def test_the_folder_tells_the_split(amos):
    splits = {"imagesTr": "train", "imagesVa": "validation"}
    cases = layout.find_cases(amos, **KEEP, splits=splits)
    assert [case.split for case in cases] == ["train", "", "train", "validation"]


def test_labels_without_an_image(amos, caplog):
    (amos / "imagesTr" / "amos_0004.nii.gz").unlink()
    with caplog.at_level(logging.INFO):
        assert len(layout.find_cases(amos, **AMOS)) == 2
    assert "1 images without labels, 1 labels without image" in caplog.text
    bad = []
    assert len(layout.find_cases(amos, bad, **AMOS, orphans="bad")) == 2
    assert [one.scan for one in bad] == ["amos_0004"]
    with pytest.raises(InputError, match=r"labelsTr/amos_0004\.nii\.gz: has no image"):
        layout.find_cases(amos, **AMOS, orphans="bad")


@pytest.mark.parametrize("folder", ["images", "labels"])
def test_two_files_of_the_same_case(amos, write, folder):
    write(f"{folder}Va/amos_0001.nii.gz")
    options = AMOS | {"labels": ["labels*/{case}.nii.gz"]}
    bad = []
    assert [c.case for c in layout.find_cases(amos, bad, **options)] == ["amos_0004", "amos_0008"]
    assert [one.case for one in bad] == ["amos_0001"]
    assert f"{folder}Tr" in bad[0].reason
    assert f"{folder}Va" in bad[0].reason


def test_the_first_pattern_that_has_labels_counts(amos, write):
    write("corrected/amos_0001.nii.gz")
    options = AMOS | {"labels": ["corrected/{case}.nii.gz", *AMOS["labels"]]}
    parents = [case.labels.parent.name for case in layout.find_cases(amos, **options)]
    assert parents == ["corrected", "labelsTr", "labelsVa"]


def test_patterns_that_overlap_find_an_image_once(amos):
    options = AMOS | {"images": ["imagesTr/*.nii.gz", "**/images*/*.nii.gz"]}
    assert len(layout.find_cases(amos, **options)) == 3


def test_junk_and_other_names_are_passed_over(amos):
    for name in ("imagesTr/._amos_0001.nii.gz", "__MACOSX/imagesTr/amos_0001.nii.gz"):
        (amos / name).parent.mkdir(parents=True, exist_ok=True)
        (amos / name).write_bytes(b"junk")
    (amos / "imagesTr" / "overview.nii.gz").write_bytes(b"")
    options = AMOS | {"images": ["**/imagesTr/*.nii.gz"]}
    assert [case.case for case in layout.find_cases(amos, **options)] == ["amos_0001", "amos_0004"]


def test_a_zip_is_read_as_it_is(amos, tmp_path_factory):
    archive = tmp_path_factory.mktemp("zip") / "amos.zip"
    with zipfile.ZipFile(archive, "w") as target:
        for path in sorted(amos.rglob("*.nii.gz")):
            target.write(path, path.relative_to(amos))
    cases = layout.find_cases(archive, **AMOS)
    assert [case.case for case in cases] == ["amos_0001", "amos_0004", "amos_0008"]
    unpacked = layout.read(layout.find_cases(amos, **AMOS)[0], {})
    np.testing.assert_array_equal(layout.read(cases[0], {}).labels, unpacked.labels)


def test_no_image(tmp_path):
    with pytest.raises(InputError, match=r"no image here, expected imagesTr/\*\.nii\.gz or"):
        layout.find_cases(tmp_path, **AMOS)
    assert layout.example(**AMOS) == "imagesTr/*.nii.gz"
