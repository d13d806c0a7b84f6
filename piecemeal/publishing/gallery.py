"""One case of every data set of a scale, the phantom beside a real case where there is one."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from piecemeal.datasets import layouts
from piecemeal.datasets.fetch import Layout
from piecemeal.datasets.orientation import to_canonical
from piecemeal.datasets.scans import label_table, map_labels
from piecemeal.publishing import style
from piecemeal.publishing.thumbnails import outline_colours, strip

SOFT_TISSUE = (-160.0, 240.0)  # HU shown black and white
PIXELS = 220  # height of a picture
WIDTH, ROW, HEAD = 4.0, 1.6, 0.2  # inches
ABREAST = 3  # data sets in a row where there is one picture of each


class Shown(NamedTuple):
    """A picture (rows, columns, 3) of one case, and what stands above it."""

    title: str
    picture: np.ndarray


def gallery(datasets: Mapping[str, Mapping[str, Any]]) -> Figure:
    """A row a data set: its phantom or what the scale uses, and a real case beside it.

    datasets: {name: {"title", "layout", "layout_options", "labels" [[raw, structure], ...],
    "modality", "oblique": whether slices lie obliquely, "roots": {caption: folder}}}.
    """
    rows = [
        [_case(about, caption, Path(root)) for caption, root in about["roots"].items()]
        for about in datasets.values()
    ]
    if all(len(row) == 1 for row in rows):  # nothing to compare with: several data sets a row
        shown = [row[0] for row in rows]
        rows = [shown[i : i + ABREAST] for i in range(0, len(shown), ABREAST)]
    columns = max(map(len, rows))
    with style.look():
        figure = style.new_figure(columns * WIDTH, len(rows) * (ROW + HEAD))
        grid = figure.subplots(len(rows), columns, squeeze=False)
        for axes_of_row, row in zip(grid, rows, strict=True):
            for axes, one in itertools.zip_longest(axes_of_row, row):
                style.bare(axes)
                if one is not None:
                    axes.imshow(one.picture, interpolation="none")
                    axes.set_title(one.title, loc="left", fontsize=7)
        figure.tight_layout(pad=0.4)
    return figure


def _case(about: Mapping[str, Any], caption: str, root: Path) -> Shown:
    """The first case with labels, in canonical order unless its slices lie obliquely."""
    layout = Layout(about["layout"], about["layout_options"])
    bad: list = []
    cases = [case for case in layout.find_cases(root, bad) if case.labels or case.masks]
    labels = dict(about["labels"])
    scan = layouts.load(layout.name).read(cases[0], labels)
    image, raw, affine = scan.image, scan.labels, scan.affine
    if not about["oblique"]:
        image, raw, affine, _ = to_canonical(image, raw, affine)
    table = label_table(labels)
    ids, names = map_labels(raw, table, cases[0].image, may_be_empty=True)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)[::-1]
    picture = strip(
        image,
        ids,
        spacing,
        list(outline_colours(names).values()),
        upright=not about["oblique"],
        limits=SOFT_TISSUE if about["modality"] == "CT" else None,
        height=PIXELS,
    )
    size = " x ".join(str(n) for n in image.shape[::-1])
    return Shown(f"{about['title']}, {caption}: {cases[0].scan}, {size}", picture)
