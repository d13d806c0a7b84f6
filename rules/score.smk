rule score:
    input:
        weights=lambda wc: weights_to_score(wc, "weights.pt"),
        last=lambda wc: weights_to_score(wc, "last.pt"),
        cases=lambda wc: unless_scored(wc, f"{run_folders(wc)['prepared']}/cases.csv"),
    output:
        scores="<results>/runs/<run>/scores.csv",
        unprocessed="<results>/runs/<run>/scores_unprocessed.csv",
        last="<results>/runs/<run>/scores_last.csv",
        record="<results>/runs/<run>/scores.json",
    log:
        "<logs>/score/<run>.log",
    benchmark:
        "<benchmarks>/score/<run>.jsonl"
    conda:
        "../envs/piecemeal.yaml"
    threads: 1
    params:
        asked=lambda wc: asked("scores", run_key(wc), wc),
        folders=lambda wc, output: run_folders(wc),  # see `train`
    script:
        "../workflow/scripts/score.py"


rule runs:
    """Every run of the default scale, trained and scored."""
    input:
        lambda wc: files_of_runs(planner().main.scale),
    localrule: True
