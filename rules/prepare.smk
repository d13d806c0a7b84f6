rule prepare:
    input:
        manifests=lambda wc: [
            made_of(
                [dataset], wc.scale, f"{raw_folder(wc.scale, dataset)}/manifest.json"
            )
            for dataset in datasets_of(wc)
        ],
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
    script:
        "../workflow/scripts/prepare.py"
