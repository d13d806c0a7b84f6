"""DICOM series of slices, made into a volume (DICOM standard, part 3, C.7.6.2 and C.11.1)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pydicom
from pydicom.errors import InvalidDicomError

from piecemeal.datasets.reading.affines import orthonormal
from piecemeal.datasets.reading.volumes import Volume
from piecemeal.datasets.scans import File
from piecemeal.errors import InputError

GAP_TOLERANCE = 0.01  # of the distance of two slices
ROUNDING_MM = 0.01  # positions are decimal numbers, often of two places
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

_ONE = ("SamplesPerPixel", "NumberOfFrames")
# What must be the same in all slices of a volume.
_COMMON = ("series", "shape", "orientation", "pixel_spacing")
_READ_ERRORS = (InvalidDicomError, OSError, ValueError, EOFError, NotImplementedError, RuntimeError)
_READ_ERRORS += (AttributeError, KeyError, TypeError)  # of an element that is damaged


@dataclass
class _Slice:
    """One slice: pixels (row, column) as stored; position of its first pixel in mm (LPS)."""

    file: File
    series: str
    shape: tuple[int, ...]
    orientation: tuple[float, ...]
    pixel_spacing: tuple[float, ...]
    position: np.ndarray
    slope: float
    intercept: float
    pixels: np.ndarray


def read_series(files: Sequence[File]) -> Volume:
    """The volume of a series, one file a slice in any order; float32, rescaled as its files say.

    Slices are sorted along their normal, whatever their names. Raises InputError, naming a file,
    when one is missing, truncated, compressed in a way that needs a further library, from another
    series or of another shape; when two slices lie at the same place; when distances differ by
    more than 1 % (a slice is missing); or when there are fewer than two.
    """
    slices = [_read_slice(file) for file in files]
    if len(slices) < 2:
        raise InputError(
            f"{files[0] if files else 'series'}: {len(slices)} slices, expected at least two of a "
            "volume; download the series again"
        )
    for other in slices[1:]:
        _check_same(slices[0], other)
    along, down = np.reshape(slices[0].orientation, (2, 3))
    normal = np.cross(along, down)
    slices.sort(key=lambda one: float(one.position @ normal))
    step = _step(slices)

    volume = np.empty((len(slices), *slices[0].shape), np.float32)
    for plane, one in zip(volume, slices, strict=True):
        plane[:] = one.pixels
        plane *= one.slope
        plane += one.intercept
    between_rows, between_columns = slices[0].pixel_spacing
    affine = np.eye(4)
    affine[:3, 0] = along * between_columns
    affine[:3, 1] = down * between_rows
    affine[:3, 2] = step
    affine[:3, 3] = slices[0].position
    affine, notes = orthonormal(LPS_TO_RAS @ affine, slices[0].file)
    return Volume(slices[0].file, volume.T, affine, tuple(notes))


def patient_id(file: File) -> str:
    """Whose image a file is; pixels are not read. Raises InputError if it is no DICOM file."""
    return str(_element(_read(file, header_only=True), "PatientID", file))


def _read(file: File, header_only: bool = False) -> pydicom.Dataset:
    try:
        return pydicom.dcmread(io.BytesIO(file.read_bytes()), stop_before_pixels=header_only)
    except FileNotFoundError:
        raise InputError(f"{file}: is missing; download or copy it again") from None
    except _READ_ERRORS as error:
        raise _unreadable(file, error) from None


def _read_slice(file: File) -> _Slice:
    dataset = _read(file)
    if any(int(_element(dataset, name, file, 1)) != 1 for name in _ONE):
        raise InputError(f"{file}: expected one grey slice, found colours or several frames")
    series = str(_element(dataset, "SeriesInstanceUID", file))
    orientation, position, pixel_spacing = (
        _numbers(dataset, name, count, file)
        for name, count in (
            ("ImageOrientationPatient", 6),
            ("ImagePositionPatient", 3),
            ("PixelSpacing", 2),
        )
    )
    slope = float(_element(dataset, "RescaleSlope", file, 1))
    intercept = float(_element(dataset, "RescaleIntercept", file, 0))
    try:
        pixels = dataset.pixel_array
    except _READ_ERRORS as error:
        raise _unreadable(file, error) from None
    return _Slice(
        *(file, series, pixels.shape, orientation, pixel_spacing, np.array(position)),
        *(slope, intercept, pixels),
    )


def _unreadable(file: File, error: Exception) -> InputError:
    why = " ".join(str(error).split())
    return InputError(
        f"{file}: is truncated, corrupt, not DICOM, or compressed in a way that is not supported "
        f"({why}); download it again, or decompress it first (gdcmconv --raw)"
    )


def _element(dataset: pydicom.Dataset, name: str, file: File, default: Any = None) -> Any:
    """The value of an element, or the default where it is absent or empty."""
    try:
        value = dataset.get(name)
    except _READ_ERRORS as error:  # values are only decoded when asked for
        raise _unreadable(file, error) from None
    if value is not None and value != "":
        return value
    if default is None:
        raise InputError(f"{file}: has no {name}, which a slice of a series needs; copy it again")
    return default


def _numbers(dataset: pydicom.Dataset, name: str, count: int, file: File) -> tuple[float, ...]:
    value = _element(dataset, name, file)
    numbers = tuple(float(v) for v in value) if isinstance(value, Sequence) else ()
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise InputError(f"{file}: {name} is {value}, expected {count} numbers; copy it again")
    return numbers


def _check_same(first: _Slice, other: _Slice) -> None:
    for name in _COMMON:
        ours, theirs = getattr(first, name), getattr(other, name)
        same = ours == theirs
        if not same and name not in ("series", "shape"):
            same = np.allclose(ours, theirs, rtol=0, atol=1e-4)
        if not same:
            raise InputError(
                f"{other.file}: its {name.replace('_', ' ')} is {theirs}, that of {first.file} "
                f"{ours}; expected slices of one series in one grid, one series a folder"
            )


def _step(slices: list[_Slice]) -> np.ndarray:
    """From each slice to the next, in mm (LPS). Raises InputError if it is not always the same."""
    steps = np.diff([one.position for one in slices], axis=0)
    lengths = np.linalg.norm(steps, axis=1)
    usual = np.median(steps, axis=0)
    length = float(np.linalg.norm(usual))
    for (before, after), distance in zip(pairwise(slices), lengths, strict=True):
        if distance <= ROUNDING_MM:
            raise InputError(
                f"{after.file} and {before.file} lie at the same place; expected every slice once, "
                "remove one of them"
            )
    off = np.linalg.norm(steps - usual, axis=1)
    worst = int(off.argmax())
    if off[worst] > max(GAP_TOLERANCE * length, ROUNDING_MM):
        raise InputError(
            f"{slices[worst + 1].file}: lies {lengths[worst]:.3f} mm from the slice before, "
            f"{slices[worst].file}, elsewhere it is {length:.3f} mm: a slice is missing; "
            "download the series again"
        )
    return (slices[-1].position - slices[0].position) / (len(slices) - 1)
