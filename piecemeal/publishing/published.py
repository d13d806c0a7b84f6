"""The numbers that a paper printed, and how they join ours."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from piecemeal.errors import InputError
from piecemeal.papers import AS_PREDICTED
from piecemeal.table_specs import Table

_CELL = ["method", "setting", "column", "metric"]
_WANTED = [*_CELL, "unit", "mean", "std", "note"]


def read_published(table: Table, folder: Path) -> pd.DataFrame:
    """Read the numbers a paper printed: method, setting, column, metric, unit, mean, std, note.

    Unreadable numbers are nan; the column of a measure of cost is empty. A table without published
    numbers has no rows. Raises InputError when the file lacks a column, or a row has no place in
    the table, occurs twice or is in another unit.
    """
    if table.published is None:
        return pd.DataFrame(columns=_WANTED).astype({"mean": float, "std": float})
    path = folder / table.published.file
    try:
        published = pd.read_csv(path, dtype={"unit": str, "note": str})
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {error}; restore the file") from None
    published = published.rename(columns=table.published.rename)
    if {"method", "setting"} <= set(published):
        published = by_arm(table, published)
    if "note" not in published:
        published["note"] = ""
    if absent := [c for c in _WANTED if c not in published]:
        raise InputError(f"{path}: no column {', '.join(absent)}; name it in tables.yaml 'rename'")
    for name in ("note", "column"):
        published[name] = published[name].astype(object).fillna("")
    units = {measure.name: measure.unit for measure in [*table.metrics, *table.speed]}
    places = places_of(table)
    seen = set()
    for number, row in enumerate(published.itertuples(index=False), start=2):
        place = (row.method, row.setting, row.column, row.metric)
        if place not in places:
            raise InputError(f"{path}, line {number}: {place} is no cell of table '{table.key}'")
        if place in seen:
            raise InputError(f"{path}, line {number}: {place} is already there; keep one")
        if row.unit != units[row.metric]:
            raise InputError(
                f"{path}, line {number}: unit '{row.unit}', but tables.yaml says "
                f"'{units[row.metric]}' for {row.metric}; they must agree to be compared"
            )
        seen.add(place)
    return published[_WANTED]


def places_of(table: Table) -> set[tuple[str, str, str, str]]:
    """(method, setting, column, metric) of every cell; cost belongs to no column."""
    places = set()
    for half in table.halves:
        columns = [column.name for column in half.columns]
        columns += [] if half.average is None else [half.average]
        measured = [(column, metric.name) for column in columns for metric in table.metrics]
        measured += [("", speed.name) for speed in table.speed]
        places |= {(arm.name, half.setting, *place) for arm in table.arms for place in measured}
    return places


def as_printed(table: Table, rows: pd.DataFrame) -> pd.DataFrame:
    """Long form with `method`, `base` and `setting` as the paper has them, for arms that say so.

    rows: with the arm's name under `method` and that of the half, or '<half>, as predicted', under
    `setting`. The paper's tables name one arm by several columns, and ours by one.
    """
    named = {(arm, setting): row for row, (arm, setting) in _rows_of(table).items()}
    found = [named[place] for place in zip(rows["method"], rows["setting"], strict=True)]
    return rows.assign(**_columns(found, ["method", "base", "setting"]))


def by_arm(table: Table, rows: pd.DataFrame) -> pd.DataFrame:
    """The inverse of `as_printed`; a row that is of no arm stays as it is.

    rows: without `base`, that of each arm counts as given.
    """
    of_rows = _rows_of(table)
    if "base" not in rows:
        of_rows = {(method, setting): place for (method, _, setting), place in of_rows.items()}
    keys = [name for name in ("method", "base", "setting") if name in rows]
    named = zip(*(rows[name] for name in keys), strict=True)
    found = [of_rows.get(key, (key[0], key[-1])) for key in named]
    return rows.assign(**_columns(found, ["method", "setting"]))


def _columns(rows: list[tuple[str, ...]], names: list[str]) -> dict[str, list[str]]:
    return {name: [row[k] for row in rows] for k, name in enumerate(names)}


def _rows_of(table: Table) -> dict[tuple[str, str, str], tuple[str, str]]:
    """(method, base, setting) in the csv -> name of the arm, setting of the half."""
    found = {}
    for arm in table.arms:
        for half in table.halves:
            method, base, setting = table.printed_as(arm, half.setting)
            for more in ("", f", {AS_PREDICTED}"):
                found[method, base, setting + more] = (arm.name, half.setting + more)
    return found


def with_published(rows: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Join the printed numbers, the difference, and what the status says about them.

    A metric without a single printed std was printed without, which is not worth a word.
    """
    printed = published.rename(columns={"mean": "published_mean", "std": "published_std"})
    rows = rows.merge(printed.drop(columns="unit"), how="left", on=_CELL, indicator=True)
    rows["difference"] = rows["mean"] - rows["published_mean"]
    known = rows["_merge"] == "both"
    with_std = rows["metric"].isin(published.loc[published["std"].notna(), "metric"])
    lost = {c: known & rows[f"published_{c}"].isna() for c in ("mean", "std")}
    for which, text in [
        (lost["mean"] & lost["std"], "published number unreadable"),
        (lost["mean"] & ~lost["std"], "published mean unreadable"),
        (~lost["mean"] & lost["std"] & with_std, "published std unreadable"),
        (known & rows["note"].fillna("").ne(""), "published number doubtful"),
    ]:
        rows.loc[which, "status"] += f"; {text}"
    return rows
