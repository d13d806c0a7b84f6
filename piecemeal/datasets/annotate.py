"""Write what each case's annotator is taken to have said: codes and label sets (labelsets.py).

cases.csv                    one row a scan, columns COLUMNS; written last. `undeclared`: ids of
                             structures that its data set does not label; `view`: how the slices
                             lie that alone were drawn ("axial", ...), empty of a whole scan
SHA256SUMS                   of cases.csv and sets.json (case_table.py)
sets.json                    {protocol: [[class ids of code 0], [of code 1], ...]}, a protocol for
                             each list of structures that scans of a data set were drawn with, and
                             one a table where it depends on what the slices show
<dataset>/<scan>/codes.npy   uint8 (z, size, size), rows of the scan's protocol in sets.json
<dataset>/<scan>/places.npz  where each code occurs (places.py)
"""

import json
import logging
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from piecemeal import bitmasks
from piecemeal.annotations import as_declared
from piecemeal.datasets.annotators import (
    annotate_scan,
    labels_of,
    name_protocols,
)
from piecemeal.datasets.case_table import write_cases
from piecemeal.datasets.places import write_places
from piecemeal.datasets.splits import shuffled
from piecemeal.datasets.store import PreparedScan, names_to_ids, read_cases
from piecemeal.errors import InputError
from piecemeal.labelsets import Annotation, carries_information
from piecemeal.provenance import replacing, short_hash, write_text

log = logging.getLogger(__name__)

COLUMNS = [
    "dataset",
    "scan",
    "case",
    "modality",
    "phase",
    "task",
    "split",
    "half",
    "undeclared",
    "protocol",
    "view",
]


def annotate(
    folder: Path,
    prepared: Path,
    structures: list[str],
    halves: dict[int, dict | None],
    known: str = "declared",
    tasks: list[str] | None = None,
    bits: dict[str, list[int]] | None = None,
    own: dict[str, dict] | None = None,
    sources: list[str] | None = None,
    dealt: dict | None = None,
) -> pd.DataFrame:
    """Annotate the training and validation cases of a prepared store; returns cases.csv.

    structures: class 1, 2, ... of the cohort. halves gives the protocol of half 1 and of half 2 of
    the patients: {"kind": ...} with the settings of annotators.SETTINGS, or None to drop these
    cases. Which slices a scan of `sparse_slices` keeps depends on the protocol's seed and the scan
    alone.
    known: "declared", "present" or "all", the structures of a scan that a voxel without a label is
    known not to be; it may be each of the others, whatever the protocol
    (`annotations.as_declared`). "present" means those of the slice in `every_nth_slice`.
    tasks: only the cases of these are annotated; None: all.
    bits: task -> class ids of its structures, of a cohort whose structures overlap: codes are its
    bit masks then, and each set holds all structures of a mask (`bitmasks.table`), not what a voxel
    may be one of. Its halves are `complete`, in a protocol of each task.
    own: data set -> its protocol, instead of those of the halves. sources: only the cases of these
    data sets are annotated; None: all. dealt: {"seed": ..., "hands": {name: protocol}} in place of
    the halves: the patients of each data set, those that train and those that validate by
    themselves, are dealt out to the hands one after the other, in the order of
    SHA-256("seed:case").
    Raises InputError on an unknown protocol, one of its settings missing or unknown, another one
    than `complete` with `bits`, or class ids out of range.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cases.csv").unlink(missing_ok=True)
    own = own or {}
    given = dealt["hands"] if dealt else halves
    protocols = {key: protocol for key, protocol in (given | own).items() if protocol}
    names = name_protocols(protocols)
    if bits and set(names.values()) - {"complete"}:
        raise InputError(
            f"protocols {sorted(names.values())}: structures that overlap take `complete`; correct "
            "`annotations` in config/cohorts"
        )
    cases = _of_training(prepared, tasks, sources)
    parts = _hands(cases, dealt) if dealt else cases["half"]
    keys = [
        name if name in own else part for name, part in zip(cases["dataset"], parts, strict=True)
    ]
    cases = cases.assign(key=keys)[np.array([key in protocols for key in keys], bool)]
    annotators = _Annotators(structures, known, bits)
    found: dict[str, list[str]] = {"undeclared": [], "protocol": [], "view": []}
    tables, silent = {}, Counter()
    for row in cases.itertuples():
        place, protocol = Path(row.dataset) / row.scan, protocols[row.key]
        scan = PreparedScan(prepared / place)
        name, annotation = annotators.asked(scan, row, protocol, names[row.key])
        codes, sets = annotation
        (folder / place).mkdir(parents=True, exist_ok=True)
        with replacing(folder / place / "codes.npy") as temporary, temporary.open("wb") as file:
            np.save(file, codes)
        write_places(folder / place / "places.npz", codes, len(sets), place.as_posix())
        # Every scan of that name gives the same.
        tables[name] = [np.flatnonzero(members).tolist() for members in sets]
        declared = names_to_ids(row.declared, structures)
        found["undeclared"].append(";".join(_others(declared, structures)))
        found["protocol"].append(name)
        found["view"].append(view := protocol.get("view", ""))
        if view and not carries_information(sets)[codes].any():
            silent[row.dataset] += 1
    _warn_of(silent)
    cases = cases.assign(**found)[COLUMNS]
    write_text(folder / "sets.json", json.dumps(tables, indent=1))
    write_cases(folder, cases.to_csv(index=False), ["sets.json"])
    return cases


class _Annotators(NamedTuple):
    """What all annotators of a cohort share; as in `annotate`."""

    structures: list[str]
    known: str
    bits: dict[str, list[int]] | None

    def asked(self, scan: PreparedScan, row, protocol: dict, name: str) -> tuple[str, Annotation]:
        """What is said of the scan of a row, and the `name` that its table goes by."""
        classes = len(self.structures) + 1
        if self.known == "present" and protocol["kind"] == "every_nth_slice":
            said = annotate_scan(scan, row.scan, protocol, classes, by_slice=True)
            return f"{name}_{short_hash(said.sets.tolist())}", said
        drawn = list(range(1, classes))
        if self.known != "all":
            drawn = names_to_ids(getattr(row, self.known), self.structures)
        if others := _others(drawn, self.structures):
            name += f"_without_{'_'.join(others)}"
        if self.bits:
            # A bit is another structure in each task.
            said = Annotation(labels_of(scan), bitmasks.table(self.bits[row.task], classes))
            return f"{row.task}_{name}", as_declared(said, drawn)
        return name, as_declared(annotate_scan(scan, row.scan, protocol, classes), drawn)


def _warn_of(silent: Counter[str]) -> None:
    for dataset, number in silent.items():
        log.warning(
            "%s: in %d scans none of the drawn slices says anything: they show no structure, or "
            "the grid falls between them",
            *(dataset, number),
        )


def _of_training(
    prepared: Path, tasks: list[str] | None, sources: list[str] | None
) -> pd.DataFrame:
    """Training and validation cases of these tasks and data sets; None: of all."""
    cases = read_cases(prepared)
    chosen = cases["split"].isin(["train", "validation"])
    for column, asked in (("task", tasks), ("dataset", sources)):
        if asked is not None:
            chosen &= cases[column].isin(asked)
    return cases[chosen]


def _hands(cases: pd.DataFrame, dealt: dict) -> pd.Series:
    """The hand of every row of `cases`, that of its patient."""
    names, hands = list(dealt["hands"]), pd.Series("", cases.index)
    for _, rows in cases.groupby(["dataset", "split"]):
        order = shuffled(set(rows["case"]), dealt["seed"])
        hand = {case: names[place % len(names)] for place, case in enumerate(order)}
        hands[rows.index] = rows["case"].map(hand)
    return hands


def _others(drawn: list[int], structures: list[str]) -> list[str]:
    """Ids, as text, of the structures that are not among `drawn`."""
    return [str(i) for i in range(1, len(structures) + 1) if i not in drawn]
