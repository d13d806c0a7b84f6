"""What one annotator says of one scan: the protocols of `annotation_specs`, done.

Which slices of the scan itself were drawn is said on its own voxels, before it is brought to the
cohort's grid; there they are carried as its labels are, each grid slice to its nearest one.
"""

import hashlib

import numpy as np

from piecemeal import annotations
from piecemeal.annotations import VIEWS
from piecemeal.datasets.grid import Geometry, resample_to_grid
from piecemeal.datasets.store import PreparedScan
from piecemeal.errors import InputError
from piecemeal.labelsets import Annotation

# What each kind of protocol needs beside "kind".
SETTINGS = {
    "complete": set(),
    "super_label": {"merged"},
    "partial": {"annotated"},
    "sparse_slices": {"fraction", "axis", "seed"},
    "every_nth_slice": {"step", "offset", "view"},
    "unlabelled": set(),
}


def name_protocols(protocols: dict[int | str, dict]) -> dict[int | str, str]:
    """A name for the protocol of each half and data set: its kind, with its key where others of
    the kind differ.

    Raises InputError on an unknown kind, or a setting missing or unknown.
    """
    for key, protocol in protocols.items():
        _check(f"half {key}" if isinstance(key, int) else key, protocol)
    names = {}
    for key, protocol in protocols.items():
        kind = protocol["kind"]
        alike = [other for other in protocols.values() if other["kind"] == kind]
        names[key] = kind if all(other == protocol for other in alike) else f"{kind}_{key}"
    return names


def _check(where: str, protocol: dict) -> None:
    kind = protocol.get("kind")
    if kind not in SETTINGS:
        raise InputError(f"{where}: kind {kind!r} is unknown; use one of {sorted(SETTINGS)}")
    given = protocol.keys() - {"kind"}
    if given != SETTINGS[kind]:
        raise InputError(
            f"{where}: {kind} takes {sorted(SETTINGS[kind])}, found {sorted(given)}; correct it"
        )


def annotate_scan(
    prepared: PreparedScan, name: str, protocol: dict, classes: int, by_slice: bool = False
) -> Annotation:
    """What `protocol` makes of the labels of the scan `name`, `classes` with the background.

    by_slice: of `every_nth_slice`, only what a slice shows was asked for in it
    (`annotations.slices_as_they_show`). Raises InputError if there are no labels though the
    protocol asks for some.
    """
    if protocol["kind"] == "unlabelled":
        return annotations.unlabelled(prepared.image.shape, classes)
    settings = {key: value for key, value in protocol.items() if key != "kind"}
    if protocol["kind"] == "every_nth_slice":
        kept, axis = drawn_slices(prepared.geometry, **settings), VIEWS[settings["view"]]
        simulate = annotations.slices_as_they_show if by_slice else annotations.sparse_slices
        return simulate(labels_of(prepared), kept, axis, classes)
    if "seed" in settings:
        digest = hashlib.sha256(f"{settings['seed']}:{name}".encode()).hexdigest()
        settings["seed"] = int(digest[:8], 16)
    simulate = getattr(annotations, protocol["kind"])
    return simulate(labels_of(prepared), classes=classes, **settings)


def labels_of(prepared: PreparedScan) -> np.ndarray:
    """Class ids on the grid; InputError if the scan has none."""
    if prepared.labels is None:
        raise InputError(
            f"{prepared.folder}: has no labels to annotate from; use `unlabelled` for it"
        )
    return np.asarray(prepared.labels)


def drawn_slices(geometry: Geometry, step: int, offset: int, view: str) -> np.ndarray:
    """Slices of the grid, across the axis of `view`, whose nearest slice of the scan was drawn.

    Of the scan these are k > 0 with k mod step = offset (Chen et al. 2024, released code), with a
    step of 1 all of them. Grid slices beyond the scan were not drawn.
    """
    axis = VIEWS[view]
    k = np.arange(geometry.native_shape[axis])
    drawn = (k % step == offset) & ((k > 0) | (step == 1))
    # By the function that brings labels to the grid, so that both choose the same neighbours.
    shape, spacings, size = [1, 1, 1], np.ones((2, 3)), [1, 1, 1]
    shape[axis], size[axis] = len(k), geometry.grid_shape[axis]
    spacings[:, axis] = geometry.spacing[axis], geometry.grid_spacing[axis]
    volume = drawn.astype(np.uint8).reshape(shape)
    return np.flatnonzero(resample_to_grid(volume, *spacings.tolist(), tuple(size), order=0))
