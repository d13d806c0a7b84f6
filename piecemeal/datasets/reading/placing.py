"""Bringing what was drawn onto the voxels of its image, where the two files are laid out apart."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from piecemeal.datasets.orientation import axes_of, to_canonical
from piecemeal.datasets.reading.affines import corner_displacement, corners
from piecemeal.datasets.reading.volumes import REJECTED_DISPLACEMENT_MM, Volume, lying_on
from piecemeal.errors import InputError

LATTICE_TOLERANCE_VOXELS = 0.05


def placed(image: Volume, drawn: Volume) -> tuple[np.ndarray, list[str]]:
    """What was drawn, 0 where nothing was, on the voxels (x, y, z) of its image; and notes.

    A file may hold the bounding box of an organ only. Voxels of the same lattice are copied;
    others are taken from the nearest voxel, by geometry alone, with a note. Raises InputError if
    something is drawn and all of it lies outside the image.
    """
    shape, voxels = image.voxels.shape, drawn.voxels
    if voxels.shape == shape:
        distance = corner_displacement(image.affine, drawn.affine, shape)
        if distance <= REJECTED_DISPLACEMENT_MM:
            return voxels, lying_on(image, drawn)
    to_image = np.linalg.inv(image.affine) @ drawn.affine
    places = corners(voxels.shape) @ to_image.T
    start = np.rint(places[0, :3]).astype(int)
    off = np.abs(places[:, :3] - corners(voxels.shape)[:, :3] - start).max()
    if off <= LATTICE_TOLERANCE_VOXELS:
        result, notes = _pasted(voxels, start, shape)
    else:
        result = ndimage.affine_transform(
            # grid-constant: rounding must not push the outermost voxels out of the volume
            *(voxels, np.linalg.inv(to_image)),
            **{"output_shape": shape, "order": 0, "mode": "grid-constant", "output": voxels.dtype},
        )
        notes = ["resampled to the image's grid (nearest voxel)"]
    if voxels.any() and not result.any():
        raise InputError(
            f"{drawn.file}: lies outside its image {image.file}, expected some of it inside; the "
            "two do not belong together, copy both again"
        )
    return result, [*drawn.notes, *notes]


def turned_like(image: Volume, drawn: Volume) -> Volume:
    """What was drawn with its axes swapped and flipped to run along those of the image."""
    codes = axes_of(image.affine)
    if axes_of(drawn.affine) == codes:
        return drawn
    voxels, _, affine, before = to_canonical(drawn.voxels.T, None, drawn.affine, codes)
    notes = (*drawn.notes, f"turned from {before} to the image's {codes}")
    return Volume(drawn.file, voxels.T, affine, notes)


def _pasted(
    voxels: np.ndarray, start: np.ndarray, shape: tuple[int, ...]
) -> tuple[np.ndarray, list[str]]:
    """`voxels` from the index `start` of an empty volume on; a note on what does not fit in it."""
    result = np.zeros(shape, voxels.dtype, order="F")
    low, high = np.maximum(start, 0), np.minimum(start + voxels.shape, shape)
    if (low < high).all():
        inside = tuple(slice(*ends) for ends in zip(low - start, high - start, strict=True))
        result[tuple(slice(*ends) for ends in zip(low, high, strict=True))] = voxels[inside]
    lost = np.count_nonzero(voxels) - np.count_nonzero(result)
    return result, [f"voxels outside the image: {lost}"] if lost else []
