rule train:
    input:
        prepared=lambda wc: unless_done(
            trained, wc, prepared_folder(wc.scale, wc.cohort)
        ),
        annotated=lambda wc: unless_done(
            trained, wc, annotated_folder(wc.scale, f"{wc.cohort}/{wc.annotation}")
        ),
        starts_from=lambda wc: ancient(
            run_files(
                wc.scale,
                filter(
                    None, [settings("runs", run_key(wc), wc).get("starts_from_run")]
                ),
                "weights.pt",
            )
        ),
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
