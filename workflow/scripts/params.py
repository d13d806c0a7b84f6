"""What decides the results of a scale, in one file that DVC compares key by key."""

from pathlib import Path

import yaml

from piecemeal.jobs import run_job
from piecemeal.provenance import write_text


def main(job) -> None:
    write_text(Path(job.output.params), yaml.safe_dump(job.params.decides, sort_keys=True))


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
