import json
from types import SimpleNamespace

import pytest

from piecemeal.datasets import fetch, layouts, phantoms
from piecemeal.datasets.sources import Layout, dataset_root, read_manifest
from piecemeal.errors import InputError

ACDC = Layout("acdc")


@pytest.fixture
def writer(monkeypatch, volumes):
    """A phantom writer that leaves two scans a patient; records what it was asked for."""
    asked = []

    def write(folder, cases, seed, *, size=0):
        asked.append((cases, seed, {"size": size} if size else {}))
        for number in range(1, cases + 1):
            volumes.patient(folder, number)
        (folder / "PHANTOM").touch()

    monkeypatch.setattr(phantoms, "load", lambda name: SimpleNamespace(write=write))
    return asked


def test_phantom(tmp_path, writer):
    folder = tmp_path / "source"
    manifest = fetch.fetch_phantom(folder, ACDC, "hearts", 2, 7, {"size": 20})
    assert writer == [(2, 7, {"size": 20})]
    assert json.loads((folder / "manifest.json").read_text()) == manifest
    assert (manifest["source"], manifest["layout"], manifest["phantom"]) == (
        "phantom",
        "acdc",
        True,
    )
    assert len(manifest["files"]) == 2 * 5
    entry = manifest["files"]["patient001/patient001_frame01.nii.gz"]
    root = dataset_root(folder)
    assert entry["bytes"] == (root / "patient001/patient001_frame01.nii.gz").stat().st_size
    assert manifest["writer"] == "hearts"
    assert len(layouts.load("acdc").find_cases(root)) == 4
    assert sorted(path.name for path in folder.iterdir()) == ["LOCK", "manifest.json", "phantom"]


def test_phantom_replaces_an_earlier_or_broken_one(tmp_path, writer):
    folder = tmp_path / "source"
    fetch.fetch_phantom(folder, ACDC, "hearts", 3, 7)
    (folder / "phantom.partial").mkdir()
    (folder / "phantom.partial" / "rest").touch()
    manifest = fetch.fetch_phantom(folder, ACDC, "hearts", 1, 7)
    assert len(manifest["files"]) == 5
    assert not (dataset_root(folder) / "rest").exists()


def test_a_phantom_lies_on_the_disk_before_it_has_its_name(tmp_path, writer, monkeypatch):
    there = []

    def spy():
        there.extend(sorted(path.name for path in (tmp_path / "source").iterdir()))

    monkeypatch.setattr("os.sync", spy)
    fetch.fetch_phantom(tmp_path / "source", ACDC, "hearts", 1, 7)
    assert there == ["LOCK", "phantom.partial"]


def test_failed_phantom_leaves_no_manifest(tmp_path, writer, monkeypatch):
    folder = tmp_path / "source"
    fetch.fetch_phantom(folder, ACDC, "hearts", 1, 7)

    def fail(folder, cases, seed):
        raise OSError("disk full")

    monkeypatch.setattr(phantoms, "load", lambda name: SimpleNamespace(write=fail))
    with pytest.raises(OSError, match="disk full"):
        fetch.fetch_phantom(folder, ACDC, "hearts", 1, 7)
    with pytest.raises(InputError, match=r"manifest\.json.*fetch the data set again"):
        dataset_root(folder)


def test_local_links_and_copies_nothing(tmp_path, acdc):
    folder = tmp_path / "source"
    before = sorted(acdc.rglob("*"))
    manifest = fetch.fetch_local(folder, ACDC, acdc, "hearts")
    assert (folder / "local").is_symlink()
    assert (manifest["source"], manifest["path"], manifest["phantom"]) == (
        "local",
        str(acdc),
        False,
    )
    assert len(manifest["files"]) == 4 * 5
    assert "patient001/Info.cfg" in manifest["files"]
    assert len(layouts.load("acdc").find_cases(dataset_root(folder))) == 8
    assert sorted(acdc.rglob("*")) == before


def test_local_again_with_another_folder(tmp_path, acdc):
    folder = tmp_path / "source"
    first = fetch.fetch_local(folder, ACDC, acdc, "hearts")
    moved = acdc.rename(tmp_path / "moved")
    second = fetch.fetch_local(folder, ACDC, moved, "hearts")
    assert first["sha256"] == second["sha256"]
    assert (folder / "local").resolve() == moved.resolve()


def test_manifest_sum_follows_the_content(tmp_path, acdc):
    first = fetch.fetch_local(tmp_path / "source", ACDC, acdc, "hearts")
    with (acdc / "patient001" / "Info.cfg").open("a") as file:
        file.write("Height: 184.0\n")
    assert fetch.fetch_local(tmp_path / "source", ACDC, acdc, "hearts")["sha256"] != first["sha256"]


def test_local_phantom_stays_a_phantom(tmp_path, acdc):
    (acdc / "PHANTOM").touch()
    assert fetch.fetch_local(tmp_path / "source", ACDC, acdc, "hearts")["phantom"] is True


def test_local_with_a_bad_patient_leaves_the_choice_to_prepare(tmp_path, acdc, caplog):
    (acdc / "patient001" / "Info.cfg").write_text("ED: 1\n")
    manifest = fetch.fetch_local(tmp_path / "source", ACDC, acdc, "hearts")
    assert len(manifest["files"]) == 3 * 5
    assert "has no ES" in caplog.text


def test_local_folder_missing(tmp_path):
    with pytest.raises(InputError) as caught:
        fetch.fetch_local(tmp_path / "source", ACDC, tmp_path / "nowhere", "hearts")
    text = str(caught.value)
    assert str(tmp_path / "nowhere") in text
    assert "expected data set hearts with patient001/Info.cfg" in text
    assert "config/local.yaml: `local: {hearts: /path}`" in text


def test_local_folder_of_something_else(tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(InputError, match=r"no ACDC patient.*local: \{hearts: .*photos"):
        fetch.fetch_local(tmp_path / "source", ACDC, tmp_path / "photos", "hearts")
    assert not (tmp_path / "source" / "manifest.json").exists()


def test_phantom_waits_for_whom_holds_the_folder(tmp_path, writer, waits):
    waits(
        tmp_path / "source", lambda: fetch.fetch_phantom(tmp_path / "source", ACDC, "hearts", 1, 7)
    )
    assert read_manifest(tmp_path / "source")["phantom"] is True


def test_local_waits_for_whom_holds_the_folder(tmp_path, acdc, waits):
    waits(tmp_path / "source", lambda: fetch.fetch_local(tmp_path / "source", ACDC, acdc, "hearts"))
    assert read_manifest(tmp_path / "source")["source"] == "local"


def test_an_unknown_option_of_a_writer_names_the_known_ones(tmp_path):
    with pytest.raises(InputError, match=r"phantom acdc: unknown options \['broken'\]; allowed"):
        fetch.fetch_phantom(tmp_path / "source", ACDC, "acdc", 1, 7, {"broken": True})
