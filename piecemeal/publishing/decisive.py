"""What decides the results of a scale, key by key: DVC compares it to know what has to be done."""

from __future__ import annotations

from typing import Any

from piecemeal.plan import Plan, Planner
from piecemeal.provenance import short_hash
from piecemeal.publishing import parameters


def decides(planner: Planner, plan: Plan) -> dict[str, Any]:
    """{"data", "methods", "runs", "published"}: what each stage of dvc.yaml depends on.

    Everything but the methods' own settings, which are there to be read, stands as its hash, which
    covers the code that takes part. So a caption changes one key of "published", and a learning
    rate its method and the runs that use it.
    """
    names = sorted({unit.settings["method"] for unit in plan.runs.values()})
    return {
        "data": {
            "raw": _hashes(plan.raw),
            "prepared": _hashes(plan.prepared),
            "annotated": _hashes(plan.annotated),
            "licences": parameters.licences(planner, plan)["hash"],
        },
        "methods": {name: planner.method(name).model_dump(mode="json") for name in names},
        "runs": _runs(plan),
        "published": _published(planner, plan),
    }


def _runs(plan: Plan) -> dict[str, dict[str, str]]:
    """Cohort, annotation, method and seed -> the hashes of what they name: several runs, if these
    differ in their length or recipe."""
    found: dict[str, list[str]] = {}
    for run in sorted(plan.runs):
        found.setdefault(run.rpartition("-")[0], []).append(run)
    return {
        name: {
            "run": " ".join(plan.runs[run].hash for run in runs),
            "scores": " ".join(plan.scores[run].hash for run in runs),
        }
        for name, runs in found.items()
    }


def _hashes(units: dict[str, Any]) -> dict[str, str]:
    return {name: unit.hash for name, unit in units.items()}


def _published(planner: Planner, plan: Plan) -> dict[str, Any]:
    tables, figures = {}, {}
    for key in plan.papers:
        paper = planner.paper(key)
        for one in paper.tables:
            tables[f"{key}_{one.key}"] = short_hash(parameters.table(planner, plan, key, one.key))
        for one in paper.figures:
            figures[f"{key}_{one.key}"] = short_hash(parameters.figure(planner, plan, key, one.key))
    return {
        "tables": tables,
        "figures": figures,
        "quality": {name: short_hash(parameters.quality(planner, name)) for name in plan.prepared},
        "claims": short_hash(parameters.claims(planner, plan)),
        "metrics": short_hash(parameters.metrics(planner, plan)),
        "report": short_hash(parameters.report(planner, plan)),
    }
