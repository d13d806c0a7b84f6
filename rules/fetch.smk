from piecemeal.plan_data import ASIDE


def without_addresses(settings):
    """Settings of a data set without what its job reads from the plan: no reason to run again."""
    return {key: value for key, value in settings.items() if key not in ASIDE}


rule fetch:
    output:
        manifest="<data>/raw/{dataset}-{hash}/manifest.json",
    log:
        "<logs>/fetch/{dataset}-{hash}.log",
    localrule: True
    conda:
        "../envs/piecemeal.yaml"
    params:
        settings=lambda wc: without_addresses(settings("raw", wc.dataset, wc)),
        plan=lambda wc: str(plan_file(wc.scale)),
    script:
        "../workflow/scripts/fetch.py"
