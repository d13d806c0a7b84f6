"""The claims of all papers, tested on the scores of their runs."""

from pathlib import Path

import pandas as pd

from piecemeal.evaluation.claims import evaluate_claims, load_claims
from piecemeal.jobs import run_job
from piecemeal.provenance import write_text
from piecemeal.publishing.collect import processed, read_scores


def main(job) -> None:
    tested = []
    for path, (paper, given) in zip(
        job.input.claims, job.params.given["papers"].items(), strict=True
    ):
        scores = read_scores(Path(job.params.runs), given["runs"], given["cohorts"])
        scores = processed(scores, given["cohorts"])
        tested.append(evaluate_claims(paper, load_claims(Path(path)), scores))
    write_text(Path(job.output.claims), pd.concat(tested).to_csv(index=False))


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
