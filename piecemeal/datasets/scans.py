"""Scans as their publishers left them: which files make a case, and reading them with suspicion.

Volumes are (z, y, x) = (slice, row, column) arrays; a NIfTI array (x, y, z) is transposed once,
here. Slices stay in the order of the file: short-axis and axial stacks are worked on slice by
slice, and turning an oblique stack to the nearest anatomical axes could break its slices up.
"""

import gzip
import logging
import math
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from piecemeal.errors import InputError
from piecemeal.provenance import file_sha256

log = logging.getLogger(__name__)

SPACING_TOLERANCE_MM = 1e-3
LOGGED_DISPLACEMENT_MM = 0.01
REJECTED_DISPLACEMENT_MM = 0.5

_READ_ERRORS = (
    *(EOFError, zlib.error, OSError, ValueError),
    nib.filebasedimages.ImageFileError,
    nib.spatialimages.HeaderDataError,
    nib.wrapstruct.WrapStructError,
)


@dataclass(frozen=True)
class CaseFiles:
    """The files of one scan. `case` is the patient, the unit of splits and statistics.

    `described_by` names further files the reader took facts from (an Info.cfg, for instance).
    """

    case: str
    phase: str
    image: Path
    labels: Path | None
    group: str = ""
    described_by: tuple[Path, ...] = ()

    @property
    def scan(self) -> str:
        """A name no other scan of the data set has: `patient001_ED`, or `patient001`."""
        return f"{self.case}_{self.phase}" if self.phase else self.case

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file of the scan, image first."""
        return (self.image, *([self.labels] if self.labels else []), *self.described_by)


@dataclass(frozen=True)
class BadCase:
    """A scan (or a whole patient: `scan == case`) whose files cannot be told from the layout."""

    case: str
    scan: str
    reason: str


@dataclass
class Scan:
    """One scan in memory.

    image: float32 (z, y, x), intensities of the file. labels: integer (z, y, x), raw values of the
    file, or None. spacing: (z, y, x) in mm. affine: 4 x 4, voxel (x, y, z) to world in mm.
    """

    image: np.ndarray
    labels: np.ndarray | None
    spacing: tuple[float, float, float]
    affine: np.ndarray


def found_or_raise(
    cases: list[CaseFiles], found_bad: list[BadCase], bad: list[BadCase] | None
) -> list[CaseFiles]:
    """End of every `find_cases`: hand bad cases to the caller who asked for them, else raise."""
    if bad is not None:
        bad.extend(found_bad)
    elif found_bad:
        raise InputError("\n".join(problem.reason for problem in found_bad))
    return cases


def sha256_of(paths: Iterable[Path]) -> dict[Path, str]:
    """SHA-256 (hex) of each file's bytes. Raises InputError naming a file that cannot be read."""
    sums = {}
    for path in paths:
        try:
            sums[path] = file_sha256(path)
        except OSError as error:
            raise InputError(
                f"{path}: cannot be read ({error.strerror}); put the file there"
            ) from None
    return sums


def read_nifti_pair(image: Path, labels: Path | None) -> Scan:
    """Read an image and the labels drawn on it; the labels take the image's affine.

    Raises InputError, naming the file, when a file is missing, truncated or corrupt (the gzip
    checksum is verified), is not one 3D volume, has voxels that are not finite, has label values
    that are not whole numbers, or when the two differ in shape or lie more than 0.5 mm apart.
    """
    voxels, affine = _read_volume(image)
    if not np.isrealobj(voxels) or voxels.dtype.names:
        raise InputError(f"{image}: expected one real number a voxel, found type {voxels.dtype}")
    voxels = voxels.astype(np.float32)
    unusable = int(np.count_nonzero(~np.isfinite(voxels)))
    if unusable:
        raise InputError(
            f"{image}: {unusable} of {voxels.size} voxels are NaN or infinite, expected finite "
            "intensities; repair the file or leave the scan out"
        )
    raw = None if labels is None else _read_labels(labels, image, voxels.shape, affine)
    z, y, x = (float(step) for step in np.linalg.norm(affine[:3, :3], axis=0)[::-1])
    return Scan(np.ascontiguousarray(voxels.T), raw, (z, y, x), affine)


def map_labels(
    raw: np.ndarray, table: dict[int, str], structures: list[str], where: Path
) -> np.ndarray:
    """Class ids (uint8, same shape) of raw label values: 0 background, 1..N as in `structures`.

    `table` names the structure behind each raw value; 0 is background unless it says otherwise.
    A structure of the table that `structures` does not list becomes background. `where` is the
    file to name. Raises InputError on a value outside the table, or if no voxel is labelled.
    """
    names = {0: "background"} | {int(value): name for value, name in table.items()}
    values = np.unique(raw)
    unknown = [int(value) for value in values if int(value) not in names]
    if unknown:
        raise InputError(
            f"{where}: label values {unknown} are not in the data set's label map, which has "
            f"{sorted(names)}; correct the file, or add the values to `labels` of the data set"
        )
    if all(names[int(value)] == "background" for value in values):
        raise InputError(
            f"{where}: no voxel is labelled, expected some of {sorted(set(names) - {0})}; "
            "copy the file again or leave the scan out"
        )
    class_of = {name: number for number, name in enumerate(structures, start=1)}
    ids = np.array([class_of.get(names[int(value)], 0) for value in values], np.uint8)
    return ids[np.searchsorted(values, raw)]


def _read_volume(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels (x, y, z) and a trustworthy affine of a .nii or .nii.gz file."""
    try:
        content = path.read_bytes()
        # A lazy reader stops at the last voxel and never sees a wrong checksum or a missing end.
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
        nifti = nib.Nifti1Image.from_bytes(content)
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
    return voxels, _trusted_affine(nifti, path)


def _read_labels(path: Path, image: Path, shape: tuple, affine: np.ndarray) -> np.ndarray:
    """Raw label values (z, y, x) of a file that must lie on the image of this shape and affine."""
    voxels, own_affine = _read_volume(path)
    if voxels.shape != shape:
        raise InputError(
            f"{path}: shape {voxels.shape} differs from {shape} of its image {image} (x, y, z); "
            "the two do not belong together, copy both again"
        )
    distance = _largest_corner_displacement(affine, own_affine, shape)
    if distance > REJECTED_DISPLACEMENT_MM:
        raise InputError(
            f"{path}: lies up to {distance:.2f} mm away from its image {image}, expected the same "
            f"space within {REJECTED_DISPLACEMENT_MM} mm; the two do not belong together, "
            "copy both again"
        )
    if distance > LOGGED_DISPLACEMENT_MM:
        log.warning("%s: lies %.3f mm off its image; the image's affine is used", path, distance)
    if voxels.dtype.kind not in "iu":
        if voxels.dtype.kind != "f" or not np.array_equal(voxels, np.rint(voxels)):
            raise InputError(
                f"{path}: expected whole numbers as labels, found others ({voxels.dtype}); "
                "was the file resampled with interpolation? Copy the original again"
            )
        voxels = voxels.astype(np.int64)
    return np.ascontiguousarray(voxels.T)


def _trusted_affine(nifti: nib.Nifti1Image, path: Path) -> np.ndarray:
    """The affine whose column lengths are the voxel sizes of the header (pixdim).

    ACDC's official files carry an unscaled sform (diagonal of ones) beside a right qform and
    pixdim. So where the two disagree the qform is taken, which holds pixdim by construction, or
    the sform's directions with lengths from pixdim where there is no qform.
    """
    affine = np.array(nifti.affine, float)
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    sizes = np.array(nifti.header["pixdim"][1:4], float)
    if not np.isfinite(sizes).all() or (sizes <= 0).any():
        sizes = lengths
    if not np.isfinite(affine).all() or (lengths <= 0).any():
        raise InputError(f"{path}: the header's affine has an axis of no length; copy it again")
    if np.abs(lengths - sizes).max() <= SPACING_TOLERANCE_MM:
        return affine
    qform = nifti.header.get_qform(coded=True)[0]
    log.info(
        "%s: the sform says voxels of %s mm, the header %s mm; %s used",
        path,
        np.round(lengths, 4).tolist(),
        np.round(sizes, 4).tolist(),
        "header sizes are" if qform is None else "the qform is",
    )
    if qform is not None:
        return np.array(qform, float)
    affine[:3, :3] *= sizes / lengths
    return affine


def _largest_corner_displacement(first: np.ndarray, second: np.ndarray, shape: tuple) -> float:
    """Largest distance (mm) between the places two affines give to a volume's corner voxels."""
    corners = np.stack(np.meshgrid(*[(0, size - 1) for size in shape], [1]), -1).reshape(-1, 4)
    return float(np.linalg.norm(corners @ (first - second).T, axis=1).max())
