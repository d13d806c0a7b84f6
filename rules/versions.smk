"""What only DVC reads: what decides the results of a scale, and whose data are whose."""

from piecemeal.publishing import decisive


@explained
def licences(scale):
    return parameters.licences(planner(), plan(scale))


rule params:
    output:
        params="<results>/params.yaml",
    log:
        "<logs>/params.log",
    localrule: True
    conda:
        "../envs/piecemeal.yaml"
    params:
        decides=lambda wc: explained(decisive.decides)(planner(), plan(wc.scale)),
    script:
        "../workflow/scripts/params.py"


rule licences:
    output:
        raw="<data>/raw/licences-{hash}.csv",
        prepared="<data>/prepared/licences-{hash}.csv",
        annotated="<data>/annotated/licences-{hash}.csv",
        restricted="<data>/restricted/licences-{hash}.csv",
    log:
        "<logs>/licences/{hash}.log",
    localrule: True
    conda:
        "../envs/piecemeal.yaml"
    params:
        rows=lambda wc: licences(wc.scale)["rows"],
        datasets=lambda wc: licences(wc.scale)["datasets"],
    script:
        "../workflow/scripts/licences.py"
