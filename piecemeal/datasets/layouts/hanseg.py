"""The layout of HaN-Seg, CT and MR of the head and neck (Podobnik et al., Med. Phys. 2023).

    HaN-Seg/set_1/case_01/case_01_IMG_CT.nrrd
    HaN-Seg/set_1/case_01/case_01_IMG_MR_T1.nrrd               in a space of its own: not read
    HaN-Seg/set_1/case_01/case_01_OAR_Bone_Mandible.seg.nrrd   one organ each, on the CT

A mask is known by its name after OAR_, never by its place in a list: some organs are missing in
some patients. It may be cropped to the organ.
"""

import re
from collections import defaultdict
from pathlib import Path

import numpy as np

from piecemeal.datasets.members import Tree
from piecemeal.datasets.reading.masks import combine_masks
from piecemeal.datasets.reading.nrrd import read_volume
from piecemeal.datasets.reading.placing import placed
from piecemeal.datasets.reading.volumes import of_labels, real, scan_of
from piecemeal.datasets.scans import BadCase, CaseFiles, File, Labels, Scan, found_or_raise
from piecemeal.errors import InputError

EXAMPLE = "set_1/case_01/case_01_IMG_CT.nrrd"

_FILE = re.compile(r"((?:.*/)?(case_\d+))/\2_(?:IMG_CT\.nrrd|OAR_(\w+)\.seg\.nrrd)")


def find_cases(root: Path, bad: list[BadCase] | None = None) -> list[CaseFiles]:
    """One CT a patient, sorted, with every mask that is there; no volume is read.

    Raises InputError if there is no patient. Patients without a CT, without any mask, or who are
    there twice go to `bad`, or raise InputError naming the folder.
    """
    tree = Tree(root)
    folders = _folders(tree)
    if not folders:
        raise InputError(
            f"{root}: no HaN-Seg patient here, expected {EXAMPLE}, in any folder; put the data set "
            "there or correct the path"
        )
    cases, found_bad = [], []
    for case, of_case in sorted(folders.items()):
        (folder, files), *others = sorted(of_case.items())
        image = files.pop("", None)
        if image and files and not others:
            masks = tuple(sorted(files.items()))
            # Nothing says whether an organ without a mask is absent or was not drawn.
            declared = tuple(name for name, _ in masks)
            cases.append(CaseFiles(case, "", image, None, masks=masks, declared=declared))
            continue
        where = tree.file(folder)
        if others:
            reason = f"{where} and {tree.file(others[0][0])} are the same patient; remove one"
        else:
            what = "_OAR_....seg.nrrd" if image else "_IMG_CT.nrrd"
            reason = f"{where}: has no {case}{what}; copy it from the data set"
        found_bad.append(BadCase(case, case, reason))
    return found_or_raise(cases, found_bad, bad)


def read(case: CaseFiles, labels: Labels) -> Scan:
    """One CT; labels: position in `labels`, from 1, of the masks that it names."""
    image = read_volume(case.image)

    def read_mask(file: File) -> tuple[np.ndarray, list[str]]:
        mask = read_volume(file)
        real(mask)
        return placed(image, mask)

    combined, notes = combine_masks(case.masks, labels, image.voxels.shape, read_mask)
    return scan_of(image, combined, of_labels(notes))


def _folders(tree: Tree) -> dict[str, dict[str, dict[str, File]]]:
    """Case -> folder -> name of a mask, or "" for the CT -> file."""
    found: dict[str, dict[str, dict[str, File]]] = defaultdict(lambda: defaultdict(dict))
    for path in tree.files():
        if match := _FILE.fullmatch(path):
            folder, case, name = match.groups()
            found[case][folder][name or ""] = tree.file(path)
    return found
