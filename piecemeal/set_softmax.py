"""Probabilities over label sets, worked out a piece of the voxels at a time.

A piece is what the cache holds, so that nothing of the logits' size is made but their gradient.
Within it scores and members are (..., C, V): each voxel's logits, and 1 for the classes of its set,
0 for others. Losses for any method (`piecemeal.losses`) and those slice by slice
(`piecemeal.slice_sums`) are made of this.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from piecemeal.errors import InputError

# Voxels that are worked on at a time: what a core's cache holds, what keeps a GPU busy.
VOXELS = {"cpu": 2**14}
MANY_VOXELS = 2**18
LEAST = -60.0  # the logarithm of a q_A whose addends are far from underflow


class SetSoftmax(NamedTuple):
    """scores: those given, less the largest of the voxel; member: as given; p: their softmax; lse
    (..., V): their log-sum-exp; log_q (..., V): the logarithm of p summed over the set, at most 0
    and exactly 0 where the set is every class; times (..., V): one over that sum, where it is far
    from underflow."""

    scores: Tensor
    member: Tensor
    p: Tensor
    lse: Tensor
    log_q: Tensor
    times: Tensor

    def inside(self) -> Tensor:
        """Softmax of the scores inside the voxel's set, 0 outside, (..., C, V)."""
        if _far_down(self.log_q):
            # The same as p where the set is every class, to the last digit.
            found = (self.scores + self.member.log()).softmax(-2)
            return torch.where(self.member.all(-2, keepdim=True), self.p, found)
        return (self.p * self.times.unsqueeze(-2)).mul_(self.member)


def set_softmax(scores: Tensor, member: Tensor) -> SetSoftmax:
    """Softmax of scores (..., C, V) and its logarithm over the sets of `member`, of the same shape.

    Stable at any size of the scores: log-sum-exp over the set less that over all classes.
    """
    scores = scores - scores.amax(-2, keepdim=True)
    p = scores.exp()
    total, within = p.sum(-2), (p * member).sum(-2)
    lse, times = total.log(), total / within
    log_q = within.log() - lse
    if _far_down(log_q):
        # The same of both where the set is every class, to the last digit.
        within = (scores + member.log()).logsumexp(-2)
        log_q = torch.where(member.all(-2), 0.0, within - lse)
    p *= total.reciprocal().unsqueeze(-2)
    return SetSoftmax(scores, member, p, lse, log_q.clamp_(max=0), times)


def _far_down(log_q: Tensor) -> bool:
    """Whether exponentials lose digits; taken for granted on a GPU, to ask which takes time."""
    return log_q.device.type != "cpu" or not (log_q > LEAST).all()


def check_inputs(logits: Tensor, codes: Tensor, sets: Tensor) -> None:
    """Raise InputError unless logits (B, C, *space), codes (B, *space) and sets (B, K, C) fit.

    Logits are floating, codes integers and, where to ask takes no time, that is on a CPU, rows of
    the tables: a code without a row would say nothing in silence.
    """
    batch, classes, *space = logits.shape if logits.ndim > 2 else (0, 0)
    fit = space and codes.shape == (batch, *space) and sets.ndim == 3
    if not fit or sets.shape[::2] != (batch, classes):
        raise InputError(
            f"logits {tuple(logits.shape)}, codes {tuple(codes.shape)} and sets "
            f"{tuple(sets.shape)} do not fit, expected (B, C, *space), (B, *space) and (B, K, C)"
        )
    whole = not codes.is_floating_point() and not codes.is_complex() and codes.dtype != torch.bool
    if not logits.is_floating_point() or not whole:
        raise InputError(
            f"logits are {logits.dtype} and codes {codes.dtype}, expected a floating and an "
            "integer type"
        )
    if codes.device.type != "cpu" or not codes.numel():
        return
    if codes.dtype in (torch.uint16, torch.uint32, torch.uint64):
        codes = codes.long()  # torch compares these not at all
    lowest, highest = (int(extreme) for extreme in codes.aminmax())
    if lowest < 0 or highest >= sets.shape[1]:
        raise InputError(
            f"codes from {lowest} to {highest}, expected rows of the set table, 0 to "
            f"{sets.shape[1] - 1}; a voxel of which nothing is known has a set of every class"
        )


def padding_as_unknown(sets: Tensor) -> Tensor:
    """Sets (..., K, C) as bool, with every class in rows that have none."""
    sets = sets.bool()
    return sets | ~sets.any(-1, keepdim=True)


def pieces(codes: Tensor, axis: int) -> Iterator[slice]:
    """Where along `axis`, the first one of space, each piece of codes lies."""
    length = codes.shape[axis]
    most = VOXELS.get(codes.device.type, MANY_VOXELS)
    step = max(1, most * length // max(codes.numel(), 1))
    return (slice(start, start + step) for start in range(0, length, step))


def precision(logits: Tensor) -> torch.dtype:
    """What sums over logits are worked out in."""
    return torch.float64 if logits.dtype == torch.float64 else torch.float32


def log_of_sets(logits: Tensor, codes: Tensor, sets: Tensor) -> Tensor:
    """log q_A (B, *space) of logits (B, C, *space), codes (B, *space) and bool sets (B, K, C).

    No more than its arguments is kept for its gradient.
    """
    return _LogOfSets.apply(logits, codes, sets)


def class_mass(logits: Tensor, codes: Tensor, sets: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of every class's probability over the voxels of every code, and those voxels' number.

    Logits (B, C, *space), codes (B, *space) and sets (B, K, C) give (B, K, C) and (B, K). No more
    than its arguments is kept for its gradient.
    """
    return _ClassMass.apply(logits, codes, sets)


class _LogOfSets(torch.autograd.Function):
    """`log_of_sets` with its gradient."""

    @staticmethod
    def forward(ctx, logits: Tensor, codes: Tensor, sets: Tensor) -> Tensor:
        ctx.save_for_backward(logits, codes, sets)
        log_q = torch.empty(codes.shape, dtype=precision(logits), device=logits.device)
        for here, scores, places in _of_batch(logits, codes):
            of_piece = set_softmax(scores, _members(places, sets, log_q.dtype))
            log_q[:, here] = of_piece.log_q.view_as(log_q[:, here])
        return log_q

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream: Tensor) -> tuple[Tensor, None, None]:
        logits, codes, sets = ctx.saved_tensors
        gradient = torch.empty_like(logits)
        for here, scores, places in _of_batch(logits, codes):
            of_piece = set_softmax(scores, _members(places, sets, scores.dtype))
            found = of_piece.inside().sub_(of_piece.p)
            found *= upstream[:, here].flatten(1).unsqueeze(1)
            gradient[:, :, here] = found.view_as(gradient[:, :, here])
        return gradient, None, None


class _ClassMass(torch.autograd.Function):
    """`class_mass` with its gradient."""

    @staticmethod
    def forward(ctx, logits: Tensor, codes: Tensor, sets: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(logits, codes, sets)
        mass = torch.zeros(sets.shape, dtype=precision(logits), device=logits.device)
        voxels = torch.zeros_like(mass[..., 0])
        for _, scores, places in _of_batch(logits, codes):
            indicators = _indicators(places, sets, mass.dtype)
            voxels += indicators.sum(-1)
            with torch.autocast(mass.device.type, enabled=False):
                mass += indicators @ scores.softmax(1).transpose(1, 2)
        ctx.mark_non_differentiable(voxels)
        return mass, voxels

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream: Tensor, _voxels: Tensor) -> tuple[Tensor, None, None]:
        logits, codes, sets = ctx.saved_tensors
        gradient = torch.empty_like(logits)
        upstream = upstream.transpose(1, 2)
        for here, scores, places in _of_batch(logits, codes):
            p = scores.softmax(1)
            with torch.autocast(upstream.device.type, enabled=False):
                found = upstream @ _indicators(places, sets, upstream.dtype)
            found -= (p * found).sum(1, keepdim=True)
            gradient[:, :, here] = found.mul_(p).view_as(gradient[:, :, here])
        return gradient, None, None


def _of_batch(logits: Tensor, codes: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Where a piece lies along the first axis of space, its scores (B, C, V) and codes (B, V)."""
    for here in pieces(codes, 1):
        scores = logits[:, :, here].flatten(2).to(precision(logits))
        yield here, scores, codes[:, here].flatten(1).long()


def _members(places: Tensor, sets: Tensor, kind: torch.dtype) -> Tensor:
    """Whether a voxel of codes (B, V) may be class c, as numbers (B, C, V)."""
    of_class = sets.transpose(1, 2).to(kind, memory_format=torch.contiguous_format)
    return of_class.gather(2, places.unsqueeze(1).expand(-1, sets.shape[2], -1))


def _indicators(places: Tensor, sets: Tensor, kind: torch.dtype) -> Tensor:
    """Whether a voxel of codes (B, V) has code k, as numbers (B, K, V)."""
    ids = torch.arange(sets.shape[1], device=places.device).unsqueeze(1)
    return (places.unsqueeze(1) == ids).to(kind)
