rule train:
    input:
        cases=lambda wc: unless_trained(
            wc, [f"{folder}/cases.csv" for folder in run_folders(wc).values()]
        ),
        starts_from=lambda wc: unless_trained(wc, begins_with(wc)),
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
        asked=lambda wc: asked("runs", run_key(wc), wc),
        checkpoints=checkpoint_folder,
        # What depends on the output, Snakemake takes for no reason to run again.
        folders=lambda wc, output: run_folders(wc),
        starts_from=lambda wc, output: begins_with(wc),
    script:
        "../workflow/scripts/train.py"
