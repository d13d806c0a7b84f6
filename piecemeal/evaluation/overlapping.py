"""Measures of structures that may cover each other, in bit masks instead of class ids.

Each structure is compared as if it were alone, so where several are counts for all of them.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from piecemeal.bitmasks import MOST, bit, pack
from piecemeal.evaluation.components import largest_component


def bit_by_bit(
    measure: Callable[..., pd.DataFrame],
    prediction: np.ndarray,
    reference: np.ndarray,
    labels: Mapping[int, str],
    *arguments: Any,
    **options: Any,
) -> pd.DataFrame:
    """The rows that `measure` gives of each structure alone, in the order of `labels`.

    measure: `metrics.evaluate` or `slices.slice_distances`; prediction, reference: bit masks of one
    shape (see `bitmasks`); labels: bit -> name of its structure; the others: for `measure`. Raises
    InputError on volumes that are not uint8, and as `measure` does.
    """
    if not labels:
        return measure(_alone(prediction, 0), _alone(reference, 0), {}, *arguments, **options)
    rows = [
        measure(_alone(prediction, k), _alone(reference, k), {1: name}, *arguments, **options)
        for k, name in labels.items()
    ]
    return pd.concat(rows, ignore_index=True)


def largest_components(volume: np.ndarray, bits: Iterable[int]) -> np.ndarray:
    """`components.largest_component` of the structures of these bits; the others stay as they are.

    volume: a bit mask. Returns a new one of the same shape.
    """
    kept = set(bits)
    alone = [_alone(volume, k) for k in range(MOST)]
    cleaned = [largest_component(a, [1]) if k in kept else a for k, a in enumerate(alone)]
    return pack([mask > 0 for mask in cleaned])


def _alone(volume: np.ndarray, k: int) -> np.ndarray:
    """A bit as class ids: 1 where it is set, 0 elsewhere."""
    return bit(volume, k).astype(np.uint8)
