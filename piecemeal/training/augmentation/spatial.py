"""Flips, quarter turns, and one affine resampling, of images and codes alike.

images (n, channels, *space) float32 and codes (n, *space) uint8, space (y, x) or (z, y, x). Codes
are only ever moved, never mixed. views (n,), as in Batch, an array: slices that alone were drawn on
stay slices.

A window that is turned or shrunk shows more of the scan than lies in it. So patches come with a
margin (`margin`), as in nnU-Net, and the resampling cuts them to the window: no corner of it is
empty that is not empty in the scan, as none is where a network predicts.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from piecemeal.training.augmentation.draws import Draw, Draws, change, on_device

AXES = {"z": -3, "y": -2, "x": -1}
ANGLES = 25  # of a range are looked at for the margin, and those at which a plane reaches farthest


def margin(
    settings: dict[str, Any], shape: Sequence[int], views: Collection[int] = (-1,)
) -> tuple[int, int, int]:
    """Voxels (z, y, x) that the resampling of a window of `shape` may need on either side of it.

    views: those that samples have. Equal along y and x if the window's sides are.
    """
    if not resamples(settings):
        return 0, 0, 0
    possible = set(views)
    if "rot90" in settings:
        possible |= {3 - view for view in views if view > 0}
    half = np.array(shape) / 2
    reached = np.max([_reach(settings, view, half) for view in possible], axis=0)
    beyond = np.ceil(reached - half - 1e-6).astype(int)
    if shape[1] == shape[2]:
        beyond[1:] = beyond[1:].max()  # so that quarter turns still have a square
    return tuple(beyond.tolist())


def _reach(settings: dict[str, Any], view: int, half: np.ndarray) -> np.ndarray:
    """How far from its centre, (z, y, x), samples of a view look, in windows of 2 * `half`."""
    angles, scales = [[0.0]] * 3, np.ones(3)
    if options := settings.get("rotation"):
        across = int(_across(np.array([view]), options)[0])
        for axis in range(3):
            limits = options["degrees"] if axis == across else options["tilt_degrees"]
            if limits and (axis == across or view < 0):
                angles[axis] = _angles(*limits, *np.delete(half, axis))
    if options := settings.get("scaling"):
        scales[:] = min(options["factor"][0], 1.0)
        if view >= 0 or not options["through_plane"]:
            scales[_across(np.array([view]), options)[0]] = 1.0
    degrees = np.array(list(itertools.product(*angles))).T
    matrices = affine_matrices(degrees.shape[1], degrees, scales)
    return (np.abs(matrices) @ half).max(axis=0)


def transform(
    images: Tensor,
    codes: Tensor,
    views: np.ndarray,
    unknown: int,
    settings: dict[str, Any],
    draws: Draws,
    beyond: Sequence[int],
) -> tuple[Tensor, Tensor]:
    """Images and codes after what `settings` (operation -> its options) says.

    unknown: the code outside; beyond: the margin of the samples along every axis of space, which
    what is returned has not. images, codes and views are changed in place: of views those whose
    slices a quarter turn lays across another axis.
    """
    if options := settings.get("flip"):
        _flip(images, codes, options, draws.of("flip"))
    if options := settings.get("rot90"):
        _turn(images, codes, views, options, draws.of("rot90"))
    inner = _without_margin(images, beyond), _without_margin(codes, beyond)
    if resamples(settings):
        hits, matrices = _affine(settings, draws, views)
        in_space = np.full(len(views), leaves_plane(settings)) & (views < 0) | (views > 0)
        for chosen, turned in ((hits & ~in_space, 2), (hits & in_space, 3)):
            if chosen.any():
                # Along the axes that stay as they are, nothing is needed of the margin.
                kept = [*beyond[:-turned], *[0] * min(turned, len(beyond))]
                given = _without_margin(images, kept), _without_margin(codes, kept)
                _resample(*inner, *given, chosen, matrices[:, -turned:, -turned:], unknown)
    return inner


def _without_margin(samples: Tensor, beyond: Sequence[int]) -> Tensor:
    """The part of samples (..., *space) that no margin of `beyond` voxels on either side is."""
    space = samples.shape[-len(beyond) :]
    return samples[(..., *(slice(b, size - b) for b, size in zip(beyond, space, strict=True)))]


def resamples(settings: dict[str, Any]) -> bool:
    """Whether parts of a window may come from outside it."""
    return "rotation" in settings or "scaling" in settings


def _angles(low: float, high: float, one: float, other: float) -> list[float]:
    """Degrees of a range to look at, of a plane with these halves of its sides; 0 is no turn."""
    farthest = np.rad2deg(np.arctan2([one, other, one, other], [other, one, -other, -one]))
    within = [angle for angle in (*farthest, *-farthest) if low <= angle <= high]
    return [0.0, *np.linspace(low, high, ANGLES), *within]


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


def _resample(
    images: Tensor,
    codes: Tensor,
    whole_images: Tensor,
    whole_codes: Tensor,
    hits: np.ndarray,
    matrices: np.ndarray,
    unknown: int,
) -> None:
    """Replace the `hits` of images and codes by places of the whole ones, about the same centre."""
    index = on_device(np.flatnonzero(hits), codes)
    d = matrices.shape[-1]
    grid = sampling_grid(matrices[hits], codes.shape[-d:], whole_codes)
    sampled = _sample(whole_images.index_select(0, index), grid, "bilinear")
    images.index_copy_(0, index, sampled)
    codes.index_copy_(0, index, resample_codes(whole_codes.index_select(0, index), grid, unknown))


def sampling_grid(matrices: np.ndarray, space: Sequence[int], whole: Tensor) -> Tensor:
    """Where the voxels of windows of `space` come from, as torch's grid_sample wants it.

    matrices (n, d, d) turn the last d axes of `whole` (., *its space), in whose middle the windows
    lie; the grid is (n, *space, d), float32. Windows may have any proportions: the matrices are in
    voxels.
    """
    n, d = matrices.shape[:2]
    source = np.array(whole.shape[-d:])
    # From voxels to the unit of grid_sample, in which what is given reaches from -1 to 1.
    relative = on_device((matrices * np.array(space) / source[:, None])[:, ::-1], whole)
    grid = torch.zeros((), device=whole.device)
    for axis, length in enumerate(space):
        places = (2 * torch.arange(length, device=whole.device) + 1) / length - 1
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
    d = grid.shape[-1]
    flat = values.reshape(len(values), -1, *values.shape[-d:])
    sampled = F.grid_sample(flat, grid, mode, padding_mode="zeros", align_corners=False)
    return sampled.view(*values.shape[:-d], *grid.shape[1:-1])
