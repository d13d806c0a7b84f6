rule score:
    input:
        weights=ancient("<results>/runs/<run>/weights.pt"),
        prepared=lambda wc: ancient(f"{prepared_folder(wc.scale, wc.cohort)}/cases.csv"),
    output:
        scores="<results>/runs/<run>/scores.csv",
        unprocessed="<results>/runs/<run>/scores_unprocessed.csv",
        record="<results>/runs/<run>/scores.json",
    log:
        "<logs>/score/<run>.log",
    benchmark:
        "<benchmarks>/score/<run>.jsonl"
    conda:
        "../envs/piecemeal.yaml"
    threads: 1
    params:
        settings=lambda wc: plan(wc.scale).scores[run_key(wc)].settings,
        scoring=lambda wc: plan(wc.scale).scores[run_key(wc)].hash,
    script:
        "../workflow/scripts/score.py"
