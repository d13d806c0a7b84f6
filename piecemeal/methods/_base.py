"""What a method has to say, and what it need not say because most methods agree on it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from piecemeal.errors import InputError


class Method(ABC):
    """A way to learn from label sets and to predict.

    `trained` is False for floors and ceilings, which have neither network nor loss;
    `uses_all_parameters` is False if a step may leave some of the network's parameters out;
    `watched_from` is the share of the training up to which validations choose no weights and stop
    nothing, because what is predicted is not yet being learned; `least_rows` is how many rows of a
    batch each of several processes needs, and `most_processes` how many of these may train a run
    together, None for any number; `work` is how many forward passes of what `build` makes a sample
    of a training step is worth; `noted` names what `training_loss` leaves in `notes`, for the
    columns of history.csv; `wants_views` is True if `training_loss` has to know which samples are
    annotated in slices, `wants_shown` if it has to know what they were drawn to show,
    `wants_tables` if it has to read the label sets, not only to compute with them; `wants_padding`
    if what lies outside a scan has to be told from voxels of which nothing is known: the sets then
    have a row without any class for it, for others one with every class.
    """

    trained = True
    uses_all_parameters = True
    watched_from = 0.0
    least_rows = 1
    most_processes: int | None = None
    work = 1.0
    noted: tuple[str, ...] = ()
    wants_views = False
    wants_shown = False
    wants_tables = False
    wants_padding = False

    def __init__(self, classes: int):
        self.classes = classes  # background included
        self.notes: dict[str, Tensor] = {}  # name -> a detached scalar of the last step

    def output_channels(self) -> int:
        """Channels of the network's prediction head."""
        return self.classes

    def build(self, network: Callable[..., nn.Module]) -> nn.Module:
        """What is trained, made of what `network` builds for a number of output channels.

        Options of the network that only the method knows go along by name.
        """
        return network(self.output_channels())

    def check(self, sets: np.ndarray) -> None:  # noqa: B027 (most methods take any)
        """Raise InputError if the method cannot learn from a case's label sets (K, C), bool."""

    def continue_from(self, weights: dict[str, Tensor]) -> None:  # noqa: B027 (most need nothing)
        """See what a run has learned from whose weights this one starts, before `learn_from`.

        weights: the state dict of what that run's method built.
        """

    def adopted(self, weights: dict[str, Tensor], fresh: dict[str, Tensor]) -> dict[str, Tensor]:
        """The state dict that a run starts with, of another run's `weights`.

        fresh: that of what was built for this run, as it was drawn. Most need nothing of it.
        """
        return weights

    def facts(self) -> dict[str, Any]:
        """What was found out beside the weights, for run.json: names to what JSON can hold."""
        return {}

    def learn_from(self, cases: Sequence[Any]) -> None:  # noqa: B027 (most need not look)
        """Look at the annotated training cases, before the network is built.

        cases: `piecemeal.training.cases.Case`, with codes, label sets and where each code occurs.
        Called where something is trained, never where it predicts: what both need to know belongs
        into what `build` makes, as a buffer, and so into the weights.
        """

    def ask(self, structures: Sequence[int] | None) -> None:  # noqa: B027 (most answer all alike)
        """The classes a scan is annotated for, before it is predicted; None where nobody knows.

        They are all that is asked of the predictions that follow. Most methods answer for all
        structures whatever the scan; those whose channels mean something else in every task need
        to know.
        """

    @abstractmethod
    def loss(self, logits: Tensor, codes: Tensor, sets: Tensor) -> Tensor:
        """Scalar loss of logits (B, C, *space) under codes (B, *space) and sets (B, K, C)."""

    def training_loss(
        self, forward: Callable[..., Any], images: Tensor, codes: Tensor, sets: Tensor, done: float
    ) -> Tensor:
        """Scalar loss of one training step; to be changed by what takes more than one pass.

        forward: the network, under the run's autocast and wrapped for several GPUs: everything has
        to go through it. done: share of the training that is over, from 0 to below 1. Where
        `wants_views` is set, `views` comes along by name, int8 (B,): the axis of space (z, y, x)
        across which the slices of a sample lie that alone were annotated, -1 where all of it was.
        Where `wants_shown` is, `shown` (B,) does: the class that a sampler chose each sample to
        show, 0 for the background, -1 where it chose none. Where `wants_tables` is, `tables` does:
        `sets` once more. What comes by name is on the CPU; no other tensor may be read, as a step
        does not wait for the device (tests/contract/test_waiting.py).
        """
        return self.loss(forward(images), codes, sets)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Class probabilities (B, classes, *space) in float32 from logits (B, C, *space)."""
        return torch.softmax(logits.float(), dim=1)

    def read_out(self, network: nn.Module, images: Tensor) -> Tensor:
        """Class probabilities (B, classes, *space) float32 of images (B, channels, *space).

        Called under the run's autocast: the network runs in it, the probabilities do not.
        """
        logits = network(images)
        with torch.autocast(images.device.type, enabled=False):
            return self.probabilities(logits)

    def without_network(self, labels: np.ndarray) -> np.ndarray:
        """Probabilities (classes, z, y, x) of an untrained method, given the true `labels`.

        labels (z, y, x): one slice of a scan or several.
        """
        raise NotImplementedError(f"{type(self).__name__} predicts with its network")


class TaskConditioned(Method):
    """Base of methods whose network is told which task to solve, such as DoDNet.

    The network offers `features(images)`, which knows no task, and `head(features, task)`, logits
    (B, channels, *space); its forward goes through both. Prediction computes the features once and
    the head for every task.
    tasks: what the head is told, one entry a task; channels: of the head, for one task; one_pass,
    which scoring sets as a method's file says (inference.one_pass): False computes the features
    anew for every task, as published protocols do, which changes what a prediction costs and
    nothing else.
    """

    def __init__(
        self, classes: int, tasks: Sequence[Any], channels: int = 1, one_pass: bool = True
    ):
        super().__init__(classes)
        self.tasks, self.channels, self.one_pass = tasks, channels, one_pass

    def output_channels(self) -> int:
        """Channels of all tasks together."""
        return len(self.tasks) * self.channels

    def build(self, network: Callable[..., nn.Module]) -> nn.Module:
        """The network, whose head has the channels of one task, and is told how many tasks.

        Raises InputError if it is no task-conditioned network.
        """
        built = network(self.channels, tasks=len(self.tasks))
        check_told(built)
        return built

    @abstractmethod
    def merge(self, outputs: Sequence[Tensor]) -> Tensor:
        """Class probabilities (B, classes, *space) from float32 logits, one tensor a task."""

    def probabilities(self, logits: Tensor) -> Tensor:
        """Class probabilities from the logits of all tasks, one after the other in the channels."""
        return self.merge(logits.float().split(self.channels, dim=1))

    def read_out(self, network: nn.Module, images: Tensor) -> Tensor:
        """Class probabilities from one head a task and one pass of the backbone, or as many."""
        if self.one_pass:
            features = network.features(images)
            outputs = [network.head(features, task) for task in self.tasks]
        else:
            outputs = [network.head(network.features(images), task) for task in self.tasks]
        with torch.autocast(images.device.type, enabled=False):
            return self.merge([logits.float() for logits in outputs])


def check_told(network: nn.Module) -> None:
    """Raise InputError if `network` is not one that can be told a task, see TaskConditioned."""
    if not all(callable(getattr(network, part, None)) for part in ("features", "head")):
        raise InputError(
            f"network.name in the method's file: {type(network).__name__} cannot be told a task; "
            "choose a network with `features` and `head`, such as dodnet"
        )


class Untrained(Method):
    """Base of floors and ceilings: nothing is learned, the prediction needs no network."""

    trained = False

    def loss(self, logits: Tensor, codes: Tensor, sets: Tensor) -> Tensor:
        """Never asked for: there is nothing to train."""
        raise TypeError(f"{type(self).__name__} is not trained and has no loss")

    @abstractmethod
    def without_network(self, labels: np.ndarray) -> np.ndarray:
        """Probabilities (classes, z, y, x) in float32, given the true `labels` (z, y, x).

        labels: one slice of a scan or several.
        """


def one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    """Class ids (z, y, x) to float32 probabilities (classes, z, y, x)."""
    return (labels[None] == np.arange(classes).reshape(-1, 1, 1, 1)).astype(np.float32)
