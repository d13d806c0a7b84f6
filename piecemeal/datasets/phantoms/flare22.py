"""Phantom of the labelled part of FLARE22: portal venous CT of the upper abdomen, 13 organs.

    FLARE22Train/images/FLARE22_Tr_0001_0000.nii.gz     int16
    FLARE22Train/labels/FLARE22_Tr_0001.nii.gz          uint8

Layout and values as published by Ma et al. (MICCAI FLARE 2022); the left kidney comes last.
"""

from pathlib import Path

from piecemeal.datasets.phantoms.drawing import files, studies
from piecemeal.datasets.phantoms.drawing.packing import Archive, leave

VALUES = {
    "liver": 1,
    "right kidney": 2,
    "spleen": 3,
    "pancreas": 4,
    "aorta": 5,
    "inferior vena cava": 6,
    "right adrenal gland": 7,
    "left adrenal gland": 8,
    "gallbladder": 9,
    "esophagus": 10,
    "stomach": 11,
    "duodenum": 12,
    "left kidney": 13,
}
PROTOCOL = studies.Protocol(
    "flare22", noise=(7, 12), blur=(0.3, 0.5), padding=-1024, margin_mm=(6, 12)
)
CODES = "RAS"
NO_GALLBLADDER = 3  # index of the first of every ten patients that has none


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
    """Write `cases` labelled patients; the marker file PHANTOM comes last.

    size, slices: voxels in plane and along z. packed: as the published FLARE22Train.zip. broken:
    changes nothing, no case of this source is known to be useless. Case i depends on (seed, i)
    only. Raises InputError for options out of range.
    """
    studies.check_options("flare22", cases, seed, size, slices)
    tree = {}
    for index in range(cases):
        absent = ["gallbladder"] if index % 10 == NO_GALLBLADDER else []
        patient = studies.study(PROTOCOL, seed, index, (slices, size, size), absent)
        image, labels = patient.pair(VALUES, CODES)
        tree[f"FLARE22Train/images/FLARE22_Tr_{index + 1:04d}_0000.nii.gz"] = image
        tree[f"FLARE22Train/labels/FLARE22_Tr_{index + 1:04d}.nii.gz"] = labels
    leave(Path(folder), tree, [Archive("FLARE22Train.zip")] if packed else None)
    files.mark(Path(folder), "flare22", cases, seed)
