"""From archives to a data set in its official layout, with what a kill leaves behind."""

import hashlib
import json
import zipfile
from pathlib import Path

import py7zr
import pytest

from piecemeal.datasets.fetch import fetch_download
from piecemeal.datasets.fetching import assemble as module
from piecemeal.datasets.fetching.assemble import assemble, wanted_files
from piecemeal.datasets.sources import Layout, dataset_root
from piecemeal.errors import InputError


def archive(name, **changes):
    """One entry as in dataset_specs, of a file that a person places."""
    given = {
        "name": name,
        "urls": [],
        "by_hand": "the owner's page",
        "bytes": None,
        "approximate_gb": None,
        "sha256": None,
        "md5": None,
        "repacked": False,
        "unpack": "zip",
        "into": "",
        "password_from": "",
        "numbers": [],
        "series_url": "",
    }
    return given | changes


def zipped(path: Path, files: dict[str, str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as target:
        for name, text in files.items():
            target.writestr(name, text)
    return path


def tree(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def downloads(tmp_path) -> Path:
    (tmp_path / "downloads").mkdir()
    return tmp_path / "downloads"


def test_several_archives_fill_one_tree(tmp_path, downloads):
    zipped(downloads / "part1.zip", {"images/a.txt": "a", "__MACOSX/images/._a.txt": "junk"})
    zipped(downloads / "part2.zip", {"images/b.txt": "b", "readme.txt": "hello"})
    with py7zr.SevenZipFile(downloads / "Mask.7z", "w") as target:
        target.writestr("mask of a", "a.txt")
    (downloads / "extra.csv").write_text("x")
    root = assemble(
        tmp_path / "raw",
        [
            archive("part1.zip"),
            archive("part2.zip"),
            archive("Mask.7z", unpack="7z", into="Mask"),
            archive("extra.csv", unpack="no", into="tables"),
        ],
        downloads,
    )
    assert tree(root) == {
        "Mask/a.txt": "mask of a",
        "images/a.txt": "a",
        "images/b.txt": "b",
        "readme.txt": "hello",
        "tables/extra.csv": "x",
    }
    there = sorted(path.name for path in (tmp_path / "raw").iterdir())
    assert there == ["download", "download.json"]
    lock = json.loads((downloads / "checksums.json").read_text())
    assert set(lock) == {"part1.zip", "part2.zip", "Mask.7z", "extra.csv"}


def test_numbers_stand_for_files_in_folders(tmp_path, downloads):
    for number in (0, 1, 5):
        path = downloads / f"case_{number:05d}" / "image.nii"
        path.parent.mkdir()
        path.write_text(str(number))
    many = archive("case_{number:05d}/image.nii", unpack="no", numbers=[(0, 1), (5, 5)])
    assert [file.name for file in wanted_files([many])] == [
        "case_00000/image.nii",
        "case_00001/image.nii",
        "case_00005/image.nii",
    ]
    root = assemble(tmp_path / "raw", [many], downloads)
    assert tree(root) == {f"case_{n:05d}/image.nii": str(n) for n in (0, 1, 5)}


def test_a_manifest_of_series_becomes_a_folder_a_series(tmp_path, downloads):
    uids = ["1.2.840.1", "1.2.840.22"]
    text = "downloadServerUrl=https://example.org\nListOfSeriesToDownload=\n" + "\n".join(uids)
    (downloads / "scans.tcia").write_text(text)
    for uid in uids:
        zipped(downloads / "scans" / f"{uid}.zip", {"1-1.dcm": uid})
    series = archive(
        "scans.tcia", unpack="tcia", series_url="https://example.org/{uid}", into="DICOM"
    )
    root = assemble(tmp_path / "raw", [series], downloads)
    assert tree(root) == {f"DICOM/{uid}/1-1.dcm": uid for uid in uids}


def test_a_manifest_without_series_is_refused(tmp_path, downloads):
    (downloads / "scans.tcia").write_text("<html>busy</html>")
    series = archive("scans.tcia", unpack="tcia", series_url="https://example.org/{uid}")
    with pytest.raises(InputError, match=r"scans\.tcia: expected a manifest with one series UID"):
        assemble(tmp_path / "raw", [series], downloads)


def test_what_a_person_has_to_place_is_named_before_anything_is_unpacked(tmp_path, downloads):
    zipped(downloads / "part1.zip", {"a.txt": "a"})
    archives = [archive("part1.zip"), archive("RawData.zip", by_hand="Synapse, syn3379050")]
    with pytest.raises(
        InputError, match=r"RawData\.zip.*Synapse, syn3379050.*example\.org"
    ) as said:
        assemble(tmp_path / "raw", archives, downloads, "https://example.org")
    assert str(downloads) in str(said.value)
    assert not (tmp_path / "raw").exists()


def test_a_file_that_its_server_may_pack_anew_is_taken(tmp_path, downloads):
    zipped(downloads / "ACDC.zip", {"a.txt": "a"})
    anew = archive("ACDC.zip", sha256=64 * "0", repacked=True)
    assert tree(assemble(tmp_path / "raw", [anew], downloads)) == {"a.txt": "a"}


def test_all_lies_on_the_disk_before_a_name_vouches_for_it(tmp_path, downloads, monkeypatch):
    zipped(downloads / "part1.zip", {"a.txt": "a"})
    folder = tmp_path / "raw"
    there = []

    def spy():
        there.append(sorted(path.name for path in folder.iterdir()))

    monkeypatch.setattr("os.sync", spy)
    assemble(folder, [archive("part1.zip")], downloads)
    assert there == [["download.partial", "parts"], ["download", "parts"]]
    assemble(folder, [archive("part1.zip")], downloads)
    assert len(there) == 2  # nothing was written again


def test_a_file_that_is_not_the_published_one_is_refused(tmp_path, downloads):
    zipped(downloads / "part1.zip", {"a.txt": "a"})
    with pytest.raises(InputError, match=r"part1\.zip"):
        assemble(tmp_path / "raw", [archive("part1.zip", sha256=64 * "0")], downloads)
    right = hashlib.sha256((downloads / "part1.zip").read_bytes()).hexdigest()
    assert tree(assemble(tmp_path / "raw", [archive("part1.zip", sha256=right)], downloads))


def test_two_archives_with_the_same_file_are_refused(tmp_path, downloads):
    for name in ("part1.zip", "part2.zip"):
        zipped(downloads / name, {"images/a.txt": name})
    with pytest.raises(InputError, match=r"images/a\.txt: is in two archives"):
        assemble(tmp_path / "raw", [archive("part1.zip"), archive("part2.zip")], downloads)
    assert not (tmp_path / "raw" / "download").exists()


def test_names_that_leave_the_folder_are_refused(tmp_path, downloads):
    (tmp_path / "secret").write_text("x")
    for changes in ({"name": "../secret"}, {"name": "a.zip", "into": "/etc"}):
        zipped(downloads / "a.zip", {"a.txt": "a"})
        with pytest.raises(InputError, match=r"absolute path|leads out"):
            assemble(tmp_path / "raw", [archive("a.zip") | changes], downloads)


def test_unpacked_parts_survive_a_kill(tmp_path, downloads, monkeypatch):
    for name in ("part1.zip", "part2.zip"):
        zipped(downloads / name, {f"{name}.txt": name})
    archives = [archive("part1.zip"), archive("part2.zip")]
    unpacked, extract = [], module.extract

    def dies_in_the_second(path, folder, **options):
        unpacked.append(path.name)
        if len(unpacked) == 2:
            raise KeyboardInterrupt
        extract(path, folder, **options)

    monkeypatch.setattr(module, "extract", dies_in_the_second)
    with pytest.raises(KeyboardInterrupt):
        assemble(tmp_path / "raw", archives, downloads)
    root = assemble(tmp_path / "raw", archives, downloads)
    assert unpacked == ["part1.zip", "part2.zip", "part2.zip"]
    assert len(tree(root)) == 2


def test_nothing_is_unpacked_again_until_an_archive_changes(tmp_path, downloads, monkeypatch):
    zipped(downloads / "part1.zip", {"a.txt": "a"})
    archives = [archive("part1.zip")]
    assemble(tmp_path / "raw", archives, downloads)
    extract = module.extract
    monkeypatch.setattr(module, "extract", None)
    assert tree(assemble(tmp_path / "raw", archives, downloads)) == {"a.txt": "a"}
    monkeypatch.setattr(module, "extract", extract)
    zipped(downloads / "part1.zip", {"b.txt": "changed"})
    (downloads / "checksums.json").unlink()
    assert tree(assemble(tmp_path / "raw", archives, downloads)) == {"b.txt": "changed"}


def test_a_part_of_an_archive_that_was_replaced_is_not_used(tmp_path, downloads, monkeypatch):
    for name in ("part1.zip", "part2.zip"):
        zipped(downloads / name, {f"{name}.txt": "old"})
    archives = [archive("part1.zip"), archive("part2.zip")]
    extract = module.extract

    def dies_in_the_second(path, folder, **options):
        if path.name == "part2.zip":
            raise KeyboardInterrupt
        extract(path, folder, **options)

    monkeypatch.setattr(module, "extract", dies_in_the_second)
    with pytest.raises(KeyboardInterrupt):
        assemble(tmp_path / "raw", archives, downloads)
    monkeypatch.setattr(module, "extract", extract)
    zipped(downloads / "part1.zip", {"part1.zip.txt": "new"})
    (downloads / "checksums.json").unlink()
    found = tree(assemble(tmp_path / "raw", archives, downloads))
    assert found == {"part1.zip.txt": "new", "part2.zip.txt": "old"}


def test_a_kill_while_the_parts_are_removed_loses_nothing(tmp_path, downloads, monkeypatch):
    files = {f"{number}.txt": str(number) for number in range(9)}
    zipped(downloads / "many.zip", files)
    rmtree = module.shutil.rmtree

    def dies_half_way(folder, **options):
        if folder.name == "parts.old" and folder.exists():
            for path in sorted(folder.rglob("*.txt"))[:5]:
                path.unlink()
            raise KeyboardInterrupt
        rmtree(folder, **options)

    monkeypatch.setattr(module.shutil, "rmtree", dies_half_way)
    with pytest.raises(KeyboardInterrupt):
        assemble(tmp_path / "raw", [archive("many.zip")], downloads)
    monkeypatch.setattr(module.shutil, "rmtree", rmtree)
    assert tree(assemble(tmp_path / "raw", [archive("many.zip")], downloads)) == files
    (tmp_path / "raw" / "download.json").unlink()  # built afresh, not from what is left of parts
    assert tree(assemble(tmp_path / "raw", [archive("many.zip")], downloads)) == files
    assert not list((tmp_path / "raw").glob("parts*"))


def test_a_file_that_an_archive_holds_too_is_refused(tmp_path, downloads):
    zipped(downloads / "a.zip", {"extra.csv": "a"})
    (downloads / "extra.csv").write_text("x")
    archives = [archive("a.zip"), archive("extra.csv", unpack="no")]
    with pytest.raises(InputError, match=r"extra\.csv: is in two archives"):
        assemble(tmp_path / "raw", archives, downloads)


def test_a_missing_password_is_asked_for_by_its_variable(tmp_path, downloads, monkeypatch):
    monkeypatch.delenv("WORD_PASSWORD", raising=False)
    zipped(downloads / "word.zip", {"a.txt": "a"})
    with pytest.raises(InputError, match=r"word\.zip: needs a password; .* variable WORD_PASSWORD"):
        assemble(tmp_path / "raw", [archive("word.zip", password_from="WORD_PASSWORD")], downloads)


def test_what_only_a_person_can_get_is_said_before_anything_is_fetched(tmp_path, downloads):
    # Nobody listens at that address; it must not be asked.
    first = archive("a.zip", urls=["http://127.0.0.1:9/a.zip"])
    with pytest.raises(InputError, match=r"b\.zip: there is no such file, and only a person"):
        assemble(tmp_path / "raw", [first, archive("b.zip")], downloads)


def test_the_disk_is_asked_before_the_first_byte(tmp_path, downloads):
    huge = archive("huge.zip", urls=["http://127.0.0.1:9/huge.zip"], bytes=2**60)
    with pytest.raises(InputError, match="1 archives"):
        assemble(tmp_path / "raw", [huge], downloads)


def test_a_password_comes_from_the_environment(tmp_path, downloads, monkeypatch):
    zipped(downloads / "word.zip", {"a.txt": "a"})
    seen = []

    def extract(path, folder, *, kind, password):
        seen.append(password)
        folder.mkdir(parents=True)

    monkeypatch.setattr(module, "extract", extract)
    monkeypatch.setenv("WORD_PASSWORD", "open sesame")
    assemble(tmp_path / "raw", [archive("word.zip", password_from="WORD_PASSWORD")], downloads)
    assert seen == ["open sesame"]


def test_fetching_ends_in_a_manifest_and_a_second_time_fetches_nothing(
    tmp_path, downloads, volumes
):
    source = tmp_path / "official"
    for number in (1, 2):
        volumes.patient(source, number)
    with zipfile.ZipFile(downloads / "ACDC.zip", "w") as target:
        for path in source.rglob("*"):
            target.write(path, Path("ACDC/database/training") / path.relative_to(source))
        target.writestr("ACDC/readme.txt", "of no case")
    folder = tmp_path / "raw"
    for _ in range(2):
        manifest = fetch_download(folder, Layout("acdc"), [archive("ACDC.zip")], downloads)
    assert (manifest["source"], manifest["phantom"]) == ("download", False)
    assert len(manifest["files"]) == 11
    readme = hashlib.sha256(b"of no case").hexdigest()
    assert manifest["files"]["ACDC/readme.txt"] == {"bytes": 10, "content": readme}
    assert len(Layout("acdc").find_cases(dataset_root(folder))) == 4
