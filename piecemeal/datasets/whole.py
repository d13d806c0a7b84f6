"""A whole scan: read, turned, checked and normalised, before it is brought to a cohort's grid."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from piecemeal.datasets import layouts
from piecemeal.datasets.grid import GridSpec, resample_to_grid
from piecemeal.datasets.intensity import normalise
from piecemeal.datasets.labelling import Labelled, cut_by_grid, labelled, volumes_ml
from piecemeal.datasets.leakage import fingerprint
from piecemeal.datasets.orientation import to_canonical
from piecemeal.datasets.scans import CaseFiles, Scan
from piecemeal.errors import InputError

CANONICAL = "LPS"  # arrays (z, y, x): up, back, to the patient's left


class Whole(NamedTuple):
    """A scan, turned and normalised, its labels, its fingerprint and the axes of its file.

    scan.labels: as read, where `drawn` has classes of the cohort.
    """

    scan: Scan
    drawn: Labelled | None
    prints: dict[str, Any]
    file_axes: str


def read_whole(case: CaseFiles, dataset: str, settings: dict[str, Any]) -> Whole:
    """Read a scan of `dataset`; settings: as in `prepare_scan.Job`.

    Of a cohort of projections `drawn` is None: each view has its own classes (`projections`).
    Raises InputError naming the file that is at fault.
    """
    scan = layouts.load(settings["layout"]).read(case, dict(settings["labels"]))
    _check_spacing(scan, case, dataset, settings)
    turned, file_axes = _turned(scan)
    prints = fingerprint(turned.image, settings["modality"])
    if settings["orientation"] == "canonical":
        scan = turned
    else:
        file_axes = ""
    drawn = None if "projection" in settings else labelled(scan, case, settings)
    # Before a part is cut out: a task's intensities are those that its scan has as a whole.
    image = normalise(scan.image, settings["intensity"], case.image)
    return Whole(replace(scan, image=image), drawn, prints, file_axes)


def grid_of(settings: dict[str, Any]) -> GridSpec:
    """The grid of a cohort with these `settings`."""
    wanted = settings["grid"]
    return GridSpec(tuple(wanted["spacing_mm"]), tuple(wanted["size"]), wanted["fit"])


def darkest(settings: dict[str, Any]) -> float:
    """The intensity of what lies outside of a scan: as dark as what is darkest inside."""
    return settings["intensity"].get("scale", [0.0])[0]


def on_grid(whole: Whole, settings: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arrays and record of a scan: its image and labels on the grid, its labels as they are."""
    scan, drawn, prints, file_axes = whole
    shape, spacing = grid_of(settings).of(scan.image.shape, scan.spacing)
    geometry = (scan.spacing, spacing, shape)
    arrays = {
        "image": resample_to_grid(scan.image, *geometry, order=1, outside=darkest(settings)),
        "coarse": prints["coarse"],
    }
    notes, volumes = list(scan.notes), {}
    if drawn is not None:
        names = [name for name, _ in settings["structures"]]
        arrays["reference"] = drawn.ids
        arrays["labels"] = resample_to_grid(drawn.ids, *geometry, order=0)
        volumes = volumes_ml(drawn.ids, scan.spacing, names)
        notes += [*drawn.notes, *cut_by_grid(drawn.ids, scan.spacing, (shape, spacing), names)]
    record = {
        "native_shape": list(scan.image.shape),
        "spacing": list(scan.spacing),
        "affine": scan.affine.tolist(),
        "file_axes": file_axes,
        "grid_spacing": list(spacing),
        "grid_shape": list(shape),
        "declared": [] if drawn is None else drawn.declared,
        "volumes_ml": volumes,
        "fingerprint": prints["exact"],
        "notes": notes,
    }
    return arrays, record


def _check_spacing(scan: Scan, case: CaseFiles, dataset: str, settings: dict[str, Any]) -> None:
    false = settings["modality"] == "CT" and settings["unit_spacing"] == "reject"
    if false and all(mm == 1.0 for mm in scan.spacing):
        raise InputError(
            f"{case.image}: claims voxels of exactly 1 x 1 x 1 mm, which on a CT means that "
            "the true size was lost; list the scan under `exclude` in "
            f"config/datasets/{dataset}.yaml, or set `unit_spacing: accept` there"
        )


def _turned(scan: Scan) -> tuple[Scan, str]:
    """The scan in canonical order, and the axes of its file."""
    image, labels, affine, file_axes = to_canonical(scan.image, scan.labels, scan.affine, CANONICAL)
    z, y, x = (float(step) for step in np.linalg.norm(affine[:3, :3], axis=0)[::-1])
    return Scan(image, labels, (z, y, x), affine, scan.notes), file_axes
