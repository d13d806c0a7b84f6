import sys

import pytest

from piecemeal import registry
from piecemeal.errors import InputError


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with two plug-ins, one of them broken, and a private module."""
    folder = tmp_path / "plugins_for_a_test"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "zebra.py").write_text("stripes = 26\n")
    (folder / "broken.py").write_text("raise RuntimeError('imported')\n")
    (folder / "_base.py").write_text("")
    (folder / "shared").mkdir()
    (folder / "shared" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    yield folder.name
    for name in [n for n in sys.modules if n.startswith(folder.name)]:
        del sys.modules[name]


def test_plug_ins_are_found_by_their_files_without_importing_them(package):
    assert registry.known(package) == ["broken", "zebra"]


def test_a_plug_in_is_loaded_by_name(package):
    assert registry.load(package, "zebra").stripes == 26


@pytest.mark.parametrize("name", ["zebras", "_base", "", None, "../zebra"])
def test_an_unknown_name_lists_the_known_ones(package, name):
    with pytest.raises(InputError, match=r"plugins_for_a_test: .* known: broken, zebra"):
        registry.load(package, name)
