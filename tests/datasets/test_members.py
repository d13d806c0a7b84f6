"""A folder and the zip of it look the same; members are read where they are, by many at once."""

import multiprocessing
import os
import pickle
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from piecemeal.datasets.members import Member, Tree, content_id
from piecemeal.errors import InputError
from piecemeal.provenance import file_sha256

FILES = {
    "meta.csv": b"image_id;split\n",
    "s0/ct.nii.gz": b"voxels",
    "s0/segmentations/liver.nii.gz": b"liver",
    "s0/segmentations/spleen.nii.gz": b"spleen",
    "s0-late/ct.nii.gz": b"later",
    "s1/ct.nii.gz": b"more voxels",
    "s1/segmentations/liver.nii.gz": b"",
    "s1/segmentations/notes.txt": b"",
}
JUNK = {"__MACOSX/s0/._ct.nii.gz": b"", "s0/._ct.nii.gz": b"", "s1/.DS_Store": b"", "._s": b""}
PATTERNS = ["*", "**", "*/*", "*/ct.nii.gz", "s?/segmentations/*.nii.gz", "**/meta.csv", "**/a"]
PATTERNS += ["a/**", "a/**/b", "**/b/*", "[ab]/*", "**/**/a", "B/*", "", "missing/*", "**/*.gz"]


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def pack(path: Path, files: dict[str, bytes], method=zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.fixture(params=["folder", "zip"])
def tree(request, tmp_path) -> Tree:
    """The same data set as a folder and as a zip."""
    if request.param == "folder":
        return Tree(write(tmp_path / "data", FILES | JUNK))
    return Tree(pack(tmp_path / "data.zip", FILES | JUNK, zipfile.ZIP_DEFLATED))


def names(tree: Tree, pattern: str) -> list[str]:
    """What `glob` finds, as paths relative to the tree."""
    return [
        file.name if isinstance(file, Member) else file.relative_to(tree.root).as_posix()
        for file in tree.glob(pattern)
    ]


def test_files_are_sorted_by_parts_and_without_junk(tree):
    assert tree.files() == sorted(FILES, key=PurePosixPath)
    assert tree.files()[3] == "s0/segmentations/spleen.nii.gz"
    assert tree.files()[4] == "s0-late/ct.nii.gz"  # as strings, it would come before s0/
    assert names(tree, "**") == tree.files()
    assert tree.glob("**") == sorted(tree.glob("**"))


def test_glob(tree):
    livers = ["s0/segmentations/liver.nii.gz", "s1/segmentations/liver.nii.gz"]
    assert names(tree, "*/segmentations/l*.nii.gz") == livers
    assert names(tree, "s0/segmentations/liver.nii.gz") == livers[:1]
    assert names(tree, "**/meta.csv") == ["meta.csv"]
    assert names(tree, "*.nii.gz") == []
    assert names(tree, "S0/*") == []


def test_children(tree):
    assert tree.children() == ["s0", "s0-late", "s1"]
    assert tree.children("s0") == tree.children("./s0/") == ["segmentations"]
    assert tree.children("s0/segmentations") == tree.children("missing") == []
    assert tree.children("meta.csv") == []


def test_files_are_read_alike(tree):
    assert {name: tree.file(name).read_bytes() for name in FILES} == FILES
    for missing in ("s0/missing", "s0", "s0/ct.nii.gz/x", ""):
        assert not tree.file(missing).is_file()
        with pytest.raises(OSError, match=r"data"):
            tree.file(missing).read_bytes()


@pytest.mark.parametrize("path", ["../x", "s0/../../x", "/etc/passwd", "C:/x", "s0\\x"])
def test_paths_out_of_the_tree(tree, path):
    with pytest.raises(InputError, match=r"data.*(leads out|absolute|backslash)"):
        tree.file(path)
    with pytest.raises(InputError, match=r"data.*(leads out|absolute|backslash)"):
        tree.children(path)


def test_a_tree_can_be_sent_to_another_process(tree):
    assert pickle.loads(pickle.dumps(tree)).files() == tree.files()
    file = tree.file("s0/ct.nii.gz")
    assert pickle.loads(pickle.dumps(file)) == file


PART = st.sampled_from(["a", "b", "B", "a.gz", "._a", "__MACOSX", ".DS_Store", ".a"])


@given(st.sets(st.lists(PART, min_size=1, max_size=4).map(tuple), max_size=8), st.data())
def test_a_folder_and_its_zip_give_the_same_answers(paths, data):
    files = {
        "/".join(path): "/".join(path).encode()
        for path in paths
        if not any(other[: len(path)] == path for other in paths - {path})
    }
    pattern = data.draw(st.sampled_from(PATTERNS))
    with tempfile.TemporaryDirectory() as place:
        folder = Tree(write(Path(place, "data"), files | {"a.txt": b"so that there is a folder"}))
        zipped = Tree(shutil.make_archive(place + "/data", "zip", folder.root))
        assert folder.files() == zipped.files()
        assert names(folder, pattern) == names(zipped, pattern)
        for name in ("", "a", "a/b", *folder.files()):
            assert folder.children(name) == zipped.children(name)
            assert folder.file(name).is_file() == zipped.file(name).is_file()
        for name in folder.files():
            assert folder.file(name).read_bytes() == zipped.file(name).read_bytes()
        if not pattern.endswith("**") and pattern:
            visible = set(folder.files())
            found = (file.relative_to(folder.root) for file in folder.root.glob(pattern))
            expected = visible & {file.as_posix() for file in found}
            assert set(names(folder, pattern)) == expected


def test_empty_folders_of_a_zip(tmp_path):
    archive = pack(tmp_path / "data.zip", {"data/empty/": b"", "data/__MACOSX/": b""})
    assert Tree(archive).children("data") == ["empty"]
    assert Tree(archive).files() == []


def test_links_in_a_folder_are_followed_but_not_in_circles(tmp_path):
    data = write(tmp_path / "data", {"s0/ct": b"voxels"})
    write(tmp_path / "elsewhere", {"ct": b"others", "deep/ct": b"deep"})
    (data / "s1").symlink_to(tmp_path / "elsewhere")
    (data / "s0" / "copy").symlink_to(data / "s0" / "ct")
    (data / "s0" / "broken").symlink_to("nowhere")
    (data / "s0" / "up").symlink_to(data)
    (tmp_path / "elsewhere" / "deep" / "back").symlink_to(data / "s0")
    assert Tree(data).files() == [
        *("s0/copy", "s0/ct", "s1/ct", "s1/deep/back/copy", "s1/deep/back/ct", "s1/deep/ct")
    ]


def test_a_member(tmp_path):
    archive = pack(tmp_path / "data.zip", {"s0/ct.nii.gz": b"voxels"})
    member = Tree(archive).file("s0/ct.nii.gz")
    assert member == Member(archive, "s0/ct.nii.gz")
    assert str(member) == f"{archive}!/s0/ct.nii.gz"
    assert (member.bytes, member.crc) == (6, zlib.crc32(b"voxels"))
    assert content_id(member) == f"crc32:{zlib.crc32(b'voxels'):08x}:6"
    assert len({member, Member(archive, "s0/ct.nii.gz")}) == 1
    missing = Member(tmp_path / "nowhere.zip", "s0/ct.nii.gz")
    assert not missing.is_file()
    with pytest.raises(FileNotFoundError, match=r"nowhere\.zip"):
        missing.read_bytes()


def test_content_ids_tell_contents_apart(tmp_path):
    tree = Tree(pack(tmp_path / "a.zip", {"a": b"\1", "b": b"\1", "c": b"\2", "d": b"\0\0"}))
    a, b, c, d = (content_id(tree.file(name)) for name in "abcd")
    assert a == b
    assert len({a, c, d}) == 3
    plain = tmp_path / "plain"
    plain.write_bytes(b"\1")
    assert content_id(plain) == file_sha256(plain)


def test_a_replaced_archive_is_opened_again(tmp_path):
    archive = pack(tmp_path / "data.zip", {"a": b"old"})
    member = Member(archive, "a")
    assert member.read_bytes() == b"old"
    pack(tmp_path / "new.zip", {"a": b"newer"}).replace(archive)
    assert member.read_bytes() == b"newer"


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_damage_is_found_when_reading(tmp_path, method):
    archive = pack(tmp_path / "data.zip", {"good": b"x", "bad": os.urandom(500)}, method)
    content = bytearray(archive.read_bytes())
    content[content.index(b"bad") + 100] ^= 1
    archive.write_bytes(content)
    tree = Tree(archive)
    assert tree.file("good").read_bytes() == b"x"
    with pytest.raises(ValueError, match=r"data\.zip!/bad: cannot be read from the archive \("):
        tree.file("bad").read_bytes()


def test_an_encrypted_member(tmp_path):
    archive = pack(tmp_path / "data.zip", {"ct": b"voxels"})
    content = bytearray(archive.read_bytes())
    struct.pack_into("<H", content, content.index(b"PK\1\2") + 8, 1)
    struct.pack_into("<H", content, 6, 1)
    archive.write_bytes(content)
    assert Tree(archive).files() == ["ct"]
    with pytest.raises(ValueError, match=r"data\.zip!/ct: cannot be read .*encrypted"):
        Tree(archive).file("ct").read_bytes()


def test_no_tree(tmp_path):
    with pytest.raises(InputError, match=r"nowhere: is missing; expected a data set's folder or"):
        Tree(tmp_path / "nowhere")
    (tmp_path / "page.zip").write_text("<html>Please log in</html>")
    with pytest.raises(InputError, match=r"page\.zip: is not a zip, .*download it again"):
        Tree(tmp_path / "page.zip")


def test_a_trap_in_a_zip(tmp_path):
    with pytest.raises(InputError, match=r"a\.zip: '\.\./evil' leads out of its folder"):
        Tree(pack(tmp_path / "a.zip", {"good": b"x", "../evil": b"x"}))
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        link = zipfile.ZipInfo("ct.nii.gz")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(InputError, match=r"b\.zip: 'ct\.nii\.gz' is a symbolic link"):
        Tree(tmp_path / "b.zip")


def test_a_bomb_in_a_zip(tmp_path):
    archive = pack(tmp_path / "a.zip", {"bomb": b"x"})
    content = bytearray(archive.read_bytes())
    struct.pack_into("<I", content, content.index(b"PK\1\2") + 24, 2**31)
    archive.write_bytes(content)
    with pytest.raises(InputError, match=rf"'bomb' makes it {2**31} bytes unpacked, more than"):
        Tree(archive)


def test_many_members(tmp_path):
    classes = [f"class_{number:02d}.nii.gz" for number in range(99)]
    files = {f"s{n:04d}/segmentations/{name}": b"" for n in range(200) for name in classes}
    files |= {f"s{n:04d}/ct.nii.gz": str(n).encode() for n in range(200)}
    tree = Tree(pack(tmp_path / "data.zip", files))
    assert len(tree.files()) == 20_000
    assert tree.children() == [f"s{n:04d}" for n in range(200)]
    assert [member.name for member in tree.glob("s0123/segmentations/*")] == [
        f"s0123/segmentations/{name}" for name in classes
    ]
    scans = tree.glob("*/ct.nii.gz")
    assert [int(member.read_bytes()) for member in scans] == list(range(200))


def _read_often(member: Member, content: bytes, together) -> None:
    together.wait(300)
    assert all(member.read_bytes() == content for _ in range(200))


def test_forked_processes_read_at_once(tmp_path):
    files = {name: name.encode() * 500_000 for name in "abc"}
    tree = Tree(pack(tmp_path / "data.zip", files))
    assert tree.file("c").read_bytes() == files["c"]  # the archive is open when it comes to forking
    context = multiprocessing.get_context("fork")
    together = context.Barrier(2)
    readers = [
        context.Process(target=_read_often, args=(tree.file(name), files[name], together))
        for name in "ab"
    ]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(60)
    assert [reader.exitcode for reader in readers] == [0, 0]
