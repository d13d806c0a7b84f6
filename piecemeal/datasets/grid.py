"""Between a scan's own voxels and a cohort's grid.

A cohort has one grid: on every axis a spacing and a size, either of which may be the scan's own.
The centre of the scan lies on the centre of the grid, and positions are those of voxel centres:

    native index = (grid index - (size - 1) / 2) * grid spacing / spacing + (native size - 1) / 2

Resampling and cropping or padding are this one map, so nothing is interpolated twice. Coarser grids
are sampled, not averaged over, as the codes of the papers do.
"""

import math
from dataclasses import dataclass

import numpy as np

# Voxels. Where an index falls half-way between two voxels (equal spacing, one size even, one odd)
# the nearest one is the upper on the way to the grid and the lower on the way back, so that labels
# come back where they were.
TIE = 1e-6

Shape = tuple[int, int, int]
Spacing = tuple[float, float, float]


@dataclass(frozen=True)
class Geometry:
    """Where a prepared scan comes from. Shapes and spacings are (z, y, x), in voxels and mm.

    native_shape, spacing, affine: of the arrays as they are stored; affine: 4 x 4, voxel (x, y, z)
    to world in mm (RAS). file_axes: nibabel's axis codes of the voxels (x, y, z) in the file, such
    as "LAS", if the arrays were turned from there (see `orientation`); empty if they were not.
    """

    native_shape: Shape
    spacing: Spacing
    affine: np.ndarray
    grid_spacing: Spacing
    grid_shape: Shape
    file_axes: str = ""

    @property
    def steps(self) -> tuple[float, float, float]:
        """Grid voxels from one voxel of the scan to the next, (z, y, x)."""
        z, y, x = map(_ratio, self.spacing, self.grid_spacing)
        return z, y, x


@dataclass(frozen=True)
class GridSpec:
    """The grid of a cohort; what is left open (None) is settled by each scan. All (z, y, x).

    spacing: mm; None: the scan's own. size: voxels; None: as many as cover the scan. fit: stretch
    the plane to `size`, so that y and x of no spacing of their own get field of view / size (Li et
    al. and Moseley et al. resize to 256 x 256).
    """

    spacing: tuple[float | None, float | None, float | None]
    size: tuple[int | None, int | None, int | None]
    fit: bool = False

    def of(self, shape: Shape, spacing: Spacing) -> tuple[Shape, Spacing]:
        """Shape and spacing of the grid for a scan of this shape and spacing."""
        sizes, steps = [], []
        for axis, (native, own) in enumerate(zip(shape, spacing, strict=True)):
            size, step = self.size[axis], self.spacing[axis]
            if step is None:
                stretched = self.fit and axis > 0 and size not in (None, native)
                step = native * own / size if stretched else own
            sizes.append(_covering(native, own, step) if size is None else size)
            steps.append(float(step))
        return tuple(sizes), tuple(steps)


def _covering(native: int, spacing: float, step: float) -> int:
    """How many voxels of `step` mm it takes: the rounded field of view, and the centre of every
    voxel of the scan at least."""
    field, centres = native * spacing / step, (native - 1) * spacing / step
    return max(1, math.floor(field + 0.5), math.ceil(centres - TIE))


def resample_to_grid(
    volume: np.ndarray,
    spacing: Spacing,
    grid_spacing: Spacing,
    grid_shape: Shape,
    order: int,
    outside: float = 0,
) -> np.ndarray:
    """A native volume (..., z, y, x) of `spacing` mm on the grid: (..., *grid_shape).

    order: 0 nearest (labels), 1 linear (images). outside: value beyond the scan. Same dtype as
    `volume`. An axis of the same spacing and size keeps its voxels as they are.
    """
    steps = tuple(map(_ratio, grid_spacing, spacing))
    return _resample(volume, grid_shape, steps, order, TIE, outside)


def resample_from_grid(volume: np.ndarray, geometry: Geometry, order: int) -> np.ndarray:
    """A volume on the grid (..., z, y, x) on the scan's own voxels: (..., *native_shape).

    Class ids (z, y, x) with order 0, or probabilities (C, z, y, x) with order 1. Outside the grid
    is 0, for probabilities in every class: there argmax gives 0, background. Where the grid has the
    planes of the scan, `volume` may hold any number of them.
    """
    planes, *plane = geometry.native_shape
    if geometry.steps[0] == 1 and planes == geometry.grid_shape[0]:
        planes = volume.shape[-3]
    return _resample(volume, (planes, *plane), geometry.steps, order, -TIE)


def covered(source: int, target: int, step: float) -> tuple[slice, float]:
    """Where the voxels of a target axis lie on a source axis.

    source, target: sizes in voxels; step: source voxels per target voxel. Returns the target
    indices whose centres fall within the source voxels, edges included, and the source index, a
    fraction, of the first of them.
    """
    start = (source - 1) / 2 - step * (target - 1) / 2
    position = start + step * np.arange(target)
    indices = np.flatnonzero((position >= -0.5 - TIE) & (position <= source - 0.5 + TIE))
    inside = slice(int(indices[0]), int(indices[-1]) + 1) if indices.size else slice(0, 0)
    return inside, start + step * inside.start


def _ratio(first: float, second: float) -> float:
    return first / second


def _resample(
    volume: np.ndarray,
    shape: tuple[int, ...],
    steps: tuple[float, ...],
    order: int,
    tie: float,
    outside: float = 0,
) -> np.ndarray:
    """Resample the last three axes. steps: source voxels per target voxel; tie: see TIE."""
    from scipy import ndimage  # here, because prediction needs only the geometry

    result = np.full((*volume.shape[:-3], *shape), outside, volume.dtype)
    if steps[0] == 1 and volume.shape[-3] == shape[0]:
        shape, steps = shape[1:], steps[1:]  # plane by plane: half as many neighbours to weigh
    source = volume.shape[-len(shape) :]
    # "nearest" keeps the outer half of the border voxels, which "constant" would cut off; what
    # lies beyond them is left as it is.
    inside, first = zip(*map(covered, source, shape, steps), strict=True)
    if result[..., *inside].size == 0:
        return result
    nudge = tie if order == 0 else 0.0
    for part, target in zip(volume.reshape(-1, *source), result.reshape(-1, *shape), strict=True):
        ndimage.affine_transform(
            part,
            steps,
            offset=[position + nudge for position in first],
            output_shape=target[inside].shape,
            output=target[inside],
            order=order,
            mode="nearest",
        )
    return result
