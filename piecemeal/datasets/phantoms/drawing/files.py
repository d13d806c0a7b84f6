"""Phantom files: generators per case, gzipped NIfTI with the same bytes each time, the marker."""

import gzip
import io
from pathlib import Path

import nibabel as nib
import numpy as np

from piecemeal.errors import InputError


def generator(seed: int, case: int, stream: int = 0) -> np.random.Generator:
    """Random numbers of one case (and one stream of it), whatever else is drawn."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(case, stream)))


def check_options(name: str, **bounds: tuple[int, int, int]) -> None:
    """Raise InputError for the first option (value, lowest, highest) out of its bounds."""
    for option, (value, lowest, highest) in bounds.items():
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise InputError(f"phantom {name}: {option} must be a whole number, not {value!r}")
        if not lowest <= value <= highest:
            raise InputError(f"phantom {name}: {option} is {value}, expected {lowest} to {highest}")


def write_nifti(
    path: Path,
    volume: np.ndarray,
    spacing: tuple[float, ...],
    qform: np.ndarray,
    sform: np.ndarray | None = None,
) -> None:
    """Write `volume` (z, y, x) or (t, z, y, x) as NIfTI (x, y, z[, t]).

    spacing: pixdim in NIfTI order. qform, sform: 4x4 affines; sform defaults to qform and may
    contradict it, as some published headers do.
    """
    header = nib.Nifti1Header()
    header.set_data_dtype(volume.dtype)
    header.set_data_shape(volume.shape[::-1])
    header.set_xyzt_units("mm", "sec")
    header.set_qform(qform, code=1)
    header.set_sform(qform if sform is None else sform, code=1)
    header.set_zooms(spacing)
    image = nib.Nifti1Image(volume.T, None, header)
    path.write_bytes(gzipped(image.to_bytes(), level=1))


def gzipped(content: bytes, level: int = 6) -> bytes:
    """`content` in gzip form; no file name and no time in its header: same bytes in and out."""
    packed = io.BytesIO()
    with gzip.GzipFile(
        filename="", fileobj=packed, mode="wb", compresslevel=level, mtime=0
    ) as file:
        file.write(content)
    return packed.getvalue()


def mark(folder: Path, layout: str, cases: int, seed: int) -> None:
    """Leave the marker file that keeps a phantom from being taken for real data."""
    (folder / "PHANTOM").write_text(
        f"Synthetic subjects, not patients.\nlayout: {layout}\ncases: {cases}\nseed: {seed}\n"
    )
