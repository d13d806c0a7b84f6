"""One folder per paper: what it is, which runs it asks for, how its tables and figures look.

`config/papers/<key>/` holds `paper.yaml`, `runs.tsv`, `tables.yaml`, where there are any
`figures.yaml` and `claims.yaml`, where its arms share settings `recipes.yaml`, and the published
numbers as csv. No paper is named in code: a further paper is a further folder.
Nothing here imports pandas or torch: Snakemake reads the papers at every start.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator, Field, model_validator

from piecemeal.claim_specs import Claim, load_claims
from piecemeal.errors import InputError
from piecemeal.figure_specs import (
    FigureBase,
    FiguresFile,
    TableFigure,
    check_table,
    cohorts_of,
)
from piecemeal.recipes import Recipe, RecipesFile
from piecemeal.table_specs import Table, TablesFile
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


def _none_if_empty(cell: Any) -> Any:
    return cell or None


def _one_if_empty(cell: Any) -> Any:
    return cell or 1.0


class PaperRun(Strict):
    """One row of runs.tsv: an arm of the paper's comparison on one cohort."""

    arm: str = Field(min_length=1, description="name of the arm in tables, figures and claims")
    cohort: Name = Field(description="file in config/cohorts")
    annotation: Name = Field(description="annotation of that cohort")
    method: Name = Field(description="file in config/methods")
    starts_from: Annotated[str | None, BeforeValidator(_none_if_empty)] = Field(
        None, description="arm of the same cohort with whose weights the run starts"
    )
    length: Annotated[float, BeforeValidator(_one_if_empty), Field(ge=0)] = Field(
        1.0,
        description="how many times as long as other arms it trains; 0: not at all, the weights "
        "that it starts from predict in another way",
    )
    recipe: Annotated[str | None, BeforeValidator(_none_if_empty)] = Field(
        None, description="entry of recipes.yaml in place of settings of the method's file"
    )

    @model_validator(mode="after")
    def _has_weights(self) -> PaperRun:
        if not self.length and self.starts_from is None:
            raise ValueError("length is 0: name the arm whose weights it has in `starts_from`")
        return self


class PaperFolder(NamedTuple):
    """Everything of one paper but its published numbers."""

    folder: Path
    paper: Paper
    recipes: dict[str, Recipe]
    runs: list[PaperRun]
    tables: list[Table]
    figures: list[FigureBase]
    claims: list[Claim]


def read_runs(path: Path) -> list[PaperRun]:
    """Read runs.tsv; InputError names the line that is wrong or says the same thing twice."""
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            table = csv.DictReader(lines, delimiter="\t")
            rows, columns = list(table), table.fieldnames
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}; restore the file") from None
    expected = ", ".join(PaperRun.model_fields)
    if not rows:
        raise InputError(f"{path}: no runs; expected the tab-separated columns {expected}")
    if len(columns) == 1:
        raise InputError(
            f"{path}, line 1: one column, {columns[0]!r}; expected {expected}, separated by tabs, "
            "not by spaces or commas"
        )
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
    _check_chains(path, runs, seen)
    return runs


def _check_chains(path: Path, runs: list[PaperRun], lines: Mapping[tuple[str, str], int]) -> None:
    """Every arm starts from one further up, so no chain of runs has a loop."""
    for run in runs:
        here = lines[run.arm, run.cohort]
        if run.starts_from and lines.get((run.starts_from, run.cohort), here) >= here:
            raise InputError(
                f"{path}, line {here}: arm '{run.arm}' starts from '{run.starts_from}', which is "
                f"no arm on cohort '{run.cohort}' further up; name one, or move it there"
            )


def load_paper(folder: Path) -> PaperFolder:
    """Read a paper's folder and check that its files agree; InputError says what does not."""
    paper = load_model(folder / "paper.yaml", Paper)
    if paper.key != folder.name:
        raise InputError(
            f"{folder / 'paper.yaml'}: key '{paper.key}' must be the folder's name '{folder.name}'"
        )
    runs = read_runs(folder / "runs.tsv")
    recipes = _recipes(folder / "recipes.yaml", runs)
    tables = load_model(folder / "tables.yaml", TablesFile).tables
    figures = []
    if (folder / "figures.yaml").exists():
        figures = load_model(folder / "figures.yaml", FiguresFile).figures
    planned = {(run.arm, run.cohort) for run in runs}
    by_key = {table.key: table for table in tables}
    for table in tables:
        asked = {(a.name, h.cohort) for a in table.arms for h in table.halves}
        _check_arms(folder / "tables.yaml", table.key, asked, planned)
    for figure in figures:
        where = folder / "figures.yaml"
        if isinstance(figure, TableFigure):
            check_table(where, figure, by_key)
        asked = {(arm, cohort) for arm in figure.arms for cohort in cohorts_of(figure, by_key)}
        _check_arms(where, figure.key, asked, planned)
        if not figure.arms and (absent := set(figure.cohorts) - {run.cohort for run in runs}):
            raise InputError(
                f"{where}: '{figure.key}' asks for cohort {sorted(absent)}, which runs.tsv does "
                "not have; add a run on it"
            )
    claims = []
    if (where := folder / "claims.yaml").exists():
        claims = load_claims(where)
    for claim in claims:
        asked = {(arm, claim.cohort) for arm in (claim.better, claim.worse)}
        _check_arms(where, claim.claim, asked, planned)
    return PaperFolder(folder, paper, recipes, runs, tables, figures, claims)


def _recipes(path: Path, runs: list[PaperRun]) -> dict[str, Recipe]:
    recipes = load_model(path, RecipesFile).recipes if path.exists() else {}
    if unknown := sorted({run.recipe for run in runs if run.recipe} - recipes.keys()):
        raise InputError(
            f"{path.parent / 'runs.tsv'}: recipe '{unknown[0]}' is not in {path.name}; there are: "
            f"{sorted(recipes)}"
        )
    return recipes


def _check_arms(where: Path, key: str, asked: set, planned: set) -> None:
    if absent := sorted(asked - planned):
        arms = ", ".join(f"'{arm}' on '{cohort}'" for arm, cohort in absent)
        raise InputError(f"{where}: '{key}' asks for {arms}, which runs.tsv does not have; add it")
