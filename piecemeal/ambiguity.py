"""The losses of self-disambiguation (Chen et al., CVPR 2024): volume by volume or slice by slice.

Where structures of a volume were left out, ambiguity-aware focal cross-entropy and Dice look at the
volume; where slices were left out as well, at every annotated slice by itself. The entropy of the
prediction needs no annotation. As in `piecemeal.losses`:

    logits  (B, C, *space)  any floating type; class 0 is background
    codes   (B, *space)     any integer type; the voxel's row in its scan's set table
    sets    (B, K, C)       bool; a row without any class is padding, as around a scan, one with
                            every class says nothing

and everything is computed in float32 (float64 for float64 logits), autocast or not.

All of them are worked out from sums over slices, which `piecemeal.slice_sums` forms.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from piecemeal.errors import InputError
from piecemeal.set_softmax import check_inputs, padding_as_unknown
from piecemeal.slice_sums import Rows, slice_sums


class Terms(NamedTuple):
    """Losses of B samples, float (B,); 0 where a sample says nothing about one.

    cross_entropy, dice: of its annotated voxels; entropy: mean over its voxels, in nats;
    foreground: bool (B,), whether any of its voxels is annotated as a structure.
    """

    cross_entropy: Tensor
    dice: Tensor
    entropy: Tensor
    foreground: Tensor


class _Options(NamedTuple):
    gamma: float
    smooth: float
    present_only: bool
    skip_empty: bool
    whole_background: bool


def ambiguity_terms(
    logits: Tensor,
    codes: Tensor,
    sets: Tensor,
    views: Tensor | None = None,
    *,
    gamma: float = 2.0,
    smooth: float = 1.0,
    present_only: bool = False,
    skip_empty: bool = False,
    whole_background: bool = False,
) -> Terms:
    """Focal cross-entropy, Dice and entropy of every sample (Chen et al. 2024, eq. 1 to 5).

    views: int (B,), the axis of space across which the slices of a sample lie that alone were
    annotated, -1 for a sample that is looked at as a volume; None: all of them are.

    cross_entropy: (1 - q_A)^gamma * -log q_A, mean over the voxels whose set A carries information.
    dice: 1 - (2 sum q_A t + smooth) / (sum q_A + sum t + smooth), mean over the sets of the sample,
    the merged background being one of them. In slices, mean over those with a voxel that carries
    information, each with the sets that go with its own background (see `_scored`). Voxels whose
    set holds a part of A count for no side, as in `piecemeal.losses.marginal_dice`.
    entropy: mean over the voxels that carry information; of samples in slices and of scans of which
    nothing is known over all voxels but padding.

    present_only: sets that no voxel of the patch, or slice, carries have no Dice. skip_empty:
    slices without a voxel of a structure are taken for not annotated. whole_background: the erratum
    of the released code, whose slices predict the merged background by the sum over all classes,
    which is 1 everywhere and teaches nothing.
    Raises InputError on shapes and types that do not fit, a negative gamma, unless smooth > 0, on
    axes that space does not have and, on a CPU, on codes without a row.
    """
    check_inputs(logits, codes, sets)
    _check(gamma, smooth)
    axes = [-1] * len(logits) if views is None else views.tolist()
    if len(axes) != len(logits) or not all(-1 <= axis < logits.ndim - 2 for axis in axes):
        raise InputError(
            f"views: {axes} given for logits {tuple(logits.shape)}, expected for each sample an "
            f"axis of space, 0 to {logits.ndim - 3}, or -1"
        )
    options = _Options(gamma, smooth, present_only, skip_empty, whole_background)
    with torch.autocast(logits.device.type, enabled=False):
        samples = [
            _sample(*sample, axis, options)
            for *sample, axis in zip(logits, codes, sets.bool(), axes, strict=True)
        ]
    return Terms(*(torch.stack(values) for values in zip(*samples, strict=True)))


def _sample(logits: Tensor, codes: Tensor, sets: Tensor, axis: int, options: _Options) -> Terms:
    """The terms of one sample: logits (C, *space), codes (*space), sets (K, C)."""
    sliced, axis = axis >= 0, max(axis, 0)
    voxels = _counts(codes, len(sets), axis)  # (S, K)
    padding, sets = ~sets.any(1), padding_as_unknown(sets)
    informative = ~sets.all(1)
    looked_at = ~padding & (informative | sliced | ~informative.any())
    present = _present(voxels)
    surprise, disorder, mass = slice_sums(
        logits,
        _renumbered(codes, present, len(sets)),
        Rows(sets[present], informative[present], looked_at[present]),
        axis,
        options.gamma,
    )
    known, looked = (voxels * informative).sum(1), (voxels * looked_at).sum(1)
    shows = (voxels * (informative & ~sets[:, 0])).sum(1) > 0
    used = shows if sliced and options.skip_empty else known > 0
    if not sliced:
        voxels, mass = voxels.sum(0, keepdim=True), mass.sum(0, keepdim=True)
    scored = _scored(sets, informative, voxels > 0, options.present_only)
    if sliced:
        scored = scored & used.unsqueeze(1)
    whole = options.whole_background and sliced
    dice = _dice(mass, voxels, sets, present, options.smooth, whole)
    lost = ((1 - dice) * scored).sum(1) / scored.sum(1).clamp(min=1)
    return Terms(
        (surprise * used).sum() / (known * used).sum().clamp(min=1),
        lost.sum() / scored.any(1).sum().clamp(min=1),
        disorder.sum() / looked.sum().clamp(min=1),
        shows.any(),
    )


def _scored(sets: Tensor, informative: Tensor, there: Tensor, present_only: bool) -> Tensor:
    """Which sets have a Dice in which slice, or in the volume: bool (S, K).

    there: bool (S, K), sets that a voxel has. The others are those of structures that no background
    set which is there may be, and a background set that is the table's only one.
    """
    if present_only:
        return there & informative
    backgrounds = informative & sets[:, 0]
    meets = (sets.unsqueeze(1) & sets).any(2)  # (K, K)
    taken = ((there & backgrounds).unsqueeze(2) & meets).any(1)
    absent = torch.where(backgrounds, backgrounds.sum() == 1, ~taken)
    return informative & (there | absent)


def _dice(
    mass: Tensor, voxels: Tensor, sets: Tensor, present: Tensor, smooth: float, whole: bool
) -> Tensor:
    """Soft Dice (S, K) of every set, from `mass` (S, P, C) and `voxels` (S, K).

    A voxel is foreground for the sets that hold all of its own, not looked at for those that hold
    a part. whole: the prediction of background sets is the sum over all classes.
    """
    added = sets | (sets[:, :1] & whole)
    # A product by hand, as autocast would round that of matrices, and its gradient.
    set_mass = (mass.unsqueeze(2) * added).sum(3)  # (S, P, K)
    row, other = sets[present].unsqueeze(1), sets.unsqueeze(0)
    inside = ~(row & ~other).any(2)
    counted = inside | ~(row & other).any(2)
    overlap = (set_mass * inside).sum(1)
    predicted = (set_mass * counted).sum(1)
    labelled = (voxels[:, present].unsqueeze(2) * inside).sum(1)
    return (2 * overlap + smooth) / (predicted + labelled + smooth)


def _present(voxels: Tensor) -> Tensor:
    """Codes that there are, of `voxels` (S, K); all of them on a GPU, to ask which takes time."""
    if voxels.device.type == "cpu":
        return voxels.any(0).nonzero().flatten()
    return torch.arange(voxels.shape[1], device=voxels.device)


def _counts(codes: Tensor, rows: int, axis: int) -> Tensor:
    """Voxels of every code in every slice across `axis`, (S, rows), of codes (*space)."""
    codes = codes.movedim(axis, 0).flatten(1) if codes.ndim > 1 else codes.unsqueeze(1)
    if codes.device.type != "cpu":  # where bincount would ask for the largest code
        return torch.stack([(codes == row).sum(1) for row in range(rows)], dim=1)
    first = rows * torch.arange(len(codes)).unsqueeze(1)
    counts = torch.bincount((codes + first).flatten(), minlength=rows * len(codes))
    return counts.view(len(codes), rows)


def _renumbered(codes: Tensor, present: Tensor, rows: int) -> Tensor:
    """Codes as places in `present`, the codes that there are; uint8."""
    places = torch.zeros(rows, dtype=torch.uint8, device=codes.device)
    places[present] = torch.arange(len(present), device=codes.device).to(torch.uint8)
    return places[codes.int()]


def _check(gamma: float, smooth: float) -> None:
    if not gamma >= 0:
        raise InputError(f"gamma: {gamma} given, expected 0 or more")
    if not smooth > 0:
        raise InputError(f"smooth: {smooth} given, expected more than 0: an absent class has 0/0")
