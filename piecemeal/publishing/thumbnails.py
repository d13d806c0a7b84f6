"""Small pictures of prepared scans: the slice that shows most, with the outlines of the labels."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from piecemeal.bitmasks import bit
from piecemeal.publishing import style

HEIGHT = 168  # pixels of a panel

Colour = tuple[int, int, int]


def outline_colours(names: Sequence[str]) -> dict[str, Colour]:
    """{structure: red, green, blue} of 255, as `style.colours` has them."""
    return {
        name: tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))
        for name, colour in style.colours(names).items()
    }


def thumbnail(
    image: np.ndarray,
    labels: np.ndarray | None,
    spacing: Sequence[float],
    colours: Sequence[Colour],
    *,
    upright: bool,
) -> str:
    """The `strip` of a scan as `data:` address of a JPEG."""
    return _address(strip(image, labels, spacing, colours, upright=upright))


def projection(
    image: np.ndarray,
    labels: np.ndarray,
    spacing: Sequence[float],
    colours: Sequence[Colour],
) -> str:
    """The first view of a scan with its structures, which may overlap, as a `thumbnail`.

    image: (views, y, x); labels: bit masks (views, y, x); spacing: mm (views, y, x); colours: of
    bit 0, 1, ....
    """
    limits = tuple(float(value) for value in np.percentile(image[0], [0.5, 99.5]))
    layers = [(bit(labels[0], k).astype(np.uint8), [colour]) for k, colour in enumerate(colours)]
    return _address(_panel(image[0], layers, (spacing[1], spacing[2]), limits, HEIGHT))


def _address(picture: np.ndarray) -> str:
    packed = io.BytesIO()
    Image.fromarray(picture).save(packed, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(packed.getvalue()).decode()


def strip(
    image: np.ndarray,
    labels: np.ndarray | None,
    spacing: Sequence[float],
    colours: Sequence[Colour],
    *,
    upright: bool,
    limits: tuple[float, float] | None = None,
    height: int = HEIGHT,
) -> np.ndarray:
    """A scan as a picture: an axial and, if it stands upright, a coronal slice beside it.

    image, labels: (z, y, x); spacing: mm (z, y, x); colours: of class 1, 2, ...; upright: whether z
    runs up the patient, so that a coronal slice can be shown with the head on top; limits:
    intensities shown black and white, else percentiles 0.5 and 99.5; height: pixels.
    Returns (height, width, 3) uint8.
    """
    planes = [_plane(image, labels, 0, spacing)]
    if upright:
        planes.append(_plane(image, labels, 1, spacing))
    if limits is None:
        low, high = np.percentile(image[:: max(1, len(image) // 24)], [0.5, 99.5])
        limits = (float(low), float(high))
    panels = [
        _panel(shown, [] if drawn is None else [(drawn, colours)], pixel, limits, height)
        for shown, drawn, pixel in planes
    ]
    gap = np.zeros((height, 4, 3), np.uint8)
    return np.concatenate([part for panel in panels for part in (panel, gap)][:-1], axis=1)


def _plane(
    image: np.ndarray, labels: np.ndarray | None, axis: int, spacing: Sequence[float]
) -> tuple[np.ndarray, np.ndarray | None, tuple[float, float]]:
    """The slice across `axis` with most structures, then voxels: image, labels, mm a pixel."""
    index = image.shape[axis] // 2 if labels is None else _fullest(labels, axis)
    # A coronal slice has the head on top: z runs up, rows run down.
    order = (slice(None, None, -1),) if axis == 1 else (slice(None),)
    shown = image.take(index, axis)[order]
    drawn = None if labels is None else labels.take(index, axis)[order]
    rows, columns = (mm for i, mm in enumerate(spacing) if i != axis)
    return shown, drawn, (rows, columns)


def _fullest(labels: np.ndarray, axis: int) -> int:
    planes = np.moveaxis(labels, axis, 0)
    scores = [(len(np.flatnonzero(np.bincount(p.ravel()))), np.count_nonzero(p)) for p in planes]
    return max(range(len(scores)), key=scores.__getitem__)


def _panel(
    image: np.ndarray,
    layers: Sequence[tuple[np.ndarray, Sequence[Colour]]],
    pixel: tuple[float, float],
    limits: tuple[float, float],
    height: int,
) -> np.ndarray:
    """(height, width, 3) uint8 with square pixels; layers: class ids and colours of class 1, ..."""
    rows, columns = (n * mm for n, mm in zip(image.shape, pixel, strict=True))
    size = (max(1, round(height * columns / rows)), height)
    low, high = limits
    grey = np.clip((image - low) / max(high - low, 1e-6), 0, 1)
    picture = Image.fromarray((255 * grey).astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
    panel = np.repeat(np.asarray(picture)[:, :, None], 3, axis=2)
    for labels, colours in layers:
        ids = np.asarray(
            Image.fromarray(labels.astype(np.uint8)).resize(size, Image.Resampling.NEAREST)
        )
        table = np.array([(0, 0, 0), *colours], np.uint8)
        edge = _edges(ids)
        panel[edge] = table[ids[edge]]
    return panel


def _edges(ids: np.ndarray) -> np.ndarray:
    """Pixels of a class with a neighbour of another one, on the class's own side."""
    edge = np.zeros(ids.shape, bool)
    for axis in (0, 1):
        for step in (1, -1):
            edge |= ids != np.roll(ids, step, axis)
    return edge & (ids > 0)
