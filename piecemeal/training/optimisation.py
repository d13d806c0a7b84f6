"""The optimiser of a run and its learning rate, a function of the step alone."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter


def build_optimiser(
    parameters: Iterable[Parameter], settings: dict[str, Any], all_used: bool = True
):
    """The optimiser that `settings` (OptimiserConfig, as a dict) names, fused where torch can.

    all_used: whether every step moves every parameter; torch's fused SGD needs that, as it takes
    either all momenta for new or none.
    The learning rate is set at every step by `learning_rate`.
    """
    shared = {"lr": settings["learning_rate"], "weight_decay": settings["weight_decay"]}
    if settings["name"] == "rmsprop":
        kind = _without_compiler(torch.optim.RMSprop)
        return kind(parameters, momentum=settings["momentum"], **shared)
    shared["fused"] = all_used or settings["name"] != "sgd"
    if settings["name"] == "sgd":
        momentum = {key: settings[key] for key in ("momentum", "nesterov")}
        return _without_compiler(torch.optim.SGD)(parameters, **momentum, **shared)
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    return _without_compiler(kinds[settings["name"]])(parameters, **shared)


def _without_compiler(kind: type[torch.optim.Optimizer]) -> type[torch.optim.Optimizer]:
    """The same optimiser, its methods freed of what guards them from being compiled themselves.

    Those guards import torch's compiler, over a second a run, and nobody compiles these methods.
    """
    names = ("add_param_group", "zero_grad", "step", "state_dict", "load_state_dict")
    methods: dict[str, Any] = {name: inspect.unwrap(getattr(kind, name)) for name in names}
    methods["step"] = torch.no_grad()(methods["step"])
    return type(kind.__name__, (kind,), methods)


def learning_rate(step: int, optimiser: dict[str, Any], plan: dict[str, Any]) -> float:
    """Learning rate of `step` (from 0): a lower one while warming up, then as `decay` says."""
    if step < optimiser["warmup_steps"]:
        return optimiser["learning_rate"] * optimiser["warmup_factor"]
    done = (step - optimiser["warmup_steps"]) / (plan["steps"] - optimiser["warmup_steps"])
    return optimiser["learning_rate"] * _left(done, plan["decay"])


def _left(done: float, decay: dict[str, Any]) -> float:
    """What is left of the learning rate when the share `done` of the training is over."""
    match decay["kind"]:
        case "cosine":
            return _cosine(done)
        case "polynomial":
            return (1 - done) ** decay["power"]
        case "warm_restarts":
            return _cosine(done * decay["restarts"] % 1)
        case "staircase":
            return decay["factor"] ** (math.floor(done * decay["times"]) + decay["at_start"])
    return 1.0


def _cosine(done: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * done))


class Stepper:
    """One optimisation step: scaled loss where the format is float16, clipped gradient if asked.

    Nothing here waits for the device: fused optimisers skip a step of non-finite gradients there.
    Others in float16 do, as the scaler asks for these.
    """

    def __init__(
        self,
        optimiser: torch.optim.Optimizer,
        precision: str,
        device: torch.device,
        clip_norm: float | None,
    ):
        self.optimiser, self.clip_norm = optimiser, clip_norm
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == "float16")

    def step(self, loss: Tensor) -> None:
        """Move the parameters against the gradient of `loss`, a scalar."""
        self.optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        if self.clip_norm is not None:
            self.scaler.unscale_(self.optimiser)
            parameters = [p for group in self.optimiser.param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, self.clip_norm)
        self.scaler.step(self.optimiser)
        self.scaler.update()

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        return {"optimiser": self.optimiser.state_dict(), "scaler": self.scaler.state_dict()}

    def restore(self, saved: dict[str, Any]) -> None:
        """Undo everything since `state`."""
        self.optimiser.load_state_dict(saved["optimiser"])
        self.scaler.load_state_dict(saved["scaler"])
