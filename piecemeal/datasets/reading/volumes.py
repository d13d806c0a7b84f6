"""Volumes in memory, whatever format they came in, and labels that must lie on them."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from piecemeal.datasets.reading.affines import corner_displacement, spacing_of
from piecemeal.datasets.scans import File, Scan
from piecemeal.errors import InputError

log = logging.getLogger(__name__)

LOGGED_DISPLACEMENT_MM = 0.01
REJECTED_DISPLACEMENT_MM = 0.5


@dataclass
class Volume:
    """What a file holds: voxels (x, y, z) in its order and type, affine (RAS, mm), odd things."""

    file: File
    voxels: np.ndarray
    affine: np.ndarray
    notes: tuple[str, ...] = ()


def scan_of(image: Volume, labels: np.ndarray | None = None, notes: Iterable[str] = ()) -> Scan:
    """A Scan of an image and of labels (x, y, z) on its voxels, or none; both are transposed.

    Raises InputError, naming the image, if it has voxels that are no finite real numbers.
    """
    voxels = real(image).astype(np.float32, copy=False)
    unusable = voxels.size - int(np.count_nonzero(np.isfinite(voxels)))
    if unusable:
        raise InputError(
            f"{image.file}: {unusable} of {voxels.size} voxels are NaN or infinite, expected "
            "finite intensities; repair the file or leave the scan out"
        )
    return Scan(
        np.ascontiguousarray(voxels.T),
        None if labels is None else np.ascontiguousarray(labels.T),
        spacing_of(image.affine),
        image.affine,
        (*image.notes, *notes),
    )


def real(volume: Volume) -> np.ndarray:
    """Its voxels. Raises InputError if they are not one real number each (colours, complex)."""
    if volume.voxels.dtype.kind not in "biuf":
        raise InputError(
            f"{volume.file}: expected one real number a voxel, found type {volume.voxels.dtype}"
        )
    return volume.voxels


def whole(volume: Volume) -> np.ndarray:
    """Its voxels as integers, of the smallest unsigned type if there is none below 0.

    Raises InputError if a voxel is not a whole number, whatever type the file has.
    """
    voxels = volume.voxels
    if voxels.dtype.kind == "f" and np.isfinite(voxels).all() and (voxels % 1 == 0).all():
        voxels = voxels.astype(np.int64)
    if voxels.dtype.kind == "b":
        voxels = voxels.astype(np.uint8)
    if voxels.dtype.kind not in "iu":
        raise InputError(
            f"{volume.file}: expected whole numbers as labels, found others ({voxels.dtype}); "
            "was the file resampled with interpolation? Copy the original again"
        )
    if voxels.min() < 0:
        return voxels
    return voxels.astype(np.min_scalar_type(voxels.max()), copy=False)


def lying_on(image: Volume, drawn: Volume) -> list[str]:
    """Notes on what was drawn on an image voxel by voxel; from here on the image's affine holds.

    Raises InputError if the two differ in shape, or lie more than 0.5 mm apart somewhere.
    """
    shape, expected = drawn.voxels.shape, image.voxels.shape
    if shape != expected:
        raise InputError(
            f"{drawn.file}: shape {shape} differs from {expected} of its image {image.file} "
            "(x, y, z); the two do not belong together, copy both again"
        )
    distance = corner_displacement(image.affine, drawn.affine, shape)
    if distance > REJECTED_DISPLACEMENT_MM:
        raise InputError(
            f"{drawn.file}: lies up to {distance:.2f} mm away from its image {image.file}, "
            f"expected the same space within {REJECTED_DISPLACEMENT_MM} mm; the two do not belong "
            "together, copy both again"
        )
    if distance <= LOGGED_DISPLACEMENT_MM:
        return list(drawn.notes)
    log.warning("%s: lies %.3f mm off its image, whose affine is used", drawn.file, distance)
    return [*drawn.notes, f"lies {distance:.2g} mm off the image"]


def of_labels(notes: Iterable[str]) -> list[str]:
    """Notes on a file of labels, told apart from those on the image."""
    return [f"labels: {note}" for note in notes]
