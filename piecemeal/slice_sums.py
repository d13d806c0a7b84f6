"""Focal cross-entropy, entropy and probabilities over label sets, summed over each slice.

What `piecemeal.ambiguity` makes its losses of. A sample's logits are read once for the sums and
once for their gradient, a piece at a time that the cache holds, so nothing of the logits' size is
made but the gradient.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from piecemeal.set_softmax import SetSoftmax, pieces, precision, set_softmax


class Rows(NamedTuple):
    """What a sample's codes stand for: sets (K, C); whether their voxels have a cross-entropy, and
    whether they have an entropy, bool (K,)."""

    sets: Tensor
    learned: Tensor
    looked_at: Tensor


def slice_sums(
    logits: Tensor, codes: Tensor, rows: Rows, axis: int, gamma: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Sums over each of the S slices of a sample across `axis` of space, float32 or float64.

    logits (C, *space), codes uint8 (*space), of `rows`. Returns (S,) the focal cross-entropy
    (1 - q_A)^gamma * -log q_A of the voxels whose codes are learned, (S,) the entropy of those
    whose codes are looked at, in nats, and (S, K, C) every class's probability over the voxels of
    each code. Not for use under autocast.
    """
    return _Sums.apply(logits, codes, rows, axis, gamma)


class _Sums(torch.autograd.Function):
    """`slice_sums` with its gradient, for which no more than its arguments is kept."""

    @staticmethod
    def forward(
        ctx, logits: Tensor, codes: Tensor, rows: Rows, axis: int, gamma: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.save_for_backward(logits, codes)
        ctx.rows, ctx.axis, ctx.gamma = rows, axis, gamma
        slices, (count, classes) = codes.shape[axis], rows.sets.shape
        kind = {"dtype": precision(logits), "device": logits.device}
        surprise, disorder = torch.zeros(2, slices, **kind)
        mass = torch.zeros(slices, count, classes, **kind)
        for part in _parts(logits, codes, rows, axis):
            of_sets = part.of_sets
            value, _ = _focal(of_sets.log_q, gamma)
            value *= rows.learned[part.codes]
            surprise[part.slices] += part.by_slice(value).sum(1)
            value = of_sets.lse - (of_sets.p * of_sets.scores).sum(0)
            value *= rows.looked_at[part.codes]
            disorder[part.slices] += part.by_slice(value).sum(1)
            indicators = (part.by_slice(part.codes).unsqueeze(1) == _ids(count, codes)).to(mass)
            mass[part.slices] += indicators @ part.by_slice(of_sets.p).permute(1, 2, 0)
        return surprise, disorder, mass

    @staticmethod
    @once_differentiable
    def backward(ctx, of_surprise: Tensor, of_disorder: Tensor, of_mass: Tensor):
        (logits, codes), rows, count = ctx.saved_tensors, ctx.rows, len(ctx.rows.sets)
        # What a voxel needs of its slice and its code, in rows of tables (slice, code).
        of_surprise, of_disorder = (
            (sums.unsqueeze(1) * told).flatten()
            for sums, told in ((of_surprise, rows.learned), (of_disorder, rows.looked_at))
        )
        of_mass = of_mass.flatten(0, 1).T.contiguous()
        gradient = torch.empty_like(logits)
        for part in _parts(logits, codes, rows, ctx.axis):
            of_sets, place = part.of_sets, part.codes + count * part.numbers
            _, slope = _focal(of_sets.log_q, ctx.gamma)
            slope *= of_surprise[place]
            # To the probabilities themselves, then through the softmax.
            found = of_mass.index_select(1, place)
            found -= of_disorder[place] * (of_sets.scores - of_sets.lse)
            found -= (of_sets.p * found).sum(0) + slope
            found = (found * of_sets.p).addcmul_(of_sets.inside(), slope)
            gradient[:, part.here] = found.view_as(gradient[:, part.here]).to(gradient.dtype)
        return gradient, None, None, None, None


class _Part(NamedTuple):
    """A piece of a sample, V voxels, whose codes are (V,) long.

    here: where it lies along the first axis of space; slices: of which slices it is, out of all;
    numbers (V,): of the voxels' slices; shape, axis: of the piece, across which they lie; of_sets:
    its softmax.
    """

    here: slice
    slices: slice
    numbers: Tensor
    shape: torch.Size
    axis: int
    codes: Tensor
    of_sets: SetSoftmax

    def by_slice(self, values: Tensor) -> Tensor:
        """Values (..., V) as (..., s, V / s) of the s slices."""
        values = values.unflatten(-1, self.shape)
        moved = values.movedim(self.axis - len(self.shape), -len(self.shape))
        return moved.reshape(*values.shape[: -len(self.shape)], self.shape[self.axis], -1)


def _parts(logits: Tensor, codes: Tensor, rows: Rows, axis: int) -> Iterator[_Part]:
    """All of a sample, piece by piece along the first axis of space."""
    kind = precision(logits)
    members = rows.sets.T.to(kind, memory_format=torch.contiguous_format)
    numbers = torch.arange(codes.shape[axis], device=codes.device)
    numbers = numbers.view(-1, *[1] * (codes.ndim - 1 - axis)).expand(codes.shape)
    for here in pieces(codes, 0):
        places = codes[here].flatten().long()
        yield _Part(
            here,
            slice(None) if axis else here,
            numbers[here].flatten(),
            codes[here].shape,
            axis,
            places,
            set_softmax(logits[:, here].flatten(1).to(kind), members.index_select(1, places)),
        )


def _ids(count: int, codes: Tensor) -> Tensor:
    return torch.arange(count, device=codes.device).unsqueeze(1)


def _focal(log_q: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    """(1 - q)^gamma * -log q, and its derivative by log q."""
    # The power has an infinite slope at 0 for gamma < 1; clamped, it has none there.
    wrong = (-torch.expm1(log_q)).clamp(min=torch.finfo(log_q.dtype).tiny)
    power = wrong**gamma
    slope = gamma * power / wrong * log_q.exp() * log_q - power
    return -power * log_q, slope
