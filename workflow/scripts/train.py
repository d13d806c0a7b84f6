"""Train one run: a cohort, its annotation, a method, a seed."""

import json
from pathlib import Path

from piecemeal.jobs import data_folder, run_job, settings_of
from piecemeal.provenance import write_text
from piecemeal.training import __main__ as training
from piecemeal.training.distributed import launch


def main(job) -> None:
    processes = max(1, getattr(getattr(job, "resources", None), "gpu", 1))
    checkpoints = Path(job.params.checkpoints)
    given = {
        "settings": settings_of(job),
        "prepared": str(data_folder(job, "prepared")),
        "annotated": str(data_folder(job, "annotated")),
        "checkpoints": str(checkpoints),
        "weights": job.output.weights,
        "last": job.output.last,
        "history": job.output.history,
        "record": job.output.record,
        "starts_from": next(iter(job.params.starts_from), None),
        "threads": max(1, job.threads // processes),
    }
    path = checkpoints / "job.json"
    checkpoints.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(given, indent=1) + "\n")
    if processes > 1:
        launch(processes, path, Path(job.log[0]))
    else:
        training.main([str(path)])


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
