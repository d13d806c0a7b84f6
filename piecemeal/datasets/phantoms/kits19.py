"""Phantom of KiTS19: CT in the corticomedullary phase, kidneys with one tumour or more.

    data/case_00000/imaging.nii.gz          float32
    data/case_00000/segmentation.nii.gz     1 kidney, 2 tumour; test cases from 210 have none
    data/kits.json

As published by Heller et al. (Medical Image Analysis 2021) and found in the files: the first index
runs along the body from the head down, then come rows and columns. Most segmentations are uint8
with an sform only, some uint16 with a qform only; one plane is not square.
"""

import json
from pathlib import Path

import numpy as np

from piecemeal.datasets.phantoms.drawing import export, files, studies
from piecemeal.datasets.phantoms.drawing.packing import leave
from piecemeal.datasets.phantoms.drawing.studies import Study

VALUES = {"right kidney": 1, "left kidney": 1, "kidney tumour": 2}
PROTOCOL = studies.Protocol(
    "kits19", phases=("arterial",), noise=(10, 18), blur=(0.2, 0.3), trim_mm=30
)
CODES = "IPL"
WIDE_LABELS = (1, 4)  # indices of the cases whose segmentation is uint16 with a qform only
OBLONG = 2  # index of the case with half as many columns again as rows
ONE_KIDNEY = 6  # index of the first of every fourteen patients that has only the right one
TEST_CASE = 210


def write(
    folder: Path,
    cases: int,
    seed: int,
    *,
    size: int = 64,
    slices: int = 24,
    packed: bool = False,
    broken: bool = False,
) -> None:
    """Write `cases` labelled patients and one without labels; the marker file PHANTOM comes last.

    size, slices: voxels in plane and along the body. packed: changes nothing, the files are
    published one by one. broken: neither, no case of this source is known to be useless. Case i
    depends on (seed, i) only. Raises InputError for options out of range.
    """
    studies.check_options("kits19", cases, seed, size, slices, most_cases=TEST_CASE)
    tree, about = {}, []
    for index in [*range(cases), studies.UNLABELLED]:
        patient = _patient(seed, index, size, slices)
        labelled = index < TEST_CASE
        name = f"case_{index if labelled else TEST_CASE:05d}"
        image = patient.stored(patient.image.astype(np.float32), CODES)
        tree[f"data/{name}/imaging.nii.gz"] = export.nifti(*image, form="sform")
        if labelled:
            tree[f"data/{name}/segmentation.nii.gz"] = _segmentation(patient, index)
            about.append(_entry(name, patient))
    tree["data/kits.json"] = json.dumps(about, indent=1).encode()
    leave(Path(folder), tree)
    files.mark(Path(folder), "kits19", cases, seed)


def _patient(seed: int, index: int, size: int, slices: int) -> Study:
    rng = studies.generator("kits19", seed, index, studies.FILES)
    plane = (size * 5 // 6, size * 5 // 4) if index == OBLONG else (size, size)
    absent = ["left kidney"] if index % 14 == ONE_KIDNEY else []
    tumours = {"kidney tumour": int(rng.integers(1, 3))}
    return studies.study(PROTOCOL, seed, index, (slices, *plane), absent, tumours)


def _segmentation(patient: Study, index: int) -> bytes:
    labels = export.raw_labels(patient.anatomy, VALUES)
    if index in WIDE_LABELS:
        return export.nifti(*patient.stored(labels.astype(np.uint16), CODES), form="qform")
    return export.nifti(*patient.stored(labels, CODES), form="sform")


def _entry(name: str, patient: Study) -> dict:
    along, down, across = patient.anatomy.grid.spacing
    spacing = {"x_spacing": across, "y_spacing": down, "z_spacing": along}
    return {"case_id": name, "voxel_spacing": spacing}
