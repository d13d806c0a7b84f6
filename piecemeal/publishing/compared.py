"""Figures of means with intervals: arms side by side in every column, and stage after stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from piecemeal.evaluation.statistics import summary
from piecemeal.publishing import style
from piecemeal.publishing.values import Grids, columns_of, only
from piecemeal.table_specs import Metric

# inches
_ARM, _BETWEEN, _COLUMN, _WIDEST = 0.11, 0.26, 0.8, 9.0
_NARROWEST = 4.8  # holds legend and note
_LEFT, _APART, _TITLE, _HEIGHT, _LINE, _LEGEND, _NOTE = 0.55, 0.4, 0.28, 1.9, 0.13, 0.28, 0.3
_LETTERS = 11  # in a line under a column
_ACROSS = 6  # arms in a line of the legend
_SPREAD = 0.6  # share of an arm's place that its cases are spread over


def structure_scores(
    grids: Grids, arms: Mapping[str, str], metric: Metric, note: str = ""
) -> Figure:
    """Draw mean and 95 % interval of every arm in every column, and each case as a faint dot.

    grids: from `values.column_grids`, whose settings are a panel each; arms: {name: label} in
    order. An arm has no point in a column in which it has no case, and a setting without any case
    says that it was not run.
    """
    grids = only(grids, arms)
    columns = columns_of(grids)
    column = max(_COLUMN, _BETWEEN + _ARM * len(arms), (_NARROWEST - _LEFT - 0.1) / len(grids))
    lines = _lines(columns, column)
    legend = _LEGEND + 0.17 * ((len(arms) - 1) // _ACROSS)
    width = max(sum(line.values()) + _APART * (len(line) - 1) for line in lines) + _LEFT + 0.1
    under = 0.1 + _LINE * max(style.wrapped(name, _LETTERS).count("\n") + 1 for _, name in grids)
    row = _TITLE + _HEIGHT + under
    height = legend + row * len(lines) + _NOTE
    colour = style.colours(list(arms))
    with style.look():
        figure = style.new_figure(width, height)
        for number, line in enumerate(lines):
            left, bottom = _LEFT, height - legend - row * (number + 1) + under
            for place, (setting, wide) in enumerate(line.items()):
                box = (left / width, bottom / height, wide / width, _HEIGHT / height)
                axes = figure.add_axes(box)
                names = columns[setting]
                of_setting = [grids[setting, name] for name in names]
                _panel(axes, of_setting, colour, _ARM / column)
                axes.set_xticks(
                    range(len(of_setting)),
                    [style.wrapped(name, _LETTERS) for name in columns[setting]],
                )
                axes.set_title(setting, fontweight="bold")
                style.scale(axes, metric)
                if place == 0:
                    axes.set_ylabel(style.named(metric))
                left += wide + _APART
        handles = [
            Line2D([], [], color=colour[arm], marker="o", markersize=4, label=label)
            for arm, label in arms.items()
        ]
        figure.legend(
            handles=handles,
            loc="upper center",
            bbox_to_anchor=(0.5, 1 - 0.04 / height),
            ncols=min(len(arms), _ACROSS),
        )
        style.sign(figure, note)
    return figure


def _lines(columns: Mapping[str, Sequence[str]], column: float) -> list[dict[str, float]]:
    """Widths of the panels, inches, line by line; a line is as full as it gets."""
    lines: list[dict[str, float]] = []
    for setting, names in columns.items():
        wide = column * len(names)
        if not lines or sum(lines[-1].values()) + _APART * len(lines[-1]) + wide > _WIDEST:
            lines.append({})
        lines[-1][setting] = wide
    return lines


def _panel(
    axes: Axes,
    columns: Sequence[Mapping[str, pd.DataFrame]],
    colours: Mapping[str, str],
    step: float,
) -> None:
    """Draw one panel: a group a column, one arm beside the other, `step` of a column apart."""
    for place, grids in enumerate(columns):
        for number, (arm, colour) in enumerate(colours.items()):
            if len(grid := grids.get(arm, ())):
                centre = place + (number - (len(colours) - 1) / 2) * step
                _arm(axes, centre, step * _SPREAD, grid, colour)
    if not any(columns):
        axes.text(0.5, 0.5, "not run", transform=axes.transAxes, ha="center", color=style.FAINT)
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.5, len(columns) - 0.5)
    for edge in np.arange(len(columns) - 1) + 0.5:
        axes.axvline(edge, color="#DDDDDD", linewidth=0.5, zorder=0)
    axes.grid(axis="y")


def _arm(axes: Axes, centre: float, spread: float, grid: pd.DataFrame, colour: str) -> None:
    cases, found = grid.mean(axis=1), summary(grid)
    # Spread by their order, not at random: the same input gives the same picture.
    aside = (np.arange(len(cases)) * 0.618) % 1 - 0.5
    dots = {"s": 5, "alpha": 0.3, "linewidths": 0, "zorder": 2}
    axes.scatter(centre + spread * aside, cases, color=colour, **dots)
    axes.plot([centre] * 2, found.interval, color=colour, linewidth=1.4, zorder=3)
    mark = {"marker": "o", "markersize": 4.5, "markeredgecolor": "white", "markeredgewidth": 0.5}
    axes.plot([centre], [found.mean], color=colour, zorder=4, **mark)
