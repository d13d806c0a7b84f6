"""Between a scan's own voxels and a cohort's in-plane grid.

A cohort has one grid: `size` x `size` pixels of `grid_spacing` mm. Slices are never resampled. The
centre of the scan's plane lies on the centre of the grid, and positions are those of voxel centres:

    native index = (grid index - (size - 1) / 2) * grid_spacing / spacing + (native size - 1) / 2

Resampling and cropping or padding are this one map, so nothing is interpolated twice.
"""

from dataclasses import dataclass

import numpy as np

# Pixels. Where an index falls half-way between two pixels (equal spacing, one size even, one odd)
# the nearest one is the upper on the way to the grid and the lower on the way back, so that labels
# come back where they were.
TIE = 1e-6


@dataclass(frozen=True)
class Geometry:
    """Where a prepared scan comes from. Shapes and spacing are (z, y, x), in voxels and mm.

    affine: 4 x 4, the scan's own voxel (x, y, z) to world in mm.
    """

    native_shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    affine: np.ndarray
    grid_spacing: float
    grid_shape: tuple[int, int, int]


def resample_to_grid(
    volume: np.ndarray,
    spacing: tuple[float, float, float],
    grid_spacing: float,
    size: int,
    order: int,
) -> np.ndarray:
    """A native volume (..., y, x) of `spacing` (z, y, x) mm on the grid: (..., size, size).

    order: 0 nearest (labels), 1 linear (images). Outside the scan is 0. Same dtype as `volume`.
    """
    steps = (grid_spacing / spacing[1], grid_spacing / spacing[2])
    return _resample_planes(volume, (size, size), steps, order, TIE)


def resample_from_grid(volume: np.ndarray, geometry: Geometry, order: int) -> np.ndarray:
    """A volume on the grid (..., size, size) on the scan's own voxels: (..., y, x).

    Class ids (z, size, size) with order 0, or probabilities (C, z, size, size) with order 1.
    Outside the grid is 0, for probabilities in every class: there argmax gives 0, background.
    """
    steps = tuple(step / geometry.grid_spacing for step in geometry.spacing[1:])
    return _resample_planes(volume, geometry.native_shape[1:], steps, order, -TIE)


def covered(source: int, target: int, step: float) -> tuple[slice, float]:
    """Where the pixels of a target axis lie on a source axis.

    source, target: sizes in pixels; step: source pixels per target pixel. Returns the target
    indices whose centres fall within the source pixels, edges included, and the source index, a
    fraction, of the first of them.
    """
    start = (source - 1) / 2 - step * (target - 1) / 2
    position = start + step * np.arange(target)
    indices = np.flatnonzero((position >= -0.5 - TIE) & (position <= source - 0.5 + TIE))
    inside = slice(int(indices[0]), int(indices[-1]) + 1) if indices.size else slice(0, 0)
    return inside, start + step * inside.start


def _resample_planes(
    volume: np.ndarray, shape: tuple[int, int], steps: tuple[float, float], order: int, tie: float
) -> np.ndarray:
    """Resample the last two axes. steps: source pixels per target pixel; tie: see TIE."""
    from scipy import ndimage  # here, because prediction needs only the geometry

    source = volume.shape[-2:]
    planes = np.zeros((volume[..., 0, 0].size, *shape), volume.dtype)
    # "nearest" keeps the outer half of the border pixels, which "constant" would cut off; what
    # lies beyond them is left at 0.
    inside, first = zip(*map(covered, source, shape, steps), strict=True)
    if planes[:, *inside].size == 0:
        return planes.reshape(*volume.shape[:-2], *shape)
    nudge = tie if order == 0 else 0.0
    for plane, target in zip(volume.reshape(-1, *source), planes, strict=True):
        target[inside] = ndimage.affine_transform(
            plane,
            steps,
            offset=[position + nudge for position in first],
            output_shape=tuple(where.stop - where.start for where in inside),
            order=order,
            mode="nearest",
        )
    return planes.reshape(*volume.shape[:-2], *shape)
