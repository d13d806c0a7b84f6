"""Tiny data sets in their official layouts, written with nibabel."""

from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

SPACING = (1.5, 1.5, 10.0)  # x, y, z


def write_volume(path: Path, voxels: np.ndarray, spacing=SPACING, shift=0.0) -> None:
    """Write voxels (x, y, z) with a diagonal affine, moved along x by `shift` mm."""
    affine = np.diag([*spacing, 1.0])
    affine[0, 3] = shift
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels, affine), path)


def draw(seed: int, shape=(20, 24, 3)) -> tuple[np.ndarray, np.ndarray]:
    """An image (int16) and labels 0 to 3 (uint8): three bars in noise, (x, y, z)."""
    labels = np.zeros(shape, np.uint8)
    for value in (1, 2, 3):
        labels[4 * value : 4 * value + 4, 6:16, :] = value
    noise = np.random.default_rng(seed).normal(0, 5, shape)
    return (100 * labels + noise).astype(np.int16), labels


def write_patient(root: Path, number: int, es: int = 12, group: str = "DCM") -> Path:
    folder = root / f"patient{number:03d}"
    for frame in (1, es):
        image, labels = draw(100 * number + frame)
        write_volume(folder / f"{folder.name}_frame{frame:02d}.nii.gz", image)
        write_volume(folder / f"{folder.name}_frame{frame:02d}_gt.nii.gz", labels)
    (folder / "Info.cfg").write_text(f"ED: 1\nES: {es}\nGroup: {group}\nNbFrame: 30\n")
    return folder


@pytest.fixture
def volumes():
    return SimpleNamespace(write=write_volume, draw=draw, patient=write_patient)


@pytest.fixture
def acdc(tmp_path) -> Path:
    """The root of an ACDC folder of four patients."""
    root = tmp_path / "acdc"
    for number in (1, 2, 3, 4):
        write_patient(root, number)
    return root


@pytest.fixture
def arguments(acdc) -> dict:
    """Arguments of `prepare` for that folder."""
    labels = {1: "right ventricle", 2: "myocardium", 3: "left ventricle"}
    return {
        "sources": {"acdc": {"root": acdc, "layout": "acdc", "labels": labels}},
        "structures": ["right ventricle", "myocardium", "left ventricle"],
        "grid_spacing": 2.0,
        "size": 16,
        "intensity": "zscore",
        "split": {"seed": 1, "train": 2, "validation": 1, "test": 1},
    }
