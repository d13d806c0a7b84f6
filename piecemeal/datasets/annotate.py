"""Write what each case's annotator is taken to have said: codes and label sets (labelsets.py).

cases.csv                    one row a scan, columns COLUMNS; written last
sets.json                    {protocol: [[class ids of code 0], [of code 1], ...]}
<dataset>/<scan>/codes.npy   uint8 (z, size, size), rows of the scan's protocol in sets.json
<dataset>/<scan>/places.npz  where each code occurs (places.py)
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd

from piecemeal import annotations
from piecemeal.datasets.places import write_places
from piecemeal.datasets.store import PreparedScan, read_cases
from piecemeal.errors import InputError
from piecemeal.labelsets import Annotation
from piecemeal.provenance import write_text

COLUMNS = ["dataset", "scan", "case", "modality", "phase", "split", "half", "protocol"]

# What each kind of protocol needs beside "kind".
SETTINGS = {
    "complete": set(),
    "super_label": {"merged"},
    "partial": {"annotated"},
    "sparse_slices": {"fraction", "axis", "seed"},
    "unlabelled": set(),
}


def annotate(
    folder: Path, prepared: Path, classes: int, halves: dict[int, dict | None]
) -> pd.DataFrame:
    """Annotate the training and validation cases of a prepared store; returns cases.csv.

    classes counts the background in. halves gives the protocol of half 1 and of half 2 of the
    patients: {"kind": ...} with the settings of SETTINGS, or None to drop these cases. Which slices
    a scan of `sparse_slices` keeps depends on the protocol's seed and the scan alone.
    Raises InputError on an unknown protocol, one of its settings missing or unknown, or class ids
    out of range.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cases.csv").unlink(missing_ok=True)
    protocols = {half: _named(half, halves) for half in (1, 2) if halves.get(half)}
    cases = read_cases(prepared)
    cases = cases[cases["split"].isin(["train", "validation"]) & cases["half"].isin(protocols)]
    cases = cases.assign(protocol=[protocols[half] for half in cases["half"]])[COLUMNS]
    tables: dict[str, list[list[int]]] = {}
    for row in cases.itertuples():
        place = Path(row.dataset) / row.scan
        annotation = _annotate_scan(prepared / place, row.scan, halves[row.half], classes)
        (folder / place).mkdir(parents=True, exist_ok=True)
        np.save(folder / place / "codes.npy", annotation.codes)
        places = folder / place / "places.npz"
        write_places(places, annotation.codes, len(annotation.sets), place.as_posix())
        # The table depends on the protocol only, so every scan of the protocol gives the same.
        tables[row.protocol] = [np.flatnonzero(members).tolist() for members in annotation.sets]
    write_text(folder / "sets.json", json.dumps(tables, indent=1))
    write_text(folder / "cases.csv", cases.to_csv(index=False))
    return cases


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


def _annotate_scan(folder: Path, scan: str, protocol: dict, classes: int) -> Annotation:
    prepared = PreparedScan(folder)
    if protocol["kind"] == "unlabelled":
        return annotations.unlabelled(prepared.image.shape, classes)
    if prepared.labels is None:
        raise InputError(f"{folder}: has no labels to annotate from; use `unlabelled` for it")
    settings = {key: value for key, value in protocol.items() if key != "kind"}
    if "seed" in settings:
        digest = hashlib.sha256(f"{settings['seed']}:{scan}".encode()).hexdigest()
        settings["seed"] = int(digest[:8], 16)
    simulate = getattr(annotations, protocol["kind"])
    return simulate(np.asarray(prepared.labels), classes=classes, **settings)
