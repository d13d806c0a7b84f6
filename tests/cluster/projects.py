"""A checkout of the project on the cluster, and what its runs leave."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import yaml
from toy_slurm import ToySlurm

BIN = Path(sys.executable).parent
PATIENCE_SECONDS = 900

# Memory and cores that a small machine has.
SITE = {
    "cpu": {"partition": "cpu"},
    "gpu": {"partition": "gpu", "model": "toy"},
    "status": "squeue",
    "retries": 2,
    "threads": {"prepare": 1, "quality": 1, "train": 1, "score": 1},
    "resources": {
        rule: {"mem_mb": 2000}
        for rule in ("prepare", "annotate", "quality", "gallery", "train", "score")
    },
}
# Three jobs fit into the memory of a node: more of them would only be in each other's way.
FEW_AT_A_TIME = {rule: {"mem_mb": 10_000} for rule in SITE["resources"]}
# Some runs get too little at first.
TOO_LITTLE = {"train": {"mem_mb": "250 if attempt == 1 and wildcards.method == 'oracle' else 2000"}}
# Long enough to be caught at work. Where nothing is saved in between, only a signal saves.
LONG = {"steps": 60, "validate_every": 30, "precision": "float32"}
COHORTS = {
    "cardiac": {"checkpoint_seconds": 0},
    "thigh": {"checkpoint_seconds": 3600},
}
COMPARED = (
    *("cardiac/half_merged/slac", "cardiac/half_merged/naive_masking"),
    *("cardiac/half/cross_entropy", "thigh/half_merged/slac"),
)


class Project:
    """One checkout and its runs."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.started: list[subprocess.Popen] = []

    def edit_yaml(self, path: str, change) -> None:
        file = self.folder / path
        content = yaml.safe_load(file.read_text())
        change(content)
        file.write_text(yaml.safe_dump(content, sort_keys=False))

    def start(self, *arguments: str) -> subprocess.Popen:
        """Snakemake in the background, in a session of its own; it says things to snakemake.log."""
        environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
        environment["OMP_NUM_THREADS"] = "1"
        with (self.folder / "snakemake.log").open("ab") as log:
            running = subprocess.Popen(
                ["snakemake", *arguments],
                cwd=self.folder,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.started.append(running)
        return running

    def on_slurm(self, *arguments: str) -> subprocess.Popen:
        """The same with the profile, looking at its jobs often."""
        often = ("--slurm-init-seconds-before-status-checks", "2")
        return self.start("--profile", "slurm", *often, *arguments)

    def said(self) -> str:
        return (self.folder / "snakemake.log").read_text()

    def finish(self, running: subprocess.Popen, seconds: float = PATIENCE_SECONDS) -> None:
        assert running.wait(seconds) == 0, self.said()[-4000:]

    def plan(self) -> dict:
        """What the jobs read: the units of each stage."""
        return json.loads((self.folder / "results/smoke/plan.json").read_text())

    def run(self, name: str) -> "Run":
        """The planned run `cohort/annotation/method`."""
        (key,) = (key for key in self.plan()["runs"] if key.startswith(f"{name}/seed0-"))
        return Run(self.folder, key)

    def __enter__(self) -> "Project":
        return self

    def __exit__(self, *_) -> None:
        """End every Snakemake that still runs."""
        for running in self.started:
            if running.poll() is None:
                os.killpg(running.pid, signal.SIGKILL)
                running.wait()


class Run:
    """What a run leaves, and the process that trains it."""

    def __init__(self, folder: Path, key: str):
        self.project = folder
        self.saves_often = COHORTS[key.split("/")[0]]["checkpoint_seconds"] == 0
        self.hash = key.rpartition("-")[2]
        self.weights = f"results/smoke/runs/{key}/weights.pt"
        self.folder = folder / "results/smoke/runs" / key
        self.checkpoints = folder / "results/smoke/checkpoints" / key
        self.log = folder / f"results/smoke/logs/train/{key}.log"

    def holder(self) -> tuple[str, int] | None:
        """SLURM job and process that hold the run."""
        lock = self.checkpoints / "LOCK"
        text = lock.read_text() if lock.exists() else ""
        found = re.match(r"SLURM job (\d+), process (\d+) on ", text)
        return (found[1], int(found[2])) if found else None

    def catch(self) -> tuple[str, int] | None:
        """Stop the process if it is in the middle of training; its SLURM job and number."""
        holder = self.holder()
        if holder is None or not self._under_way():
            return None
        os.kill(holder[1], signal.SIGSTOP)
        return holder

    def _under_way(self) -> bool:
        saved = (self.checkpoints / "progress.json").exists()
        if self.saves_often:
            return saved
        age = time.time() - (self.checkpoints / "LOCK").stat().st_mtime
        return not saved and age > 1  # it listens to signals by now

    def resumed_at(self) -> list[int]:
        return json.loads((self.folder / "run.json").read_text())["resumed_at_steps"]

    def jobs(self, slurm: ToySlurm) -> list[dict[str, str]]:
        """Its SLURM jobs, in the order of their submission."""
        found = slurm.jobs_of(self.project)
        return [job for job in found if self.hash in job["Comment"]]


def until(condition, what: str):
    """What `condition` returns as soon as it is true."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(0.1)
    return found


def caught(*runs: Run) -> list[tuple[str, int]]:
    """Stop each run in the middle of its training; their SLURM jobs and processes."""
    found: dict[Run, tuple[str, int]] = {}

    def all_found() -> bool:
        for run in runs:
            if run not in found and (holder := run.catch()):
                found[run] = holder
        return len(found) == len(runs)

    until(all_found, "all runs are trained")
    return [found[run] for run in runs]
