"""What is known after each stage of a training in several: learned, forgotten, learned again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from piecemeal.evaluation.statistics import summary
from piecemeal.publishing import style
from piecemeal.publishing.values import Grids, arms_with_scores, columns_of, only
from piecemeal.table_specs import Metric

_MARKERS = "osD^vPX"
_WIDTH, _HEIGHT, _NAMES = 2.7, 2.2, 1.5  # inches of a panel, and of the names beside them
_ASIDE = 0.3  # share of the way between stages over which the intervals are spread


def stage_curves(
    grids: Grids, orders: Mapping[str, Mapping[str, str]], metric: Metric, note: str = ""
) -> Figure:
    """Draw the mean of every column with its 95 % interval after each stage of training.

    grids: from `values.column_grids`, whose settings are a row of panels each, with one line a
    column; orders: {title: {arm: label}}, a panel each, the arms in the order of training. A stage
    that has not learned a column has no point of it: its line begins later. A stage that was not
    run says so under the axis.
    """
    grids = only(grids, {arm for stages in orders.values() for arm in stages})
    columns = columns_of(grids)
    looks = _looks(list(dict.fromkeys(name for _, name in grids)))
    with style.look():
        width = _WIDTH + _NAMES / len(orders)
        figure, panels = style.panels(len(columns), len(orders), width, _HEIGHT, share=True)
        for line, (setting, names) in zip(panels, columns.items(), strict=True):
            ran = arms_with_scores(grids, setting)
            for axes, (title, stages) in zip(line, orders.items(), strict=True):
                for place, name in enumerate(names):
                    aside = _ASIDE * ((place + 0.5) / len(names) - 0.5)
                    _curve(axes, grids[setting, name], list(stages), aside, looks[name])
                labels = [s if arm in ran else f"{s}\n(not run)" for arm, s in stages.items()]
                axes.set_xticks(range(len(stages)), labels)
                axes.set_xlim(-0.35, len(stages) - 0.65)
                axes.set_title(title, fontweight="bold")
                axes.grid(axis="y")
            style.scale(line[0], metric)
            line[0].set_ylabel(f"{setting}\n{style.named(metric)}")
        figure.legend(
            handles=[Line2D([], [], markersize=4, label=name, **looks[name]) for name in looks],
            loc="outside right center",
        )
        style.sign(figure, note)
    return figure


def _looks(names: Sequence[str]) -> dict[str, dict[str, str]]:
    """A look for every name: colour and marker, and the line broken where the colours repeat."""
    return {
        name: {
            "color": colour,
            "marker": _MARKERS[place % len(_MARKERS)],
            "linestyle": "-" if place < len(style.PALETTE) else "--",
        }
        for place, (name, colour) in enumerate(style.colours(names).items())
    }


def _curve(
    axes: Axes,
    grids: Mapping[str, pd.DataFrame],
    stages: Sequence[str],
    aside: float,
    look: Mapping[str, str],
) -> None:
    """Draw the line of one column over the stages that know it, `aside` from those of others."""
    points = [
        (stage + aside, found.mean, *found.interval)
        for stage, arm in enumerate(stages)
        if len(grids.get(arm, ()))
        for found in [summary(grids[arm])]
    ]
    if points:
        x, mean, low, high = np.array(points).T
        axes.plot(x, mean, markersize=4, linewidth=1.1, **look)
        axes.vlines(x, low, high, color=look["color"], linewidth=0.9)
