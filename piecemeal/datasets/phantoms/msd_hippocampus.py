"""Phantom of Task04_Hippocampus of the Medical Segmentation Decathlon, in its own layout.

folder/dataset.json, imagesTr/hippocampus_NNN.nii.gz, labelsTr/hippocampus_NNN.nii.gz (0
background, 1 anterior, 2 posterior part): small boxes cut around the left hippocampus, upright
(RAS). Grey levels come on three very different scales and in two types, as in the published files.
"""

import json
from pathlib import Path

import numpy as np

from piecemeal.datasets.phantoms.drawing import figures, files, hippocampus, mr

BOX = (56.0, 70.0, 54.0)  # mm (z, y, x), drawn before the cut around the labels
LENGTH, HEIGHT = 50, 36  # voxels of 1 mm that a typical published box has along y and z
# How the published intensities are stored: type, range of white matter's grey level, step.
BYTES = (np.uint8, (85, 115), 1.0)
FLOATS = (np.float32, (480, 900), 3.0)
HUGE = (np.float32, (230000, 380000), 900.0)
# In 195 cases, 45 hold bytes and 10 values of some 100,000; so do, of 16 cases, those of index:
IN_BYTES, IN_HUGE = (1, 5, 10, 14), (7,)


def write(folder: Path, cases: int, seed: int, *, size: int = 50, slices: int = 36) -> None:
    """Write `cases` subjects under `folder`; the marker file PHANTOM comes last.

    size: typical voxels from back to front; 50 gives 1 mm, fewer make them larger in plane.
    slices: typical voxels from bottom to top, 36 for 1 mm. Case i depends on (seed, i) only.
    Raises InputError for options out of range.
    """
    files.check_options(
        "msd_hippocampus",
        cases=(cases, 1, 999),
        seed=(seed, 0, 2**63),
        size=(size, 16, 128),
        slices=(slices, 3, 128),
    )
    folder = Path(folder)
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    names = []
    for index in range(cases):
        names.append(f"hippocampus_{index + 1:03d}.nii.gz")
        image, labels, spacing = _subject(files.generator(seed, index), index, size, slices)
        affine = np.diag([*spacing[::-1], 1.0])
        affine[:3, 3] = 1.0
        for part, volume in (("imagesTr", image), ("labelsTr", labels)):
            files.write_nifti(folder / part / names[-1], volume, spacing[::-1], affine)
    (folder / "dataset.json").write_text(json.dumps(_description(names), indent=1))
    files.mark(folder, "msd_hippocampus", cases, seed)


def _subject(
    rng: np.random.Generator, index: int, size: int, slices: int
) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float]]:
    """Image, labels uint8, both (z, y, x), and the spacing (z, y, x) in mm."""
    spacing = (HEIGHT / slices, LENGTH / size, LENGTH / size)
    shape = tuple(round(extent / step) for extent, step in zip(BOX, spacing, strict=True))
    space = figures.grid(shape, spacing, (0, 0, 0))
    signal, labels = hippocampus.draw(rng, space, float(np.mean(spacing)))
    box = _cut(rng, labels, spacing)
    return _acquire(rng, index, signal[box], spacing), labels[box], spacing


def _cut(
    rng: np.random.Generator, labels: np.ndarray, spacing: tuple[float, float, float]
) -> tuple[slice, ...]:
    """Box around the labels with the margins of the published ones: 3 to 9 mm, 6 or so."""
    box = []
    for axis, step in enumerate(spacing):
        hit = np.flatnonzero(labels.any(tuple({0, 1, 2} - {axis})))
        low, high = (np.clip(rng.normal(5.6, 1.2, 2), 3, 10) / step).round().astype(int)
        box.append(slice(max(0, hit[0] - low), hit[-1] + 1 + high))
    return tuple(box)


def _acquire(
    rng: np.random.Generator,
    index: int,
    signal: np.ndarray,
    spacing: tuple[float, float, float],
) -> np.ndarray:
    """The MR image in one of the published number formats."""
    dtype, levels, step = BYTES if index % 16 in IN_BYTES else FLOATS
    if index % 16 in IN_HUGE:
        dtype, levels, step = HUGE
    white = rng.uniform(*levels)
    rows, columns = ((np.arange(n) - (n - 1) / 2) * spacing[1] for n in signal.shape[1:])
    plane = (columns[None] + 1j * rows[:, None])[None].astype(np.complex64)
    scanner = mr.Scanner(
        blur=rng.uniform(0.35, 0.65) / spacing[1],
        noise=rng.uniform(0.015, 0.05),
        gain=white / step,
        gamma=rng.uniform(0.9, 1.2),
        bias=mr.bias_field(rng, plane, 0.08),
    )
    return (mr.acquire(rng, signal, scanner) * step).astype(dtype)


def _description(names: list[str]) -> dict:
    """Content of dataset.json."""
    return {
        "name": "Hippocampus",
        "description": "Left and right hippocampus segmentation (synthetic)",
        "reference": "phantom",
        "licence": "CC-BY-SA 4.0",
        "release": "1.0",
        "tensorImageSize": "3D",
        "modality": {"0": "MRI"},
        "labels": {"0": "background", "1": "Anterior", "2": "Posterior"},
        "numTraining": len(names),
        "numTest": 0,
        "training": [
            {"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names
        ],
        "test": [],
    }
