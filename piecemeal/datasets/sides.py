"""Left and right: splitting structures that merge both sides, and refusing mirrored scans.

Volumes are in canonical order (orientation.py): x runs to the patient's left, so the right side has
the lower index.
"""

from collections.abc import Iterable

import numpy as np
from scipy import ndimage

from piecemeal.datasets.scans import File
from piecemeal.errors import InputError

# Of all voxels of both organs. A component below this is a crumb, not an organ, and voxels beyond
# the mid-plane below this do not make an organ of the other side.
CRUMB = 0.05
# Of the width of the body. The centres of two organs lie further apart, those of two pieces of one
# do not: kidneys about a third, adrenal glands about a fifth.
APART = 0.1


def split_sides(mask: np.ndarray, image: np.ndarray) -> tuple[np.ndarray, str]:
    """Which voxels of `mask` (z, y, x) are those of the left organ (bool), and a note or "".

    Components are put in order from right to left; where the widest gap between the centres of
    neighbours is wide enough, it parts the organs. Where there is none (one component, or pieces of
    one organ), the mid-plane of the body in `image` decides, and the note says so: such a case is
    worth a look (Chen et al. 2024 split with components, a helper model and a manual check).
    """
    left = np.zeros_like(mask, bool)
    if not mask.any():
        return left, ""
    box = tuple(_extent(mask, axis) for axis in range(3))
    middle, width = _body(image[box[0]], image[mask])
    components, count = ndimage.label(mask[box], np.ones((3, 3, 3)))
    sizes = np.bincount(components.ravel(), minlength=count + 1)[1:]
    centres = np.array(ndimage.center_of_mass(mask[box], components, range(1, count + 1)))[:, 2]
    organs = np.sort(centres[sizes >= CRUMB * sizes.sum()])
    gaps = np.diff(organs)
    if gaps.size and gaps.max() >= APART * width:
        between = organs[gaps.argmax() : gaps.argmax() + 2].mean()
        is_left = np.array([False, *(centres > between)])
        left[box] = is_left[components]
        return left, ""
    return _split_by_midplane(mask, middle)


def _extent(mask: np.ndarray, axis: int) -> slice:
    where = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
    return slice(int(where[0]), int(where[-1]) + 1)


def _split_by_midplane(mask: np.ndarray, middle: float) -> tuple[np.ndarray, str]:
    left = mask & (np.arange(mask.shape[2]) > middle)
    share = np.count_nonzero(left) / np.count_nonzero(mask)
    if CRUMB <= share <= 1 - CRUMB:
        return left, "both sides touch: split at the mid-plane of the body"
    side = "left" if share > 0.5 else "right"
    return mask & (share > 0.5), f"one organ only, on the {side} of the mid-plane"


def _body(slices: np.ndarray, organ: np.ndarray) -> tuple[float, float]:
    """Middle and width along x, in voxels, of the body in the slices where the organ is.

    The body is what is brighter than half-way between the darkest voxels (air) and the organ.
    """
    threshold = (np.percentile(slices[:: max(1, len(slices) // 8)], 1) + np.median(organ)) / 2
    share = sum(np.count_nonzero(plane > threshold, axis=0) for plane in slices)
    body = np.flatnonzero(share > CRUMB * slices.shape[0] * slices.shape[1])
    if not body.size:
        return (slices.shape[2] - 1) / 2, float(slices.shape[2])
    return float(body[0] + body[-1]) / 2, float(body[-1] - body[0] + 1)


def check_sides(
    ids: np.ndarray, numbers: dict[str, int], pairs: Iterable[tuple[str, str]], where: File
) -> None:
    """Raise InputError if a structure lies to the left of one that it should be to the right of.

    ids: (z, y, x); numbers: structure -> id; pairs: (structure, other), the first further to the
    patient's right. A pair of which one is absent is not judged.
    """
    for right, left in pairs:
        centres = [_centre_x(ids == numbers[name]) for name in (right, left)]
        if None not in centres and centres[0] >= centres[1]:
            raise InputError(
                f"{where}: {right} lies to the patient's left of {left}: the scan is mirrored, or "
                "its header wrong, or the labels swapped; look at it, and list it under `exclude` "
                "of the data set unless the file can be repaired"
            )


def _centre_x(mask: np.ndarray) -> float | None:
    weights = np.count_nonzero(mask, axis=(0, 1))
    total = weights.sum()
    return float(weights @ np.arange(len(weights)) / total) if total else None
