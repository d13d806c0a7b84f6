"""Scans as their publishers left them: which files make a case, and what was read from them.

Volumes are (z, y, x) = (slice, row, column) arrays; a file's (x, y, z) is transposed once, when it
is read (package `reading`), and stays in the order of the file: whoever needs a canonical
orientation turns it later (`orientation`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from piecemeal.datasets.members import Member, content_id
from piecemeal.errors import InputError

File = Path | Member
Labels = Mapping[int | str, str]  # raw value, or name of a mask -> structure


@dataclass(frozen=True)
class CaseFiles:
    """The files of one scan. `case` is the patient, the unit of splits and statistics.

    labels: one file with a raw value a voxel; masks: or (name, file) of one binary mask a
    structure. slices: further files of the image (a DICOM series). described_by: files the reader
    took facts from (an Info.cfg, for instance). declared: keys of the data set's `labels` that the
    annotator of this patient drew where they were present; None: all of them. split: the
    publisher's own ("train", "validation", "test"), or "". may_be_empty: whether a file of labels
    may have none of them, as a scan does that shows no such structure.
    """

    case: str
    phase: str
    image: File
    labels: File | None
    group: str = ""
    described_by: tuple[File, ...] = ()
    masks: tuple[tuple[str, File], ...] = ()
    slices: tuple[File, ...] = ()
    declared: tuple[int | str, ...] | None = None
    split: str = ""
    may_be_empty: bool = False

    @property
    def scan(self) -> str:
        """A name no other scan of the data set has: `patient001_ED`, or `patient001`."""
        return f"{self.case}_{self.phase}" if self.phase else self.case

    @property
    def files(self) -> tuple[File, ...]:
        """Every file of the scan, image first."""
        labels = [self.labels] if self.labels else []
        masks = [file for _, file in self.masks]
        return (self.image, *self.slices, *labels, *masks, *self.described_by)


@dataclass(frozen=True)
class BadCase:
    """A scan (or a whole patient: `scan == case`) whose files cannot be told from the layout."""

    case: str
    scan: str
    reason: str


@dataclass
class Scan:
    """One scan in memory.

    image: float32 (z, y, x), intensities of the file. labels: integer (z, y, x), keys of
    `label_table`, or None. spacing: (z, y, x) in mm. affine: 4 x 4, voxel (x, y, z) to world in
    mm, RAS. notes: what was odd about the files and how it was read.
    """

    image: np.ndarray
    labels: np.ndarray | None
    spacing: tuple[float, float, float]
    affine: np.ndarray
    notes: tuple[str, ...] = ()


def found_or_raise(
    cases: list[CaseFiles], found_bad: list[BadCase], bad: list[BadCase] | None
) -> list[CaseFiles]:
    """End of every `find_cases`: hand bad cases to the caller who asked for them, else raise."""
    if bad is not None:
        bad.extend(found_bad)
    elif found_bad:
        raise InputError("\n".join(problem.reason for problem in found_bad))
    return cases


def content_ids(files: Iterable[File]) -> dict[File, str]:
    """What tells the content of each file. Raises InputError naming one that cannot be read."""
    ids = {}
    for file in files:
        try:
            ids[file] = content_id(file)
        except OSError as error:
            why = error.strerror or error
            raise InputError(f"{file}: cannot be read ({why}); put the file there") from None
    return ids


def size_of_file(file: File) -> int:
    """Bytes of a file, unpacked."""
    return file.bytes if isinstance(file, Member) else file.stat().st_size


def name_below(root: Path, file: File) -> str:
    """The name of a file below the root of its data set, also inside a zip there."""
    if isinstance(file, Member):
        return f"{file.archive.relative_to(root).as_posix()}!/{file.name}"
    return file.relative_to(root).as_posix()


def label_table(labels: Labels) -> dict[int, str]:
    """Value in `Scan.labels` -> structure: raw values as they are, masks numbered from 1."""
    if all(isinstance(raw, str) for raw in labels):
        return dict(enumerate(labels.values(), start=1))
    return {int(raw): name for raw, name in labels.items()}


def map_labels(
    raw: np.ndarray, table: Mapping[int, str], where: File, *, may_be_empty: bool = False
) -> tuple[np.ndarray, list[str]]:
    """Ids (uint8, same shape) of raw label values, and the structures that they stand for.

    Id 0 is background, id n the n-th of the structures: those of `table` (raw value -> structure,
    0 is background unless it says otherwise), each once, in its order. `where` is the file to name.
    Raises InputError on a value outside the table, and if no voxel is labelled unless it may be so.
    """
    names = {0: "background"} | dict(table)
    values = [int(value) for value in _values(raw)]
    if unknown := [value for value in values if value not in names]:
        raise InputError(
            f"{where}: label values {unknown} are not in the data set's label map, which has "
            f"{sorted(names)}; correct the file, or add the values to `labels` of the data set"
        )
    if not may_be_empty and all(names[value] == "background" for value in values):
        raise InputError(
            f"{where}: no voxel is labelled, expected some of {sorted(set(names) - {0})}; "
            "copy the file again or leave the scan out; if the scan truly shows none of it, "
            "`layout_options.empty: keep` of the layout nifti_pairs says so"
        )
    structures = [name for name in dict.fromkeys(table.values()) if name != "background"]
    id_of = {"background": 0} | {name: i for i, name in enumerate(structures, start=1)}
    ids = np.array([id_of[names[value]] for value in values], np.uint8)
    if raw.dtype.kind == "u" and raw.dtype.itemsize <= 2:
        lookup = np.zeros(max(values) + 1, np.uint8)
        lookup[values] = ids
        return lookup[raw], structures
    return ids[np.searchsorted(values, raw)], structures


def _values(raw: np.ndarray) -> np.ndarray:
    """The values that occur, sorted. Counting small ones is many times faster than sorting all."""
    if raw.dtype.kind != "u" or raw.dtype.itemsize > 2:
        return np.unique(raw)
    found = np.zeros(np.iinfo(raw.dtype).max + 1, bool)
    for plane in raw:
        found[plane] = True
    return np.flatnonzero(found)
