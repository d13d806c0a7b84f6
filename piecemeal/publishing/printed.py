"""A table as the paper prints it: what stands in which cell, row, block and footer.

Decided once for markdown, LaTeX (`formats`) and html (`report`), which only write it down.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, product
from string import ascii_lowercase
from typing import NamedTuple

import numpy as np
import pandas as pd

from piecemeal.papers import Arm, Half, Metric, Table
from piecemeal.publishing.tables import POLICY, convention_names

NONE = "\N{EN DASH}"


@dataclass(frozen=True)
class Circumstances:
    """What a reader must know before reading a number.

    `sources` says where each cohort's data come from ("phantom", "local", ...); `postprocessing`
    is {setting: text} from `tables.treatments`; `shortened` lists what differs from the paper.
    """

    scale: str
    sources: Mapping[str, str]
    postprocessing: Mapping[str, str] = field(default_factory=dict)
    shortened: Sequence[str] = ()

    def is_phantom(self, cohort: str) -> bool:
        """Whether any of the cohort's data was drawn, not measured."""
        return "phantom" in self.sources.get(cohort, "")


class PrintedCell(NamedTuple):
    """One cell: our number, the paper's, and the mark of a footnote."""

    mean: str
    std: str = ""
    remark: str = ""  # instead of a mean: why there is none
    published: str = ""
    mark: str = ""
    best: bool = False


class PrintedRow(NamedTuple):
    """One arm of a block."""

    label: str
    tex: str
    role: str
    cells: list[PrintedCell]


class Block(NamedTuple):
    """Structures that stand side by side."""

    headings: list[str]
    rows: list[PrintedRow]


class PrintedHalf(NamedTuple):
    """One setting: its heading, whether its data are phantoms, and its blocks."""

    heading: str
    phantom: bool
    blocks: list[Block]


class OtherConvention(NamedTuple):
    """What stands beside an empty distance cell."""

    setting: str
    arm: Arm
    column: str
    metric: str
    missed: str
    found: str
    counted: str


class PrintedTable(NamedTuple):
    """Everything the templates need."""

    label: str
    caption: str
    metrics: list[Metric]
    halves: list[PrintedHalf]
    misses: list[OtherConvention]
    counted_heading: str
    notes: list[tuple[str, str]]
    footer: list[tuple[str, str]]


def lay_out(
    table: Table, rows: pd.DataFrame, published: pd.DataFrame, circumstances: Circumstances
) -> PrintedTable:
    """Arrange the long form `rows` (from `tables.build_table`) as the paper prints the table."""
    metrics = [metric for metric in table.metrics if metric.printed]
    numbers = rows.set_index(["setting", "method", "column", "metric"]).sort_index()
    marks: dict[str, str] = {}  # footnote text -> mark, in the order of first use
    noted = published[published["note"] != ""]
    notes = {
        (row.setting, row.method, row.column, row.metric): row.note
        for row in noted.itertuples(index=False)
    }
    halves, misses = [], []
    for half in table.halves:
        names = [column.name for column in half.columns]
        headings = [column.heading for column in half.columns]
        if half.average is not None:
            names.append(half.average)
            headings.append(half.average)
        for setting in _settings(rows, half):
            compares = setting in set(published["setting"])
            cells = {}
            for arm, name in product(table.arms, names):
                cells[arm.name, name] = there = []
                for metric in metrics:
                    cell = _cell(numbers.loc[setting, arm.name, name, metric.name], arm, metric)
                    if not compares:
                        cell = cell._replace(published="")
                    if note := notes.get((setting, arm.name, name, metric.name)):
                        mark = marks.setdefault(note, ascii_lowercase[len(marks)])
                        cell = cell._replace(mark=mark)
                    there.append(cell)
            _embolden(cells, table.arms, names, metrics)
            blocks = _blocks(table, cells, names, headings)
            phantom = circumstances.is_phantom(half.cohort)
            halves.append(PrintedHalf(setting, phantom, blocks))
            misses += _other_conventions(numbers, setting, table.arms, names, metrics)
    counts = {
        f"a miss counts {m.miss_counts:g} {m.unit}" for m in metrics if m.miss_counts is not None
    }
    return PrintedTable(
        table.label,
        _caption(table, circumstances),
        metrics,
        halves,
        misses,
        " / ".join(sorted(counts)),
        [(mark, text) for text, mark in marks.items()],
        _footer(table, rows, circumstances),
    )


def _blocks(
    table: Table,
    cells: dict[tuple[str, str], list[PrintedCell]],
    names: list[str],
    headings: list[str],
) -> list[Block]:
    """Cut the columns into blocks of the width that the table asks for."""
    blocks = []
    for first in range(0, len(names), table.columns_per_block):
        part = slice(first, first + table.columns_per_block)
        lines = []
        for arm in table.arms:
            line = list(chain.from_iterable(cells[arm.name, name] for name in names[part]))
            lines.append(PrintedRow(arm.label, arm.tex, arm.role, line))
        blocks.append(Block(headings[part], lines))
    return blocks


def _settings(rows: pd.DataFrame, half: Half) -> list[str]:
    """Names of the half's settings in the long form: its own, then '<own>, <variant>'."""
    found = rows["setting"].unique()
    return [s for s in found if s == half.setting or s.startswith(f"{half.setting}, ")]


def _cell(row: pd.Series, arm: Arm, metric: Metric) -> PrintedCell:
    def number(value: float) -> str:
        return NONE if np.isnan(value) else f"{value:.{metric.decimals}f}"

    published = ""
    if not np.isnan([row["published_mean"], row["published_std"]]).all():
        published = f"{number(row['published_mean'])} ({number(row['published_std'])})"
    elif arm.role == "compared":
        published = NONE
    if not np.isnan(row["mean"]):
        return PrintedCell(number(row["mean"]), f"({number(row['std'])})", published=published)
    status = row["status"].split(";")[0]
    remark = "not run" if status.startswith("not run") else _short(status)
    return PrintedCell("", remark=remark, published=published)


def _short(status: str) -> str:
    """'2 of 40 missed, 1 of 40 invented' -> '2/40 missed, 1/40 invented'."""
    return re.sub(r"(\d+) of (\d+)( columns)?", r"\1/\2", status)


def _embolden(
    cells: dict[tuple[str, str], list[PrintedCell]],
    arms: list[Arm],
    names: list[str],
    metrics: list[Metric],
) -> None:
    """Mark the best of the compared arms, all of them where the printed numbers tie."""
    compared = [arm.name for arm in arms if arm.role == "compared"]
    for name in names:
        for i, metric in enumerate(metrics):
            means = {arm: float(m) for arm in compared if (m := cells[arm, name][i].mean)}
            if len(means) < 2:
                continue
            best = max(means.values()) if metric.better == "higher" else min(means.values())
            for arm in (arm for arm, mean in means.items() if mean == best):
                cells[arm, name][i] = cells[arm, name][i]._replace(best=True)


def _other_conventions(
    numbers: pd.DataFrame, setting: str, arms: list[Arm], names: list[str], metrics: list[Metric]
) -> list[OtherConvention]:
    """The compared arms' distances that are left empty because a structure was missed."""
    found = []
    for arm in (arm for arm in arms if arm.role == "compared"):
        for name in names:
            for metric in (metric for metric in metrics if metric.miss_counts is not None):
                rows = [numbers.loc[setting, arm.name, name, n] for n in convention_names(metric)]
                status = rows[0]["status"].split(";")[0]
                if np.isnan(rows[0]["mean"]) and not np.isnan(rows[2]["mean"]):
                    means = [_cell(row, arm, metric) for row in rows[1:]]
                    text = [f"{c.mean} {c.std}" if c.mean else NONE for c in means]
                    found.append(OtherConvention(setting, arm, name, metric.name, status, *text))
    return found


def _caption(table: Table, circumstances: Circumstances) -> str:
    drawn = [half.setting for half in table.halves if circumstances.is_phantom(half.cohort)]
    if not drawn:
        return table.title
    which = "All" if len(drawn) == len(table.halves) else f"The {' and '.join(drawn)}"
    return f"{table.title}. {which} measured numbers are from phantoms, not from patients"


def _footer(
    table: Table, rows: pd.DataFrame, circumstances: Circumstances
) -> list[tuple[str, str]]:
    data = "; ".join(
        f"{half.setting}: "
        + (
            "built-in phantom, not patients"
            if circumstances.is_phantom(half.cohort)
            else circumstances.sources.get(half.cohort, "not run at this scale")
        )
        for half in table.halves
    )
    ran = rows[rows["n_cases"] > 0]
    most = ran.groupby("setting", sort=False)[["n_cases", "n_seeds"]].max()
    size = "; ".join(
        f"{row.Index}: {_count(row.n_cases, 'case')}, {_count(row.n_seeds, 'seed')}"
        for row in most.itertuples()
    )
    reasons = rows[rows["status"].str.startswith("not run")]
    missing = {
        f"{row.setting}: {row.status.split(';')[0]}" for row in reasons.itertuples(index=False)
    }
    footer = [
        (
            "Cells",
            "mean (std over cases) measured here, best of the compared arms in bold; below "
            "it in small italics the published number.",
        ),
        ("Scale", circumstances.scale),
        ("Data", data),
        ("Size", size or "nothing was run"),
    ]
    if missing:
        footer.append(("Not run", "; ".join(sorted(missing))))
    if circumstances.shortened:
        footer.append(("Shortened against the paper", "; ".join(circumstances.shortened)))
    if circumstances.postprocessing:
        text = "; ".join(f"{s}: {what}" for s, what in circumstances.postprocessing.items())
        footer.append(("Post-processing", text))
    footer.append(("Empty masks", POLICY))
    return footer + [("Remark", remark) for remark in table.remarks]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
