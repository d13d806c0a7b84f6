"""run.json: what answers, for any number in any table, where it came from."""

from __future__ import annotations

import json
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from piecemeal.provenance import file_sha256, lock_sha256

if TYPE_CHECKING:
    from piecemeal.training.loop import Training


def run_record(run: Training, weights: Path) -> dict[str, Any]:
    """The record of a finished run whose weights were written to `weights`; times in seconds."""
    s, state = run.settings, run.state
    return {
        **{k: s[k] for k in ("scale", "cohort", "annotation", "method", "seed", "hash")},
        **run.code_state,
        "source_hash": s["source_hash"],
        "config": s,
        "data_sources": json.loads((run.prepared / "sources.json").read_text()),
        "data_manifest_sha256": file_sha256(run.prepared / "cases.csv"),
        "annotation_sha256": file_sha256(run.annotated / "cases.csv"),
        "lock_sha256": lock_sha256(),
        "weights_sha256": file_sha256(weights),
        "device": state["device"],
        "threads": run.threads,
        "precision": state["precision"],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(state["seconds"], 3),
        "gpu_hours": 0.0 if state["device"].startswith("cpu") else state["seconds"] / 3600,
        "peak_memory_mib": round(state["peak_memory_mib"], 1),
        "parameters": state["parameters"],
        "steps": state["step"],
        "stopped": state["stopped"],
        "best_step": state["best_step"],
        "best_validation_loss": state["best_loss"] if state["best_step"] else None,
        "resumed_at_steps": state["resumed_at"],
    }
