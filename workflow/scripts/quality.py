"""Write the page that shows every prepared case of a cohort with its outlines."""

from pathlib import Path

from piecemeal.datasets.store import read_sources
from piecemeal.jobs import run_job
from piecemeal.publishing.quality import write_page


def main(job) -> None:
    prepared = Path(job.params.prepared)
    phantoms = [name for name, source in read_sources(prepared).items() if source["phantom"]]
    given = job.params.given
    write_page(Path(job.output.page), given, prepared, phantoms, workers=job.threads)


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
