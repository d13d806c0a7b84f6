"""Lookups in the plan: from the wildcards of a path to the settings that it stands for."""

import functools
import json
from pathlib import Path

from snakemake.exceptions import WorkflowError

from piecemeal.errors import InputError
from piecemeal.jobs import offer_package
from piecemeal.plan_file import as_jobs_see_it, thaw

offer_package(workflow.basedir)


def explained(function):
    """Show a user's mistake as Snakemake shows its own: the message, no traceback."""

    @functools.wraps(function)
    def wrapper(*arguments, **keywords):
        try:
            return function(*arguments, **keywords)
        except InputError as error:
            raise WorkflowError(str(error)) from None

    return wrapper


# What makes plans is imported where it is used: most jobs only read one, and each starts Snakemake
# twice.
@functools.cache
@explained
def planner():
    from piecemeal.plan import Planner

    return Planner(overrides=config)


def parameters():
    """The module that says what publishing scripts are given."""
    from piecemeal.publishing import parameters

    return parameters


def plan_file(scale):
    return Path("results", scale, "plan.json")


def first_start():
    """A file as old as Snakemake's records in this folder; an input of what has no hash in its path.

    What is older came from elsewhere, by `git clone` or `dvc pull`, and Snakemake cannot know what
    it was made from. It is made anew unless workflow/restore.py has had it accepted.
    """
    path = Path(".snakemake/first-start")
    if workflow.is_main_process and not path.exists():
        try:
            path.parent.mkdir(exist_ok=True)
            path.touch()
        except OSError as error:
            raise WorkflowError(
                f"{path.resolve()}: {error.strerror}; make room, or start in a folder of the "
                "project that you may write to: data, results and Snakemake's records lie in it"
            ) from None
    return str(path)


plans = {}


@explained
def plan(scale):
    """The plan of a scale: made by the main process, read by those that it starts."""
    if scale not in plans:
        main = workflow.is_main_process
        plans[scale] = (
            as_jobs_see_it(planner().plan(scale)) if main else thaw(plan_file(scale))
        )
    return plans[scale]


@explained
def unit(stage, key, scale):
    """One unit of the plan; a name that the configuration does not ask for is refused."""
    found = getattr(plan(scale), stage).get(key)
    if found is None:
        raise InputError(
            f"{stage} '{key}': nothing of that name is planned at scale '{scale}'; ask for a "
            "path that `snakemake -n` lists"
        )
    return found


@explained
def asked(stage, key, wildcards):
    """Where a job finds its settings; a hash in a path that is not today's is refused.

    The settings are no parameters themselves: what is not in their hash, such as where a download
    comes from or code that was declared equivalent, is no reason to make anything again.
    """
    found = unit(stage, key, wildcards.scale)
    if not key.endswith(wildcards.hash) and found.hash != wildcards.hash:
        raise InputError(
            f"{stage} '{key}': the configuration asks for {found.hash} at scale "
            f"'{wildcards.scale}'; ask for a path that `snakemake -n` lists"
        )
    plan = str(plan_file(wildcards.scale))
    return {"plan": plan, "stage": stage, "key": key, "hash": found.hash}


@explained
def asked_in_its_place(stage, key, wildcards):
    """The same of data, which must not be made where what lies there is pushed, if they may not."""
    kept = unit(stage, key, wildcards.scale)
    if stage == "annotated":
        kept = unit("prepared", wildcards.cohort, wildcards.scale)
    if bool(wildcards.restricted) != kept.settings["restricted"]:
        place = "below" if kept.settings["restricted"] else "outside"
        raise InputError(
            f"{stage} '{key}': lies {place} data/{wildcards.scale}/restricted; ask for a path that "
            "`snakemake -n` lists"
        )
    return asked(stage, key, wildcards)


def run_key(wildcards):
    return "{0.cohort}/{0.annotation}/{0.method}/seed{0.seed}-{0.hash}".format(
        wildcards
    )
