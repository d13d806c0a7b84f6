"""Which samples a step sees: windows of cases, drawn by the run's seed, the step and the row.

Nothing else decides a draw: not the number of processes, not what was drawn before. So a run that
goes on after a kill draws what it would have drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from piecemeal.errors import InputError
from piecemeal.training.cases import Case


class Draw(NamedTuple):
    """One sample: the number of the case and the lowest voxel (z, y, x) of the window.

    What lies outside the case is padding, so the voxel may be negative. For slices it is the lowest
    neighbour; what lies outside is the edge slice again.
    """

    case: int
    corner: tuple[int, int, int]


@dataclass(frozen=True)
class Window:
    """The part of a case that one sample reads.

    shape: (z, y, x) of the image; for slices z counts the neighbours in, which become channels.
    """

    shape: tuple[int, int, int]
    is_slice: bool
    neighbours: int = 0

    @classmethod
    def of(cls, settings: dict[str, Any], cases: Sequence[Case]) -> Window:
        """The window that a run's `input` asks for: a patch, or slices of the cases' planes."""
        if settings["kind"] == "patches":
            return cls(tuple(settings["size"]), is_slice=False)
        neighbours = settings["neighbours"]
        return cls((2 * neighbours + 1, *cases[0].image.shape[1:]), True, neighbours)

    @property
    def channels(self) -> int:
        """Channels of a sample's image."""
        return 2 * self.neighbours + 1

    @property
    def space(self) -> tuple[int, ...]:
        """(H, W) of a slice, (Z, Y, X) of a patch."""
        return self.shape[1:] if self.is_slice else self.shape

    def around(self, voxel: Sequence[int]) -> tuple[int, int, int]:
        """Corner of the window centred on `voxel` (z, y, x); of the slice that holds it."""
        if self.is_slice:
            return int(voxel[0]) - self.neighbours, 0, 0
        return tuple(int(v) - size // 2 for v, size in zip(voxel, self.shape, strict=True))

    def anywhere(self, shape: tuple[int, int, int], rng: np.random.Generator):
        """Corner of a random window inside a case of `shape`, each as likely as any other.

        Along an axis on which the case is smaller, the window is centred.
        """
        if self.is_slice:
            return self.around([rng.integers(shape[0])])
        spare = [have - size for have, size in zip(shape, self.shape, strict=True)]
        return tuple(int(rng.integers(s + 1)) if s > 0 else s // 2 for s in spare)

    def tiles(self, shape: tuple[int, int, int]) -> list[tuple[int, int, int]]:
        """Corners of windows that hold every voxel of a case of `shape` exactly once."""
        if self.is_slice:
            return [self.around([z]) for z in range(shape[0])]
        axes = []
        for have, size in zip(shape, self.shape, strict=True):
            count = -(-have // size)
            start = (have - count * size) // 2  # as much padding before as after
            axes.append(range(start, start + count * size, size))
        return [(z, y, x) for z in axes[0] for y in axes[1] for x in axes[2]]


class Sampler:
    """size: rows of every effective batch. at(step): the draws of the whole effective batch."""

    def __init__(self, cases: Sequence[Case], window: Window, batch_size: int, seed: int):
        self.cases, self.window, self.size, self.seed = cases, window, batch_size, seed

    def at(self, step: int) -> list[Draw]:
        """The samples of `step` (from 0), one a row."""
        return [self._draw(row, self._generator(step, row)) for row in range(self.size)]

    def _generator(self, step: int, row: int) -> np.random.Generator:
        # The last number keeps a row's stream apart from that of an epoch.
        return np.random.default_rng([self.seed, step, row, 1])

    def _draw(self, row: int, rng: np.random.Generator) -> Draw:
        raise NotImplementedError

    def _anywhere(self, case: int, rng: np.random.Generator) -> Draw:
        return Draw(case, self.window.anywhere(self.cases[case].image.shape, rng))

    def _showing(self, case: int, wanted: int, rng: np.random.Generator) -> Draw:
        """A window centred on a random voxel of the class; a random slice that shows it."""
        code, places = self.cases[case].named[wanted], self.cases[case].places
        if self.window.is_slice:
            voxels = np.flatnonzero(places.slices[code])[:, None]
        else:
            voxels = places.voxels(code)
        return Draw(case, self.window.around(voxels[rng.integers(len(voxels))]))


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
            return [
                Draw(case, self.window.around([sample - self._starts[case]]))
                for case, sample in zip(cases, samples, strict=True)
            ]
        return [self._anywhere(case, self._generator(step, row)) for row, case in enumerate(cases)]

    def _order(self, epoch: int) -> np.ndarray:
        if self._shuffled[0] != epoch:  # kept, as shuffling all slices takes longer than a batch
            rng = np.random.default_rng([self.seed, epoch])
            self._shuffled = (epoch, rng.permutation(self._samples))
        return self._shuffled[1]


class RandomCases(Sampler):
    """A random case, a random place in it: "Random" of Chen et al. (CVPR 2024)."""

    def _draw(self, row: int, rng: np.random.Generator) -> Draw:
        return self._anywhere(int(rng.integers(len(self.cases))), rng)


class Foreground(Sampler):
    """A random case; the last `fraction` of the rows are centred on a random class of it.

    As nnU-Net does (Isensee et al., Nature Methods 2021; nnunetv2/training/dataloading/
    data_loader.py), which chooses among the classes that the case shows, then among its voxels, and
    takes any place where the case shows none. There a window that leaves the case at its lower
    faces is moved back inside; here it stays centred.
    """

    def __init__(self, cases, window: Window, batch_size: int, seed: int, fraction: float):
        super().__init__(cases, window, batch_size, seed)
        if not 0 <= fraction <= 1:
            raise InputError(f"sampler: fraction: {fraction} given, expected a number from 0 to 1")
        self._first = batch_size - round(fraction * batch_size)
        self._structures = [sorted(case.named.keys() - {0}) for case in cases]

    def _draw(self, row: int, rng: np.random.Generator) -> Draw:
        case = int(rng.integers(len(self.cases)))
        structures = self._structures[case]
        if row < self._first or not structures:
            return self._anywhere(case, rng)
        return self._showing(case, structures[rng.integers(len(structures))], rng)


class Hierarchical(Sampler):
    """Class, modality and data set in the order of `levels`, then a case, centred on the class.

    Each is drawn uniformly among those that go with what was drawn before it: CMD and MDC of Chen
    et al. (CVPR 2024). background: whether it counts as a class, as it does in their code, so that
    cases without any structure are seen. Raises InputError if no case names a class.
    """

    levels: tuple[str, str, str]

    def __init__(self, cases, window: Window, batch_size: int, seed: int, background: bool = False):
        super().__init__(cases, window, batch_size, seed)
        self._tree: dict = {}
        ways = []
        for number, case in enumerate(cases):
            for named in case.named.keys() - (set() if background else {0}):
                way = {"class": named, "modality": case.modality, "dataset": case.dataset}
                ways.append((*(way[level] for level in self.levels), number))
        if not ways:
            raise InputError(
                "sampler: no training case names a structure alone, so no window can be centred on "
                "one; use the sampler 'cases', or change the annotation"
            )
        for *keys, last, number in sorted(ways):
            node = self._tree
            for key in keys:
                node = node.setdefault(key, {})
            node.setdefault(last, []).append(number)

    def _draw(self, row: int, rng: np.random.Generator) -> Draw:
        node, way = self._tree, {}
        for level in self.levels:
            keys = list(node)
            way[level] = keys[rng.integers(len(keys))]
            node = node[way[level]]
        return self._showing(node[rng.integers(len(node))], way["class"], rng)


class ClassModalityDataset(Hierarchical):
    """CMD: every class is seen as often as any other."""

    levels = ("class", "modality", "dataset")


class ModalityDatasetClass(Hierarchical):
    """MDC: every modality is seen as often as any other."""

    levels = ("modality", "dataset", "class")


# Name -> the sampler, the options that it needs, and those that it may have.
SAMPLERS: dict[str, tuple[type[Sampler], set[str], set[str]]] = {
    "epochs": (Epochs, set(), set()),
    "cases": (RandomCases, set(), set()),
    "foreground": (Foreground, {"fraction"}, set()),
    "class_modality_dataset": (ClassModalityDataset, set(), {"background"}),
    "modality_dataset_class": (ModalityDatasetClass, set(), {"background"}),
}


def build_sampler(
    settings: dict[str, Any], cases: Sequence[Case], window: Window, batch_size: int, seed: int
) -> Sampler:
    """The sampler of a run: `settings` is {"name": one of SAMPLERS, ... its options}.

    Raises InputError on an unknown name, an option that is missing, unknown or out of range.
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
    return kind(cases, window, batch_size, seed, **options)
