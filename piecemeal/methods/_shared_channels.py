"""What label sharing keeps with its weights, and what it counts in its training cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


class SharedChannels(nn.Module):
    """A network and, saved with its weights, which of its channels is whose.

    channels (C,) long: the channel of every class, 0 for the background and for what was not
    learned. sizes (C,) float32: its mean relative size in its task, nan where that is unknown. They
    are all that a run needs which adds a task.
    """

    def __init__(self, network: nn.Module, channels: Tensor, sizes: Mapping[int, float]):
        super().__init__()
        self.network = network
        self.memory_format = getattr(network, "memory_format", torch.contiguous_format)
        self.precision = getattr(network, "precision", None)
        self.register_buffer("channels", channels.clone())
        known = [sizes.get(c, torch.nan) for c in range(len(channels))]
        self.register_buffer("sizes", torch.tensor(known, dtype=torch.float32))

    def forward(self, *arguments: Any, **options: Any) -> Any:
        """What the network gives."""
        return self.network(*arguments, **options)


def with_rows_of(old: Tensor, fresh: Tensor, rows: Mapping[int, int] | None = None) -> Tensor:
    """The weights of a head that has grown: `fresh`, with rows of `old` where they belong now.

    rows: place in `old` -> place in `fresh`; None: the same. `old` itself where the two differ in
    anything else than the number of their rows.
    """
    if old.shape == fresh.shape or old.shape[1:] != fresh.shape[1:] or len(old) > len(fresh):
        return old
    if rows is None:
        rows = {row: row for row in range(len(old))}
    grown = fresh.clone()
    grown[list(rows.values())] = old[list(rows)].to(fresh.device)
    return grown


def voxels(case: Any, task: Sequence[int], overlapping: bool) -> dict[str, int]:
    """Voxels of every structure of a task that are drawn in a case.

    Only slices that show one are read, one at a time. overlapping: a voxel counts for all the
    structures that are there.
    """
    decided = ~case.sets[:, 0] if overlapping else case.sets.sum(axis=1) == 1
    rows = case.sets[:, list(task)] & decided[:, None]
    found = np.zeros(len(case.sets), dtype=np.int64)
    for z in np.flatnonzero(case.places.slices[rows.any(axis=1)].any(axis=0)):
        found += np.bincount(case.codes[z].ravel(), minlength=len(found))
    return {str(c): int(count) for c, count in zip(task, found @ rows, strict=True)}
