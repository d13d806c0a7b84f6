"""Phantom of WORD V0.1.0: planning CT of the whole abdomen, 16 raw label values.

    WORD-V0.1.0/dataset.json
    WORD-V0.1.0/{imagesTr,imagesVal,imagesTs}/word_0001.nii.gz     int16
    WORD-V0.1.0/{labelsTr,labelsVal,labelsTs}/word_0001.nii.gz     uint8, one of them uint16

As published by Luo et al. (Medical Image Analysis 2022): only the qform is set, voxels run left,
back and up, 3 is the left kidney and 12 both adrenal glands. Of every seven patients, five are for
training, the fourth for validation and the sixth for the test (originally 100, 20 and 30). The
original archive has a password; this one has none.
"""

import json
from pathlib import Path

import numpy as np

from piecemeal.datasets.phantoms.drawing import export, files, studies
from piecemeal.datasets.phantoms.drawing.packing import Archive, leave

VALUES = {
    "liver": 1,
    "spleen": 2,
    "left kidney": 3,
    "right kidney": 4,
    "stomach": 5,
    "gallbladder": 6,
    "esophagus": 7,
    "pancreas": 8,
    "duodenum": 9,
    "colon": 10,
    "small bowel": 11,
    "right adrenal gland": 12,
    "left adrenal gland": 12,
    "rectum": 13,
    "bladder": 14,
    "left femoral head": 15,
    "right femoral head": 16,
}
NAMES = "liver spleen left_kidney right_kidney stomach gallbladder esophagus pancreas duodenum " + (
    "colon intestine adrenal rectum bladder Head_of_femur_L Head_of_femur_R"
)
PROTOCOL = studies.Protocol(
    "word", region="abdomen_pelvis", phases=("native", "portal"), noise=(4, 7), margin_mm=(25, 45)
)
CODES = "LPS"
PARTS = ("Tr", "Tr", "Tr", "Val", "Tr", "Ts", "Tr")
ARCHIVES = [
    Archive("WORD-V0.1.0.zip"),
    Archive("WORD_V0.1.0_labelsTs.zip", "WORD-V0.1.0/labelsTs/", without="WORD-V0.1.0/"),
]
WIDE_LABELS = 1  # index of the patient whose labels are uint16
NO_GALLBLADDER = 4  # index of the first of every twenty patients that has none


def write(
    folder: Path,
    cases: int,
    seed: int,
    *,
    size: int = 64,
    slices: int = 40,
    packed: bool = False,
    broken: bool = False,
) -> None:
    """Write `cases` labelled patients in three parts; the marker file PHANTOM comes last.

    size, slices: voxels in plane and along z. packed: as the published WORD-V0.1.0.zip, and the
    zip of labels of the test that is published with it. broken:
    changes nothing, no case of this source is known to be useless. Case i depends on (seed, i)
    only. Raises InputError for options out of range.
    """
    studies.check_options("word", cases, seed, size, slices)
    tree, parts = {}, {"Tr": [], "Val": [], "Ts": []}
    for index in range(cases):
        absent = ["gallbladder"] if index % 20 == NO_GALLBLADDER else []
        patient = studies.study(PROTOCOL, seed, index, (slices, size, size), absent)
        labels = export.raw_labels(patient.anatomy, VALUES)
        if index == WIDE_LABELS:
            labels = labels.astype(np.uint16)
        part, name = PARTS[index % len(PARTS)], f"word_{index + 1:04d}.nii.gz"
        parts[part].append(name)
        for kind, volume in (("images", patient.image), ("labels", labels)):
            content = export.nifti(*patient.stored(volume, CODES), form="qform")
            tree[f"WORD-V0.1.0/{kind}{part}/{name}"] = content
    tree["WORD-V0.1.0/dataset.json"] = _index(parts)
    leave(Path(folder), tree, ARCHIVES if packed else None)
    files.mark(Path(folder), "word", cases, seed)


def _index(parts: dict[str, list[str]]) -> bytes:
    def pairs(part: str) -> list[dict[str, str]]:
        return [
            {"image": f"./images{part}/{name}", "label": f"./labels{part}/{name}"}
            for name in parts[part]
        ]

    content = {
        "name": "WORD",
        "tensorImageSize": "3D",
        "modality": {"0": "CT"},
        "labels": dict(enumerate(["background", *NAMES.split()])),
        "numTraining": len(parts["Tr"]),
        "training": pairs("Tr"),
        "validation": pairs("Val"),
        "test": pairs("Ts"),
    }
    return json.dumps(content, indent=1).encode()
