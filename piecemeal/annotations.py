"""Simulated annotators: maps from complete labels to codes and label sets.

`labels` are integer class ids, (*space), 0 = background; `classes` counts the background in. The
set table depends on what the annotator was asked to do, never on what a volume happens to show,
so that all scans of one protocol share it; only `slices_as_they_show` says by its name that it does
not. A voxel's true class is always in its set.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from numbers import Integral

import numpy as np

from piecemeal.errors import InputError
from piecemeal.labelsets import MAX_SETS, Annotation, all_classes, singletons

# View -> the axis of (z, y, x), in canonical order, that its slices lie across.
VIEWS = {"axial": 0, "coronal": 1, "sagittal": 2}


def complete(labels: np.ndarray, classes: int) -> Annotation:
    """Annotate every class: code c stands for the set {c}.

    Raises InputError if labels are not integers in 0..classes-1.
    """
    _check_labels(labels, classes)
    return Annotation(labels.astype(np.uint8), singletons(classes))


def super_label(
    labels: np.ndarray, merged: Iterable[int] | Iterable[Iterable[int]], classes: int
) -> Annotation:
    """Annotate with some classes merged into super labels (Kemnitz et al. 2018, section 2).

    `merged` is one super label (class ids, background allowed) or several disjoint ones. The
    classes left alone come first in the set table, in ascending order, then the super labels.
    Raises InputError on labels outside 0..classes-1, unknown class ids, or a class in two super
    labels.
    """
    _check_labels(labels, classes)
    members = [_check_class_ids(group, classes, "merged") for group in _groups(merged)]
    members = [group for group in members if group]
    taken = [c for group in members for c in group]
    twice = sorted({c for c in taken if taken.count(c) > 1})
    if twice:
        raise InputError(
            f"merged: classes {twice} are in more than one super label, expected disjoint super "
            "labels; leave each class in one of them"
        )
    alone = [[c] for c in range(classes) if c not in taken]
    return _partition(labels, alone + members, classes)


def partial(labels: np.ndarray, annotated: Iterable[int], classes: int) -> Annotation:
    """Annotate some structures only (partial labels).

    A voxel of an annotated structure c carries {c}. Every other voxel carries the background and
    all structures that were not annotated (set {0} + Phi_N minus Phi_M of Chen et al. 2024,
    section 3.3); that set is code 0, the annotated structures follow in ascending order.
    Raises InputError on labels outside 0..classes-1, or if `annotated` holds the background or
    unknown class ids.
    """
    _check_labels(labels, classes)
    drawn = _check_class_ids(annotated, classes, "annotated")
    if 0 in drawn:
        raise InputError(
            "annotated: class 0 is the background, expected structures only; what no annotator "
            "drew is background or an un-annotated structure, so leave 0 out"
        )
    rest = [c for c in range(classes) if c not in drawn]
    return _partition(labels, [rest] + [[c] for c in drawn], classes)


def sparse_slices(
    annotation_or_labels: Annotation | np.ndarray,
    slices: Iterable[int] | None = None,
    axis: int = 0,
    classes: int | None = None,
    *,
    fraction: float | None = None,
    seed: int | None = None,
) -> Annotation:
    """Keep the annotation on some slices; a voxel on any other slice may be every class.

    Works on top of any annotation, or on complete labels if `classes` says how many there are.
    Slices lie across `axis`. They are either given by index, or drawn at random without
    replacement: `fraction` of all of them, rounded and at least one, by `seed`.
    Raises InputError on an unknown axis or slice, a fraction outside (0, 1], both or neither way
    of choosing slices, a fraction without seed, labels without `classes`, or `classes` other than
    the annotation's.
    """
    codes, sets = _as_annotation(annotation_or_labels, classes)
    axis = _axis_of(codes, axis)
    kept = _kept_slices(codes.shape[axis], slices, fraction, seed)
    sets, nothing_known = _with_all_classes(sets)
    sparse = np.full_like(codes, nothing_known)
    here = (slice(None),) * axis + (kept,)
    sparse[here] = codes[here]
    return Annotation(sparse, sets)


def slices_as_they_show(
    labels: np.ndarray, slices: Iterable[int], axis: int, classes: int
) -> Annotation:
    """Annotate some slices, of each the structures that it shows (Chen et al. 2024, released code).

    A voxel without a label may be background or any structure that its own slice does not show; in
    a slice that shows none, as in one that is not drawn, it may be every class. That is code 0,
    code c is {c}, and the codes behind these are the sets of such slices, the commonest first. No
    more than MAX_SETS - 1 sets are made, so that one can be added: of more, the rarest become one,
    of every class that any of them has.
    Raises InputError on labels outside 0..classes-1, more classes than leave a set for a slice, and
    on an unknown axis or slice.
    """
    _check_labels(labels, classes)
    room = MAX_SETS - 1 - classes
    if room < 1:
        raise InputError(
            f"classes: {classes} given, expected at most {MAX_SETS - 2} where slices have sets of "
            "their own; merge some"
        )
    kept = _kept_slices(labels.shape[_axis_of(labels, axis)], slices, None, None)
    planes = np.moveaxis(labels, axis, 0)
    shown = [frozenset(np.unique(planes[k]).tolist()) - {0} for k in kept]
    sets = singletons(classes)
    sets[0] = True
    code_of = {frozenset(): 0}
    counted = Counter(shows for shows in shown if shows)
    for place, (shows, _) in enumerate(sorted(counted.items(), key=_commonest_first)):
        if place < room:
            sets = np.vstack([sets, [c not in shows for c in range(classes)]])
        else:
            sets[-1, [c for c in range(classes) if c not in shows]] = True
        code_of[shows] = len(sets) - 1
    codes = np.zeros(labels.shape, dtype=np.uint8)
    drawn = np.moveaxis(codes, axis, 0)
    for k, shows in zip(kept, shown, strict=True):
        drawn[k] = np.where(planes[k] == 0, code_of[shows], planes[k])
    return Annotation(codes, sets)


def _commonest_first(item: tuple[frozenset[int], int]) -> tuple[int, list[int]]:
    shows, times = item
    return -times, sorted(shows)


def unlabelled(shape: Sequence[int], classes: int) -> Annotation:
    """Return the annotation of a scan of which nothing is known: one set, every class."""
    _check_classes(classes)
    return Annotation(np.zeros(tuple(shape), dtype=np.uint8), all_classes(classes)[None])


def as_declared(annotation: Annotation, declared: Iterable[int]) -> Annotation:
    """The annotation of a scan in whose labels only the classes `declared` could occur.

    Where its labels say background, there may be any structure that was never asked for: every set
    with the background in it gains the classes that are not declared, and sets of these alone
    become padding: nobody looked for them. Raises InputError on unknown class ids.
    """
    codes, sets = annotation
    known = _check_class_ids(declared, sets.shape[1], "declared")
    never_asked = [c for c in range(1, sets.shape[1]) if c not in known]
    widened = sets.copy()
    widened[np.ix_(sets[:, 0], never_asked)] = True
    widened[~sets[:, 0] & ~sets[:, known].any(axis=1)] = False
    return Annotation(codes, widened)


def _partition(labels: np.ndarray, groups: list[list[int]], classes: int) -> Annotation:
    """Annotate with disjoint `groups` of classes that cover all of them; group k gets code k."""
    sets = np.zeros((len(groups), classes), dtype=bool)
    code_of_class = np.zeros(classes, dtype=np.uint8)
    for code, group in enumerate(groups):
        sets[code, group] = True
        code_of_class[group] = code
    return Annotation(code_of_class[labels], sets)


def _groups(merged: Iterable[int] | Iterable[Iterable[int]]) -> list[Iterable[int]]:
    groups = list(merged)
    return [groups] if all(isinstance(c, Integral) for c in groups) else groups


def _with_all_classes(sets: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the table with a row of all classes in it, and that row's code."""
    full = np.flatnonzero(sets.all(axis=1))
    if full.size:
        return sets, int(full[0])
    if len(sets) == MAX_SETS:
        raise InputError(
            f"the annotation has {MAX_SETS} label sets already and none of them is 'every class': "
            f"expected at most {MAX_SETS - 1} before slices are dropped; merge or drop some"
        )
    return np.vstack([sets, all_classes(sets.shape[1])]), len(sets)


def _as_annotation(annotation_or_labels: Annotation | np.ndarray, classes: int | None):
    if not isinstance(annotation_or_labels, Annotation):
        if classes is None:
            raise InputError(
                "classes: missing; labels need the number of classes, background included"
            )
        return complete(annotation_or_labels, classes)
    if classes not in (None, annotation_or_labels.sets.shape[1]):
        raise InputError(
            f"classes: {classes} given, but the annotation has "
            f"{annotation_or_labels.sets.shape[1]}; leave it out for an annotation"
        )
    return annotation_or_labels


def _axis_of(volume: np.ndarray, axis: int) -> int:
    """The axis, counted from the first one."""
    if not isinstance(axis, Integral) or not -volume.ndim <= axis < volume.ndim:
        raise InputError(
            f"axis: {axis!r} is not an axis of a volume of shape {volume.shape}; expected a whole "
            f"number from 0 to {volume.ndim - 1}"
        )
    return axis % volume.ndim


def _kept_slices(count: int, slices, fraction, seed) -> np.ndarray:
    if (slices is None) == (fraction is None):
        raise InputError("slices, fraction: expected exactly one of the two")
    if slices is not None:
        kept = list(slices)
        whole = all(isinstance(k, Integral) and not isinstance(k, bool) for k in kept)
        if not whole or not all(0 <= k < count for k in kept):
            raise InputError(
                f"slices: {kept} are not all slices of this volume, expected whole numbers from 0 "
                f"to {count - 1}"
            )
        return np.array(kept, dtype=int)
    if not 0 < fraction <= 1:
        raise InputError(f"fraction: {fraction} given, expected more than 0 and at most 1")
    if seed is None:
        raise InputError("seed: missing; slices drawn by fraction need one to be reproducible")
    number = max(1, round(fraction * count))
    return np.sort(np.random.default_rng(seed).choice(count, number, replace=False))


def _check_classes(classes: int) -> None:
    if not isinstance(classes, Integral) or not 1 <= classes <= MAX_SETS:
        raise InputError(
            f"classes: {classes!r} given, expected a whole number from 1 to {MAX_SETS} that counts "
            "the background"
        )


def _check_labels(labels: np.ndarray, classes: int) -> None:
    _check_classes(classes)
    if not np.issubdtype(labels.dtype, np.integer):
        raise InputError(f"labels are {labels.dtype}, expected integer class ids; round them first")
    if labels.size and not (labels.min() >= 0 and labels.max() < classes):
        strange = np.unique(labels[(labels < 0) | (labels >= classes)]).tolist()
        raise InputError(
            f"labels hold {strange[:10]}, expected class ids 0 to {classes - 1}; map raw label "
            "values to class ids first"
        )


def _check_class_ids(ids: Iterable[int], classes: int, key: str) -> list[int]:
    ids = set(ids)
    unknown = [c for c in ids if not isinstance(c, Integral) or not 0 <= c < classes]
    if unknown:
        raise InputError(
            f"{key}: {unknown} are not class ids, expected whole numbers from 0 to {classes - 1}"
        )
    return sorted(int(c) for c in ids)
