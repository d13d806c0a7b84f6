"""Left and right: splitting structures that merge both sides, and refusing mirrored scans.

Volumes are in canonical order (orientation.py): x runs to the patient's left, so the right side has
the lower index.
"""

from collections.abc import Iterable

import numpy as np
from scipy import ndimage

from piecemeal.datasets.scans import File
from piecemeal.errors import InputError

# Of all voxels of both organs. A second component below this is a crumb, not a second organ, and
# voxels beyond the mid-plane below this do not make an organ of the other side.
CRUMB = 0.05


def split_sides(mask: np.ndarray, image: np.ndarray) -> tuple[np.ndarray, str]:
    """Which voxels of `mask` (z, y, x) are those of the left organ (bool), and a note or "".

    The two largest components are the organs, and every smaller one goes to the organ whose centre
    is nearer. Where they touch (one component) or only one is there, the mid-plane of the body in
    `image` decides, and the note says so: such a case is worth a look (Chen et al. 2024 split with
    components, a helper model and a manual check).
    """
    components, count = ndimage.label(mask, np.ones((3, 3, 3)))
    if count == 0:
        return np.zeros_like(mask, bool), ""
    sizes = np.bincount(components.ravel())[1:]
    order = np.argsort(sizes)[::-1] + 1
    if count == 1 or sizes[order[1] - 1] < CRUMB * sizes.sum():
        return _split_by_midplane(mask, image)
    centres = ndimage.center_of_mass(mask, components, range(1, count + 1))
    first, second = (centres[number - 1][2] for number in order[:2])
    middle = (first + second) / 2
    is_left = np.array([False, *(centre[2] > middle for centre in centres)])
    return is_left[components], ""


def _split_by_midplane(mask: np.ndarray, image: np.ndarray) -> tuple[np.ndarray, str]:
    across = np.flatnonzero(mask.any(axis=(0, 1)))
    middle = _midplane(image, mask)
    left = mask & (np.arange(mask.shape[2]) > middle)
    share = np.count_nonzero(left) / np.count_nonzero(mask)
    if CRUMB <= share <= 1 - CRUMB:
        return left, "both sides touch: split at the mid-plane of the body"
    only_left = float(across.mean()) > middle
    side = "left" if only_left else "right"
    return mask & only_left, f"one organ only, on the {side} of the mid-plane"


def _midplane(image: np.ndarray, mask: np.ndarray) -> float:
    """Index along x of the middle of the body, in the slices where the organ is.

    The body is what is brighter than half-way between the darkest voxels (air) and the organ.
    """
    slices = image[mask.any(axis=(1, 2))]
    threshold = (np.percentile(slices, 1) + np.median(image[mask])) / 2
    body = np.flatnonzero((slices > threshold).mean(axis=(0, 1)) > CRUMB)
    return float(body[0] + body[-1]) / 2 if body.size else (mask.shape[2] - 1) / 2


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
