rule train:
    input:
        prepared=lambda wc: unless_trained(wc, prepared_folder(wc.scale, wc.cohort)),
        annotated=lambda wc: unless_trained(
            wc, annotated_folder(wc.scale, f"{wc.cohort}/{wc.annotation}")
        ),
        starts_from=lambda wc: ancient(begins_with(wc)),
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
    script:
        "../workflow/scripts/train.py"
