"""Bring the data sets of a cohort to one grid, one list of classes and one split."""

import json
from pathlib import Path

from piecemeal.datasets.prepare import prepare
from piecemeal.datasets.sources import dataset_root, read_manifest
from piecemeal.datasets.store import SOURCES
from piecemeal.jobs import run_job, settings_of
from piecemeal.provenance import write_text


def main(job) -> None:
    settings = settings_of(job)
    folders = list(map(Path, job.params.raw))
    sources = {
        name: {**dataset, "root": dataset_root(folder)}
        for (name, dataset), folder in zip(settings["datasets"].items(), folders, strict=True)
    }
    folder = Path(job.output.cases).parent
    manifests = dict(zip(sources, map(read_manifest, folders), strict=True))
    origin = {
        name: {key: manifest[key] for key in ("source", "phantom", "sha256")}
        for name, manifest in manifests.items()
    }
    write_text(folder / SOURCES, json.dumps(origin, indent=1) + "\n")
    prepare(
        folder,
        sources,
        dict(settings["structures"]),
        settings["orientation"],
        settings["grid"],
        settings["intensity"],
        settings["split"],
        workers=job.threads,
        code=settings["code"],
        tasks=settings.get("tasks"),
        transition=settings.get("transition"),
        projection=settings.get("projection"),
    )


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
