"""Published sums must match, others are recorded on first use, and what is recorded holds."""

import gzip
import hashlib
import io
import json
import logging
import os
import random
import tarfile
import zipfile

import py7zr
import pytest

from piecemeal.datasets.fetching import checksums
from piecemeal.datasets.fetching.checksums import Expected, WrongFileError, check_archive, verify
from piecemeal.errors import InputError

CONTENT = b"the bytes of an archive"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "archive.bin"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def lock(tmp_path):
    return tmp_path / "checksums.json"


def rewrite(path, content):
    """Write another content at another time, however coarse the clock of the disk is."""
    path.write_bytes(content)
    os.utime(path, ns=(1, 1))


def entry(lock, name="archive.bin"):
    return json.loads(lock.read_text())[name]


@pytest.mark.parametrize(
    ("expected", "verified_by"),
    [
        (Expected(sha256=SHA256), "sha256"),
        (Expected(bytes=len(CONTENT), sha256=SHA256.upper(), md5=MD5), "sha256"),
        (Expected(md5=MD5), "md5"),
        (Expected(bytes=len(CONTENT)), "first use"),
        (Expected(), "first use"),
    ],
)
def test_the_right_file_is_recorded_with_what_vouched_for_it(path, lock, expected, verified_by):
    assert verify(path, expected, lock) == SHA256
    assert entry(lock) == {
        "bytes": len(CONTENT),
        "mtime_ns": path.stat().st_mtime_ns,
        "sha256": SHA256,
        "md5": MD5,
        "verified_by": verified_by,
        "first_use": verified_by == "first use",
    }


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        (Expected(sha256=64 * "0"), f"expected sha256 {64 * '0'}, found {SHA256}"),
        (Expected(md5=32 * "0"), f"expected md5 {32 * '0'}, found {MD5}"),
        (Expected(bytes=7, sha256=SHA256), f"expected 7 bytes, found {len(CONTENT)}"),
    ],
)
def test_a_wrong_file_is_named_with_what_to_do_and_not_recorded(path, lock, expected, found):
    with pytest.raises(InputError) as caught:
        verify(path, expected, lock)
    assert str(caught.value) == f"{path}: {found}; delete the file and fetch it again"
    assert not lock.exists()


def test_a_matching_sha256_decides_alone(path, lock):
    assert verify(path, Expected(sha256=SHA256, md5=32 * "0"), lock) == SHA256


@pytest.mark.parametrize("expected", [Expected(), Expected(md5=MD5)], ids=["no sum", "md5"])
def test_what_was_recorded_first_holds(path, lock, expected):
    verify(path, expected, lock)
    recorded = lock.read_text()
    rewrite(path, CONTENT.upper())
    with pytest.raises(WrongFileError) as caught:
        verify(path, Expected(), lock)
    text = str(caught.value)
    assert SHA256 in text
    assert hashlib.sha256(CONTENT.upper()).hexdigest() in text
    assert f"delete the entry 'archive.bin' in {lock} to accept the new one" in text
    assert lock.read_text() == recorded
    lock.unlink()
    assert verify(path, Expected(), lock) == hashlib.sha256(CONTENT.upper()).hexdigest()


def test_the_recorded_sha256_guards_a_file_that_only_an_md5_is_published_of(path, lock):
    verify(path, Expected(md5=MD5), lock)
    content = json.loads(lock.read_text())
    content["archive.bin"] |= {"sha256": 64 * "0", "mtime_ns": 1}  # as if another had this MD5
    lock.write_text(json.dumps(content))
    with pytest.raises(WrongFileError, match="as recorded in"):
        verify(path, Expected(md5=MD5), lock)


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_a_published_sum_overrules_the_record(path, lock, kind):
    verify(path, Expected(), lock)
    new = CONTENT.upper()
    rewrite(path, new)
    published = Expected(**{kind: hashlib.new(kind, new).hexdigest()})
    assert verify(path, published, lock) == hashlib.sha256(new).hexdigest()
    assert (entry(lock)["verified_by"], entry(lock)["first_use"]) == (kind, False)


def test_a_sum_published_later_counts_for_a_file_that_was_not_touched(path, lock):
    verify(path, Expected(), lock)
    with pytest.raises(WrongFileError, match="expected md5"):
        verify(path, Expected(md5=32 * "0"), lock)
    verify(path, Expected(md5=MD5), lock)
    assert entry(lock)["first_use"] is False
    verify(path, Expected(), lock)  # and what it said is not forgotten
    assert entry(lock)["verified_by"] == "md5"


def test_a_file_is_read_once_and_again_only_when_touched(path, lock, caplog):
    def times_read():
        return sum("computing checksums" in record.message for record in caplog.records)

    with caplog.at_level(logging.INFO, logger=checksums.__name__):
        verify(path, Expected(md5=MD5), lock)
        assert times_read() == 1
        written = lock.stat().st_mtime_ns
        assert verify(path, Expected(md5=MD5), lock) == SHA256
        assert times_read() == 1
        assert lock.stat().st_mtime_ns == written
        os.utime(path, ns=(1, 1))
        assert verify(path, Expected(md5=MD5), lock) == SHA256
        assert times_read() == 2
    assert entry(lock)["mtime_ns"] == 1


def test_files_of_one_name_in_two_folders_are_told_apart(tmp_path, lock):
    for folder, content in [("one", b"1"), ("two", b"2")]:
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "image.nii").write_bytes(content)
        verify(tmp_path / folder / "image.nii", Expected(), lock)
    assert sorted(json.loads(lock.read_text())) == ["one/image.nii", "two/image.nii"]


@pytest.mark.parametrize("text", ["", "[1]", '{"archive.bin": {"sha": 1}}', '{"archive.bin": 3}'])
def test_a_broken_lock_is_named(path, lock, text):
    lock.write_text(text)
    with pytest.raises(InputError, match=r"checksums\.json: expected the checksums"):
        verify(path, Expected(sha256=SHA256), lock)


def test_a_missing_file_is_named(tmp_path, lock):
    with pytest.raises(InputError, match=r"none\.zip: cannot be read"):
        verify(tmp_path / "none.zip", Expected(), lock)


NOISE = random.Random(0).randbytes(20_000)


def write_zip(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/scan.nii", NOISE)


def write_7z(path):
    with py7zr.SevenZipFile(path, "w") as archive:
        archive.writestr(NOISE, "a/scan.nii")


def write_gz(path):
    path.write_bytes(gzip.compress(NOISE))


def write_tar(path):
    mode = {".tar": "w", ".gz": "w:gz", ".tgz": "w:gz", ".xz": "w:xz"}[path.suffix]
    with tarfile.open(path, mode) as archive:
        for name in ("a/scan.nii", "a/more.nii"):
            member = tarfile.TarInfo(name)
            member.size = len(NOISE)
            archive.addfile(member, io.BytesIO(NOISE))


WRITERS = {
    "x.zip": write_zip,
    "x.ZIP": write_zip,
    "x.7z": write_7z,
    "x.nii.gz": write_gz,
    "x.tar": write_tar,
    "x.tar.gz": write_tar,
    "x.tgz": write_tar,
    "x.tar.xz": write_tar,
}


@pytest.mark.parametrize("name", WRITERS)
def test_an_archive_without_a_sum_is_tested_before_it_is_recorded(tmp_path, lock, name):
    path = tmp_path / name
    WRITERS[name](path)
    whole = path.read_bytes()
    verify(path, Expected(), lock)
    assert entry(lock, name)["first_use"] is True
    lock.unlink()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WrongFileError, match=r"expected a sound .* archive"):
        verify(path, Expected(), lock)
    assert not lock.exists()


@pytest.mark.parametrize("name", [name for name in WRITERS if name != "x.tar"])  # it has no sums
def test_one_wrong_byte_in_an_archive_is_noticed(tmp_path, name):
    path = tmp_path / name
    WRITERS[name](path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(WrongFileError):
        check_archive(path)


@pytest.mark.parametrize("name", WRITERS)
def test_a_web_page_is_no_archive(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"<!DOCTYPE html><html>Please log in</html>" * 50)
    with pytest.raises(WrongFileError, match="archive"):
        check_archive(path)


def test_an_empty_file_is_nothing(tmp_path, lock):
    path = tmp_path / "manifest.tcia"
    path.touch()
    with pytest.raises(WrongFileError, match="found an empty file"):
        verify(path, Expected(), lock)


@pytest.mark.parametrize("kind", ["encrypted", "unknown compression"])
def test_a_zip_that_cannot_be_read_is_recorded_with_a_warning(tmp_path, lock, caplog, kind):
    path = tmp_path / "x.zip"
    write_zip(path)
    content = bytearray(path.read_bytes())
    central = content.index(b"PK\x01\x02")
    if kind == "encrypted":
        content[6] |= 1  # in the flags of the local header, then of the central directory
        content[central + 8] |= 1
    else:
        content[8] = content[central + 10] = 99  # the compression method of AES
    path.write_bytes(content)
    verify(path, Expected(), lock)
    assert "its content is not tested" in caplog.text


def test_an_encrypted_7z_is_recorded_with_a_warning(tmp_path, lock, caplog):
    path = tmp_path / "x.7z"
    with py7zr.SevenZipFile(path, "w", password="secret") as archive:
        archive.writestr(NOISE, "a/scan.nii")
    verify(path, Expected(), lock)
    assert "its content is not tested" in caplog.text


REPACKED = [Expected(sha256=64 * "0", repacked=True), Expected(md5=32 * "0", repacked=True)]


@pytest.mark.parametrize("expected", REPACKED, ids=["sha256", "md5"])
def test_an_archive_that_is_packed_anew_is_tested_recorded_and_held(
    tmp_path, lock, caplog, expected
):
    path = tmp_path / "x.zip"
    write_zip(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert verify(path, expected, lock) == digest
    assert "its server may have packed it anew" in caplog.text
    assert (entry(lock, "x.zip")["verified_by"], entry(lock, "x.zip")["first_use"]) == (
        "first use",
        True,
    )
    caplog.clear()
    assert verify(path, expected, lock) == digest
    assert caplog.text == ""
    rewrite(path, path.read_bytes() + b"more")
    with pytest.raises(WrongFileError, match="as recorded in"):
        verify(path, expected, lock)


def test_an_archive_that_is_packed_anew_must_be_sound(tmp_path, lock):
    path = tmp_path / "x.zip"
    path.write_bytes(b"<html>Please log in</html>")
    with pytest.raises(WrongFileError, match="expected a sound zip archive"):
        verify(path, REPACKED[0], lock)
    assert not lock.exists()


def test_an_archive_that_may_be_packed_anew_and_is_not_has_its_sum(path, lock):
    verify(path, Expected(sha256=SHA256, repacked=True), lock)
    assert entry(lock)["verified_by"] == "sha256"
