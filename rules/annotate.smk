rule annotate:
    input:
        cases=lambda wc: ancient(f"{prepared_folder(wc.scale, wc.cohort)}/cases.csv"),
    output:
        cases="<data>/annotated/{cohort}/{annotation}-{hash}/cases.csv",
    log:
        "<logs>/annotate/{cohort}-{annotation}-{hash}.log",
    conda:
        "../envs/piecemeal.yaml"
    params:
        settings=lambda wc: settings("annotated", f"{wc.cohort}/{wc.annotation}", wc),
    script:
        "../workflow/scripts/annotate.py"
