"""Normalising intensities: one kind a modality, as each paper does it."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from piecemeal.datasets.scans import File
from piecemeal.errors import InputError

# Of a window. A CT scaled to 0..1 shows less of any that is wider than 100 HU; one in HU shows all
# of it, from air to bone.
LEAST_SEEN = 0.01


def normalise(image: np.ndarray, how: Mapping[str, Any], where: File) -> np.ndarray:
    """An image (any shape) normalised as `how` says: {"kind": ..., settings}; float32.

    zscore: zero mean and unit standard deviation over the volume (Kemnitz et al. 2018, after
    Baumgartner et al., STACOM 2017). window: clipped to [low, high], scaled to `scale` (Chen et al.
    2024: CT, -400 to 400 HU to [0, 1]; Li et al. 2023: -200 to 200 HU to [-1, 1]). percentiles: the
    same with two percentiles of the voxels above `above`, or of all where it is None (Chen et al.:
    MR, 1st and 99th of the voxels above 0). Raises InputError naming the file `where` if the
    volume is constant, or its percentiles are, or if it is next to constant within the window.
    """
    return _KINDS[how["kind"]](image, how, where)


def _zscore(image: np.ndarray, how: Mapping[str, Any], where: File) -> np.ndarray:
    deviation = image.std(dtype=np.float64)
    if deviation == 0:
        raise InputError(f"{where}: every voxel has the same value; copy it again or leave it out")
    return ((image - image.mean(dtype=np.float64)) / deviation).astype(np.float32)


def _window(image: np.ndarray, how: Mapping[str, Any], where: File) -> np.ndarray:
    low, high = how["low"], how["high"]
    darkest, brightest = (float(extreme) for extreme in (image.min(), image.max()))
    seen = min(brightest, high) - max(darkest, low)
    if seen < LEAST_SEEN * (high - low):
        raise InputError(
            f"{where}: its intensities, {darkest:g} to {brightest:g}, are next to constant within "
            f"the window from {low:g} to {high:g}; expected HU, not an image scaled otherwise: "
            "copy it again, or change `intensity` in config/cohorts"
        )
    return _scaled(image, low, high, how["scale"])


def _percentiles(image: np.ndarray, how: Mapping[str, Any], where: File) -> np.ndarray:
    above = how["above"]
    voxels = image.ravel() if above is None else image[image > above]
    if not voxels.size:
        raise InputError(f"{where}: no voxel lies above {above}; copy it again or leave it out")
    low, high = np.percentile(voxels, [how["low"], how["high"]])
    if high <= low:
        raise InputError(
            f"{where}: percentiles {how['low']:g} and {how['high']:g} are both {low:g}; "
            "copy it again or leave it out"
        )
    return _scaled(image, float(low), float(high), how["scale"])


def _scaled(image: np.ndarray, low: float, high: float, scale: tuple[float, float]) -> np.ndarray:
    bottom, top = scale
    clipped = np.clip(image, np.float32(low), np.float32(high), dtype=np.float32)
    clipped -= np.float32(low)
    clipped *= np.float32((top - bottom) / (high - low))
    clipped += np.float32(bottom)
    return clipped


_KINDS: dict[str, Callable[..., np.ndarray]] = {
    "zscore": _zscore,
    "window": _window,
    "percentiles": _percentiles,
}
