"""What a scale changes against the paper, cohort by cohort, said from the configuration itself.

Nothing here imports torch or pandas: Snakemake asks for this at every start.
"""

from __future__ import annotations

from collections.abc import Sequence

from piecemeal.cohort_specs import GridConfig
from piecemeal.plan import Plan, Planner
from piecemeal.training_specs import TrainingConfig


def of_cohort(planner: Planner, plan: Plan, name: str) -> list[str]:
    """What is smaller, shorter or otherwise other in a cohort than in its paper."""
    scale = planner.scale(plan.scale)
    change = scale.cohorts[name]
    runs = [run.settings for run in plan.runs.values() if run.settings["cohort"] == name]
    said = list(change.shortened)
    if change.grid:
        said += _grids(change.grid, planner.cohort(name).grid)
    if change.patch and any(run["input"]["kind"] == "patches" for run in runs):
        said.append(f"patches of {_by(change.patch)} voxels")
    methods = {run["method"] for run in runs}
    for method, patch in change.patches.items():
        if method in methods:
            said.append(f"{planner.method(method).title} with patches of {_by(patch)} voxels")
    mirrored = {name for name in methods if planner.method(name).inference.flips}
    if mirrored and not change.mirrors:
        titles = ", ".join(planner.method(name).title for name in sorted(mirrored))
        said.append(f"{titles} without mirrored passes")
    for network in sorted({run["network"] for run in runs} - {None}):
        if options := scale.networks.get(network):
            values = ", ".join(f"{key} {value}" for key, value in options.items())
            said.append(f"network {network} with {values}")
    return said


def training(planner: Planner, plan: Plan, name: str) -> str:
    """How long the runs of a cohort train, in words; '' where they do not."""
    change = planner.scale(plan.scale).cohorts[name]
    if change.training is None:
        return ""
    said = _length(change.training)
    for method, times in change.longer.items():
        said += f", {planner.method(method).title} {times:g} times as long"
    for arm, times in _lengths(planner, plan, name).items():
        said += f", {arm} {times:g} times as long"
    if size := change.training.batch_size:
        said += f", {size} a step"
    if own := change.training.optimiser:
        said += f", optimised by {own.name} at a learning rate of {own.learning_rate:g}"
    if change.training.decay:
        said += f", learning rate falling as {change.training.decay.kind.replace('_', ' ')}"
    runs = [run.settings for run in plan.runs.values() if run.settings["cohort"] == name]
    others = {run["method"] for run in runs if run["implementation"] == "elsewhere"}
    for method in sorted(others):
        said += f", but for {planner.method(method).title}, which other software trained"
    return said


def _lengths(planner: Planner, plan: Plan, name: str) -> dict[str, float]:
    """Arms of a cohort that run and train longer or shorter than others -> how many times."""
    found = {}
    for paper, entries in plan.papers.items():
        ran = {entry["arm"] for entry in entries if entry["run"].startswith(f"{name}/")}
        for run in planner.paper(paper).runs:
            if run.cohort == name and run.arm in ran and run.length not in (0, 1):
                found[run.arm] = run.length
    return found


def _length(given: TrainingConfig) -> str:
    if given.samples is None:
        return f"{given.steps:,} steps of every method"
    return f"{given.samples:,} labelled samples for every method"


def _grids(ours: GridConfig, theirs: GridConfig) -> list[str]:
    said = []
    if ours.size != theirs.size and any(ours.size):
        unit = "pixels" if ours.size[0] is None else "voxels"
        said.append(f"images of {_by(ours.size)}{_instead(_by(theirs.size))} {unit}")
    if ours.spacing_mm != theirs.spacing_mm and any(ours.spacing_mm):
        said.append(f"voxels of {_by(ours.spacing_mm)}{_instead(_by(theirs.spacing_mm))} mm")
    return said


def _instead(other: str) -> str:
    return f" instead of {other}" if other else ""


def _by(sizes: Sequence[float | None]) -> str:
    """'64 x 64' of (None, 64, 64): an axis that is left to the scan goes unsaid."""
    return " x ".join(f"{size:g}" for size in sizes if size is not None)
