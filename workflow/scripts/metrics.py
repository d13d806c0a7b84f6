"""What DVC compares from commit to commit: a few numbers, Dice by arm and curves of training."""

import json
from pathlib import Path

import pandas as pd

from piecemeal.evaluation import claims
from piecemeal.jobs import run_job
from piecemeal.provenance import write_text
from piecemeal.publishing import summary
from piecemeal.publishing.collect import processed, read_records, read_scores, refuse_other_data
from piecemeal.publishing.tables import read_back


def main(job) -> None:
    runs, read, trained = Path(job.params.runs), [], {}
    for paper, given in job.params.given["papers"].items():
        refuse_other_data(read_records(runs, given["runs"]), job.params.prepared)
        scores = processed(read_scores(runs, given["runs"], given["cohorts"]), given["cohorts"])
        read.append(scores.assign(paper=paper))
        trained = {entry["run"]: entry["arm"] for entry in given["runs"]} | trained
    dice = summary.mean_dice(pd.concat(read, ignore_index=True))
    found = summary.metrics(dice, read_back(job.input.claims, claims.COLUMNS))
    write_text(Path(job.output.metrics), json.dumps(found, indent=1) + "\n")
    write_text(Path(job.output.dice), dice.to_csv(index=False))
    curves = summary.training_curves(runs, trained)
    write_text(Path(job.output.training), curves.to_csv(index=False))


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
