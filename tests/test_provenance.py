import errno
import hashlib
import os
import stat
import subprocess
import textwrap

import pytest

from piecemeal import provenance
from piecemeal.provenance import (
    file_sha256,
    git_state,
    replacing,
    short_hash,
    source_hash,
    write_text,
)

SOURCE = '''
"""What this module is for."""
from pieces.deep import depth
import numpy


class Thing:
    """A thing."""

    def size(self):
        """Its size."""
        return depth + 1  # one more
'''


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package `pieces`: top imports deep; alone is imported by nobody. Returns its writer."""
    folder = tmp_path / "pieces"
    folder.mkdir()

    def write(module: str, text: str) -> None:
        (folder / f"{module}.py").write_text(textwrap.dedent(text))
        provenance._parsed.cache_clear()

    write("__init__", "")
    write("top", SOURCE)
    write("deep", "from pieces import alone_too\ndepth = 1\n")
    write("alone_too", "x = 1\n")
    write("alone", "x = 1\n")
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    monkeypatch.setattr(provenance, "PACKAGE", "pieces")
    yield write
    provenance._parsed.cache_clear()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("What this module is for.", "Something else."),
        ("A thing.", "Another thing."),
        ("Its size.", "How large it is.\n\n        In voxels.\n        "),
        ("  # one more", ""),
        ("depth + 1", "(depth   +   1)"),
        ("\n\n\n", "\n# a comment\n"),
    ],
)
def test_docstrings_comments_and_format_do_not_count(package, old, new):
    before = source_hash("pieces.top")
    assert old in SOURCE
    package("top", SOURCE.replace(old, new))
    assert source_hash("pieces.top") == before


@pytest.mark.parametrize(
    ("old", "new"), [("depth + 1", "depth + 2"), ("size", "volume"), ("class Thing", "class T")]
)
def test_code_counts(package, old, new):
    before = source_hash("pieces.top")
    package("top", SOURCE.replace(old, new))
    assert source_hash("pieces.top") != before


@pytest.mark.parametrize("module", ["deep", "alone_too"])
def test_imports_are_followed(package, module):
    before = source_hash("pieces.top")
    package(module, "depth = x = 5\n")
    assert source_hash("pieces.top") != before


def test_what_is_not_imported_does_not_count(package):
    before = source_hash("pieces.top")
    package("alone", "x = 2\n")
    assert source_hash("pieces.top") == before


def test_imports_inside_functions_are_followed(package):
    package("top", "def late():\n    from pieces.deep import depth\n    return depth\n")
    before = source_hash("pieces.top")
    package("deep", "depth = 7\n")
    assert source_hash("pieces.top") != before


def test_modules_that_import_each_other_end(package):
    package("deep", "import pieces.top\n")
    assert source_hash("pieces.top") == source_hash("pieces.deep")


def test_order_of_modules_does_not_count(package):
    assert source_hash("pieces.top", "pieces.alone") == source_hash("pieces.alone", "pieces.top")


def test_a_docstring_is_not_any_string(package):
    package("top", "def f():\n    x = 1\n    return 'a'\n")
    before = source_hash("pieces.top")
    package("top", "def f():\n    x = 1\n    return 'b'\n")
    assert source_hash("pieces.top") != before


def test_short_hash_looks_at_content_not_at_order():
    assert short_hash({"a": 1, "b": 2}) == short_hash({"b": 2, "a": 1})
    assert short_hash({"a": 1}) != short_hash({"a": 2})
    assert len(short_hash([])) == 10


def test_file_sha256(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert file_sha256(tmp_path / "x") == hashlib.sha256(b"abc").hexdigest()


def test_lock_sha256(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    assert provenance.lock_sha256() is None
    (tmp_path / "requirements.lock").write_bytes(b"abc")
    assert provenance.lock_sha256() == hashlib.sha256(b"abc").hexdigest()


def test_replacing_gives_the_new_file_with_ordinary_rights(tmp_path):
    path = tmp_path / "x"
    path.write_text("old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask
    assert os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), RuntimeError(), SystemExit(1)])
def test_replacing_keeps_the_old_file_on_any_error(tmp_path, error):
    path = tmp_path / "x"
    path.write_text("old")
    with pytest.raises(type(error)), replacing(path) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["x"]


def test_replacing_keeps_the_old_file_if_the_disk_is_found_full_at_the_end(tmp_path, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "x"
    path.write_text("old")
    monkeypatch.setattr(provenance.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"), replacing(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["x"]


def test_write_text_makes_its_folder(tmp_path):
    write_text(tmp_path / "a" / "b" / "x.txt", "é\n")
    assert (tmp_path / "a" / "b" / "x.txt").read_text(encoding="utf-8") == "é\n"


def test_git_state_outside_git(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_state() == {"commit": None, "clean": None}


@pytest.mark.parametrize(
    ("changed", "clean"),
    [("code.py", False), ("results/demo/claims.csv", True), ("dvc.lock", True)],
)
def test_git_state_leaves_out_what_the_workflow_writes(tmp_path, monkeypatch, changed, clean):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=test", "-c", "user.email=test@localhost"]
    for name in ("code.py", "results/demo/claims.csv", "dvc.lock"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("before")
    for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "-m", "All"]):
        subprocess.run([*git, *command], check=True)
    (tmp_path / changed).write_text("after")
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    assert git_state()["clean"] is clean


def test_git_state_without_git(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert git_state() == {"commit": None, "clean": None}
