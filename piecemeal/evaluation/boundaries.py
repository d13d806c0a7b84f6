"""Boundary voxels of all structures of a prediction and its reference, found in one pass.

The loops are compiled by numba on first use and cached on disk. They release the GIL, so slabs of
a volume run in threads.
"""

import contextlib
import hashlib
import inspect
import itertools
import pickle
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np
from numba.core.caching import FunctionCache
from numba.core.serialize import dumps

from piecemeal.provenance import replacing

# A boundary voxel is one number: z, y, x and the structure, this many bits each.
AXIS_BITS = 18
STRUCTURE_BITS = 8
LONGEST_AXIS = (1 << AXIS_BITS) - 1
MOST_STRUCTURES = (1 << STRUCTURE_BITS) - 1
X_SHIFT, Y_SHIFT, Z_SHIFT = (STRUCTURE_BITS + i * AXIS_BITS for i in range(3))


class _Files:
    """Compiled code on disk, a file for every kind of arguments that a function was called with.

    A file is named by all that it is made from: the module of the function and this one, whose
    constants are compiled into functions of others. So what is stale is never asked for, and
    processes that compile at once write the same. Each begins with the hash of the rest.
    """

    def __init__(self, folder: str, name: str, function: Callable):
        self.folder, self.name = Path(folder), name
        modules = [Path(path).read_bytes() for path in (inspect.getfile(function), __file__)]
        self.made_from = [numba.__version__, *(hashlib.sha256(m).hexdigest() for m in modules)]

    def load(self, key: Any) -> Any:
        """What was saved under `key`; None if that is nothing, or not whole after a crash."""
        try:
            content = self._path(key).read_bytes()
        except OSError:
            return None
        digest, data = content[:32], content[32:]
        return pickle.loads(data) if hashlib.sha256(data).digest() == digest else None

    def save(self, key: Any, code: Any) -> None:
        """Save `code` under `key`, in place of what cannot be read."""
        data = dumps(code)
        with replacing(self._path(key)) as temporary:
            temporary.write_bytes(hashlib.sha256(data).digest() + data)

    def _path(self, key: Any) -> Path:
        digest = hashlib.sha256(repr([*self.made_from, key]).encode()).hexdigest()
        return self.folder / f"{self.name}.{digest[:16]}.nbc"


class _Cache(FunctionCache):
    """numba's cache of one function, in files that survive crashes and changes of constants.

    numba's own are not read again once one of them is empty, and know one module only. Raises
    RuntimeError if there is no folder to write to.
    """

    def __init__(self, function: Callable):
        super().__init__(function)
        self._cache_file = _Files(self.cache_path, self._impl.filename_base, function)

    def save_overload(self, sig: Any, data: Any) -> None:
        """Save what was compiled, if the disk lets us; if not, it is compiled every time."""
        with contextlib.suppress(OSError):
            super().save_overload(sig, data)


def compiled(function: Callable) -> Callable:
    """Compile, and keep the result on disk wherever numba finds a folder that it may write to."""
    dispatcher = numba.njit(nogil=True)(function)
    with contextlib.suppress(RuntimeError):
        dispatcher._cache = _Cache(function)
    return dispatcher


class Surfaces(NamedTuple):
    """What one pass over a prediction and its reference finds.

    voxels: int64 (structures + 1, structures + 1), how many voxels are [predicted, true] so; 0 is
    everything else. prediction, reference: boundary voxels, int64, coded, in memory order.
    """

    voxels: np.ndarray
    prediction: np.ndarray
    reference: np.ndarray


def trace(
    prediction: np.ndarray, reference: np.ndarray, ids: list[int], threads: int = 1
) -> Surfaces:
    """Count the voxels of structures and find their boundary voxels (definition: `metrics`).

    prediction, reference: class ids, integer arrays of one 2D or 3D shape, no axis longer than
    `LONGEST_AXIS`; ids: class ids of structures 1, 2, ..., at most `MOST_STRUCTURES` of them.
    """
    shape = (1,) * (3 - prediction.ndim) + prediction.shape
    volumes = [np.ascontiguousarray(volume).reshape(-1) for volume in (prediction, reference)]
    lowest = min(ids)
    structures = np.zeros(max(ids) - lowest + 1, dtype=np.uint8)
    structures[np.array(ids) - lowest] = np.arange(1, len(ids) + 1)
    # Most voxels are background in both volumes: passing over them is what makes the pass fast.
    background = next(value for value in itertools.count(0, -1) if value not in ids)
    pass_over = partial(
        _trace, *volumes, shape, structures, lowest, background, len(ids), prediction.ndim == 3
    )
    slabs = in_threads(pass_over, np.arange(shape[0]), threads)
    voxels, predicted, true = zip(*slabs, strict=True)
    return Surfaces(sum(voxels), joined(predicted), joined(true))


def in_threads(work: Callable, items: np.ndarray, threads: int) -> list:
    """Results of `work` on parts of `items`, in their order; no part is empty unless all is."""
    # More parts than threads, for structures are not spread evenly; and the room that a part needs
    # for itself is free again when the next one starts.
    parts = np.array_split(items, max(1, min(4 * threads, len(items))))
    if threads == 1:
        return [work(part) for part in parts]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, parts))


def joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    """The parts as one array; a single part is not copied."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def places(points: np.ndarray) -> np.ndarray:
    """Voxel indices (n, 3) of coded boundary voxels."""
    return np.stack([points >> bits & LONGEST_AXIS for bits in (Z_SHIFT, Y_SHIFT, X_SHIFT)], axis=1)


# Unsigned indices, because numba asks of every signed one whether it counts from the end.


@compiled
def _trace(
    prediction, reference, shape, structures, lowest, background, count, solid, planes
):  # pragma: no cover
    """Count voxels and collect boundary voxels in the given planes of two flat volumes."""
    deep, high, wide = shape
    voxels = np.zeros((count + 1, count + 1), np.int64)
    predicted, true = np.empty(1024, np.int64), np.empty(1024, np.int64)
    n_predicted = n_true = 0
    known = np.uint64(len(structures))
    for z in planes:
        for y in range(high):
            row = (z * high + y) * wide
            for x in range(wide):
                at = np.uintp(row + x)
                p, r = prediction[at], reference[at]
                if p == background and r == background:
                    continue
                # Ids below the lowest become huge, and are unknown like those above the highest.
                i, j = np.uint64(np.int64(p) - lowest), np.uint64(np.int64(r) - lowest)
                i = structures[i] if i < known else np.uint8(0)
                j = structures[j] if j < known else np.uint8(0)
                if i == 0 and j == 0:
                    continue
                voxels[i, j] += 1
                inside = 0 < x < wide - 1 and 0 < y < high - 1 and (not solid or 0 < z < deep - 1)
                place = ((z << AXIS_BITS | y) << AXIS_BITS | x) << STRUCTURE_BITS
                if i and not (inside and _surrounded(prediction, at, wide, high, solid)):
                    if n_predicted == len(predicted):
                        predicted = _longer(predicted)
                    predicted[np.uintp(n_predicted)] = place | i
                    n_predicted += 1
                if j and not (inside and _surrounded(reference, at, wide, high, solid)):
                    if n_true == len(true):
                        true = _longer(true)
                    true[np.uintp(n_true)] = place | j
                    n_true += 1
    return voxels, predicted[:n_predicted].copy(), true[:n_true].copy()


@compiled
def _surrounded(volume, at, wide, high, solid):  # pragma: no cover
    """Whether all face neighbours of a voxel, none of them outside the volume, have its value."""
    value, row = volume[at], np.uintp(wide)
    # All four at once: one jump that is hard to foresee instead of four.
    same = (volume[at - np.uintp(1)] == value) & (volume[at + np.uintp(1)] == value)
    same &= (volume[at - row] == value) & (volume[at + row] == value)
    if not solid or not same:
        return same
    plane = row * np.uintp(high)
    return volume[at - plane] == value and volume[at + plane] == value


@compiled
def _longer(points):  # pragma: no cover
    """The same points with as much room again."""
    longer = np.empty(2 * len(points), points.dtype)
    longer[: len(points)] = points
    return longer
