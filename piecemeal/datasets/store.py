"""The store of prepared scans: one folder a scan and one table, cases.csv.

cases.csv                         one row a scan; written last, so it exists only if all is there
SHA256SUMS                        of cases.csv and the tables beside it (case_table.py)
sources.json                      by data set, where its raw data came from
twins.csv                         patients left out, as their scans are those of others, and whose
<dataset>/<scan>/image.npy        float32 (z, y, x), normalised, on the cohort's grid
<dataset>/<scan>/labels.npy       uint8 (z, y, x), class ids on the grid
<dataset>/<scan>/reference.npz    uint8 (z, y, x), class ids on the scan's own voxels, packed
<dataset>/<scan>/coarse.npy       a small copy, to find the same scan in other data sets (leakage)
<dataset>/<scan>/scan.json        geometry, volumes, notes, source files and settings

In a cohort of several tasks <scan> is `<scan>_<task>`, the slices of a scan that show this `task`;
where it shows too few of them, scan.json says so under `left_out`, and there is no row. In a cohort
of projections it is a view of a scan (projections.py): z counts its images, the scan as it is first
and then changed copies of a training scan, and labels are bit masks (`piecemeal.bitmasks`) of the
structures of the task.

In cases.csv `declared` names the structures that were drawn wherever they are in the scan (a voxel
without a label may be any of the others), `present` those that occur, `volumes_ml` how large these
are, all separated by semicolons; `fov_*` is the field of view in mm, `notes` what was odd.
"""

from __future__ import annotations

import csv
import json
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from piecemeal.datasets.case_table import cases_file
from piecemeal.datasets.grid import Geometry
from piecemeal.errors import InputError

if TYPE_CHECKING:  # whoever trains or predicts needs no pandas
    import pandas as pd


TWINS = "twins.csv"
SOURCES = "sources.json"

# What numpy raises on a file that is missing, cut short or damaged.
_UNREADABLE = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error)


class PreparedScan:
    """One scan of the store. Image and labels are memory-mapped: read where they are indexed.

    `labels` and `reference` are None for a scan that nobody has drawn on. Raises InputError, which
    names the file and says how to have it made anew, where one cannot be read.
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder)

    @cached_property
    def image(self) -> np.ndarray:
        """Normalised intensities, float32 (z, size, size)."""
        return self._map("image")

    @cached_property
    def labels(self) -> np.ndarray | None:
        """Class ids on the cohort's grid, uint8 (z, size, size)."""
        return self._map("labels") if (self.folder / "labels.npy").exists() else None

    @cached_property
    def reference(self) -> np.ndarray | None:
        """Class ids on the scan's own voxels, uint8 (z, y, x); read whole."""
        path = self.folder / "reference.npz"
        if not path.exists():
            return None
        with self._reading(path), np.load(path) as packed:
            return packed["arr_0"]

    @property
    def coarse(self) -> np.ndarray:
        """The small copy that tells scans apart (`leakage.fingerprint`); read whole."""
        path = self.folder / "coarse.npy"
        with self._reading(path):
            return np.load(path)  # of all scans at a time: maps would run out of open files

    @cached_property
    def record(self) -> dict:
        """The content of scan.json."""
        path = self.folder / "scan.json"
        with self._reading(path):
            return json.loads(path.read_text())

    @cached_property
    def geometry(self) -> Geometry:
        """What it takes to go back to the scan's own voxels."""
        return Geometry(
            native_shape=tuple(self.record["native_shape"]),
            spacing=tuple(self.record["spacing"]),
            affine=np.array(self.record["affine"]),
            grid_spacing=tuple(self.record["grid_spacing"]),
            grid_shape=tuple(self.record["grid_shape"]),
            file_axes=self.record.get("file_axes", ""),
        )

    def _map(self, name: str) -> np.ndarray:
        path = self.folder / f"{name}.npy"
        with self._reading(path):
            return np.load(path, mmap_mode="r")

    def _reading(self, path: Path) -> AbstractContextManager:
        # Without the folder too: it tells `prepare` that the scan is done, and sizes may be right.
        table = self.folder.parent.parent / "cases.csv"
        return reading(path, f"delete the folder {self.folder} and {table}")


@contextmanager
def reading(path: Path, remedy: str) -> Iterator[None]:
    """Turn what numpy raises on a broken array into InputError; remedy: what to delete."""
    try:
        yield
    except _UNREADABLE as error:
        raise InputError(f"{path}: cannot be read ({error}); {remedy}, and start again") from None


def read_rows(folder: Path) -> list[dict[str, str]]:
    """cases.csv of a prepared or annotated folder, row by row, all of it text.

    Raises InputError if it is not as it was written (see `cases_file`).
    """
    with cases_file(folder).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_cases(folder: Path) -> pd.DataFrame:
    """cases.csv of a prepared or annotated folder: text columns, `half` as nullable integer.

    Raises InputError if it is not as it was written (see `cases_file`).
    """
    import pandas as pd

    numbers = {"slices": int} | {
        f"{of}_{axis}": float for of in ("spacing", "fov") for axis in "zyx"
    }
    # Names and phases may look like numbers or like "NA"; they are text.
    cases = pd.read_csv(cases_file(folder), dtype=str, keep_default_na=False)
    cases["half"] = pd.to_numeric(cases["half"].replace("", None)).astype("Int64")
    return cases.astype({name: kind for name, kind in numbers.items() if name in cases})


def read_sources(folder: Path) -> dict[str, dict[str, Any]]:
    """sources.json of a prepared folder: by data set "source", "phantom" and "sha256".

    Raises InputError if it is not as it was written (see `cases_file`).
    """
    return json.loads(cases_file(folder).with_name(SOURCES).read_text(encoding="utf-8"))


def nowhere(cases: pd.DataFrame) -> dict[str, list[str]]:
    """By data set, the structures that were drawn wherever they are, and are in no scan of it."""
    found = {}
    for dataset, rows in cases.groupby("dataset"):
        declared, present = (
            {name for cell in rows[column].fillna("") for name in cell.split(";") if name}
            for column in ("declared", "present")
        )
        if absent := sorted(declared - present):
            found[dataset] = absent
    return found


def names_to_ids(names: str, structures: Sequence[str]) -> list[int]:
    """Class ids of the structures that a cell of cases.csv ("liver;spleen") names, ascending."""
    return sorted(structures.index(name) + 1 for name in names.split(";") if name)
