"""Where things lie: the folders of the units of a plan."""

import os

from piecemeal.datasets.passing_on import PLACES
from piecemeal.publishing import decisive, parameters


@explained
def decides(scale):
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
    return parameters.licences(planner(), plan(scale))


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


RUN_FILES = ("weights.pt", "last.pt", "history.csv", "run.json")
SCORE_FILES = ("scores.csv", "scores_unprocessed.csv", "scores_last.csv")
SCORE_RECORD = "scores.json"


def run_folder(wildcards):
    return Path("results", wildcards.scale, "runs", run_key(wildcards))


def trained(wildcards):
    """Whether the run is there, whole; the hash in its path vouches for it."""
    return all((run_folder(wildcards) / name).exists() for name in RUN_FILES)


def scored(wildcards):
    """Whether the scores of a run are there, whole and of today's scoring."""
    folder = run_folder(wildcards)
    record = folder / SCORE_RECORD
    if not all((folder / name).exists() for name in SCORE_FILES) or not record.exists():
        return False
    of_today = unit("scores", run_key(wildcards), wildcards.scale).hash
    return json.loads(record.read_text()).get("scoring") == of_today


def forced(rules, folder, names):
    """Whether the user forces one of these rules, or one of these files; jobs are not told."""
    if not workflow.is_main_process:
        return False
    given = workflow.dag_settings
    named = {*given.forcerun, *(given.targets if given.forcetargets else [])}
    files = {os.path.normpath(folder / name) for name in names}
    return given.forceall or bool(
        {*rules} & named or files & {*map(os.path.normpath, named)}
    )


def trained_again(wildcards):
    return forced(["train"], run_folder(wildcards), RUN_FILES)


def unless_trained_again(wildcards, name):
    """Weights of a run as an input of its scores, whose age counts only if they are forced."""
    path = str(run_folder(wildcards) / name)
    return path if trained_again(wildcards) else ancient(path)


def unless_trained(wildcards, folder):
    """The cases of a data folder as an input of a run; none where it is done without its data.

    Data that may not be passed on are not there beside results that were. If they were inputs
    still, everything made of them would be made again as soon as anything has them prepared.
    """
    return _unless(trained(wildcards) and not trained_again(wildcards), folder)


def unless_scored(wildcards, folder):
    """The same of the scores of a run, which are made again wherever its training is forced."""
    names = (*SCORE_FILES, SCORE_RECORD)
    again = trained_again(wildcards) or forced(["score"], run_folder(wildcards), names)
    return _unless(scored(wildcards) and not again, folder)


def _unless(done, folder):
    cases = f"{folder}/cases.csv"
    return ancient(cases) if Path(cases).exists() or not done else []
