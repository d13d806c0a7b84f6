rule prepare:
    input:
        manifests=manifests_to_prepare,
    output:
        cases="data/{scale}/{restricted}prepared/{cohort}-{hash}/cases.csv",
    log:
        "<logs>/prepare/{restricted}{cohort}-{hash}.log",
    # All data before any training, stage by stage: a job of two threads waits until two cores are
    # free, which jobs of one thread would not leave it, and until then a cohort has nothing to train.
    priority: 2
    conda:
        "../envs/piecemeal.yaml"
    threads: 2
    params:
        asked=lambda wc: asked_in_its_place("prepared", wc.cohort, wc),
        raw=lambda wc, output: raw_folders(wc),  # see `train`
    script:
        "../workflow/scripts/prepare.py"
