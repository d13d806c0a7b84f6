"""The part of a case that one sample reads, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from piecemeal.training.cases import Case

NONE_SHOWN = -1  # in Draw.shown, beside class ids


def crop_sides(plane: Sequence[int], crop: float | None) -> tuple[int, int]:
    """Sides (y, x) of the part of slices (y, x) that a sample shows; all of them without `crop`."""
    y, x = (side if crop is None else max(1, round(crop * side)) for side in plane)
    return y, x


class Draw(NamedTuple):
    """One sample: the number of the case and the lowest voxel (z, y, x) of the window.

    What lies outside the case is padding, so the voxel may be negative. For slices it is the lowest
    neighbour; what lies outside is the edge slice again. shown: the class that the window was
    chosen to show, -1 if it was chosen for none.
    """

    case: int
    corner: tuple[int, int, int]
    shown: int = NONE_SHOWN


@dataclass(frozen=True)
class Window:
    """The part of a case that one sample reads.

    shape: (z, y, x) of the image; for slices z counts the neighbours in, which become channels.
    plane: (y, x) of whole slices, where the window is a part of them; None where it is all.
    """

    shape: tuple[int, int, int]
    is_slice: bool
    neighbours: int = 0
    plane: tuple[int, int] | None = None

    @classmethod
    def of(cls, settings: dict[str, Any], cases: Sequence[Case]) -> Window:
        """The window that a run's `input` asks for: a patch, or slices of the cases' planes."""
        if settings["kind"] == "patches":
            return cls(tuple(settings["size"]), is_slice=False)
        neighbours, plane = settings["neighbours"], cases[0].image.shape[1:]
        sides = crop_sides(plane, settings.get("crop"))
        part_of = None if sides == plane else plane
        return cls((2 * neighbours + 1, *sides), True, neighbours, part_of)

    def whole(self) -> Window:
        """This window, of whole slices where it is a part of them."""
        if self.plane is None:
            return self
        return replace(self, shape=(self.shape[0], *self.plane), plane=None)

    @property
    def channels(self) -> int:
        """Channels of a sample's image."""
        return 2 * self.neighbours + 1

    @property
    def space(self) -> tuple[int, ...]:
        """(H, W) of a slice, (Z, Y, X) of a patch."""
        return self.shape[1:] if self.is_slice else self.shape

    def around(
        self, voxel: Sequence[int], rng: np.random.Generator | None = None
    ) -> tuple[int, int, int]:
        """Corner of the window centred on `voxel` (z, y, x); of the slice that holds it.

        rng: of parts of slices, says which part.
        """
        if not self.is_slice:
            return tuple(int(v) - size // 2 for v, size in zip(voxel, self.shape, strict=True))
        z = int(voxel[0]) - self.neighbours
        if self.plane is None or rng is None:
            return z, 0, 0
        spare = zip(self.plane, self.space, strict=True)
        return (z, *(int(rng.integers(have - size + 1)) for have, size in spare))

    def anywhere(self, shape: tuple[int, int, int], rng: np.random.Generator):
        """Corner of a random window inside a case of `shape`, each as likely as any other.

        Along an axis on which the case is smaller, the window is centred.
        """
        if self.is_slice:
            return self.around([rng.integers(shape[0])], rng)
        spare = [have - size for have, size in zip(shape, self.shape, strict=True)]
        return tuple(int(rng.integers(s + 1)) if s > 0 else s // 2 for s in spare)

    def tiles(self, shape: tuple[int, int, int]) -> list[tuple[int, int, int]]:
        """Corners of windows that hold every voxel of a case of `shape` exactly once.

        Of parts of slices one a slice: as many samples as slices make one pass over a case.
        """
        if self.is_slice:
            return [self.around([z]) for z in range(shape[0])]
        axes = []
        for have, size in zip(shape, self.shape, strict=True):
            count = -(-have // size)
            start = (have - count * size) // 2  # as much padding before as after
            axes.append(range(start, start + count * size, size))
        return [(z, y, x) for z in axes[0] for y in axes[1] for x in axes[2]]


def read_window(volume: np.ndarray, corner: Sequence[int], out: np.ndarray, outside: float) -> None:
    """Copy the window of `volume` at `corner` to `out`, filled with `outside` where it leaves."""
    there, here = [], []
    for low, size, have in zip(corner, out.shape, volume.shape, strict=True):
        start, stop = max(low, 0), min(low + size, have)
        there.append(slice(start, stop))
        here.append(slice(start - low, stop - low))
    inside = out[tuple(here)]
    if inside.shape != out.shape:
        out[...] = outside
    inside[...] = volume[tuple(there)]
