"""Which masks win where they overlap, and subjects whose masks are not all there."""

import logging

import numpy as np
import pytest

from piecemeal.datasets.choosing import settings_of, usable_cases
from piecemeal.datasets.prepare import prepare
from piecemeal.datasets.scans import CaseFiles
from piecemeal.datasets.store import PreparedScan
from piecemeal.errors import InputError

SHAPE = (6, 6, 4)
SPACING = (1.5, 1.5, 1.5)
NAMES = ("spleen", "kidneys", "stomach", "liver")


@pytest.fixture
def totalseg(tmp_path, volumes):
    """Three subjects: x 0-2 is spleen, x 2-4 stomach; the planes x = 2 are both."""
    root = tmp_path / "raw"
    for number in range(3):
        folder = root / f"s{number:04d}"
        image = np.random.default_rng(number).normal(0, 100, SHAPE).astype(np.int16)
        volumes.write(folder / "ct.nii.gz", image, SPACING)
        for name, planes in {"spleen": slice(0, 3), "stomach": slice(2, 5)}.items():
            mask = np.zeros(SHAPE, np.uint8)
            mask[planes] = 1
            volumes.write(folder / "segmentations" / f"{name}.nii.gz", mask, SPACING)
    rows = "".join(f"s{number:04d};train\n" for number in range(3))
    (root / "meta.csv").write_text(f"image_id;split\n{rows}")
    return root


@pytest.fixture
def source(totalseg):
    return {
        "root": totalseg,
        "layout": "totalsegmentator",
        "layout_options": {},
        "labels": [["spleen", "spleen"], ["stomach", "stomach"]],
        "sides": {},
        "side_check": [],
        "unit_spacing": "reject",
        "modality": "CT",
        "other_modality": {},
    }


def labels_of(names, structures, sides=None):
    """The masks in the order in which they are written."""
    given = {"labels": [[f"mask of {n}", n] for n in names], "sides": sides or {}}
    given |= {"modality": "CT", "other_modality": {}, "layout": "", "side_check": []}
    case = CaseFiles("s0000", "", None, None)
    settings = settings_of("d", given | {"unit_spacing": "reject"}, case, {"CT": {}}, structures)
    return [structure for _, structure in settings["labels"]]


def test_masks_of_the_cohort_are_written_last_and_keep_their_order():
    structures = {"upper": ["liver", "spleen"]}
    assert labels_of(NAMES, structures) == ["kidneys", "stomach", "spleen", "liver"]


def test_a_merged_mask_belongs_to_the_cohort_of_one_of_its_sides():
    sides = {"kidneys": ["right kidney", "left kidney"]}
    found = labels_of(NAMES, {"kidney": ["left kidney"]}, sides)
    assert found == ["spleen", "stomach", "liver", "kidneys"]


def test_raw_values_stay_as_they_are(arguments):
    source = arguments["sources"]["acdc"]
    case = CaseFiles("patient001", "ED", None, None)
    structures = {"right": ["right ventricle"]}
    found = settings_of("acdc", source, case, arguments["intensity"], structures)
    assert found["labels"] == source["labels"]


def reference(tmp_path, source, structures):
    """Class ids of the first subject along x, prepared for a cohort of these structures."""
    prepare(
        tmp_path / "store",
        {"totalseg": source},
        {name: [name] for name in structures},
        "file",
        {"spacing_mm": [None] * 3, "size": [None] * 3, "fit": False},
        {"CT": {"kind": "zscore"}},
        {"seed": 1, "train": 1, "validation": 1, "test": 1},
    )
    scan = PreparedScan(tmp_path / "store" / "totalseg" / "s0000")
    return scan.reference[0, 0].tolist(), scan.record["settings"]["labels"]


@pytest.mark.parametrize(
    ("structures", "expected"),
    [
        (["spleen"], [1, 1, 1, 0, 0, 0]),  # the stomach takes nothing from it
        (["stomach"], [0, 0, 1, 1, 1, 0]),
        (["spleen", "stomach"], [1, 1, 2, 2, 2, 0]),  # the later of `labels`
        (["stomach", "spleen"], [2, 2, 1, 1, 1, 0]),
    ],
)
def test_a_mask_that_is_no_part_of_the_cohort_takes_no_voxel(
    tmp_path, source, structures, expected
):
    ids, labels = reference(tmp_path, source, structures)
    assert ids == expected
    # What decides the result is in the record: another cohort's order is another scan.
    assert (labels[-1][0] == "spleen") is (structures == ["spleen"])


def test_the_mask_of_a_side_check_still_checks(tmp_path, source):
    """LPS of an affine along +x: the spleen lies on the patient's left of the stomach."""
    source["side_check"] = [["spleen", "stomach"]]
    with pytest.raises(InputError, match="spleen lies to the patient's left of stomach"):
        prepare(
            tmp_path / "store",
            {"totalseg": source},
            {"spleen": ["spleen"]},
            "canonical",
            {"spacing_mm": [None] * 3, "size": [None] * 3, "fit": False},
            {"CT": {"kind": "zscore"}},
            {"seed": 1, "train": 1, "validation": 1, "test": 1},
        )


def test_a_subject_without_all_masks_is_bad_where_every_one_has_them(source, totalseg):
    (totalseg / "s0001" / "segmentations" / "stomach.nii.gz").unlink()
    cases, bad = usable_cases("totalseg", source)
    assert (len(cases), bad) == (3, [])  # version 1: absent
    source["layout_options"] = {"complete": True}
    cases, bad = usable_cases("totalseg", source)
    assert [case.case for case in cases] == ["s0000", "s0002"]
    assert [one.scan for one in bad] == ["s0001"]
    path = totalseg / "s0001" / "segmentations" / "stomach.nii.gz"
    assert bad[0].reason.startswith(f"{path}: is missing, though every subject")
    source["exclude"] = {"s0001": "incomplete"}
    assert [one.scan for one in usable_cases("totalseg", source)[1]] == []


@pytest.mark.parametrize("complete", [False, True])
def test_a_mask_that_no_subject_has_is_not_absent_in_all(source, totalseg, complete):
    source["labels"] = [*source["labels"], ["prostate", "prostate"]]
    source["layout_options"] = {"complete": complete}
    with pytest.raises(InputError) as caught:
        usable_cases("totalseg", source)
    text = str(caught.value)
    assert text.startswith(f"{totalseg / 'meta.csv'}: none of the 3 subjects")
    assert "has the mask prostate.nii.gz" in text


def test_several_missing_masks_are_counted(source, totalseg):
    (totalseg / "s0001" / "segmentations" / "extra.nii.gz").touch()
    for name in ("spleen", "stomach"):
        (totalseg / "s0001" / "segmentations" / f"{name}.nii.gz").unlink()
    source["layout_options"] = {"complete": True}
    _, (bad,) = usable_cases("totalseg", source)
    assert "s0001/segmentations/spleen.nii.gz (and 1 more): is missing" in bad.reason


def test_an_exclusion_of_nothing_is_refused(source, totalseg):
    source["exclude"] = {"s01": "broken"}
    with pytest.raises(InputError) as caught:
        usable_cases("own", source | {"partial": False})
    assert str(caught.value) == (
        "config/datasets/own.yaml, key exclude.s01: matches no patient and no scan in "
        f"{totalseg}, expected a name like s0000; correct or delete it"
    )


def test_what_a_part_of_a_data_set_lacks_is_told_and_not_left_out(source, totalseg, caplog):
    source |= {"exclude": {"s0099": "broken", "s0001": "motion"}, "partial": True}
    with caplog.at_level(logging.INFO):
        cases, bad = usable_cases("totalseg", source)
    assert ([case.case for case in cases], bad) == (["s0000", "s0002"], [])
    said = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert said == [
        (
            "WARNING",
            "config/datasets/totalseg.yaml, key exclude.s0099: matches no patient and no scan in "
            f"{totalseg}, which may be a part of the data set: nothing is left out by it",
        ),
        ("INFO", "totalseg/s0001 is left out: motion"),
    ]
