"""Put a data set into its official layout: draw its phantom, fetch it, or link a local folder."""

from pathlib import Path

from piecemeal.datasets.fetch import fetch_download, fetch_local, fetch_phantom
from piecemeal.datasets.sources import Layout
from piecemeal.jobs import run_job, settings_of


def main(job) -> None:
    settings, folder = settings_of(job), Path(job.output.manifest).parent
    source = settings["source"]
    layout = Layout(settings["layout"], settings["layout_options"])
    if source["kind"] == "phantom":
        phantom = settings["phantom"]
        options = phantom["options"] | source["options"]
        fetch_phantom(folder, layout, phantom["writer"], source["cases"], source["seed"], options)
    elif source["kind"] == "download":
        archives, downloads = settings["all_of_archives"], Path(settings["downloads"])
        fetch_download(folder, layout, archives, downloads, settings["homepage"])
    else:
        fetch_local(folder, layout, Path(settings["path"]), settings["dataset"])


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
