"""Train the run that a job file describes: `python -m piecemeal.training job.json`.

Needs torch and numpy only. Under `torchrun` all processes train the one run together. The job file
holds `settings` (as in the plan), the folders `prepared`, `annotated` and `checkpoints`, the files
to write (`weights`, `history`, `record`), `threads` of each process, and optionally `workers`,
`last` (one more file to write: the weights after the last step) and `starts_from`, the weights that
the run starts with.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

from piecemeal.errors import InputError
from piecemeal.training.loop import Training
from piecemeal.training.results import export


def main(arguments: list[str]) -> None:
    """Train, or go on from the checkpoint, and write what is asked for."""
    if len(arguments) != 1:
        raise InputError("expected one argument, the job file: python -m piecemeal.training FILE")
    path = Path(arguments[0])
    try:
        job = json.loads(path.read_text(encoding="utf-8"))
        folders = [Path(job[key]) for key in ("prepared", "annotated", "checkpoints")]
        outputs = [Path(job[key]) for key in ("weights", "history", "record")]
        settings, threads = job["settings"], job["threads"]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{path}: cannot be read as a job file ({error!r}); write it anew"
        ) from None
    starts_from, last = (Path(job[k]) if job.get(k) else None for k in ("starts_from", "last"))
    training = Training(settings, *folders, threads, job.get("workers"), starts_from)
    training.run()
    export(training, *outputs, last)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        main(sys.argv[1:])
    except InputError as error:
        sys.exit(f"error: {error}")
