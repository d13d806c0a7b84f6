"""run.json: what answers, for any number in any table, where it came from."""

from __future__ import annotations

import math
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from piecemeal.datasets.store import read_sources
from piecemeal.provenance import file_sha256, lock_sha256

if TYPE_CHECKING:
    from piecemeal.training.loop import Training


def minutes_per_epoch(training_seconds: float, steps: int, samples: int, batch_size: int) -> float:
    """Minutes that one pass over `samples` takes, in batches, at the mean time of a step.

    An epoch is one pass over the training samples, whatever a paper calls an epoch, so that it is
    the same for every method.
    """
    return training_seconds / steps * math.ceil(samples / batch_size) / 60


def run_record(run: Training, weights: Path, history: Path) -> dict[str, Any]:
    """The record of a finished run whose weights and history were written to these files.

    `training_seconds` is the part of `seconds` that went into training steps, so neither into
    validation nor into saving. `minutes_per_epoch` is null where nothing was trained.
    """
    s, state = run.settings, run.state
    on_cpu = state["device"].startswith("cpu")
    minutes = None
    if state["step"]:
        minutes = minutes_per_epoch(
            state["training_seconds"], state["step"], state["training_samples"], state["batch_size"]
        )
    kept = next((row for row in state["history"] if row["step"] == state["best_step"]), None)
    return {
        **{k: s[k] for k in ("scale", "cohort", "annotation", "method", "seed", "hash")},
        **run.code_state,
        "source_hash": s["source_hash"],
        "config": s,
        "started_from": s.get("starts_from_run"),
        "data_sources": read_sources(run.prepared),
        "data_manifest_sha256": run.checkpoint.data["prepared"],
        "annotation_sha256": run.checkpoint.data["annotated"],
        "lock_sha256": lock_sha256(),
        "weights_sha256": file_sha256(weights),
        "history_sha256": file_sha256(history),
        "device": state["device"],
        "threads": run.threads,
        "precision": state["precision"],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(state["seconds"], 3),
        "training_seconds": round(state["training_seconds"], 3),
        "training_samples": state["training_samples"],
        "minutes_per_epoch": minutes,
        "samples_per_second": _samples_per_second(state),
        "processes": state["processes"],
        "gpu_hours": 0.0 if on_cpu else state["seconds"] / 3600 * state["processes"],
        "peak_memory_mib": round(state["peak_memory_mib"], 1),
        "parameters": state["parameters"],
        "learned": run.method.facts(),
        "steps": state["step"],
        "stopped": state["stopped"],
        "best_step": state["best_step"],
        "selected_by": run.settings.get("selection", "loss"),
        "best_validation_loss": kept and kept["validation_loss"],
        "best_validation_dice": kept and kept["validation_dice"],
        "resumed_at_steps": state["resumed_at"],
    }


def _samples_per_second(state: dict[str, Any]) -> float | None:
    """Samples of the effective batch per second of training steps."""
    if not state["step"] or not state["training_seconds"]:
        return None
    return round(state["step"] * state["batch_size"] / state["training_seconds"], 3)
