"""A layout for thigh MR like that of the Osteoarthritis Initiative in Kemnitz et al. 2018.

The muscle masks of the paper are not public, so there is no published layout to follow:

    subject001/thigh.nii.gz           axial, 0.98 x 0.98 x 5 mm, right thigh
    subject001/thigh_labels.nii.gz    raw values 1 to 7
"""

import re
from pathlib import Path

from piecemeal.datasets.reading.nifti import read_nifti_pair
from piecemeal.datasets.scans import BadCase, CaseFiles, Labels, Scan, found_or_raise
from piecemeal.errors import InputError

EXAMPLE = "subject001/thigh.nii.gz"

_SUBJECT = re.compile(r"subject\d{3}")


def find_cases(root: Path, bad: list[BadCase] | None = None) -> list[CaseFiles]:
    """One scan a subject, sorted; no volume is read.

    Raises InputError if there is no subject folder. Subjects without image or labels go to `bad`,
    or raise InputError naming the file.
    """
    inside = sorted(root.iterdir()) if root.is_dir() else []
    folders = [path for path in inside if _SUBJECT.fullmatch(path.name) and path.is_dir()]
    if not folders:
        raise InputError(
            f"{root}: no thigh subject here, expected {EXAMPLE}; put the data set there or "
            "correct the path"
        )
    cases, found_bad = [], []
    for folder in folders:
        case = CaseFiles(folder.name, "", folder / "thigh.nii.gz", folder / "thigh_labels.nii.gz")
        missing = [path for path in case.files if not path.is_file()]
        if missing:
            reason = f"{missing[0]}: is missing; copy it from the data set"
            found_bad.append(BadCase(case.case, case.scan, reason))
        else:
            cases.append(case)
    return found_or_raise(cases, found_bad, bad)


def read(case: CaseFiles, labels: Labels) -> Scan:
    """One thigh: bone, quadriceps, flexors, sartorius, fat, adductors, fat between muscles."""
    return read_nifti_pair(case.image, case.labels)
