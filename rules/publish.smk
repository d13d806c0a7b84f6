from piecemeal.publishing import parameters


def papers(scale):
    return plan(scale).papers


def tables(scale):
    """Every table of a scale, in long form."""
    return [
        f"results/{scale}/tables/{paper}_{table.key}.csv"
        for paper in papers(scale)
        for table in planner.paper(paper).tables
    ]


def figures(scale):
    return [
        f"results/{scale}/figures/{paper}_{figure.key}.png"
        for paper in papers(scale)
        for figure in planner.paper(paper).figures
    ]


def published(scale):
    """Everything that the default target asks for."""
    whole = [f"results/{scale}/{name}" for name in ("claims.csv", "report.html")]
    return tables(scale) + figures(scale) + whole


def cohorts_of(wildcards):
    """The prepared folders of the cohorts that a paper's runs at this scale use."""
    used = {entry["run"].split("/")[0] for entry in arms(wildcards)}
    return {cohort: prepared_folder(wildcards.scale, cohort) for cohort in sorted(used)}


def all_runs(scale):
    return [{"run": run} for run in plan(scale).runs]


rule table:
    input:
        scores=lambda wc: run_files(wc.scale, arms(wc), "scores.csv"),
        records=lambda wc: run_files(wc.scale, arms(wc), "run.json"),
        published="config/papers/{paper}/published/{table}.csv",
    output:
        long="<results>/tables/{paper}_{table}.csv",
        markdown="<results>/tables/{paper}_{table}.md",
        latex="<results>/tables/{paper}_{table}.tex",
    log:
        "<logs>/table/{paper}_{table}.log",
    localrule: True
    conda:
        "../envs/piecemeal.yaml"
    params:
        given=lambda wc: parameters.table(planner, plan(wc.scale), wc.paper, wc.table),
        folder="config/papers/{paper}",
        runs=lambda wc: f"results/{wc.scale}/runs",
    script:
        "../workflow/scripts/table.py"


rule figure:
    input:
        scores=lambda wc: run_files(wc.scale, arms(wc), "scores.csv"),
        histories=lambda wc: run_files(wc.scale, arms(wc), "history.csv"),
        prepared=lambda wc: ancient(
            [f"{folder}/cases.csv" for folder in cohorts_of(wc).values()]
        ),
    output:
        png="<results>/figures/{paper}_{figure}.png",
        svg="<results>/figures/{paper}_{figure}.svg",
    log:
        "<logs>/figure/{paper}_{figure}.log",
    localrule: True
    conda:
        "../envs/piecemeal.yaml"
    params:
        given=lambda wc: parameters.figure(planner, plan(wc.scale), wc.paper, wc.figure),
        prepared=cohorts_of,
        runs=lambda wc: f"results/{wc.scale}/runs",
    script:
        "../workflow/scripts/figure.py"


rule claims:
    input:
        scores=lambda wc: run_files(wc.scale, all_runs(wc.scale), "scores.csv"),
        claims=lambda wc: [f"config/papers/{p}/claims.yaml" for p in papers(wc.scale)],
    output:
        claims="<results>/claims.csv",
    log:
        "<logs>/claims.log",
    localrule: True
    conda:
        "../envs/piecemeal.yaml"
    params:
        given=lambda wc: parameters.claims(planner, plan(wc.scale)),
        runs=lambda wc: f"results/{wc.scale}/runs",
    script:
        "../workflow/scripts/claims.py"


rule report:
    input:
        tables=lambda wc: tables(wc.scale),
        figures=lambda wc: figures(wc.scale),
        claims="<results>/claims.csv",
        records=lambda wc: run_files(wc.scale, all_runs(wc.scale), "run.json"),
    output:
        report="<results>/report.html",
    log:
        "<logs>/report.log",
    localrule: True
    conda:
        "../envs/piecemeal.yaml"
    params:
        given=lambda wc: parameters.report(planner, plan(wc.scale)),
        runs=lambda wc: f"results/{wc.scale}/runs",
        figures=lambda wc: f"results/{wc.scale}/figures",
        papers="config/papers",
    script:
        "../workflow/scripts/report.py"
