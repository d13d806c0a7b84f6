"""CutMix: a box of another sample, image and labels (Yun et al., ICCV 2019, section 3)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from piecemeal.training.augmentation.draws import Draw, change, on_device, stream


def partners(seed: int, step: int, size: int) -> np.ndarray:
    """Whose box every row of the effective batch gets: one cycle through all rows.

    No row is its own partner, unless it is the only one.
    """
    order = stream(seed, step, "partners").permutation(size)
    chosen = np.empty(size, dtype=np.int64)
    chosen[order] = np.roll(order, 1)
    return chosen


def draw_boxes(draw: Draw, alpha: float, space: tuple[int, ...]) -> np.ndarray:
    """Boxes (n, axes, 2): first voxel, and first voxel behind, along every axis of the window.

    1 - the box's share of the window is drawn from Beta(alpha, alpha), its centre evenly; what
    would be outside the window is cut off. Of an odd number of voxels one is left out, as in the
    authors' code.
    """
    side = (1 - draw.beta(alpha)) ** (1 / len(space))
    boxes = np.empty((len(side), len(space), 2), dtype=np.int64)
    for axis, length in enumerate(space):
        centre = np.floor(draw.uniform() * length)
        half = np.floor(side * length) // 2
        boxes[:, axis, 0] = np.maximum(centre - half, 0)
        boxes[:, axis, 1] = np.minimum(centre + half, length)
    return boxes


def paste(
    images: Tensor,
    codes: Tensor,
    sets: Tensor,
    sources: np.ndarray,
    boxes: np.ndarray,
    hits: np.ndarray,
) -> Tensor:
    """Paste boxes from samples `sources` (n,) into those that `hits` (n,) names; new set table.

    images (n, channels, *space) and codes (n, *space) are changed in place. Of sets (n, K, C) the
    table (n, 2K, C) is made: rows from K on are those of the box, padding without one.
    """
    rows = sets.shape[1]
    table = torch.cat([sets, torch.zeros_like(sets)], dim=1)
    if not hits.any():
        return table
    inside = _inside(on_device(boxes[hits], codes), codes.shape[1:])
    theirs = [t.index_select(0, on_device(sources[hits], t)) for t in (images, codes, sets)]
    change(images, hits, lambda t: torch.where(inside[:, None], theirs[0], t))
    change(codes, hits, lambda t: torch.where(inside, theirs[1] + rows, t))
    change(table, hits, lambda t: torch.cat([t[:, :rows], theirs[2]], dim=1))
    return table


def _inside(boxes: Tensor, space: tuple[int, ...]) -> Tensor:
    inside = torch.ones((), dtype=torch.bool, device=boxes.device)
    for axis, length in enumerate(space):
        shape = [1] * len(space)
        shape[axis] = length
        places = torch.arange(length, device=boxes.device).view(shape)
        first, behind = (b.view(-1, *[1] * len(space)) for b in boxes[:, axis].unbind(-1))
        inside = inside & (places >= first) & (places < behind)
    return inside
