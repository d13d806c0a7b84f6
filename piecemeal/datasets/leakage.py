"""The same scan in several data sets, and twice in one: found by its voxels, kept out of training.

Public data sets borrow from each other under new names: AbdomenCT-1K holds scans of LiTS, KiTS19,
the Decathlon and NIH Pancreas-CT, FLARE22 some of the Decathlon. A scan that one of them tests on
must not train under another name.
"""

import hashlib
import itertools
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist

SIZE = 32  # voxels of a coarse copy along each axis
RANGE_HU = (-1000.0, 1000.0)
STEP_HU = (RANGE_HU[1] - RANGE_HU[0]) / 255

# Mean absolute difference of coarse copies below which two scans are the same. Measured on 150
# planning CT of OpenKBP: of 11,175 pairs of patients none comes below 54, eight turns of each
# counted; the count falls as the tenth power of the distance, so among the 4.5 million pairs of
# 3,000 scans 0.2 would come below 25. The phantoms keep 45 apart. The same scan, resampled linearly
# to half the pixels or by 0.77 along all axes, stays below 24, cut off at 400 HU below 15, with
# noise of 20 HU below 3. Cropped by more than a few per cent, or windowed to soft tissue, a scan is
# not found again.
THRESHOLD_HU = 25.0

_TURNS = [axes for count in range(4) for axes in itertools.combinations((1, 2, 3), count)]
_POOLED = 8  # voxels along an axis of the copies that most pairs are told apart by
_PAIRS_AT_ONCE = 256

# Where a scan stays that is in several sets.
_KEPT_IN = ("test", "validation", "train")


class Removal(NamedTuple):
    """A patient taken out of a split, and why."""

    dataset: str
    case: str
    reason: str


def fingerprint(image: np.ndarray, modality: str = "CT") -> dict[str, Any]:
    """What a scan is recognised by: {"exact": hex digest, "coarse": uint8 (32, 32, 32)}.

    image: intensities as read (whole numbers), (z, y, x) in canonical orientation. exact: SHA-256
    of shape and voxels. coarse: means over a 32nd of each axis, whatever the voxel size (some
    headers lie about it), of HU clipped to [-1000, 1000]; an MR is first stretched so that its
    percentiles 0.5 and 99.5 come to lie there.
    """
    image = np.asarray(image)
    digest = hashlib.sha256(repr(image.shape).encode())
    along_z, along_y, along_x = (_means(length) for length in image.shape)
    offset, gain = (0.0, 1.0) if modality == "CT" else _stretch(image)
    rows = np.empty((len(image), SIZE, SIZE), np.float32)
    for number, plane in enumerate(image):
        # int16 holds every HU, but not every MR.
        digest.update(np.rint(plane).astype(np.int32).tobytes())
        clipped = np.clip((plane.astype(np.float32) - offset) * gain, *RANGE_HU)
        rows[number] = along_y @ clipped @ along_x.T
    coarse = np.tensordot(along_z, rows, axes=1)
    bytes_ = np.rint((coarse - RANGE_HU[0]) / STEP_HU).astype(np.uint8)
    return {"exact": digest.hexdigest(), "coarse": bytes_}


def find_twins(
    scans: Sequence[tuple[Hashable, str, np.ndarray]], threshold_hu: float = THRESHOLD_HU
) -> list[set]:
    """Groups of keys whose scans are the same, largest first; keys without a twin are left out.

    scans: (key, exact, coarse) as `fingerprint` gives them; a key may have several scans (both
    phases of a patient). Two keys are twins if an exact digest is shared, or if coarse copies are
    on average less than `threshold_hu` apart in one of the eight turns of one of them: a header
    that is wrong about an axis shows the same scan mirrored. Twins of twins are in one group.
    """
    numbers: dict[Hashable, int] = {}
    owner = np.array([numbers.setdefault(key, len(numbers)) for key, _, _ in scans], int)
    if len(numbers) < 2:
        return []
    first: dict[str, int] = {}
    same = [(first.setdefault(exact, index), index) for index, (_, exact, _) in enumerate(scans)]
    near = _near(np.stack([coarse for _, _, coarse in scans]), threshold_hu)
    left, right = owner[np.array([*same, *near]).T]
    links = coo_array((np.ones(len(left)), (left, right)), shape=(len(numbers),) * 2)
    _, group = connected_components(links, directed=False)
    members: dict[int, set] = {}
    for key, number in numbers.items():
        members.setdefault(group[number], set()).add(key)
    return sorted((one for one in members.values() if len(one) > 1), key=len, reverse=True)


def separate(
    cases: pd.DataFrame, twins: Iterable[set[tuple[str, str]]]
) -> tuple[pd.DataFrame, list[Removal]]:
    """The cases with no scan in two sets of the split, and who had to leave.

    cases: columns dataset, case, split and any others; rows may be scans of the same case. twins:
    groups of (dataset, case). A group that is in several sets stays in the test set, or else in the
    validation set, and leaves the others. The table returned has one more column, `patient`: the
    same for all twins.
    """
    split = {(row.dataset, row.case): row.split for row in cases.itertuples()}
    patient = {key: "/".join(key) for key in split}
    removed = {}
    for group in twins:
        there = sorted(key for key in group if key in split)
        if not there:
            continue
        patient |= dict.fromkeys(there, patient[there[0]])
        kept = next(name for name in _KEPT_IN if name in {split[key] for key in there})
        stays = next(key for key in there if split[key] == kept)
        for key in there:
            if split[key] != kept:
                removed[key] = f"the same scan as {'/'.join(stays)}, which is in the {kept} set"
    keys = pd.Series(list(zip(cases.dataset, cases.case, strict=True)), cases.index, dtype=object)
    table = cases.assign(patient=keys.map(patient))[~keys.isin(removed.keys())]
    reasons = [Removal(*key, reason) for key, reason in sorted(removed.items())]
    return table.reset_index(drop=True), reasons


def _means(length: int) -> np.ndarray:
    """Matrix (SIZE, length) that averages over equal shares of an axis; each row sums to one."""
    edges = np.linspace(0, length, SIZE + 1)
    voxels = np.arange(length)
    overlap = np.minimum(edges[1:, None], voxels + 1) - np.maximum(edges[:-1, None], voxels)
    return (overlap.clip(0) * SIZE / length).astype(np.float32)


def _stretch(image: np.ndarray) -> tuple[np.float32, np.float32]:
    """(offset, gain) that map the percentiles 0.5 and 99.5 to the ends of RANGE_HU."""
    low, high = np.percentile(image, [0.5, 99.5])
    gain = (RANGE_HU[1] - RANGE_HU[0]) / max(high - low, np.finfo(np.float32).eps)
    return np.float32(low - RANGE_HU[0] / gain), np.float32(gain)


def _near(coarse: np.ndarray, threshold_hu: float) -> list[tuple[int, int]]:
    """Pairs of scans (indices) closer than the threshold in one of the eight turns.

    Means over blocks, and over the eight turns, of two arrays differ by no more than the arrays, so
    64 numbers a scan tell nearly all pairs apart, and no pair is missed.
    """
    limit = threshold_hu / STEP_HU
    summary = _summary(coarse)
    first, second = [], []
    for start in range(0, len(summary), 512):
        distance = cdist(summary[start : start + 512], summary, "cityblock") / summary.shape[1]
        rows, columns = np.nonzero(distance < limit)
        later = columns > rows + start
        first.append(rows[later] + start)
        second.append(columns[later])
    left, right = np.concatenate(first), np.concatenate(second)
    close = np.zeros(len(left), bool)
    for start in range(0, len(left), _PAIRS_AT_ONCE):
        part = slice(start, start + _PAIRS_AT_ONCE)
        one, other = coarse[left[part]].astype(np.int16), coarse[right[part]]
        for axes in _TURNS:
            close[part] |= np.abs(one - np.flip(other, axes)).mean((1, 2, 3)) < limit
    return list(zip(left[close].tolist(), right[close].tolist(), strict=True))


def _summary(coarse: np.ndarray) -> np.ndarray:
    """Block means averaged over the eight turns, one octant of them: (scans, 64)."""
    block = SIZE // _POOLED
    shape = (len(coarse), _POOLED, block, _POOLED, block, _POOLED, block)
    pooled = coarse.reshape(shape).mean((2, 4, 6))
    for axis in (1, 2, 3):
        pooled = (pooled + np.flip(pooled, axis)) / 2
    half = _POOLED // 2
    return pooled[:, :half, :half, :half].reshape(len(coarse), -1)
