"""One binary mask a structure, combined into one volume of labels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

import numpy as np

from piecemeal.datasets.scans import File, Labels
from piecemeal.errors import InputError

# Reads one mask and brings it onto the image: voxels (x, y, z) and notes.
ReadMask = Callable[[File], tuple[np.ndarray, list[str]]]


def combine_masks(
    masks: Iterable[tuple[str, File]], labels: Labels, shape: tuple[int, ...], read: ReadMask
) -> tuple[np.ndarray, list[str]]:
    """Labels (x, y, z) of the wanted masks, and notes; one mask is in memory at a time.

    masks: (name, file), in any order; a name that `labels` has not is not read, one without a file
    is absent in this patient. labels: name -> structure, in writing order: a mask gets its
    position there, from 1, and where masks overlap the later one wins. What is above 0 is inside,
    since some published masks are not quite binary. uint8, or uint16 above 255 masks. Raises
    InputError naming a mask that has voxels which are NaN or infinite.
    """
    files = dict(masks)
    # (z, y, x): picking voxels by a bool array is ten times slower across the memory than along.
    combined = np.zeros(shape[::-1], np.min_scalar_type(len(labels)))
    several = np.zeros(shape[::-1], bool)
    notes: dict[str, list[str]] = defaultdict(list)
    for number, name in enumerate(labels, start=1):
        if name not in files:
            continue
        voxels, own = read(files[name])
        _check_finite(voxels, files[name])
        voxels = voxels.T
        for note in own:
            notes[note].append(name)
        inside = voxels > 0
        # As bytes: numpy compares a bool with a number many times more slowly.
        if stray := np.count_nonzero(inside.view(np.uint8) != voxels):
            notes[f"voxels neither 0 nor 1: {stray}"].append(name)
        several[inside] |= combined[inside] > 0
        combined[inside] = number
    told = [f"{_names(names)}: {note}" for note, names in notes.items()]
    if overlap := np.count_nonzero(several):
        told.append(f"voxels in several masks: {overlap}, the later of `labels` wins")
    return combined.T, told


def _check_finite(voxels: np.ndarray, file: File) -> None:
    """NaN is above nothing: it would count as outside."""
    if voxels.dtype.kind != "f":
        return
    if unusable := voxels.size - int(np.count_nonzero(np.isfinite(voxels))):
        raise InputError(
            f"{file}: {unusable} of {voxels.size} voxels are NaN or infinite, expected 0 and 1; "
            "repair the file or leave the scan out"
        )


def _names(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} masks"
