def starting_weights(wildcards):
    """The weights that a run starts with; none of most runs."""
    before = unit("runs", run_key(wildcards), wildcards.scale).settings.get(
        "starts_from_run"
    )
    return run_files(wildcards.scale, [before] if before else [], "weights.pt")


rule train:
    input:
        prepared=lambda wc: ancient(f"{prepared_folder(wc.scale, wc.cohort)}/cases.csv"),
        annotated=lambda wc: ancient(
            f"{annotated_folder(wc.scale, f'{wc.cohort}/{wc.annotation}')}/cases.csv"
        ),
        starts_from=lambda wc: ancient(starting_weights(wc)),
    output:
        weights="<results>/runs/<run>/weights.pt",
        last="<results>/runs/<run>/last.pt",
        history="<results>/runs/<run>/history.csv",
        record="<results>/runs/<run>/run.json",
    log:
        "<logs>/train/<run>.log",
    benchmark:
        "<benchmarks>/train/<run>.jsonl"
    conda:
        "../envs/piecemeal.yaml"
    threads: 1
    params:
        settings=lambda wc: settings("runs", run_key(wc), wc),
        checkpoints=checkpoint_folder,
    script:
        "../workflow/scripts/train.py"
