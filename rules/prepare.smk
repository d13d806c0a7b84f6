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
        settings=lambda wc: in_its_place("prepared", wc.cohort, wc),
        local=lambda wc: local_folders(wc.scale, wc.cohort),
    script:
        "../workflow/scripts/prepare.py"
