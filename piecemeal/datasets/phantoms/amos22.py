"""Phantom of AMOS22: abdominal CT and MR, 15 organs.

    amos22/dataset.json, amos22/readme.md
    amos22/imagesTr/amos_0001.nii.gz    amos22/labelsTr/amos_0001.nii.gz
    amos22/imagesVa/amos_0004.nii.gz    amos22/labelsVa/amos_0004.nii.gz
    amos22/imagesTs/amos_0411.nii.gz    without labels
    __MACOSX/                           what a Mac leaves behind

As published by Ji et al. (NeurIPS 2022): numbers below 500 are CT, those above MR. Every third
patient is an MR of the upper abdomen, so it has neither bladder nor prostate or uterus in its
labels. Every fourth one is of the validation part. Images are int16 or uint16.
"""

import json
from pathlib import Path

import numpy as np

from piecemeal.datasets.phantoms.drawing import files, studies
from piecemeal.datasets.phantoms.drawing.packing import Archive, apple_double, leave
from piecemeal.datasets.phantoms.drawing.studies import Protocol, Study

NAMES = (
    "background",
    "spleen",
    "right kidney",
    "left kidney",
    "gall bladder",
    "esophagus",
    "liver",
    "stomach",
    "aorta",
    "postcava",
    "pancreas",
    "right adrenal gland",
    "left adrenal gland",
    "duodenum",
    "bladder",
    "prostate/uterus",
)
VALUES = {
    "spleen": 1,
    "right kidney": 2,
    "left kidney": 3,
    "gallbladder": 4,
    "esophagus": 5,
    "liver": 6,
    "stomach": 7,
    "aorta": 8,
    "inferior vena cava": 9,
    "pancreas": 10,
    "right adrenal gland": 11,
    "left adrenal gland": 12,
    "duodenum": 13,
    "bladder": 14,
    "prostate or uterus": 15,
}
MR_VALUES = {name: value for name, value in VALUES.items() if value < 14}
CT = Protocol(
    "amos22",
    region="abdomen_pelvis",
    phases=("native", "arterial", "portal"),
    noise=(10, 20),
    padding=-1024,
    trim_mm=20,
)
MR = Protocol("amos22", sequences=("t1", "t1_fat_saturated", "t1_portal", "t2"), trim_mm=10)
CT_CODES, MR_CODES = "LPS", "RAS"
FIRST_MR, TEST_CASE = 507, 411
NO_GALLBLADDER, TUMOUR, ONE_KIDNEY = 4, 6, 9  # indices of the first of every twelve such patients


def write(
    folder: Path,
    cases: int,
    seed: int,
    *,
    size: int = 72,
    slices: int = 34,
    packed: bool = False,
    broken: bool = False,
) -> None:
    """Write `cases` labelled patients and one without labels; the marker file PHANTOM comes last.

    size, slices: voxels of a CT in plane and along z; an MR has 8/9 and 7/10 of them. packed: as
    the published amos22.zip. broken: changes nothing, no case of this source is known to be
    useless. Case i depends on (seed, i) only. Raises InputError for options out of range.
    """
    studies.check_options("amos22", cases, seed, size, slices, most_cases=270)
    tree, parts = {}, {"Tr": [], "Va": [], "Ts": [TEST_CASE]}
    for index in range(cases):
        part, number = "Va" if index % 4 == 3 else "Tr", _number(index)
        parts[part].append(number)
        image, labels = _patient(seed, index, size, slices)
        tree[f"amos22/images{part}/amos_{number:04d}.nii.gz"] = image
        tree[f"amos22/labels{part}/amos_{number:04d}.nii.gz"] = labels
        rng = studies.generator("amos22", seed, index, studies.FILES)
        tree[f"__MACOSX/amos22/images{part}/._amos_{number:04d}.nii.gz"] = apple_double(rng)
    test = studies.study(CT, seed, studies.UNLABELLED, (slices, size, size))
    tree[f"amos22/imagesTs/amos_{TEST_CASE:04d}.nii.gz"], _ = test.pair(VALUES, CT_CODES)
    tree["amos22/dataset.json"] = _index(parts)
    tree["amos22/readme.md"] = b"# AMOS22\nNumbers below 500 are CT, the others MR.\n"
    leave(Path(folder), tree, [Archive("amos22.zip")] if packed else None)
    files.mark(Path(folder), "amos22", cases, seed)


def _is_mr(index: int) -> bool:
    return index % 3 == 2


def _number(index: int) -> int:
    return FIRST_MR + index // 3 if _is_mr(index) else 1 + index


def _patient(seed: int, index: int, size: int, slices: int) -> tuple[bytes, bytes]:
    """Contents of image and labels of one case."""
    absent = ["gallbladder"] if index % 12 == NO_GALLBLADDER else []
    absent += ["right kidney"] if index % 12 == ONE_KIDNEY else []
    tumours = {"liver tumour": 1, "kidney tumour": 1} if index % 12 == TUMOUR else {}
    if not _is_mr(index):
        patient = studies.study(CT, seed, index, (slices, size, size), absent, tumours)
        return patient.pair(VALUES, CT_CODES)
    shape = (max(3, slices * 7 // 10), size * 8 // 9, size * 8 // 9)
    patient = studies.study(MR, seed, index, shape, absent, tumours)
    kind = np.uint16 if index % 2 == 0 else np.int16
    patient = Study(patient.image.astype(kind), patient.anatomy, patient.affine)
    return patient.pair(MR_VALUES, MR_CODES)


def _index(parts: dict[str, list[int]]) -> bytes:
    def entries(part: str, kinds: dict[str, str]) -> list[dict[str, str]]:
        return [
            {key: f"./{kind}{part}/amos_{number:04d}.nii.gz" for key, kind in kinds.items()}
            for number in sorted(parts[part])
        ]

    both = {"image": "images", "label": "labels"}
    content = {
        "name": "AMOS",
        "description": "Synthetic subjects in the layout of AMOS22",
        "licence": "CC BY 4.0",
        "tensorImageSize": "3D",
        "modality": {"0": "CT", "1": "MRI"},
        "labels": {str(value): name for value, name in enumerate(NAMES)},
        "numTraining": len(parts["Tr"]),
        "numValidation": len(parts["Va"]),
        "numTest": len(parts["Ts"]),
        "training": entries("Tr", both),
        "validation": entries("Va", both),
        "test": entries("Ts", {"image": "images"}),
    }
    return json.dumps(content, indent=1).encode()
