"""Turning a scan so that its axes run along the patient's, and a prediction back.

Codes are nibabel's, of the voxel axes (x, y, z): "LPS" runs to the patient's left, to the back
(posterior) and up (superior). Axes are swapped and flipped only, so an oblique scan keeps its
voxels and comes to lie within 45 degrees or so of the codes. Arrays here are (z, y, x).
"""

from __future__ import annotations

import numpy as np
from nibabel import orientations

from piecemeal.errors import InputError

# Volume of the parallelepiped of three unit axes, below which they hardly leave a plane.
FLAT = 1e-3
# A rotation about an odd axis by less than 0.001 degrees. Which axis of a scan tilted by exactly 45
# degrees is the closest would hang on rounding, and differ before and after a turn; so it does not.
_NUDGE = np.eye(4)
_NUDGE[:3, :3] += 1e-5 * np.array([[0, -0.3, 0.7], [0.3, 0, -0.5], [-0.7, 0.5, 0]])


def axes_of(affine: np.ndarray) -> str:
    """The codes that the voxel axes of an affine (x, y, z) to world (RAS) run along the closest.

    Raises InputError if the three axes lie in one plane.
    """
    axes = affine[:3, :3]
    if not abs(np.linalg.det(axes)) > FLAT * np.linalg.norm(axes, axis=0).prod():
        raise InputError(
            f"affine {np.round(affine, 4).tolist()}: expected axes in three directions, found them "
            "in one plane; copy the file again or leave the scan out"
        )
    return "".join(orientations.aff2axcodes(_NUDGE @ affine))


def to_canonical(
    image: np.ndarray, labels: np.ndarray | None, affine: np.ndarray, codes: str = "LPS"
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray, str]:
    """Image and labels (z, y, x) with their axes along `codes`, the affine, and the file's axes.

    affine: 4 x 4, voxel (x, y, z) to world in mm (RAS); so is the one returned, of the turned
    voxels. Arrays are contiguous, and not copied where there is nothing to turn. The file's axes
    are for `to_file_order`. Raises InputError if the axes of the affine lie in one plane.
    """
    file_axes = axes_of(affine)
    turned, turned_affine = _turn(image, affine, file_axes, codes)
    if labels is not None:
        labels, _ = _turn(labels, affine, file_axes, codes)
    return turned, labels, turned_affine, file_axes


def to_file_order(
    volume: np.ndarray, affine: np.ndarray, file_axes: str
) -> tuple[np.ndarray, np.ndarray]:
    """A volume (z, y, x) and its affine in the voxel order of the file: undoes `to_canonical`."""
    return _turn(volume, affine, axes_of(affine), file_axes)


def _turn(
    volume: np.ndarray, affine: np.ndarray, start: str, end: str
) -> tuple[np.ndarray, np.ndarray]:
    turn = orientations.ornt_transform(*map(orientations.axcodes2ornt, (start, end)))
    voxels = orientations.apply_orientation(volume.T, turn)
    return np.ascontiguousarray(voxels.T), affine @ orientations.inv_ornt_aff(turn, volume.T.shape)
