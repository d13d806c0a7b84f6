"""What each table, figure, claims file and report is made from: the parameters of their rules.

Everything a published file depends on beside its input files is in these parameters, so a change
of a caption redraws one table, and a change of the publishing code redraws what it draws.
Nothing here imports torch or pandas: Snakemake asks for this at every start.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from piecemeal.cohort_specs import CohortConfig
from piecemeal.datasets import passing_on
from piecemeal.errors import InputError
from piecemeal.figure_specs import (
    ASK_NETWORKS,
    AnnotationMatrix,
    FigureBase,
    TableFigure,
    cohorts_of,
)
from piecemeal.papers import AS_PREDICTED
from piecemeal.plan import Plan, Planner
from piecemeal.provenance import file_sha256, short_hash, source_hash
from piecemeal.publishing import shortened
from piecemeal.table_specs import Table

TEMPLATES = Path(__file__).parent / "templates"
LARGEST_COMPONENT = "the largest component of every structure kept"


def shared(planner: Planner, plan: Plan, paper: str) -> dict[str, Any]:
    """What all published files of a paper share: its runs, its cohorts and the scale."""
    scale, runs = planner.scale(plan.scale), planner.paper(paper).runs
    ran = {(entry["run"].split("/")[0], entry["arm"]) for entry in plan.papers[paper]}
    cohorts = {}
    for name in dict.fromkeys(run.cohort for run in runs):
        cohort = planner.cohort(name)
        reason = None if name in scale.cohorts else _why_not(planner, cohort)
        cohorts[name] = {
            "title": cohort.title,
            "structures": cohort.structures,
            "tasks": cohort.tasks,
            "overlapping": cohort.overlapping,
            "treatment": LARGEST_COMPONENT if cohort.scoring.largest_component else AS_PREDICTED,
            "least_voxels": cohort.scoring.least_voxels,
            "not_run": reason,
            "left_out": [
                one.arm for one in runs if one.cohort == name and (name, one.arm) not in ran
            ],
            "shortened": [] if reason else shortened.of_cohort(planner, plan, name),
            "training": "" if reason else shortened.training(planner, plan, name),
        }
    return {
        "paper": paper,
        "runs": [
            entry | {"scoring": plan.scores[entry["run"]].hash} for entry in plan.papers[paper]
        ],
        "cohorts": cohorts,
        "scale": {
            "name": plan.scale,
            "title": scale.title,
            "notice": scale.notice,
            "shortened": scale.shortened,
        },
    }


def _why_not(planner: Planner, cohort: CohortConfig) -> str:
    private = [d for d in cohort.datasets if planner.dataset(d).access == "phantom only"]
    return "private data, phantom only" if private else "not planned at this scale"


def table(planner: Planner, plan: Plan, paper: str, key: str) -> dict[str, Any]:
    """Parameters of one table; InputError if the paper has none of that name."""
    spec = table_spec(planner, paper, key)
    given = shared(planner, plan, paper) | {"code": _code("table")}
    given["runs"] = _of_these(given, runs_of_table(planner, plan, paper, key))
    return given | {"spec": spec.model_dump(mode="json")}


def runs_of_table(planner: Planner, plan: Plan, paper: str, key: str) -> list[dict[str, str]]:
    """The entries of a paper that a table is made of; of a table without any, all of them."""
    spec = table_spec(planner, paper, key)
    arms, cohorts = {arm.name for arm in spec.arms}, {half.cohort for half in spec.halves}
    return _entries(plan, paper, arms, cohorts)


def runs_of_figure(planner: Planner, plan: Plan, paper: str, key: str) -> list[dict[str, str]]:
    """The entries of a paper that a figure is made of; of one without any, all of them."""
    spec = _figure_spec(planner, paper, key)
    tables = {table.key: table for table in planner.paper(paper).tables}
    arms = set(spec.arms)
    if isinstance(spec, TableFigure):  # what the other arms missed may decide its cases
        arms |= {arm.name for arm in tables[spec.table].arms}
    if not arms:  # of the data, of which the runs say what they are
        arms = {entry["arm"] for entry in plan.papers[paper]}
    return _entries(plan, paper, arms, set(cohorts_of(spec, tables)))


def _entries(plan: Plan, paper: str, arms: set[str], cohorts: set[str]) -> list[dict[str, str]]:
    entries = plan.papers[paper]
    shown = [e for e in entries if e["arm"] in arms and e["run"].split("/")[0] in cohorts]
    return shown or entries


def _of_these(given: dict[str, Any], entries: list[dict[str, str]]) -> list[dict[str, str]]:
    """Of the runs in what all files of a paper share those of `entries`."""
    asked = {entry["run"] for entry in entries}
    return [entry for entry in given["runs"] if entry["run"] in asked]


def table_spec(planner: Planner, paper: str, key: str) -> Table:
    """The table `key` of a paper; InputError if it has none of that name."""
    return _named(planner.paper(paper).tables, paper, key, "tables.yaml")


def _figure_spec(planner: Planner, paper: str, key: str) -> FigureBase:
    return _named(planner.paper(paper).figures, paper, key, "figures.yaml")


def figure(planner: Planner, plan: Plan, paper: str, key: str) -> dict[str, Any]:
    """Parameters of one figure; InputError if the paper has none of that name."""
    spec = _figure_spec(planner, paper, key)
    given = {"spec": spec.model_dump(mode="json"), "table": None, "datasets": {}}
    given["networks"] = networks(planner, plan, paper, key)
    if isinstance(spec, TableFigure):
        shown = table_spec(planner, paper, spec.table)
        given["table"] = shown.model_dump(mode="json")
    if isinstance(spec, (*ASK_NETWORKS, AnnotationMatrix)):
        names = planner.cohort(spec.cohort).datasets
        given["datasets"] = {name: planner.dataset(name).title for name in names}
    given |= {"code": _code("figure")}
    of_paper = shared(planner, plan, paper)
    given["runs"] = _of_these(of_paper, runs_of_figure(planner, plan, paper, key))
    return of_paper | given


def networks(planner: Planner, plan: Plan, paper: str, key: str) -> dict[str, str]:
    """Arm -> the run of its first seed, of the networks that a figure asks once more.

    None for most kinds of figures, and where the cohort is not run at this scale.
    """
    spec = _figure_spec(planner, paper, key)
    found: dict[str, str] = {}
    if isinstance(spec, ASK_NETWORKS):
        for entry in plan.papers[paper]:  # in the order of the seeds
            if entry["arm"] in spec.arms and entry["run"].startswith(f"{spec.cohort}/"):
                found.setdefault(entry["arm"], entry["run"])
    return found


def claims(planner: Planner, plan: Plan) -> dict[str, Any]:
    """Parameters of claims.csv, over all papers of the scale, what they claim among them."""
    papers = {
        paper: shared(planner, plan, paper) | {"claims": _claims(planner, paper)}
        for paper in plan.papers
    }
    return {"papers": papers, "code": _code("claims")}


def _claims(planner: Planner, paper: str) -> list[dict[str, Any]]:
    return [claim.model_dump(mode="json") for claim in planner.paper(paper).claims]


def metrics(planner: Planner, plan: Plan) -> dict[str, Any]:
    """Parameters of metrics.json and of the plots, over all papers of the scale."""
    papers = {paper: shared(planner, plan, paper) for paper in plan.papers}
    return {"papers": papers, "code": _code("metrics")}


def report(planner: Planner, plan: Plan) -> dict[str, Any]:
    """Parameters of the report, over all papers of the scale."""
    papers = {}
    for key in plan.papers:
        folder = planner.paper(key)
        papers[key] = shared(planner, plan, key) | {
            "about": folder.paper.model_dump(mode="json"),
            "tables": [t.model_dump(mode="json") for t in folder.tables],
            "figures": [f.model_dump(mode="json") for f in folder.figures],
            "claims": _claims(planner, key),
        }
    return {
        "papers": papers,
        "equivalent_code": planner.main.equivalent_code,
        "code": _code("report"),
    }


def quality(planner: Planner, name: str) -> dict[str, Any]:
    """Parameters of the quality page of a cohort."""
    cohort = planner.cohort(name)
    return {
        "title": cohort.title,
        "structures": cohort.structures,
        "tasks": cohort.tasks,
        "overlapping": cohort.overlapping,
        "orientation": cohort.orientation,
        "datasets": {name: planner.dataset(name).title for name in cohort.datasets},
        "code": _code("quality"),
    }


def gallery(planner: Planner, plan: Plan) -> dict[str, Any]:
    """Parameters of the gallery: every data set of the scale, and the folders of real ones.

    A data set that a cohort keeps in the order of its files has oblique slices.
    """
    oblique = {
        name
        for cohort in map(planner.cohort, plan.prepared)
        if cohort.orientation == "file"
        for name in cohort.datasets
    }
    datasets = {}
    for name in sorted(plan.raw):
        dataset = planner.dataset(name)
        datasets[name] = {
            "title": name,
            "layout": dataset.layout,
            "layout_options": dataset.layout_options,
            "labels": [[raw, structure] for raw, structure in dataset.labels.items()],
            "modality": dataset.modality,
            "oblique": name in oblique,
            "kind": plan.raw[name].settings["source"]["kind"],
            "local": str(planner.main.local[name]) if name in planner.main.local else None,
        }
    return {"datasets": datasets, "code": _code("gallery")}


def licences(planner: Planner, plan: Plan) -> dict[str, Any]:
    """Parameters of the tables of licences: {"rows": by place, "datasets": by data set, "hash"}."""
    datasets = {
        name: planner.dataset(name).model_dump(
            include={"title", "licence", "redistribution", "citation"}
        )
        for name in sorted(plan.raw)
    }
    raw = {name: unit.settings for name, unit in plan.raw.items()}
    prepared = {name: unit.settings for name, unit in plan.prepared.items()}
    given = {"rows": passing_on.tables(raw, prepared, datasets), "datasets": datasets}
    return given | {"hash": short_hash([given, source_hash("workflow.scripts.licences")])}


def _code(script: str) -> str:
    """Hash of the code behind a publishing script, the templates included."""
    templates = {path.name: file_sha256(path) for path in sorted(TEMPLATES.iterdir())}
    return short_hash([source_hash(f"workflow.scripts.{script}"), templates])


def _named(things: list, paper: str, key: str, file: str) -> Any:
    for thing in things:
        if thing.key == key:
            return thing
    raise InputError(
        f"config/papers/{paper}/{file}: has no '{key}'; there are: {[t.key for t in things]}"
    )
