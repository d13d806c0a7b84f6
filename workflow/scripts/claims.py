"""The claims of all papers, tested on the scores of their runs."""

from pathlib import Path

import pandas as pd

from piecemeal.claim_specs import ClaimsFile
from piecemeal.evaluation.claims import evaluate_claims
from piecemeal.jobs import run_job
from piecemeal.provenance import write_text
from piecemeal.publishing.collect import processed, read_records, read_scores, refuse_other_data


def main(job) -> None:
    tested = []
    for paper, given in job.params.given["papers"].items():
        runs = Path(job.params.runs)
        refuse_other_data(read_records(runs, given["runs"]), job.params.prepared)
        scores = read_scores(runs, given["runs"], given["cohorts"])
        scores = processed(scores, given["cohorts"])
        cohorts = {name: cohort["not_run"] for name, cohort in given["cohorts"].items()}
        left_out = {name: cohort["left_out"] for name, cohort in given["cohorts"].items()}
        claims = ClaimsFile.model_validate({"claims": given["claims"]}).claims
        tested.append(evaluate_claims(paper, claims, scores, cohorts, left_out))
    write_text(Path(job.output.claims), pd.concat(tested).to_csv(index=False))


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
