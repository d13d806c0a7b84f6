"""What DVC reads: what decides the results of a scale, its metrics and plots, whose data are whose."""


rule numbers:
    """Everything of the default scale that is published without a picture."""
    input:
        lambda wc: numbers(planner().main.scale),
    localrule: True


rule metrics:
    input:
        first_start(),
        scores=lambda wc: run_files(wc.scale, plan(wc.scale).runs, "scores.csv"),
        histories=lambda wc: run_files(wc.scale, plan(wc.scale).runs, "history.csv"),
        claims="<results>/claims.csv",
    output:
        metrics="<results>/metrics.json",
        dice="<results>/plots/dice.csv",
        training="<results>/plots/training.csv",
    log:
        "<logs>/metrics.log",
    localrule: True
    conda:
        "../envs/piecemeal.yaml"
    params:
        given=lambda wc: parameters().metrics(planner(), plan(wc.scale)),
        prepared=lambda wc: prepared_folders(wc.scale, plan(wc.scale).runs),
        runs=lambda wc: f"results/{wc.scale}/runs",
    script:
        "../workflow/scripts/metrics.py"


rule params:
    input:
        first_start(),
    output:
        params="<results>/params.yaml",
    log:
        "<logs>/params.log",
    localrule: True
    conda:
        "../envs/piecemeal.yaml"
    params:
        decides=lambda wc: decides(wc.scale),
    script:
        "../workflow/scripts/params.py"


rule licences:
    output:
        raw="<data>/raw/licences-{hash}.csv",
        prepared="<data>/prepared/licences-{hash}.csv",
        annotated="<data>/annotated/licences-{hash}.csv",
        restricted="<data>/restricted/licences-{hash}.csv",
    log:
        "<logs>/licences/{hash}.log",
    localrule: True
    conda:
        "../envs/piecemeal.yaml"
    params:
        rows=lambda wc: licences(wc.scale)["rows"],
        datasets=lambda wc: licences(wc.scale)["datasets"],
    script:
        "../workflow/scripts/licences.py"
