"""Checkpoints: written whole or not at all, one writer at a time, refused by any other run."""

from __future__ import annotations

import json
import math
import pickle
import random
import shutil
import zipfile
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from piecemeal.datasets.case_table import cases_file
from piecemeal.errors import InputError
from piecemeal.methods._base import Method
from piecemeal.provenance import file_sha256, is_full_disk, locked, replacing, write_text

PROGRESS = "progress.json"

# What a run knows of itself before its first step, beside where it runs and its lists.
FRESH: dict[str, Any] = {
    "step": 0,
    "seconds": 0.0,
    "training_seconds": 0.0,
    "training_samples": 0,
    "batch_size": 0,
    "best": math.inf,  # of what weights are chosen by; lower is better
    "best_step": None,
    "best_weights": {},
    "since_best": 0,
    "stopped": None,
    "peak_memory_mib": 0.0,
}


class Checkpoint:
    """The one checkpoint file of a run, `folder/last.pt`.

    `identity` is the run's hash: a checkpoint of other settings is refused, never continued. So is
    one of other data than `prepared` and `annotated` hold by now: the run's hash says nothing of
    what is in a folder of the user's. `data` are the hashes of their manifests.
    """

    def __init__(self, folder: Path, identity: str, prepared: Path, annotated: Path):
        self.path = Path(folder) / "last.pt"
        self.identity = identity
        # Now, not when the run ends: the data may be others by then.
        self.data = {"prepared": _manifest(prepared), "annotated": _manifest(annotated)}

    def locked(self) -> AbstractContextManager[None]:
        """Hold the run: a second process on the same run waits here, then finds it finished."""
        return locked(self.path.parent)

    def save(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint; on a full disk the previous one stays and InputError says so."""
        for name in (self.path.name, PROGRESS):
            for leftover in self.path.parent.glob(f".{name}.*.partial"):
                leftover.unlink()  # of a process that was killed while it wrote; we hold the lock
        try:
            with replacing(self.path) as temporary:
                torch.save({**state, "identity": self.identity, "data": self.data}, temporary)
        except (OSError, RuntimeError) as error:
            # torch reports a full disk as a RuntimeError of its file writer.
            if isinstance(error, OSError) and not is_full_disk(error):
                raise
            free = shutil.disk_usage(self.path.parent).free // 2**20
            kept = "the previous checkpoint is kept" if self.path.exists() else "none is kept"
            raise InputError(
                f"{self.path}: the checkpoint could not be written ({error}); {free} MiB are free "
                f"there; {kept}; make room and start the same command again"
            ) from error

    def report(self, state: dict[str, Any], settings: dict[str, Any]) -> None:
        """Write how far the run is beside the checkpoint, for whoever wants to know."""
        done = {key: state[key] for key in ("step", "stopped")}
        done |= {"steps": settings["training"]["steps"], "seconds": round(state["seconds"], 3)}
        if state["training_seconds"]:
            samples = state["step"] * state["batch_size"]
            done["samples_per_second"] = round(samples / state["training_seconds"], 3)
        write_text(self.path.parent / PROGRESS, json.dumps(done) + "\n")

    def load(self) -> dict[str, Any] | None:
        """The saved state, or None if there is none.

        Raises InputError if the file is damaged or belongs to another configuration or other data.
        """
        if not self.path.exists():
            return None
        state = load_saved(self.path)
        if (found := state.get("identity")) != self.identity:
            raise InputError(
                f"{self.path}: checkpoint of another configuration ({found}, expected "
                f"{self.identity}); delete it or move it away"
            )
        if state.get("data") != self.data:
            raise InputError(
                f"{self.path}: checkpoint of other data than are prepared and annotated now "
                f"(sha256 {state.get('data')}, expected {self.data}); delete it to train on these, "
                "or put the source files back that it was trained on"
            )
        return state


def _manifest(folder: Path) -> str:
    """SHA-256 of the cases.csv of a folder of data; InputError if it is not as it was written."""
    return file_sha256(cases_file(folder))


def load_saved(path: Path) -> Any:
    """What `torch.save` wrote to `path`, on the CPU; InputError if it is damaged or no such file.

    Checksums are compared first: torch itself would take flipped bits for weights.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():
                raise zipfile.BadZipFile(f"wrong checksum of {damaged}")
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # its text advises to load the file unsafely
        reason, cause = "holds other things than tensors and plain values", error
    except (RuntimeError, EOFError, OSError, ValueError, zipfile.BadZipFile) as error:
        reason, cause = str(error), error
    raise InputError(
        f"{path}: damaged file ({reason}); delete it to train the run again"
    ) from cause


def weights_of(network: nn.Module) -> dict[str, Tensor]:
    """A copy of the state dict of `network`, on the CPU."""
    return {name: v.detach().cpu().clone() for name, v in network.state_dict().items()}


def start_with(network: nn.Module, method: Method, weights: dict[str, Any], path: Path) -> None:
    """Begin with the `weights` of another run, read from `path`, as `method` adopts them.

    Raises InputError if they do not fit.
    """
    try:
        network.load_state_dict(method.adopted(weights, network.state_dict()))
    except RuntimeError as error:
        raise InputError(
            f"{path}: the run cannot start with these weights ({error}); `starts_from` in runs.tsv "
            "has to name an arm with the same network"
        ) from error


def random_states() -> dict[str, Any]:
    """States of every random generator a run may draw from, loadable with `weights_only`."""
    kind, keys, position, has_gauss, cached = np.random.get_state()
    version, internal, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        # Of the GPU that this process works on, which may be another one when it goes on.
        "cuda": [torch.cuda.get_rng_state()] if torch.cuda.is_available() else [],
        "numpy": (kind, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, cached),
        "python": (version, list(internal), gauss),
    }


def restore_random_states(states: dict[str, Any]) -> None:
    """Undo everything drawn since `random_states`."""
    torch.set_rng_state(states["torch"])
    if states["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"][0])
    kind, keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))
