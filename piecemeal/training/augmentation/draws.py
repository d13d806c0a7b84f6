"""Random numbers of a batch: functions of seed, step, operation and row, and of nothing else.

All rows of the effective batch are drawn on every device, which then takes its own: what a row
gets depends neither on the number of processes nor on the other operations.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

# The place of an operation here is part of its seed: append, never insert.
OPERATIONS = ["partners", "flip", "rot90", "rotation", "scaling", "noise", "blur"]
OPERATIONS += ["brightness", "contrast", "gamma", "cutmix", "low_resolution"]


def stream(seed: int, step: int, operation: str) -> np.random.Generator:
    """The generator of one operation at one step, whatever the rows."""
    key = (step, OPERATIONS.index(operation))
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


class Draws:
    """What operations draw for the samples of one batch.

    size: rows of the effective batch; rows (n,): the row of every sample; needed (n,), bool:
    samples that nothing is done with if False.
    """

    def __init__(self, seed: int, step: int, size: int, rows: np.ndarray, needed: np.ndarray):
        self.seed, self.step, self.size = seed, step, size
        self.rows, self.needed = rows, needed

    def of(self, operation: str) -> Draw:
        """The operation's own numbers, from the first one on."""
        return Draw(stream(self.seed, self.step, operation), self)


class Draw:
    """One operation's numbers, (n,) arrays with one value a sample, from one call to the next."""

    def __init__(self, rng: np.random.Generator, draws: Draws):
        self._rng, self._draws = rng, draws

    def hits(self, probability: float) -> np.ndarray:
        """Throw every sample's coin, bool."""
        return (self.uniform() < probability) & self._draws.needed

    def uniform(self, low: float = 0.0, high: float = 1.0) -> np.ndarray:
        """Values of [low, high), each as likely."""
        return self._rng.uniform(low, high, self._draws.size)[self._draws.rows]

    def integers(self, low: int, high: int) -> np.ndarray:
        """Integers of [low, high), each as likely."""
        return self._rng.integers(low, high, self._draws.size)[self._draws.rows]

    def beta(self, alpha: float) -> np.ndarray:
        """Values of the distribution Beta(alpha, alpha)."""
        return self._rng.beta(alpha, alpha, self._draws.size)[self._draws.rows]


def on_device(values: np.ndarray, like: Tensor) -> Tensor:
    """Bring small arrays to the device of `like` without waiting for it; reals as float32."""
    values = values.astype(np.float32) if values.dtype == np.float64 else values
    return torch.from_numpy(np.ascontiguousarray(values)).to(like.device, non_blocking=True)


def column(values: np.ndarray, like: Tensor) -> Tensor:
    """One number a sample, (n,), as (n, 1, ...) beside samples `like` (n, ...)."""
    return on_device(values, like).view(-1, *[1] * (like.ndim - 1))


def change(samples: Tensor, hits: np.ndarray, function: Callable[[Tensor], Tensor]) -> None:
    """Replace in place the samples that `hits` (n,), bool, names by what `function` makes of them.

    The coins are on the CPU, so that no shape has to be read off the device.
    """
    if hits.any():
        index = on_device(np.flatnonzero(hits), samples)
        samples.index_copy_(0, index, function(samples.index_select(0, index)))
