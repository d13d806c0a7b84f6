"""NIfTI files, read with suspicion."""

from __future__ import annotations

import gzip
import math
import zlib

import nibabel as nib
import numpy as np

from piecemeal.datasets.reading.affines import trusted_affine
from piecemeal.datasets.reading.volumes import Volume, lying_on, of_labels, scan_of, whole
from piecemeal.datasets.scans import File, Scan
from piecemeal.errors import InputError

_READ_ERRORS = (
    *(EOFError, zlib.error, OSError, ValueError),
    nib.filebasedimages.ImageFileError,
    nib.spatialimages.HeaderDataError,
    nib.wrapstruct.WrapStructError,
)


def read_nifti_pair(image: File, labels: File | None) -> Scan:
    """Read an image and the labels drawn on it; the labels take the image's affine.

    Raises InputError, naming the file, when a file is missing, truncated or corrupt (the gzip
    checksum is verified), is not one 3D volume, has voxels that are not finite, has label values
    that are not whole numbers, or when the two differ in shape or lie more than 0.5 mm apart.
    """
    volume = read_volume(image)
    if labels is None:
        return scan_of(volume)
    drawn = read_volume(labels)
    notes = [note for note in lying_on(volume, drawn) if note not in volume.notes]
    return scan_of(volume, whole(drawn), of_labels(notes))


def read_volume(path: File) -> Volume:
    """A .nii or .nii.gz file with a trustworthy affine; values scaled as its header says.

    Raises InputError, naming the file, when it is missing, truncated, corrupt or not one volume.
    """
    try:
        content = path.read_bytes()
        # A lazy reader stops at the last voxel and never sees a wrong checksum or a missing end.
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
        nifti = nib.Nifti1Image.from_bytes(content)
        sizes = nib.Nifti1Header(content[:348], check=False)["pixdim"][1:4]
        expected = nifti.dataobj.offset + nifti.get_data_dtype().itemsize * math.prod(nifti.shape)
        if len(content) < expected:
            raise EOFError(f"{len(content)} bytes, the header speaks of {expected}")
        voxels = np.asanyarray(nifti.dataobj)
    except FileNotFoundError:
        raise InputError(f"{path}: is missing; download or copy it again") from None
    except _READ_ERRORS as error:
        raise InputError(
            f"{path}: is truncated, corrupt or not a NIfTI file ({error}); "
            "download or copy it again"
        ) from None
    while voxels.ndim > 3 and voxels.shape[-1] == 1:
        voxels = voxels[..., 0]
    if voxels.ndim != 3 or 0 in voxels.shape:
        raise InputError(f"{path}: expected one 3D volume, found shape {voxels.shape}")
    affine, notes = trusted_affine(nifti, sizes, path)
    return Volume(path, voxels, affine, tuple(notes))
