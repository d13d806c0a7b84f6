"""One folder per paper: what it is, which runs it asks for, how its tables and figures look.

`config/papers/<key>/` holds `paper.yaml`, `runs.tsv`, `tables.yaml`, `figures.yaml` and the
published numbers as csv. No paper is named in code: a further paper is a further folder.
Nothing here imports pandas or torch: Snakemake reads the papers at every start.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, field_validator

from piecemeal.errors import InputError
from piecemeal.table_specs import Key, Table, TablesFile
from piecemeal.validation import Name, Strict, load_model, validate

# What `postprocessing` says of a prediction to which nothing was done.
AS_PREDICTED = "as predicted"


class Paper(Strict):
    """The paper itself (paper.yaml)."""

    key: str = Field(
        pattern=r"^[a-z][a-z0-9]*$",
        description="name of the folder and first part of every output's name",
    )
    title: str = Field(description="title as printed")
    citation: str = Field(description="one line for captions and the report")
    url: str = Field(description="where the paper is found")
    bibtex: str = Field(description="entry to copy into a bibliography")


class PaperRun(Strict):
    """One row of runs.tsv: an arm of the paper's comparison on one cohort."""

    arm: str = Field(min_length=1, description="name of the arm in tables, figures and claims")
    cohort: Name = Field(description="file in config/cohorts")
    annotation: Name = Field(description="annotation of that cohort")
    method: Name = Field(description="file in config/methods")


class FigureBase(Strict):
    """What every kind of figure says about itself."""

    key: Key = Field(description="second part of the output's name")
    title: str = Field(description="heading in the report")
    caption: str = Field(description="what the figure shows, what to look for")


class Comparison(FigureBase):
    """A figure of several arms."""

    arms: dict[str, str] = Field(min_length=1, description="arm -> heading, in order")


class QualitativeFigure(Comparison):
    """Example slices: the reference and what every arm made of it."""

    kind: Literal["qualitative"]
    cohorts: list[Name] = Field(min_length=1, description="rows")
    each_dataset: bool = Field(False, description="a row for every data set of the cohorts")


class TrainingCurves(Comparison):
    """Training and validation loss of every arm."""

    kind: Literal["training_curves"]
    cohorts: list[Name] = Field(min_length=1, description="rows")


class NotedCurves(Comparison):
    """Shares that only some methods note while they train, over the steps of every arm."""

    kind: Literal["noted_curves"]
    cohorts: list[Name] = Field(min_length=1, description="rows")
    columns: dict[str, str] = Field(
        min_length=1, description="column of history.csv, of numbers from 0 to 1 -> label, in order"
    )


class CaseScores(Comparison):
    """The score of every case, arms side by side, one panel a column of a table."""

    kind: Literal["case_scores"]
    table: Key = Field(description="table whose halves and columns are shown")
    metric: str = Field(description="metric of that table")


class ViewsFigure(FigureBase):
    """What a method that learns from its own predictions sees of one scan of each data set."""

    kind: Literal["views"]
    arm: str = Field(description="arm whose trained network looks")
    cohort: Name = Field(description="its data sets are the rows")

    @property
    def arms(self) -> list[str]:
        """The arm, as other figures have theirs."""
        return [self.arm]


class AttentionFigure(Comparison):
    """How much each level of the network's pyramid counts, slice by slice: rows are the arms."""

    kind: Literal["attention"]
    cohort: Name = Field(description="its data sets are the columns")


Figure = Annotated[
    QualitativeFigure | TrainingCurves | NotedCurves | CaseScores | ViewsFigure | AttentionFigure,
    Field(discriminator="kind"),
]
# These look once more with the trained networks of their arms, at one cohort.
ASK_NETWORKS = (ViewsFigure, AttentionFigure)


def cohorts_of(figure: FigureBase, tables: Mapping[str, Table]) -> list[str]:
    """The cohorts that a figure shows; `tables` by key, for a figure of one of their halves."""
    if isinstance(figure, CaseScores):
        return [half.cohort for half in tables[figure.table].halves]
    return [figure.cohort] if isinstance(figure, ASK_NETWORKS) else figure.cohorts


class FiguresFile(Strict):
    """figures.yaml."""

    figures: list[Figure] = Field(description="figures of the paper")

    @field_validator("figures")
    @classmethod
    def _keys_are_unique(cls, figures: list) -> list:
        keys = [f.key for f in figures]
        if len(set(keys)) < len(keys):
            raise ValueError(f"every key must occur once, got {keys}")
        return figures


class PaperFolder(NamedTuple):
    """Everything of one paper but its claims."""

    folder: Path
    paper: Paper
    runs: list[PaperRun]
    tables: list[Table]
    figures: list[FigureBase]


def read_runs(path: Path) -> list[PaperRun]:
    """Read runs.tsv; InputError names the line that is wrong or says the same thing twice."""
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            rows = list(csv.DictReader(lines, delimiter="\t"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}; restore the file") from None
    if not rows:
        columns = ", ".join(PaperRun.model_fields)
        raise InputError(f"{path}: no runs; expected the tab-separated columns {columns}")
    runs, seen = [], {}
    for number, row in enumerate(rows, start=2):
        cells = {key or "more cells than columns": value for key, value in row.items()}
        run = validate(cells, PaperRun, f"{path}, line {number}")
        if (run.arm, run.cohort) in seen:
            raise InputError(
                f"{path}, line {number}: arm '{run.arm}' on cohort '{run.cohort}' is already in "
                f"line {seen[run.arm, run.cohort]}; give it a name of its own"
            )
        seen[run.arm, run.cohort] = number
        runs.append(run)
    return runs


def load_paper(folder: Path) -> PaperFolder:
    """Read a paper's folder and check that its files agree; InputError says what does not."""
    paper = load_model(folder / "paper.yaml", Paper)
    if paper.key != folder.name:
        raise InputError(
            f"{folder / 'paper.yaml'}: key '{paper.key}' must be the folder's name '{folder.name}'"
        )
    runs = read_runs(folder / "runs.tsv")
    tables = load_model(folder / "tables.yaml", TablesFile).tables
    figures = load_model(folder / "figures.yaml", FiguresFile).figures
    planned = {(run.arm, run.cohort) for run in runs}
    by_key = {table.key: table for table in tables}
    for table in tables:
        asked = {(a.name, h.cohort) for a in table.arms for h in table.halves}
        _check_arms(folder / "tables.yaml", table.key, asked, planned)
    for figure in figures:
        where = folder / "figures.yaml"
        if isinstance(figure, CaseScores):
            if figure.table not in by_key:
                raise InputError(
                    f"{where}: figure '{figure.key}' asks for table '{figure.table}'; "
                    f"tables.yaml has: {', '.join(by_key)}"
                )
            table = by_key[figure.table]
            if figure.metric not in (names := [m.name for m in table.metrics]):
                raise InputError(
                    f"{where}: figure '{figure.key}' asks for metric '{figure.metric}'; "
                    f"table '{table.key}' has: {', '.join(names)}"
                )
        asked = {(arm, cohort) for arm in figure.arms for cohort in cohorts_of(figure, by_key)}
        _check_arms(where, figure.key, asked, planned)
    return PaperFolder(folder, paper, runs, tables, figures)


def _check_arms(where: Path, key: str, asked: set, planned: set) -> None:
    if absent := sorted(asked - planned):
        arms = ", ".join(f"'{arm}' on '{cohort}'" for arm, cohort in absent)
        raise InputError(f"{where}: '{key}' asks for {arms}, which runs.tsv does not have; add it")
