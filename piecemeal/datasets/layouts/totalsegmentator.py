"""The layout of TotalSegmentator's CT data set (Wasserthal et al., Radiology AI 2023), any version.

    meta.csv                                  image_id;age;...;split, of one line a subject
    s0000/ct.nii.gz
    s0000/segmentations/spleen.nii.gz         one binary mask a structure; all 0, or in version 1
                                              also missing, if the subject shows nothing of it

With or without a folder around it all, unpacked or in the zip as published: its 145,000 files are
read from there as well. Masks overlap, so that the order of `labels` decides.
"""

import csv
import io
import logging
import re
from collections import defaultdict
from pathlib import Path

import numpy as np

from piecemeal.datasets.members import Tree
from piecemeal.datasets.reading.masks import combine_masks
from piecemeal.datasets.reading.nifti import read_volume
from piecemeal.datasets.reading.volumes import lying_on, of_labels, real, scan_of
from piecemeal.datasets.scans import BadCase, CaseFiles, File, Labels, Scan, found_or_raise
from piecemeal.errors import InputError

log = logging.getLogger(__name__)

EXAMPLE = "s0000/ct.nii.gz"
TABLE = "meta.csv"
SPLITS = {"train": "train", "val": "validation", "test": "test"}

_FILE = re.compile(r"(s\d{4})/(?:ct|segmentations/(\w+))\.nii\.gz")


def find_cases(
    root: Path, bad: list[BadCase] | None = None, *, complete: bool = False
) -> list[CaseFiles]:
    """One scan a subject of meta.csv, sorted, with every mask that is there; no volume is read.

    root: the folder, the zip, or a folder that holds the zip. complete: whether every subject has
    every mask in this version, which `check_masks` checks. Raises InputError if there is no
    meta.csv or it is wrong. Subjects without a CT or without any mask go to `bad`, or raise
    InputError naming the file.
    """
    tree, base = _where(root)
    table = tree.file(f"{base}{TABLE}")
    splits = _splits(table)
    images, masks = _files(tree, base)
    if strangers := sorted(set(images) - set(splits)):
        log.info("%s: not in %s and passed over: %s", root, TABLE, ", ".join(strangers))
    cases, found_bad = [], []
    for subject, split in sorted(splits.items()):
        if subject not in images or not masks[subject]:
            path = tree.file(
                f"{base}{subject}/{'segmentations' if subject in images else 'ct.nii.gz'}"
            )
            reason = f"{path}: is missing, though {table} lists {subject}; unpack or copy it again"
            found_bad.append(BadCase(subject, subject, reason))
            continue
        cases.append(
            CaseFiles(
                *(subject, "", images[subject], None),
                **{"described_by": (table,), "masks": tuple(masks[subject]), "split": split},
            )
        )
    return found_or_raise(cases, found_bad, bad)


def check_masks(cases: list[CaseFiles], labels: Labels, *, complete: bool = False) -> list[BadCase]:
    """The subjects that lack a mask of `labels`, if every one has them all; see `find_cases`.

    Raises InputError on a name of `labels` that no subject has a mask of: a version without the
    class does not say that the structure is absent, and neither does a misspelt name.
    """
    names = {case.case: {name for name, _ in case.masks} for case in cases}
    if cases and (unknown := sorted(set(labels) - set().union(*names.values()))):
        raise InputError(
            f"{cases[0].described_by[0]}: none of the {len(cases)} subjects beside it has the mask "
            f"{' or '.join(f'{name}.nii.gz' for name in unknown)}, though `labels` of the data set "
            "asks for it: is this another version? Copy what is missing, or correct `labels` in "
            "config/datasets"
        )
    if not complete:
        return []
    return [
        BadCase(case.case, case.scan, _incomplete(case, missing))
        for case in cases
        if (missing := [name for name in labels if name not in names[case.case]])
    ]


def _incomplete(case: CaseFiles, missing: list[str]) -> str:
    folder = str(case.image).removesuffix("ct.nii.gz") + "segmentations"
    others = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
    return (
        f"{folder}/{missing[0]}.nii.gz{others}: is missing, though every subject of this version "
        "has every mask, an empty one of what is absent; unpack or copy it again"
    )


def read(case: CaseFiles, labels: Labels) -> Scan:
    """One scan; labels: position in `labels`, from 1, of the masks that it names."""
    image = read_volume(case.image)

    def read_mask(file: File) -> tuple[np.ndarray, list[str]]:
        mask = read_volume(file)
        return real(mask), lying_on(image, mask)

    combined, notes = combine_masks(case.masks, labels, image.voxels.shape, read_mask)
    return scan_of(image, combined, of_labels(notes))


def _where(root: Path) -> tuple[Tree, str]:
    """The tree that has meta.csv, and the folder in it, `` or `Totalsegmentator_dataset/`."""
    zips = sorted(root.glob("*.zip")) if root.is_dir() else []
    for tree in (Tree(place) for place in (root, *zips)):
        for base in ("", *(f"{name}/" for name in tree.children())):
            if tree.file(f"{base}{TABLE}").is_file():
                return tree, base
    raise InputError(
        f"{root}: no TotalSegmentator data set here, expected {TABLE} and {EXAMPLE}, or a zip that "
        "holds them; put the data set there or correct the path"
    )


def _splits(table: File) -> dict[str, str]:
    """Subject -> the publisher's split."""
    try:
        text = table.read_bytes().decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise InputError(f"{table}: cannot be read ({error}); copy it again") from None
    rows = csv.DictReader(io.StringIO(text), delimiter=";")
    if missing := {"image_id", "split"} - set(rows.fieldnames or ()):
        raise InputError(
            f"{table}: has no column {' and '.join(sorted(missing))}, expected a table like "
            "image_id;...;split; copy it again"
        )
    splits = {}
    for row in rows:
        if row["split"] not in SPLITS:
            raise InputError(
                f"{table}: the split of {row['image_id']} is {row['split']!r}, expected one of "
                f"{list(SPLITS)}; copy it again"
            )
        splits[row["image_id"]] = SPLITS[row["split"]]
    if not splits:
        raise InputError(f"{table}: has no line, expected one a subject; copy it again")
    return splits


def _files(tree: Tree, base: str) -> tuple[dict[str, File], dict[str, list[tuple[str, File]]]]:
    """Of every subject, the image, and the masks with their names, from one look at the tree."""
    images, masks = {}, defaultdict(list)
    for path in tree.files():
        if not (match := _FILE.fullmatch(path.removeprefix(base))):
            continue
        subject, name = match.groups()
        if name is None:
            images[subject] = tree.file(path)
        else:
            masks[subject].append((name, tree.file(path)))
    return images, masks
