"""The arms of a table by their rank, with how sure the mean and the rank are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from piecemeal.evaluation.statistics import summary
from piecemeal.publishing import style
from piecemeal.publishing.ranks import build_ranks, grids_of_setting
from piecemeal.publishing.tables import checked, settings
from piecemeal.publishing.values import metric_of
from piecemeal.table_specs import Table

# inches
_ROW, _NAMES, _PANEL, _APART, _SHARES, _TITLE, _AXIS, _NOTE = (
    0.2,
    1.6,
    2.7,
    0.25,
    0.75,
    0.3,
    0.4,
    0.3,
)


class Standing(NamedTuple):
    """An arm on the board: its mean and rank with 95 % intervals, and how often it is the best."""

    label: str
    mean: float
    interval: tuple[float, float]
    rank: float
    ranks: tuple[float, float]
    first: float


def standings(
    table: Table, name: str, arms: Mapping[str, str], scores: pd.DataFrame
) -> dict[str, list[Standing]]:
    """Setting -> its arms from the best to the worst, by the metric `name` in the average column.

    That is the only column where there is no average. arms: name -> label; those without a score
    are not on the board. Ranks are those of the table's csv of ranks, so a miss counts as it does
    there. scores: as for `ranks.build_ranks`.
    """
    metric, ranks = metric_of(table, name), build_ranks(table, scores)
    found: dict[str, list[Standing]] = {}
    for half, setting, of_setting in settings(table, checked(table, scores)):
        column = half.average or half.columns[0].name
        grids = grids_of_setting(table, half, metric, of_setting)[column]
        here = (ranks["setting"] == setting) & (ranks["column"] == column)
        found[setting] = [
            Standing(
                arms[row.arm],
                *(summary(grids[row.arm]).mean, summary(grids[row.arm]).interval),
                *(row.rank, (row.rank_low, row.rank_high), row.first),
            )
            for row in ranks[here & (ranks["metric"] == name)].sort_values("rank").itertuples()
            if row.arm in arms and row.arm in grids
        ]
    return found


def leaderboard(
    boards: Mapping[str, Sequence[Standing]], title: str, better: str, note: str = ""
) -> Figure:
    """Draw a board a setting, below one another: means on the left, ranks on the right.

    title: the metric, for the axis; better: "higher" or "lower".
    """
    heights = [_TITLE + _ROW * max(1, len(board)) + _AXIS for board in boards.values()]
    width, height = _NAMES + 2 * _PANEL + _APART + _SHARES, sum(heights) + _NOTE
    with style.look():
        figure = style.new_figure(width, height)
        top = height
        for (setting, board), tall in zip(boards.items(), heights, strict=True):
            bottom, rows = top - tall + _AXIS, tall - _TITLE - _AXIS
            means, ranks = (
                figure.add_axes((left / width, bottom / height, _PANEL / width, rows / height))
                for left in (_NAMES, _NAMES + _PANEL + _APART)
            )
            _intervals(means, [(s.mean, *s.interval) for s in board])
            means.set_yticks(range(len(board)), [s.label for s in board])
            means.set_xlabel(f"{title}, {better} is better")
            means.set_title(setting, fontweight="bold", loc="left")
            _intervals(ranks, [(s.rank, *s.ranks) for s in board])
            ranks.set_yticks([])
            ranks.set_xlim(0.5, max(1, len(board)) + 0.5)
            ranks.xaxis.set_major_locator(MaxNLocator(integer=True))
            ranks.set_xlabel("rank")
            ranks.set_title("best in", loc="right", fontsize=7, x=1 + _SHARES / _PANEL * 0.8)
            for place, standing in enumerate(board):
                _beside(ranks, place, _percent(standing.first))
            top -= tall
        style.sign(figure, note)
    return figure


def _intervals(axes: Axes, rows: Sequence[tuple[float, float, float]]) -> None:
    """A point and its interval a row, the first one on top."""
    colour = style.PALETTE[0]
    for place, (centre, low, high) in enumerate(rows):
        axes.plot([low, high], [place] * 2, color=colour, linewidth=1.2, solid_capstyle="butt")
        axes.plot(*([centre], [place]), color=colour, marker="o", markersize=4)
    if not rows:
        axes.text(0.5, 0.5, "not run", transform=axes.transAxes, ha="center", color=style.FAINT)
    axes.set_ylim(max(1, len(rows)) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")


def _percent(share: float) -> str:
    """A dash where it is not known, as of a single case."""
    return "-" if math.isnan(share) else f"{100 * share:.0f} %"


def _beside(axes: Axes, place: int, text: str) -> None:
    axes.annotate(
        text,
        (1, place),
        xycoords=("axes fraction", "data"),
        xytext=(_SHARES * 72 * 0.8, 0),
        textcoords="offset points",
        ha="right",
        va="center",
        fontsize=7,
    )
