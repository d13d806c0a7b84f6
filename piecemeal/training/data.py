"""Samples of an annotated cohort as batches of images, codes and label sets."""

from __future__ import annotations

import mmap
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from piecemeal import labelsets
from piecemeal.annotations import VIEWS
from piecemeal.errors import InputError
from piecemeal.set_softmax import padding_as_unknown
from piecemeal.training.cases import Case
from piecemeal.training.runtime import STOP_SIGNALS
from piecemeal.training.sampler import Sampler
from piecemeal.training.window import NONE_SHOWN, Draw, Window, read_window

if TYPE_CHECKING:  # one knows the other's Batch
    from piecemeal.methods._base import Method
    from piecemeal.training.augmentation import Augmentation


PREFETCHED = 2  # batches a worker has ready
WHOLE = -1  # in Batch.views, beside the axes of annotations.VIEWS


@dataclass(frozen=True)
class Batch:
    """`images` (B, channels, *space) float32; `codes` (B, *space) uint8, rows of `sets`.

    `sets` (B, K, C) bool; space is (H, W) for slices and (Z, Y, X) for patches. `views` (B,) int8:
    the axis of (Z, Y, X) that the slices lie across which alone were drawn on, -1 if it was the
    whole scan, as it is by default. `shown` (B,) int16: the class that each sample was drawn to
    show, -1 for none, as by default. All but images and codes stays with the CPU, so that reading
    it waits for no device.
    """

    images: Tensor
    codes: Tensor
    sets: Tensor
    views: Tensor | None = None
    shown: Tensor | None = None

    def __post_init__(self) -> None:
        if self.views is None:
            whole = torch.full((len(self.images),), WHOLE, dtype=torch.int8)
            object.__setattr__(self, "views", whole)
        if self.shown is None:
            none = torch.full((len(self.images),), NONE_SHOWN, dtype=torch.int16)
            object.__setattr__(self, "shown", none)

    def to(self, device: torch.device, memory_format: torch.memory_format) -> Batch:
        """Images and codes on `device`, the images in `memory_format`; the rest as it is."""
        images = self.images.to(device, non_blocking=True, memory_format=memory_format)
        codes = self.codes.to(device, non_blocking=True)
        return Batch(images, codes, self.sets, self.views, self.shown)

    def sets_for(self, method: Method) -> Tensor:
        """The label sets: padding may be every class unless the method `wants_padding`."""
        return self.sets if method.wants_padding else padding_as_unknown(self.sets)

    def wanted_by(self, method: Method) -> dict[str, Tensor]:
        """What `training_loss` of the method asks for by name (`wants_...`)."""
        named = {"views": self.views, "shown": self.shown, "tables": self.sets_for(method)}
        return {name: named[name] for name in named if getattr(method, f"wants_{name}")}

    def copy(self, pinned: bool) -> Batch:
        """A copy; `pinned` to memory from which a GPU copies by itself."""
        return Batch(*(torch.empty_like(f, pin_memory=pinned).copy_(f) for f in self.fields))

    @property
    def fields(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """images, codes, sets, views and shown."""
        return self.images, self.codes, self.sets, self.views, self.shown


class Samples:
    """Windows of cases. Raises InputError if the planes of slices differ between the cases.

    margin: voxels (z, y, x) that a patch has more on either side; slices have none. Outside a case
    the image is 0, its mean, as on the rest of the cohort's grid; the set has no class (padding),
    and the labels are background.
    """

    def __init__(
        self, cases: Sequence[Case], window: Window, margin: tuple[int, int, int] = (0, 0, 0)
    ):
        self.cases, self.window, self.margin = cases, window, margin
        self.classes = cases[0].sets.shape[1]
        tables = [case.sets for case in cases]
        if window.is_slice:
            self._check_planes()
        else:
            tables = [_with_padding(case) for case in cases]
        self._sets = labelsets.pad(tables)
        self._outside = [len(case.sets) for case in cases]

    def _check_planes(self) -> None:
        expected = self.window.whole().space
        for case in self.cases:
            if case.image.shape[1:] != expected:
                raise InputError(
                    f"{case.dataset}/{case.scan}: its slices are {case.image.shape[1:]}, those of "
                    f"others {expected}; expected one size, use patches for others"
                )

    def every(self) -> list[Draw]:
        """All slices, or windows that hold every voxel of every case once, case by case."""
        shapes = [case.image.shape for case in self.cases]
        return [Draw(i, c) for i, s in enumerate(shapes) for c in self.window.tiles(s)]

    def batch(self, draws: Sequence[Draw]) -> Batch:
        """The samples of `draws`, in that order."""
        images = torch.empty((len(draws), self.window.channels, *self._space))
        for row, draw in zip(images.numpy(), draws, strict=True):
            image, corner = self.cases[draw.case].image, draw.corner
            if self.window.is_slice:
                plane = self._plane(corner)
                for channel, z in zip(row, range(corner[0], corner[0] + len(row)), strict=True):
                    channel[...] = image[(min(max(z, 0), len(image) - 1), *plane)]
            else:
                read_window(image, self._before(corner), row[0], 0)
        codes = self._maps(draws, [case.codes for case in self.cases], self._outside)
        sets = torch.from_numpy(self._sets[[draw.case for draw in draws]])
        shown = torch.tensor([draw.shown for draw in draws], dtype=torch.int16)
        return Batch(images, codes, sets, self._views(draws), shown)

    def _views(self, draws: Sequence[Draw]) -> Tensor:
        """Views of the samples; one of slices has no axis that others could lie across."""
        shown = ["" if self.window.is_slice else self.cases[draw.case].view for draw in draws]
        return torch.tensor([VIEWS.get(view, WHOLE) for view in shown], dtype=torch.int8)

    def _plane(self, corner: Sequence[int]) -> tuple[slice, slice]:
        """Rows and columns of the slice that a sample at `corner` shows."""
        y, x = (
            slice(low, low + side) for low, side in zip(corner[1:], self.window.space, strict=True)
        )
        return y, x

    def labels(self, draws: Sequence[Draw]) -> Tensor:
        """True class ids (B, *space), uint8: to watch a run by, never to train on.

        Raises InputError if a case has none.
        """
        for number in {draw.case for draw in draws}:
            if self.cases[number].labels is None:
                one = self.cases[number]
                raise InputError(
                    f"{one.dataset}/{one.scan}: has no labels to compare with; leave it out of the "
                    "validation split"
                )
        labels = [case.labels for case in self.cases]
        return self._maps(draws, labels, [0] * len(labels))

    def undeclared(self, draws: Sequence[Draw], classes: int) -> Tensor:
        """Which classes the labels of each sample do not tell from background: (B, C) bool."""
        rows = torch.zeros(len(draws), classes, dtype=torch.bool)
        for row, draw in zip(rows, draws, strict=True):
            row[list(self.cases[draw.case].undeclared)] = True
        return rows

    def _maps(self, draws: Sequence[Draw], volumes: list[np.ndarray], outside: list[int]) -> Tensor:
        maps = torch.empty((len(draws), *self._space), dtype=torch.uint8)
        for row, draw in zip(maps.numpy(), draws, strict=True):
            volume, corner = volumes[draw.case], draw.corner
            if self.window.is_slice:
                z = corner[0] + self.window.neighbours
                row[...] = volume[(z, *self._plane(corner))]
            else:
                read_window(volume, self._before(corner), row, outside[draw.case])
        return maps

    @property
    def _space(self) -> tuple[int, ...]:
        """What is read of a sample, with the margin of a patch."""
        more = [0, 0] if self.window.is_slice else self.margin
        return tuple(size + 2 * m for size, m in zip(self.window.space, more, strict=True))

    def _before(self, corner: Sequence[int]) -> list[int]:
        """Lowest voxel that is read with the patch at `corner`."""
        return [low - more for low, more in zip(corner, self.margin, strict=True)]


def _with_padding(case: Case) -> np.ndarray:
    """The case's table and a row without any class, for what lies outside."""
    if len(case.sets) == labelsets.MAX_SETS:
        raise InputError(
            f"{case.dataset}/{case.scan}: its annotation has {labelsets.MAX_SETS} label sets; "
            "patches need one more for what lies outside the scan: merge some"
        )
    return np.pad(case.sets, ((0, 1), (0, 0)))


class StepBatches(Dataset):
    """The batches of a run by step: the samples of `rows` of the effective batch.

    Where the augmentation mixes samples, the partners of the rows follow them.
    """

    def __init__(
        self, samples: Samples, sampler: Sampler, rows: range, augmentation: Augmentation | None
    ):
        self.samples, self.sampler, self.rows = samples, sampler, rows
        self.augmentation = augmentation

    def __getitem__(self, step: int) -> Batch:
        draws = self.sampler.at(step)
        chosen = list(self.rows)
        if self.augmentation is not None:
            partners = self.augmentation.partners(step, self.sampler.size)
            if partners is not None:
                chosen += [int(partners[row]) for row in self.rows]
        return self.samples.batch([draws[row] for row in chosen])


def loader(
    batches: StepBatches, start: int, stop: int, workers: int, device: torch.device
) -> Iterator[Batch]:
    """The batches of the steps from `start` to before `stop`, read ahead by `workers` processes.

    They are the same for any number of workers; with 0 this process reads them itself. torch gives
    every worker one thread. For a GPU they lie in pinned memory.
    """
    pinned = device.type == "cuda"
    if not workers or start >= stop:
        for step in range(start, stop):
            yield batches[step].copy(pinned) if pinned else batches[step]
        return
    # While one slot is copied from, every worker may fill all that it may have ready.
    shared = _SharedBatches(batches, batches[start], slots=workers * PREFETCHED + 1)
    slots = DataLoader(
        shared,
        batch_size=None,
        sampler=range(start, stop),
        num_workers=workers,
        prefetch_factor=PREFETCHED,
        worker_init_fn=_begin_worker,
        # Forked workers share memory and memory maps; sent to a process a map becomes a copy.
        multiprocessing_context="fork",
        # Its own, as the loader draws a number that nobody uses.
        generator=torch.Generator(),
    )
    for slot in slots:
        yield shared.batch(slot).copy(pinned)


class _SharedBatches(Dataset):
    """Batches in memory that the workers share with the run, used again and again.

    torch's own way, new shared memory for every batch, spends most of its time on page faults with
    3D patches, and does not fit the 64 MB of /dev/shm that containers have by default.
    """

    def __init__(self, batches: StepBatches, like: Batch, slots: int):
        self.batches, self.slots = batches, slots
        self._fields = [self._shared(field) for field in like.fields]

    def _shared(self, like: Tensor) -> Tensor:
        memory = mmap.mmap(-1, self.slots * like.nbytes)
        return torch.frombuffer(memory, dtype=like.dtype).view(self.slots, *like.shape)

    def __getitem__(self, step: int) -> int:
        slot = step % self.slots
        for field, values in zip(self._fields, self.batches[step].fields, strict=True):
            field[slot].copy_(values)
        return slot

    def batch(self, slot: int) -> Batch:
        """The batch in a slot, until the slot is used again."""
        return Batch(*(field[slot] for field in self._fields))


def _begin_worker(_: int) -> None:
    """Let signals to stop end a worker only if they come from the run itself.

    Those from outside often go to every process of a job. The run then finishes its step and saves,
    and would fail if its workers were gone. The run's own handlers, which a worker inherits, only
    take note: with them a worker would not end at all.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    if sys.platform == "linux":
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        threading.Thread(target=_end_when_the_run_asks, daemon=True).start()


def _end_when_the_run_asks() -> None:
    while signal.sigwaitinfo(STOP_SIGNALS).si_pid != os.getppid():
        pass
    os._exit(0)
