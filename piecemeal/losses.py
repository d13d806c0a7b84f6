"""Losses over label sets.

Every loss takes

    logits  (B, C, *space)  any floating type; class 0 is background
    codes   (B, *space)     any integer type; the voxel's row in its scan's set table
    sets    (B, K, C)       bool; whether a voxel with that code may be class c

and computes in float32 (float64 for float64 logits) whatever the type of the logits, autocast or
not. A row with every class says nothing, and its voxels give no loss and no gradient; a row of
`sets` without any class is padding, and so are its voxels, as around a scan: the same goes for
them. Written q for the softmax output, A for a voxel's set, q_A for the sum of q over A.

Reductions of the losses per voxel: "mean" over all voxels of the batch, "known_mean" over those
the loss learns from, "sum", "none" (B, *space). The Dice losses have one value an image, so there
the same words speak of images and "none" is (B,). Without any information the loss is 0, with
zero gradient. All raise InputError on shapes and types that do not fit, on unknown reductions and,
on a CPU, on codes without a row. Their gradients cannot be differentiated once more.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from piecemeal.errors import InputError
from piecemeal.set_softmax import (
    check_inputs,
    class_mass,
    log_of_sets,
    padding_as_unknown,
    precision,
)


def log_set_probability(logits: Tensor, codes: Tensor, sets: Tensor) -> Tensor:
    """Return log q_A of every voxel, (B, *space), at most 0 and exactly 0 where A is every class.

    Log-sum-exp of the logits over A minus that over all classes: exact for large logits, where
    the logarithm of summed probabilities loses its tail.
    """
    check_inputs(logits, codes, sets)
    return log_of_sets(logits, codes, padding_as_unknown(sets))


def marginal_cross_entropy(
    logits: Tensor, codes: Tensor, sets: Tensor, *, reduction: str = "mean"
) -> Tensor:
    """Return -log q_A: cross-entropy in which a set counts as one label.

    With a super label's members as A this is the super-label-aware cross-entropy of Kemnitz et
    al. 2018, eq. 3 (printed without the minus sign); with the background and the un-annotated
    classes it is the target adaptive loss and marginal cross-entropy of partial labels; with
    complete labels, plain cross-entropy.
    """
    values = -log_set_probability(logits, codes, sets)
    return _reduce(values, _of_voxels(_informative(sets), codes), reduction)


def naive_cross_entropy(
    logits: Tensor, codes: Tensor, sets: Tensor, *, reduction: str = "mean"
) -> Tensor:
    """Return cross-entropy on voxels of known class, 0 on all others (Kemnitz et al. 2018, eq. 2).

    "mean" counts the masked voxels too, "known_mean" does not.
    """
    known = _singleton(sets)
    # Taking any set of several classes for "every class" masks its voxels exactly.
    values = -log_set_probability(logits, codes, sets.bool() | ~known.unsqueeze(-1))
    return _reduce(values, _of_voxels(known, codes), reduction)


def focal_marginal_cross_entropy(
    logits: Tensor, codes: Tensor, sets: Tensor, *, gamma: float = 2.0, reduction: str = "mean"
) -> Tensor:
    """Return (1 - q_A)^gamma * -log q_A (Chen et al. 2024, eq. 1; the sign is missing in print).

    Raises InputError if gamma is negative.
    """
    if not gamma >= 0:
        raise InputError(f"gamma: {gamma} given, expected 0 or more")
    log_q = log_set_probability(logits, codes, sets)
    # The power has an infinite slope at 0 for gamma < 1; clamped, it has none there.
    wrong = (-torch.expm1(log_q)).clamp(min=torch.finfo(log_q.dtype).tiny)
    return _reduce(-(wrong**gamma) * log_q, _of_voxels(_informative(sets), codes), reduction)


def marginal_dice(
    logits: Tensor,
    codes: Tensor,
    sets: Tensor,
    *,
    smooth: float = 1.0,
    present_only: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """Return the merged Dice loss (Chen et al. 2024, eq. 2 to 4): one soft Dice per set and image.

    The prediction for a set is q_A, the target whether the voxel's set lies inside it. A voxel
    whose set lies partly inside A counts for neither side: it may or may not be in A. This holds
    for voxels without information. An image's loss is 1 minus the mean over its sets, without
    padding and "every class"; `present_only` drops sets that no voxel of the image carries.
    With complete labels it is the plain soft Dice loss. Raises InputError unless smooth > 0.
    """
    check_inputs(logits, codes, sets)
    sets = padding_as_unknown(sets)
    row, other = sets.unsqueeze(2), sets.unsqueeze(1)
    inside = ~(row & ~other).any(-1)
    disjoint = ~(row & other).any(-1)
    pairs = _Pairs(scored=_informative(sets), target=inside, counted=inside | disjoint)
    return _dice(logits, codes, sets, pairs, smooth, present_only, reduction)


def leaf_dice(
    logits: Tensor,
    codes: Tensor,
    sets: Tensor,
    *,
    smooth: float = 1.0,
    present_only: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """Return the leaf-Dice loss (Fidon et al. 2021): soft Dice of the classes with a set {c}.

    Voxels whose set holds several classes count neither in the numerator nor in the denominator.
    Smoothing, images and `present_only` are as in marginal_dice.
    """
    check_inputs(logits, codes, sets)
    sets = padding_as_unknown(sets)
    leaf = _singleton(sets)
    both_leaves = leaf.unsqueeze(2) & leaf.unsqueeze(1)
    same = (sets.unsqueeze(2) == sets.unsqueeze(1)).all(-1)
    pairs = _Pairs(scored=leaf, target=same, counted=both_leaves)
    return _dice(logits, codes, sets, pairs, smooth, present_only, reduction)


def entropy(
    logits: Tensor,
    codes: Tensor,
    sets: Tensor,
    *,
    mask: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Return the Shannon entropy of q in nats (Chen et al. 2024, eq. 5), annotated or not.

    The one loss that looks at every voxel of the scan whatever its set; only "known_mean" keeps to
    voxels that carry information. Padding, and voxels outside `mask` (bool, (B, *space)), are left
    out of the sum and of the mean. Raises InputError on another mask.
    """
    check_inputs(logits, codes, sets)
    looked_at = _of_voxels(sets.bool().any(-1), codes)
    if mask is not None:
        if mask.shape != codes.shape or mask.dtype != torch.bool:
            raise InputError(
                f"mask: {mask.dtype} {tuple(mask.shape)} given, expected bool {tuple(codes.shape)}"
            )
        looked_at = looked_at & mask
    if reduction == "known_mean":
        looked_at = looked_at & _of_voxels(_informative(sets), codes)
    log_q = logits.to(precision(logits)).log_softmax(1)
    log_q = log_q.clamp(min=torch.finfo(log_q.dtype).min)  # a logit of -inf has no entropy, not NaN
    values = torch.where(looked_at, -(log_q.exp() * log_q).sum(1), 0)
    return _reduce(values, looked_at, "known_mean" if reduction == "mean" else reduction)


class _Pairs(NamedTuple):
    """How voxels of one code enter the Dice of another code's set.

    scored: bool (B, K), sets that have a Dice at all; target, counted: bool (B, K, K), whether a
    voxel with code k is foreground for set j, and whether it is looked at for set j.
    """

    scored: Tensor
    target: Tensor
    counted: Tensor


def _dice(
    logits: Tensor,
    codes: Tensor,
    sets: Tensor,
    pairs: _Pairs,
    smooth: float,
    present_only: bool,
    reduction: str,
) -> Tensor:
    """Return 1 minus the mean soft Dice of the scored sets of each image, reduced."""
    if not smooth > 0:
        raise InputError(f"smooth: {smooth} given, expected more than 0: an absent class has 0/0")
    mass, voxels = class_mass(logits, codes, sets)
    # (B, code, set): a product by hand, as autocast would round a matrix product and its gradient.
    set_mass = (mass.unsqueeze(2) * sets.unsqueeze(1)).sum(-1)
    overlap = (set_mass * pairs.target).sum(1)
    predicted = (set_mass * pairs.counted).sum(1)
    labelled = (voxels.unsqueeze(2) * pairs.target).sum(1)
    dice = (2 * overlap + smooth) / (predicted + labelled + smooth)
    known = (voxels * pairs.scored).sum(1) > 0
    scored = pairs.scored & (voxels > 0) if present_only else pairs.scored
    values = ((1 - dice) * scored).sum(1) / scored.sum(1).clamp(min=1)
    return _reduce(values, known, reduction)


def _reduce(values: Tensor, known: Tensor, reduction: str) -> Tensor:
    """Reduce `values`, which are 0 where `known` is False."""
    match reduction:
        case "mean":
            return values.sum() / max(values.numel(), 1)
        case "known_mean":
            return values.sum() / known.sum().clamp(min=1)
        case "sum":
            return values.sum()
        case "none":
            return values
    raise InputError(f"reduction: {reduction!r} given, expected mean, known_mean, sum or none")


def _informative(sets: Tensor) -> Tensor:
    return sets.bool().any(-1) & ~sets.bool().all(-1)


def _singleton(sets: Tensor) -> Tensor:
    return sets.bool().sum(-1) == 1


def _of_voxels(rows: Tensor, codes: Tensor) -> Tensor:
    """Look up a property (B, K) of the sets for every voxel (B, *space)."""
    return rows.gather(1, codes.flatten(1).long()).view(codes.shape)
