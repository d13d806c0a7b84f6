"""Inputs of any size for networks that halve theirs a fixed number of times."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F  # noqa: N812


def pad_to_multiple(x: Tensor, multiple: int, smallest: int = 1) -> Tensor:
    """`x` (B, C, *space) amid zeros, each side a multiple of `multiple` and at least `smallest`."""
    around: list[int] = []
    for size in reversed(x.shape[2:]):
        extra = max(size + -size % multiple, smallest) - size
        around += [extra // 2, extra - extra // 2]
    return F.pad(x, around) if any(around) else x


def centre(x: Tensor, space: Sequence[int]) -> Tensor:
    """The middle of `x` (B, C, *larger), of the sides `space`: what `pad_to_multiple` put amid."""
    for axis, size in enumerate(space, start=2):
        x = x.narrow(axis, (x.shape[axis] - size) // 2, size)
    return x
