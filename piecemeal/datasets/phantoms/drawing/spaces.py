"""Points of a block of voxels as the solids of a drawn body see them, and boxes around solids."""

from dataclasses import dataclass

import numpy as np

Box = tuple[np.ndarray, np.ndarray]


def join(boxes: list[Box]) -> Box:
    """Smallest box around boxes."""
    return np.min([low for low, _ in boxes], 0), np.max([high for _, high in boxes], 0)


def overlap(boxes: list[Box]) -> Box:
    """Box that boxes have in common; its corners are in the wrong order if there is none."""
    return np.max([low for low, _ in boxes], 0), np.min([high for _, high in boxes], 0)


@dataclass(frozen=True)
class Space:
    """Points of a block of voxels: z (n, 1, 1), y (n, rows, 1), x (n, 1, columns), mm, float32.

    y and x may drift with z: that is how a drawn body leans and bends.
    """

    z: np.ndarray
    y: np.ndarray
    x: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of points along z, y and x."""
        return self.z.shape[0], self.y.shape[1], self.x.shape[2]

    def crop(self, box: Box) -> tuple[tuple[slice, slice, slice], "Space"] | None:
        """Return the slices of the points that `box` may hold and their space; None for none."""
        low, high = box
        along = self.z[:, 0, 0]
        planes = _extent((along >= low[0]) & (along <= high[0]))
        if planes is None:
            return None
        y, x = self.y[planes, :, 0], self.x[planes, 0, :]
        rows = _extent(((y >= low[1]) & (y <= high[1])).any(0))
        columns = _extent(((x >= low[2]) & (x <= high[2])).any(0))
        if rows is None or columns is None:
            return None
        inner = Space(self.z[planes], self.y[planes, rows], self.x[planes, :, columns])
        return (planes, rows, columns), inner

    def along(self, direction: np.ndarray, offset: float) -> np.ndarray:
        """Return `direction` @ point + offset, float32, of full shape."""
        z, y, x = (np.float32(part) for part in direction)
        return (self.z * z + np.float32(offset) + self.y * y) + self.x * x

    def squares(self, point: np.ndarray) -> np.ndarray:
        """Squared distance (mm2) from `point`, float32, of full shape."""
        z, y, x = (np.float32(part) for part in point)
        return ((self.z - z) ** 2 + (self.y - y) ** 2) + (self.x - x) ** 2


def points(places: np.ndarray) -> Space:
    """Space of single points: `places` (n, 3), (z, y, x) in mm, one a plane."""
    z, y, x = np.asarray(places, np.float32).T[..., None, None]
    return Space(z, y, x)


def _extent(hit: np.ndarray) -> slice | None:
    """Slice from the first to the last True of a vector."""
    found = np.flatnonzero(hit)
    return slice(int(found[0]), int(found[-1]) + 1) if len(found) else None
