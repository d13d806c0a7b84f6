rule fetch:
    output:
        # Not <data>: in a pathvar the constraint of {scale} does not hold, which then takes in the
        # folder `restricted`.
        manifest="data/{scale}/{restricted}raw/{dataset}-{hash}/manifest.json",
    log:
        "<logs>/fetch/{restricted}{dataset}-{hash}.log",
    localrule: True
    conda:
        "../envs/piecemeal.yaml"
    params:
        # Addresses are read from the plan: a new mirror is no reason to fetch again.
        settings=lambda wc: {
            key: value
            for key, value in in_its_place("raw", wc.dataset, wc).items()
            if key not in ASIDE
        },
        plan=lambda wc: str(plan_file(wc.scale)),
    script:
        "../workflow/scripts/fetch.py"
