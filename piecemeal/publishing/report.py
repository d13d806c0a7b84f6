"""The report: one html page that needs no network and no other file."""

from __future__ import annotations

import base64
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np
import pandas as pd

from piecemeal.errors import InputError
from piecemeal.evaluation.claim_kinds import ALPHA
from piecemeal.papers import Paper
from piecemeal.provenance import write_text
from piecemeal.publishing.printed import NONE, PrintedTable

_MEDIA = {".svg": "image/svg+xml", ".png": "image/png"}
MINUS = "\N{MINUS SIGN}"
VERDICTS = ("supported", "contradicted", "inconclusive")


class ReportFigure(NamedTuple):
    """A figure to embed: an svg or png file with its heading and caption."""

    title: str
    caption: str
    path: Path


class PaperSection(NamedTuple):
    """What the report shows of one paper.

    `claims` has the columns of claims.csv, and `p_least` (`least_p_holm`).
    """

    paper: Paper
    tables: Sequence[PrintedTable]
    claims: pd.DataFrame
    figures: Sequence[ReportFigure]


class ScaleNotice(NamedTuple):
    """The scale the numbers belong to.

    `sources` is {data set: "phantom", "local", ...}; `notice` and `shortened` come from the
    scale's file.
    """

    name: str
    title: str
    notice: str
    shortened: Sequence[str]
    sources: Mapping[str, str]

    @property
    def phantoms(self) -> list[str]:
        """Data sets that were drawn, not measured."""
        return sorted(name for name, kind in self.sources.items() if "phantom" in kind)


def build_report(
    path: Path, scale: ScaleNotice, papers: Sequence[PaperSection], runs: Sequence[dict[str, Any]]
) -> None:
    """Write the report to `path`, whole or not at all.

    `runs` are the contents of the runs' run.json. The same input gives the same bytes. Raises
    InputError when a figure is absent, neither svg nor png, or a verdict is not one of `VERDICTS`.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("piecemeal.publishing"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "embedded": embedded,
        "duration": duration,
        "signed": lambda number, digits=3: _number(number, f"+.{digits}f"),
        "plain": lambda number, digits=2: _number(number, f".{digits}f"),
        "p_value": _p_value,
        "significant": _significant,
        "thousands": lambda number: NONE if number is None else f"{number:,}",
    }
    ordered = sorted(runs, key=lambda r: (r["cohort"], r["annotation"], r["method"], r["seed"]))
    page = environment.get_template("report.html.j2").render(
        scale=scale,
        papers=papers,
        claims={section.paper.key: _records(section) for section in papers},
        verdicts=Counter(v for section in papers for v in section.claims["verdict"]),
        runs=ordered,
        seconds=sum(run["seconds"] for run in runs),
        gpu_hours=sum(run["gpu_hours"] for run in runs),
        on_gpu=any(run["gpu_hours"] for run in runs),
        devices=sorted({run["device"] for run in runs}),
        seeds=sorted({run["seed"] for run in runs}),
        versions=_versions(runs),
    )
    write_text(path, page)


def _records(section: PaperSection) -> list[dict[str, Any]]:
    if unknown := sorted(set(section.claims["verdict"]) - set(VERDICTS)):
        raise InputError(f"claims of {section.paper.key}: verdict {unknown}; allowed: {VERDICTS}")
    remarks = map(_why_undecided, section.claims["n_cases"], section.claims["p_least"])
    return section.claims.assign(undecided=list(remarks)).to_dict("records")


def _why_undecided(cases: int, p_least: float) -> str:
    """Why a claim is inconclusive whatever the scores are; '' of one that can be decided."""
    if not cases:
        return "there is no case to test it on"
    if p_least < ALPHA:
        return ""
    return f"too few to decide it: no corrected p below {p_least:.3f}"


def _versions(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What code and data the runs rest on, one entry a combination, with the number of runs."""
    keys = ("commit", "clean", "source_hash", "data_manifest_sha256", "lock_sha256")
    counted = Counter(tuple(run.get(key) for key in keys) for run in runs)
    found = sorted(counted.items(), key=str)
    return [dict(zip(keys, values, strict=True)) | {"runs": n} for values, n in found]


def embedded(path: Path) -> str:
    """File as a data address; InputError if it is absent or neither svg nor png."""
    path = Path(path)
    if path.suffix not in _MEDIA:
        raise InputError(f"{path}: the report embeds {' and '.join(_MEDIA)} files only")
    try:
        content = base64.b64encode(path.read_bytes()).decode("ascii")
    except OSError as error:
        raise InputError(f"{path}: figure cannot be read: {error}; draw it again") from None
    return f"data:{_MEDIA[path.suffix]};base64,{content}"


def duration(seconds: float) -> str:
    """Seconds as people say them: '42 s', '3 min 05 s', '2 h 10 min'."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


def _number(number: float, form: str) -> str:
    return NONE if math.isnan(number) else format(number, form).replace("-", MINUS)


def _significant(number: float | None) -> str:
    """Three digits that count, never as a power of ten: 0.00123, 4.56, 789."""
    if number is None:
        return NONE
    return np.format_float_positional(number, precision=3, fractional=False, trim="-")


def _p_value(number: float) -> str:
    if math.isnan(number):
        return NONE
    return "< 0.001" if number < 0.001 else f"{number:.3f}"
