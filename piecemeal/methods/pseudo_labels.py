"""Self-training on what the annotation leaves open, with the pseudo-labels of an averaged network.

No method of the five papers, but what one would try first: the exponential moving average of the
network (mean teacher, Tarvainen and Valpola, NeurIPS 2017) says which class of its label set an
undecided voxel is, and where it is confident (FixMatch, Sohn et al., NeurIPS 2020) the network
learns that. Pseudo-labels never contradict the annotation: a voxel that was not drawn as the liver
in a scan in which the liver was drawn does not become the liver.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from piecemeal.errors import InputError
from piecemeal.losses import marginal_cross_entropy, marginal_dice
from piecemeal.methods._levels import OnLevels, as_levels
from piecemeal.methods._tasks import at, undecided


class PseudoLabels(OnLevels):
    """Marginal cross-entropy and Dice, and the cross-entropy of confident pseudo-labels.

    confidence: the probability within its label set that makes a class the pseudo-label of a voxel;
    decay: of the average, at every step; rise: the share of the training over which the weight of
    pseudo-labels rises to 1, as exp(-5 (1 - t)^2) (Tarvainen and Valpola, appendix B). Predictions
    are those of the average.

    notes: the share of undecided voxels that have a pseudo-label.
    """

    noted = ("accepted",)
    wants_padding = True  # which is not undecided
    work = 4 / 3  # a pass of the average goes without gradients, which would be worth two more

    def __init__(
        self, classes: int, confidence: float = 0.9, decay: float = 0.99, rise: float = 0.4
    ):
        super().__init__(classes)
        for name, value in (("confidence", confidence), ("decay", decay), ("rise", rise)):
            if not 0 <= value <= 1:
                raise InputError(f"pseudo_labels: {name} is {value}; expected a share from 0 to 1")
        self.confidence, self.decay, self.rise = confidence, decay, rise

    def build(self, network: Callable[..., nn.Module]) -> nn.Module:
        """The network, and its average beside it."""
        return Averaged(super().build(network), self.decay)

    def loss(self, logits: Tensor, codes: Tensor, sets: Tensor) -> Tensor:
        """What the annotation alone asks for; logits (B, C, *space), codes, sets (B, K, C)."""
        cross_entropy = marginal_cross_entropy(logits, codes, sets, reduction="known_mean")
        return cross_entropy + marginal_dice(logits, codes, sets, reduction="known_mean")

    def training_loss(
        self, forward: Callable[..., Any], images: Tensor, codes: Tensor, sets: Tensor, done: float
    ) -> Tensor:
        """The loss of the annotation on all levels, and of pseudo-labels on the finest one."""
        output, averaged = forward(images, averaged=True, **self.options)
        annotated = super().training_loss(lambda *_, **__: output, images, codes, sets, done)
        chances = self.probabilities(averaged)
        guessed, asked = self.pseudo_labels(chances, codes, sets)
        self.notes = {"accepted": _share(asked, undecided(codes, sets))}
        values = nn.functional.cross_entropy(
            as_levels(output)[0].float(), guessed, reduction="none"
        )
        cost = _share(values * asked, undecided(codes, sets))
        return annotated + self.weight(done) * cost

    def weight(self, done: float) -> float:
        """The weight of pseudo-labels when this share of the training is over."""
        left = 1 - done / self.rise if done < self.rise else 0.0
        return math.exp(-5 * left**2)

    def pseudo_labels(self, chances: Tensor, codes: Tensor, sets: Tensor) -> tuple[Tensor, Tensor]:
        """Class ids (B, *space) long, and where they are pseudo-labels, (B, *space) bool.

        chances (B, C, *space): the probabilities of the average. Of every voxel the likeliest class
        of its label set; it is a pseudo-label where the set has others, and few chances for them.
        """
        open_to = torch.stack([at(sets[:, :, c], codes) for c in range(self.classes)], dim=1)
        chances = chances.detach() * open_to
        largest, guessed = chances.max(dim=1)
        # Nothing of the set has a chance left where the average is sure of something else.
        sure = (largest >= self.confidence * chances.sum(dim=1)) & (largest > 0)
        return guessed, sure & undecided(codes, sets)


class Averaged(nn.Module):
    """A network with the moving average of its weights, which alone predicts once it is trained.

    The average is made of buffers: it is saved with the weights and counts among no parameters.
    """

    def __init__(self, network: nn.Module, decay: float):
        super().__init__()
        self.network, self.decay = network, decay
        self.memory_format = getattr(network, "memory_format", torch.contiguous_format)
        self.precision = getattr(network, "precision", None)
        for name, value in self._now().items():
            self.register_buffer(_buffer(name), value.detach().clone())

    def forward(self, images: Tensor, averaged: bool = False, **options: Any) -> Any:
        """In training what the network gives, otherwise what its average does.

        averaged: in training, both: (network's, average's), the second without gradient. The
        average takes a step first. options: of the network.
        """
        if not self.training:
            return self._of_average(images, options)
        if not averaged:
            return self.network(images, **options)
        self._follow()
        # As it will predict, without dropout; of several levels the finest alone.
        self.network.eval()
        with torch.no_grad():
            guess = self._of_average(images, {})
        self.network.train()
        return self.network(images, **options), guess

    def _of_average(self, images: Tensor, options: dict[str, Any]) -> Any:
        weights = {name: getattr(self, _buffer(name)) for name in self._now()}
        return torch.func.functional_call(self.network, weights, (images,), options)

    @torch.no_grad()
    def _follow(self) -> None:
        for name, value in self._now().items():
            average = getattr(self, _buffer(name))
            if average.is_floating_point():
                average.lerp_(value, 1 - self.decay)
            else:  # counts of batches
                average.copy_(value)

    def _now(self) -> dict[str, Tensor]:
        return dict(self.network.named_parameters()) | dict(self.network.named_buffers())


def _share(values: Tensor, among: Tensor) -> Tensor:
    """The sum of `values` over the number of voxels `among`; 0 where there are none."""
    return values.float().sum() / among.sum().clamp(min=1)


def _buffer(name: str) -> str:
    """A buffer's name has no dots."""
    return f"average_{name.replace('.', '-')}"
