"""Lay beside the data what they are, whose licence they have and what of them is passed on."""

from pathlib import Path

import pandas as pd

from piecemeal.datasets.passing_on import COLUMNS, check_places
from piecemeal.jobs import run_job
from piecemeal.provenance import write_text


def main(job) -> None:
    check_places(Path(job.output.prepared).parents[1], job.params.datasets)
    for place, path in job.output.items():
        rows = pd.DataFrame(job.params.rows[place], columns=COLUMNS)
        write_text(Path(path), rows.to_csv(index=False))


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
