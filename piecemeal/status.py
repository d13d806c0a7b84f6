"""Where every planned run is, read from the files that the workflow leaves.

Nothing is asked of a process, so it works from any machine that shares the file system. Nothing
here imports torch or pandas: a look at the runs starts in a moment.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

from piecemeal.plan import Plan

State = Literal["finished", "trained", "training", "interrupted", "waiting"]

MOUNTS = Path("/proc/self/mounts")
# First part of the names of file systems that several machines share.
SHARED = ("9p", "afs", "beegfs", "ceph", "cifs", "fuse.", "gluster", "gpfs", "lustre", "nfs")
SHARED += ("orangefs", "panfs", "pvfs", "smb", "virtiofs", "wekafs")
FRESH_INTERVALS = 5  # without checkpoint for so many intervals, a run is taken to be interrupted
FRESH_SECONDS = 60.0  # but never sooner

_Check = tuple[str, Callable[[Any], bool]]
_COUNT: _Check = ("a whole number from 0", lambda v: type(v) is int and v >= 0)
_AMOUNT: _Check = ("a number from 0", lambda v: type(v) in (int, float) and 0 <= v < math.inf)
_RATE: _Check = ("a number from 0, or null", lambda v: v is None or _AMOUNT[1](v))
_WORD: _Check = ("a word, or null", lambda v: v is None or isinstance(v, str))
_PROGRESS = {
    "step": _COUNT,
    "steps": _COUNT,
    "seconds": _AMOUNT,
    "samples_per_second": _RATE,
    "stopped": _WORD,
}
_RECORD = {k: _PROGRESS[k] for k in ("steps", "seconds", "samples_per_second")}
_RECORD |= {"gpu_hours": _AMOUNT}
_SCORES = {"scoring": ("a hash", lambda v: isinstance(v, str))}


@dataclass(frozen=True)
class RunStatus:
    """One planned run. What is not known is None.

    finished: trained and scored; trained: not scored; training: a process holds it; interrupted: a
    checkpoint that no process goes on from; waiting: no checkpoint. `steps` is None for a method
    that is not trained. seconds, gpu_hours: of training, the latter once it is done; left_seconds:
    of training, at most, an estimate if it is the mean of other runs; updated: UTC time of the last
    checkpoint; problems: files that are not what they should be, with what to do.
    """

    run: str
    cohort: str
    annotation: str
    method: str
    seed: int
    hash: str
    state: State
    step: int | None
    steps: int | None
    seconds: float | None
    gpu_hours: float | None
    samples_per_second: float | None
    left_seconds: float | None
    left_is_estimate: bool
    updated: str | None
    problems: tuple[str, ...]


class Totals(NamedTuple):
    """All planned runs: left_seconds is the sum over those for which it is known."""

    runs: int
    finished: int
    gpu_hours: float
    left_seconds: float
    left_is_estimate: bool
    left_unknown_runs: int


class Unplanned(NamedTuple):
    """Runs of older settings or code in the results: how many, of how many bytes."""

    runs: int
    bytes: int


def run_statuses(plan: Plan, results: Path) -> list[RunStatus]:
    """Every run of `plan`, in its order; `results` is the folder results/<scale>."""
    shared = on_shared_file_system(results)
    found = [_run_status(plan, key, results, shared) for key in plan.runs]
    done: dict[tuple[str, str], list[float]] = {}
    for run in found:
        if run.state in ("finished", "trained") and run.seconds is not None:
            done.setdefault((run.method, run.cohort), []).append(run.seconds)
    return [_with_estimate(run, done.get((run.method, run.cohort), [])) for run in found]


def totals(runs: list[RunStatus]) -> Totals:
    """The sum over all runs."""
    return Totals(
        runs=len(runs),
        finished=sum(run.state == "finished" for run in runs),
        gpu_hours=sum(run.gpu_hours or 0.0 for run in runs),
        left_seconds=sum(run.left_seconds or 0.0 for run in runs),
        left_is_estimate=any(run.left_is_estimate for run in runs),
        left_unknown_runs=sum(run.left_seconds is None for run in runs),
    )


def unplanned(plan: Plan, results: Path) -> Unplanned:
    """Runs and checkpoints in `results` that `plan` does not ask for (any more)."""
    keys: set[str] = set()
    size = 0
    for part in ("runs", "checkpoints"):
        for folder in (results / part).glob("*/*/*/seed*-*"):
            key = folder.relative_to(results / part).as_posix()
            if key not in plan.runs:
                keys.add(key)
                size += _bytes_in(folder)
    return Unplanned(len(keys), size)


def is_held(folder: Path) -> bool | None:
    """Whether a process of this machine holds `folder` (see `provenance.locked`).

    None where the file system has no locks. Asks for a shared lock without waiting and lets go of
    it at once: it disturbs no owner, and two that ask do not take each other for one. A trainer
    that starts within these microseconds only waits for their end.
    """
    try:
        with (folder / "LOCK").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    except OSError:
        return None
    return False


def on_shared_file_system(folder: Path, mounts: Path = MOUNTS) -> bool:
    """Whether other machines may hold locks in `folder` that this one does not see."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        return False
    kinds = {}  # of two file systems on one another, the later one is seen
    for line in lines:
        _, place, kind, *_ = line.split(" ")
        kinds[Path(place.replace("\\040", " "))] = kind
    here = folder.resolve()
    kind = next((kinds[place] for place in (here, *here.parents) if place in kinds), "")
    return kind.startswith(SHARED)


def _run_status(plan: Plan, key: str, results: Path, shared: bool) -> RunStatus:
    settings = plan.runs[key].settings
    run, checkpoints = results / "runs" / key, results / "checkpoints" / key
    problems: list[str] = []
    # The record is written last: without it, the workflow trains the run (again).
    trained, saved = (run / "run.json").exists(), (checkpoints / "last.pt").exists()
    record: Mapping[str, Any] = {}
    progress: Mapping[str, Any] = {}
    updated = None
    if trained:
        again = f"; delete {run} to have the run made again"
        record = _read(run / "run.json", _RECORD, again, problems) or {}
    if saved:
        anew = "; the next checkpoint writes it anew"
        path = checkpoints / "progress.json"
        progress = _read(path, _PROGRESS, anew, [] if trained else problems) or {}
        updated = _updated(path)
    if trained:
        scored = _is_scored(run / "scores.json", plan.scores[key].hash, problems)
        state: State = "finished" if scored else "trained"
    else:
        held = is_held(checkpoints)
        if not held and (shared or held is None):
            held = _is_fresh(updated, progress, settings["training"]["checkpoint_seconds"])
        state = "training" if held else "interrupted" if saved else "waiting"
    return RunStatus(
        run=key,
        **{k: settings[k] for k in ("cohort", "annotation", "method", "seed", "hash")},
        state=state,
        step=record.get("steps", progress.get("step")),
        steps=settings["training"]["steps"] if settings["network"] else None,
        seconds=record.get("seconds", progress.get("seconds")),
        gpu_hours=record.get("gpu_hours"),
        samples_per_second=record.get("samples_per_second", progress.get("samples_per_second")),
        left_seconds=0.0 if trained else _left(progress),
        left_is_estimate=False,
        updated=_as_text(updated),
        problems=tuple(problems),
    )


def _with_estimate(run: RunStatus, done: list[float]) -> RunStatus:
    """The run, its time left estimated by those `done` of its method and cohort if need be."""
    if run.left_seconds is not None or not done:
        return run
    return replace(run, left_seconds=sum(done) / len(done), left_is_estimate=True)


def _left(progress: Mapping[str, Any]) -> float | None:
    """Seconds to the last step at the mean pace so far; a run may stop before by its patience."""
    if progress.get("stopped"):
        return 0.0
    if not progress.get("step"):
        return None
    to_do = max(0, progress["steps"] - progress["step"])
    return to_do * progress["seconds"] / progress["step"]


def _is_fresh(updated: float | None, progress: Mapping[str, Any], interval: float) -> bool:
    if updated is None or progress.get("stopped"):
        return False
    return time.time() - updated <= max(FRESH_INTERVALS * interval, FRESH_SECONDS)


def _is_scored(path: Path, scoring: str, problems: list[str]) -> bool:
    if not path.exists():
        return False
    again = "; delete it and scores.csv beside it to have the run scored again"
    content = _read(path, _SCORES, again, problems)
    if content and content["scoring"] != scoring:
        problems.append(
            f"{path}: made by another version of the scoring ({content['scoring']}, expected "
            f"{scoring}){again}"
        )
        return False
    return content is not None


def _read(
    path: Path, checks: Mapping[str, _Check], advice: str, problems: list[str]
) -> dict[str, Any] | None:
    """A JSON object that has `checks`' keys; None if it is absent or, named in `problems`, not so.

    Another process may be writing the file, or may have been killed in it: nothing is certain.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        problems.append(f"{path}: cannot be read ({error}){advice}")
        return None
    if not isinstance(content, dict):
        problems.append(f"{path}: expected a JSON object{advice}")
        return None
    for key, (words, fits) in checks.items():
        if not fits(content.get(key)):
            given = f"is {content[key]!r:.40}" if key in content else "is missing"
            problems.append(f"{path}: '{key}' {given}, expected {words}{advice}")
            return None
    return content


def _updated(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def _as_text(moment: float | None) -> str | None:
    if moment is None:
        return None
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")


def _bytes_in(folder: Path) -> int:
    size = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                size += os.lstat(os.path.join(place, name)).st_size
            except OSError:  # gone in the meantime
                continue
    return size
