"""What a finished run leaves, and its network read back."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from piecemeal.errors import InputError
from piecemeal.methods import build_network
from piecemeal.methods._base import Method
from piecemeal.provenance import replacing, write_text
from piecemeal.training import checkpoint
from piecemeal.training.record import run_record

if TYPE_CHECKING:
    from piecemeal.training.loop import Training

HISTORY = ["step", "loss", "lr", "seconds", "validation_loss", "validation_dice"]


def export(
    run: Training, weights: Path, history: Path, record: Path, last: Path | None = None
) -> None:
    """Write the outputs of `run`, each whole or not at all, the record at the end.

    weights: those that the validation chose; last: those of the last step, if they are wanted.
    Both files are of an empty dict where nothing is trained. Of several processes the first one
    writes. Raises InputError if no validation loss was finite.
    """
    if not run.group.first:
        return
    for path in filter(None, (weights, history, record, last)):
        path.parent.mkdir(parents=True, exist_ok=True)
    if run.method.trained and not run.state["best_weights"]:
        raise InputError(
            f"{run.name}: no validation loss was finite; lower optimiser.learning_rate in "
            f"config/methods/{run.settings['method']}.yaml"
        )
    _save(run.state["best_weights"], weights)
    if last is not None:
        _save(checkpoint.weights_of(run.network) if run.method.trained else {}, last)
    text = io.StringIO()
    writer = csv.DictWriter(text, [*HISTORY, *run.method.noted], lineterminator="\n")
    writer.writeheader()
    writer.writerows(run.state["history"])
    write_text(history, text.getvalue())
    write_text(record, json.dumps(run_record(run, weights, history), indent=1) + "\n")


def _save(weights: dict[str, torch.Tensor], path: Path) -> None:
    # By an open file: given a name, torch writes it into the file, and it differs every time.
    with replacing(path) as temporary, temporary.open("wb") as file:
        torch.save(weights, file)


def load_network(settings: dict[str, Any], method: Method, weights: Path) -> torch.nn.Module:
    """The trained network of a run, ready to predict; InputError if the weights do not fit."""
    network = build_network(settings, method, 2 * settings["input"].get("neighbours", 0) + 1)
    saved = checkpoint.load_saved(weights)
    try:
        network.load_state_dict(saved)
    except RuntimeError as error:
        raise InputError(
            f"{weights}: these weights do not fit the run's network ({error}); delete the file to "
            "train the run again"
        ) from error
    return network.eval()
