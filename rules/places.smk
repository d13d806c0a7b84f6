"""Where things lie: the folders of the units of a plan."""

import functools

from piecemeal.datasets.passing_on import PLACES
from piecemeal.run_files import Again, RunFiles


@explained
def decides(scale):
    from piecemeal.publishing import decisive

    return decisive.decides(planner(), plan(scale))


def kept_in(scale, of, folder):
    """`folder` of a scale's data, below `restricted/` where DVC must not push what is `of` that unit."""
    return f"data/{scale}/{'restricted/' if of.settings['restricted'] else ''}{folder}"


def raw_folder(scale, dataset):
    found = unit("raw", dataset, scale)
    return kept_in(scale, found, f"raw/{dataset}-{found.hash}")


def prepared_folder(scale, cohort):
    found = unit("prepared", cohort, scale)
    return kept_in(scale, found, f"prepared/{cohort}-{found.hash}")


def annotated_folder(scale, key):
    """The folder of "<cohort>/<annotation>"."""
    cohort, found = Path(key).parts[0], unit("annotated", key, scale)
    return kept_in(
        scale, unit("prepared", cohort, scale), f"annotated/{key}-{found.hash}"
    )


def datasets_of(wildcards):
    """The data sets of a cohort."""
    return unit("prepared", wildcards.cohort, wildcards.scale).settings["datasets"]


def made_of(datasets, scale, path):
    """`path` as an input whose age counts only where it is made of a folder of the user's.

    What is in such a folder is in no hash. Files of other sources may come from elsewhere, with
    any age.
    """
    local = any("path" in unit("raw", name, scale).settings for name in datasets)
    return path if local else ancient(path)


def data_folders(scale):
    """Every prepared and every annotated folder of a scale."""
    prepared = [prepared_folder(scale, cohort) for cohort in plan(scale).prepared]
    return prepared + [annotated_folder(scale, key) for key in plan(scale).annotated]


@explained
def licences(scale):
    return parameters().licences(planner(), plan(scale))


def licence_tables(scale):
    return [
        f"data/{scale}/{place}/licences-{licences(scale)['hash']}.csv"
        for place in PLACES
    ]


def checkpoint_folder(wildcards):
    """Beside the runs, never an output: Snakemake deletes the outputs of a job that fails."""
    return f"results/{wildcards.scale}/checkpoints/{run_key(wildcards)}"


def begins_with(wildcards):
    """The weights that a run starts from, if it does."""
    settings = unit("runs", run_key(wildcards), wildcards.scale).settings
    before = settings.get("starts_from_run")
    return run_files(wildcards.scale, [before] if before else [], "weights.pt")


def run_files(scale, runs, name):
    return [f"results/{scale}/runs/{run}/{name}" for run in runs]


@functools.cache
def again():
    """What the user forces; the jobs that Snakemake starts are not told."""
    if not workflow.is_main_process:
        return Again()
    given = workflow.dag_settings
    targets = given.targets if given.forcetargets else []
    return Again.of([*given.forcerun, *targets], given.forceall)


def files_of_run(wildcards):
    key = run_key(wildcards)
    place = Path("results", wildcards.scale, "runs", key)
    return RunFiles(place, unit("scores", key, wildcards.scale).hash, again())


def weights_to_score(wildcards, name):
    """Weights of a run as an input of its scores, whose age counts only if they are made anew.

    Weights that are there may have come from elsewhere, with any age. Of ancient files Snakemake
    does not mind either that a job of the same start makes them.
    """
    found = files_of_run(wildcards)
    path = str(found.folder / name)
    return path if found.trains else ancient(path)


def unless_trained(wildcards, folder):
    """The cases of a data folder as an input of a run; none where it is done without its data."""
    return _cases(folder, files_of_run(wildcards).trains)


def unless_scored(wildcards, folder):
    """The same of the scores of a run."""
    return _cases(folder, files_of_run(wildcards).scores)


def _cases(folder, needed):
    cases = f"{folder}/cases.csv"
    return ancient(cases) if needed or Path(cases).exists() else []
