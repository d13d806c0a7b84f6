"""Phantom of thigh MR as in the Osteoarthritis Initiative, with seven tissues labelled.

The muscle masks of the OAI are not public and have no published layout; this one is ours:

    folder/subjectNNN/thigh.nii.gz           int16, axial, around the right femur
    folder/subjectNNN/thigh_labels.nii.gz    uint8: 0 background, 1 femoral bone, 2 quadriceps,
                                             3 flexors, 4 sartorius, 5 subcutaneous fat,
                                             6 adductors, 7 intermuscular fat

Structures and geometry as in Kemnitz et al. 2018: 0.98 mm pixels, slices of 5 mm without gap.
"""

from pathlib import Path

import numpy as np

from piecemeal.datasets.phantoms.drawing import files, mr, shapes, thigh

PIXEL, THICKNESS = 0.98, 5.0
FIELD_OF_VIEW = 205.0  # mm, the least that holds a whole thigh
ANATOMY, IMAGING = 0, 1


def write(folder: Path, cases: int, seed: int, *, size: int = 96, slices: int = 6) -> None:
    """Write `cases` subjects under `folder`; the marker file PHANTOM comes last.

    size: in-plane pixels, square; pixels are 0.98 mm, larger where `size` of those would not hold
    the thigh (2.14 mm at 96). slices: of 5 mm each. Case i depends on (seed, i) only.
    Raises InputError for options out of range.
    """
    files.check_options(
        "oai_thigh",
        cases=(cases, 1, 999),
        seed=(seed, 0, 2**63),
        size=(size, 32, 512),
        slices=(slices, 1, 40),
    )
    folder = Path(folder)
    for index in range(cases):
        name = f"subject{index + 1:03d}"
        (folder / name).mkdir(parents=True, exist_ok=True)
        image, labels, spacing = _subject(seed, index, size, slices)
        affine = np.diag([-spacing[2], -spacing[1], spacing[0], 1.0])
        files.write_nifti(folder / name / "thigh.nii.gz", image, spacing[::-1], affine)
        files.write_nifti(folder / name / "thigh_labels.nii.gz", labels, spacing[::-1], affine)
    files.mark(folder, "oai_thigh", cases, seed)


def _subject(
    seed: int, index: int, size: int, slices: int
) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float]]:
    """Image int16, labels uint8, both (slices, size, size), and spacing (z, y, x) in mm."""
    rng = files.generator(seed, index, ANATOMY)
    pixel = round(max(PIXEL, FIELD_OF_VIEW / size), 3)
    plane = shapes.plane((size, size), pixel, complex(rng.uniform(-5, 5), rng.uniform(-5, 5)))
    points = np.repeat(plane, slices, axis=0)
    along = (np.arange(slices, dtype=np.float32) - (slices - 1) / 2)[:, None, None] / max(slices, 6)
    anatomy = thigh.sample_thigh(rng, points, along)

    rng = files.generator(seed, index, IMAGING)
    signal = thigh.paint_thigh(rng, points, anatomy, pixel)
    scanner = mr.Scanner(
        blur=rng.uniform(0.45, 0.75),
        noise=rng.uniform(0.03, 0.09),
        gain=rng.uniform(100, 350),
        gamma=rng.uniform(0.85, 1.2),
        bias=mr.bias_field(rng, plane, 0.3),
    )
    return mr.acquire(rng, signal, scanner), thigh.label(anatomy), (THICKNESS, pixel, pixel)
