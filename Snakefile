"""Piecemeal: fetch -> prepare -> annotate -> train -> score -> publish.

The scale is part of every path, so any file of any scale can be asked for by name; the default
target is everything at the scale that config/config.yaml names.
"""

from snakemake.utils import min_version

min_version("9.12")  # pathvars


pathvars:
    data="data/{scale}",
    results="results/{scale}",
    logs="results/{scale}/logs",
    benchmarks="results/{scale}/benchmarks",
    run="{cohort}/{annotation}/{method}/seed{seed}-{hash}",


wildcard_constraints:
    scale="[a-z0-9_]+",
    restricted="(restricted/)?",
    dataset="[a-z0-9_]+",
    cohort="[a-z0-9_]+",
    annotation="[a-z0-9_]+",
    method="[a-z0-9_]+",
    seed=r"\d+",
    hash="[0-9a-f]{10}",
    paper="[a-z][a-z0-9]*",


include: "rules/common.smk"
include: "rules/places.smk"
include: "rules/inputs.smk"
include: "rules/start.smk"
include: "rules/published.smk"
include: "rules/fetch.smk"
include: "rules/prepare.smk"
include: "rules/annotate.smk"
include: "rules/train.smk"
include: "rules/score.smk"
include: "rules/publish.smk"
include: "rules/versions.smk"


localrules:
    all,


rule all:
    default_target: True
    input:
        lambda wc: published(planner().main.scale),
