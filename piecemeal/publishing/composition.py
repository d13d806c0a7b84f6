"""What a cohort is put together from: scans of each source, and which structures each annotates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from piecemeal.publishing import style

SPLITS = {"train": "training", "validation": "validation", "test": "test"}
_ANNOTATED = style.PALETTE[0]
_PALEST, _DEEPEST = 0.08, 0.75  # opacity of a cell: annotated, and shown by no or every scan
# inches
_ROW, _COLUMN, _BARS, _NAMES, _LETTER = 0.27, 0.37, 2.3, 1.35, 0.044
_EDGE, _APART, _UNDER, _NOTE = 0.08, 0.25, 0.5, 0.26


class Source(NamedTuple):
    """A data set, or one modality of a data set that has several.

    scans: split -> how many; declared: structure -> whether it is annotated there; shown: structure
    -> how many training scans it was drawn in.
    """

    name: str
    scans: Mapping[str, int]
    declared: Mapping[str, bool]
    shown: Mapping[str, int]


def sources_of(cases: pd.DataFrame, structures: Sequence[str]) -> list[Source]:
    """The sources of a prepared cohort, by name; cases: its cases.csv.

    A structure counts as annotated in a source whose scans declare it, be it present or not; of a
    scan cut into tasks every task is a case.
    """
    found = []
    for name, of_source in parted(cases):
        names = {
            column: [set(cell.split(";")) for cell in of_source[column]]
            for column in ("declared", "present")
        }
        training = of_source["split"] == "train"
        found.append(
            Source(
                name,
                {split: int((of_source["split"] == split).sum()) for split in SPLITS},
                {s: any(s in cell for cell in names["declared"]) for s in structures},
                {
                    s: sum(
                        s in cell
                        for cell, used in zip(names["present"], training, strict=True)
                        if used
                    )
                    for s in structures
                },
            )
        )
    return found


def parted(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Rows by data set, and by modality in those with several: ("amos22 CT", its rows), ....

    rows: of cases.csv, or scores; without a column `modality` modalities are not told apart.
    """
    found = []
    for dataset, part in rows.groupby("dataset"):
        modalities = sorted(set(part["modality"])) if "modality" in part else []
        if len(modalities) < 2:
            found.append((dataset, part))
        else:
            found += [(f"{dataset} {m}", part[part["modality"] == m]) for m in modalities]
    return found


def annotation_matrix(
    sources: Sequence[Source], titles: Mapping[str, str], note: str = ""
) -> Figure:
    """Draw the scans of every source as bars, and sources x structures as a matrix.

    titles: data set -> what stands beside its row. A cell is coloured where the source annotates
    the structure, the deeper the more of its training scans show it, and says how many do; an empty
    cell says that nobody drew the structure there, not that it is absent.
    """
    structures = list(sources[0].declared)
    rows, tall = len(sources), len(sources) * _ROW
    above = _EDGE + _LETTER * max(map(len, structures))
    across = _COLUMN * len(structures)
    width = _NAMES + _BARS + _APART + across + _EDGE + above * 0.55
    height = above + tall + _UNDER + _NOTE
    with style.look():
        figure = style.new_figure(width, height)
        bottom, high = (_UNDER + _NOTE) / height, tall / height
        bars = figure.add_axes((_NAMES / width, bottom, _BARS / width, high))
        left = (_NAMES + _BARS + _APART) / width
        matrix = figure.add_axes((left, bottom, across / width, high))
        _bars(bars, sources)
        bars.set_yticks(np.arange(rows) + 0.5, [_titled(s.name, titles) for s in sources])
        _cells(matrix, sources, structures)
        for axes in (bars, matrix):
            axes.set_ylim(rows, 0)
            axes.tick_params(length=0)
        figure.legend(
            handles=[Patch(color=_colour(k), label=said) for k, said in enumerate(SPLITS.values())],
            loc="lower left",
            bbox_to_anchor=(0.02 / width, _NOTE / height),
            ncols=len(SPLITS),
            handlelength=0.9,
            columnspacing=1.0,
        )
        figure.text(
            left,
            (_NOTE + 0.16) / height,
            "coloured: annotated in the source; number: training scans that show it",
            va="center",
        )
        style.sign(figure, note)
    return figure


def _titled(name: str, titles: Mapping[str, str]) -> str:
    """The short title of a source: without what a data set's title has in brackets."""
    dataset, _, modality = name.partition(" ")
    short = titles.get(dataset, dataset).split(" (")[0].split(",")[0]
    return f"{short} {modality}".rstrip()


def _colour(split: int) -> str:
    return (style.PALETTE[0], style.PALETTE[5], style.PALETTE[1])[split]


def _bars(axes: Axes, sources: Sequence[Source]) -> None:
    most = max(sum(source.scans.values()) for source in sources)
    for row, source in enumerate(sources):
        start = 0
        for number, count in enumerate(source.scans.values()):
            axes.barh(row + 0.5, count, left=start, height=0.7, color=_colour(number))
            start += count
        said = " + ".join(str(count) for count in source.scans.values())
        axes.text(start + 0.02 * most, row + 0.5, said, va="center", fontsize=6.5)
    axes.set_xlim(0, 1.5 * most)  # room for the numbers beside the longest bar
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.set_title("scans", loc="left")


def _cells(axes: Axes, sources: Sequence[Source], structures: Sequence[str]) -> None:
    for row, source in enumerate(sources):
        scans = max(source.scans["train"], 1)
        for column, name in enumerate(structures):
            fill = "none"
            if source.declared[name]:
                share = source.shown[name] / scans
                opacity = _PALEST + (_DEEPEST - _PALEST) * share
                fill = (*to_rgb(_ANNOTATED), opacity)
                axes.text(
                    *(column + 0.5, row + 0.5, source.shown[name]),
                    **{"ha": "center", "va": "center", "fontsize": 6.5},
                    color="white" if opacity > 0.5 else style.INK,
                )
            box = Rectangle((column, row), 1, 1, facecolor=fill, edgecolor="#DDDDDD", linewidth=0.6)
            axes.add_patch(box)
    axes.set_xlim(0, len(structures))
    axes.xaxis.tick_top()
    axes.set_xticks(np.arange(len(structures)) + 0.5, structures, rotation=55, ha="left")
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
