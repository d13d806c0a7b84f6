"""One case of every data set of a scale, the phantom beside a real case where there is one."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from piecemeal.datasets import layouts
from piecemeal.datasets.orientation import to_canonical
from piecemeal.datasets.scans import CaseFiles, label_table, map_labels
from piecemeal.datasets.sources import Layout
from piecemeal.errors import InputError
from piecemeal.publishing import style
from piecemeal.publishing.thumbnails import outline_colours, strip

log = logging.getLogger(__name__)

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
    found = [
        [_case(about, caption, Path(root)) for caption, root in about["roots"].items()]
        for about in datasets.values()
    ]
    rows = [there for row in found if (there := [shown for shown in row if shown])]
    if not rows:
        figure = style.new_figure(WIDTH, ROW)
        figure.text(0.5, 0.5, "no data set has a case with labels", ha="center")
        return figure
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


def _case(about: Mapping[str, Any], caption: str, root: Path) -> Shown | None:
    """The first case with labels, in canonical order unless its slices lie obliquely.

    None, with a word in the log, if the folder has none: a picture is no reason to stop.
    """
    layout = Layout(about["layout"], about["layout_options"])
    try:
        cases = [case for case in layout.find_cases(root, []) if case.labels or case.masks]
        return _shown(about, caption, layout, cases[0]) if cases else None
    except InputError as error:
        log.warning("%s, %s: left out of the gallery: %s", about["title"], caption, error)
        return None


def _shown(about: Mapping[str, Any], caption: str, layout: Layout, case: CaseFiles) -> Shown:
    labels = dict(about["labels"])
    scan = layouts.load(layout.name).read(case, labels)
    image, raw, affine = scan.image, scan.labels, scan.affine
    if not about["oblique"]:
        image, raw, affine, _ = to_canonical(image, raw, affine)
    table = label_table(labels)
    ids, names = map_labels(raw, table, case.image, may_be_empty=True)
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
    return Shown(f"{about['title']}, {caption}: {case.scan}, {size}", picture)
