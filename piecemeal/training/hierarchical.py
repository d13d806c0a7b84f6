"""The samplers of Chen et al. (CVPR 2024): class, modality and data set, then a case.

How often a data set is seen follows from the order of these, not from its size: of their eight data
sets, the 54 MR scans of AMOS are 47 % of the samples. `expected_shares` says it beforehand. With a
`temperature` T, which they do not have, the chance of a modality goes as the power 1 / T of its
number of scans: 1 is in proportion, and the higher it is the more alike modalities become.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from piecemeal.errors import InputError
from piecemeal.training.cases import Case
from piecemeal.training.sampler import Sampler, Source
from piecemeal.training.window import Draw, Window

CMD = ("class", "modality", "dataset")
MDC = ("modality", "dataset", "class")


class Row(NamedTuple):
    """What a sampler goes by: a case, its place in the list, and the classes that it is drawn for.

    `classes` holds 0 where the background counts as one of them.
    """

    dataset: str
    modality: str
    classes: Collection[int]
    number: int = 0

    def under(self, level: str) -> Iterable[tuple[int | str, Row]]:
        """The groups of a level that the row is in, and what of it is in each."""
        if level != "class":
            return [(getattr(self, level), self)]
        return [(one, self._replace(classes=(one,))) for one in sorted(self.classes)]


def rows_of(cases: Sequence[Case], background: bool) -> list[Row]:
    """The rows of all cases, in their order."""
    return [
        Row(
            case.dataset,
            case.modality,
            (case.named.keys() - {0}) | ({0} if background and case.empty else set()),
            number,
        )
        for number, case in enumerate(cases)
    ]


def grouped(rows: Iterable[Row], level: str) -> dict[int | str, list[Row]]:
    """The rows of each group of a level, in the groups' order; rows without a class are in none."""
    groups = defaultdict(list)
    for row in rows:
        for key, part in row.under(level):
            groups[key] += [part] if part.classes else []
    return {key: groups[key] for key in sorted(groups) if groups[key]}


def expected_shares(
    rows: Sequence[Row], levels: Sequence[str], temperature: float | None = None
) -> dict[Source, float]:
    """Share of the samples of every data set and modality, to be expected.

    levels: CMD, MDC, or nothing for random cases, whatever their classes; temperature: of the
    modalities, None for equal chances. Empty where no row is in any group.
    """
    shares: dict[Source, float] = defaultdict(float)
    if not levels:
        for row in rows:
            shares[row.dataset, row.modality] += 1 / len(rows)
        return dict(shares)
    groups = list(grouped(rows, levels[0]).values())
    for group, chance in zip(groups, _chances(groups, levels[0], temperature), strict=True):
        for source, share in expected_shares(group, levels[1:], temperature).items():
            shares[source] += share * chance
    return dict(shares)


def _chances(
    groups: Sequence[Sequence[Row]], level: str, temperature: float | None
) -> Sequence[float]:
    """Of each group of a level, by the number of its scans."""
    power = 1 / temperature if temperature and level == "modality" else 0
    weights = np.array([len(group) for group in groups], dtype=float) ** power
    return weights / weights.sum()


class Hierarchy:
    """Class, modality and data set in the order of `levels`, then a row, each drawn uniformly among
    those that go with what was drawn before it; modalities by their `temperature`, if there is one.
    False if there is nothing to draw."""

    def __init__(
        self, rows: Sequence[Row], levels: Sequence[str], temperature: float | None = None
    ):
        if temperature is not None and not temperature > 0:
            raise InputError(
                f"sampler: temperature: {temperature} given, expected more than 0, or none for "
                "equal chances"
            )
        self.rows, self.levels, self.temperature = rows, levels, temperature
        self._tree = _tree(rows, levels, temperature)

    def __bool__(self) -> bool:
        return bool(grouped(self.rows, self.levels[0]))

    def draw(self, rng: np.random.Generator) -> tuple[int, int]:
        """Number of a case, and the class that it was drawn for."""
        node = self._tree
        for _ in self.levels:
            if node.up_to is None:
                node = node.parts[rng.integers(len(node.parts))]
            else:
                node = node.parts[np.searchsorted(node.up_to, rng.random(), side="right")]
        row = node.parts[rng.integers(len(node.parts))]
        return row.number, *row.classes

    def shares(self) -> dict[Source, float]:
        """Expected share of the draws by data set and modality."""
        return expected_shares(self.rows, self.levels, self.temperature)


class _Node(NamedTuple):
    """Groups of a level, or rows at the end; up_to: their chances, summed up; None: all alike."""

    parts: Sequence[_Node] | Sequence[Row]
    up_to: np.ndarray | None = None


def _tree(rows: Sequence[Row], levels: Sequence[str], temperature: float | None) -> _Node:
    if not levels:
        return _Node(rows)
    groups = list(grouped(rows, levels[0]).values())
    parts = [_tree(group, levels[1:], temperature) for group in groups]
    if temperature is None or levels[0] != "modality":
        return _Node(parts)
    up_to = np.cumsum(_chances(groups, levels[0], temperature))
    return _Node(parts, np.append(up_to[:-1], 1.0))  # so that rounding leaves no gap


class Hierarchical(Sampler):
    """Class, modality and data set in the order of `levels`, then a case, centred on the class.

    background: whether it counts as a class, as it does in the authors' code, so that cases without
    any structure are seen. temperature: see above. Raises InputError if no case names a class, and
    unless the temperature is above 0.
    """

    levels: tuple[str, str, str]

    def __init__(
        self,
        cases,
        window: Window,
        batch_size: int,
        seed: int,
        background: bool = False,
        temperature: float | None = None,
    ):
        super().__init__(cases, window, batch_size, seed)
        self._hierarchy = Hierarchy(rows_of(cases, background), self.levels, temperature)
        if not self._hierarchy:
            raise InputError(
                "sampler: no training case names a structure alone, so no window can be centred on "
                "one; use the sampler 'cases', or change the annotation"
            )

    def shares(self) -> dict[Source, float]:
        """Expected share of the samples by data set and modality."""
        return self._hierarchy.shares()

    def _draw(self, row: int, rng: np.random.Generator) -> Draw:
        return self._showing(*self._hierarchy.draw(rng), rng)


class ClassModalityDataset(Hierarchical):
    """CMD: every class is seen as often as any other."""

    levels = CMD


class ModalityDatasetClass(Hierarchical):
    """MDC: every modality is seen as often as any other."""

    levels = MDC


class Hybrid(Sampler):
    """Rows 0, 2, ... of the batch are of whole scans, rows 1, 3, ... of scans drawn in slices.

    Each by CMD, as in the authors' code. background, temperature: as for `Hierarchical`. Raises
    InputError as that does, and if there are no cases of one of both.
    """

    def __init__(
        self,
        cases,
        window: Window,
        batch_size: int,
        seed: int,
        background: bool = False,
        temperature: float | None = None,
    ):
        super().__init__(cases, window, batch_size, seed)
        rows = rows_of(cases, background)
        self._hierarchies = [
            Hierarchy(
                [row for row in rows if bool(cases[row.number].view) == sliced], CMD, temperature
            )
            for sliced in (False, True)
        ]
        for kind, found in zip(("whole scans", "scans in slices"), self._hierarchies, strict=True):
            if not found:
                raise InputError(
                    f"sampler: hybrid: no training case of {kind} names a structure; give some "
                    "data sets `every_nth_slice` and others `complete` in the cohort's annotation, "
                    "or use the sampler 'class_modality_dataset'"
                )

    def shares(self) -> dict[Source, float]:
        """Expected share of the samples by data set and modality."""
        found: dict[Source, float] = defaultdict(float)
        for first, hierarchy in enumerate(self._hierarchies):
            weight = len(range(first, self.size, 2)) / self.size
            for source, share in hierarchy.shares().items():
                found[source] += weight * share
        return dict(found)

    def _draw(self, row: int, rng: np.random.Generator) -> Draw:
        return self._showing(*self._hierarchies[row % 2].draw(rng), rng)
