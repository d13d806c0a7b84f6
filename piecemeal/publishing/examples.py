"""Example slices: the reference and what every arm made of it, one row an anatomy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from piecemeal.publishing import style
from piecemeal.publishing.tables import phases

# inches
_PANEL, _GAP, _LEFT, _TITLE, _UNDER, _LEGEND_LINE, _NOTE = 1.85, 0.07, 0.32, 0.25, 0.24, 0.21, 0.24
_LEGEND_COLUMNS = 7
# The axes already have the true proportions, and an svg holds the pixels as they are.
_AS_IS = {"aspect": "auto", "interpolation": "none"}


@dataclass(frozen=True)
class Panel:
    """One slice. Arrays are (y, x); labels are class ids, 1 is the first of `structures`.

    predictions: of the arms that were run; declared: those of the structures that were drawn in
    this scan; the others are not judged.
    """

    cohort: str
    image: np.ndarray
    reference: np.ndarray
    predictions: Mapping[str, np.ndarray]
    structures: Sequence[str]
    spacing_yx: tuple[float, float]
    declared: Sequence[str] | None = None

    @property
    def judged(self) -> list[int]:
        """Class ids that a prediction is judged by."""
        known = self.structures if self.declared is None else self.declared
        return [i for i, name in enumerate(self.structures, start=1) if name in known]


def median_scan(scores: pd.DataFrame) -> tuple[str, str, str]:
    """(dataset, case, phase) of the scan with the median Dice over arms and structures.

    An arm counts by its mean over seeds, however many it has. With an even number of scans the
    lower of the two in the middle; ties go by name. `scores` are the rows of one cohort and of the
    arms that are shown.
    """
    dice = scores["dice"].mask(scores["status"].isin(("missed", "invented")), 0.0)
    scans = [scores["dataset"], scores["case"], phases(scores)]
    of_arms = dice.groupby([*scans, scores["arm"]]).mean()
    means = of_arms.groupby(["dataset", "case", "phase"]).mean().dropna().reset_index()
    means = means.sort_values(["dice", "dataset", "case", "phase"])
    row = means.iloc[(len(means) - 1) // 2]
    return str(row["dataset"]), str(row["case"]), str(row["phase"])


def largest_slice(reference: np.ndarray) -> int:
    """Index of the slice of `reference` (z, y, x) with most foreground, the first of equals."""
    return int(np.argmax((reference > 0).sum(axis=(1, 2))))


def slice_dice(prediction: np.ndarray, reference: np.ndarray, labels: Iterable[int]) -> float:
    """Mean Dice of one slice over those of `labels` that occur in either mask; nan if none does."""
    values = []
    for label in labels:
        ours, theirs = prediction == label, reference == label
        if total := ours.sum() + theirs.sum():
            values.append(2 * (ours & theirs).sum() / total)
    return float(np.mean(values)) if values else np.nan


def example_slices(panels: Sequence[Panel], arms: Mapping[str, str], note: str = "") -> Figure:
    """Draw one row a panel: image with ground truth, then the prediction of each of `arms`.

    Every picture is cropped to what any mask of the row holds, keeps its true proportions, and
    says the mean Dice of the slice that is shown. `arms` is {name: heading} in column order; where
    an arm was not run, its place says so.
    """
    crops = [_region(panel) for panel in panels]
    heights = [_PANEL * _proportion(p, crop) for p, crop in zip(panels, crops, strict=True)]
    legends = [_LEGEND_LINE * -(-len(p.structures) // _LEGEND_COLUMNS) for p in panels]
    width = _LEFT + (1 + len(arms)) * (_PANEL + _GAP)
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
            shown = {"ground truth": panel.reference}
            shown |= {heading: panel.predictions.get(arm) for arm, heading in arms.items()}
            for column, (heading, labels) in enumerate(shown.items()):
                left = _LEFT + column * (_PANEL + _GAP)
                centre = (left + _PANEL / 2) / width
                if number == 0:
                    figure.text(
                        centre, (top + 0.07) / height, heading, ha="center", fontweight="bold"
                    )
                if labels is None:
                    figure.text(centre, middle, "not run", ha="center", color=style.FAINT)
                    continue
                box = (left / width, bottom / height, _PANEL / width, heights[number] / height)
                _draw(figure.add_axes(box), panel, labels, crop)
                if column:
                    dice = slice_dice(labels, panel.reference, panel.judged)
                    under = f"Dice {dice:.3f}"
                    figure.text(centre, (bottom - 0.05) / height, under, ha="center", va="top")
            colour = style.colours(panel.structures)
            figure.legend(
                handles=[Patch(color=colour[name], label=name) for name in panel.structures],
                loc="upper center",
                bbox_to_anchor=((_LEFT + width) / 2 / width, (bottom - _UNDER + 0.05) / height),
                ncols=min(len(panel.structures), _LEGEND_COLUMNS),
                handlelength=0.9,
                handleheight=0.9,
                columnspacing=1.2,
            )
            top = bottom - _UNDER - legends[number] - 2 * _GAP
        figure.text(_LEFT / width, 0.07 / height, note, fontsize=7, color=style.FAINT)
    return figure


def _region(panel: Panel) -> tuple[slice, slice]:
    """Rows and columns that hold all masks of the row, and a margin of a tenth."""
    masks = [panel.reference, *panel.predictions.values()]
    inside = np.any([mask > 0 for mask in masks], axis=0)
    if not inside.any():
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


def _draw(axes: Axes, panel: Panel, labels: np.ndarray, crop: tuple[slice, slice]) -> None:
    image = np.asarray(panel.image, dtype=float)[crop]
    low, high = np.percentile(image, [1, 99])
    axes.imshow(image, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), **_AS_IS)
    labels = labels[crop]
    overlay = np.zeros((*labels.shape, 4))
    for label, colour in enumerate(style.colours(panel.structures).values(), start=1):
        mask = labels == label
        overlay[mask] = (*to_rgb(colour), 0.55)
        if mask.any() and not mask.all():
            axes.contour(mask, levels=[0.5], colors=[colour], linewidths=0.7)
    axes.imshow(overlay, **_AS_IS)
    style.bare(axes)
