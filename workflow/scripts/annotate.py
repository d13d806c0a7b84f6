"""Simulate what the annotators of a cohort said: of its halves or hands, or of its data sets."""

from pathlib import Path

from piecemeal.datasets.annotate import annotate
from piecemeal.jobs import run_job, settings_of


def main(job) -> None:
    settings = settings_of(job)
    annotate(
        Path(job.output.cases).parent,
        Path(job.params.prepared),
        settings["structures"],
        dict(enumerate(settings["halves"], start=1)),
        settings["known"],
        settings["tasks"],
        settings.get("bits"),
        settings["own"],
        settings["sources"],
        settings.get("dealt"),
    )


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
