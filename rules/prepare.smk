rule prepare:
    input:
        manifests=lambda wc: ancient(
            [
                f"{raw_folder(wc.scale, dataset)}/manifest.json"
                for dataset in settings("prepared", wc.cohort, wc)["datasets"]
            ]
        ),
    output:
        cases="data/{scale}/{restricted}prepared/{cohort}-{hash}/cases.csv",
    log:
        "<logs>/prepare/{restricted}{cohort}-{hash}.log",
    conda:
        "../envs/piecemeal.yaml"
    threads: 2
    params:
        settings=lambda wc: settings("prepared", wc.cohort, wc),
    script:
        "../workflow/scripts/prepare.py"
