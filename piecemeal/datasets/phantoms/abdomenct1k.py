"""Phantom of AbdomenCT-1K: abdominal CT from several hospitals, four organs labelled.

    AbdomenCT-1K-ImagePart1/Case_00001_0000.nii.gz     int16; part 2 from 401, part 3 from 801
    Mask/Case_00001.nii.gz      uint8: 1 liver, 2 both kidneys, 3 spleen, 4 pancreas

Layout and values as published by Ma et al. (TPAMI 2021). The scans come from other data sets, so
orientation, contrast phase, field of view and padding differ from case to case; one header is not
orthonormal, one image has no mask, and some patients have lost a kidney or have tumours, which
are labelled as part of their organ.
"""

from pathlib import Path

import numpy as np

from piecemeal.datasets.phantoms.drawing import export, files, studies
from piecemeal.datasets.phantoms.drawing.packing import Archive, leave
from piecemeal.datasets.phantoms.drawing.studies import Protocol, Study

VALUES = {"liver": 1, "right kidney": 2, "left kidney": 2, "spleen": 3, "pancreas": 4}
PROTOCOLS = (
    Protocol("abdomenct1k", noise=(9, 13), padding=-1024),
    Protocol("abdomenct1k", phases=("arterial",), noise=(12, 18), blur=(0.2, 0.3), padding=-1024),
    Protocol("abdomenct1k", region="abdomen_pelvis", noise=(8, 12), padding=-1024),
    Protocol("abdomenct1k", phases=("native", "portal"), noise=(12, 20), padding=-2048),
)
CODES = ("RAS", "LPS", "LAS", "RAI", "LPI")
UNLABELLED_CASE = 955
SHEARED = 1  # index of the case whose axes are not quite orthogonal
FALSE_SPACING = 2  # index of the case whose header claims voxels of 1 mm, if `broken`
ONE_KIDNEY, TUMOURS = 4, 3  # indices of the first of every eleven such cases
ARCHIVES = [
    *(Archive(f"{name}.zip", f"{name}/") for name in map("AbdomenCT-1K-ImagePart{}".format, "123")),
    Archive("Mask.7z", "Mask/", without="Mask/"),
]


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
    """Write `cases` labelled patients and one without a mask; the marker file PHANTOM comes last.

    size, slices: voxels in plane and along z. packed: as the published archives, of which that of
    the masks has no folder. broken: the third case claims voxels of exactly 1 x 1 x 1 mm. Case i
    depends on (seed, i) only. Raises InputError for options out of range.
    """
    studies.check_options("abdomenct1k", cases, seed, size, slices, most_cases=180)
    tree, shape = {}, (slices, size, size)
    for index in range(cases):
        part, number = 1 + index % 3, 1 + index // 3 + 400 * (index % 3)
        image, labels = _patient(seed, index, shape, broken)
        tree[f"AbdomenCT-1K-ImagePart{part}/Case_{number:05d}_0000.nii.gz"] = image
        tree[f"Mask/Case_{number:05d}.nii.gz"] = labels
    image, _ = studies.study(PROTOCOLS[0], seed, studies.UNLABELLED, shape).pair(VALUES, "RAS")
    tree[f"AbdomenCT-1K-ImagePart3/Case_{UNLABELLED_CASE:05d}_0000.nii.gz"] = image
    leave(Path(folder), tree, ARCHIVES if packed else None)
    files.mark(Path(folder), "abdomenct1k", cases, seed)


def _patient(seed: int, index: int, shape: tuple[int, int, int], broken: bool) -> list[bytes]:
    """Contents of image and mask file of one case."""
    absent = ["left kidney"] if index % 11 == ONE_KIDNEY else []
    tumours = {"liver tumour": 2, "kidney tumour": 1} if index % 11 == TUMOURS else {}
    protocol = PROTOCOLS[index % len(PROTOCOLS)]
    patient = studies.study(protocol, seed, index, shape, absent, tumours)
    form = "both"
    if index == SHEARED:
        # Quaternions cannot tell of shear, so only the sform holds it.
        patient, form = _sheared(patient), "sform"
    volumes = (patient.image, export.raw_labels(patient.anatomy, VALUES))
    stored = [patient.stored(volume, CODES[index % len(CODES)]) for volume in volumes]
    if broken and index == FALSE_SPACING:
        stored = [(voxels, _of_ones(affine)) for voxels, affine in stored]
    return [export.nifti(voxels, affine, form) for voxels, affine in stored]


def _of_ones(affine: np.ndarray) -> np.ndarray:
    """The same directions, with voxels of 1 mm from the world's origin on."""
    return np.diag([*np.sign(affine[:3, :3].sum(0)), 1])


def _sheared(patient: Study) -> Study:
    affine = patient.affine.copy()
    affine[0, 1] = 0.002 * affine[1, 1]
    return Study(patient.image, patient.anatomy, affine)
