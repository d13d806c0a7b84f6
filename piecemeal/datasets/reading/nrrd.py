"""NRRD files, as written by 3D Slicer and ITK."""

from __future__ import annotations

import bz2
import gzip
import io
import zlib
from collections.abc import Mapping
from typing import Any

import nrrd
import numpy as np

from piecemeal.datasets.reading.affines import orthonormal
from piecemeal.datasets.reading.volumes import Volume
from piecemeal.datasets.scans import File
from piecemeal.errors import InputError

# Signs that take the file's world axes to right, front, up. Definition of the format, "space".
TO_RAS = {
    "right-anterior-superior": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1),
}
_SHORT = {"".join(word[0] for word in name.split("-")): name for name in TO_RAS}
_DECOMPRESS = dict.fromkeys(("gzip", "gz"), gzip.decompress)
_DECOMPRESS |= dict.fromkeys(("bzip2", "bz2"), bz2.decompress)
_READ_ERRORS = (EOFError, zlib.error, OSError, ValueError, nrrd.reader.NRRDError)
_READ_ERRORS += (KeyError, TypeError, StopIteration)  # of the library, in a damaged header


def read_volume(path: File) -> Volume:
    """A .nrrd or .seg.nrrd file of one 3D volume, data attached.

    Raises InputError, naming the file, when it is missing, truncated, corrupt (a checksum of gzip
    or bzip2 is verified), not 3D, or does not say where its voxels lie.
    """
    try:
        stream = io.BytesIO(path.read_bytes())
        header = nrrd.read_header(stream)
        if "data file" in header or "datafile" in header:
            raise ValueError("its voxels are in another file, expected them attached")
        if (encoding := header.get("encoding", "").lower()) in _DECOMPRESS:
            # The library would not notice a missing end of the stream, nor a wrong checksum.
            stream = io.BytesIO(_DECOMPRESS[encoding](stream.read()))
            header["encoding"] = "raw"
        voxels = nrrd.read_data(header, stream)
    except FileNotFoundError:
        raise InputError(f"{path}: is missing; download or copy it again") from None
    except _READ_ERRORS as error:
        raise InputError(
            f"{path}: is truncated, corrupt or not an NRRD file ({error}); "
            "download or copy it again"
        ) from None
    if voxels.ndim != 3 or 0 in voxels.shape:
        raise InputError(f"{path}: expected one 3D volume, found shape {voxels.shape}")
    affine, notes = orthonormal(_affine(header, path), path)
    return Volume(path, voxels, affine, tuple(notes))


def _affine(header: Mapping[str, Any], path: File) -> np.ndarray:
    space = str(header.get("space", "")).strip()
    signs = TO_RAS.get(_SHORT.get(space.lower(), space.lower()))
    if signs is None:
        raise InputError(
            f"{path}: space is {space!r}, expected one of {sorted(TO_RAS)}; without it nobody "
            "knows which side is left, so export the file again with its orientation"
        )
    units = header.get("space units", [])
    if set(units) - {"mm"}:
        raise InputError(f"{path}: space units are {units}, expected mm; export the file again")
    affine = np.eye(4)
    try:
        affine[:3, :3] = np.array(header["space directions"], float).T
        affine[:3, 3] = np.array(header["space origin"], float)
    except (KeyError, ValueError) as error:
        raise InputError(
            f"{path}: expected three space directions and a space origin ({error}); export the "
            "file again with its geometry"
        ) from None
    return np.diag([*signs, 1.0]) @ affine
