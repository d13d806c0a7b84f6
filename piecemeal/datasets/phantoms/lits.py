"""Phantom of LiTS: portal venous CT of the liver with its tumours, in uncompressed NIfTI.

    media/nas/01_Datasets/CT/LITS/Training Batch 1/volume-0.nii            int16
    media/nas/01_Datasets/CT/LITS/Training Batch 1/segmentation-0.nii      uint8: 1 liver, 2 tumour
    media/nas/01_Datasets/CT/LITS/Training Batch 2/volume-48.nii           and so on
    LITS-Challenge-Test-Data/test-volume-0.nii                             without labels

Layout as unpacked from CodaLab (Bilic et al., Medical Image Analysis 2023), or flat as in the
torrent. Orientation differs from case to case, some z axes point to the feet, and not every liver
has a tumour. Volumes 28 to 47, whose published headers are false, are left out.
"""

from pathlib import Path

import numpy as np

from piecemeal.datasets.phantoms.drawing import export, files, studies
from piecemeal.datasets.phantoms.drawing.packing import Archive, leave, zipped
from piecemeal.errors import InputError

VALUES = {"liver": 1, "liver tumour": 2}
PROTOCOL = studies.Protocol("lits", noise=(14, 26), blur=(0.2, 0.35), trim_mm=25)
CODES = ("RAS", "LPS", "RAI", "LAS")
FALSE_GEOMETRY = 1  # index of the case with identity affine, if `broken`; it is volume 28 then
NO_TUMOUR = 2  # index of the first of every five patients without tumour
CODALAB = "media/nas/01_Datasets/CT/LITS/Training Batch {}/"
TREES = ("codalab", "torrent")


def write(
    folder: Path,
    cases: int,
    seed: int,
    *,
    size: int = 56,
    slices: int = 30,
    tree: str = "codalab",
    packed: bool = False,
    broken: bool = False,
) -> None:
    """Write `cases` labelled patients and one without labels; the marker file PHANTOM comes last.

    size, slices: voxels in plane and along z. tree: "codalab" with its folders, or "torrent"
    without any. packed: as Training_Batch1.zip and Training_Batch2.zip, in a torrent as one zip a
    file. broken: the second case is volume 28, with an identity affine and voxels of 1 mm. Case i
    depends on (seed, i) only. Raises InputError for options out of range.
    """
    studies.check_options("lits", cases, seed, size, slices, most_cases=111)
    if tree not in TREES:
        raise InputError(f"phantom lits: tree is {tree!r}, expected {' or '.join(TREES)}")
    content = {}
    for index in range(cases):
        number, batch = (28, 2) if broken and index == FALSE_GEOMETRY else _place(index)
        where = CODALAB.format(batch) if tree == "codalab" else ""
        volume, segmentation = _patient(seed, index, (slices, size, size), broken)
        content[f"{where}volume-{number}.nii"] = volume
        content[f"{where}segmentation-{number}.nii"] = segmentation
    if tree == "codalab":
        content["LITS-Challenge-Test-Data/test-volume-0.nii"], _ = _patient(
            seed, studies.UNLABELLED, (slices, size, size), broken=False
        )
    elif packed:
        content = {f"{name}.zip": zipped({name: file}) for name, file in content.items()}
    batches = [Archive(f"Training_Batch{n}.zip", CODALAB.format(n)) for n in (1, 2)]
    leave(Path(folder), content, batches if packed and tree == "codalab" else None)
    files.mark(Path(folder), "lits", cases, seed)


def _place(index: int) -> tuple[int, int]:
    """Number and batch of a case: 0 to 27 in batch 1, 48 to 130 in batch 2; they take turns."""
    if index < 56:
        return index // 2 + 48 * (index % 2), 1 + index % 2
    return 20 + index, 2


def _patient(seed: int, index: int, shape: tuple[int, int, int], broken: bool) -> list[bytes]:
    """Contents of volume and segmentation of one case."""
    rng = studies.generator("lits", seed, index, studies.FILES)
    tumours = {} if index % 5 == NO_TUMOUR else {"liver tumour": int(rng.integers(1, 5))}
    patient = studies.study(PROTOCOL, seed, index, shape, tumours=tumours)
    volumes = (patient.image, export.raw_labels(patient.anatomy, VALUES))
    stored = [patient.stored(volume, CODES[index % len(CODES)]) for volume in volumes]
    if broken and index == FALSE_GEOMETRY:
        stored = [(voxels, np.eye(4)) for voxels, _ in stored]
    return [export.nifti(voxels, affine, compressed=False) for voxels, affine in stored]
