"""Compiled code is kept on disk, and never the reason why nothing can be measured."""

import shutil
from pathlib import Path

import numba
import pytest

from piecemeal.evaluation import boundaries
from piecemeal.evaluation.boundaries import compiled


def one_more(number):  # pragma: no cover
    return number + 1


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where numba keeps what is compiled here."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def found() -> bool:
    """Whether `one_more` was read from disk, in a process that has not compiled it yet."""
    kernel = compiled(one_more)
    assert kernel(1) == 2
    return bool(kernel.stats.cache_hits)


def test_what_was_compiled_once_is_read(folder):
    assert [found(), found()] == [False, True]
    assert len(list(folder.rglob("*.nbc"))) == 1


@pytest.mark.parametrize("kept", [0, 1, 31, 100, 0.5, 0.99])
def test_what_a_crash_left_is_compiled_again(folder, kept):
    found()
    (path,) = folder.rglob("*.nbc")
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if kept < 1 else kept])
    assert [found(), found()] == [False, True]


def test_flipped_bits_are_not_run(folder):
    found()
    (path,) = folder.rglob("*.nbc")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x40
    path.write_bytes(content)
    assert [found(), found()] == [False, True]


def test_constants_of_this_module_are_part_of_what_others_compile(folder, tmp_path, monkeypatch):
    found()
    changed = tmp_path / "boundaries.py"
    text = Path(boundaries.__file__).read_text()
    changed.write_text(text.replace("AXIS_BITS = 18", "AXIS_BITS = 17"))
    monkeypatch.setattr(boundaries, "__file__", str(changed))
    assert [found(), found()] == [False, True]


def test_arguments_of_another_type_are_compiled_for_themselves(folder):
    found()
    kernel = compiled(one_more)
    assert kernel(1.5) == 2.5
    assert len(list(folder.rglob("*.nbc"))) == 2
    assert found()


def test_a_folder_that_cannot_be_written_to_is_done_without(folder):
    kernel = compiled(one_more)
    shutil.rmtree(folder)
    folder.touch()
    assert kernel(1) == 2


def test_without_any_folder_nothing_is_kept(monkeypatch):
    monkeypatch.setattr(boundaries.FunctionCache._impl_class, "_locator_classes", [])
    assert not found()
    assert not found()
