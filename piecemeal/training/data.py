"""Slices of an annotated cohort as batches of images, codes and label sets."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from piecemeal import labelsets
from piecemeal.datasets.store import read_cases
from piecemeal.errors import InputError


@dataclass(frozen=True)
class Batch:
    """`images` (B, 1, H, W) float32; `codes` (B, H, W) uint8, rows of `sets` (B, K, C) bool."""

    images: Tensor
    codes: Tensor
    sets: Tensor

    def to(self, device: torch.device, memory_format: torch.memory_format) -> Batch:
        """The same batch on `device`, the images in `memory_format`."""
        images = self.images.to(device, non_blocking=True, memory_format=memory_format)
        return Batch(images, *(t.to(device, non_blocking=True) for t in (self.codes, self.sets)))


class SliceData:
    """All slices of one split ("train" or "validation"), read from memory maps.

    prepared, annotated: the two folders of the cohort; classes: background included.
    Raises InputError if the annotation leaves the split empty.
    """

    def __init__(self, prepared: Path, annotated: Path, split: str, classes: int):
        scans = read_cases(annotated)
        scans = scans[scans["split"] == split]
        if scans.empty:
            raise InputError(
                f"{annotated / 'cases.csv'}: no case of the split '{split}' is left; the "
                "annotation drops all of them: enlarge the split or change the annotation"
            )
        protocols = json.loads((annotated / "sets.json").read_text(encoding="utf-8"))
        self._images, self._codes, self._labels = [], [], []
        self._index: list[tuple[int, int]] = []
        tables = [_table(protocols[p], classes) for p in scans["protocol"]]
        for number, row in enumerate(scans.itertuples(index=False)):
            place = Path(row.dataset) / row.scan
            self._images.append(np.load(prepared / place / "image.npy", mmap_mode="r"))
            self._codes.append(np.load(annotated / place / "codes.npy", mmap_mode="r"))
            self._labels.append(np.load(prepared / place / "labels.npy", mmap_mode="r"))
            self._index += [(number, z) for z in range(len(self._codes[-1]))]
        self._sets = labelsets.pad(tables)

    def __len__(self) -> int:
        return len(self._index)

    def batch(self, indices: np.ndarray) -> Batch:
        """The slices at `indices`, in that order."""
        places = [self._index[i] for i in indices]
        return Batch(
            torch.from_numpy(np.stack([self._images[s][z] for s, z in places]))[:, None],
            torch.from_numpy(np.stack([self._codes[s][z] for s, z in places])),
            torch.from_numpy(np.stack([self._sets[s] for s, _ in places])),
        )

    def labels(self, indices: np.ndarray) -> Tensor:
        """True class ids (B, H, W) of these slices: to watch a run by, never to train on."""
        places = [self._index[i] for i in indices]
        return torch.from_numpy(np.stack([self._labels[s][z] for s, z in places]))


def _table(rows: list[list[int]], classes: int) -> np.ndarray:
    table = np.zeros((len(rows), classes), dtype=bool)
    for code, members in enumerate(rows):
        table[code, members] = True
    return table


def batch_at(step: int, samples: int, batch_size: int, seed: int) -> np.ndarray:
    """Indices of the batch of `step` (from 0): epochs of shuffled samples, incomplete batches left.

    A function of the step alone, so a run that goes on after a kill draws what it would have drawn.
    """
    size = min(batch_size, samples)
    per_epoch = samples // size
    epoch, position = divmod(step, per_epoch)
    order = np.random.default_rng([seed, epoch]).permutation(samples)
    return order[position * size : (position + 1) * size]
