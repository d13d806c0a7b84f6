"""Jobs that a killed snakemake left in SLURM: cancelled before the same work is submitted again.

The plugin never finds its way back to them. They are known by what it called them and by the
folder they work in, so nobody else's jobs are touched. The caller holds the folder: no snakemake
that could wait for these jobs is at work in it.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from piecemeal.errors import InputError

PATIENCE_SECONDS = 600
SECONDS_BETWEEN_LOOKS = 1.0


def orphans(prefix: str, folder: Path) -> list[str]:
    """Ids of this user's jobs that are named `prefix`_... and work in `folder`, but for our own.

    Also those that are ending. Raises InputError if SLURM does not answer.
    """
    own = os.environ.get("SLURM_JOB_ID")  # snakemake itself may have been submitted
    ours = []
    for line in _run("squeue", "--me", "--noheader", "--format=%i|%j|%Z").splitlines():
        job, name, place = line.split("|", maxsplit=2)
        here = Path(place).resolve() == folder.resolve()
        if here and job != own and name.startswith(f"{prefix}_"):
            ours.append(job)
    return ours


def cancel_orphans(prefix: str, folder: Path) -> list[str]:
    """Cancel them, wait until the last has ended, and say which they were.

    A training job saves its checkpoint when it is cancelled. Raises InputError if SLURM does not
    answer or a job does not end.
    """
    found = orphans(prefix, folder)
    if not found:
        return []
    _run("scancel", *found)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while left := orphans(prefix, folder):
        if time.monotonic() > deadline:
            raise InputError(
                f"SLURM jobs {', '.join(left)} of an earlier snakemake in {folder} were cancelled "
                f"{PATIENCE_SECONDS} s ago and have not ended; see `scontrol show job`"
            )
        time.sleep(SECONDS_BETWEEN_LOOKS)
    return found


def _run(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or error
        raise InputError(
            f"{command[0]} does not work ({str(said).strip()}), so nobody knows whether jobs of an "
            "earlier snakemake are still at work; start again when SLURM answers"
        ) from None
    return done.stdout
