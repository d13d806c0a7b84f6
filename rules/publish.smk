rule table:
    input:
        first_start(),
        scores=lambda wc: run_files(wc.scale, runs_of(wc), "scores.csv"),
        records=lambda wc: run_files(wc.scale, runs_of(wc), "run.json"),
        published=published_numbers,
    output:
        long="<results>/tables/{paper}_{table}.csv",
        markdown="<results>/tables/{paper}_{table}.md",
        latex="<results>/tables/{paper}_{table}.tex",
        ranks="<results>/ranks/{paper}_{table}.csv",
    log:
        "<logs>/table/{paper}_{table}.log",
    localrule: True
    conda:
        "../envs/piecemeal.yaml"
    params:
        given=lambda wc: parameters().table(
            planner(), plan(wc.scale), wc.paper, wc.table
        ),
        folder="config/papers/{paper}",
        prepared=cohorts_of,
        runs=lambda wc: f"results/{wc.scale}/runs",
    script:
        "../workflow/scripts/table.py"


rule figure:
    input:
        first_start(),
        scores=lambda wc: run_files(wc.scale, runs_of(wc), "scores.csv"),
        histories=lambda wc: run_files(wc.scale, runs_of(wc), "history.csv"),
        weights=lambda wc: run_files(wc.scale, networks_of(wc), "weights.pt"),
        prepared=cases_of_figure,
    output:
        png="<results>/figures/{paper}_{figure}.png",
        svg="<results>/figures/{paper}_{figure}.svg",
    log:
        "<logs>/figure/{paper}_{figure}.log",
    localrule: True
    conda:
        "../envs/piecemeal.yaml"
    params:
        given=lambda wc: parameters().figure(
            planner(), plan(wc.scale), wc.paper, wc.figure
        ),
        prepared=cohorts_of,
        runs=lambda wc: f"results/{wc.scale}/runs",
    script:
        "../workflow/scripts/figure.py"


rule claims:
    input:
        first_start(),
        scores=lambda wc: run_files(wc.scale, plan(wc.scale).runs, "scores.csv"),
    output:
        claims="<results>/claims.csv",
    log:
        "<logs>/claims.log",
    localrule: True
    conda:
        "../envs/piecemeal.yaml"
    params:
        given=lambda wc: parameters().claims(planner(), plan(wc.scale)),
        prepared=lambda wc: prepared_folders(wc.scale, plan(wc.scale).runs),
        runs=lambda wc: f"results/{wc.scale}/runs",
    script:
        "../workflow/scripts/claims.py"


rule report:
    input:
        first_start(),
        tables=lambda wc: tables(wc.scale),
        ranks=lambda wc: tables(wc.scale, "ranks"),
        figures=lambda wc: figures(wc.scale),
        claims="<results>/claims.csv",
        records=lambda wc: run_files(wc.scale, plan(wc.scale).runs, "run.json"),
    output:
        report="<results>/report.html",
    log:
        "<logs>/report.log",
    localrule: True
    conda:
        "../envs/piecemeal.yaml"
    params:
        given=lambda wc: parameters().report(planner(), plan(wc.scale)),
        runs=lambda wc: f"results/{wc.scale}/runs",
        figures=lambda wc: f"results/{wc.scale}/figures",
        papers="config/papers",
    script:
        "../workflow/scripts/report.py"


rule quality:
    input:
        first_start(),
        cases=cases_of_page,
    output:
        page="<results>/quality/{cohort}.html",
    log:
        "<logs>/quality/{cohort}.log",
    # See `prepare`; and data are looked at before what was learned from them.
    priority: 2
    conda:
        "../envs/piecemeal.yaml"
    threads: 2
    params:
        given=lambda wc: parameters().quality(planner(), wc.cohort),
        prepared=lambda wc: prepared_folder(wc.scale, wc.cohort),
    script:
        "../workflow/scripts/quality.py"


rule gallery:
    input:
        first_start(),
        manifests=lambda wc: list(raw_manifests(wc.scale).values()),
    output:
        png="<results>/quality/gallery.png",
        svg="<results>/quality/gallery.svg",
    log:
        "<logs>/gallery.log",
    conda:
        "../envs/piecemeal.yaml"
    params:
        given=lambda wc: parameters().gallery(planner(), plan(wc.scale)),
        manifests=lambda wc: raw_manifests(wc.scale),
    script:
        "../workflow/scripts/gallery.py"
