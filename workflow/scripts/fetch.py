"""Put a data set into its official layout: draw its phantom, or link a local folder."""

from pathlib import Path

from piecemeal.datasets.fetch import fetch_local, fetch_phantom
from piecemeal.jobs import run_job


def main(job) -> None:
    settings, folder = job.params.settings, Path(job.output.manifest).parent
    source = settings["source"]
    if source["kind"] == "phantom":
        fetch_phantom(
            folder, settings["layout"], source["cases"], source["seed"], source["options"]
        )
    else:
        fetch_local(folder, Path(settings["path"]), settings["layout"], settings["dataset"])


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
