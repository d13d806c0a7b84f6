rule annotate:
    input:
        cases=cases_to_annotate,
    output:
        cases="data/{scale}/{restricted}annotated/{cohort}/{annotation}-{hash}/cases.csv",
    log:
        "<logs>/annotate/{restricted}{cohort}-{annotation}-{hash}.log",
    # See `prepare`.
    priority: 1
    conda:
        "../envs/piecemeal.yaml"
    params:
        asked=lambda wc: asked_in_its_place(
            "annotated", f"{wc.cohort}/{wc.annotation}", wc
        ),
        # See `train`.
        prepared=lambda wc, output: prepared_folder(wc.scale, wc.cohort),
    script:
        "../workflow/scripts/annotate.py"


rule data:
    """Every prepared and annotated cohort of the default scale, and so everything before it."""
    input:
        lambda wc: [
            f"{folder}/cases.csv" for folder in data_folders(planner().main.scale)
        ],
        lambda wc: licence_tables(planner().main.scale),
        # Also those that nothing has to be prepared from.
        lambda wc: list(raw_manifests(planner().main.scale).values()),
    localrule: True
