"""Where each code of an annotation occurs, so that nobody reads a volume to find a class.

places.npz lies beside codes.npy (annotate.py). The idea is that of nnU-Net's `class_locations`
(Isensee et al., Nature Methods 2021), which also keeps a sample of the voxels of each class.

areas      int32 (K, z), voxels of code k in slice z
voxels<k>  int32 (n, 3), z, y and x of voxels of code k: all of them, or LIMIT drawn at random
"""

import hashlib
import zipfile
import zlib
from functools import cached_property
from pathlib import Path

import numpy as np

from piecemeal.errors import InputError
from piecemeal.provenance import replacing

LIMIT = 1000  # voxels a code


class Places:
    """The content of one places.npz; nothing is read before it is asked for.

    Raises InputError, then, if the file is missing or broken.
    """

    def __init__(self, path: Path):
        self.path = Path(path)

    @cached_property
    def areas(self) -> np.ndarray:
        """Voxels of each code in each slice: int32 (K, z)."""
        return self._read("areas")

    @property
    def slices(self) -> np.ndarray:
        """Whether a code occurs in a slice: bool (K, z)."""
        return self.areas > 0

    @property
    def counts(self) -> np.ndarray:
        """Voxels of each code: int64 (K,)."""
        return self.areas.sum(axis=1, dtype=np.int64)

    def voxels(self, code: int) -> np.ndarray:
        """Voxels (z, y, x) of `code`, int32 (n, 3), n <= LIMIT; read again at every call."""
        return self._read(f"voxels{code}")

    def _read(self, name: str) -> np.ndarray:
        try:
            with np.load(self.path) as content:
                return content[name]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise InputError(
                f"{self.path}: cannot be read ({error}); delete the annotation's cases.csv to "
                "annotate again"
            ) from None


def write_places(path: Path, codes: np.ndarray, sets: int, name: str) -> None:
    """Write places.npz of `codes` (z, y, x), of which there are `sets`.

    Which voxels are drawn depends on `codes` and on the scan's `name` alone.
    """
    seed = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16)
    rng = np.random.default_rng(seed)
    found = {"areas": np.zeros((sets, len(codes)), dtype=np.int32)}
    for code in range(sets):
        flat = np.flatnonzero(codes == code)
        found["areas"][code] = np.bincount(flat // codes[0].size, minlength=len(codes))
        if len(flat) > LIMIT:
            flat = np.sort(flat[rng.choice(len(flat), LIMIT, replace=False)])
        voxels = np.stack(np.unravel_index(flat, codes.shape), axis=1)
        found[f"voxels{code}"] = voxels.astype(np.int32)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **found)
