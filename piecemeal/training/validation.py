"""What a run is watched by: its own loss and the Dice of its structures on the validation split."""

from __future__ import annotations

import contextlib
from typing import NamedTuple

import torch
from torch import Tensor, nn

from piecemeal.methods._base import Method
from piecemeal.training.data import Samples
from piecemeal.training.distributed import Group
from piecemeal.training.window import Draw


class Watched(NamedTuple):
    """`loss`: mean over the data sets of the mean over their samples, so that none counts more for
    its size; `dice`: mean over the structures of Dice over all voxels.

    A structure that neither occurs nor is found does not enter the mean, nor do voxels in which a
    structure is found that the labels of their scan cannot tell from background.
    """

    loss: float
    dice: float


@torch.no_grad()
def validate(
    network: nn.Module,
    method: Method,
    samples: Samples,
    batch_size: int,
    group: Group,
    device: torch.device,
    autocast: contextlib.AbstractContextManager,
) -> Watched:
    """Loss (of the arm's own labels) and Dice (against the full labels) of all `samples`.

    A batch is of one data set, and the processes of the group take turns at the batches: so a
    batch, and with it a loss that is no mean over samples, is the same for any number of them.
    """
    memory_format = memory_format_of(network)
    network.eval()
    datasets = _by_dataset(samples)
    batches = [
        (number, draws[i : i + batch_size])
        for number, draws in enumerate(datasets)
        for i in range(0, len(draws), batch_size)
    ]
    totals = torch.zeros(len(datasets), dtype=torch.float64, device=device)
    pairs = torch.zeros(method.classes, method.classes, dtype=torch.float64, device=device)
    for number, part in batches[group.rank :: group.size]:
        batch = samples.batch(part).to(device, memory_format)
        with autocast:
            logits = network(batch.images)
        totals[number] += method.loss(logits, batch.codes, batch.sets).detach() * len(part)
        found = method.probabilities(logits).argmax(dim=1)
        true = samples.labels(part).to(device)
        unknown = samples.undeclared(part, method.classes).to(device)
        found = torch.where((true == 0) & _looked_up(unknown, found), 0, found)
        pairs += _confusion(true, found, method.classes)
    network.train()
    group.sum(totals)
    group.sum(pairs)
    voxels = (pairs.sum(0) + pairs.sum(1))[1:]
    dice = 2 * pairs.diag()[1:] / voxels.clamp(min=1)
    loss = totals.cpu() / torch.tensor([len(draws) for draws in datasets])
    # At least one, so that the mean is a number even where nothing occurs and nothing is found.
    mean_dice = dice.sum() / (voxels > 0).sum().clamp(min=1)
    return Watched(loss.mean().item(), mean_dice.item())


def _by_dataset(samples: Samples) -> list[list[Draw]]:
    """All samples, data set by data set, in the order in which the cases come."""
    found: dict[str, list[Draw]] = {}
    for draw in samples.every():
        found.setdefault(samples.cases[draw.case].dataset, []).append(draw)
    return list(found.values())


def memory_format_of(network: nn.Module) -> torch.memory_format:
    """The order of memory in which the network says that it is fastest."""
    return getattr(network, "memory_format", torch.contiguous_format)


def _looked_up(table: Tensor, ids: Tensor) -> Tensor:
    """Row b of `table` (B, C) at the class ids of sample b of `ids` (B, *space)."""
    return table.gather(1, ids.flatten(1)).view(ids.shape)


def _confusion(true: Tensor, found: Tensor, classes: int) -> Tensor:
    """Voxels (true class, found class) of two tensors of class ids."""
    counts = (true.long() * classes + found).flatten().bincount(minlength=classes**2)
    return counts.view(classes, classes)
