"""The training loop of every run.

A run is killed at any moment and started again by the same command: it continues from its last
checkpoint and, on a CPU with the same number of threads, ends with the same bits. Whatever is
random is a function of the run's seed and the step, so neither workers nor earlier draws matter.
"""

from __future__ import annotations

import contextlib
import logging
import math
import sys
import time
from pathlib import Path
from typing import Any

import torch

from piecemeal import methods
from piecemeal.annotations import VIEWS
from piecemeal.errors import InputError
from piecemeal.provenance import git_state, short_hash
from piecemeal.training import checkpoint, runtime
from piecemeal.training.augmentation import Augmentation
from piecemeal.training.cases import labelled_cases, load_cases
from piecemeal.training.data import WHOLE, Samples, StepBatches, loader
from piecemeal.training.distributed import Group, stop_file
from piecemeal.training.optimisation import Stepper, build_optimiser, learning_rate
from piecemeal.training.progress import Progress
from piecemeal.training.sampling import build_sampler
from piecemeal.training.validation import memory_format_of, validate
from piecemeal.training.window import Window

log = logging.getLogger(__name__)

LOG_POINTS = 10  # rows of the history between two validations


class Training:
    """One run: settings (as in the plan), the cohort's folders, and where its checkpoint lives.

    threads: CPU cores of this process. On a GPU all but one of them read and collate samples.
    starts_from: weights of another run, to begin with.
    """

    def __init__(
        self,
        settings: dict[str, Any],
        prepared: Path,
        annotated: Path,
        checkpoints: Path,
        threads: int = 1,
        workers: int | None = None,
        starts_from: Path | None = None,
    ):
        self.settings, self.prepared, self.annotated = settings, prepared, annotated
        self.name = f"{settings['cohort']}/{settings['annotation']}/{settings['method']}"
        self.name += f"/seed{settings['seed']}"
        self.threads, self.starts_from = threads, starts_from
        self.code_state = git_state()  # now, not when the run ends: the code may be edited by then
        self.group = Group()
        self.device = runtime.prepare_process(threads)
        self.workers = runtime.loader_workers(threads, self.device) if workers is None else workers
        self.method = methods.load(
            settings["implementation"], settings["classes"], settings["method_options"]
        )
        self.checkpoint = checkpoint.Checkpoint(checkpoints, settings["hash"], prepared, annotated)
        device, processes = runtime.device_name(self.device), self.group.size
        self.state = checkpoint.FRESH | {"device": device, "processes": processes}
        self.state |= {"history": [], "resumed_at": []}

    def run(self) -> None:
        """Train to the end; exits with status 75 if a signal asks to stop before it."""
        if not self.method.trained:
            self.state |= {"stopped": "not trained", "parameters": 0, "precision": None}
            return
        with contextlib.ExitStack() as stack:
            if self.group.holds_run:
                # Before signals are only noted: who waits here has nothing to save.
                stack.enter_context(self.checkpoint.locked())
            stop = stack.enter_context(runtime.StopRequest())
            stack.enter_context(self.group.joined(self.device))
            self._build()
            self._resume()
            try:
                if not self.state["stopped"]:
                    self._loop(stop)
            finally:
                # What holds on to the other processes must go before they are left.
                self.forward = None

    def _build(self) -> None:
        s = self.settings
        data = [
            load_cases(self.prepared, self.annotated, split, s["classes"])
            for split in ("train", "validation")
        ]
        for case in (*data[0], *data[1]):
            self.method.check(case.sets)
        inherited = checkpoint.load_saved(self.starts_from) if self.starts_from else None
        if inherited is not None:
            self.method.continue_from(inherited)
        self.method.learn_from(data[0])
        window = Window.of(s["input"], data[0])
        watched = labelled_cases(data[1], self.annotated)
        seed = int(short_hash(["sampler", s["cohort"], s["seed"]]), 16)
        views = {VIEWS.get(case.view, WHOLE) for case in data[0]}
        self.augmentation = Augmentation(s["augmentation"], seed, window, views)
        self.data = Samples(data[0], window, self.augmentation.margin)
        self.validation_data = Samples(watched, window.whole())
        self.sampler = build_sampler(s["sampler"], data[0], window, s["batch_size"], seed)
        self.group.allow(self.method.most_processes, s["method"])
        self.rows = self.group.rows(self.sampler.size, self.method.least_rows)
        self.state |= {
            "training_samples": len(self.data.every()),
            "batch_size": self.sampler.size,
        }

        runtime.seed_everything("initialisation", s["cohort"], s["seed"])
        self.network = methods.build_network(s, self.method, window.channels)
        if inherited is not None:
            checkpoint.start_with(self.network, self.method, inherited, self.starts_from)
        self.memory_format = memory_format_of(self.network, self.device)
        self.network.to(self.device, memory_format=self.memory_format)
        self.state["parameters"] = sum(p.numel() for p in self.network.parameters())
        # Counted on the device, which is not waited for; behind the loss, what the method notes.
        noted = 1 + len(self.method.noted)
        self.sums = torch.zeros(noted, dtype=torch.float64, device=self.device)
        if not s["training"]["steps"]:  # the weights of another run, to predict in another way
            self.state["best_weights"] = checkpoint.weights_of(self.network)

    def _resume(self) -> None:
        saved = self.checkpoint.load()
        s = self.settings
        if saved is None:
            dimensions = len(self.data.window.space)
            needed = getattr(self.network, "precision", None)
            chosen = runtime.choose_precision(
                s["training"]["precision"], self.device, dimensions, needed
            )
            self.state["precision"] = self.group.agree(chosen)
        else:
            self.state = {key: saved[key] for key in self.state | {"precision": None}}
            self.state["processes"] = max(self.state["processes"], self.group.size)
            self.network.load_state_dict(saved["network"])  # also to be exported once more
        if self.state["stopped"]:
            log.info("%s: already finished at step %d", self.name, self.state["step"])
            return
        optimiser = build_optimiser(
            self.network.parameters(), s["optimiser"], self.method.uses_all_parameters
        )
        self.stepper = Stepper(
            optimiser, self.state["precision"], self.device, s["optimiser"]["clip_norm"]
        )
        if saved is not None:
            self.stepper.restore(saved)
            self.sums.copy_(saved["sums"] if self.group.first else torch.zeros_like(self.sums))
            checkpoint.restore_random_states(saved["random"])
            self.state["resumed_at"].append(self.state["step"])
            log.info("%s: continues from its checkpoint at step %d", self.name, self.state["step"])
        self.forward = self.group.wrap(self.network, self.device, self.method.uses_all_parameters)
        if s["training"]["compile"]:
            self.forward = runtime.compiled(self.forward)

    def _count_time(self) -> None:
        """Bring the times up to now; the time since `self.counted_to` was spent in training steps.

        On a GPU a step returns before it is computed, so the device is waited for first: called
        only where the loop waits anyway, to read the loss or to save.
        """
        self.sums[0].item()
        now = time.monotonic()
        self.state["seconds"] = now - self.started
        self.state["training_seconds"] += now - self.counted_to
        self.counted_to = now

    def _save(self) -> None:
        """Write the checkpoint; nothing is asked of the other processes, they are all alike."""
        self._count_time()
        if self.group.first:
            self.checkpoint.save(
                {
                    **self.state,
                    **self.stepper.state(),
                    "network": self.network.state_dict(),
                    "sums": self.sums,
                    "random": checkpoint.random_states(),
                }
            )
            self.checkpoint.report(self.state, self.settings)
        self.counted_to = self.saved_at = time.monotonic()

    def _loop(self, stop: runtime.StopRequest) -> None:
        state, plan = self.state, self.settings["training"]
        every = max(1, plan["validate_every"] // LOG_POINTS)
        self.progress = Progress(self.name, state["step"], plan["steps"])
        self.saved_at = self.counted_to = time.monotonic()
        self.started = self.counted_to - state["seconds"]
        steps = StepBatches(self.data, self.sampler, self.rows, self.augmentation)
        for batch in loader(steps, state["step"], plan["steps"], self.workers, self.device):
            self._step(batch)
            last = state["step"] == plan["steps"]
            validating = state["step"] % plan["validate_every"] == 0 or last
            recording = state["step"] % every == 0 or validating
            if recording:
                self._record()
            if validating:
                self._validate(self.validation_data)
                self.counted_to = time.monotonic()
                if plan["patience"] and state["since_best"] >= plan["patience"]:
                    state["stopped"] = "patience"
                    break
            # Several processes stop after the same step: where they meet anyway.
            if stop.signal is not None if self.group.size == 1 else recording and self._any(stop):
                self._save()
                log.warning("%s: signal: saved at step %d", self.name, state["step"])
                self.group.meet()  # torchrun ends them all as soon as one has left
                sys.exit(runtime.REQUEUE)
            # The loss of several processes is together only where a row of the history ends.
            due = time.monotonic() - self.saved_at >= plan["checkpoint_seconds"]
            if due and (recording or self.group.size == 1):
                self._save()

        state["stopped"] = state["stopped"] or "steps"
        state["peak_memory_mib"] = runtime.peak_memory_mib(self.device)
        self._save()

    def _any(self, stop: runtime.StopRequest) -> bool:
        """Whether any process was asked to stop."""
        asked = stop.signal is not None or stop_file(self.checkpoint.path.parent).exists()
        return bool(self.group.sum(torch.tensor(float(asked), device=self.device)).item())

    def _step(self, batch) -> None:
        s, state, step = self.settings, self.state, self.state["step"]
        for group in self.stepper.optimiser.param_groups:
            group["lr"] = learning_rate(step, s["optimiser"], s["training"])
        runtime.seed_step(s["seed"], step, self.group.rank)
        batch = batch.to(self.device, self.memory_format)
        batch = self.augmentation(batch, step, self.rows, self.sampler.size)
        done = step / s["training"]["steps"]
        sets = batch.sets_for(self.method).to(self.device, non_blocking=True)
        given = (batch.images, batch.codes, sets, done)
        told = batch.wanted_by(self.method)
        loss = self.method.training_loss(self._forward, *given, **told)
        # Gradients are averaged over the processes, whose parts may differ in size by one.
        loss = loss * (len(self.rows) * self.group.size / self.sampler.size)
        self.stepper.step(loss)
        self.sums[0] += loss.detach() / self.group.size
        for place, name in enumerate(self.method.noted, start=1):
            self.sums[place] += self.method.notes[name] / self.group.size
        state["step"] = step + 1

    def _forward(self, *arguments: Any, **options: Any) -> Any:
        with runtime.autocast(self.device, self.state["precision"]):
            return self.forward(*arguments, **options)

    def _record(self) -> None:
        """A row of the history: the mean loss since the row before."""
        self._count_time()
        state = self.state
        before = state["history"][-1]["step"] if state["history"] else 0
        loss, *notes = (self.group.sum(self.sums) / (state["step"] - before)).tolist()
        self.sums.zero_()
        if not math.isfinite(loss):
            raise InputError(
                f"{self.name}: the loss is {loss} at step {state['step']}; lower "
                f"optimiser.learning_rate in config/methods/{self.settings['method']}.yaml, or "
                "set training.precision to float32 in the scale"
            )
        state["history"].append(
            {
                "step": state["step"],
                "loss": loss,
                "lr": self.stepper.optimiser.param_groups[0]["lr"],
                "seconds": round(state["seconds"], 3),
                "validation_loss": None,
                "validation_dice": None,
                **dict(zip(self.method.noted, notes, strict=True)),
            }
        )
        if self.group.first:
            self.progress.update(state["step"], f"loss {loss:.4f}")

    def _validate(self, samples: Samples) -> None:
        """Keep the weights if they are the best so far on the labelled scans of the validation."""
        state, size = self.state, self.settings["batch_size"]
        found = validate(
            *(self.network, self.method, samples, size),
            *(self.group, self.device, runtime.autocast(self.device, state["precision"])),
            *(self.settings.get("tasks"), self.settings.get("overlapping", False)),
        )
        state["history"][-1] |= {"validation_loss": found.loss, "validation_dice": found.dice}
        if state["step"] <= self.method.watched_from * self.settings["training"]["steps"]:
            return
        state["since_best"] += 1
        if (demerit := found.demerit(self.settings.get("selection", "loss"))) < state["best"]:
            weights = checkpoint.weights_of(self.network)
            state |= {"best": demerit, "best_step": state["step"], "best_weights": weights}
            state["since_best"] = 0
