"""What jobs are made of: files that are inputs as long as something is to be made of them."""

import functools

from piecemeal.run_files import Again, RunFiles


@functools.cache
def again():
    """What the user forces; the jobs that Snakemake starts are not told."""
    if not workflow.is_main_process:
        return Again()
    given = workflow.dag_settings
    targets = given.targets if given.forcetargets else []
    return Again.of([*given.forcerun, *targets], given.forceall)


def to_make(rule, outputs, paths):
    """`paths` as inputs of a job of `rule` as long as its `outputs` are to be made; then none.

    The hash in its path vouches for what is there, and its inputs may have come from elsewhere, with
    any age, or be gone. They are not `ancient` instead: of a job whose inputs are, Snakemake does not
    mind that outputs are missing, or forced, where a job further up is run in the same start; it
    passes over it and calls that a success.
    """
    done = all(Path(path).exists() for path in outputs)
    return paths if not done or again().includes(rule, outputs) else []


def made_of(datasets, scale, rule, output, path):
    """`path` as an input of `output`: see `to_make`, but that of a user's own folder always is one.

    What is in such a folder is in no hash, so that its age counts.
    """
    own = any("path" in unit("raw", name, scale).settings for name in datasets)
    return path if own else to_make(rule, [output], path)


def manifests_to_prepare(wildcards):
    output = f"{prepared_folder(wildcards.scale, wildcards.cohort)}/cases.csv"
    found = [
        made_of([name], wildcards.scale, "prepare", output, f"{folder}/manifest.json")
        for name, folder in zip(datasets_of(wildcards), raw_folders(wildcards))
    ]
    return [manifest for manifest in found if manifest]


def cases_to_annotate(wildcards):
    key = f"{wildcards.cohort}/{wildcards.annotation}"
    output = f"{annotated_folder(wildcards.scale, key)}/cases.csv"
    cases = f"{prepared_folder(wildcards.scale, wildcards.cohort)}/cases.csv"
    of = datasets_of(wildcards), wildcards.scale
    return made_of(*of, "annotate", output, cases)


def files_of_run(wildcards):
    key = run_key(wildcards)
    place = Path("results", wildcards.scale, "runs", key)
    return RunFiles(place, unit("scores", key, wildcards.scale).hash, again())


def unless_trained(wildcards, paths):
    """`paths` as inputs of a run; none where it is done. See `to_make`."""
    return paths if files_of_run(wildcards).trains else []


def unless_scored(wildcards, paths):
    """The same of the scores of a run."""
    return paths if files_of_run(wildcards).scores else []


def weights_to_score(wildcards, name):
    """Weights of a run as an input of its scores, whose age counts only if they are made anew.

    Weights that are there may have come from elsewhere, with any age. Of ancient files Snakemake
    does not mind either that a job of the same start makes them.
    """
    found = files_of_run(wildcards)
    path = str(found.folder / name)
    return path if found.trains else ancient(path)


def cases_of_page(wildcards):
    """The cases of a quality page, which follows the user's own data as they change."""
    output = f"results/{wildcards.scale}/quality/{wildcards.cohort}.html"
    cases = f"{prepared_folder(wildcards.scale, wildcards.cohort)}/cases.csv"
    of = datasets_of(wildcards), wildcards.scale
    return made_of(*of, "quality", output, cases)


def cases_of_figure(wildcards):
    place = f"results/{wildcards.scale}/figures/{wildcards.paper}_{wildcards.figure}"
    cases = [f"{folder}/cases.csv" for folder in cohorts_of(wildcards).values()]
    return to_make("figure", [f"{place}.png", f"{place}.svg"], cases)
