"""Flips, quarter turns, and one affine resampling, of images and codes alike.

images (n, channels, *space) float32 and codes (n, *space) uint8, space (y, x) or (z, y, x); all
are changed in place. Codes are only ever moved, never mixed. views (n,), as in Batch, an array:
slices that alone were drawn on stay slices.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from piecemeal.training.augmentation.draws import Draw, Draws, change, on_device

AXES = {"z": -3, "y": -2, "x": -1}


def transform(
    images: Tensor,
    codes: Tensor,
    views: np.ndarray,
    unknown: int,
    settings: dict[str, Any],
    draws: Draws,
) -> None:
    """Do what `settings` (operation -> its options) says; `unknown` is the code outside.

    Of `views` those change whose slices a quarter turn lays across another axis.
    """
    if options := settings.get("flip"):
        _flip(images, codes, options, draws.of("flip"))
    if options := settings.get("rot90"):
        _turn(images, codes, views, options, draws.of("rot90"))
    if resamples(settings):
        hits, matrices = _affine(settings, draws, views)
        in_space = np.full(len(views), leaves_plane(settings)) & (views < 0) | (views > 0)
        _resample_hits(images, codes, hits & ~in_space, matrices[:, 1:, 1:], unknown)
        _resample_hits(images, codes, hits & in_space, matrices, unknown)


def resamples(settings: dict[str, Any]) -> bool:
    """Whether parts of a window may come from outside it."""
    return "rotation" in settings or "scaling" in settings


def _flip(images: Tensor, codes: Tensor, options: dict[str, float], draw: Draw) -> None:
    for name, axis in AXES.items():
        hits = draw.hits(options[name])
        for tensor in (images, codes):
            change(tensor, hits, lambda t, axis=axis: t.flip(axis))


def _turn(
    images: Tensor, codes: Tensor, views: np.ndarray, options: dict[str, Any], draw: Draw
) -> None:
    hits, turns = draw.hits(options["probability"]), draw.integers(1, 4)
    for k in (1, 2, 3):
        for tensor in (images, codes):
            change(tensor, hits & (turns == k), lambda t, k=k: t.rot90(k, (-2, -1)))
    # Rows and columns have changed places.
    changed = hits & (turns != 2) & (views > 0)
    views[changed] = 3 - views[changed]


def _affine(
    settings: dict[str, Any], draws: Draws, views: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Which samples are resampled, (n,), and by which matrices, (n, 3, 3)."""
    n = len(views)
    hits, angles, scales = np.zeros(n, bool), np.zeros((3, n)), np.ones((3, n))
    if options := settings.get("rotation"):
        draw = draws.of("rotation")
        hits = turned = draw.hits(options["probability"])
        across = _across(views, options)
        angles[across, np.arange(n)] = turned * draw.uniform(*options["degrees"])
        if options["tilt_degrees"]:
            for other in np.sort([(across + 1) % 3, (across + 2) % 3], axis=0):
                tilt = turned * draw.uniform(*options["tilt_degrees"])
                angles[other, np.arange(n)] = tilt * (views < 0)
    if options := settings.get("scaling"):
        draw = draws.of("scaling")
        scaled = draw.hits(options["probability"])
        scales[:] = np.where(scaled, draw.uniform(*options["factor"]), 1.0)
        flat = np.full(n, not options["through_plane"]) | (views >= 0)
        scales[_across(views, options)[flat], np.flatnonzero(flat)] = 1.0
        hits = hits | scaled
    return hits, affine_matrices(n, angles, scales)


def _across(views: np.ndarray, options: dict[str, Any]) -> np.ndarray:
    """The axis of (z, y, x) across the plane of every sample, (n,)."""
    return np.where(views >= 0, views, "zyx".index(options["about"]))


def leaves_plane(settings: dict[str, Any]) -> bool:
    """Whether the resampling of a whole scan mixes slices."""
    both = [settings.get("rotation") or {}, settings.get("scaling") or {}]
    keys = ("tilt_degrees", "through_plane")
    return any(s and (s["about"] != "z" or any(s.get(key) for key in keys)) for s in both)


def affine_matrices(
    samples: int,
    degrees: Sequence[np.ndarray | float],
    scale: Sequence[np.ndarray | float],
) -> np.ndarray:
    """Where the voxels of a rotated, then enlarged window come from, (samples, 3, 3) float64.

    Columns and rows are (z, y, x), in voxels from the window's centre. `degrees` about z, y and x
    turn as torch.rot90 over (y, x), (z, x) and (z, y) does, in this order; `scale` is along these.
    """
    matrices = np.tile(np.eye(3), (samples, 1, 1))
    for angle, (a, b) in zip(degrees, ((1, 2), (0, 2), (0, 1)), strict=True):
        turn = np.tile(np.eye(3), (samples, 1, 1))
        radians = np.deg2rad(angle)
        turn[:, a, a] = turn[:, b, b] = np.cos(radians)
        turn[:, a, b], turn[:, b, a] = np.sin(radians), -np.sin(radians)
        matrices = matrices @ turn
    shrink = np.stack([np.broadcast_to(1 / np.asarray(s), samples) for s in scale], axis=-1)
    return matrices * shrink[:, None, :]


def _resample_hits(
    images: Tensor, codes: Tensor, hits: np.ndarray, matrices: np.ndarray, unknown: int
) -> None:
    if not hits.any():
        return
    grid = sampling_grid(matrices[hits], codes)
    change(images, hits, lambda t: _sample(t, grid, "bilinear"))
    change(codes, hits, lambda t: resample_codes(t, grid, unknown))


def sampling_grid(matrices: np.ndarray, codes: Tensor) -> Tensor:
    """Where the voxels of codes (., *space) come from, as torch's grid_sample wants it.

    matrices (n, d, d) turn the last d axes; the grid is (n, *those axes, d), float32. Windows may
    have any proportions: the matrices are in voxels.
    """
    n, d = matrices.shape[:2]
    plane = np.array(codes.shape[-d:])
    # From voxels to the unit of grid_sample, in which every window reaches from -1 to 1.
    relative = on_device((matrices * plane / plane[:, None])[:, ::-1], codes)
    grid = torch.zeros((), device=codes.device)
    for axis, length in enumerate(codes.shape[-d:]):
        places = (2 * torch.arange(length, device=codes.device) + 1) / length - 1
        shape = [1] * d
        shape[axis] = length
        grid = grid + relative[:, :, axis].view(n, d, *[1] * d) * places.view(shape)
    return grid.movedim(1, -1)


def resample_codes(codes: Tensor, grid: Tensor, unknown: int) -> Tensor:
    """The code of the nearest voxel, `unknown` outside."""
    # Counted from `unknown` on, modulo 256, what comes from outside is 0 as it should be.
    return _sample((codes - unknown).float(), grid, "nearest").to(torch.uint8) + unknown


def _sample(values: Tensor, grid: Tensor, mode: str) -> Tensor:
    """Values (n, ..., *space) at the grid's places, 0 outside; axes the grid has not are kept."""
    flat = values.reshape(len(values), -1, *grid.shape[1:-1])
    sampled = F.grid_sample(flat, grid, mode, padding_mode="zeros", align_corners=False)
    return sampled.view(values.shape)
