"""The training loop of every run.

A run is killed at any moment and started again by the same command: it continues from its last
checkpoint and, on a CPU with the same number of threads, ends with the same bits.
"""

from __future__ import annotations

import json
import logging
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from piecemeal import methods, networks
from piecemeal.errors import InputError
from piecemeal.methods._base import Method
from piecemeal.provenance import git_state, replacing, short_hash, write_text
from piecemeal.training import checkpoint, runtime
from piecemeal.training.data import SliceData, batch_at
from piecemeal.training.progress import Progress
from piecemeal.training.record import run_record

log = logging.getLogger(__name__)

LOG_POINTS = 10  # rows of the history between two validations


def learning_rate(step: int, optimiser: dict[str, Any], plan: dict[str, Any]) -> float:
    """Learning rate of `step` (from 0): a lower one while warming up, then as `decay` says."""
    if step < optimiser["warmup_steps"]:
        return optimiser["learning_rate"] * optimiser["warmup_factor"]
    if plan["decay"] == "none":
        return optimiser["learning_rate"]
    done = (step - optimiser["warmup_steps"]) / (plan["steps"] - optimiser["warmup_steps"])
    return optimiser["learning_rate"] * 0.5 * (1 + math.cos(math.pi * done))


class Training:
    """One run: settings (as in the plan), the cohort's folders, and where its checkpoint lives."""

    def __init__(
        self,
        settings: dict[str, Any],
        prepared: Path,
        annotated: Path,
        checkpoints: Path,
        threads: int = 1,
    ):
        self.settings, self.prepared, self.annotated = settings, prepared, annotated
        self.name = f"{settings['cohort']}/{settings['annotation']}/{settings['method']}"
        self.name += f"/seed{settings['seed']}"
        self.threads = threads
        self.code_state = git_state()  # now, not when the run ends: the code may be edited by then
        self.device = runtime.prepare_process(threads)
        self.method = methods.load(
            settings["implementation"], settings["classes"], settings["method_options"]
        )
        self.checkpoint = checkpoint.Checkpoint(checkpoints, settings["hash"])
        self.state: dict[str, Any] = {
            "step": 0,
            "seconds": 0.0,
            "training_seconds": 0.0,
            "training_samples": 0,
            "history": [],
            "best_loss": math.inf,
            "best_step": None,
            "best_weights": {},
            "since_best": 0,
            "resumed_at": [],
            "stopped": None,
            "device": runtime.device_name(self.device),
            "peak_memory_mib": 0.0,
        }

    def run(self) -> None:
        """Train to the end; exits with status 75 if a signal asks to stop before it."""
        if not self.method.trained:
            self.state |= {"stopped": "not trained", "parameters": 0, "precision": None}
            return
        with self.checkpoint.locked(), runtime.StopRequest() as stop:
            self._build()
            self._resume()
            if not self.state["stopped"]:
                self._loop(stop)

    def _build(self) -> None:
        s = self.settings
        runtime.seed_everything("initialisation", s["cohort"], s["seed"])
        self.network = networks.build(
            s["network"], 1, self.method.output_channels(), **s["network_options"]
        )
        self.memory_format = getattr(self.network, "memory_format", torch.contiguous_format)
        self.network.to(self.device, memory_format=self.memory_format)
        self.optimiser = torch.optim.Adam(
            self.network.parameters(), lr=s["optimiser"]["learning_rate"], fused=True
        )
        # The step counts on the device: reading it off every step would wait for the device.
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=self.device)
        self.state["parameters"] = sum(p.numel() for p in self.network.parameters())

    def _resume(self) -> None:
        saved = self.checkpoint.load()
        if saved is None:
            wanted = self.settings["training"]["precision"]
            self.state["precision"] = runtime.choose_precision(wanted, self.device)
            runtime.seed_everything("training", self.settings["cohort"], self.settings["seed"])
            return
        self.state = {key: saved[key] for key in self.state | {"precision": None}}
        if self.state["stopped"]:
            log.info("%s: already finished at step %d", self.name, self.state["step"])
            return
        self.network.load_state_dict(saved["network"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.loss_sum.copy_(saved["loss_sum"])
        checkpoint.restore_random_states(saved["random"])
        self.state["resumed_at"].append(self.state["step"])
        log.info("%s: continues from its checkpoint at step %d", self.name, self.state["step"])

    def _count_time(self) -> None:
        """Bring the times up to now; the time since `self.counted_to` was spent in training steps.

        On a GPU a step returns before it is computed, so the device is waited for first: called
        only where the loop waits anyway, to read the loss or to save.
        """
        self.loss_sum.item()
        now = time.monotonic()
        self.state["seconds"] = now - self.started
        self.state["training_seconds"] += now - self.counted_to
        self.counted_to = now

    def _save(self) -> None:
        self._count_time()
        self.checkpoint.save(
            {
                **self.state,
                "network": self.network.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "loss_sum": self.loss_sum,
                "random": checkpoint.random_states(),
            }
        )
        self.counted_to = time.monotonic()

    def _loop(self, stop: runtime.StopRequest) -> None:
        s, state, plan = self.settings, self.state, self.settings["training"]
        data = SliceData(self.prepared, self.annotated, "train", s["classes"])
        validation = SliceData(self.prepared, self.annotated, "validation", s["classes"])
        sampler_seed = int(short_hash(["sampler", s["cohort"], s["seed"]]), 16)
        every = max(1, plan["validate_every"] // LOG_POINTS)
        progress = Progress(self.name, state["step"], plan["steps"])
        state["training_samples"] = len(data)
        saved_at = self.counted_to = time.monotonic()
        self.started = self.counted_to - state["seconds"]

        while state["step"] < plan["steps"] and not state["stopped"]:
            step = state["step"]
            for group in self.optimiser.param_groups:
                group["lr"] = learning_rate(step, s["optimiser"], plan)
            indices = batch_at(step, len(data), s["batch_size"], sampler_seed)
            batch = data.batch(indices).to(self.device, self.memory_format)
            with self._autocast():
                logits = self.network(batch.images)
            loss = self.method.loss(logits, batch.codes, batch.sets)
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            self.optimiser.step()
            self.loss_sum += loss.detach()

            state["step"] = step = step + 1
            last = step == plan["steps"]
            validating = step % plan["validate_every"] == 0 or last
            if step % every == 0 or validating:
                self._record()
                progress.update(step, f"loss {state['history'][-1]['loss']:.4f}")
            if validating:
                self._validate(validation)
                self.counted_to = time.monotonic()
                if plan["patience"] and state["since_best"] >= plan["patience"]:
                    state["stopped"] = "patience"
            if stop.signal is not None:
                self._save()
                log.warning("%s: signal %d: saved at step %d", self.name, stop.signal, step)
                sys.exit(runtime.REQUEUE)
            if time.monotonic() - saved_at >= plan["checkpoint_seconds"]:
                self._save()
                saved_at = time.monotonic()

        state["stopped"] = state["stopped"] or "steps"
        state["peak_memory_mib"] = runtime.peak_memory_mib(self.device)
        self._save()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.state["precision"] == "bfloat16"
        )

    def _record(self) -> None:
        """A row of the history: the mean loss since the row before."""
        self._count_time()
        before = self.state["history"][-1]["step"] if self.state["history"] else 0
        loss = self.loss_sum.item() / (self.state["step"] - before)
        self.loss_sum.zero_()
        if not math.isfinite(loss):
            raise InputError(
                f"{self.name}: the loss is {loss} at step {self.state['step']}; lower "
                f"optimiser.learning_rate in config/methods/{self.settings['method']}.yaml, or "
                "set training.precision to float32 in the scale"
            )
        self.state["history"].append(
            {
                "step": self.state["step"],
                "loss": loss,
                "lr": self.optimiser.param_groups[0]["lr"],
                "seconds": round(self.state["seconds"], 3),
                "validation_loss": None,
                "validation_dice": None,
            }
        )

    @torch.no_grad()
    def _validate(self, data: SliceData) -> None:
        """The arm's own loss on the validation slices decides which weights are kept.

        The Dice of their structures (mean of Dice over all voxels, against the full labels) is
        written down for analysis only.
        """
        self.network.eval()
        total, size = 0.0, self.settings["batch_size"]
        classes = self.settings["classes"]
        pairs = torch.zeros(classes, classes, dtype=torch.long, device=self.device)
        for start in range(0, len(data), size):
            indices = np.arange(start, min(start + size, len(data)))
            batch = data.batch(indices).to(self.device, self.memory_format)
            with self._autocast():
                logits = self.network(batch.images)
            total += self.method.loss(logits, batch.codes, batch.sets).item() * len(indices)
            labels = data.labels(indices).to(self.device).long()
            found = self.method.probabilities(logits).argmax(dim=1)
            pairs += (
                (labels * classes + found).flatten().bincount(minlength=classes**2).view_as(pairs)
            )
        self.network.train()
        loss = total / len(data)
        state = self.state
        dice = 2 * pairs.diag() / (pairs.sum(0) + pairs.sum(1)).clamp(min=1)
        state["history"][-1] |= {"validation_loss": loss, "validation_dice": dice[1:].mean().item()}
        state["since_best"] += 1
        if loss < state["best_loss"]:
            weights = {k: v.detach().cpu().clone() for k, v in self.network.state_dict().items()}
            state |= {"best_loss": loss, "best_step": state["step"], "best_weights": weights}
            state["since_best"] = 0

    def export(self, weights: Path, history: Path, record: Path) -> None:
        """Write the run's outputs, each whole or not at all, the record last."""
        for path in (weights, history, record):
            path.parent.mkdir(parents=True, exist_ok=True)
        if self.method.trained and not self.state["best_weights"]:
            raise InputError(
                f"{self.name}: no validation loss was finite; lower optimiser.learning_rate in "
                f"config/methods/{self.settings['method']}.yaml"
            )
        # By an open file: given a name, torch writes it into the file, and it differs every time.
        with replacing(weights) as temporary, temporary.open("wb") as file:
            torch.save(self.state["best_weights"], file)
        columns = ["step", "loss", "lr", "seconds", "validation_loss", "validation_dice"]
        rows = pd.DataFrame(self.state["history"], columns=columns)
        write_text(history, rows.to_csv(index=False))
        write_text(record, json.dumps(run_record(self, weights), indent=1) + "\n")


def load_network(settings: dict[str, Any], method: Method, weights: Path) -> torch.nn.Module:
    """The trained network of a run, ready to predict; InputError if the weights do not fit."""
    network = networks.build(
        settings["network"], 1, method.output_channels(), **settings["network_options"]
    )
    saved = checkpoint.load_saved(weights)
    try:
        network.load_state_dict(saved)
    except RuntimeError as error:
        raise InputError(
            f"{weights}: these weights do not fit the run's network ({error}); delete the file to "
            "train the run again"
        ) from error
    return network.eval()
