"""Predictions that were made elsewhere, by other software: label maps in the scans' own spaces.

`<folder>/<dataset>/<scan>.nii.gz`, as scoring writes those of our own runs: class ids in the order
of the cohort's structures, or, where these overlap, bit masks (`bitmasks`) over those of the task.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from piecemeal.datasets.orientation import to_canonical
from piecemeal.datasets.reading.affines import corner_displacement
from piecemeal.datasets.reading.nifti import read_volume
from piecemeal.datasets.reading.volumes import REJECTED_DISPLACEMENT_MM, whole
from piecemeal.datasets.store import PreparedScan
from piecemeal.datasets.whole import CANONICAL
from piecemeal.errors import InputError

NAMED = 5  # missing files that a message names


def check_label_maps(folder: Path, scans: Iterable[tuple[str, str]]) -> None:
    """Raise InputError unless each of `scans` (data set, scan) has a file in `folder`."""
    asked = [_path(folder, *scan) for scan in scans]
    missing = [path for path in asked if not path.is_file()]
    if missing:
        named = ", ".join(str(path.relative_to(folder)) for path in missing[:NAMED])
        raise InputError(
            f"{folder}: has no label map of {len(missing)} of {len(asked)} test scans, expected "
            f"files such as {named}; predict these too, or leave the arm out"
        )


def read_label_map(
    folder: Path, dataset: str, name: str, scan: PreparedScan, values: int
) -> np.ndarray:
    """The label map (z, y, x) uint8 of a scan, in the order of the prepared arrays.

    values: how many values there may be, from 0 on. The file may have its axes in another order
    than the scan's own where the cohort turns scans. Raises InputError, naming the file, if it
    cannot be read, does not lie on the voxels of the scan or has other values.
    """
    path, geometry = _path(folder, dataset, name), scan.geometry
    volume = read_volume(path)
    labels, affine = whole(volume).T, volume.affine
    if geometry.file_axes:
        labels, _, affine, _ = to_canonical(labels, None, affine, CANONICAL)
    if labels.shape != geometry.native_shape:
        raise InputError(
            f"{path}: {labels.shape} voxels (z, y, x), expected the {geometry.native_shape} of the "
            "scan itself; bring the map back to the scan it was made from"
        )
    distance = corner_displacement(geometry.affine, affine, labels.shape[::-1])
    if distance > REJECTED_DISPLACEMENT_MM:
        raise InputError(
            f"{path}: lies up to {distance:.2f} mm away from the scan, expected its space within "
            f"{REJECTED_DISPLACEMENT_MM} mm; save the map with the affine of the scan's own file"
        )
    if labels.min() < 0 or labels.max() >= values:
        raise InputError(
            f"{path}: values from {labels.min()} to {labels.max()}, expected 0 to {values - 1}: "
            "the background and the structures of the cohort in their order (bits of them, where "
            "structures overlap); map the values of the other software to these"
        )
    return np.ascontiguousarray(labels.astype(np.uint8, copy=False))


def _path(folder: Path, dataset: str, name: str) -> Path:
    return folder / dataset / f"{name}.nii.gz"
