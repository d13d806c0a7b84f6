"""What jobs are made of: files that are inputs as long as something is to be made of them."""

import functools

from piecemeal.run_files import Again, RunFiles

DATA = ("fetch", "prepare")  # rules on whose outputs all others work


@functools.cache
def again():
    """What the user forces; the jobs that Snakemake starts are not told."""
    if not workflow.is_main_process:
        return Again()
    given = workflow.dag_settings
    targets = given.targets if given.forcetargets else []
    return Again.of([*given.forcerun, *targets], given.forceall)


def to_make(rule, needed, paths):
    """`paths` as inputs of a job of `rule` as long as any of `needed` is to be made; then none.

    needed: its outputs, and what else it cannot do without where no hash vouches for these. What is
    there may have inputs from elsewhere, with any age, or that are gone. They are not `ancient`
    instead: of a job whose inputs are, Snakemake does not mind that outputs are missing, or forced,
    where a job further up is run in the same start; it passes over it and calls that a success. For
    the same reason data that are forced are passed on.
    """
    done = all(Path(path).exists() for path in needed)
    forced = (again().includes(name, [*needed, *paths]) for name in (*DATA, rule))
    return paths if not done or any(forced) else []


def of_own_folder(scale, dataset):
    """Whether data are in a folder of the user's: what is in it is in no hash, so its age counts."""
    return "path" in unit("raw", dataset, scale).settings


def made_of_cases(wildcards, rule, needed):
    """The prepared cases of a cohort as an input: always of own folders, else see `to_make`."""
    cases = [f"{prepared_folder(wildcards.scale, wildcards.cohort)}/cases.csv"]
    own = any(of_own_folder(wildcards.scale, name) for name in datasets_of(wildcards))
    return cases if own else to_make(rule, needed, cases)


def manifests_to_prepare(wildcards):
    """Those of a user's own folders, beside which the others have to be there as well."""
    names, scale = datasets_of(wildcards), wildcards.scale
    manifests = {name: f"{raw_folder(scale, name)}/manifest.json" for name in names}
    output = f"{prepared_folder(scale, wildcards.cohort)}/cases.csv"
    asked = to_make("prepare", [output], list(manifests.values()))
    own = {name for name in names if of_own_folder(scale, name)}
    if asked or not own:
        return asked
    return [path if name in own else ancient(path) for name, path in manifests.items()]


def cases_to_annotate(wildcards):
    key = f"{wildcards.cohort}/{wildcards.annotation}"
    output = f"{annotated_folder(wildcards.scale, key)}/cases.csv"
    return made_of_cases(wildcards, "annotate", [output])


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
    page = f"results/{wildcards.scale}/quality/{wildcards.cohort}.html"
    cases = f"{prepared_folder(wildcards.scale, wildcards.cohort)}/cases.csv"
    return made_of_cases(wildcards, "quality", [page, cases])


def cases_of_figure(wildcards):
    place = f"results/{wildcards.scale}/figures/{wildcards.paper}_{wildcards.figure}"
    cases = [f"{folder}/cases.csv" for folder in cohorts_of(wildcards).values()]
    return to_make("figure", [f"{place}.png", f"{place}.svg", *cases], cases)
