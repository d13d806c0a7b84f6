"""The training script as the workflow starts it, in processes that are killed."""

import json
import multiprocessing
import os
import random
import runpy
import signal
import time
from pathlib import Path
from types import MappingProxyType, SimpleNamespace

import pandas as pd
import pytest
import torch

from piecemeal.datasets.case_table import write_cases

SCRIPT = Path(__file__).resolve().parents[2] / "workflow" / "scripts" / "train.py"
STEPS = 100
KILLS = 20
VOLUMES = {
    "network": "unet_plus_plus",
    "network_options": {"features": [2, 2, 2, 2, 2, 2]},
    "input": {"kind": "patches", "size": [16, 16, 16]},
    "batch_size": 2,
}
PATIENCE_SECONDS = 600  # of the test with a process, before it gives up


@pytest.fixture(scope="module")
def processes():
    """Processes are forked from a server that has torch loaded, but has never used it."""
    context = multiprocessing.get_context("forkserver")
    # The optimiser imports the compiler, which takes longer than all that is trained here.
    context.set_forkserver_preload(["piecemeal.training.__main__", "torch._dynamo"])
    return context


@pytest.fixture(scope="module")
def job(cohort, settings, planned, tmp_path_factory):
    """What Snakemake would hand to the script, for a run in `folder`."""
    place = tmp_path_factory.mktemp("runs")

    def make(folder: str, of_run=MappingProxyType({}), **training) -> SimpleNamespace:
        root = place / folder
        root.mkdir(exist_ok=True)
        annotated = cohort.annotated["half_merged"]
        briefly = {"steps": STEPS, "validate_every": 20, "checkpoint_seconds": 0.0, **training}
        return SimpleNamespace(
            rule="train",
            threads=1,
            input=SimpleNamespace(),
            output=SimpleNamespace(
                weights=str(root / "weights.pt"),
                last=str(root / "last.pt"),
                history=str(root / "history.csv"),
                record=str(root / "run.json"),
            ),
            params=SimpleNamespace(
                asked=planned(root, "runs", settings(briefly, **of_run)),
                checkpoints=str(root / "checkpoints"),
                folders={"prepared": str(cohort.prepared), "annotated": str(annotated)},
                starts_from=[],
            ),
            log=[str(root / "train.log")],
        )

    return make


@pytest.fixture(scope="module")
def start(processes):
    """Starts the script in a process; no process outlives these tests."""
    started = []

    def start_one(job: SimpleNamespace):
        arguments = (str(SCRIPT), {"snakemake": job}, "__main__")
        process = processes.Process(target=runpy.run_path, args=arguments)
        process.start()
        started.append(process)
        return process

    yield start_one
    for process in started:
        if process.is_alive():
            process.kill()
        process.join()


def exit_code(process) -> int | None:
    process.join(PATIENCE_SECONDS)
    return process.exitcode


def wait_for_checkpoints(process, job: SimpleNamespace, count: int) -> None:
    """Return once so many further checkpoints have been written, or the process has ended."""
    path = Path(job.params.checkpoints) / "last.pt"
    last = path.stat().st_mtime_ns if path.exists() else None
    deadline = time.monotonic() + PATIENCE_SECONDS
    while count and process.is_alive():
        assert time.monotonic() < deadline, "the run does not move"
        now = path.stat().st_mtime_ns if path.exists() else None
        count -= now != last
        last = now
        time.sleep(0.0005)


def wait_for_words(process, job: SimpleNamespace, words: str) -> None:
    log, deadline = Path(job.log[0]), time.monotonic() + PATIENCE_SECONDS
    while not (log.exists() and words in log.read_text()):
        assert time.monotonic() < deadline, f"the log does not say '{words}'"
        assert process.is_alive()
        time.sleep(0.01)


def results(job: SimpleNamespace) -> tuple[dict, pd.DataFrame, dict]:
    weights = torch.load(job.output.weights, weights_only=True)
    history = pd.read_csv(job.output.history)
    return weights, history, json.loads(Path(job.output.record).read_text())


def assert_same(one: SimpleNamespace, two: SimpleNamespace) -> None:
    (weights, history, record), (others, other_history, other_record) = results(one), results(two)
    assert weights.keys() == others.keys()
    assert all(torch.equal(weights[key], others[key]) for key in weights)
    assert Path(one.output.last).read_bytes() == Path(two.output.last).read_bytes()
    columns = ["step", "loss", "lr", "validation_loss"]
    pd.testing.assert_frame_equal(history[columns], other_history[columns], check_exact=True)
    for key in ("steps", "best_step", "best_validation_loss", "stopped", "parameters"):
        assert record[key] == other_record[key]


@pytest.fixture(scope="module")
def whole(job, start) -> SimpleNamespace:
    """A run that nothing interrupted, with as few checkpoints as can be."""
    made = job("whole", checkpoint_seconds=3600.0)
    assert exit_code(start(made)) == 0
    return made


def test_two_runs_at_once_are_as_one_alone(whole, job, start):
    both = [job("left"), job("right")]
    for process in [start(one) for one in both]:
        assert exit_code(process) == 0
    for one in both:
        assert_same(whole, one)


def test_killed_anywhere_it_ends_with_the_same_bits(whole, job, start):
    killed, chance = job("killed"), random.Random(2018)
    for kill in range(KILLS):
        process = start(killed)
        wait_for_checkpoints(process, killed, chance.randint(1, 4))
        time.sleep(chance.uniform(0, 0.02))  # in a step, in a validation, or while it saves
        hard = kill % 2 == 0
        os.kill(process.pid, signal.SIGKILL if hard else signal.SIGTERM)
        assert exit_code(process) == (-signal.SIGKILL if hard else 75)
        assert not Path(killed.output.record).exists()
    assert exit_code(start(killed)) == 0
    assert_same(whole, killed)
    record = results(killed)[2]
    # A SIGKILL before the first checkpoint leaves nothing to resume from.
    assert KILLS // 2 <= len(record["resumed_at_steps"]) <= KILLS
    assert record["resumed_at_steps"] == sorted(record["resumed_at_steps"])
    names = {path.name for path in Path(killed.params.checkpoints).iterdir()}
    assert names == {"last.pt", "LOCK", "job.json", "progress.json"}


def test_volumes_too_end_with_the_same_bits(job, start):
    whole, killed = (job(name, VOLUMES, steps=30) for name in ("whole_volumes", "killed_volumes"))
    assert exit_code(start(whole)) == 0
    for _ in range(3):
        process = start(killed)
        wait_for_checkpoints(process, killed, 2)
        process.kill()
        assert exit_code(process) == -signal.SIGKILL
    assert exit_code(start(killed)) == 0
    assert_same(whole, killed)
    assert results(killed)[2]["resumed_at_steps"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda s: s.name)
def test_asked_to_stop_it_saves_and_asks_to_be_started_again(whole, job, start, number):
    stopped = job(f"stopped_{number}")
    process = start(stopped)
    wait_for_checkpoints(process, stopped, 2)
    os.kill(process.pid, number)
    assert exit_code(process) == 75
    assert (Path(stopped.params.checkpoints) / "last.pt").exists()
    assert not Path(stopped.output.weights).exists()
    assert "saved at step" in Path(stopped.log[0]).read_text()
    assert exit_code(start(stopped)) == 0
    assert_same(whole, stopped)


def test_a_second_start_of_the_same_run_waits_and_finds_it_finished(whole, job, start):
    twice = job("twice")
    first = start(twice)
    wait_for_checkpoints(first, twice, 1)
    second_job = job("twice")
    second_job.log = [f"{second_job.log[0]}.second"]
    os.kill(first.pid, signal.SIGSTOP)  # so that it holds the lock until the second one waits
    second = start(second_job)
    wait_for_words(second, second_job, f"is held by process {first.pid} on ")
    os.kill(first.pid, signal.SIGCONT)
    assert exit_code(first) == 0
    assert exit_code(second) == 0
    assert f"already finished at step {STEPS}" in Path(second_job.log[0]).read_text()
    assert_same(whole, twice)


def test_a_start_that_waits_for_another_can_be_stopped(job, start):
    held = job("held")
    first = start(held)
    wait_for_checkpoints(first, held, 1)
    os.kill(first.pid, signal.SIGSTOP)
    waiting = job("held")
    waiting.log = [f"{waiting.log[0]}.second"]
    second = start(waiting)
    wait_for_words(second, waiting, f"is held by process {first.pid} on ")
    second.terminate()
    assert exit_code(second) == -signal.SIGTERM
    os.kill(first.pid, signal.SIGCONT)
    assert exit_code(first) == 0


def test_a_mistake_of_the_user_ends_in_one_message(job, start, tmp_path):
    write_cases(tmp_path, "dataset,scan,split\n")
    wrong = job("wrong")
    wrong.params.folders["annotated"] = str(tmp_path)
    assert exit_code(start(wrong)) == 1
    log = Path(wrong.log[0]).read_text()
    assert "no case of the split 'train' is left" in log
    assert "Traceback" not in log
