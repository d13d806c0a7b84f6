"""The layout of the Medical Segmentation Decathlon (Antonelli et al., Nat. Commun. 2022).

    Task09_Spleen/dataset.json                   labels; training: pairs of image and label
    Task09_Spleen/imagesTr/spleen_19.nii.gz
    Task09_Spleen/labelsTr/spleen_19.nii.gz

The folder of the task may be the root itself. Images of the list `test` have no labels and are no
cases. A set that is partial by nature says in a further file what was drawn in each patient:

    annotated.json                               {"openkbp_001": ["Brainstem", "Mandible"], ...}
"""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from piecemeal.datasets.members import Tree, is_junk
from piecemeal.datasets.reading.nifti import read_nifti_pair
from piecemeal.datasets.scans import BadCase, CaseFiles, File, Labels, Scan, found_or_raise
from piecemeal.errors import InputError

EXAMPLE = "dataset.json"

# List in dataset.json -> the publisher's split.
LISTS = {"training": "train", "validation": "validation"}


def find_cases(
    root: Path, bad: list[BadCase] | None = None, *, annotated: str = ""
) -> list[CaseFiles]:
    """Every labelled scan that dataset.json lists, sorted; no volume is read.

    annotated: file beside dataset.json that names the structures drawn in each patient; they come
    as `CaseFiles.declared`. Raises InputError if dataset.json or that file is missing or wrong.
    Cases whose files are missing, who are listed twice, or of whom `annotated` says nothing go to
    `bad`, or raise InputError naming the file.
    """
    tree = Tree(root)
    folder = _task_folder(tree)
    about = tree.file(f"{folder}{EXAMPLE}")
    drawn_file = tree.file(f"{folder}{annotated}") if annotated else None
    content = _json(about)
    drawn = None if drawn_file is None else _drawn(drawn_file, content, about)
    entries = _entries(content, about)
    times = Counter(name for name, _, _ in entries)
    described_by = (about, *([drawn_file] if drawn_file else []))
    cases, found_bad = [], []
    for name, split, paths in sorted(entries):
        image, labels = (tree.file(f"{folder}{path}") for path in paths)
        try:
            if times[name] > 1:
                raise InputError(f"{about}: lists {name} {times[name]} times; correct the file")
            if missing := [file for file in (image, labels) if not file.is_file()]:
                raise InputError(
                    f"{missing[0]}: is missing, though {about} lists it; copy it again"
                )
            if drawn is not None and name not in drawn:
                raise InputError(
                    f"{drawn_file}: says nothing of {name}, expected the names of the structures "
                    "drawn there; add them, or leave the case out"
                )
        except InputError as error:
            found_bad.append(BadCase(name, name, str(error)))
            continue
        cases.append(
            CaseFiles(
                *(name, "", image, labels),
                **{
                    "described_by": described_by,
                    "declared": None if drawn is None else drawn[name],
                    "split": split,
                },
            )
        )
    return found_or_raise(cases, list(dict.fromkeys(found_bad)), bad)


def read(case: CaseFiles, labels: Labels) -> Scan:
    """One scan, with the raw label values of its file."""
    return read_nifti_pair(case.image, case.labels)


def _task_folder(tree: Tree) -> str:
    """`` or `Task09_Spleen/`, wherever dataset.json lies."""
    places = ["", *(f"{name}/" for name in tree.children())]
    found = [place for place in places if tree.file(f"{place}{EXAMPLE}").is_file()]
    if not found:
        raise InputError(
            f"{tree.root}: no Decathlon task here, expected {EXAMPLE} or Task.../{EXAMPLE}; put "
            "the data set there or correct the path"
        )
    if len(found) > 1:
        raise InputError(
            f"{tree.root}: has {EXAMPLE} in {found[0] or './'} and in {found[1]}, expected one "
            "task; give the folder of the task as the path"
        )
    return found[0]


def _entries(content: dict[str, Any], about: File) -> list[tuple[str, str, tuple[str, str]]]:
    """Case, split, (image, label) of every labelled scan."""
    found = []
    for key, split in LISTS.items():
        listed = content.get(key, [])
        if not isinstance(listed, list):
            raise InputError(
                f"{about}: {key} is {listed!r}, expected a list of objects with `image` and "
                "`label`; download it again"
            )
        for entry in listed:
            paths = (
                tuple(entry.get(name) for name in ("image", "label"))
                if isinstance(entry, Mapping)
                else (entry, None)
            )
            if not isinstance(paths[0], str) or not isinstance(paths[1], str | None):
                raise InputError(
                    f"{about}: {key} holds {entry!r}, expected objects with `image` and `label`; "
                    "download it again"
                )
            if paths[1] is not None and not is_junk(paths[0]):
                name = paths[0].rpartition("/")[2].removesuffix(".gz").removesuffix(".nii")
                found.append((name, split, paths))
    if not found:
        raise InputError(
            f"{about}: {' and '.join(LISTS)} list no labelled scan, expected objects with `image` "
            "and `label`; download it again"
        )
    return found


def _drawn(file: File, content: dict[str, Any], about: File) -> dict[str, tuple[int, ...]]:
    """Case -> raw values of the structures that were drawn in it."""
    try:
        value_of = {structure: int(value) for value, structure in content["labels"].items()}
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise InputError(
            f"{about}: labels cannot be read ({error}), expected raw values and their names; "
            "download it again"
        ) from None
    found = {}
    for name, structures in _json(file).items():
        if not _are_names(structures):
            raise InputError(
                f"{file}: {name} is {structures!r}, expected a list of names of structures, as in "
                f"{sorted(value_of)}; correct it"
            )
        if unknown := sorted(set(structures) - set(value_of)):
            raise InputError(
                f"{file}: {name} has {unknown}, which are no labels of {about}: "
                f"{sorted(value_of)}; correct one of the files"
            )
        found[name] = tuple(sorted(value_of[structure] for structure in structures))
    return found


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _json(file: File) -> dict[str, Any]:
    try:
        content = json.loads(file.read_bytes().decode("utf-8-sig"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read as JSON ({error}); copy it again") from None
    if not isinstance(content, dict):
        raise InputError(f"{file}: expected an object of JSON; copy it again")
    return content
