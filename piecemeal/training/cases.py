"""The annotated cases of one split, as memory maps: nothing of a volume is read before its use."""

from __future__ import annotations

import json
import logging
import resource
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from piecemeal.datasets.places import Places
from piecemeal.datasets.store import PreparedScan, read_rows, reading
from piecemeal.errors import InputError
from piecemeal.labelsets import carries_information

log = logging.getLogger(__name__)

OPEN_FILES = 65536  # as many memory maps as Linux gives a process by default


@dataclass(frozen=True, eq=False)
class Case:
    """One scan and what its annotator said of it.

    image: float32 (z, y, x). codes: uint8 (z, y, x), rows of `sets`, bool (K, C). labels: true
    class ids, uint8 (z, y, x), to watch a run by, never to train on; None where nobody drew any.
    undeclared: classes that were never asked for; where `labels` say background, there may be one.
    task: the only one that the scan shows, in a cohort of several tasks; else "".
    view: how the slices lie that alone were drawn ("axial", "coronal" or "sagittal"); "" of a whole
    scan.
    """

    dataset: str
    scan: str
    case: str
    modality: str
    image: np.ndarray
    codes: np.ndarray
    labels: np.ndarray | None
    sets: np.ndarray
    places: Places
    undeclared: tuple[int, ...] = ()
    task: str = ""
    view: str = ""

    @cached_property
    def is_labelled(self) -> bool:
        """Whether the annotator may have said anything: some set leaves a class out."""
        return bool(carries_information(self.sets).any())

    @cached_property
    def named(self) -> dict[int, int]:
        """Class -> its code, of the classes of which the annotator named at least one voxel.

        A class that stands only in a set of several is not among them.
        """
        alone = self.sets.sum(axis=1) == 1
        codes = np.flatnonzero(alone & self.places.slices.any(axis=1))
        return {int(self.sets[code].argmax()): int(code) for code in codes}

    @cached_property
    def empty(self) -> tuple[int, ...]:
        """Codes of the voxels without a label: of those that somebody looked at, if there are any.

        Their sets have the background in them. Others have every class in theirs.
        """
        unnamed = self.sets[:, 0] & self.places.slices.any(axis=1)
        looked_at = unnamed & carries_information(self.sets)
        return tuple(np.flatnonzero(looked_at if looked_at.any() else unnamed).tolist())


def load_cases(prepared: Path, annotated: Path, split: str, classes: int) -> list[Case]:
    """All cases of one split ("train" or "validation"), in the order of cases.csv.

    prepared, annotated: the two folders of the cohort; classes: background included.
    Raises InputError if the annotation leaves the split empty, if one of the folders is not
    finished, or if an array is missing, broken, or not of its image's shape.
    """
    rows = [row for row in read_rows(annotated) if row["split"] == split]
    if not rows:
        raise InputError(
            f"{annotated / 'cases.csv'}: no case of the split '{split}' is left: the annotation "
            "drops all of them, or none was prepared or only twins of scans that are tested on, as "
            "the cohort's log in logs/prepare says; "
            "change the annotation, enlarge the split or repair the scans"
        )
    _allow_open_files()
    protocols = json.loads((annotated / "sets.json").read_text(encoding="utf-8"))
    tables = {name: _table(members, classes) for name, members in protocols.items()}
    return [_case(row, prepared, annotated, tables[row["protocol"]]) for row in rows]


def labelled_cases(cases: Sequence[Case], annotated: Path) -> list[Case]:
    """Those validation cases of which anything is known; InputError, naming `annotated`, if none.

    A loss of what nobody labelled says nothing, and zero is not a good one.
    """
    if not (found := [case for case in cases if case.is_labelled]):
        raise InputError(
            f"{annotated / 'cases.csv'}: no case of the split 'validation' is labelled, so nothing "
            "says which weights to keep; enlarge the split or change the annotation"
        )
    for dataset in sorted({case.dataset for case in cases} - {case.dataset for case in found}):
        log.warning("%s: no validation case is labelled; it does not say what is kept", dataset)
    return found


def _case(row: dict[str, str], prepared: Path, annotated: Path, sets: np.ndarray) -> Case:
    place = Path(row["dataset"]) / row["scan"]
    scan = PreparedScan(prepared / place)
    image, labels = scan.image, scan.labels
    path = annotated / place / "codes.npy"
    with reading(path, f"delete {annotated / 'cases.csv'}"):
        codes = np.load(path, mmap_mode="r")
    if codes.shape != image.shape:
        raise InputError(
            f"{path}: {codes.shape} differs from the image's {image.shape}; delete "
            f"{annotated / 'cases.csv'}, and start again"
        )
    names = (row["dataset"], row["scan"], row["case"], row["modality"])
    undeclared = tuple(int(number) for number in row["undeclared"].split(";") if number)
    places = Places(annotated / place / "places.npz")
    return Case(*names, image, codes, labels, sets, places, undeclared, row["task"], row["view"])


def _table(rows: list[list[int]], classes: int) -> np.ndarray:
    table = np.zeros((len(rows), classes), dtype=bool)
    for code, members in enumerate(rows):
        table[code, members] = True
    return table


def _allow_open_files() -> None:
    """Raise this process's limit as far as it may: a memory map keeps its file open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
