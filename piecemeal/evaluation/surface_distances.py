"""How far the boundaries of two segmentations lie apart.

A boundary voxel looks for its partner of the same structure around its own place, trying offsets in
the order of their length; the first that holds one is the nearest. Voxels whose partner is not
within the first `OFFSETS` offsets are compared block by block: bounds on the distance between two
blocks of voxels leave few pairs of blocks to look into. So the cost follows the surfaces and not
the volume, and is the smaller the better the prediction is.
"""

from collections.abc import Iterable
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np

from piecemeal.evaluation.boundaries import (
    LONGEST_AXIS,
    MOST_STRUCTURES,
    X_SHIFT,
    Y_SHIFT,
    Z_SHIFT,
    Surfaces,
    compiled,
    in_threads,
    joined,
    places,
)

# How many places around a voxel are looked at before blocks are compared. More make good
# predictions no faster, and cost bad ones time.
OFFSETS = 512
BLOCK_BITS = 3  # blocks of 8 voxels along each axis


class Distances(NamedTuple):
    """Directed distances of one structure in mm, in ascending order and grouped by value.

    near: distances of the offsets tried; counts: voxels found at each; far: all that are longer.
    """

    near: np.ndarray
    counts: np.ndarray
    far: np.ndarray

    def pooled(self, other: "Distances") -> "Distances":
        """These and the other's, as one."""
        far = np.sort(np.concatenate([self.far, other.far]))
        return Distances(self.near, self.counts + other.counts, far)

    def mean(self) -> float:
        """Mean over all boundary voxels."""
        count = self.counts.sum() + len(self.far)
        return float((self.counts @ self.near + self.far.sum()) / count)

    def percentile(self, q: float) -> float:
        """The q-th percentile, linear between order statistics as `numpy.percentile`'s default."""
        until = np.cumsum(self.counts)
        position = q / 100 * (until[-1] + len(self.far) - 1)
        below, above = (self._at(int(i), until) for i in (np.floor(position), np.ceil(position)))
        return float(below + (above - below) * (position % 1))

    def _at(self, rank: int, until: np.ndarray) -> float:
        """The distance with `rank` others before it; until: how many there are up to each."""
        if rank >= until[-1]:
            return self.far[rank - until[-1]]
        return self.near[np.searchsorted(until, rank, side="right")]


def directed_distances(
    surfaces: Surfaces, structures: Iterable[int], spacing: np.ndarray, threads: int = 1
) -> tuple[dict[int, Distances], dict[int, Distances]]:
    """Distances from every boundary voxel to the nearest one of its structure in the other volume.

    structures: those to measure, 1, 2, ...; each must have voxels in both volumes. spacing: mm, one
    an axis. Returns {structure: distances} from the prediction to the reference, and the other way
    round.
    """
    asked = np.zeros(len(surfaces.voxels), dtype=bool)
    asked[list(structures)] = True
    if not asked.any():
        return {}, {}
    offsets, near = _offsets(tuple(spacing.tolist()))
    mm = np.ones(3)
    mm[3 - len(spacing) :] = spacing
    directions = (
        (surfaces.prediction, surfaces.reference),
        (surfaces.reference, surfaces.prediction),
    )
    found = []
    for (_, target), (counts, lost) in zip(
        directions, _nearby(directions, asked, offsets, threads), strict=True
    ):
        found.append(
            {
                k: Distances(near, counts[k], _far(k, lost, target, mm, threads))
                for k in np.flatnonzero(asked).tolist()
            }
        )
    return found[0], found[1]


def _nearby(
    directions: Iterable[tuple[np.ndarray, np.ndarray]],
    asked: np.ndarray,
    offsets: np.ndarray,
    threads: int,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Counts (structures, offsets) of the partners found, and the voxels that found none."""
    # A margin as wide as the offsets reach spares the search every check of the border.
    margin = np.abs(offsets).max(axis=0)
    corners = np.array([_extent(points) for points, _ in directions])
    origin = corners[:, 0].min(axis=0) - margin
    marks = np.zeros(corners[:, 1].max(axis=0) + margin + 1 - origin, dtype=np.uint8)
    search = partial(_search, marks, origin, offsets @ np.array(marks.strides), asked)
    found = []
    for source, target in directions:
        _mark(marks, origin, target, True)
        counts, lost = zip(*in_threads(search, source, threads), strict=True)
        _mark(marks, origin, target, False)
        found.append((sum(counts), joined(lost)))
    return found


@lru_cache(maxsize=16)
def _offsets(spacing: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The shortest `OFFSETS` steps from a voxel to another, (n, 3) in voxels, and their mm."""
    steps = np.array(spacing)
    # A ball of this radius holds several times as many; of thick slices it holds one slice.
    radius = (2 * OFFSETS * steps.prod()) ** (1 / len(steps))
    ranges = [np.arange(-(n := int(radius / step)), n + 1) for step in steps]
    offsets = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, len(steps))
    lengths = np.sqrt(((offsets * steps) ** 2).sum(axis=1))
    order = np.argsort(lengths, kind="stable")[:OFFSETS]
    in_three = np.zeros((len(order), 3), dtype=np.int64)
    in_three[:, 3 - len(steps) :] = offsets[order]
    return in_three, lengths[order]


def _far(
    structure: int, lost: np.ndarray, target: np.ndarray, mm: np.ndarray, threads: int
) -> np.ndarray:
    """Distances in mm, ascending, of the structure's voxels in `lost` to its voxels in `target`."""
    sources = places(lost[lost & MOST_STRUCTURES == structure])
    if not len(sources):
        return np.empty(0)
    targets = places(target[target & MOST_STRUCTURES == structure])
    targets, starts = _in_blocks(targets)
    sources, source_starts = _in_blocks(sources)
    search = partial(_search_blocks, sources, source_starts, targets, starts, mm)
    blocks = np.arange(len(source_starts) - 1)
    return np.sqrt(np.sort(joined(in_threads(search, blocks, threads))))


def _in_blocks(voxels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Voxels (n, 3) ordered by block, and where each block starts, n last."""
    z, y, x = (voxels >> BLOCK_BITS).T
    block = (z * (LONGEST_AXIS + 1) + y) * (LONGEST_AXIS + 1) + x
    order = np.argsort(block, kind="stable")
    starts = np.flatnonzero(np.diff(block[order], prepend=-1))
    return voxels[order].astype(np.int32), np.append(starts, len(voxels))


@compiled
def _mark(marks, origin, points, there):  # pragma: no cover
    """Write the structure of every point into `marks`, or erase it."""
    for point in points:
        z = (point >> Z_SHIFT & LONGEST_AXIS) - origin[0]
        y = (point >> Y_SHIFT & LONGEST_AXIS) - origin[1]
        x = (point >> X_SHIFT & LONGEST_AXIS) - origin[2]
        marks[z, y, x] = point & MOST_STRUCTURES if there else 0


@compiled
def _search(marks, origin, steps, asked, points):  # pragma: no cover
    """Count which step leads each point to the next mark of its structure; return who found none.

    marks: structures of the other volume's boundary voxels, with a margin; origin: the voxel that
    marks[0, 0, 0] stands for; steps: offsets in the flat array, shortest first; asked: whether to
    search for a structure at all.
    """
    _, high, wide = marks.shape
    flat = marks.reshape(-1)
    counts = np.zeros((len(asked), len(steps)), np.int64)
    lost = np.empty(1024, np.int64)
    n_lost = 0
    for point in points:
        structure = np.uint8(point & MOST_STRUCTURES)
        if not asked[structure]:
            continue
        z = (point >> Z_SHIFT & LONGEST_AXIS) - origin[0]
        y = (point >> Y_SHIFT & LONGEST_AXIS) - origin[1]
        x = (point >> X_SHIFT & LONGEST_AXIS) - origin[2]
        at = (z * high + y) * wide + x
        step = 0
        while step < len(steps) and flat[np.uintp(at + steps[step])] != structure:
            step += 1
        if step < len(steps):
            counts[structure, step] += 1
        else:
            if n_lost == len(lost):
                lost = np.concatenate((lost, np.empty_like(lost)))
            lost[n_lost] = point
            n_lost += 1
    return counts, lost[:n_lost].copy()


@compiled
def _extent(points):  # pragma: no cover
    """The corners (2, 3) of the box around coded voxels."""
    corners = np.empty((2, 3), np.int64)
    corners[0], corners[1] = LONGEST_AXIS, 0
    for point in points:
        for axis, shift in enumerate((Z_SHIFT, Y_SHIFT, X_SHIFT)):
            at = point >> shift & LONGEST_AXIS
            corners[0, axis] = min(corners[0, axis], at)
            corners[1, axis] = max(corners[1, axis], at)
    return corners


@compiled
def _search_blocks(sources, source_starts, targets, starts, mm, blocks):  # pragma: no cover
    """Squared distance from every source of the given blocks to its nearest target."""
    count = len(starts) - 1
    low, high = np.empty((count, 3)), np.empty((count, 3))
    for block in range(count):
        _bounds(targets, starts[block], starts[block + 1], mm, low[block], high[block])
    found = np.empty(source_starts[blocks[-1] + 1] - source_starts[blocks[0]])
    n_found = 0
    source_low, source_high = np.empty(3), np.empty(3)
    nearest, kept = np.empty(count), np.empty(count, np.int64)
    for block in blocks:
        start, stop = source_starts[block], source_starts[block + 1]
        _bounds(sources, start, stop, mm, source_low, source_high)
        # No source is farther from its target than the two boxes' most distant corners.
        reach = np.inf
        for other in range(count):
            least = most = 0.0
            for axis in range(3):
                gap = max(
                    source_low[axis] - high[other, axis], low[other, axis] - source_high[axis], 0.0
                )
                span = max(
                    source_high[axis] - low[other, axis], high[other, axis] - source_low[axis]
                )
                least += gap * gap
                most += span * span
            nearest[other] = least
            reach = min(reach, most)
        n_kept = 0
        for other in range(count):
            if nearest[other] <= reach:
                kept[n_kept] = other
                n_kept += 1
        order = kept[:n_kept][np.argsort(nearest[kept[:n_kept]])]
        for source in range(start, stop):
            z, y, x = sources[source, 0], sources[source, 1], sources[source, 2]
            z, y, x = z * mm[0], y * mm[1], x * mm[2]
            best = np.inf
            for other in order:
                if nearest[other] >= best:
                    break
                dz = max(low[other, 0] - z, z - high[other, 0], 0.0)
                dy = max(low[other, 1] - y, y - high[other, 1], 0.0)
                dx = max(low[other, 2] - x, x - high[other, 2], 0.0)
                if dz * dz + dy * dy + dx * dx >= best:
                    continue
                for target in range(starts[other], starts[other + 1]):
                    dz = targets[target, 0] * mm[0] - z
                    dy = targets[target, 1] * mm[1] - y
                    dx = targets[target, 2] * mm[2] - x
                    best = min(best, dz * dz + dy * dy + dx * dx)
            found[n_found] = best
            n_found += 1
    return found


@compiled
def _bounds(voxels, start, stop, mm, low, high):  # pragma: no cover
    """Write the corners of the box around some voxels, in mm, into `low` and `high`."""
    for axis in range(3):
        least = most = voxels[start, axis]
        for voxel in range(start, stop):
            least, most = min(least, voxels[voxel, axis]), max(most, voxels[voxel, axis])
        low[axis], high[axis] = least * mm[axis], most * mm[axis]
