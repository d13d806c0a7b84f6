"""What a scale publishes, and what each of these files is made from."""


def papers(scale):
    return plan(scale).papers


def tables(scale, kind="tables"):
    """Every table of a scale in long form, or the ranks of its arms (kind `ranks`)."""
    return [
        f"results/{scale}/{kind}/{paper}_{table.key}.csv"
        for paper in papers(scale)
        for table in planner().paper(paper).tables
    ]


def figures(scale):
    return [
        f"results/{scale}/figures/{paper}_{figure.key}.png"
        for paper in papers(scale)
        for figure in planner().paper(paper).figures
    ]


def quality_pages(scale):
    """The page of every cohort that shows all its cases, and one case of each data set."""
    pages = [
        f"results/{scale}/quality/{cohort}.html" for cohort in plan(scale).prepared
    ]
    return [*pages, f"results/{scale}/quality/gallery.png"]


def pictures(scale):
    """What may show scans, and so is drawn again rather than passed on."""
    return figures(scale) + quality_pages(scale) + [f"results/{scale}/report.html"]


def numbers(scale):
    """What a scale publishes without a picture, in git and compared by DVC."""
    names = ("claims.csv", "metrics.json", "params.yaml")
    return tables(scale) + [f"results/{scale}/{name}" for name in names]


def published(scale):
    """Everything that the default target asks for.

    The runs are among it, though tables are made of them: where tables came without Snakemake's
    records, as in a clone, it would not look for the runs behind them.
    """
    made = numbers(scale) + pictures(scale) + licence_tables(scale)
    return files_of_runs(scale) + made


def files_of_runs(scale):
    """What is asked for of every run: its scores, which are made last, and its record.

    The record as well, as Snakemake would not go on with a training that was forced and broken off
    while the scores from before are there.
    """
    runs = plan(scale).runs
    return run_files(scale, runs, "scores.csv") + run_files(scale, runs, "run.json")


def prepared_folders(scale, runs):
    """The prepared folders of the cohorts that `runs` use."""
    used = sorted({run.split("/")[0] for run in runs})
    return {cohort: prepared_folder(scale, cohort) for cohort in used}


def cohorts_of(wildcards):
    return prepared_folders(wildcards.scale, runs_of(wildcards))


@explained
def runs_of(wildcards):
    """The runs of a table or of a figure."""
    papers = plan(wildcards.scale).papers
    if wildcards.paper not in papers:
        raise InputError(
            f"paper '{wildcards.paper}': has no runs at scale '{wildcards.scale}'; there are: "
            f"{sorted(papers)} (config/config.yaml, key 'papers')"
        )
    of = {
        "table": parameters().runs_of_table,
        "figure": parameters().runs_of_figure,
    }
    (kind,) = of.keys() & set(wildcards.keys())
    entries = of[kind](
        planner(), plan(wildcards.scale), wildcards.paper, wildcards.get(kind)
    )
    return [entry["run"] for entry in entries]


def networks_of(wildcards):
    """The runs whose trained networks a figure asks once more; none for most figures."""
    found = parameters().networks(
        planner(), plan(wildcards.scale), wildcards.paper, wildcards.figure
    )
    return found.values()


def published_numbers(wildcards):
    """The file of the paper's own numbers; none where the paper has no such table."""
    spec = parameters().table_spec(planner(), wildcards.paper, wildcards.table)
    if spec.published is None:
        return []
    return f"config/papers/{wildcards.paper}/{spec.published.file}"


def raw_manifests(scale):
    """Data set -> the manifest of its raw data, of every data set of a scale."""
    return {
        name: f"{raw_folder(scale, name)}/manifest.json" for name in plan(scale).raw
    }
