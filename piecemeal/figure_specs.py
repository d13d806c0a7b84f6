"""What a paper's figures.yaml may say: kinds of figures, and what each of them shows.

Nothing here imports pandas or torch: Snakemake reads the papers at every start.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from piecemeal.errors import InputError
from piecemeal.table_specs import Half, Key, Table
from piecemeal.validation import Name, Strict


class FigureBase(Strict):
    """What every kind of figure says about itself."""

    key: Key = Field(description="second part of the output's name")
    title: str = Field(description="heading in the report")
    caption: str = Field(description="what the figure shows, what to look for")


class Comparison(FigureBase):
    """A figure of several arms."""

    arms: dict[str, str] = Field(min_length=1, description="arm -> heading, in order")


class TableFigure(FigureBase):
    """A figure of the numbers that one metric of a table is made of."""

    table: Key = Field(description="table whose halves and columns are shown")
    metric: str = Field(description="metric of that table")
    settings: list[str] = Field([], description="only these halves of the table; none: all")
    columns: list[str] = Field([], description="only these columns of the table; none: all")


class QualitativeFigure(FigureBase):
    """Example slices: the reference and what every arm made of it."""

    kind: Literal["qualitative"]
    arms: dict[str, str] = Field(
        {}, description="arm -> heading, in order; none: images and references of the first scans"
    )
    cohorts: list[Name] = Field(min_length=1, description="rows")
    each_dataset: bool = Field(
        False,
        description="a row for every data set of the cohorts, for each modality of one that has "
        "several",
    )
    each_task: bool = Field(False, description="a row for every task of the cohorts")
    tasks: list[str] = Field([], description="rows of `each_task`, in order; none: all tasks")


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


class CaseScores(TableFigure, Comparison):
    """The score of every case, arms side by side, one panel a column of a table."""

    kind: Literal["case_scores"]


class StructureScores(TableFigure, Comparison):
    """Mean, interval and cases of all arms in every column, one panel a half of a table."""

    kind: Literal["structure_scores"]


class StagesFigure(TableFigure):
    """How well every column of a table is known after each stage of a training in several."""

    kind: Literal["stages"]
    orders: dict[str, Annotated[dict[str, str], Field(min_length=2)]] = Field(
        min_length=1,
        description="title of a panel -> its stages, {arm: label}, in the order of training",
    )

    @property
    def arms(self) -> dict[str, str]:
        """The arms of all orders, as other figures have theirs."""
        return {arm: label for stages in self.orders.values() for arm, label in stages.items()}


class Leaderboard(TableFigure, Comparison):
    """The compared arms of a table by rank, with the intervals of their means and ranks."""

    kind: Literal["leaderboard"]


class SharingFigure(Comparison):
    """Which structures share a channel, and their relative sizes: tasks across, one part an arm."""

    kind: Literal["sharing"]
    cohort: Name = Field(description="its tasks are the columns")


class ViewsFigure(FigureBase):
    """What a method that learns from its own predictions sees of one scan of each data set."""

    kind: Literal["views"]
    arm: str = Field(description="arm whose trained network looks")
    cohort: Name = Field(description="its data sets are the rows")

    @property
    def arms(self) -> list[str]:
        """The arm, as other figures have theirs."""
        return [self.arm]


class AnnotationMatrix(FigureBase):
    """The scans of each source of a cohort, and which structures each of them annotates."""

    kind: Literal["annotation_matrix"]
    cohort: Name = Field(description="its data sets, by modality, are the rows")

    @property
    def arms(self) -> dict[str, str]:
        """None: it shows the data."""
        return {}

    @property
    def cohorts(self) -> list[str]:
        """The cohort, as other figures have theirs."""
        return [self.cohort]


class AttentionFigure(Comparison):
    """How much each level of the network's pyramid counts, slice by slice: rows are the arms."""

    kind: Literal["attention"]
    cohort: Name = Field(description="its data sets are the columns")


Figure = Annotated[
    QualitativeFigure
    | TrainingCurves
    | NotedCurves
    | CaseScores
    | StructureScores
    | StagesFigure
    | Leaderboard
    | SharingFigure
    | AnnotationMatrix
    | ViewsFigure
    | AttentionFigure,
    Field(discriminator="kind"),
]
# These look once more with the trained networks of their arms, at one cohort.
ASK_NETWORKS = (ViewsFigure, AttentionFigure)


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


def cohorts_of(figure: FigureBase, tables: Mapping[str, Table]) -> list[str]:
    """The cohorts that a figure shows; `tables` by key, for a figure of some of their halves."""
    if isinstance(figure, TableFigure):
        halves = shown_of(figure, tables[figure.table]).halves
        return list(dict.fromkeys(half.cohort for half in halves))
    single = isinstance(figure, (*ASK_NETWORKS, SharingFigure))
    return [figure.cohort] if single else figure.cohorts


def shown_of(figure: TableFigure, table: Table) -> Table:
    """`table` with those of its halves and columns that the figure shows."""

    def reduced(half: Half) -> Half:
        kept = [c for c in half.columns if not figure.columns or c.name in figure.columns]
        return half.model_copy(update={"columns": kept})

    asked = [h for h in table.halves if not figure.settings or h.setting in figure.settings]
    halves = [half for half in map(reduced, asked) if half.columns]
    return table.model_copy(update={"halves": halves})


def check_table(where: Path, figure: TableFigure, tables: Mapping[str, Table]) -> None:
    """InputError, naming figures.yaml at `where`, if a table has not what its figure asks for."""
    if figure.table not in tables:
        raise InputError(
            f"{where}: figure '{figure.key}' asks for table '{figure.table}'; "
            f"tables.yaml has: {', '.join(tables)}"
        )
    table = tables[figure.table]
    shown = shown_of(figure.model_copy(update={"columns": []}), table).halves
    for what, asked, there in (
        ("metric", [figure.metric], [m.name for m in table.metrics]),
        ("setting", figure.settings, [half.setting for half in table.halves]),
        ("column", figure.columns, [c.name for half in shown for c in half.columns]),
    ):
        if absent := [name for name in asked if name not in there]:
            raise InputError(
                f"{where}: figure '{figure.key}' asks for {what} '{absent[0]}'; "
                f"table '{table.key}' has: {', '.join(there)}"
            )
