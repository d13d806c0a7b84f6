"""What a method has to say, and what it need not say because most methods agree on it."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor


class Method(ABC):
    """A way to learn from label sets and to predict.

    `trained` is False for floors and ceilings, which have neither network nor loss.
    """

    trained = True

    def __init__(self, classes: int):
        self.classes = classes  # background included

    def output_channels(self) -> int:
        """Channels of the network's prediction head."""
        return self.classes

    @abstractmethod
    def loss(self, logits: Tensor, codes: Tensor, sets: Tensor) -> Tensor:
        """Scalar loss of logits (B, C, *space) under codes (B, *space) and sets (B, K, C)."""

    def probabilities(self, logits: Tensor) -> Tensor:
        """Class probabilities (B, classes, *space) in float32 from logits (B, C, *space)."""
        return torch.softmax(logits.float(), dim=1)

    def without_network(self, labels: np.ndarray) -> np.ndarray:
        """Probabilities (classes, z, y, x) of an untrained method, given the true `labels`."""
        raise NotImplementedError(f"{type(self).__name__} predicts with its network")


class Untrained(Method):
    """Base of floors and ceilings: nothing is learned, the prediction needs no network."""

    trained = False

    def loss(self, logits: Tensor, codes: Tensor, sets: Tensor) -> Tensor:
        """Never asked for: there is nothing to train."""
        raise TypeError(f"{type(self).__name__} is not trained and has no loss")

    @abstractmethod
    def without_network(self, labels: np.ndarray) -> np.ndarray:
        """Probabilities (classes, z, y, x) in float32, given the true `labels` (z, y, x)."""


def one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    """Class ids (z, y, x) to float32 probabilities (classes, z, y, x)."""
    return (labels[None] == np.arange(classes).reshape(-1, 1, 1, 1)).astype(np.float32)
