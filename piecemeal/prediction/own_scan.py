"""A scan of the user's own, prepared like those of a cohort (see `datasets.whole`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from piecemeal.datasets.grid import covered
from piecemeal.datasets.intensity import normalise
from piecemeal.datasets.orientation import to_canonical
from piecemeal.datasets.reading import nifti, nrrd
from piecemeal.datasets.reading.affines import spacing_of
from piecemeal.datasets.reading.dicom import read_series
from piecemeal.datasets.reading.volumes import Volume, scan_of
from piecemeal.datasets.scans import Scan
from piecemeal.datasets.store import PreparedScan
from piecemeal.datasets.whole import CANONICAL, Whole, on_grid
from piecemeal.errors import InputError

READERS = {".nii": nifti.read_volume, ".nii.gz": nifti.read_volume, ".nrrd": nrrd.read_volume}


def prepare_own_scan(
    path: Path, cohort: dict[str, Any], modality: str, declared: Sequence[str]
) -> PreparedScan:
    """A scan as the store would have it, in memory.

    path: a file that READERS know, or a folder of one DICOM series; cohort: its settings in the
    plan; modality: one that these have an intensity for; declared: the structures to ask for.
    Raises InputError naming the file that is at fault.
    """
    scan, file_axes = scan_of(_read(path)), ""
    settings = cohort | {"intensity": cohort["intensity"][modality]}
    if cohort["orientation"] == "canonical":
        image, _, affine, file_axes = to_canonical(scan.image, None, scan.affine, CANONICAL)
        scan = Scan(image, None, spacing_of(affine), affine, scan.notes)
    image = normalise(scan.image, settings["intensity"], path)
    # Nobody looks for the scan in other data sets: no fingerprint.
    whole = Whole(replace(scan, image=image), None, {"exact": "", "coarse": None}, file_axes)
    arrays, record = on_grid(whole, settings)
    prepared = PreparedScan(path)
    prepared.image, prepared.record = arrays["image"], record | {"declared": list(declared)}
    return prepared


def doubts(scan: PreparedScan, cohort: dict[str, Any], modality: str) -> list[str]:
    """What was odd about a scan, and where its map says less than it seems to."""
    found = list(scan.record["notes"])
    if modality == "CT" and all(mm == 1.0 for mm in scan.geometry.spacing):
        found.append(
            "claims voxels of exactly 1 x 1 x 1 mm, which on a CT often means that the true size "
            "was lost"
        )
    share = _share_inside(scan)
    if share < 1:
        found.append(
            f"{100 * (1 - share):.2g} % of it lies beyond the cohort's grid and is background in "
            "the map, though nothing looked there"
        )
    if cohort["orientation"] == "file":
        found.append(
            f"the cohort '{cohort['cohort']}' is read in the voxel order of its files; stored in "
            "another order than those, a scan is not recognised"
        )
    return found


def _read(path: Path) -> Volume:
    if path.is_dir():
        return read_series(_slices(path))
    name = path.name.lower()
    for ending, read in READERS.items():
        if name.endswith(ending):
            return read(path)
    raise InputError(
        f"{path}: expected a file that ends in {', '.join(READERS)}, or a folder with the slices "
        "of one DICOM series; convert the scan (dcm2niix, 3D Slicer)"
    )


def _slices(folder: Path) -> list[Path]:
    """The files of a DICOM series: those named .dcm, or all where none is named so."""
    files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    files = [p for p in files if p.suffix.lower() == ".dcm"] or files
    if not files:
        raise InputError(f"{folder}: is empty, expected the slices of one DICOM series")
    return files


def _share_inside(scan: PreparedScan) -> float:
    """The share of a scan's voxels that the grid covers."""
    geometry, share = scan.geometry, 1.0
    axes = zip(geometry.grid_shape, geometry.native_shape, geometry.steps, strict=True)
    for source, target, step in axes:
        inside, _ = covered(source, target, step)
        share *= (inside.stop - inside.start) / target
    return share
