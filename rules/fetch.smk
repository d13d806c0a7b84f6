rule fetch:
    output:
        manifest="<data>/raw/{dataset}-{hash}/manifest.json",
    log:
        "<logs>/fetch/{dataset}-{hash}.log",
    localrule: True
    conda:
        "../envs/piecemeal.yaml"
    params:
        settings=lambda wc: settings("raw", wc.dataset, wc),
    script:
        "../workflow/scripts/fetch.py"
