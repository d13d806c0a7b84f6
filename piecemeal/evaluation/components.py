"""Clean a predicted segmentation by the connectivity of its structures."""

from collections.abc import Iterable

import numpy as np
from scipy import ndimage


def largest_component(labels: np.ndarray, ids: Iterable[int]) -> np.ndarray:
    """Keep only the largest connected component of each of the given structures.

    Voxels are connected through their faces (4 neighbours in 2D, 6 in 3D). All other components
    become background (0). Of several components of the largest size the first in memory order
    stays. This is what the cardiac evaluation of Baumgartner et al. (STACOM 2017; acdc_segmenter)
    does to a predicted volume before scoring it.

    labels: class ids, integer array of any shape. Returns a new array of the same shape and type.
    Structures that are not in `ids`, or absent from the volume, are left as they are.
    """
    cleaned = labels.copy()
    for class_id in ids:
        components, count = ndimage.label(labels == class_id)
        if count < 2:
            continue
        sizes = np.bincount(components.ravel())
        sizes[0] = 0  # the voxels that are not of this structure
        is_largest = sizes == sizes.max()
        first_voxel = np.argmax(is_largest[components])
        kept = components.flat[first_voxel]
        cleaned[(components != 0) & (components != kept)] = 0
    return cleaned
