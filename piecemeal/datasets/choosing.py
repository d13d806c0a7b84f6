"""Which scans of which data sets a cohort takes, with what settings, and who trains and tests."""

import logging
import re
from pathlib import Path
from typing import Any

import pandas as pd

from piecemeal.datasets import layouts
from piecemeal.datasets.scans import BadCase, CaseFiles
from piecemeal.datasets.splits import (
    carve_validation,
    datasets_in,
    publishers_split,
    read_split,
    split_cases,
    with_halves,
)
from piecemeal.errors import InputError

log = logging.getLogger(__name__)


def split_patients(
    dataset: str,
    source: dict[str, Any],
    patients: list[str],
    split: dict[str, Any],
    theirs: dict[str, str],
) -> pd.DataFrame:
    """Columns case, split, half of the patients of one data set. theirs: the publisher's split."""
    seed = split["seed"]
    if by_publisher(dataset, split):
        return with_halves(publishers_split(theirs, patients), seed)
    if split.get("file"):
        chosen = source.get("patients") is not None or source.get("limit") is not None
        missing = "ignore" if chosen else "error"
        # Whose scans are all excluded one by one (case_phase) is excluded too.
        named = source.get("exclude") or {}
        excluded = {*named, *(name.rpartition("_")[0] for name in named)}
        table = read_split(Path(split["file"]), dataset, patients, missing, excluded)
        if split.get("validation_share"):
            table = carve_validation(table, split["validation_share"], seed)
        return with_halves(table, seed)
    own = split.get("datasets", {}).get(dataset)
    counts = own or {key: split[key] for key in ("train", "validation", "test")}
    return split_cases(patients, seed, **counts)


def by_publisher(dataset: str, split: dict[str, Any]) -> bool:
    """Whether a data set is split as it comes: `official`, and no `file` that has rows of it."""
    if not split.get("official"):
        return False
    return not split.get("file") or dataset not in datasets_in(Path(split["file"]))


def settings_of(
    dataset: str,
    source: dict[str, Any],
    case: CaseFiles,
    intensity: dict[str, dict],
    structures: dict[str, list[str]],
) -> dict[str, Any]:
    """What a scan is prepared with, as far as its data set decides it.

    structures: class 1, 2, ... of the cohort -> its parts.
    """
    modality = source["modality"]
    for other, pattern in source["other_modality"].items():
        if re.search(pattern, case.case):
            modality = other
    if modality not in intensity:
        raise InputError(
            f"data set {dataset}: {case.scan} is {modality}, for which the cohort has no "
            f"`intensity`, only for {sorted(intensity)}; add it in config/cohorts"
        )
    of_source = ("layout", "sides", "side_check", "unit_spacing")
    return {
        **{key: source[key] for key in of_source},
        "labels": _in_writing_order(source, structures),
        "modality": modality,
        "intensity": intensity[modality],
        "declared": case.declared,
    }


def _in_writing_order(source: dict[str, Any], structures: dict[str, list[str]]) -> list[list]:
    """The `labels` of a source; where they name masks, those of the cohort's structures come last.

    The later of two masks wins: one that is there for `side_check` alone, or for other cohorts,
    must take no voxel from a structure of this cohort, which would become background there.
    """
    labels = source["labels"]
    if not all(isinstance(raw, str) for raw, _ in labels):
        return labels  # a voxel of a file of raw values has one value only
    wanted = {part for parts in structures.values() for part in parts}

    def is_wanted(label: list) -> bool:
        return not wanted.isdisjoint(source["sides"].get(label[1], [label[1]]))

    return sorted(labels, key=is_wanted)


def check_cohort(
    sources: dict[str, dict], structures: dict[str, list[str]], orientation: str
) -> None:
    """Refuse cohorts whose structures, orientation and data sets do not fit together."""
    wanted = {part for parts in structures.values() for part in parts}
    labelled: set[str] = set()
    for dataset, source in sorted(sources.items()):
        sides, own = source["sides"], labelled_by(source)
        if sides and orientation != "canonical":
            raise InputError(
                f"data set {dataset} has {sorted(sides)} to be split into left and right, which "
                "takes `orientation: canonical` in config/cohorts"
            )
        if not own & wanted:
            raise InputError(
                f"data set {dataset} labels none of {sorted(wanted)}, only {sorted(own)}; correct "
                "the names, or leave the data set out of the cohort in config/cohorts"
            )
        labelled |= own
    if absent := sorted(wanted - labelled):
        raise InputError(
            f"no data set of the cohort labels {absent}, only {sorted(labelled)}; correct the "
            "names, or leave the structures out of the cohort in config/cohorts"
        )


def labelled_by(source: dict[str, Any]) -> set[str]:
    """The structures that a data set labels, the sides of those that it merges among them."""
    sides = source["sides"]
    return {side for _, name in source["labels"] for side in sides.get(name, [name])}


def usable_cases(dataset: str, source: dict) -> tuple[list[CaseFiles], list[BadCase]]:
    """Cases of a source and those whose files do not add up, both without the excluded ones."""
    bad: list[BadCase] = []
    layout, root = layouts.load(source["layout"]), Path(source["root"])
    options = source["layout_options"]
    cases = layout.find_cases(root, bad, **options)
    if hasattr(layout, "check_masks"):
        incomplete = layout.check_masks(cases, dict(source["labels"]), **options)
        named = {one.scan for one in incomplete}
        cases, bad = [case for case in cases if case.scan not in named], bad + incomplete
    exclude = source.get("exclude") or {}
    names = {name for one in (*cases, *bad) for name in (one.case, one.scan)}
    for entry, reason in exclude.items():
        # The scans of a patient whose files do not even tell them apart have no names yet.
        known = entry in names or any(entry.startswith(f"{one.scan}_") for one in bad)
        if known:
            log.info("%s/%s is left out: %s", dataset, entry, reason)
            continue
        nothing = (
            f"config/datasets/{dataset}.yaml, key exclude.{entry}: matches no patient and no scan "
            f"in {source['root']}"
        )
        if not source.get("partial"):
            like = f"a name like {min(names)}" if names else "some scan to be there"
            raise InputError(f"{nothing}, expected {like}; correct or delete it")
        log.warning("%s, which may be a part of the data set: nothing is left out by it", nothing)
    return tuple(
        [one for one in group if not {one.case, one.scan} & exclude.keys()]
        for group in (cases, bad)
    )
