"""Where voxels lie: an affine that can be trusted, made from a header that often cannot.

An affine is 4 x 4 and takes a voxel (x, y, z) to its place in mm, x to the right, y to the front, z
up (RAS). What had to be guessed is told in notes, short English phrases.
"""

from __future__ import annotations

import nibabel as nib
import numpy as np

from piecemeal.datasets.scans import File
from piecemeal.errors import InputError

SPACING_TOLERANCE_MM = 1e-3
QFORM_TOLERANCE_MM = 0.5
# Largest cosine between two axes that is still called a right angle. Rounded headers stay below.
SHEAR_TOLERANCE = 1e-4
# Below this the axes hardly span three dimensions any more, and no rotation is near.
LEAST_SINGULAR_VALUE = 0.3

Noted = tuple[np.ndarray, list[str]]  # an affine, and what was odd about it


def trusted_affine(nifti: nib.Nifti1Image, sizes: np.ndarray, path: File) -> Noted:
    """The affine of a NIfTI header: axes at right angles, as long as the header's voxel sizes.

    sizes: pixdim of the axes (x, y, z) as it stands in the file; nibabel makes a 0 a 1.

    ACDC's official files carry an unscaled sform (diagonal of ones) beside a right qform and
    pixdim. So where sform and pixdim disagree the qform is taken, which holds pixdim by
    construction, or the sform's directions with lengths from pixdim where there is no qform.
    Raises InputError, naming the file, if an axis has no length or two are the same.
    """
    header = nifti.header
    sform, qform = _usable(header.get_sform(coded=True)[0]), _usable(_qform(header, sizes))
    if sform is None and qform is None:
        coded = header["sform_code"] > 0 or header["qform_code"] > 0
        if coded or _usable(nifti.affine) is None or not np.all(sizes):
            raise InputError(f"{path}: the header's affine has an axis of no length; copy it again")
        notes = ["header without orientation: axes taken as the format's default"]
        return np.array(nifti.affine, float), notes
    affine, notes = _chosen(sform, qform, np.array(sizes, float), nifti.shape[:3])
    affine, more = orthonormal(affine, path)
    return affine, notes + more


def orthonormal(affine: np.ndarray, path: File) -> Noted:
    """The affine with the nearest axes at right angles (by SVD); lengths and origin stay.

    Axes that are at right angles already are left as they are. A sheared volume cannot be turned
    or resampled axis by axis, and other readers refuse it. Raises InputError if an axis has
    no length, or if they do not span three dimensions.
    """
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if _usable(affine) is None:
        raise InputError(f"{path}: the header's affine has an axis of no length; copy it again")
    directions = affine[:3, :3] / lengths
    cosine = np.abs(directions.T @ directions - np.eye(3)).max()
    if cosine <= SHEAR_TOLERANCE:
        return affine, []
    left, values, right = np.linalg.svd(directions)
    if values.min() < LEAST_SINGULAR_VALUE:
        raise InputError(
            f"{path}: two axes of the header's affine point the same way, expected three at right "
            "angles; correct the header or leave the scan out"
        )
    squared = affine.copy()
    squared[:3, :3] = left @ right * lengths
    degrees = np.degrees(np.arcsin(min(cosine, 1.0)))
    return squared, [f"sheared affine: axes {degrees:.2g} degrees off a right angle, made square"]


def corner_displacement(first: np.ndarray, second: np.ndarray, shape: tuple[int, ...]) -> float:
    """Largest distance (mm) between the places two affines give to a volume's corner voxels."""
    return float(np.linalg.norm(corners(shape) @ (first - second).T, axis=1).max())


def corners(shape: tuple[int, ...]) -> np.ndarray:
    """Indices of the corner voxels of a volume of this shape (x, y, z), as rows (x, y, z, 1)."""
    return np.stack(np.meshgrid(*[(0, size - 1) for size in shape], [1]), -1).reshape(-1, 4)


def spacing_of(affine: np.ndarray) -> tuple[float, float, float]:
    """Voxel sizes (z, y, x) in mm."""
    z, y, x = np.linalg.norm(affine[:3, :3], axis=0)[::-1]
    return float(z), float(y), float(x)


def _chosen(
    sform: np.ndarray | None, qform: np.ndarray | None, sizes: np.ndarray, shape: tuple[int, ...]
) -> Noted:
    """Which of the two holds (one is there), given the header's voxel sizes (x, y, z) in mm."""
    if sform is None:
        return qform, []
    lengths = np.linalg.norm(sform[:3, :3], axis=0)
    if not np.isfinite(sizes).all() or (sizes <= 0).any():
        sizes = lengths
    if np.abs(lengths - sizes).max() <= SPACING_TOLERANCE_MM:
        distance = 0.0 if qform is None else corner_displacement(sform, qform, shape)
        if distance <= QFORM_TOLERANCE_MM:
            return sform, []
        return sform, [f"sform and qform are up to {distance:.1f} mm apart: sform used"]
    said = f"voxel sizes disagree, {_mm(lengths)} in the sform and {_mm(sizes)} in the header"
    if qform is not None:
        return qform, [f"sform ignored: {said}"]
    scaled = sform.copy()
    scaled[:3, :3] *= sizes / lengths
    return scaled, [f"sform scaled to the header's voxel sizes: {said}"]


def _qform(header: nib.Nifti1Header, sizes: np.ndarray) -> np.ndarray | None:
    try:
        return header.get_qform(coded=True)[0] if np.all(sizes) else None
    except (ValueError, nib.spatialimages.HeaderDataError):  # no rotation, or negative sizes
        return None


def _usable(affine: np.ndarray | None) -> np.ndarray | None:
    """The affine if it is finite and every axis has a length, else None."""
    if affine is None or not np.isfinite(affine).all():
        return None
    affine = np.array(affine, float)
    return affine if (np.linalg.norm(affine[:3, :3], axis=0) > 0).all() else None


def _mm(sizes: np.ndarray) -> str:
    return " x ".join(f"{size:.4g}" for size in sizes) + " mm"
