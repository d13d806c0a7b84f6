"""SHA256SUMS of a folder of data: of cases.csv and the tables beside it, as `sha256sum -c` has it.

A table that was cut at the end of a line reads as well as a whole one, and what is trained or
scored with it looks as good. Scans have their own means (store.py): these tables alone are read
whole.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from piecemeal.errors import InputError
from piecemeal.provenance import file_sha256, write_text

NAME = "SHA256SUMS"
CASES = "cases.csv"
_LINE = re.compile(r"([0-9a-f]{64})  ([^/]+)")


def write_cases(folder: Path, text: str, beside: Sequence[str] = ()) -> None:
    """Write cases.csv, last, and before it the checksums of it and of the tables `beside` it."""
    (folder / CASES).unlink(missing_ok=True)
    tables = {name: file_sha256(folder / name) for name in beside}
    tables[CASES] = hashlib.sha256(text.encode()).hexdigest()  # last: without its line it is cut
    write_text(folder / NAME, "".join(f"{sha256}  {name}\n" for name, sha256 in tables.items()))
    write_text(folder / CASES, text)


def cases_file(folder: Path) -> Path:
    """The path of cases.csv, which is the one that was written, as is every table beside it.

    Raises InputError if it is missing, which means the step before has not finished, and if it or
    another table was cut, damaged, edited or deleted since.
    """
    path = Path(folder) / CASES
    if not path.exists():
        raise InputError(
            f"{path}: is missing, the step that writes it has not finished; run it again"
        )
    for name, sha256 in _sums(path).items():
        table = path.with_name(name)
        if not table.exists() or file_sha256(table) != sha256:
            raise InputError(
                f"{table}: is damaged, edited or missing: it is not the file whose sha256 is in "
                f"{NAME} beside it; {_remedy(path)}"
            )
    return path


def check_trained_on(folder: Path, record: Mapping[str, Any]) -> str:
    """SHA-256 of cases.csv of a prepared folder, that which a run's run.json has (`record`).

    Raises InputError if the run was trained on other data, or the folder is not as it was written.
    """
    sha256 = file_sha256(path := cases_file(folder))
    if sha256 != record["data_manifest_sha256"]:
        run = f"{record['cohort']}/{record['annotation']}/{record['method']}"
        raise InputError(
            f"{path}: not the data that {run}/seed{record['seed']}-{record['hash']} was trained "
            "on: the source files changed; delete the folders and checkpoints of that cohort's "
            "runs to train on the new data, or put the old files back"
        )
    return sha256


def _sums(path: Path) -> dict[str, str]:
    """Name -> SHA-256 of the tables beside cases.csv, it included."""
    sums = path.with_name(NAME)
    try:
        lines = sums.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"{sums}: cannot be read ({error}); {_remedy(path)}") from None
    found = {m[2]: m[1] for line in lines if (m := _LINE.fullmatch(line))}
    if len(found) != len(lines) or CASES not in found:
        raise InputError(
            f"{sums}: is damaged, expected a line '<sha256>  <name>' of {CASES} and of each table "
            f"beside it; {_remedy(path)}"
        )
    return found


def _remedy(path: Path) -> str:
    # All of these are written by the job that makes cases.csv, and it does no scan again.
    return f"delete {path} and start again"
