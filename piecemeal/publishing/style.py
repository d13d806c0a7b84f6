"""One look for all figures, and files that are the same bytes for the same input.

Figures are drawn on `matplotlib.figure.Figure` directly: no pyplot, so no global state, and the
same result in a script, a test and a cluster job without a display.
"""

from __future__ import annotations

import colorsys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

from piecemeal.provenance import replacing
from piecemeal.table_specs import Metric

# Okabe and Ito (2008), distinguishable with every common colour vision deficiency.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442")
# After Trubetskoy's list of 20 distinct colours, without its greys, which images have themselves.
_MANY = (
    *("#E6194B", "#3CB44B", "#FFE119", "#4363D8", "#F58231", "#911EB4", "#42D4F4", "#F032E6"),
    *("#BFEF45", "#FABED4", "#469990", "#DCBEFF", "#9A6324", "#808000", "#800000", "#AAFFC3"),
    *("#000075", "#FFD8B1", "#FF9E9E", "#FFFAC8"),
)
_LIGHTER = 0.45  # second round of the palette
INK = "#222222"
FAINT = "#8A8A8A"
_NOTE = 0.26  # inches at the bottom

_RC = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so it is the same everywhere
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.5,
    "svg.hashsalt": "piecemeal",  # otherwise the ids in an svg are random
    "svg.fonttype": "path",
    "savefig.facecolor": "white",
}


def look() -> Any:
    """Context in which figures are made and saved."""
    return mpl.rc_context(_RC)


def new_figure(width: float, height: float, **options: Any) -> Figure:
    """Make an empty figure, `width` x `height` inches, that can be saved without pyplot."""
    figure = Figure(figsize=(width, height), facecolor="white", **options)
    FigureCanvasAgg(figure)
    return figure


def panels(
    rows: int, columns: int, width: float, height: float, *, share: bool
) -> tuple[Figure, np.ndarray]:
    """Figure of equal panels (inches each) above room for a note, and its axes (rows, columns).

    With `share` a row has one y axis.
    """
    figure = new_figure(columns * width + 0.5, rows * height + 0.35 + _NOTE)
    bottom = _NOTE / figure.get_figheight()
    figure.set_layout_engine("constrained", rect=(0, bottom, 0.995, 1 - bottom), w_pad=0.05)
    grid = figure.subplots(rows, columns, sharey="row" if share else False, squeeze=False)
    return figure, grid


def sign(figure: Figure, note: str) -> None:
    """Write the note, of scale and phantoms, in the lower left corner."""
    figure.text(0.012, 0.07 / figure.get_figheight(), note, fontsize=7, color=FAINT)


def colours(names: Sequence[str]) -> dict[str, str]:
    """{name: colour} in the order of the names, all different.

    Up to seven have the palette; more that stand side by side, up to twenty, other hues for all of
    them; and still more the palette, then lighter, then other hues.
    """
    if len(PALETTE) < len(names) <= len(_MANY):
        return dict(zip(names, _MANY, strict=False))
    more = range(len(PALETTE), len(names))
    found = [*PALETTE, *(to_hex(_shade(*divmod(i, len(PALETTE)))) for i in more)]
    return dict(zip(names, found, strict=False))


def _shade(turn: int, place: int) -> tuple[float, float, float]:
    """Red, green and blue of a place of the palette, each time it is gone through another one."""
    hue, light, saturation = colorsys.rgb_to_hls(*to_rgb(PALETTE[place]))
    hue = (hue + turn // 2 * 0.07) % 1
    light = light + (1 - light) * _LIGHTER if turn % 2 else light
    return colorsys.hls_to_rgb(hue, light, saturation)


def scale(axes: Axes, metric: Metric) -> None:
    """Let y run over what the metric can be: all of Dice, distances from 0 to the largest drawn."""
    if metric.is_distance:
        axes.set_ylim(bottom=0)
    else:
        axes.set_ylim(-0.02 * metric.factor, 1.02 * metric.factor)


def named(metric: Metric) -> str:
    """Name and unit of a metric, for an axis."""
    return metric.name if metric.unit == "1" else f"{metric.name} ({metric.unit})"


def wrapped(text: str, letters: int = 22) -> str:
    """Lines of at most so many letters, but for words that are longer; no number without its %."""
    unbroken = text.replace(" %", "\N{NO-BREAK SPACE}%")
    return textwrap.fill(unbroken, letters, break_long_words=False)


def task_title(task: str) -> str:
    """A task's name as people write it."""
    return task.replace("_", " ")


def in_task(structure: str, task: str) -> str:
    """A structure without the name of its task, which some cohorts put before it."""
    return structure.removeprefix(f"{task_title(task)}: ")


def bare(axes: Axes) -> None:
    """Take ticks and frame from an image."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write <stem>.svg and <stem>.png (200 dpi), without dates or versions in them."""
    written = []
    for suffix, metadata in (
        (".svg", {"Date": None, "Creator": None}),
        (".png", {"Software": None}),
    ):
        path = stem.with_name(stem.name + suffix)
        path.parent.mkdir(parents=True, exist_ok=True)
        with look(), replacing(path) as temporary:
            figure.savefig(temporary, format=suffix[1:], dpi=200, metadata=metadata)
        written.append(path)
    return written
