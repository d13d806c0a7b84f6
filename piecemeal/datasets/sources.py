"""A data set that was fetched: its folder in the official layout, and its manifest.

Apart from `fetch`, so that code which only reads data does not depend on code that gets them.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from piecemeal.datasets import layouts
from piecemeal.datasets.scans import BadCase, CaseFiles
from piecemeal.errors import InputError


class Layout(NamedTuple):
    """How a data set is laid out: a module of `layouts`, and what it must be told."""

    name: str
    options: Mapping[str, Any] = {}

    @property
    def example(self) -> str:
        """One path to expect below the root."""
        module = layouts.load(self.name)
        return module.EXAMPLE if hasattr(module, "EXAMPLE") else module.example(**self.options)

    def find_cases(self, root: Path, bad: list[BadCase] | None = None) -> list[CaseFiles]:
        """Every case below `root`; see `layouts`."""
        return layouts.load(self.name).find_cases(root, bad, **self.options)


def dataset_root(folder: Path) -> Path:
    """The folder in the official layout, to give to a layout's `find_cases`.

    Raises InputError if fetching has not finished.
    """
    return Path(folder) / read_manifest(folder)["source"]


def read_manifest(folder: Path) -> dict:
    """The manifest of a fetched folder. Raises InputError if fetching has not finished."""
    path = Path(folder) / "manifest.json"
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {error}; fetch the data set again") from None
