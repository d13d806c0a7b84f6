"""One head for all structures that learns a new task while it keeps its answers on those before.

The control that incremental label sharing (Anand et al. 2024) lacks: learning without forgetting
(Li and Hoiem, ECCV 2016) for segmentation, where what was background before may be a new structure
now (Cermelli et al., CVPR 2020). The annotation has the last word: where it says what a voxel is,
nothing is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from piecemeal.errors import InputError
from piecemeal.methods._batch_dice import SMOOTH
from piecemeal.methods._levels import as_levels
from piecemeal.methods._tasks import undecided
from piecemeal.methods.multichannel import Multichannel


class Distilled(Multichannel):
    """The Dice of what a scan is annotated for, and what the network said before it was there.

    The run starts from another's weights (`starts_from`), of which a copy stays as it is. keep: the
    weight of the divergence from its answers; see `forgetting`. A run that starts from nothing has
    nothing to keep. smooth: as in `Multichannel`, whose variant `masked` this is.

    notes: the divergence.
    """

    noted = ("forgetting",)
    wants_padding = True  # of which nothing is kept
    work = 4 / 3  # a pass of the copy goes without gradients, which would be worth two more

    def __init__(
        self,
        classes: int,
        tasks: Sequence[Sequence[int]] | None = None,
        keep: float = 1.0,
        smooth: float = SMOOTH,
    ):
        super().__init__(classes, tasks, masked=True, smooth=smooth, head="softmax")
        if not keep >= 0:
            raise InputError(f"distilled: keep is {keep}; expected 0 or more")
        self.keep = keep

    def build(self, network: Callable[..., nn.Module]) -> nn.Module:
        """The network, and beside it what it was before."""
        return WithItsPast(super().build(network))

    def continue_from(self, weights: dict[str, Tensor]) -> None:
        """See which structures have a channel by now; InputError as `Multichannel` raises it."""
        super().continue_from(_present(weights))

    def adopted(self, weights: dict[str, Tensor], fresh: dict[str, Tensor]) -> dict[str, Tensor]:
        """What is trained, and its past, both with the weights of the run before."""
        now = super().adopted(_present(weights), _present(fresh))
        return {NOW + k: v for k, v in now.items()} | {_buffer(k): v for k, v in now.items()}

    def training_loss(
        self, forward: Callable[..., Any], images: Tensor, codes: Tensor, sets: Tensor, done: float
    ) -> Tensor:
        """Dice on all levels, and on the finest `keep` times the divergence from the past."""
        output, past = forward(images, past=True, **self.options)
        dice = super().training_loss(lambda *_, **__: output, images, codes, sets, done)
        channels = [int(channel) for channel in self.before if channel]
        asked = undecided(codes, sets)
        divergence = forgetting(as_levels(output)[0], past, channels, asked)
        self.notes = {"forgetting": divergence.detach()}
        return dice + self.keep * divergence


def forgetting(logits: Tensor, past: Tensor, channels: Sequence[int], asked: Tensor) -> Tensor:
    """Kullback-Leibler divergence of what is said from what was said, in nats.

    logits, past (B, channels, *space), the background first. channels: those of structures that the
    past knows. Whatever else there is now was background to it, so the probabilities of background
    and new structures are added (Cermelli et al. 2020, eq. 7). asked: bool (B, *space), the voxels
    that the mean is over; 0 if there are none, or if the past knows no structure.
    """
    # One by one, as a list of numbers to index by would be copied to the device, and waited for.
    chances = logits.float().log_softmax(dim=1).unbind(1)
    new = [chance for n, chance in enumerate(chances) if n not in channels]  # and the background
    merged = torch.stack(new, dim=1).logsumexp(dim=1)
    now = torch.stack([merged, *(chances[n] for n in channels)], dim=1)
    said = past.detach().float().unbind(1)
    before = torch.stack([said[n] for n in (0, *channels)], dim=1).log_softmax(dim=1)
    divergence = (before.exp() * (before - now)).sum(dim=1)
    return (divergence * asked).sum() / asked.sum().clamp(min=1)


NOW = "network."  # what begins the names of the weights that are trained


class WithItsPast(nn.Module):
    """A network, and a copy of its weights from before the training.

    The copy is made of buffers: it is saved with the weights and counts among no parameters.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        self.memory_format = getattr(network, "memory_format", torch.contiguous_format)
        self.precision = getattr(network, "precision", None)
        for name, value in network.state_dict().items():
            self.register_buffer(_buffer(name), value.detach().clone())

    def forward(self, images: Tensor, past: bool = False, **options: Any) -> Any:
        """What the network gives; past: also the prediction of its past, without gradient."""
        if not past:
            return self.network(images, **options)
        weights = {name: getattr(self, _buffer(name)) for name in self.network.state_dict()}
        self.network.eval()  # as it would predict: no dropout, the finest of several levels
        with torch.no_grad():
            said = torch.func.functional_call(self.network, weights, (images,))
        self.network.train()
        return self.network(images, **options), said


def _present(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights without a past, under the names that they have in a run that has none."""
    if NOW + "channels" not in weights:
        return weights
    return {k.removeprefix(NOW): v for k, v in weights.items() if k.startswith(NOW)}


def _buffer(name: str) -> str:
    """A buffer's name has no dots."""
    return f"past_{name.replace('.', '-')}"
