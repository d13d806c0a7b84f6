"""Predict and measure every test scan of one run."""

import json
from pathlib import Path

from piecemeal.jobs import run_job
from piecemeal.provenance import write_text
from piecemeal.scoring import score_run


def main(job) -> None:
    weights = Path(job.input.weights)
    scores = score_run(
        job.params.settings,
        Path(job.input.prepared).parent,
        weights,
        weights.parent / "predictions",
        job.threads,
    )
    write_text(Path(job.output.scores), scores.processed.to_csv(index=False))
    write_text(Path(job.output.unprocessed), scores.unprocessed.to_csv(index=False))
    record = {
        "scoring": job.params.settings["hash"],
        "rows": len(scores.processed),
        "scans": scores.scans,
    }
    if scores.slices:
        record["slices"] = scores.slices
    write_text(Path(job.output.record), json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
