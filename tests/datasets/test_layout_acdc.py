"""Reading the folder layout of ACDC."""

import numpy as np
import pytest

from piecemeal.datasets import layouts
from piecemeal.datasets.layouts import acdc as layout
from piecemeal.errors import InputError

LABELS = {1: "right ventricle", 2: "myocardium", 3: "left ventricle"}


def test_both_phases_of_every_patient_in_order(acdc):
    cases = layout.find_cases(acdc)
    assert [case.scan for case in cases[:3]] == ["patient001_ED", "patient001_ES", "patient002_ED"]
    assert len(cases) == 8
    assert cases[1].image == acdc / "patient001" / "patient001_frame12.nii.gz"
    assert cases[1].labels == acdc / "patient001" / "patient001_frame12_gt.nii.gz"
    assert (cases[1].case, cases[1].phase, cases[1].group) == ("patient001", "ES", "DCM")


def test_reads_a_frame(acdc):
    scan = layout.read(layout.find_cases(acdc)[0], LABELS)
    assert scan.image.shape == scan.labels.shape == (3, 24, 20)
    assert scan.spacing == (10.0, 1.5, 1.5)
    assert set(np.unique(scan.labels)) == {0, 1, 2, 3}


@pytest.mark.parametrize(
    "below", ["", "training", "testing", "database/training", "ACDC/database/testing"]
)
def test_finds_the_places_archives_unpack_to(tmp_path, volumes, below):
    volumes.patient(tmp_path / below, 101)
    assert [case.case for case in layout.find_cases(tmp_path)] == ["patient101"] * 2


def test_training_and_testing_together(tmp_path, volumes):
    volumes.patient(tmp_path / "testing", 101)
    volumes.patient(tmp_path / "training", 7)
    assert [case.case for case in layout.find_cases(tmp_path)] == ["patient007"] * 2 + [
        "patient101"
    ] * 2


def test_same_patient_twice(acdc, volumes):
    volumes.patient(acdc / "training", 1)
    with pytest.raises(InputError, match="same patient"):
        layout.find_cases(acdc)


def test_info_with_carriage_returns_spaces_and_a_late_first_frame(acdc, volumes):
    folder = volumes.patient(acdc, 90, es=11)
    for path in folder.glob("*frame01*"):
        path.rename(str(path).replace("frame01", "frame04"))
    (folder / "Info.cfg").write_bytes(b" ED : 4 \r\nES:11\r\nGroup: RV\r\n")
    case = layout.find_cases(acdc)[-2]
    assert (case.image.name, case.group) == ("patient090_frame04.nii.gz", "RV")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ES: 12\n", "has no ED"),
        ("ED: 1\n", "has no ES"),
        ("ED: one\nES: 12\n", "ED is 'one'"),
        ("ED: 1\nES: 12.5\n", "ES is '12.5'"),
        ("ED: 0\nES: 12\n", "ED is '0'"),
        ("ED: 12\nES: 12\n", "the same frame"),
    ],
)
def test_wrong_info_names_file_and_key(acdc, text, message):
    info = acdc / "patient002" / "Info.cfg"
    info.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        layout.find_cases(acdc)
    assert str(info) in str(caught.value)


def test_missing_info(acdc):
    (acdc / "patient002" / "Info.cfg").unlink()
    with pytest.raises(InputError, match=r"patient002/Info\.cfg: cannot be read"):
        layout.find_cases(acdc)


@pytest.mark.parametrize("name", ["patient003_frame12.nii.gz", "patient003_frame12_gt.nii.gz"])
def test_missing_frame_names_the_file(acdc, name):
    (acdc / "patient003" / name).unlink()
    with pytest.raises(InputError, match=f"{name}: is missing.*ES as frame 12"):
        layout.find_cases(acdc)


def test_bad_patients_do_not_hide_the_others(acdc):
    (acdc / "patient001" / "Info.cfg").write_text("ED: 1\n")
    (acdc / "patient003" / "patient003_frame12.nii.gz").unlink()
    bad = []
    cases = layout.find_cases(acdc, bad)
    assert [one.scan for one in bad] == ["patient001", "patient003_ES"]
    assert [case.scan for case in cases][:3] == ["patient002_ED", "patient002_ES", "patient003_ED"]


def test_other_folders_are_passed_over(acdc):
    (acdc / "._patient001").mkdir()
    (acdc / "__MACOSX").mkdir()
    assert len(layout.find_cases(acdc)) == 8


@pytest.mark.parametrize("there", [True, False])
def test_no_patient(tmp_path, there):
    root = tmp_path / "nothing"
    if there:
        root.mkdir()
    with pytest.raises(InputError, match=r"nothing: no ACDC patient.*patient001/Info\.cfg"):
        layout.find_cases(root)


def test_unknown_layout_lists_the_known():
    with pytest.raises(InputError, match="acdc, hanseg"):
        layouts.load("adcd")
    assert layouts.load("acdc") is layout
