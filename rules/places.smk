"""Where things lie: the folders of the units of a plan."""

from piecemeal.datasets.passing_on import PLACES


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


def raw_folders(wildcards):
    """Those of the data sets of a cohort, in their order."""
    return [raw_folder(wildcards.scale, name) for name in datasets_of(wildcards)]


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


def run_folders(wildcards):
    """The data of a run: its prepared and its annotated folder."""
    key = f"{wildcards.cohort}/{wildcards.annotation}"
    prepared = prepared_folder(wildcards.scale, wildcards.cohort)
    return {"prepared": prepared, "annotated": annotated_folder(wildcards.scale, key)}
