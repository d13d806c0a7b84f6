"""Reading the folder layout of thigh MR."""

import pytest

from piecemeal.datasets.layouts import oai_thigh as layout
from piecemeal.errors import InputError


@pytest.fixture
def thighs(tmp_path, volumes):
    for number in (2, 1):
        image, labels = volumes.draw(number)
        folder = tmp_path / f"subject{number:03d}"
        volumes.write(folder / "thigh.nii.gz", image, (0.98, 0.98, 5))
        volumes.write(folder / "thigh_labels.nii.gz", labels, (0.98, 0.98, 5))
    return tmp_path


def test_finds_and_reads(thighs):
    cases = layout.find_cases(thighs)
    assert [case.scan for case in cases] == ["subject001", "subject002"]
    assert [case.phase for case in cases] == ["", ""]
    scan = layout.read(cases[0], {1: "femur"})
    assert scan.image.shape == scan.labels.shape == (3, 24, 20)
    assert scan.spacing == pytest.approx((5, 0.98, 0.98))


@pytest.mark.parametrize("name", ["thigh.nii.gz", "thigh_labels.nii.gz"])
def test_missing_file(thighs, name):
    (thighs / "subject002" / name).unlink()
    with pytest.raises(InputError, match=f"subject002/{name}: is missing"):
        layout.find_cases(thighs)
    bad = []
    assert [case.case for case in layout.find_cases(thighs, bad)] == ["subject001"]
    assert [one.scan for one in bad] == ["subject002"]


def test_no_subject(tmp_path):
    with pytest.raises(InputError, match=r"expected subject001/thigh\.nii\.gz"):
        layout.find_cases(tmp_path / "nothing")
