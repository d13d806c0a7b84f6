"""Hausdorff distances slice by slice, as papers that train on slices report them.

A slice counts where both masks have the structure; the slices that only one of them has are left
out of the mean, which flatters a prediction that ends too early or too late. How many these are
therefore belongs beside every such number.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from piecemeal.errors import InputError
from piecemeal.evaluation.empty_masks import BY_SLICE, LOST
from piecemeal.evaluation.metrics import evaluate

COLUMNS = ["label", BY_SLICE, "slices", "left_out"]


def slice_distances(
    prediction: np.ndarray,
    reference: np.ndarray,
    labels: Iterable[int] | Mapping[int, str],
    spacing: Sequence[float],
) -> pd.DataFrame:
    """Mean over axial slices of the 2D Hausdorff distance of every structure.

    Boundaries and distance are those of `metrics`, within the slice.

    Parameters
    ----------
    prediction, reference
        Class ids, integer arrays of one shape (z, y, x).
    labels
        As for `metrics.evaluate`.
    spacing
        What the distance is counted in, from one voxel to the next along (y, x): for pixels of
        a plane that is stretched to the scan's own, the pixels of the one by the voxels of the
        other.

    Returns
    -------
    One row a label, in the order of `labels`, with the columns

    - label: as in `metrics.evaluate`;
    - hd_slice_px: mean over the slices that have the structure in both masks, NaN without any;
    - slices: how many these are;
    - left_out: how many slices have it in one of the masks only.

    Raises
    ------
    InputError
        If the arrays are not three-dimensional, and as `metrics.evaluate` does.
    """
    prediction, reference = np.asarray(prediction), np.asarray(reference)
    if prediction.ndim != 3 or prediction.shape != reference.shape:
        raise InputError(
            f"prediction has shape {prediction.shape}, reference {reference.shape}: expected two "
            "volumes (z, y, x) of one shape"
        )
    labels = labels if isinstance(labels, Mapping) else list(labels)
    planes = [
        evaluate(ours, theirs, labels, spacing)
        for ours, theirs in zip(prediction, reference, strict=True)
    ]
    status = np.array([plane["status"] for plane in planes])
    distances = np.array([plane["hd_mm"] for plane in planes], dtype=float)
    slices = (status == "ok").sum(axis=0)
    # Without a slice to divide by the mean is NaN.
    mean = np.nansum(distances, axis=0) / np.where(slices, slices, np.nan)
    columns = [planes[0]["label"], mean, slices, np.isin(status, LOST).sum(axis=0)]
    return pd.DataFrame(dict(zip(COLUMNS, columns, strict=True)))
