"""Unpacking: honest archives come out whole, the others leave a message and nothing else."""

import io
import os
import signal
import stat
import struct
import tarfile
import tempfile
import warnings
import zipfile
import zlib
from collections import namedtuple
from pathlib import Path

import py7zr
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from piecemeal.datasets.fetching import archives
from piecemeal.datasets.fetching.archives import extract
from piecemeal.errors import InputError

KINDS = ["zip", "tar", "tar.gz", "7z"]
FILES = {"s0/ct.nii.gz": b"voxels" * 50, "s0/masks/liver.nii.gz": b"\0" * 300, "meta.csv": b""}


def pack(path: Path, files: dict[str, bytes], kind: str) -> Path:
    """An honest archive of these files."""
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
    elif kind == "7z":
        with py7zr.SevenZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(content, name)
    else:
        with tarfile.open(path, "w:gz" if kind == "tar.gz" else "w") as archive:
            for name, content in files.items():
                add(archive, name, content)
    return path


def add(archive: tarfile.TarFile, name: str, content: bytes = b"", **header) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for key, value in header.items():
        setattr(member, key, value)
    archive.addfile(member, io.BytesIO(content))


def unpack(archive: Path, **options) -> dict[str, bytes]:
    """Unpack beside the archive; the files that came out."""
    folder = archive.with_name("out")
    kind = archive.name.split(".")[1]
    extract(archive, folder, kind=kind, **options)
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def refused(archive: Path, *words: str, **options) -> str:
    """Unpacking raises InputError that names the archive and has these words; nothing is left."""
    before = sorted(archive.parent.parent.rglob("*"))
    with pytest.raises(InputError) as caught:
        unpack(archive, **options)
    for word in (str(archive), *words):
        assert word in str(caught.value)
    assert sorted(archive.parent.parent.rglob("*")) == before
    return str(caught.value)


def rewrite(path: Path, signature: bytes, offset: int, layout: str, value: int) -> Path:
    """Overwrite a number in the first header of a zip that has this signature."""
    content = bytearray(path.read_bytes())
    struct.pack_into(layout, content, content.index(signature) + offset, value)
    path.write_bytes(content)
    return path


def forge_7z(path: Path, name: str, attributes: int = 0x20) -> Path:
    """A 7z of one file whose name and attributes py7zr would not write."""
    archive = py7zr.SevenZipFile(path, "w")
    archive.set_encoded_header_mode(False)
    with archive:
        archive.writestr(b"x", "q" * len(name))
        honest = archive.files[0].file_properties()["attributes"]
    content = bytearray(path.read_bytes())
    for old, new in (
        (("q" * len(name)).encode("utf-16-le"), name.encode("utf-16-le")),
        (struct.pack("<I", honest), struct.pack("<I", attributes)),
    ):
        assert content.count(old) == 1
        content = content.replace(old, new)
    offset, size = struct.unpack_from("<QQ", content, 12)
    struct.pack_into("<I", content, 28, zlib.crc32(content[32 + offset : 32 + offset + size]))
    struct.pack_into("<I", content, 8, zlib.crc32(content[12:32]))
    path.write_bytes(content)
    return path


@pytest.fixture
def place(tmp_path) -> Path:
    """A folder for the archive, one level down so that `..` has somewhere to lead."""
    (tmp_path / "place").mkdir()
    return tmp_path / "place"


NAMES = st.lists(st.sampled_from(["a", "b", "B", "ß", "x y", "c.nii.gz"]), min_size=1, max_size=3)


@st.composite
def trees(draw):
    """Files by path, none of which lies below another."""
    files = {}
    for parts in draw(st.lists(NAMES, max_size=6)):
        name = "/".join(parts)
        if not any(f"{name}/".startswith(f"{n}/") or n.startswith(f"{name}/") for n in files):
            files[name] = draw(st.binary(max_size=40))
    return files


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25)
@given(files=trees())
def test_what_went_in_comes_out(kind, files):
    with tempfile.TemporaryDirectory() as place:
        archive = pack(Path(place) / f"a.{kind}", files, kind)
        assert unpack(archive) == files


@pytest.mark.parametrize("kind", KINDS)
def test_junk_stays_in_the_archive(place, kind):
    junk = {"__MACOSX/s0/ct.nii.gz": b"x", "s0/._ct.nii.gz": b"x", "s0/.DS_Store": b"x"}
    assert unpack(pack(place / f"a.{kind}", FILES | junk, kind)) == FILES
    assert sorted(path.name for path in (place / "out").iterdir()) == ["meta.csv", "s0"]


def test_empty_folders_and_dots_in_paths(place):
    with tarfile.open(place / "a.tar", "w") as archive:
        add(archive, ".", type=tarfile.DIRTYPE)
        add(archive, "./empty", type=tarfile.DIRTYPE)
        add(archive, "./empty/", type=tarfile.DIRTYPE)
        add(archive, ".//s0/./ct.nii.gz", b"voxels")
    assert unpack(place / "a.tar") == {"s0/ct.nii.gz": b"voxels"}
    assert (place / "out" / "empty").is_dir()


def test_modes_of_the_archive_are_not_taken_over(place):
    with tarfile.open(place / "a.tar", "w") as archive:
        add(archive, "program", b"x", mode=0o6777)
        add(archive, "closed", b"x", mode=0)
    unpack(place / "a.tar")
    modes = {path.stat().st_mode & 0o7111 for path in (place / "out").iterdir()}
    assert modes == {0}


def test_files_lie_on_the_disk_before_the_folder_has_its_name(place, monkeypatch):
    there = []

    def spy():
        there.extend(sorted(path.name for path in place.iterdir()))

    monkeypatch.setattr("os.sync", spy)
    unpack(pack(place / "a.zip", FILES, "zip"))
    assert there == ["a.zip", "out.partial"]


def test_a_leftover_of_an_interrupted_unpacking_is_replaced(place):
    (place / "out.partial").mkdir()
    (place / "out.partial" / "rest").touch()
    assert unpack(pack(place / "a.zip", FILES, "zip")) == FILES
    assert not (place / "out.partial").exists()


def test_a_leftover_link_is_not_followed(place):
    kept = place / "kept"
    kept.mkdir()
    (kept / "file").touch()
    (place / "out.partial").symlink_to(kept)
    unpack(pack(place / "a.zip", FILES, "zip"))
    assert (kept / "file").exists()
    assert not (place / "out").is_symlink()


def test_an_unpacked_folder_is_never_overwritten(place):
    archive = pack(place / "a.zip", FILES, "zip")
    (place / "out").mkdir()
    with pytest.raises(InputError, match="out: is already there; delete it to unpack"):
        unpack(archive)


def test_no_archive(place):
    refused(place / "a.zip", "is missing; download it")


@pytest.mark.parametrize("kind", KINDS)
def test_not_such_an_archive(place, kind):
    (place / f"a.{kind}").write_bytes(b"<html>Please log in</html>" * 100)
    refused(place / f"a.{kind}", "is not such an archive, or damaged", "download it again")


TRAPS = {
    "../evil": "leads out of its folder",
    "s0/../../evil": "leads out of its folder",
    "/tmp/evil": "is an absolute path",
    "C:/evil": "is an absolute path",
    "s0\\evil": "has a backslash",
    "/".join("d" * 60): "is too long a path",
    "n" * 256: "is too long a path",
}


@pytest.mark.parametrize("name", TRAPS)
@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_paths_out_of_the_folder(place, kind, name):
    archive = pack(place / f"a.{kind}", {"good": b"x", name: b"x"}, kind)
    refused(archive, repr(name), TRAPS[name])


@pytest.mark.parametrize("name", ["../evil", "..\\evil", "/tmp/evil", "C:/evil"])
def test_paths_out_of_the_folder_in_7z(place, name):
    read_as = name.replace("\\", "/")  # by py7zr
    refused(forge_7z(place / "a.7z", name), repr(read_as), TRAPS[read_as])


def test_a_path_with_a_null(place):
    archive = pack(place / "a.tar", {"\xdf\0evil": b"x"}, "tar")
    refused(archive, "has a backslash or a null in its path")


def test_an_honest_forgery(place):
    assert unpack(forge_7z(place / "a.7z", "good")) == {"good": b"x"}


def test_a_file_in_7z_that_is_named_like_a_folder(place):
    refused(forge_7z(place / "a.7z", "s0/"), "'s0' came out of it otherwise than listed")


@pytest.mark.parametrize("attributes", [0x400, 0x410], ids=["link", "junction"])
def test_windows_links_in_7z(place, attributes):
    refused(forge_7z(place / "a.7z", "s0", attributes), "'s0' is a symbolic link")


def test_a_junk_name_hides_no_trap(place):
    archive = pack(place / "a.zip", {"__MACOSX/../../evil": b"x"}, "zip")
    refused(archive, "leads out of its folder")


SPECIAL = {
    stat.S_IFLNK: "is a symbolic link",
    stat.S_IFCHR: "is a device",
    stat.S_IFBLK: "is a device",
    stat.S_IFIFO: "is a fifo",
    stat.S_IFSOCK: "is a special file",
}


@pytest.mark.parametrize("mode", SPECIAL)
def test_links_and_devices_in_zip(place, mode):
    with zipfile.ZipFile(place / "a.zip", "w") as archive:
        archive.writestr("good", b"x")
        special = zipfile.ZipInfo("s0/ct.nii.gz")
        special.external_attr = (mode | 0o777) << 16
        archive.writestr(special, "/etc/passwd")
    refused(place / "a.zip", "'s0/ct.nii.gz'", SPECIAL[mode])


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (tarfile.SYMTYPE, "is a symbolic link"),
        (tarfile.LNKTYPE, "is a hard link"),
        (tarfile.CHRTYPE, "is a device"),
        (tarfile.BLKTYPE, "is a device"),
        (tarfile.FIFOTYPE, "is a fifo"),
        (b"V", "is a special file"),
    ],
)
def test_links_and_devices_in_tar(place, kind, words):
    with tarfile.open(place / "a.tar", "w") as archive:
        add(archive, "good", b"x")
        add(archive, "s0/ct.nii.gz", type=kind, linkname="good")
    refused(place / "a.tar", "'s0/ct.nii.gz'", words)


def test_links_in_7z(place, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "good").touch()
    (elsewhere / "link").symlink_to("good")
    with py7zr.SevenZipFile(place / "a.7z", "w") as archive:
        archive.write(elsewhere / "good", "good")
        archive.write(elsewhere / "link", "s0/ct.nii.gz")
    refused(place / "a.7z", "'s0/ct.nii.gz'", "is a symbolic link")


@pytest.mark.parametrize("again", ["s0/ct.nii.gz", "./s0//ct.nii.gz"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_two_members_with_one_path(place, kind, again):
    if kind == "zip":
        with warnings.catch_warnings(), zipfile.ZipFile(place / "a.zip", "w") as archive:
            warnings.simplefilter("ignore")  # zipfile warns of doing so
            archive.writestr("s0/ct.nii.gz", "one")
            archive.writestr(again, "two")
    else:
        with tarfile.open(place / "a.tar", "w") as archive:
            add(archive, "s0/ct.nii.gz", b"one")
            add(archive, again, b"two")
    refused(place / f"a.{kind}", repr(again), "is there twice")


def test_a_file_as_a_folder(place):
    refused(
        pack(place / "a.zip", {"s0": b"x", "s0/masks/liver": b"x"}, "zip"),
        "'s0/masks/liver' lies below 's0', which is a file",
    )
    refused(pack(place / "b.zip", {"s0": b"x", "s0/": b""}, "zip"), "'s0/' is there twice")
    with tarfile.open(place / "c.tar", "w") as archive:
        add(archive, ".", b"x")
    refused(place / "c.tar", "'.' is there twice")


@pytest.mark.parametrize("kind", KINDS)
def test_a_bomb_by_its_declared_size(place, kind):
    archive = pack(place / f"a.{kind}", {"a": b"x" * 60, "b": b"x" * 41}, kind)
    refused(archive, "'b' makes it 101 bytes", "more than the allowed 100", limit_bytes=100)
    assert len(unpack(archive, limit_bytes=101)) == 2


def test_a_bomb_by_the_size_of_its_archive(place):
    with tarfile.open(place / "a.tar", "w") as archive:
        add(archive, "good", b"x")
        member = tarfile.TarInfo("bomb")
        member.size = 10**15
        archive.addfile(member)
    allowed = 200 * (place / "a.tar").stat().st_size + 2**30
    refused(place / "a.tar", "'bomb'", f"{10**15 + 1} bytes", f"allowed {allowed}")


def test_a_negative_size(place):
    with tarfile.open(place / "a.tar", "w", format=tarfile.GNU_FORMAT) as archive:
        member = tarfile.TarInfo("odd")
        member.size = -512
        archive.addfile(member)
    refused(place / "a.tar", "'odd' makes it -512 bytes")


def test_a_disk_too_small(place, monkeypatch):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda path: usage(599))
    needed = sum(map(len, FILES.values()))
    refused(pack(place / "a.zip", FILES, "zip"), f"needs {needed} bytes", "has 599 free; make room")


def test_a_full_disk_is_not_called_damage(place, monkeypatch):
    def full(self, *arguments):
        raise OSError(28, "No space left on device")

    archive = pack(place / "a.zip", FILES, "zip")
    monkeypatch.setattr(zipfile.ZipExtFile, "read", full)
    with pytest.raises(OSError, match="No space left"):
        unpack(archive)
    assert sorted(place.iterdir()) == [archive]


@pytest.mark.parametrize("shift", [-1, 1])
def test_a_zip_that_lies_about_a_size(place, shift):
    archive = pack(place / "a.zip", {"liar": b"x" * 5000}, "zip")
    rewrite(archive, b"PK\1\2", 24, "<I", 5000 + shift)
    refused(archive, "member 'liar' is damaged", "copy or download it again")


def test_writing_stops_at_the_declared_size(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "_BLOCK", 4)
    entry = archives.Entry("a", 6, "file", None)
    with pytest.raises(EOFError, match="not the declared 6 bytes"):
        archives._write(io.BytesIO(b"x" * 1000), entry, tmp_path / "a")
    assert (tmp_path / "a").stat().st_size == 4


def test_damage_in_a_zip(place):
    archive = pack(place / "a.zip", {"first": b"x" * 10, "second": os.urandom(500)}, "zip")
    content = bytearray(archive.read_bytes())
    content[content.index(b"second") + 100] ^= 1
    archive.write_bytes(content)
    refused(archive, "member 'second' is damaged")


def test_damage_in_a_7z(place):
    archive = pack(place / "a.7z", {"noise": os.urandom(500)}, "7z")
    content = bytearray(archive.read_bytes())
    content[200] ^= 1
    archive.write_bytes(content)
    refused(archive, "damaged", "copy or download it again")


@pytest.mark.parametrize("kept", [1536, 1300, 1024, 600, 512])
def test_a_tar_that_ends_early(place, kept):
    # Two members of a header and one block each, then the end mark: cut before, in and between.
    archive = pack(place / "a.tar", {"a": b"x" * 512, "b": b"x" * 512}, "tar")
    archive.write_bytes(archive.read_bytes()[:kept])
    refused(archive, "damaged", "copy or download it again")


def test_a_broken_header_in_a_tar_is_not_its_end(place):
    archive = pack(place / "a.tar", {"a": b"x", "b": b"x"}, "tar")
    content = bytearray(archive.read_bytes())
    content[1024] = ord("c")
    archive.write_bytes(content)
    refused(archive, "no member and no end mark at byte 1024")


def test_the_checksum_of_gzip(place):
    archive = pack(place / "a.tar.gz", {"a": b"x" * 512}, "tar.gz")
    content = bytearray(archive.read_bytes())
    content[-6] ^= 1
    archive.write_bytes(content)
    refused(archive, "damaged", "CRC")


def test_an_encrypted_7z(place):
    with py7zr.SevenZipFile(place / "a.7z", "w", password="secret") as archive:
        archive.writestr(b"voxels", "ct")
    refused(place / "a.7z", "is encrypted; give its password")
    assert unpack(place / "a.7z", password="secret") == {"ct": b"voxels"}


# Encrypted zips are the business of a program, played here by a script that writes what a test
# says into the folder it is told.
WITH_JUNK = {"s0/ct": b"voxels", "__MACOSX/._ct": bytes(4000)}


@pytest.fixture
def encrypted(place) -> Path:
    """A zip that says of its first member that it is encrypted."""
    archive = pack(place / "a.zip", WITH_JUNK, "zip")
    rewrite(archive, b"PK\3\4", 6, "<H", 1)
    return rewrite(archive, b"PK\1\2", 8, "<H", 1)


@pytest.fixture
def program(tmp_path_factory, monkeypatch):
    """`program(lines)`: 7z, the only program on the PATH, runs these lines of shell in -o."""
    folder = tmp_path_factory.mktemp("bin")
    monkeypatch.setenv("PATH", str(folder))

    def install(lines: str) -> Path:
        (folder / "7z").write_text(
            "#!/bin/sh\nPATH=/bin:/usr/bin\n"
            f'printf "%s\\n" "$@" > {folder}/arguments\n'
            'for a; do case "$a" in -o*) cd "${a#-o}";; esac; done\n'
            f"mkdir -p s0 __MACOSX\nhead -c 4000 /dev/zero > __MACOSX/._ct\n{lines}\n"
        )
        (folder / "7z").chmod(0o755)
        return folder / "arguments"

    return install


def test_an_encrypted_zip(encrypted, program):
    arguments = program("printf voxels > s0/ct")
    assert unpack(encrypted, password="se cret") == {"s0/ct": b"voxels"}
    assert [path.name for path in (encrypted.parent / "out").iterdir()] == ["s0"]
    partial = encrypted.parent / "out.partial"
    expected = ["x", "-y", "-pse cret", f"-o{partial}", str(encrypted)]
    assert arguments.read_text().splitlines() == expected


def test_an_unknown_compression(place, program):
    archive = pack(place / "a.zip", WITH_JUNK, "zip")
    rewrite(archive, b"PK\1\2", 10, "<H", 9)
    program("printf voxels > s0/ct")
    assert unpack(archive) == {"s0/ct": b"voxels"}


def test_an_encrypted_zip_without_password_or_program(encrypted, program):
    by_hand = f"or unpack it by hand into {encrypted.parent / 'out'}"
    refused(encrypted, "is encrypted; give its password, " + by_hand)
    refused(encrypted, "is encrypted; install p7zip", by_hand, password="secret")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("ln -s /etc/passwd s0/ct", "'s0/ct' is a symbolic link"),
        ("ln -s / s0/up", "'s0/up' is a symbolic link"),
        ("ln -s / __MACOSX/up", "'__MACOSX/up' is a symbolic link"),
        ("mkfifo s0/ct", "'s0/ct' is a fifo"),
        ("printf voxel > s0/ct", "'s0/ct' came out of it otherwise than listed"),
        ("printf voxels > s0/ct; printf more > more", "'more' came out of it otherwise"),
        ("true", "'s0/ct' came out of it otherwise"),
        ("echo Wrong password; exit 2", "failed with code 2 (Wrong password)"),
        ("exec head -c 9999 /dev/zero > s0/ct", f"failed with code -{signal.SIGXFSZ}"),
    ],
)
def test_what_the_program_unpacks_is_not_trusted(encrypted, program, lines, words):
    program(lines)
    message = refused(encrypted, words, password="secret")
    assert "secret" not in message


def test_the_listing_of_an_encrypted_zip_is_checked_first(place, program):
    archive = pack(place / "a.zip", {"../evil": b"x"}, "zip")
    rewrite(archive, b"PK\1\2", 8, "<H", 1)
    arguments = program("true")
    refused(archive, "leads out of its folder", password="secret")
    assert not arguments.exists()
