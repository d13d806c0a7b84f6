"""The quality page of a cohort: every prepared case with its outlines, to be looked through."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np
import pandas as pd

from piecemeal.datasets.store import TWINS, PreparedScan, nowhere, read_cases
from piecemeal.jobs import end_with_parent
from piecemeal.provenance import write_text
from piecemeal.publishing.thumbnails import Colour, outline_colours, projection, thumbnail


class Tile(NamedTuple):
    """One scan on the page: its row of cases.csv, its volumes in ml, its picture.

    unknown: structures that were drawn in other scans of its data set and task, not in it.
    """

    row: Mapping[str, Any]
    volumes: Mapping[str, str]
    picture: str
    unknown: Sequence[str]


class Source(NamedTuple):
    """One data set of the cohort: what the page says of it, its rows in short, its scans."""

    name: str
    title: str
    phantom: bool
    summary: Mapping[str, str]
    tiles: Sequence[Tile]


def write_page(
    path: Path,
    cohort: Mapping[str, Any],
    prepared: Path,
    phantoms: Iterable[str],
    workers: int = 1,
) -> None:
    """Write the page of a prepared cohort.

    cohort: title, structures, tasks {task: structures}, whether structures are `overlapping`,
    orientation, and `datasets` {name: title}; phantoms: data sets that are drawn. Raises InputError
    if the cohort is not prepared.
    """
    cases = read_cases(prepared)
    structures = list(cohort["structures"])
    colours = outline_colours(structures)
    upright = cohort["orientation"] == "canonical"
    folders = [prepared / row.dataset / row.scan for row in cases.itertuples()]
    picture, shown = partial(_picture, upright=upright), [structures] * len(cases)
    if cohort["overlapping"]:  # in a bit mask a structure is known by its place in the task
        picture, shown = _projection, [cohort["tasks"][task] for task in cases["task"]]
    of_scans = [[colours[name] for name in names] for names in shown]
    pictures = _each(picture, folders, of_scans, workers)
    asked = {key: _declared(alike) for key, alike in cases.groupby(["dataset", "task"])}
    tiles = [
        Tile(row, _volumes(row), shown, _unknown(row, asked[row["dataset"], row["task"]]))
        for row, shown in zip(cases.to_dict("records"), pictures, strict=True)
    ]
    drawn, twins = set(phantoms), pd.read_csv(prepared / TWINS, dtype=str)
    sources = [
        Source(
            name,
            title,
            name in drawn,
            _summary(cases[cases["dataset"] == name]) | _odd(name, cases, twins),
            [tile for tile in tiles if tile.row["dataset"] == name],
        )
        for name, title in cohort["datasets"].items()
    ]
    loader = jinja2.PackageLoader("piecemeal.publishing")
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True)
    page = environment.get_template("quality.html.j2")
    write_text(
        path,
        page.render(
            title=cohort["title"],
            upright=upright,
            overlapping=cohort["overlapping"],
            sources=sources,
            colours={name: "#{:02x}{:02x}{:02x}".format(*c) for name, c in colours.items()},
        ),
    )


def _each(
    function: Any, folders: Sequence[Path], colours: Sequence[Sequence[Colour]], workers: int
) -> list[str]:
    if workers <= 1:
        return list(map(function, folders, colours))
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(workers, context, initializer=end_with_parent) as pool:
        return list(pool.map(function, folders, colours, chunksize=2))


def _picture(folder: Path, colours: Sequence[Colour], upright: bool) -> str:
    scan = PreparedScan(folder)
    labels = None if scan.labels is None else np.asarray(scan.labels)
    spacing = scan.geometry.grid_spacing
    return thumbnail(np.asarray(scan.image), labels, spacing, colours, upright=upright)


def _projection(folder: Path, colours: Sequence[Colour]) -> str:
    scan = PreparedScan(folder)
    return projection(scan.image[:1], scan.labels[:1], scan.geometry.grid_spacing, colours)


def _volumes(row: Mapping[str, Any]) -> dict[str, str]:
    names, volumes = row["present"].split(";"), row["volumes_ml"].split(";")
    return dict(zip(names, volumes, strict=True)) if row["present"] else {}


def _declared(cases: pd.DataFrame) -> list[str]:
    """Structures that were drawn in any of these scans."""
    return sorted({name for cell in cases["declared"] for name in cell.split(";") if name})


def _unknown(row: Mapping[str, Any], asked: Sequence[str]) -> list[str]:
    return sorted(set(asked) - set(row["declared"].split(";")))


def _summary(cases: pd.DataFrame) -> dict[str, str]:
    """What the rows of one data set have in common, in words."""
    splits = cases.groupby("split")["case"].nunique()
    sizes = [
        f"{cases[f'spacing_{axis}'].min():.3g} to {cases[f'spacing_{axis}'].max():.3g}"
        for axis in "zyx"
    ]
    tasks = cases["task"].value_counts(sort=False)
    shown = ", ".join(f"{count} {task}" for task, count in tasks.items() if task)
    return {
        "patients": ", ".join(f"{count} {split}" for split, count in splits.items()),
        "scans": shown or str(len(cases)),
        "modality": ", ".join(sorted(set(cases["modality"]))),
        "voxels (mm)": " x ".join(sizes) + " (z, y, x)",
        "labels": ", ".join(_declared(cases)) or "none",
    }


def _odd(dataset: str, cases: pd.DataFrame, twins: pd.DataFrame) -> dict[str, str]:
    """What is to be looked at in a data set, in words; empty where there is nothing."""
    left = twins[twins["dataset"] == dataset]
    said = {
        "in no scan": ", ".join(nowhere(cases).get(dataset, [])),
        "left out": "; ".join(f"{row.case}, {row.reason}" for row in left.itertuples()),
    }
    return {what: text for what, text in said.items() if text}
