"""Before the first job: the folder is ours alone, nothing is left of a killed run, plans are frozen."""

import atexit
import fcntl
import socket

from snakemake.logging import logger

from piecemeal.orphans import cancel_orphans, orphans
from piecemeal.plan_file import freeze

# What follows `onstart:` is the body of a function: a lock that only its variables know is lifted
# as soon as it returns.
held_locks = []


def take_folder():
    """One Snakemake at a time: a lock that the system lifts when this process dies.

    Snakemake's own lock outlives a `kill -9` and is switched off in profiles/default.
    """
    Path(".snakemake").mkdir(exist_ok=True)
    lock = open(".snakemake/one-at-a-time", "a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise WorkflowError(
            f"another snakemake is at work in {Path.cwd()}; wait for it or stop it"
        ) from None
    held_locks.append(lock)
    return lock


def sign(lock):
    """Say in the lock where this process is, until it ends other than by `kill -9`."""
    lock.truncate(0)
    print(socket.gethostname(), file=lock, flush=True)
    atexit.register(lock.truncate, 0)


@explained
def take_over_jobs(lock, prefix):
    """End what a killed snakemake left in SLURM; it would be submitted a second time.

    The lock says where it was. Locks of another host may be invisible here, and it alive.
    """
    lock.seek(0)
    host = lock.read().strip()
    if host not in ("", socket.gethostname()) and orphans(prefix, Path.cwd()):
        raise InputError(
            f"a snakemake on {host} started SLURM jobs in {Path.cwd()} that have not ended; if it "
            "is no longer at work there, delete .snakemake/one-at-a-time and start again"
        )
    if cancelled := cancel_orphans(prefix, Path.cwd()):
        logger.info(f"Cancelled jobs of a killed snakemake: {', '.join(cancelled)}")


@explained
def freeze_plans():
    """Write every plan that was made where the jobs read it."""
    for scale, content in plans.items():
        freeze(content, plan_file(scale))


onstart:
    if workflow.is_main_process:
        folder_lock = take_folder()
        if prefix := getattr(workflow.executor_settings, "jobname_prefix", None):
            take_over_jobs(folder_lock, prefix)
            sign(folder_lock)
        freeze_plans()
