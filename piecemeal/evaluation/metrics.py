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
  statistics (Maier-Hein et al., Metrics Reloaded, Nature Methods 2024). By the name `pooled`: the
  95th percentile of d(P, R) and d(R, P) put together, as in medpy; on fragmented predictions it can
  be a tenth of the other.
- assd_mm, average symmetric surface distance: the mean of d(P, R) and d(R, P) pooled, so that every
  boundary voxel of either surface counts once (Heimann et al. 2009). The mean of the two directed
  means is another quantity.
"""

import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, get_args

import numpy as np
import pandas as pd

from piecemeal.errors import InputError
from piecemeal.evaluation.boundaries import LONGEST_AXIS, MOST_STRUCTURES, trace
from piecemeal.evaluation.surface_distances import Distances, directed_distances

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

HD95 = Literal["directed", "pooled"]

# A table as long as this leads from class ids to structures.
WIDEST_LABELS = 2**16 - 1

# (the prediction has voxels, the reference has voxels) -> status
_STATUS = {
    (True, True): "ok",
    (False, False): "both_empty",
    (False, True): "missed",
    (True, False): "invented",
}


def evaluate(
    prediction: np.ndarray,
    reference: np.ndarray,
    labels: Iterable[int] | Mapping[int, str],
    spacing: Sequence[float],
    *,
    hd95: HD95 = "directed",
    threads: int = 1,
) -> pd.DataFrame:
    """Score every structure of one scan in one pass (definitions: the docstring of this module).

    Exact to float rounding (`surface_distances` says how). Beside the two volumes it needs about a
    byte for every voxel of the box around all structures.

    Parameters
    ----------
    prediction, reference
        Class ids, integer arrays of one 2D or 3D shape.
    labels
        The class ids to score, or a mapping of class id to structure name.
    spacing
        Distance between voxel centres along each axis in mm, in the axis order of the arrays.
    hd95
        Which 95th percentile: `directed` or `pooled`.
    threads
        How many threads may work at the same time; the result does not depend on it.

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
        If the shapes differ, an array is not integer, neither 2D nor 3D, or too long along an axis
        (2^18 voxels), the spacing is not one positive number an axis, a label is not an integer,
        the labels lie more than 65,535 apart, or `hd95` is unknown.
    """
    prediction, reference = (_native(np.asarray(volume)) for volume in (prediction, reference))
    spacing = _checked_spacing(prediction, reference, spacing)
    names = _checked_names(labels)
    if hd95 not in get_args(HD95):
        raise InputError(f"hd95 is {hd95!r}, expected one of {', '.join(get_args(HD95))}")
    scores = {}
    ids = sorted({class_id for class_id, _ in names})
    for first in range(0, len(ids), MOST_STRUCTURES):
        part = ids[first : first + MOST_STRUCTURES]
        scores |= _score(prediction, reference, part, spacing, hd95, threads)
    rows = [{"label": name} | scores[class_id] for class_id, name in names]
    return pd.DataFrame(rows, columns=COLUMNS)


def _native(volume: np.ndarray) -> np.ndarray:
    """In the machine's own byte order; files may hold the other."""
    return volume.astype(volume.dtype.newbyteorder("="), copy=False)


def _score(
    prediction: np.ndarray,
    reference: np.ndarray,
    ids: list[int],
    spacing: np.ndarray,
    hd95: HD95,
    threads: int,
) -> dict[int, dict]:
    """Score the structures with the given class ids; {class id: its row}."""
    surfaces = trace(prediction, reference, ids, threads)
    predicted, true = surfaces.voxels.sum(axis=1), surfaces.voxels.sum(axis=0)
    rows, measured = {}, {}
    for k, class_id in enumerate(ids, start=1):
        rows[class_id] = row = {
            "status": _STATUS[predicted[k] > 0, true[k] > 0],
            "dice": np.nan,
            "assd_mm": np.nan,
            "hd_mm": np.nan,
            "hd95_mm": np.nan,
            "true_voxels": int(true[k]),
            "predicted_voxels": int(predicted[k]),
            "overlap_voxels": int(surfaces.voxels[k, k]),
        }
        if row["status"] != "both_empty":
            row["dice"] = 2 * row["overlap_voxels"] / int(predicted[k] + true[k])
        if row["status"] == "ok":
            measured[k] = row
    directed = directed_distances(surfaces, measured, spacing, threads)
    for k, row in measured.items():
        row |= _distances(directed[0][k], directed[1][k], hd95)
    return rows


def _distances(forth: Distances, back: Distances, hd95: HD95) -> dict[str, float]:
    """The measures of one structure from its two directed distances."""
    pooled = forth.pooled(back)
    counted = [pooled] if hd95 == "pooled" else [forth, back]
    return {
        "assd_mm": pooled.mean(),
        "hd_mm": pooled.percentile(100),
        "hd95_mm": max(distances.percentile(95) for distances in counted),
    }


def _checked_spacing(prediction: np.ndarray, reference: np.ndarray, spacing) -> np.ndarray:
    """Check the two arrays and the spacing against each other; return the spacing as an array."""
    if prediction.shape != reference.shape:
        raise InputError(
            f"prediction has shape {prediction.shape}, reference {reference.shape}: "
            "resample one onto the grid of the other before scoring"
        )
    if prediction.ndim not in (2, 3):
        raise InputError(f"expected 2D or 3D arrays of class ids, got {prediction.ndim}D")
    if max(prediction.shape) > LONGEST_AXIS:
        raise InputError(
            f"the arrays have shape {prediction.shape}, no axis may be longer than {LONGEST_AXIS}: "
            "score parts of them"
        )
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
    try:
        named = labels.items() if isinstance(labels, Mapping) else [(k, k) for k in labels]
        names = [
            (operator.index(class_id), name if isinstance(name, str) else operator.index(name))
            for class_id, name in named
        ]
    except TypeError as error:
        raise InputError(f"labels are {labels!r}, expected integer class ids: {error}") from error
    ids = [class_id for class_id, _ in names]
    if ids and (max(ids) - min(ids) > WIDEST_LABELS or max(map(abs, ids)) >= 2**63):
        raise InputError(
            f"labels reach from {min(ids)} to {max(ids)}, expected class ids no more than "
            f"{WIDEST_LABELS} apart: renumber them in both volumes"
        )
    return names
