"""Phantom of a CT urography: contrast agent fills kidneys and bladder, which alone are labelled.

The original set of Chen et al. (CVPR 2024) is not public and has no published layout; this one is
ours:

    urogram_001.nii.gz            int16
    urogram_001_labels.nii.gz     uint8: 1 right kidney, 2 left kidney, 3 bladder
"""

from pathlib import Path

from piecemeal.datasets.phantoms.drawing import files, studies
from piecemeal.datasets.phantoms.drawing.packing import Archive, leave

VALUES = {"right kidney": 1, "left kidney": 2, "bladder": 3}
PROTOCOL = studies.Protocol(
    "urogram", region="abdomen_pelvis", phases=("urographic",), noise=(14, 24), padding=-2000
)
CODES = "LPS"
ONE_KIDNEY = 5  # index of the first of every nine patients that has only the right one


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
    """Write `cases` patients; the marker file PHANTOM comes last.

    size, slices: voxels in plane and along z. packed: as urogram.zip. broken: changes nothing.
    Case i depends on (seed, i) only. Raises InputError for options out of range.
    """
    studies.check_options("urogram", cases, seed, size, slices)
    tree = {}
    for index in range(cases):
        absent = ["left kidney"] if index % 9 == ONE_KIDNEY else []
        patient = studies.study(PROTOCOL, seed, index, (slices, size, size), absent)
        image, labels = patient.pair(VALUES, CODES)
        tree[f"urogram_{index + 1:03d}.nii.gz"] = image
        tree[f"urogram_{index + 1:03d}_labels.nii.gz"] = labels
    leave(Path(folder), tree, [Archive("urogram.zip")] if packed else None)
    files.mark(Path(folder), "urogram", cases, seed)
