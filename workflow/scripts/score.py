"""Predict and measure every test scan of one run; where asked, with its last weights as well."""

import json
from pathlib import Path

import pandas as pd

from piecemeal.datasets.case_table import check_trained_on
from piecemeal.jobs import data_folder, run_job, settings_of
from piecemeal.provenance import file_sha256, read_json, write_text
from piecemeal.scoring import COLUMNS, RunScores, score_run


def main(job) -> None:
    settings = settings_of(job)
    prepared, folder = data_folder(job, "prepared"), Path(job.input.weights).parent
    manifest = check_trained_on(prepared, read_json(folder / "run.json"))

    def scored(weights: str, predictions: str) -> RunScores:
        return score_run(settings, prepared, Path(weights), folder / predictions, job.threads)

    scores = scored(job.input.weights, "predictions")
    last = pd.DataFrame(columns=COLUMNS)
    if settings.get("last_weights"):
        last = scored(job.input.last, "predictions_last").processed
    tables = {
        Path(job.output.scores): scores.processed,
        Path(job.output.unprocessed): scores.unprocessed,
        Path(job.output.last): last,
    }
    for path, table in tables.items():
        write_text(path, table.to_csv(index=False))
    record = {
        "scoring": settings["hash"],
        "rows": len(scores.processed),
        "data_manifest_sha256": manifest,
        "sha256": {path.name: file_sha256(path) for path in tables},
        "scans": scores.scans,
    }
    if scores.slices:
        record["slices"] = scores.slices
    write_text(Path(job.output.record), json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
