rule fetch:
    output:
        # Not <data>: in a pathvar the constraint of {scale} does not hold, which then takes in the
        # folder `restricted`.
        manifest="data/{scale}/{restricted}raw/{dataset}-{hash}/manifest.json",
    log:
        "<logs>/fetch/{restricted}{dataset}-{hash}.log",
    # See `prepare`.
    priority: 3
    localrule: True
    conda:
        "../envs/piecemeal.yaml"
    params:
        asked=lambda wc: asked_in_its_place("raw", wc.dataset, wc),
        # Links have to follow what they lead to: a folder of the user's, or whole archives.
        linked=lambda wc: [
            unit("raw", wc.dataset, wc.scale).settings.get(key)
            for key in ("path", "downloads")
        ],
    script:
        "../workflow/scripts/fetch.py"
