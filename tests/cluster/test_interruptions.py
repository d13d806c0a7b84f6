"""What clusters do to jobs: each run suffers one thing, all of them in one start of Snakemake."""

import contextlib
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
from projects import LONG, caught, until

KILLED, CANCELLED = "cardiac/half_merged/slac", "cardiac/half/cross_entropy"
REQUEUED, OUT_OF_TIME = "cardiac/half_merged/naive_masking", "thigh/half_merged/slac"
OUT_OF_MEMORY = "cardiac/complete/oracle"  # see conftest.SITE


def asked_to_stop(pid: int) -> bool:
    """Whether SIGURG has reached a process that was stopped: it waits for it, or is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except FileNotFoundError:
        return True
    (mask,) = (int(line.split()[1], 16) for line in lines if line.startswith("ShdPnd:"))
    return bool(mask >> (signal.SIGURG - 1) & 1)


@pytest.fixture(scope="module")
def after(slurm, copy_without_runs):
    """The project when everything has happened and Snakemake has ended."""
    with copy_without_runs() as project:
        names = KILLED, CANCELLED, REQUEUED, OUT_OF_TIME, OUT_OF_MEMORY
        runs = {name: project.run(name) for name in names}
        running = project.on_slurm(*(run.weights for run in runs.values()))
        killed, cancelled, requeued, timed = caught(*(runs[name] for name in names[:4]))

        slurm.update(timed[0], TimeLimit="11")  # minutes; the signal comes ten before the end
        os.kill(killed[1], signal.SIGKILL)
        slurm.cancel(cancelled[0])
        slurm.requeue(requeued[0])
        until(lambda: asked_to_stop(timed[1]), "the signal before the end of the time")
        with contextlib.suppress(ProcessLookupError):
            os.kill(timed[1], signal.SIGCONT)

        project.finish(running)
    return SimpleNamespace(slurm=slurm, runs=runs)


def states(after, name: str) -> list[str]:
    return [job["JobState"] for job in after.runs[name].jobs(after.slurm)]


@pytest.mark.parametrize("name", [KILLED, CANCELLED, REQUEUED, OUT_OF_TIME])
def test_an_interrupted_run_ends_with_the_same_weights(after, same_weights, name):
    assert same_weights(after.runs[name])


@pytest.mark.parametrize("name", [KILLED, CANCELLED, REQUEUED])
def test_an_interrupted_run_goes_on_from_its_checkpoint(after, name):
    (step,) = after.runs[name].resumed_at()
    assert step > 0


def test_a_signal_before_the_time_is_up_saves_the_run(after):
    # Nothing else saves it: its checkpoints are an hour apart.
    (step,) = after.runs[OUT_OF_TIME].resumed_at()
    assert 0 < step < LONG["steps"]


def test_a_killed_training_process_is_started_again(after):
    assert states(after, KILLED) == ["FAILED", "COMPLETED"]


def test_a_cancelled_job_is_submitted_again(after):
    assert states(after, CANCELLED) == ["CANCELLED", "COMPLETED"]


def test_a_job_that_stopped_for_lack_of_time_is_submitted_again_with_more(after):
    first, second = after.runs[OUT_OF_TIME].jobs(after.slurm)
    assert (first["JobState"], second["JobState"]) == ("FAILED", "COMPLETED")
    # The first asked for 720 minutes, before the limit was changed.
    assert second["TimeLimit"] == "18:00:00"


def test_a_requeued_job_is_not_submitted_a_second_time(after):
    (job,) = after.runs[REQUEUED].jobs(after.slurm)
    assert (job["JobState"], job["Restarts"]) == ("COMPLETED", "1")


def test_a_job_killed_for_its_memory_gets_more(after):
    first, second = after.runs[OUT_OF_MEMORY].jobs(after.slurm)
    assert first["JobState"] in ("FAILED", "OUT_OF_MEMORY")
    assert (first["MinMemoryNode"], second["MinMemoryNode"]) == ("250M", "2000M")
    assert second["JobState"] == "COMPLETED"
