"""Structures as tasks, each its own question: is a voxel of the structure or not?

Which of them a sample answers, how the answers become one prediction, and a network for each.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch import distributed as dist


def answerable(sets: Tensor) -> Tensor:
    """Which structures a sample can teach, bool (B, C - 1), by its table `sets` (B, K, C).

    Some label set has to be the structure alone, and each that says anything has to be that or to
    leave it out: scans in which the liver alone was drawn, with the sets {liver} and {background,
    kidney, spleen}, teach the liver; complete labels teach everything.
    """
    alone = _alone(sets)
    says_anything = sets.any(dim=2, keepdim=True) & ~sets.all(dim=2, keepdim=True)
    undecided = (sets & ~alone & says_anything).any(dim=1)
    return (alone.any(dim=1) & ~undecided)[:, 1:]


def of_structures(codes: Tensor, sets: Tensor) -> tuple[Tensor, Tensor]:
    """Per structure (B, C - 1, *space) float: drawn there, and known to be there or not."""
    alone = _alone(sets)
    drawn = torch.stack([at(alone[:, :, c], codes) for c in range(1, sets.shape[2])], dim=1)
    excluded = torch.stack([at(~sets[:, :, c], codes) for c in range(1, sets.shape[2])], dim=1)
    return drawn.float(), (drawn | excluded).float()


def at(table: Tensor, codes: Tensor) -> Tensor:
    """Row b of `table` (B, K) at the codes of sample b: (B, *space)."""
    return table.gather(1, codes.long().flatten(1)).view(codes.shape)


def beside_background(logits: Tensor) -> Tensor:
    """Probabilities (B, classes, *space) float32 from one logit a structure (B, C - 1, *space).

    Softmax beside a background of logit 0: the sigmoid, where there is one structure. With several
    the likeliest wins, and the background where all are below one half.
    """
    background = torch.zeros_like(logits[:, :1])
    return torch.softmax(torch.cat([background, logits], dim=1).float(), dim=1)


class OnePerTask(nn.Module):
    """A network for each of T tasks, all of them trained in one run, each as if it were alone.

    members: the networks; channels: logits of each. One pass is one evaluation of one member.
    """

    def __init__(self, members: Sequence[nn.Module], channels: int):
        super().__init__()
        self.members, self.channels = nn.ModuleList(members), channels
        self.memory_format = getattr(members[0], "memory_format", torch.contiguous_format)

    def forward(
        self, images: Tensor, task: int | None = None, rows: Tensor | None = None
    ) -> Tensor:
        """Logits (B, T * channels, *space) of all tasks, one after the other in the channels.

        task: of that one alone, (B, channels, *space). rows: bool (B, T), the images that the
        member of each task sees; its logits of the others are 0. A member that sees none is not
        evaluated: it remembers nothing of the batch, and its parameters get no gradient.
        """
        if task is not None:
            return self.members[task](images)
        if rows is None:
            return torch.cat([member(images) for member in self.members], dim=1)
        used, columns = _used(rows).tolist(), rows.T.cpu()
        parts = [
            self._of_rows(member, images, column) if needed else self._nothing(images)
            for member, needed, column in zip(self.members, used, columns, strict=True)
        ]
        return torch.cat(parts, dim=1)

    def _of_rows(self, member: nn.Module, images: Tensor, rows: Tensor) -> Tensor:
        if rows.all():
            return member(images)
        places = rows.nonzero().flatten().to(images.device)
        logits = member(images[places])
        return logits.new_zeros(len(images), *logits.shape[1:]).index_copy(0, places, logits)

    def _nothing(self, images: Tensor) -> Tensor:
        """Zeros; a loss of nothing else has a gradient to compute all the same."""
        shape = (len(images), self.channels, *images.shape[2:])
        return torch.zeros(shape, device=images.device, requires_grad=True)


def _used(rows: Tensor) -> Tensor:
    """Which columns of `rows` (B, T) have a row in any process of the run, bool (T,).

    Batch norms of several processes meet in every pass: where one makes it, all have to, and be it
    without an image.
    """
    used = rows.any(dim=0).int()
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(used, dist.ReduceOp.MAX)
    return used.bool()


def _alone(sets: Tensor) -> Tensor:
    """The sets of one class, the others emptied; (B, K, C) bool."""
    return sets & (sets.sum(dim=2, keepdim=True) == 1)
