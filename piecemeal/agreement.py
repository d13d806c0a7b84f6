"""Whether what a paper's tables, figures and claims ask for is something that its cohorts have.

A misspelt structure would otherwise be found once everything is trained, or be an empty column.
Nothing here imports pandas or torch: Snakemake reads the papers at every start.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from piecemeal.cohort_specs import CohortConfig
from piecemeal.errors import InputError
from piecemeal.figure_specs import QualitativeFigure
from piecemeal.papers import PaperFolder

# File, where in it, cohort, what is asked for, the names, and what of the cohort they are among.
_Asked = tuple[Path, str, str, str, Collection[str], str]


def check_against_cohorts(paper: PaperFolder, cohort: Callable[[str], CohortConfig]) -> None:
    """InputError, naming the file and the place, on what a cohort does not have.

    cohort: by name; raises InputError itself if there is no such cohort.
    """
    for file, where, name, what, asked, among in _asked(paper, cohort):
        there = list(getattr(cohort(name), among))
        if unknown := sorted(set(asked) - set(there)):
            raise InputError(
                f"{file}: {where} asks for {what} '{unknown[0]}', which is not of cohort '{name}'; "
                f"its {among} are: {', '.join(there) or 'none'}; correct it, or the cohort in "
                f"config/cohorts/{name}.yaml"
            )


def _asked(paper: PaperFolder, cohort: Callable[[str], CohortConfig]) -> Iterator[_Asked]:
    file = paper.folder / "tables.yaml"
    for table in paper.tables:
        for half in table.halves:
            for column in half.columns:
                where = f"table '{table.key}', column '{column.name}' of half '{half.setting}',"
                yield file, where, half.cohort, "structure", column.members, "structures"
                yield file, where, half.cohort, "data set", column.datasets, "datasets"
    file = paper.folder / "figures.yaml"
    for figure in paper.figures:
        if isinstance(figure, QualitativeFigure) and figure.each_task:
            where = f"figure '{figure.key}'"
            for name in figure.cohorts:
                wanted = figure.tasks or ([] if cohort(name).tasks else ["any"])
                yield file, where, name, "task", wanted, "tasks"
    file = paper.folder / "claims.yaml"
    for claim in paper.claims:
        where = f"claim '{claim.claim}'"
        yield file, where, claim.cohort, "structure", claim.named, "structures"
        yield file, where, claim.cohort, "data set", claim.datasets, "datasets"
