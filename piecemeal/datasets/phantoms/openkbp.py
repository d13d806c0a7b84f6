"""Phantom of OpenKBP: planning CT of the head and neck, of which not every organ is outlined.

folder/dataset.json, annotated.json, imagesTr/openkbp_NNN.nii.gz and labelsTr/openkbp_NNN.nii.gz:
the public set (Babier et al., Med Phys 2021) as a task of the Segmentation Decathlon. Voxel axes
run to the back, to the left and down; values are Hounsfield units, -1024 outside the body. A
structure that annotated.json does not name for a patient is unknown there: its voxels are 0. In
some patients only the slices with dose were kept, beyond them nothing but what lies in or next to
an organ.
"""

import json
from pathlib import Path

import numpy as np
from scipy.ndimage import binary_dilation, binary_fill_holes

from piecemeal.datasets.phantoms.drawing import export, figures, files, head_images
from piecemeal.datasets.phantoms.drawing.ct import CtScanner, acquire_ct
from piecemeal.datasets.phantoms.drawing.head import Head, sample_head

NAMES = (
    *("Brainstem", "SpinalCord", "RightParotid", "LeftParotid"),
    *("Esophagus", "Larynx", "Mandible"),
)
DRAWN = (
    *("brainstem", "spinal cord", "right parotid", "left parotid"),
    *("esophagus", "larynx", "mandible"),
)
CORD, ESOPHAGUS = 2, 5
PADDING = -1024
# Which structures (by label) were outlined together, and in how many of 150 patients.
OUTLINED = {
    "12347": 37, "1234567": 24, "1234": 22, "123467": 18, "12346": 14, "123457": 6,
    "23457": 6, "12345": 5, "123456": 4, "234567": 3, "1246": 2, "2": 2, "12356": 1,
    "134567": 1, "23467": 1, "56": 1, "12467": 1, "234": 1, "1237": 1,
}  # fmt: skip
# Published in-plane voxels at a matrix of 128, and slices, mm, with how often they come.
PIXELS = ((3.75, 0.15), (3.906, 0.45), (4.2, 0.1), (4.688, 0.25), (4.95, 0.05))
THICKNESS = ((2.5, 0.62), (3.0, 0.3), (2.0, 0.05), (3.27, 0.03))
MATRIX, SLICES = 128, 100
CUT_SHORT = 0.38  # share of patients of whom only the slices with dose were kept


def write(folder: Path, cases: int, seed: int, *, size: int = 128, slices: int = 100) -> None:
    """Write `cases` patients under `folder`; the marker file PHANTOM comes last.

    size: pixels across the whole field of view, which is cut to the body afterwards; 128 gives the
    published 3.75 to 5 mm. slices: usual number of them, 100 for the published 2 to 3.3 mm. Case i
    depends on (seed, i) only. Raises InputError for options out of range.
    """
    files.check_options(
        "openkbp",
        cases=(cases, 1, 999),
        seed=(seed, 0, 2**63),
        size=(size, 32, 512),
        slices=(slices, 4, 300),
    )
    folder = Path(folder)
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    annotated = {}
    for index in range(cases):
        name = f"openkbp_{index + 1:03d}"
        image, labels, affine, outlined = _patient(seed, index, size, slices)
        annotated[name] = [NAMES[label - 1] for label in outlined]
        for part, volume in (("imagesTr", image), ("labelsTr", labels)):
            content = export.nifti(volume, affine, "sform")
            (folder / part / f"{name}.nii.gz").write_bytes(content)
    (folder / "annotated.json").write_text(json.dumps(annotated, indent=1))
    (folder / "dataset.json").write_text(json.dumps(_description(list(annotated)), indent=1))
    files.mark(folder, "openkbp", cases, seed)


def _patient(
    seed: int, index: int, size: int, slices: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[int]]:
    """Image int16, labels uint8, both in the file's voxel order, affine, labels that are known."""
    rng = files.generator(seed, index)
    outlined = [int(label) for label in _pick(rng, OUTLINED.items())]
    subject = sample_head(rng)
    pixel = float(_pick(rng, PIXELS)) * MATRIX / size
    spacing = (float(_pick(rng, THICKNESS)) * SLICES / slices, pixel, pixel)
    top = float(np.clip(rng.gamma(1.4, 22) + 25, 20, 115))
    bottom = float(np.clip(rng.normal(-215, 32), -280, -130))
    shape = (round((top - bottom) / spacing[0]), round(330 / pixel), round(520 / pixel))
    space = figures.grid(shape, spacing, ((top + bottom) / 2, 25, rng.normal(0, 6)))
    hu, labels = subject.draw(rng, space, pixel, head_images.ct_palette(rng), DRAWN)
    head_images.add_streaks(rng, hu, space, subject.fillings)
    scanner = CtScanner(noise=rng.uniform(5, 16), blur_mm=0.35 * pixel)
    image = acquire_ct(rng, hu, spacing, scanner)

    _end_contours(rng, labels, space.z[:, 0, 0])
    kept = binary_fill_holes(hu > -500, np.ones((1, 3, 3)))
    if rng.random() < CUT_SHORT:
        kept &= _dosed(rng, labels, space.z, subject)
    image[~kept] = PADDING
    labels[~np.isin(labels, outlined)] = 0
    return *_turned(image, labels, kept, spacing), outlined


def _pick(rng: np.random.Generator, table) -> object:
    """One of the first members of pairs (what, how often)."""
    things, weights = zip(*table, strict=True)
    return things[rng.choice(len(things), p=np.divide(weights, sum(weights)))]


def _end_contours(rng: np.random.Generator, labels: np.ndarray, z: np.ndarray) -> None:
    """Cord and gullet are outlined down to some slice only, at least over 35 mm, in place."""
    for label, lowest, spread in ((CORD, -207, 32), (ESOPHAGUS, -203, 22)):
        end = rng.normal(lowest, spread)
        drawn = z[(labels == label).any((1, 2))]
        below = labels[z < min(end, drawn.max(initial=-np.inf) - 35)]
        below[below == label] = 0
        labels[: len(below)] = below


def _dosed(
    rng: np.random.Generator, labels: np.ndarray, z: np.ndarray, subject: Head
) -> np.ndarray:
    """Mask of what is left of a patient of whom only the slices with dose were kept."""
    larynx = subject.neck.height(subject.neck.larynx[0])
    slab = (z > larynx - rng.uniform(-8, 18)) & (z < rng.uniform(12, 60))
    return slab | binary_dilation(labels > 0, np.ones((1, 3, 3)))


def _turned(
    image: np.ndarray, labels: np.ndarray, kept: np.ndarray, spacing: tuple[float, float, float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut to what was kept, in voxel order (back, left, down), with the affine to world mm."""
    box = tuple(
        slice(int(hit[0]), int(hit[-1]) + 1)
        for axis in range(3)
        if len(hit := np.flatnonzero(kept.any(tuple({0, 1, 2} - {axis}))))
    )
    thickness, down, across = spacing
    affine = np.array(
        [[0, -across, 0, 0], [-down, 0, 0, 0], [0, 0, -thickness, 0], [0, 0, 0, 1]], float
    )
    image, labels = (volume[box][::-1].transpose(1, 2, 0) for volume in (image, labels))
    return np.ascontiguousarray(image), np.ascontiguousarray(labels), affine


def _description(names: list[str]) -> dict:
    """Content of dataset.json."""
    return {
        "name": "OpenKBP head and neck",
        "description": "planning CT with organs at risk (synthetic)",
        "reference": "phantom",
        "licence": "MIT",
        "release": "provided-data",
        "tensorImageSize": "3D",
        "modality": {"0": "CT"},
        "labels": {"0": "background"} | {str(i): name for i, name in enumerate(NAMES, start=1)},
        "numTraining": len(names),
        "numTest": 0,
        "training": [
            {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"}
            for name in names
        ],
        "test": [],
    }
