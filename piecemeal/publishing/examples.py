"""Example slices: the reference and what every arm made of it, one row an anatomy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from piecemeal.publishing import style

# inches
_PANEL, _GAP, _LEFT, _TITLE, _UNDER, _LEGEND_LINE, _NOTE = 1.85, 0.07, 0.32, 0.25, 0.24, 0.21, 0.24
_LEGEND_COLUMNS, _PATCH, _LETTER = 7, 0.34, 0.068  # at most; inches of an entry but for its name
_NOT_ASKED = "\N{EN DASH}"
# The axes already have the true proportions, and an svg holds the pixels as they are.
_AS_IS = {"aspect": "auto", "interpolation": "none"}


@dataclass(frozen=True)
class Panel:
    """One slice. image (y, x); masks bool (structures, y, x), which may overlap.

    predictions: of the arms that were run, None of one that was not asked for these structures;
    judged: places of the structures that were drawn in this scan; the others are not judged. whole:
    show all of the image, not only what lies around the masks.
    """

    cohort: str
    image: np.ndarray
    reference: np.ndarray
    predictions: Mapping[str, np.ndarray | None]
    structures: Sequence[str]
    spacing_yx: tuple[float, float]
    judged: Sequence[int]
    whole: bool = False


def slice_dice(prediction: np.ndarray, reference: np.ndarray, judged: Iterable[int]) -> float:
    """Mean Dice of one slice over those of `judged` that occur in either; nan if none does.

    prediction, reference: bool (structures, y, x).
    """
    values = []
    for place in judged:
        ours, theirs = prediction[place], reference[place]
        if total := ours.sum() + theirs.sum():
            values.append(2 * (ours & theirs).sum() / total)
    return float(np.mean(values)) if values else np.nan


def example_slices(panels: Sequence[Panel], arms: Mapping[str, str], note: str = "") -> Figure:
    """Draw one row a panel: image with ground truth, then the prediction of each of `arms`.

    Every picture is cropped to what any mask of the row holds, keeps its true proportions, and
    says the mean Dice of the slice that is shown. `arms` is {name: heading} in column order; where
    an arm was not run, its place says so, and it has a dash where the arm was not asked. Without
    arms the bare image stands beside the ground truth. Rows of the same structures share a legend.
    """
    crops = [_region(panel) for panel in panels]
    heights = [_PANEL * _proportion(p, crop) for p, crop in zip(panels, crops, strict=True)]
    width = _LEFT + max(2, 1 + len(arms)) * (_PANEL + _GAP)
    abreast = [_abreast(panel.structures, width) for panel in panels]
    legends = [
        _LEGEND_LINE * -(-len(p.structures) // n) for p, n in zip(panels, abreast, strict=True)
    ]
    for number, (panel, after) in enumerate(pairwise(panels)):
        if panel.structures == after.structures:  # said once, below the last of them
            legends[number] = 0
    height = _TITLE + sum(heights) + sum(legends) + len(panels) * (_UNDER + 2 * _GAP) + _NOTE
    with style.look():
        figure = style.new_figure(width, height)
        top = height - _TITLE
        for number, (panel, crop) in enumerate(zip(panels, crops, strict=True)):
            bottom = top - heights[number]
            middle = (bottom + heights[number] / 2) / height
            figure.text(
                0.1 / width, middle, panel.cohort, rotation=90, va="center", fontweight="bold"
            )
            for column, (heading, masks) in enumerate(_columns(panel, arms).items()):
                left = _LEFT + column * (_PANEL + _GAP)
                centre = (left + _PANEL / 2) / width
                if number == 0:
                    figure.text(
                        centre, (top + 0.07) / height, heading, ha="center", fontweight="bold"
                    )
                if isinstance(masks, str):
                    figure.text(centre, middle, masks, ha="center", color=style.FAINT)
                    continue
                box = (left / width, bottom / height, _PANEL / width, heights[number] / height)
                _draw(figure.add_axes(box), panel, masks, crop)
                if column and arms:
                    dice = slice_dice(masks, panel.reference, panel.judged)
                    under = f"Dice {dice:.3f}"
                    figure.text(centre, (bottom - 0.05) / height, under, ha="center", va="top")
            colour = style.colours(panel.structures)
            if legends[number]:
                figure.legend(
                    handles=[Patch(color=colour[name], label=name) for name in panel.structures],
                    loc="upper center",
                    bbox_to_anchor=((_LEFT + width) / 2 / width, (bottom - _UNDER + 0.05) / height),
                    ncols=abreast[number],
                    handlelength=0.9,
                    handleheight=0.9,
                    columnspacing=1.2,
                )
            top = bottom - _UNDER - legends[number] - 2 * _GAP
        figure.text(_LEFT / width, 0.07 / height, note, fontsize=7, color=style.FAINT)
    return figure


def _abreast(names: Sequence[str], width: float) -> int:
    """How many names stand side by side in a legend of `width` inches."""
    entry = _PATCH + _LETTER * max(map(len, names))
    return max(1, min(len(names), _LEGEND_COLUMNS, int(width / entry)))


def _columns(panel: Panel, arms: Mapping[str, str]) -> dict[str, np.ndarray | str]:
    """Heading -> the masks that are drawn there, or a word in place of a picture."""
    if not arms:
        return {"image": panel.reference[:0], "ground truth": panel.reference}
    found: dict[str, np.ndarray | str] = {"ground truth": panel.reference}
    for arm, heading in arms.items():
        masks = panel.predictions.get(arm, "not run")
        found[heading] = _NOT_ASKED if masks is None else masks
    return found


def _region(panel: Panel) -> tuple[slice, slice]:
    """Rows and columns that hold all masks of the row, and a margin of a tenth; or all of them."""
    masks = [panel.reference, *(m for m in panel.predictions.values() if m is not None)]
    inside = np.any([mask.any(axis=0) for mask in masks], axis=0)
    if panel.whole or not inside.any():
        return slice(0, inside.shape[0]), slice(0, inside.shape[1])
    found = []
    for axis, size in enumerate(inside.shape):
        places = np.flatnonzero(inside.any(axis=1 - axis))
        margin = max(3, (places[-1] - places[0]) // 10)
        found.append(slice(max(0, places[0] - margin), min(size, places[-1] + 1 + margin)))
    return found[0], found[1]


def _proportion(panel: Panel, crop: tuple[slice, slice]) -> float:
    """Height over width of the cropped region, in millimetres."""
    rows, columns = (part.stop - part.start for part in crop)
    return rows * panel.spacing_yx[0] / (columns * panel.spacing_yx[1])


def _draw(axes: Axes, panel: Panel, masks: np.ndarray, crop: tuple[slice, slice]) -> None:
    image = np.asarray(panel.image, dtype=float)[crop]
    low, high = np.percentile(image, [1, 99])
    axes.imshow(image, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), **_AS_IS)
    colours = list(style.colours(panel.structures).values())[: len(masks)]
    masks = masks[(slice(None), *crop)]
    overlay = np.zeros((*image.shape, 4))
    for mask, colour in zip(masks, colours, strict=True):
        overlay[mask] += (*to_rgb(colour), 1.0)
        if mask.any() and not mask.all():
            axes.contour(mask, levels=[0.5], colors=[colour], linewidths=0.7)
    # Where structures overlap, the mean of their colours; the outlines say which they are.
    shown = overlay[..., 3] > 0
    overlay[shown] /= overlay[shown, 3:]
    overlay[..., 3] *= 0.55
    axes.imshow(overlay, **_AS_IS)
    style.bare(axes)
