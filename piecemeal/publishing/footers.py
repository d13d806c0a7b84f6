"""What a reader must know of a table before reading a number: its caption and its footer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from piecemeal.publishing import cost, misses, ranks
from piecemeal.table_specs import Table


@dataclass(frozen=True)
class Circumstances:
    """What the numbers of a table come from.

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


def caption(table: Table, circumstances: Circumstances) -> str:
    """The table's title; it says so if numbers are from phantoms."""
    drawn = [half.setting for half in table.halves if circumstances.is_phantom(half.cohort)]
    if not drawn:
        return table.title
    which = "All" if len(drawn) == len(table.halves) else f"The {' and '.join(drawn)}"
    return f"{table.title}. {which} measured numbers are from phantoms, not from patients"


def footer(
    table: Table,
    rows: pd.DataFrame,
    ranking: pd.DataFrame | None,
    circumstances: Circumstances,
) -> list[tuple[str, str]]:
    """(what it is about, text) of every line; `ranking` is of `ranks.build_ranks`."""
    lines = [
        ("Cells", _cells(table)),
        ("Scale", circumstances.scale),
        ("Data", _data(table, circumstances)),
        ("Size", _size(rows) or "nothing was run"),
    ]
    reasons = rows[rows["status"].str.startswith("not run")]
    if len(reasons):
        why = {f"{r.setting}: {r.status.split(';')[0]}" for r in reasons.itertuples(index=False)}
        lines.append(("Not run", "; ".join(sorted(why))))
    if circumstances.shortened:
        lines.append(("Shortened against the paper", "; ".join(circumstances.shortened)))
    if table.metrics:
        if circumstances.postprocessing:
            text = "; ".join(f"{s}: {what}" for s, what in circumstances.postprocessing.items())
            lines.append(("Post-processing", text))
        lines.append(("Empty masks", misses.policy(table)))
    if ranking is not None and (text := ranks.in_words(table, ranking)):
        lines.append(("Ranks", text))
    if table.speed:
        lines.append(("Cost", cost.in_words(table.speed)))
    return lines + [("Remark", remark) for remark in table.remarks]


def _cells(table: Table) -> str:
    ours = "mean (std over cases) measured here, best of the compared arms in bold"
    if table.published is None:
        return f"{ours}."
    return f"{ours}; below it in small italics the published number."


def _data(table: Table, circumstances: Circumstances) -> str:
    return "; ".join(
        f"{half.setting}: "
        + (
            "built-in phantom, not patients"
            if circumstances.is_phantom(half.cohort)
            else circumstances.sources.get(half.cohort, "not run at this scale")
        )
        for half in table.halves
    )


def _size(rows: pd.DataFrame) -> str:
    ran = rows[rows["n_seeds"] > 0]
    most = ran.groupby("setting", sort=False)[["n_cases", "n_seeds"]].max()
    return "; ".join(
        f"{row.Index}: {_count(row.n_cases, 'case')}, {_count(row.n_seeds, 'seed')}"
        for row in most.itertuples()
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
