"""Which samples a step sees: the samplers by name, and those that know no hierarchy."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from piecemeal.errors import InputError
from piecemeal.training.cases import Case
from piecemeal.training.hierarchical import (
    ClassModalityDataset,
    Hybrid,
    ModalityDatasetClass,
)
from piecemeal.training.sampler import Sampler
from piecemeal.training.window import Draw, Window

log = logging.getLogger(__name__)


class Epochs(Sampler):
    """Every slice once, in random order, then again; incomplete batches are left out.

    Patches: every case once, at a random place. No batch is larger than there are samples.
    """

    def __init__(self, cases: Sequence[Case], window: Window, batch_size: int, seed: int):
        super().__init__(cases, window, batch_size, seed)
        each = [len(case.image) if window.is_slice else 1 for case in cases]
        self._starts = np.cumsum([0, *each])  # number of each case's first sample
        self._samples = int(self._starts[-1])
        self.size = min(batch_size, self._samples)
        self._shuffled: tuple[int | None, np.ndarray] = (None, np.empty(0))

    def at(self, step: int) -> list[Draw]:
        """The samples of `step` (from 0), one a row."""
        epoch, position = divmod(step, self._samples // self.size)
        samples = self._order(epoch)[position * self.size : (position + 1) * self.size]
        cases = (np.searchsorted(self._starts, samples, side="right") - 1).tolist()
        if self.window.is_slice:
            parts = self.window.plane is not None  # whole slices leave nothing to draw
            return [
                Draw(
                    case,
                    self.window.around(
                        [sample - self._starts[case]],
                        self._generator(step, row) if parts else None,
                    ),
                )
                for row, (case, sample) in enumerate(zip(cases, samples, strict=True))
            ]
        return [self._anywhere(case, self._generator(step, row)) for row, case in enumerate(cases)]

    def _order(self, epoch: int) -> np.ndarray:
        if self._shuffled[0] != epoch:  # kept, as shuffling all slices takes longer than a batch
            rng = np.random.default_rng([self.seed, epoch])
            self._shuffled = (epoch, rng.permutation(self._samples))
        return self._shuffled[1]


class RandomCases(Sampler):
    """A random case, a window centred on a random voxel of it; of slices, a random one.

    "Random" of Chen et al. (CVPR 2024, section 4.2), whose windows may leave the scan.
    """

    def _draw(self, row: int, rng: np.random.Generator) -> Draw:
        case = int(rng.integers(len(self.cases)))
        if self.window.is_slice:
            return self._anywhere(case, rng)
        return Draw(case, self.window.around(rng.integers(self.cases[case].image.shape)))


class Tasks(Sampler):
    """A random task of those of the cases, then a random slice of its cases (or place in one).

    Every task is seen as often as any other, however many slices it has. whole_batches: all rows of
    a step are of one task, as for a network that learns it alone.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        window: Window,
        batch_size: int,
        seed: int,
        whole_batches: bool = False,
    ):
        super().__init__(cases, window, batch_size, seed)
        self._whole_batches = whole_batches
        of_task: dict[str, list[int]] = {}
        for number, case in enumerate(cases):
            of_task.setdefault(case.task, []).append(number)
        self._tasks = [of_task[name] for name in sorted(of_task)]
        self._ends = [
            np.cumsum([len(cases[number].image) if window.is_slice else 1 for number in numbers])
            for numbers in self._tasks
        ]

    def at(self, step: int) -> list[Draw]:
        """The samples of `step` (from 0), one a row."""
        task = None
        if self._whole_batches:
            # The last number keeps it apart from the streams of rows and epochs.
            rng = np.random.default_rng([self.seed, step, 0, 2])
            task = int(rng.integers(len(self._tasks)))
        return [self._of(task, self._generator(step, row)) for row in range(self.size)]

    def _of(self, task: int | None, rng: np.random.Generator) -> Draw:
        task = int(rng.integers(len(self._tasks))) if task is None else task
        ends = self._ends[task]
        place = int(np.searchsorted(ends, sample := rng.integers(ends[-1]), side="right"))
        case = self._tasks[task][place]
        if not self.window.is_slice:
            return self._anywhere(case, rng)
        return Draw(case, self.window.around([sample - (ends[place - 1] if place else 0)], rng))


class Foreground(Sampler):
    """A random case; the last `fraction` of the rows are centred on a random class of it.

    As nnU-Net does (Isensee et al., Nature Methods 2021; nnunetv2/training/dataloading/
    data_loader.py), which chooses among the classes that the case shows, then among its voxels, and
    takes any place where the case shows none. There a window that leaves the case at its lower
    faces is moved back inside; here it stays centred. by_chance: each row is centred so with
    probability `fraction` instead, as in DoDNet's released code (Zhang et al., CVPR 2021): of a
    batch of 2, no number of last rows is four fifths.
    """

    def __init__(
        self,
        cases,
        window: Window,
        batch_size: int,
        seed: int,
        fraction: float,
        by_chance: bool = False,
    ):
        super().__init__(cases, window, batch_size, seed)
        if not 0 <= fraction <= 1:
            raise InputError(f"sampler: fraction: {fraction} given, expected a number from 0 to 1")
        self._first = batch_size - round(fraction * batch_size)
        self._chance = fraction if by_chance else None
        self._structures = [sorted(case.named.keys() - {0}) for case in cases]

    def _draw(self, row: int, rng: np.random.Generator) -> Draw:
        case = int(rng.integers(len(self.cases)))
        structures = self._structures[case]
        centred = row >= self._first if self._chance is None else rng.random() < self._chance
        if not centred or not structures:
            return self._anywhere(case, rng)
        return self._showing(case, structures[rng.integers(len(structures))], rng)


class Alternating(Sampler):
    """Data sets take turns, a batch each, as in the released code of Li et al. (2023).

    A labelled row is a random labelled case, in any slice that shows a random one of its structures
    (a window centred on it). A share `unlabelled` of the rows, spread evenly so that every process
    has its part, is of random cases of the same data set of which nothing is known, from the
    `middle` slices above and below their middle one (None: from anywhere). least: class by class,
    background included, the share of the plane that it has to exceed in a slice, unless it does so
    in none of the case; classes beyond need only be there. Their code alternates by epochs, which
    are a batch or a few long. Raises InputError if a data set has no labelled case, or no
    unlabelled one though asked for.
    """

    def __init__(
        self,
        cases,
        window: Window,
        batch_size: int,
        seed: int,
        unlabelled: float = 0.0,
        middle: int | None = None,
        least: Sequence[float] = (),
    ):
        super().__init__(cases, window, batch_size, seed)
        self._least = dict(enumerate(least))
        total = np.floor(np.arange(batch_size + 1) * unlabelled + 1e-6)
        self._is_labelled, self._middle = np.diff(total) == 0, middle
        self._structures = [sorted(case.named.keys() - {0}) for case in cases]
        self._names = sorted({case.dataset for case in cases})
        self._cases: dict[tuple[str, bool], list[int]] = {}
        for number, case in enumerate(cases):
            self._cases.setdefault((case.dataset, case.is_labelled), []).append(number)
        for labelled in (True, False) if unlabelled else (True,):
            if absent := [name for name in self._names if (name, labelled) not in self._cases]:
                raise InputError(
                    f"sampler: alternating: the training cases of {', '.join(absent)} are all "
                    f"{'un' if labelled else ''}labelled; enlarge the split, change the annotation,"
                    " or set sampler.unlabelled to 0"
                )

    def at(self, step: int) -> list[Draw]:
        """The samples of `step` (from 0), one a row, all of one data set."""
        name = self._names[step % len(self._names)]
        draws = []
        for row in range(self.size):
            rng, labelled = self._generator(step, row), bool(self._is_labelled[row])
            cases = self._cases[name, labelled]
            case = cases[rng.integers(len(cases))]
            draws.append(self._labelled(case, rng) if labelled else self._unlabelled(case, rng))
        return draws

    def _labelled(self, case: int, rng: np.random.Generator) -> Draw:
        if not (structures := self._structures[case]):
            return self._anywhere(case, rng)
        wanted = structures[rng.integers(len(structures))]
        return self._showing(case, wanted, rng, self._least.get(wanted, 0.0))

    def _unlabelled(self, case: int, rng: np.random.Generator) -> Draw:
        slices = len(self.cases[case].image)
        if self._middle is None or not self.window.is_slice:
            return self._anywhere(case, rng)
        low, high = max(slices // 2 - self._middle, 0), min(slices // 2 + self._middle, slices - 1)
        return Draw(case, self.window.around([rng.integers(low, high + 1)], rng))


# Name -> the sampler, the options that it needs, and those that it may have.
SAMPLERS: dict[str, tuple[type[Sampler], set[str], set[str]]] = {
    "epochs": (Epochs, set(), set()),
    "cases": (RandomCases, set(), set()),
    "tasks": (Tasks, set(), {"whole_batches"}),
    "foreground": (Foreground, {"fraction"}, {"by_chance"}),
    "alternating": (Alternating, set(), {"unlabelled", "middle", "least"}),
    "class_modality_dataset": (ClassModalityDataset, set(), {"background", "temperature"}),
    "modality_dataset_class": (ModalityDatasetClass, set(), {"background", "temperature"}),
    "hybrid": (Hybrid, set(), {"background", "temperature"}),
}


def build_sampler(
    settings: dict[str, Any], cases: Sequence[Case], window: Window, batch_size: int, seed: int
) -> Sampler:
    """The sampler of a run: `settings` is {"name": one of SAMPLERS, ... its options}.

    Logs how often it is expected to draw from each data set and modality, where that was thought
    of. Raises InputError on an unknown name, an option that is missing, unknown or out of range.
    """
    options = {key: value for key, value in settings.items() if key != "name"}
    if settings["name"] not in SAMPLERS:
        raise InputError(
            f"sampler: there is no '{settings['name']}'; known: {', '.join(sorted(SAMPLERS))}"
        )
    kind, needed, possible = SAMPLERS[settings["name"]]
    if not needed <= options.keys() <= needed | possible:
        raise InputError(
            f"sampler: {settings['name']} takes {sorted(needed | possible)} (needed: "
            f"{sorted(needed)}), found {sorted(options)}; correct it"
        )
    sampler = kind(cases, window, batch_size, seed, **options)
    if shares := sampler.shares():
        commonest = sorted(shares.items(), key=lambda item: (-round(item[1], 6), item[0]))
        said = (f"{' '.join(source)} {100 * share:.1f} %" for source, share in commonest)
        log.info("expected shares of the samples: %s", ", ".join(said))
    return sampler
