"""Write the page that shows every prepared case of a cohort with its outlines."""

import json
from pathlib import Path

from piecemeal.jobs import run_job
from piecemeal.publishing.quality import write_page


def main(job) -> None:
    prepared = Path(job.params.prepared)
    sources = json.loads((prepared / "sources.json").read_text())
    phantoms = [name for name, source in sources.items() if source["phantom"]]
    given = job.params.given
    write_page(Path(job.output.page), given, prepared, phantoms, workers=job.threads)


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
