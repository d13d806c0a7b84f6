"""The layout of ACDC, cine MR of the heart (Bernard et al., IEEE TMI 2018).

    patient001/Info.cfg                        ED, ES (frame numbers, from 1), Group, ...
    patient001/patient001_frame01.nii.gz       one such pair at end diastole, one at end systole
    patient001/patient001_frame01_gt.nii.gz

Patient folders lie in the root itself, or below training/ and testing/, as unpacked from the
archive (ACDC/database/training/...) or moved up. The 4D cine files are not needed.
"""

import re
from pathlib import Path

from piecemeal.datasets.reading.nifti import read_nifti_pair
from piecemeal.datasets.scans import BadCase, CaseFiles, Labels, Scan, found_or_raise
from piecemeal.errors import InputError

EXAMPLE = "patient001/Info.cfg"
PHASES = ("ED", "ES")

_BASES = ("", "database", "ACDC", "ACDC/database")
_PARTS = ("", "training", "testing")
_PATIENT = re.compile(r"patient\d{3}")


def find_cases(root: Path, bad: list[BadCase] | None = None) -> list[CaseFiles]:
    """Both phases of every patient, sorted; no volume is read.

    Raises InputError if there is no patient folder, or two of the same patient. Patients whose
    Info.cfg or frames are wrong go to `bad`, or raise InputError naming file and key.
    """
    cases, found_bad = [], []
    for folder in _patient_folders(root):
        info_file = folder / "Info.cfg"
        try:
            info = _read_info(info_file)
            frames = {phase: _frame_number(info, phase, info_file) for phase in PHASES}
            if len(set(frames.values())) < len(PHASES):
                raise InputError(f"{info_file}: ED and ES are the same frame; correct the file")
        except InputError as error:
            found_bad.append(BadCase(folder.name, folder.name, str(error)))
            continue
        for phase, frame in frames.items():
            stem = f"{folder.name}_frame{frame:02d}"
            image, labels = folder / f"{stem}.nii.gz", folder / f"{stem}_gt.nii.gz"
            case = CaseFiles(folder.name, phase, image, labels, info.get("Group", ""), (info_file,))
            missing = [path for path in (image, labels) if not path.is_file()]
            if missing:
                reason = (
                    f"{missing[0]}: is missing, though {info_file} gives {phase} as frame {frame}; "
                    "copy it from the data set"
                )
                found_bad.append(BadCase(case.case, case.scan, reason))
            else:
                cases.append(case)
    return found_or_raise(cases, found_bad, bad)


def read(case: CaseFiles, labels: Labels) -> Scan:
    """One frame. Raw labels: 1 right ventricle, 2 myocardium, 3 left ventricle."""
    return read_nifti_pair(case.image, case.labels)


def _patient_folders(root: Path) -> list[Path]:
    places = [root / base / part for base in _BASES for part in _PARTS]
    folders: dict[str, Path] = {}
    for folder in (path for place in places if place.is_dir() for path in place.iterdir()):
        if not (_PATIENT.fullmatch(folder.name) and folder.is_dir()):
            continue
        if folder.name in folders:
            raise InputError(
                f"{folder} and {folders[folder.name]} are the same patient; remove one of them"
            )
        folders[folder.name] = folder
    if not folders:
        raise InputError(
            f"{root}: no ACDC patient here, expected {EXAMPLE}, training/{EXAMPLE} or "
            f"ACDC/database/training/{EXAMPLE}; put the data set there or correct the path"
        )
    return [folders[name] for name in sorted(folders)]


def _read_info(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}), expected lines like `ED: 1`; "
            "copy it from the data set"
        ) from None
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def _frame_number(info: dict[str, str], key: str, path: Path) -> int:
    if key not in info:
        raise InputError(f"{path}: has no {key}, expected a line like `{key}: 1`; add it")
    if not re.fullmatch(r"\d+", info[key]) or int(info[key]) < 1:
        raise InputError(
            f"{path}: {key} is {info[key]!r}, expected a frame number from 1 on; correct it"
        )
    return int(info[key])
