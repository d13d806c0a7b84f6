"""A table as the paper prints it: what stands in which cell, row, block and footer.

Decided once for markdown, LaTeX (`formats`) and html (`report`), which only write it down.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain, product
from string import ascii_lowercase
from typing import NamedTuple

import numpy as np
import pandas as pd

from piecemeal.publishing import cost, footers
from piecemeal.publishing.cells import NOT_ITS_TASK
from piecemeal.publishing.footers import Circumstances
from piecemeal.publishing.misses import LOSSES, Convention, conventions, rests_on_misses
from piecemeal.publishing.published import by_arm
from piecemeal.publishing.tables import NO_COLUMN
from piecemeal.table_specs import Arm, Half, Metric, Speed, Table

NONE = "\N{EN DASH}"


class PrintedCell(NamedTuple):
    """One cell: our number, the paper's, and the mark of a footnote."""

    mean: str
    std: str = ""
    remark: str = ""  # small: what the mean rests on, or why there is none
    published: str = ""
    mark: str = ""
    best: bool = False
    cases: int = 0


class PrintedRow(NamedTuple):
    """One arm of a block."""

    label: str
    tex: str
    role: str
    cells: list[PrintedCell]


class Block(NamedTuple):
    """Structures that stand side by side, each with the same measures; or what the arms cost."""

    headings: list[str]
    measures: Sequence[Metric | Speed]
    rows: list[PrintedRow]


class PrintedHalf(NamedTuple):
    """One setting: its heading, whether its data are phantoms, and its blocks."""

    heading: str
    phantom: bool
    blocks: list[Block]


class OtherConvention(NamedTuple):
    """Distances of one column by a convention that is not the table's, one text an arm."""

    setting: str
    column: str
    metric: str
    words: str
    numbers: list[str]


class Misses(NamedTuple):
    """The block of distances that rest on misses, by the conventions that the table has not."""

    arms: list[Arm]
    lines: list[OtherConvention]


class PrintedTable(NamedTuple):
    """Everything the templates need."""

    label: str
    caption: str
    of_paper: bool  # the paper has such a table
    halves: list[PrintedHalf]
    misses: Misses
    notes: list[tuple[str, str]]
    footer: list[tuple[str, str]]


def lay_out(
    table: Table,
    rows: pd.DataFrame,
    published: pd.DataFrame,
    circumstances: Circumstances,
    ranking: pd.DataFrame | None = None,
) -> PrintedTable:
    """Arrange the long form `rows` (from `tables.build_table`) as the paper prints the table.

    `ranking`, from `ranks.build_ranks`, gives the footer its line on ranks.
    """
    rows = by_arm(table, rows)
    metrics = [metric for metric in table.metrics if metric.printed]
    numbers = rows.set_index(["setting", "method", "column", "metric"]).sort_index()
    noted = published[published["note"] != ""]
    notes = {
        (row.setting, row.method, row.column, row.metric): row.note
        for row in noted.itertuples(index=False)
    }
    marks: dict[str, str] = {}  # footnote text -> mark, in the order of first use

    def laid_out(setting: str, names: list[str], measures: Sequence[Metric | Speed]) -> _Cells:
        compares = setting in set(published["setting"])
        cells: _Cells = {}
        for arm, name in product(table.arms, names):
            cells[arm.name, name] = there = []
            for measure in measures:
                place = (setting, arm.name, name, measure.name)
                cell = _cell(numbers.loc[place], arm, measure)
                if not compares:
                    cell = cell._replace(published="")
                if note := notes.get(place):
                    mark = marks.setdefault(note, ascii_lowercase[len(marks)])
                    cell = cell._replace(mark=mark)
                there.append(cell)
        _embolden(cells, table, names, measures)
        return cells

    halves, others = [], []
    for half in table.halves:
        average = [] if half.average is None else [half.average]
        names = [column.name for column in half.columns] + average
        headings = [column.heading for column in half.columns] + average
        for setting in _settings(rows, half):
            blocks = []
            if metrics:
                cells = laid_out(setting, names, metrics)
                blocks += _blocks(table, cells, names, headings, metrics)
                others += _other_conventions(table, numbers, setting, names, metrics)
            if table.speed and setting == half.setting:
                cells = laid_out(setting, [NO_COLUMN], table.speed)
                blocks += _blocks(table, cells, [NO_COLUMN], ["Cost"], table.speed)
            phantom = circumstances.is_phantom(half.cohort)
            halves.append(PrintedHalf(setting, phantom, blocks))
    return PrintedTable(
        table.label,
        footers.caption(table, circumstances),
        table.published is not None,
        halves,
        Misses([arm for arm in table.arms if arm.role == "compared"], others),
        [(mark, text) for text, mark in marks.items()],
        footers.footer(table, rows, ranking, circumstances),
    )


_Cells = dict[tuple[str, str], list[PrintedCell]]  # (arm, column) -> one a measure


def _blocks(
    table: Table,
    cells: _Cells,
    names: list[str],
    headings: list[str],
    measures: Sequence[Metric | Speed],
) -> list[Block]:
    """Cut the columns into blocks of the width that the table asks for."""
    ways = list(dict.fromkeys(arm.heading for arm in table.arms if arm.heading)) or [""]
    places = list(product(zip(names, headings, strict=True), ways))
    above = [_heading(heading, way, len(names)) for (_, heading), way in places]
    empty = [PrintedCell("")] * len(measures)
    blocks = []
    for first in range(0, len(places), table.columns_per_block):
        part = slice(first, first + table.columns_per_block)
        lines = []
        for arms in _abreast(table.arms):
            below = {arm.heading: arm.name for arm in arms}
            found = [
                cells.get((below.get(way, below.get("")), name), empty)
                for (name, _), way in places[part]
            ]
            one = arms[0]
            lines.append(PrintedRow(one.label, one.tex, one.role, [*chain.from_iterable(found)]))
        blocks.append(Block(above[part], measures, lines))
    return blocks


def _heading(column: str, way: str, columns: int) -> str:
    """What stands above a column in which arms stand side by side; alone, that is said once."""
    return way if way and columns == 1 else ", ".join(filter(None, (column, way)))


def _abreast(arms: list[Arm]) -> list[list[Arm]]:
    """The arms of every printed row: those of one label where arms have headings, else one."""
    if not any(arm.heading for arm in arms):
        return [[arm] for arm in arms]
    return [[arm for arm in arms if arm.label == label] for label in {a.label: 0 for a in arms}]


def _settings(rows: pd.DataFrame, half: Half) -> list[str]:
    """Names of the half's settings in the long form: its own, then '<own>, <variant>'."""
    return [s for s in rows["setting"].unique() if f"{s}, ".startswith(f"{half.setting}, ")]


def _cell(row: pd.Series, arm: Arm, measure: Metric | Speed) -> PrintedCell:
    published = ""
    if not np.isnan([row["published_mean"], row["published_std"]]).all():
        published = _mean_std(row["published_mean"], row["published_std"], measure)
    elif arm.role == "compared":
        published = NONE
    status = row["status"].split(";")[0]
    if np.isnan(row["mean"]):
        remark = "not run" if status.startswith("not run") else _short(status)
        nothing = status in (cost.NO_MORE, cost.NOT_OURS, NOT_ITS_TASK)
        return PrintedCell("", remark=NONE if nothing else remark, published=published)
    remark = "" if status == "ok" else _short(status)
    mean, std = _number(row["mean"], measure), _std(row["std"], measure)
    return PrintedCell(mean, std, remark, published, cases=row["n_cases"])


def _mean_std(mean: float, std: float, measure: Metric | Speed) -> str:
    return f"{_number(mean, measure)} {_std(std, measure)}".rstrip()


def _std(value: float, measure: Metric | Speed) -> str:
    """'' of what is the same in all runs."""
    if isinstance(measure, Speed) and not measure.varies:
        return ""
    return f"({_number(value, measure)})"


def _number(value: float, measure: Metric | Speed) -> str:
    """A dash for what there is none of, such as the std of a single run."""
    return NONE if np.isnan(value) else f"{value:.{measure.decimals}f}"


def _short(status: str) -> str:
    """'2 of 40 missed, 1 of 40 invented' -> '2/40 missed, 1/40 invented'."""
    return re.sub(r"(\d+) of (\d+)", r"\1/\2", status)


def _embolden(
    cells: _Cells, table: Table, names: list[str], measures: Sequence[Metric | Speed]
) -> None:
    """Mark the best of the compared arms, all that tie in print, but none that found nothing.

    Where the table leaves cases out, an arm that missed anything, of an average in any column, is
    never the best: its misses chose the cases. Cost has no best where arms have more cases.
    """
    averages = {half.average for half in table.halves}
    for name, (i, measure) in product(names, enumerate(measures)):
        means = {arm: float(m) for arm in table.compared if (m := cells[arm, name][i].mean)}
        numbers = {cells[arm, name][i].cases for arm in means}
        if len(means) < 2 or (isinstance(measure, Speed) and len(numbers) > 1):
            continue
        if table.misses == "excluded":
            rests_on = names if name in averages else [name]
            lost = {arm for arm in means for column in rests_on if _lost(cells[arm, column][i])}
            means = {arm: mean for arm, mean in means.items() if arm not in lost}
        best = (max if measure.better == "higher" else min)(means.values(), default=None)
        for arm in (a for a, m in means.items() if m == best and (m or measure.better == "lower")):
            cells[arm, name][i] = cells[arm, name][i]._replace(best=True)


def _lost(cell: PrintedCell) -> bool:
    return any(word in cell.remark for word in LOSSES)


def _other_conventions(
    table: Table, numbers: pd.DataFrame, setting: str, names: list[str], metrics: list[Metric]
) -> list[OtherConvention]:
    """Every column in which a compared arm's distance rests on misses, all compared arms.

    A normalised distance is not repeated beside the same one in its unit, nor is a way of counting
    that leaves nobody a number.
    """
    found = []
    plain = {metric.score for metric in metrics if not metric.normalised}
    shown = [m for m in metrics if m.is_distance and not (m.normalised and m.score in plain)]
    for name in names:
        for metric in shown:
            own, *others = conventions(metric, table.misses)
            ours = [numbers.loc[setting, arm, name, own.name] for arm in table.compared]
            if not any(r["n_seeds"] and rests_on_misses(r["status"]) for r in ours):
                continue
            for way in others:
                rows = [numbers.loc[setting, arm, name, way.name] for arm in table.compared]
                texts = [_other_number(row, way, metric) for row in rows]
                if set(texts) != {NONE}:
                    found.append(OtherConvention(setting, name, metric.name, way.words, texts))
    return found


def _other_number(row: pd.Series, way: Convention, metric: Metric) -> str:
    if np.isnan(row["mean"]):
        return NONE
    text = _mean_std(row["mean"], row["std"], metric)
    return f"{text}, n={row['n_cases']}" if way.counts == "excluded" else text
