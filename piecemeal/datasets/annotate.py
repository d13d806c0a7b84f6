"""Write what each case's annotator is taken to have said: codes and label sets (labelsets.py).

cases.csv                    one row a scan, columns COLUMNS; written last. `undeclared`: ids of
                             structures that its data set does not label
sets.json                    {protocol: [[class ids of code 0], [of code 1], ...]}, a protocol for
                             each list of structures that scans of a data set were drawn with
<dataset>/<scan>/codes.npy   uint8 (z, size, size), rows of the scan's protocol in sets.json
<dataset>/<scan>/places.npz  where each code occurs (places.py)
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd

from piecemeal import annotations, bitmasks
from piecemeal.annotations import as_declared
from piecemeal.datasets.places import write_places
from piecemeal.datasets.store import PreparedScan, names_to_ids, read_cases
from piecemeal.errors import InputError
from piecemeal.labelsets import Annotation
from piecemeal.provenance import write_text

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
]

# What each kind of protocol needs beside "kind".
SETTINGS = {
    "complete": set(),
    "super_label": {"merged"},
    "partial": {"annotated"},
    "sparse_slices": {"fraction", "axis", "seed"},
    "unlabelled": set(),
}


def annotate(
    folder: Path,
    prepared: Path,
    structures: list[str],
    halves: dict[int, dict | None],
    known: str = "declared",
    tasks: list[str] | None = None,
    bits: dict[str, list[int]] | None = None,
) -> pd.DataFrame:
    """Annotate the training and validation cases of a prepared store; returns cases.csv.

    structures: class 1, 2, ... of the cohort. halves gives the protocol of half 1 and of half 2 of
    the patients: {"kind": ...} with the settings of SETTINGS, or None to drop these cases. Which
    slices a scan of `sparse_slices` keeps depends on the protocol's seed and the scan alone.
    known: "declared", "present" or "all", the structures of a scan that a voxel without a label is
    known not to be; it may be each of the others, whatever the protocol
    (`annotations.as_declared`).
    tasks: only the cases of these are annotated; None: all.
    bits: task -> class ids of its structures, of a cohort whose structures overlap: codes are its
    bit masks then, and each set holds all structures of a mask (`bitmasks.table`), not what a voxel
    may be one of. Its halves are `complete`, in a protocol of each task.
    Raises InputError on an unknown protocol, one of its settings missing or unknown, another one
    than `complete` with `bits`, or class ids out of range.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cases.csv").unlink(missing_ok=True)
    kinds = {half: _named(half, halves) for half in (1, 2) if halves.get(half)}
    if bits and set(kinds.values()) - {"complete"}:
        raise InputError(
            f"protocols {sorted(kinds.values())}: structures that overlap take `complete`; correct "
            "`annotations` in config/cohorts"
        )
    cases = read_cases(prepared)
    cases = cases[cases["split"].isin(["train", "validation"]) & cases["half"].isin(kinds)]
    if tasks is not None:
        cases = cases[cases["task"].isin(tasks)]
    every = list(range(1, len(structures) + 1))
    protocols, undeclared, tables = [], [], {}
    for row in cases.itertuples():
        place = Path(row.dataset) / row.scan
        declared = names_to_ids(row.declared, structures)
        drawn = every if known == "all" else names_to_ids(getattr(row, known), structures)
        others = _others(drawn, structures)
        protocol = kinds[row.half] + (f"_without_{'_'.join(others)}" if others else "")
        scan, classes = PreparedScan(prepared / place), len(structures) + 1
        if bits:
            # A bit is another structure in each task.
            protocol = f"{row.task}_{protocol}"
            said = Annotation(_labels(scan), bitmasks.table(bits[row.task], classes))
        else:
            said = _annotate_scan(scan, row.scan, halves[row.half], classes)
        annotation = as_declared(said, drawn)
        (folder / place).mkdir(parents=True, exist_ok=True)
        np.save(folder / place / "codes.npy", annotation.codes)
        places = folder / place / "places.npz"
        write_places(places, annotation.codes, len(annotation.sets), place.as_posix())
        # The table depends on the protocol only, so every scan of the protocol gives the same.
        tables[protocol] = [np.flatnonzero(members).tolist() for members in annotation.sets]
        protocols.append(protocol)
        undeclared.append(";".join(_others(declared, structures)))
    cases = cases.assign(protocol=protocols, undeclared=undeclared)[COLUMNS]
    write_text(folder / "sets.json", json.dumps(tables, indent=1))
    write_text(folder / "cases.csv", cases.to_csv(index=False))
    return cases


def _others(drawn: list[int], structures: list[str]) -> list[str]:
    """Ids, as text, of the structures that are not among `drawn`."""
    return [str(i) for i in range(1, len(structures) + 1) if i not in drawn]


def _named(half: int, halves: dict[int, dict | None]) -> str:
    """The protocol's kind, with the number of the half if both halves vary the same kind."""
    protocol, other = halves[half], halves.get(3 - half)
    kind = protocol.get("kind")
    if kind not in SETTINGS:
        raise InputError(f"half {half}: kind {kind!r} is unknown; use one of {sorted(SETTINGS)}")
    given = protocol.keys() - {"kind"}
    if given != SETTINGS[kind]:
        raise InputError(
            f"half {half}: {kind} takes {sorted(SETTINGS[kind])}, found {sorted(given)}; correct it"
        )
    differs = other is not None and other.get("kind") == kind and other != protocol
    return f"{kind}_{half}" if differs else kind


def _annotate_scan(prepared: PreparedScan, name: str, protocol: dict, classes: int) -> Annotation:
    if protocol["kind"] == "unlabelled":
        return annotations.unlabelled(prepared.image.shape, classes)
    settings = {key: value for key, value in protocol.items() if key != "kind"}
    if "seed" in settings:
        digest = hashlib.sha256(f"{settings['seed']}:{name}".encode()).hexdigest()
        settings["seed"] = int(digest[:8], 16)
    simulate = getattr(annotations, protocol["kind"])
    return simulate(_labels(prepared), classes=classes, **settings)


def _labels(prepared: PreparedScan) -> np.ndarray:
    if prepared.labels is None:
        raise InputError(
            f"{prepared.folder}: has no labels to annotate from; use `unlabelled` for it"
        )
    return np.asarray(prepared.labels)
