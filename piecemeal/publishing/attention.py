"""How much the levels of a network's pyramid count, from the lowest slice of a scan to the highest.

PIPO-FAN (Fang and Yan, TMI 2020) weighs its five maps of logits by attention, anew for every slice.
"""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from piecemeal.datasets.store import PreparedScan
from piecemeal.errors import InputError
from piecemeal.publishing import style
from piecemeal.publishing.trained import Trained

SLICES = 64  # at most, evenly spaced: as many as a panel can show
BATCH = 8
OVERLAP = 0.5  # of tiles, where the record of the run says nothing of its prediction
_SHADE = "#E4E4E4"


@dataclass(frozen=True)
class Levels:
    """What the levels of the pyramid count in one scan.

    weights: (n, levels), of the coarsest level first, in sum 1; heights: (n,), mm from the lowest
    slice; shows: (z,) bool, which slices show a structure, `step` mm apart from the lowest on.
    """

    weights: np.ndarray
    heights: np.ndarray
    shows: np.ndarray
    step: float


def levels(trained: Trained, scan: PreparedScan) -> Levels:
    """What the network's attention says of the slices of a scan with their neighbours.

    Where it is asked tile by tile to predict them, the mean over the tiles. Raises InputError if
    the network has no attention.
    """
    import torch

    from piecemeal.inference.slices import stacked

    ask = getattr(trained.network, "attention", None)
    if ask is None:
        raise InputError(
            f"config/papers: a figure of kind 'attention' shows '{trained.settings['method']}', "
            f"whose network '{trained.settings['network']}' has none; leave that arm out"
        )
    image, count = scan.image, len(scan.image)
    planes = np.linspace(0, count - 1, min(count, SLICES)).round().astype(int)
    tiles, parts = _tiles(trained.settings, image.shape[1:]), []
    with torch.inference_mode():
        for i in range(0, len(planes), BATCH):
            slices = torch.from_numpy(stacked(image, planes[i : i + BATCH], trained.neighbours))
            parts.append(sum(ask(slices[:, :, y, x]) for y, x in tiles) / len(tiles))
    weights, shows = torch.cat(parts).float().numpy(), np.asarray(scan.labels).any(axis=(1, 2))
    if scan.geometry.affine[2][2] < 0:  # the first slice is the highest
        weights, planes, shows = weights[::-1], count - 1 - planes[::-1], shows[::-1]
    step = scan.geometry.grid_spacing[0]
    return Levels(weights, planes * step, shows, step)


def _tiles(settings: Mapping[str, Any], plane: Sequence[int]) -> list[tuple[slice, slice]]:
    """Rows and columns of the parts of a plane (y, x) that its prediction is made of."""
    import torch

    from piecemeal.inference.windows import spans
    from piecemeal.training.window import crop_sides

    sides = crop_sides(plane, settings["input"].get("crop"))
    overlap = settings.get("inference", {}).get("overlap", OVERLAP)
    axes = [
        [span.inside for span in spans(length, side, overlap, "uniform", torch.device("cpu"))]
        for length, side in zip(plane, sides, strict=True)
    ]
    return list(itertools.product(*axes))


def attention_curves(
    found: Mapping[str, Mapping[str, Levels]],
    arms: Mapping[str, str],
    datasets: Mapping[str, str],
    note: str = "",
) -> Figure:
    """Draw one row an arm and one column a data set; a line is a level of the pyramid.

    found: {arm: {data set: its levels}}; `arms` and `datasets` are {name: heading} in order.
    Shaded: slices in which the reference shows the structure.
    """
    count = max(one.weights.shape[1] for of_arm in found.values() for one in of_arm.values())
    # From dark and coarse to light and fine: the levels have an order.
    colours = mpl.colormaps["viridis"](np.linspace(0, 0.88, count))
    with style.look():
        figure, grid = style.panels(len(arms), len(datasets), 2.6, 1.75, share=True)
        for number, (axes_of_row, arm) in enumerate(zip(grid, arms, strict=True)):
            for axes, dataset in zip(axes_of_row, datasets, strict=True):
                _panel(axes, found[arm][dataset], colours)
                if number == 0:
                    axes.set_title(textwrap.fill(datasets[dataset], 34), fontweight="bold")
                if number == len(arms) - 1:
                    axes.set_xlabel("mm from the lowest slice")
            axes_of_row[0].set_ylabel(f"{arms[arm]}\nweight")
        named = zip(colours, names(count), strict=True)
        handles = [Line2D([], [], color=colour, label=name) for colour, name in named]
        handles.append(Patch(color=_SHADE, label="structure in the reference"))
        figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
        style.sign(figure, note)
    return figure


def names(count: int) -> list[str]:
    """What the levels are called, the coarsest first: the share of the image's resolution."""
    coarsest, *between = (f"1/{2**level}" for level in range(count - 1, 0, -1))
    return [f"{coarsest} resolution", *between, "full resolution"]


def _panel(axes: Axes, one: Levels, colours: Sequence) -> None:
    for start, stop in runs(one.shows):
        axes.axvspan((start - 0.5) * one.step, (stop - 0.5) * one.step, color=_SHADE, linewidth=0)
    for weights, colour in zip(one.weights.T, colours, strict=False):
        axes.plot(one.heights, weights, color=colour, linewidth=1.2)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlim(-0.5 * one.step, (len(one.shows) - 0.5) * one.step)
    axes.grid(axis="y")


def runs(shows: np.ndarray) -> list[tuple[int, int]]:
    """First index of every run of True in `shows`, and the index after its last."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], shows, [False]])))
    return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]
