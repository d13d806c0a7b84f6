"""Volumes in which a voxel may be of several structures at once, as projections make them.

A bit mask is a uint8 volume over the structures of one task, in the order in which the task lists
them: bit k of a voxel is set where its k-th structure is. A voxel of 5 = 1 + 4 is of the first and
of the third, one of 0 is background. It says nothing without the task.
"""

from collections.abc import Sequence

import numpy as np

from piecemeal.errors import InputError

MOST = 8  # structures of a task: a bit each
FOUND = 0.5  # the probability from which a structure is taken to be there


def bit(volume: np.ndarray, k: int) -> np.ndarray:
    """Where the `k`-th structure is, counted from 0, bool in the shape of a bit mask `volume`.

    Raises InputError on a volume that is not uint8 and on a k outside 0..7.
    """
    volume = np.asarray(volume)
    if volume.dtype != np.uint8 or not 0 <= k < MOST:
        raise InputError(
            f"bit {k} of a {volume.dtype} volume: expected one of 0 to {MOST - 1} of uint8 bit "
            "masks; prepare the cohort again"
        )
    return volume >> np.uint8(k) & np.uint8(1) == 1


def pack(masks: Sequence[np.ndarray]) -> np.ndarray:
    """The bit mask, uint8, of one bool array a structure, all of one shape, in their order.

    Raises InputError without a mask, with more than 8, and on masks of different shapes or that
    are not bool.
    """
    if not 1 <= len(masks) <= MOST or len({(m.shape, m.dtype) for m in masks}) != 1:
        raise InputError(
            f"{len(masks)} masks of {sorted({str(m.shape) for m in masks})}: expected 1 to {MOST} "
            "of one shape; give the task fewer structures"
        )
    if masks[0].dtype != bool:
        raise InputError(f"masks are {masks[0].dtype}, expected bool; compare with 0 first")
    volume = np.zeros(masks[0].shape, dtype=np.uint8)
    for k, mask in enumerate(masks):
        volume |= mask.astype(np.uint8) << np.uint8(k)
    return volume


def table(structures: Sequence[int], classes: int) -> np.ndarray:
    """The class ids that a voxel of each value is of, bool (2**n, classes) for n `structures`.

    Row v holds the structures whose bits are set in v; row 0 the background alone. Raises
    InputError on no or more than 8 structures, one twice, or one outside 1..classes-1.
    """
    ids, count = np.array(structures, dtype=int), len(structures)
    if not 1 <= count <= MOST or len(set(ids.tolist())) < count:
        raise InputError(
            f"structures of a task are {list(structures)}: expected 1 to {MOST}, each once; give "
            "the task fewer"
        )
    if ids.min() < 1 or ids.max() >= classes:
        raise InputError(
            f"structures of a task are {list(structures)}: expected class ids from 1 to "
            f"{classes - 1}; name structures of the cohort"
        )
    rows = np.zeros((2**count, classes), dtype=bool)
    rows[:, ids] = np.arange(2**count)[:, None] >> np.arange(count) & 1
    rows[0, 0] = True
    return rows
