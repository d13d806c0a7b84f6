"""Folders of a user's own that a plan reads data sets from."""

import pytest

from piecemeal.datasets.local_folders import check_local_folders, local_folder
from piecemeal.datasets.sources import Layout
from piecemeal.errors import InputError
from piecemeal.plan_file import Plan, Unit

PAIRS = Layout("nifti_pairs", {"images": ["images/*.nii.gz"]})


def plan_of(**folders) -> Plan:
    """A plan with a phantom, and data sets that are read from these folders."""
    layout = {"layout": "nifti_pairs", "layout_options": PAIRS.options}
    raw = {name: Unit("0", layout | {"path": str(path)}) for name, path in folders.items()}
    drawn = Unit("0", {"layout": "acdc", "layout_options": {}})
    return Plan("mine", {"acdc": drawn} | raw, {}, {}, {}, {}, {})


def test_a_folder_that_is_there(tmp_path, monkeypatch):
    assert local_folder(tmp_path, PAIRS, "livers") == tmp_path
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "livers").mkdir()
    assert local_folder("~/livers", PAIRS, "livers") == tmp_path / "livers"
    assert local_folder("livers", PAIRS, "livers") == tmp_path / "livers"


def test_a_plan_whose_folders_are_there(tmp_path):
    check_local_folders(plan_of(livers=tmp_path))
    check_local_folders(plan_of())


def test_a_folder_that_is_missing(tmp_path):
    with pytest.raises(InputError) as caught:
        check_local_folders(plan_of(kidneys=tmp_path, livers=tmp_path / "liverz"))
    assert str(caught.value) == (
        f"{tmp_path}/liverz: there is no such folder, expected data set livers with "
        "images/*.nii.gz in it; set its path in config/local.yaml: `local: {livers: /path}`"
    )


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "livers.zip").touch()
    with pytest.raises(InputError) as caught:
        check_local_folders(plan_of(livers=tmp_path / "livers.zip"))
    assert str(caught.value).startswith(
        f"{tmp_path}/livers.zip: is not a folder, expected data set livers with images/*.nii.gz"
    )


def test_what_cannot_be_looked_at_is_missing(tmp_path, monkeypatch):
    """A folder below one that is closed to the user, or a name that is too long."""
    with pytest.raises(InputError, match="there is no such folder, expected data set livers"):
        local_folder(tmp_path / ("x" * 300), PAIRS, "livers")
