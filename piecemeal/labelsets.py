"""Label sets: which classes each voxel of an annotation may be.

An annotation is a volume of codes and a table of sets. Row k of the table says which classes a
voxel with code k may be: {c} where the annotator drew class c, several classes where structures
were merged or left out, every class where nothing is known. The term is that of Fidon et al.,
"Label-set loss functions for partial supervision" (MICCAI 2021).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from piecemeal.errors import InputError

MAX_SETS = 256  # codes are stored as uint8


class Annotation(NamedTuple):
    """What an annotator said of one scan.

    codes: uint8, (*space), the row of `sets` that holds for the voxel.
    sets: bool, (K, C), whether a voxel with code k may be class c; class 0 is background. A row
        without any class is padding, which no voxel of a scan has; one with every class says
        nothing.
    """

    codes: np.ndarray
    sets: np.ndarray


def all_classes(classes: int) -> np.ndarray:
    """Return the label set that says nothing, as a bool array (C,)."""
    return np.ones(classes, dtype=bool)


def singletons(classes: int) -> np.ndarray:
    """Return the label sets {0}, {1}, ... of complete labels, as a bool array (C, C)."""
    return np.eye(classes, dtype=bool)


def is_complete(sets: np.ndarray) -> bool:
    """Say whether every set of `sets` (K, C) names exactly one class; padding is passed over."""
    return bool((np.asarray(sets).sum(axis=-1) <= 1).all())


def carries_information(sets: np.ndarray) -> np.ndarray:
    """Say which rows of `sets` (..., K, C) rule at least one class out, as bool (..., K).

    Padding carries none.
    """
    return sets.any(axis=-1) & ~sets.all(axis=-1)


def pad(tables: Sequence[np.ndarray]) -> np.ndarray:
    """Stack the set tables (K_b, C) of B scans into one bool array (B, max K_b, C).

    Shorter tables end in rows without any class. Raises InputError if there is no table, or if
    the tables disagree on the number of classes.
    """
    widths = {table.shape[1] for table in tables}
    if len(widths) != 1:
        raise InputError(
            f"label set tables with {sorted(widths)} classes cannot be stacked: expected at least "
            "one table, and one number of classes; give every scan the cohort's class list"
        )
    padded = np.zeros((len(tables), max(map(len, tables)), widths.pop()), dtype=bool)
    for row, table in zip(padded, tables, strict=True):
        row[: len(table)] = table
    return padded


def validate(annotation: Annotation) -> None:
    """Check that an annotation is well formed.

    Raises InputError if codes are not uint8, sets are not bool (K, C) with 1 to 256 rows, a code
    has no row in the table, or a voxel's set is empty.
    """
    codes, sets = annotation
    if codes.dtype != np.uint8:
        raise InputError(
            f"annotation codes are {codes.dtype}, expected uint8; write them with "
            "piecemeal.annotations"
        )
    if sets.dtype != bool or sets.ndim != 2 or not 1 <= len(sets) <= MAX_SETS:
        raise InputError(
            f"the annotation's set table is {sets.dtype} {sets.shape}, expected bool (sets, "
            f"classes) with 1 to {MAX_SETS} sets; write it with piecemeal.annotations"
        )
    used = np.bincount(codes.ravel(), minlength=MAX_SETS) > 0
    meaningful = np.zeros(MAX_SETS, dtype=bool)
    meaningful[: len(sets)] = sets.any(axis=1)
    stray = np.flatnonzero(used & ~meaningful)
    if stray.size:
        raise InputError(
            f"annotation codes {stray.tolist()} have no label set: expected the rows "
            f"{np.flatnonzero(meaningful).tolist()} of the set table; codes and sets come from "
            "different annotations, annotate the scan again"
        )
