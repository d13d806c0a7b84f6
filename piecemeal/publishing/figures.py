"""Figures over runs and cases: training curves, and the scores of every case arm by arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from piecemeal.publishing import style

_TRAINING, _VALIDATION = style.PALETTE[0], style.PALETTE[3]
_ACROSS = 4  # panels side by side


def training_curves(
    histories: pd.DataFrame, cohorts: Mapping[str, str], arms: Mapping[str, str], note: str = ""
) -> Figure:
    """Draw training and validation loss over steps, one panel an arm, one row a cohort.

    `histories` comes from `collect.read_histories`; `cohorts` and `arms` are {name: heading} in
    order. Faint: the loss of every step; strong: a running mean over a twentieth of the run. Dots:
    the validation whose weights were kept, which need not be the lowest of all: a method may be
    watched only from some step on.
    """
    with style.look():
        figure, grid = style.panels(len(cohorts), len(arms), 2.1, 1.75, share=True)
        for lines, (cohort, title) in zip(grid, cohorts.items(), strict=True):
            for axes, (arm, heading) in zip(lines, arms.items(), strict=True):
                of_arm = (histories["cohort"] == cohort) & (histories["arm"] == arm)
                best = _losses(axes, histories[of_arm])
                axes.set_title(heading, fontweight="bold", pad=15)
                axes.text(0.5, 1.04, _kept(best), transform=axes.transAxes, ha="center")
                axes.set_yscale("log")
                axes.grid(axis="y")
                axes.set_xlabel("step")
            lines[0].set_ylabel(f"{style.wrapped(title)}\nloss")
        handles = [
            Line2D([], [], color=_TRAINING, label="training"),
            Line2D([], [], color=_VALIDATION, label="validation"),
            Line2D([], [], color=_VALIDATION, marker="o", linestyle="", label="weights kept"),
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=3)
        style.sign(figure, note)
    return figure


def _kept(best: Sequence[int]) -> str:
    """Which steps were kept, in as many words as fit over a panel."""
    if not best:
        return "not run"
    if len(best) <= 2:
        return f"kept: step {', '.join(f'{step:,}' for step in best)}"
    low, high = min(best), max(best)
    steps = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    return f"kept: step {steps} ({len(best)} runs)"


def _losses(axes: Axes, histories: pd.DataFrame) -> list[int]:
    """Draw the runs of one panel; return the step of each whose weights were kept."""
    best = []
    for _, run in histories.sort_values("step").groupby("seed"):
        for column, colour, size in (
            ("loss", _TRAINING, 1.0),
            ("validation_loss", _VALIDATION, 1.2),
        ):
            _curve(axes, run, column, colour, size)
        kept = run[run["step"] == run["best_step"]]
        axes.plot(kept["step"], kept["validation_loss"], "o", color=_VALIDATION, markersize=4)
        best += kept["step"].astype(int).tolist()
    return best


def _curve(axes: Axes, run: pd.DataFrame, column: str, colour: str, size: float) -> None:
    """Draw a column of one run, faint, and its running mean over a twentieth of the run."""
    known = run.dropna(subset=[column])
    if known.empty:
        return
    window = max(1, len(known) // 20)
    smooth = known[column].rolling(window, center=True, min_periods=1).mean()
    if window > 1:
        axes.plot(
            known["step"],
            known[column],
            color=colour,
            alpha=0.25,
            linewidth=0.5,
            rasterized=True,  # as a path it would be most of the svg
        )
    axes.plot(known["step"], smooth, color=colour, linewidth=size)


def noted_curves(
    histories: pd.DataFrame,
    cohorts: Mapping[str, str],
    arms: Mapping[str, str],
    columns: Mapping[str, str],
    note: str = "",
) -> Figure:
    """Draw what methods noted while they trained, shares from 0 to 1, as `training_curves` does.

    `columns` is {column of history.csv: label} in order, one line a column and seed. A panel says
    so where its arm has none of them, or was not run.
    """
    colour = style.colours(list(columns))
    # A column that no run of the scale has is not in the table at all.
    histories = histories.reindex(columns=[*histories, *(c for c in columns if c not in histories)])
    with style.look():
        figure, grid = style.panels(len(cohorts), len(arms), 2.1, 1.75, share=True)
        for lines, (cohort, title) in zip(grid, cohorts.items(), strict=True):
            for axes, (arm, heading) in zip(lines, arms.items(), strict=True):
                of_arm = (histories["cohort"] == cohort) & (histories["arm"] == arm)
                runs = histories[of_arm].sort_values("step")
                for _, run in runs.groupby("seed"):
                    for column in columns:
                        _curve(axes, run, column, colour[column], 1.2)
                axes.set_title(heading, fontweight="bold")
                axes.set_ylim(-0.02, 1.02)
                axes.grid(axis="y")
                axes.set_xlabel("step")
                if runs[list(columns)].isna().all(axis=None):
                    why = "not run" if runs.empty else "notes none of this"
                    axes.text(0.5, 0.5, why, transform=axes.transAxes, ha="center")
                    axes.set_xticks([])
                    axes.set_xlabel("")
            lines[0].set_ylabel(f"{style.wrapped(title)}\nshare")
        handles = [Line2D([], [], color=colour[c], label=label) for c, label in columns.items()]
        figure.legend(handles=handles, loc="outside upper center", ncols=len(columns))
        style.sign(figure, note)
    return figure


def nothing(reason: str, note: str = "") -> Figure:
    """A figure that says why it shows nothing."""
    with style.look():
        figure = style.new_figure(5, 0.9)
        figure.text(0.5, 0.6, reason, ha="center", va="center", color=style.FAINT)
        style.sign(figure, note)
    return figure


def case_scores(
    values: pd.DataFrame, arms: Mapping[str, str], label: str, note: str = ""
) -> Figure:
    """Draw every case as a dot, arms side by side, the same case joined by a line.

    `values` comes from `values.case_values`; one panel a column, each on its own scale, for
    it is the arms that are compared. The box spans the quartiles, its bar is the median. `arms`
    is {name: short label} in order; `label` names the axis.
    """
    lines = [  # (setting, up to _ACROSS of its columns)
        (setting, names[first : first + _ACROSS])
        for setting, part in values.groupby("setting", sort=False)
        for names in [list(part["column"].unique())]
        for first in range(0, len(names), _ACROSS)
    ]
    colour = list(style.colours(list(arms)).values())
    labels = [style.wrapped(label, 9) for label in arms.values()]
    letters = max(len(line) for label in labels for line in label.splitlines())
    width = max(2.0, len(labels) * (0.1 + 0.08 * letters))  # inches; room for every label
    with style.look():
        across = max(len(names) for _, names in lines)
        figure, grid = style.panels(len(lines), across, width, 1.7, share=False)
        for panels, (setting, names) in zip(grid, lines, strict=True):
            for axes in panels[len(names) :]:
                axes.set_visible(False)
            for axes, name in zip(panels, names, strict=False):
                of_panel = (values["setting"] == setting) & (values["column"] == name)
                table = values[of_panel].pivot(index="case", columns="arm", values="value")
                _paired(axes, table.reindex(columns=list(arms)), colour)
                axes.set_xticks(range(len(arms)), labels)
                axes.set_title(name, fontweight="bold")
                axes.grid(axis="y")
            panels[0].set_ylabel(f"{setting}\n{label}")
        style.sign(figure, note)
    return figure


def _paired(axes: Axes, table: pd.DataFrame, colours: list[str]) -> None:
    """Draw one panel: cases in rows, arms in columns."""
    places = np.arange(table.shape[1])
    axes.plot(places, table.to_numpy().T, color=style.FAINT, alpha=0.3, linewidth=0.5, zorder=1)
    for place, colour, (_, cases) in zip(places, colours, table.items(), strict=True):
        cases = cases.dropna()
        if cases.empty:
            continue
        axes.boxplot(
            [cases],
            positions=[place],
            widths=0.55,
            showfliers=False,
            showcaps=False,
            whis=0,
            patch_artist=True,
            boxprops={"facecolor": colour, "alpha": 0.3, "edgecolor": colour},
            medianprops={"color": style.INK, "linewidth": 1.4},
            zorder=2,
        )
        dots = np.full(len(cases), place)
        axes.scatter(dots, cases, s=7, color=colour, linewidths=0, alpha=0.85, zorder=3)
    axes.set_xlim(-0.6, len(places) - 0.4)
