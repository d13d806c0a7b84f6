"""Which patients take part, and who of them trains, validates and tests: by seed, or as committed.

The seeded splits need no random generator, so no library can change them.
"""

import csv
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import pandas as pd

from piecemeal.errors import InputError

COLUMNS = ["dataset", "case", "split"]
SPLITS = ("train", "validation", "test")
LEAVE_OUT = "leave out"
EVERY_OTHER = "*"  # instead of a case: every case of the data set that has no row

# Names of missing patients in a message before it goes on with `...`.
SHOWN = 5


def choose_patients(dataset: str, source: dict, there: set[str]) -> list[str]:
    """The patients that `patients` and `limit` of the source leave of those that are `there`.

    source: as in `prepare`. patients: only these; limit: the first so many by name, of those.
    Both may be None. Raises InputError if a patient of the list is not there.
    """
    named = source.get("patients")
    wanted = there if named is None else set(named)
    if missing := sorted(wanted - there):
        raise InputError(
            f"data set {dataset} in {source['root']}: {len(missing)} of the {len(wanted)} patients "
            f"of the key sources.{dataset}.patients in config/scales are not there, or excluded in "
            f"config/datasets/{dataset}.yaml: {_shown(missing)}; "
            "correct the list, or add their files"
        )
    return sorted(wanted)[: source.get("limit")]


def split_cases(
    cases: list[str], seed: int, train: int, validation: int, test: int
) -> pd.DataFrame:
    """Draw a split of patients: columns case, split and half, sorted by case.

    Patients are put in the order of SHA-256("seed:case"); the first `test` of them are the test
    set, the next `validation` and then `train` the others, so more training patients never change
    the test set. Patients left over are not in the table. The order of `cases` and repeated names
    (a patient's two phases) do not matter.

    half is 1 or 2: in the same order the first half of the training patients, and the first half of
    the validation patients, are 1 (the larger half of an odd number); it is <NA> in the test set.

    Raises InputError if more patients are asked for than there are, or a count is negative.
    """
    sizes = {"test": test, "validation": validation, "train": train}
    patients = shuffled(set(cases), seed)
    if min(sizes.values()) < 0:
        raise InputError(f"split: a count is negative: {sizes}; use 0 or more")
    if sum(sizes.values()) > len(patients):
        raise InputError(
            f"split: asks for {sum(sizes.values())} patients (train {train}, validation "
            f"{validation}, test {test}), but there are {len(patients)}; ask for fewer, or add data"
        )
    splits = [split for split, size in sizes.items() for _ in range(size)]
    rows = list(zip(patients, splits, strict=False))
    return with_halves(pd.DataFrame(rows, columns=["case", "split"], dtype=object), seed)


def with_halves(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Columns case, split and half, sorted by case, from a table of unique cases with their split.

    Halves are those of `split_cases`, drawn with `seed`.
    """
    half = {}
    for split in ("train", "validation"):
        patients = shuffled(table.case[table.split == split], seed)
        first = (len(patients) + 1) // 2
        half |= {case: 1 if place < first else 2 for place, case in enumerate(patients)}
    table = table[["case", "split"]].assign(half=table.case.map(half).astype("Int64"))
    return table.sort_values("case", ignore_index=True)


def read_split(
    path: Path,
    dataset: str,
    cases: Iterable[str],
    missing: Literal["error", "ignore"] = "error",
    excluded: Iterable[str] = (),
) -> pd.DataFrame:
    """Columns case and split, sorted by case: the split that the file gives the `cases` there are.

    The file has the columns dataset, case, split. split is train, validation, test or "leave out";
    a row with `*` as its case says what every case without a row is. Cases that are left out are
    not in the table.

    Raises InputError if the file cannot be read, lacks the data set or a column, has a word that is
    no split or the same case twice, has no row for one of the cases, or (missing="error") has a row
    for a case that is neither there nor among the `excluded` ones.
    """
    rows = _rows_of(path, dataset)
    there = set(cases)
    others = rows.pop(EVERY_OTHER, None)
    wanted = {case for case, split in rows.items() if split != LEAVE_OUT}
    if missing == "error" and (absent := sorted(wanted - there - set(excluded))):
        raise InputError(
            f"{path}: {len(absent)} of the {len(wanted)} cases of data set {dataset} are not "
            f"there: {_shown(absent)}; add their files, or correct the list"
        )
    if others is None and (unlisted := sorted(there - rows.keys())):
        raise InputError(
            f"{path}: {len(unlisted)} cases of data set {dataset} have no row: {_shown(unlisted)}; "
            f"add them, or a row `{dataset},{EVERY_OTHER},{LEAVE_OUT}` for all that have none"
        )
    found = [(case, rows.get(case, others)) for case in sorted(there)]
    return pd.DataFrame(
        [(case, split) for case, split in found if split != LEAVE_OUT],
        columns=["case", "split"],
        dtype=object,
    )


def publishers_split(theirs: Mapping[str, str], patients: Iterable[str]) -> pd.DataFrame:
    """Columns case and split, sorted by case: the split that the data set itself comes with.

    theirs: case -> "train", "validation", "test", or "" of a case that is in none and left out.
    Raises InputError if one of the three parts has none of the patients.
    """
    rows = [(case, theirs[case]) for case in sorted(patients) if theirs.get(case)]
    if empty := sorted(set(SPLITS) - {split for _, split in rows}):
        raise InputError(
            f"split.official: none of these patients is in {', '.join(empty)}: the data set comes "
            "without a split, or they are a part of it; give counts, or a `file`, in config/cohorts"
        )
    return pd.DataFrame(rows, columns=["case", "split"])


def carve_validation(table: pd.DataFrame, fraction: float, seed: int) -> pd.DataFrame:
    """The table (columns case, split) with this share of the training patients in validation.

    The number is rounded, but at least one; which ones, the seed says as in `split_cases`. Raises
    InputError if the share is not between 0 and 1, or would leave nothing to train on.
    """
    if not 0 < fraction < 1:
        raise InputError(f"validation share {fraction}: expected a number between 0 and 1")
    patients = shuffled(table.case[table.split == "train"], seed)
    count = max(1, int(fraction * len(patients) + 0.5))
    if count >= len(patients):
        raise InputError(
            f"validation share {fraction}: {count} of {len(patients)} training patients leave "
            "none to train on; use a smaller share, or add data"
        )
    split = table.split.mask(table.case.isin(patients[:count]), "validation")
    return table.assign(split=split)


def datasets_in(path: Path) -> set[str]:
    """The data sets that a file of splits has rows of; InputError if it cannot be read."""
    return {row[0] for row in _lines(path) if row}


def _rows_of(path: Path, dataset: str) -> dict[str, str]:
    """case -> split of a data set in a file of splits, `*` among the cases."""
    found: dict[str, dict[str, str]] = {}
    for line, row in enumerate(_lines(path), start=2):
        if len(row) != len(COLUMNS):
            raise InputError(f"{path}, line {line}: expected {', '.join(COLUMNS)}, found {row}")
        name, case, split = row
        known = (*SPLITS, LEAVE_OUT)
        if split not in known or (case == EVERY_OTHER and split == "validation"):
            raise InputError(
                f"{path}, line {line}: {case} is to be {split!r}, expected one of "
                f"{', '.join(known)} (for `{EVERY_OTHER}` without validation); correct the word"
            )
        if case in found.setdefault(name, {}):
            raise InputError(
                f"{path}, line {line}: case {case} of data set {name} is there for the second "
                "time; delete one of the lines"
            )
        found[name][case] = split
    if dataset not in found:
        raise InputError(
            f"{path}: has no data set {dataset}, only {', '.join(sorted(found)) or 'none at all'}; "
            "add it, or split it by numbers in config/cohorts"
        )
    return found[dataset]


def _lines(path: Path) -> list[list[str]]:
    """The rows of a file of splits, without its first line, which must name the columns."""
    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            first, *rows = list(csv.reader(file)) or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a table: {error}; restore it") from None
    if first != COLUMNS:
        raise InputError(
            f"{path}: has the columns {', '.join(first) or 'none at all'}, expected "
            f"{', '.join(COLUMNS)}; correct its first line"
        )
    return rows


def shuffled(cases: Iterable[str], seed: int) -> list[str]:
    """The cases in the order of SHA-256("seed:case")."""
    return sorted(cases, key=lambda case: (_hash(seed, case), case))


def _hash(seed: int, case: str) -> str:
    return hashlib.sha256(f"{seed}:{case}".encode()).hexdigest()


def _shown(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
