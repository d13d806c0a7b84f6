"""Lookups in the plan: from the wildcards of a path to the settings that it stands for."""

import functools
import os
from pathlib import Path

from snakemake.exceptions import WorkflowError

from piecemeal.errors import InputError
from piecemeal.plan import Planner, freeze, thaw
from piecemeal.provenance import source_hash


# Jobs take the package from this checkout, also where it is not installed (conda, a GPU machine).
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(Path(workflow.basedir)), *filter(None, [os.environ.get("PYTHONPATH")])]
)


def explained(function):
    """Show a user's mistake as Snakemake shows its own: the message, no traceback."""

    @functools.wraps(function)
    def wrapper(*arguments, **keywords):
        try:
            return function(*arguments, **keywords)
        except InputError as error:
            raise WorkflowError(str(error)) from None

    return wrapper


planner = explained(Planner)(overrides=config)


@functools.cache
@explained
def plan(scale):
    """The plan of a scale: made by the main process, read by the jobs it starts.

    An edit of code or configuration during a run thus changes nothing for jobs that wait.
    """
    path = Path("results", scale, "plan.json")
    if workflow.is_main_process:
        freeze(planner.plan(scale), path)
    return thaw(path)


@explained
def settings(stage, key, wildcards):
    """Settings of one unit of the plan; a hash in a path that is not today's is refused."""
    unit = getattr(plan(wildcards.scale), stage).get(key)
    if unit is None or (wanted := getattr(wildcards, "hash", unit.hash)) != unit.hash:
        raise InputError(
            f"{stage} '{key}': the configuration asks for "
            f"{'nothing of that name' if unit is None else unit.hash} at scale "
            f"'{wildcards.scale}'; ask for a path that `snakemake -n` lists"
        )
    return unit.settings


def run_key(wildcards):
    return "{0.cohort}/{0.annotation}/{0.method}/seed{0.seed}-{0.hash}".format(
        wildcards
    )


def run_settings(wildcards):
    return settings("runs", run_key(wildcards), wildcards)


def raw_folder(scale, dataset):
    return f"data/{scale}/raw/{dataset}-{plan(scale).raw[dataset].hash}"


def prepared_folder(scale, cohort):
    return f"data/{scale}/prepared/{cohort}-{plan(scale).prepared[cohort].hash}"


def annotated_folder(scale, cohort, annotation):
    unit = plan(scale).annotated[f"{cohort}/{annotation}"]
    return f"data/{scale}/annotated/{cohort}/{annotation}-{unit.hash}"


def checkpoint_folder(wildcards):
    """Beside the runs, never an output: Snakemake deletes the outputs of a job that fails."""
    return f"results/{wildcards.scale}/checkpoints/{run_key(wildcards)}"


def arms(wildcards):
    """The runs of a paper: [{"arm": ..., "run": ...}], one entry an arm, cohort and seed."""
    return plan(wildcards.scale).papers[wildcards.paper]


def run_files(scale, runs, name):
    return [f"results/{scale}/runs/{entry['run']}/{name}" for entry in runs]
