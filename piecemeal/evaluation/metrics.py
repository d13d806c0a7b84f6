"""Overlap and surface distances between a predicted and a reference segmentation.

Definitions, for the voxels P of a structure in the prediction and R in the reference:

Dice: 2 |P n R| / (|P| + |R|) (Dice, Ecology 1945).

Boundary voxels: voxels of the structure with at least one face neighbour (4 in 2D, 6 in 3D) outside
the structure. What lies outside the volume is background, so a structure cut by the border of the
volume has boundary voxels there (Heimann et al., IEEE TMI 2009).

Directed distances: d(P, R) holds, for each boundary voxel of P, the Euclidean distance in mm from
its centre to the centre of the nearest boundary voxel of R; d(R, P) the other way round.

- hd_mm, Hausdorff distance: max of d(P, R) and d(R, P) (Huttenlocher et al., IEEE TPAMI 1993).
- hd95_mm: the larger of the two directed 95th percentiles, each interpolated linearly between order
  statistics (Maier-Hein et al., Metrics Reloaded, Nature Methods 2024).
- assd_mm, average symmetric surface distance: the mean of d(P, R) and d(R, P) pooled, so that every
  boundary voxel of either surface counts once (Heimann et al. 2009). The mean of the two directed
  means is another quantity.
"""

import operator
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.ndimage import binary_erosion
from scipy.spatial import cKDTree

from piecemeal.errors import InputError

COLUMNS = [
    "label",
    "status",
    "dice",
    "assd_mm",
    "hd_mm",
    "hd95_mm",
    "true_voxels",
    "predicted_voxels",
    "overlap_voxels",
]


def evaluate(
    prediction: np.ndarray,
    reference: np.ndarray,
    labels: Iterable[int] | Mapping[int, str],
    spacing: Sequence[float],
) -> pd.DataFrame:
    """Score every structure of one scan (definitions: the docstring of this module).

    Parameters
    ----------
    prediction, reference
        Class ids, integer arrays of one 2D or 3D shape.
    labels
        The class ids to score, or a mapping of class id to structure name.
    spacing
        Distance between voxel centres along each axis in mm, in the axis order of the arrays.

    Returns
    -------
    One row a label, in the order of `labels`, with the columns

    - label: the class id, or the name where `labels` is a mapping;
    - status: `ok`, `both_empty`, `missed` (only the prediction is empty) or `invented` (only the
      reference is empty);
    - dice: 0 where missed or invented, NaN where both are empty;
    - assd_mm, hd_mm, hd95_mm: NaN unless the status is `ok`;
    - true_voxels, predicted_voxels, overlap_voxels: |R|, |P| and |P n R|.

    Raises
    ------
    InputError
        If the shapes differ, an array is not integer or neither 2D nor 3D, the spacing is not one
        positive number an axis, or a label is not an integer.
    """
    prediction, reference = np.asarray(prediction), np.asarray(reference)
    spacing = _checked_spacing(prediction, reference, spacing)
    names = _checked_names(labels)
    rows = [
        {"label": name} | _score(prediction == class_id, reference == class_id, spacing)
        for class_id, name in names
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def boundary(mask: np.ndarray) -> np.ndarray:
    """Mark the voxels of `mask` (bool, any shape) that have a face neighbour outside of it.

    Outside the array counts as outside the mask.
    """
    return mask & ~binary_erosion(mask, border_value=0)


def surface_distances(
    prediction: np.ndarray, reference: np.ndarray, spacing: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the directed distances d(P, R) and d(R, P) in mm, one a boundary voxel.

    prediction, reference: bool masks of one shape, neither empty; spacing: mm an axis.
    """
    predicted_points = np.argwhere(boundary(prediction)) * spacing
    true_points = np.argwhere(boundary(reference)) * spacing
    from_prediction, _ = cKDTree(true_points).query(predicted_points)
    from_reference, _ = cKDTree(predicted_points).query(true_points)
    return from_prediction, from_reference


def _score(prediction: np.ndarray, reference: np.ndarray, spacing: np.ndarray) -> dict:
    """Score one structure given as two bool masks of one shape."""
    row = {
        "dice": np.nan,
        "assd_mm": np.nan,
        "hd_mm": np.nan,
        "hd95_mm": np.nan,
        "true_voxels": int(np.count_nonzero(reference)),
        "predicted_voxels": int(np.count_nonzero(prediction)),
        "overlap_voxels": int(np.count_nonzero(prediction & reference)),
    }
    total = row["true_voxels"] + row["predicted_voxels"]
    if total == 0:
        return row | {"status": "both_empty"}
    row["dice"] = 2 * row["overlap_voxels"] / total
    if row["predicted_voxels"] == 0:
        return row | {"status": "missed"}
    if row["true_voxels"] == 0:
        return row | {"status": "invented"}

    box = _bounding_box(prediction | reference)
    directed = surface_distances(prediction[box], reference[box], spacing)
    pooled = np.concatenate(directed)
    row["assd_mm"] = float(pooled.mean())
    row["hd_mm"] = float(pooled.max())
    row["hd95_mm"] = float(max(np.percentile(distances, 95) for distances in directed))
    return row | {"status": "ok"}


def _bounding_box(mask: np.ndarray) -> tuple[slice, ...]:
    """Return the smallest box that holds every voxel of a non-empty mask."""
    axes = range(mask.ndim)
    box = []
    for axis in axes:
        occupied = np.flatnonzero(mask.any(axis=tuple(other for other in axes if other != axis)))
        box.append(slice(occupied[0], occupied[-1] + 1))
    return tuple(box)


def _checked_spacing(prediction: np.ndarray, reference: np.ndarray, spacing) -> np.ndarray:
    """Check the two arrays and the spacing against each other; return the spacing as an array."""
    if prediction.shape != reference.shape:
        raise InputError(
            f"prediction has shape {prediction.shape}, reference {reference.shape}: "
            "resample one onto the grid of the other before scoring"
        )
    if prediction.ndim not in (2, 3):
        raise InputError(f"expected 2D or 3D arrays of class ids, got {prediction.ndim}D")
    for role, array in (("prediction", prediction), ("reference", reference)):
        if not np.issubdtype(array.dtype, np.integer):
            raise InputError(
                f"{role} has dtype {array.dtype}, expected integer class ids: "
                "take the argmax of probabilities, or convert with astype(numpy.uint8)"
            )
    try:
        steps = np.asarray(spacing, dtype=float)
    except (TypeError, ValueError):
        steps = np.empty(0)
    if steps.shape != (prediction.ndim,) or not np.all(np.isfinite(steps) & (steps > 0)):
        raise InputError(
            f"spacing is {spacing!r}, expected {prediction.ndim} positive numbers in mm, "
            "one for each axis of the arrays"
        )
    return steps


def _checked_names(labels: Iterable[int] | Mapping[int, str]) -> list[tuple[int, int | str]]:
    """Return (class id, what to call it) for every label asked for."""
    named = labels.items() if isinstance(labels, Mapping) else ((label, label) for label in labels)
    try:
        return [
            (operator.index(class_id), name if isinstance(name, str) else operator.index(name))
            for class_id, name in named
        ]
    except TypeError as error:
        raise InputError(f"labels are {labels!r}, expected integer class ids: {error}") from error
