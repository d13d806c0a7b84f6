"""What a reader must know of a table before reading a number: its caption and its footer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from piecemeal.publishing import cost, misses, ranks
from piecemeal.publishing.cells import NOT_ITS_TASK
from piecemeal.table_specs import Table

LAST_WEIGHTS = "of the last step of every run, not those that the validation chose"


@dataclass(frozen=True)
class Circumstances:
    """What the numbers of a table come from.

    `sources` says where each cohort's data come from ("phantom", "local", ...); `postprocessing`
    is {setting: text} from `tables.treatments`; `shortened` lists what differs from the paper,
    `of_cohorts` what else does in each cohort, and `training` says how long it is trained on;
    `least_voxels`: {cohort: how many reference voxels a structure must exceed to be scored}.
    """

    scale: str
    sources: Mapping[str, str]
    postprocessing: Mapping[str, str] = field(default_factory=dict)
    shortened: Sequence[str] = ()
    of_cohorts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    training: Mapping[str, str] = field(default_factory=dict)
    least_voxels: Mapping[str, int] = field(default_factory=dict)

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
        ("Cells", _cells(table, rows)),
        ("Scale", circumstances.scale),
        ("Data", _data(table, circumstances)),
        ("Size", _size(table, rows) or "nothing was run"),
    ]
    if text := _not_run(table, rows):
        lines.append(("Not run", text))
    if text := _of_halves(table, circumstances.training):
        lines.append(("Training", text))
    if table.weights == "last":
        lines.append(("Weights", LAST_WEIGHTS))
    of_cohorts = {name: "; ".join(said) for name, said in circumstances.of_cohorts.items()}
    if shortened := [*circumstances.shortened, *filter(None, [_of_halves(table, of_cohorts)])]:
        lines.append(("Shortened against the paper", "; ".join(shortened)))
    if table.metrics:
        shown = set(rows["setting"])  # not all that is scored: last weights only as treated
        done = [f"{s}: {what}" for s, what in circumstances.postprocessing.items() if s in shown]
        if done:
            lines.append(("Post-processing", "; ".join(done)))
        lines.append(("Empty masks", misses.policy(table)))
        if text := _of_halves(table, {c: _small(n) for c, n in circumstances.least_voxels.items()}):
            lines.append(("Not scored", text))
    if text := _divided(table):
        lines.append(("Normalised", text))
    if ranking is not None and (text := ranks.in_words(table, ranking)):
        lines.append(("Ranks", text))
    if table.speed:
        lines.append(("Cost", cost.in_words(table.speed)))
    return lines + [("Remark", remark) for remark in table.remarks]


def _of_halves(table: Table, said: Mapping[str, str]) -> str:
    """What is said of the cohorts of a table, with their names where it has several."""
    texts = {names: said.get(cohort, "") for cohort, names in _settings_of(table).items()}
    if len(texts) == 1:
        return next(iter(texts.values()))
    return "; ".join(f"{names}: {text}" for names, text in texts.items() if text)


def _settings_of(table: Table) -> dict[str, str]:
    """Cohort -> its settings in the table, 'pelvis, abdomen': what is said of them is said once."""
    settings: dict[str, list[str]] = {}
    for half in table.halves:
        settings.setdefault(half.cohort, []).append(half.setting)
    return {cohort: ", ".join(names) for cohort, names in settings.items()}


def _small(least: int) -> str:
    return (
        f"structures with {least} voxels or fewer in the reference of a scan, those outside its "
        "field of view among them; what an arm finds there does not count against it"
    )


def _divided(table: Table) -> str:
    """What normalised distances were divided by."""
    if not (names := [metric.name for metric in table.metrics if metric.normalised]):
        return ""
    return (
        f"{' and '.join(names)}: what a case scores, divided by the largest score that a compared "
        "arm has in any case of the column, with any seed. A miss counts as said above before it "
        "is divided, so the largest may be one; an arm that is not compared may exceed 1."
    )


def _not_run(table: Table, rows: pd.DataFrame) -> str:
    """What has no numbers and why: whole settings, or some of their arms."""
    absent = rows[rows["status"].str.startswith("not run")]
    labels = {arm.name: arm.full_label for arm in table.arms}
    said = []
    for (setting, why), part in absent.groupby(["setting", absent["status"].str.split(";").str[0]]):
        arms = [labels[name] for name in labels if name in set(part["method"])]
        who = "" if len(arms) == len(labels) else f" ({', '.join(arms)})"
        said.append(f"{setting}{who}: {why}")
    return "; ".join(said)


def _cells(table: Table, rows: pd.DataFrame) -> str:
    over = "cases; a dash where a column has one case"
    if table.spread == "runs":
        over = "runs, of each run's mean over cases; a dash with one run"
    ours = f"mean (std over {over}) measured here, best of the compared arms in bold"
    if table.published is not None:
        ours += "; below it in small italics the published number"
    several = [len(column.members) > 1 for half in table.halves for column in half.columns]
    if any(several) and table.metrics:
        of_what = "a column" if all(several) else "a column of several structures"
        ours += f". In {of_what} a case scores the mean over those of its structures that it has"
    if rows["status"].str.startswith(NOT_ITS_TASK).any():
        ours += ". A dash: a task that the method has not learned"
    return f"{ours}."


def _data(table: Table, circumstances: Circumstances) -> str:
    return "; ".join(
        f"{names}: "
        + (
            "built-in phantom, not patients"
            if circumstances.is_phantom(cohort)
            else circumstances.sources.get(cohort, "not run at this scale")
        )
        for cohort, names in _settings_of(table).items()
    )


def _size(table: Table, rows: pd.DataFrame) -> str:
    """Cases and seeds of every setting; arms with fewer seeds than others are named."""
    labels = {arm.name: arm.full_label for arm in table.arms}
    # Under other conventions for misses, which have further rows, cases may be left out.
    plain = rows["metric"].isin([measure.name for measure in [*table.metrics, *table.speed]])
    said = []
    for setting, ran in rows[plain & (rows["n_seeds"] > 0)].groupby("setting", sort=False):
        most = ran["n_seeds"].max()
        text = f"{setting}: {_cases(table, ran)}, {_count(most, 'seed')}"
        seeds = ran.groupby("method", sort=False)["n_seeds"].max()
        few = seeds[seeds < most]
        fewer = [f"{labels[arm]}: {_count(number, 'seed')}" for arm, number in few.items()]
        said.append(f"{text} ({', '.join(fewer)})" if fewer else text)
    return "; ".join(said)


def _cases(table: Table, rows: pd.DataFrame) -> str:
    """The cases of one setting, and of its cells where some rest on fewer."""
    averages = [half.average for half in table.halves]
    of_columns = rows.loc[~rows["column"].isin(averages) & (rows["n_cases"] > 0), "n_cases"]
    least, most, of_all = of_columns.min(), of_columns.max(), rows["n_cases"].max()
    if of_columns.empty or least == of_all:
        return _count(of_all, "case")
    span = f"{most}" if least == most else f"{least} to {most}"
    return f"{_count(of_all, 'case')} ({span} a cell)"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
