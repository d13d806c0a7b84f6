"""A parametric human torso, from the base of the neck to the upper thigh.

`sample_torso` draws one random subject; `Torso.draw` cuts it on any grid of voxels, and uses no
randomness of its own, so two grids that meet show the same body. Lengths in mm; positions are
(z, y, x) in the body's frame: z towards the head, y towards the back, x towards the patient's
left. z is 0 at the level of the iliac crests, y and x in the middle of the body's outline.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from piecemeal.datasets.phantoms.drawing.parts import Hand, Part, lay, without
from piecemeal.datasets.phantoms.drawing.solids import Solid
from piecemeal.datasets.phantoms.drawing.spaces import Space
from piecemeal.datasets.phantoms.drawing.tissues import STRUCTURE, STRUCTURES
from piecemeal.datasets.phantoms.drawing.torso_bones import (
    add_pelvis,
    add_ribs,
    add_shoulders,
    add_spine,
)
from piecemeal.datasets.phantoms.drawing.torso_bowel import add_bowel
from piecemeal.datasets.phantoms.drawing.torso_chest import add_airways, add_heart
from piecemeal.datasets.phantoms.drawing.torso_muscles import add_columns
from piecemeal.datasets.phantoms.drawing.torso_organs import (
    add_liver,
    add_pancreas,
    add_stomach_and_spleen,
)
from piecemeal.datasets.phantoms.drawing.torso_tumours import add_tumours
from piecemeal.datasets.phantoms.drawing.torso_urinary import add_kidneys, add_pelvic_organs
from piecemeal.datasets.phantoms.drawing.torso_vessels import add_great_vessels
from piecemeal.datasets.phantoms.drawing.torso_walls import add_lungs, add_walls, sample_habitus
from piecemeal.errors import InputError

REGIONS = ("chest", "abdomen", "pelvis", "abdomen_pelvis", "trunk")
TUMOURS = {
    "liver tumour": {"liver"},
    "kidney tumour": {"right kidney", "left kidney"},
}
ARMPIT = 190.0  # mm from the middle; what lies farther aside is arm

__all__ = [
    "REGIONS",
    "STRUCTURES",
    "TUMOURS",
    "Anatomy",
    "Grid",
    "Torso",
    "grid_for",
    "sample_torso",
]


@dataclass(frozen=True)
class Grid:
    """An axis-aligned block of voxels: arrays (z, y, x), spacing and centre in mm, (z, y, x)."""

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    centre: tuple[float, float, float]

    def axes(self) -> list[np.ndarray]:
        """Positions of the voxels' centres along z, y and x, mm."""
        return [
            (np.arange(count) - (count - 1) / 2) * step + middle
            for count, step, middle in zip(self.shape, self.spacing, self.centre, strict=True)
        ]


@dataclass(frozen=True)
class Anatomy:
    """A drawn body, arrays uint8 (z, y, x).

    structures: ids into STRUCTURES, 0 for none. tissue: ids into tissues.TISSUES.
    """

    structures: np.ndarray
    tissue: np.ndarray
    grid: Grid


@dataclass(frozen=True)
class Frame:
    """How the reference body, which the parts describe, becomes a subject's.

    scale: relative size (z, y, x). bend: amplitude (mm), wave length (mm) and phase of the lean
    to the back and to the left along z. middle: place (y, x) of the outline's middle, mm.
    """

    scale: np.ndarray
    bend: np.ndarray
    middle: np.ndarray

    def space(self, grid: Grid) -> Space:
        """Points of a grid as the reference body sees them."""
        shifts = (0.0, *self.middle)
        z, y, x = (
            (axis + shift) / size
            for axis, shift, size in zip(grid.axes(), shifts, self.scale, strict=True)
        )
        # Standing waves of half a metre and more: a spine that is not quite straight.
        y_lean, x_lean = (
            size * np.sin(2 * np.pi * z / length + phase) for size, length, phase in self.bend
        )
        return Space(
            z[:, None, None].astype(np.float32),
            (y[None, :] + y_lean[:, None])[:, :, None].astype(np.float32),
            (x[None, :] + x_lean[:, None])[:, None, :].astype(np.float32),
        )


@dataclass(frozen=True)
class Torso:
    """One random subject.

    parts: in drawing order. sex: "female" or "male". frame: from the body's frame to that of the
    parts. dome: height of the diaphragm, in the frame of the parts. outline: rows of height,
    front, back, right and left limit of the body, mm; arms are left out.
    """

    parts: tuple[Part, ...]
    sex: str
    frame: Frame
    dome: float
    outline: np.ndarray

    @property
    def width_mm(self) -> float:
        """Greatest width of the body below the shoulders."""
        _, _, right, left = self.extent(*self.region("abdomen_pelvis"))
        return left - right

    @property
    def depth_mm(self) -> float:
        """Greatest depth of the body below the shoulders."""
        front, back, _, _ = self.extent(*self.region("abdomen_pelvis"))
        return back - front

    def region(self, name: str) -> tuple[float, float]:
        """Return (low, high) z in mm of one of REGIONS; InputError names them."""
        ranges = {
            "chest": (self.dome - 95, 428.0),
            "abdomen": (-5.0, self.dome + 8),
            "pelvis": (-235.0, 15.0),
            "abdomen_pelvis": (-235.0, self.dome + 8),
            "trunk": (-245.0, 430.0),
        }
        if name not in ranges:
            raise InputError(f"region {name!r}: expected one of {', '.join(REGIONS)}")
        low, high = ranges[name]
        return float(low * self.frame.scale[0]), float(high * self.frame.scale[0])

    def extent(self, low: float, high: float) -> tuple[float, float, float, float]:
        """Limits of the body between two heights: front, back (y), right, left (x), mm."""
        rows = self.outline[(self.outline[:, 0] >= low - 15) & (self.outline[:, 0] <= high + 15)]
        _, front, back, right, left = rows.T
        return float(front.min()), float(back.max()), float(right.min()), float(left.max())

    def space(self, grid: Grid) -> Space:
        """Points of a grid in the frame of the parts."""
        return self.frame.space(grid)

    def draw(self, grid: Grid) -> Anatomy:
        """Cut the body on `grid`."""
        space = self.space(grid)
        structures = np.zeros(grid.shape, np.uint8)
        tissue = np.zeros(grid.shape, np.uint8)
        for part in self.parts:
            lay(part, space, structures, tissue)
        return Anatomy(structures, tissue, grid)


def sample_torso(
    rng: np.random.Generator,
    *,
    absent: Collection[str] = (),
    tumours: Mapping[str, int] = {},
    sex: str | None = None,
) -> Torso:
    """Draw one subject.

    absent: names of STRUCTURES that this subject lacks. tumours: how many of "liver tumour" and
    "kidney tumour" it has (a kidney tumour may sit in either kidney); they take the place of
    their organ's label. sex: "female" or "male", random if None. The same random numbers give the
    same body, whatever it lacks and whatever grows in it. Raises InputError for unknown names,
    and for a tumour of an organ that is absent.
    """
    _check(absent, tumours, sex)
    sex = sex or str(rng.choice(["female", "male"]))
    hand = Hand(rng)
    body = sample_habitus(hand, sex)
    outline = add_walls(hand, body)
    add_lungs(hand, body)
    add_spine(hand, body)
    add_columns(hand, body.spine)
    add_ribs(hand, body)
    add_shoulders(hand, body)
    add_pelvis(hand)
    add_heart(hand, body)
    add_airways(hand, body)
    add_bowel(hand, body)
    add_stomach_and_spleen(hand, body)
    liver = add_liver(hand, body)
    kidneys = add_kidneys(hand, body)
    add_great_vessels(hand, body)
    add_pancreas(hand, body)
    add_pelvic_organs(hand, body)
    scale = np.array([hand.about(1.0 if sex == "male" else 0.95, 0.035) for _ in range(3)])
    bend = np.array([(rng.normal(0, 3), rng.uniform(500, 900), rng.uniform(0, 6)) for _ in "yx"])
    rows = _measure(outline, Frame(scale, bend, np.zeros(2)))
    belly = rows[(rows[:, 0] > 0) & (rows[:, 0] < 200), 1:].mean(0)
    middle = np.array([belly[:2].mean(), belly[2:].mean()])
    rows[:, 1:] -= np.repeat(middle, 2)
    # Last, so that a subject with tumours is the same as without.
    add_tumours(hand, body, tumours, liver, [k for n, k in kidneys.items() if n not in absent])
    parts = without(hand.parts, absent)
    return Torso(parts, sex, Frame(scale, bend, middle), body.diaphragm.domes[0], rows)


def _check(absent: Collection[str], tumours: Mapping[str, int], sex: str | None) -> None:
    for name in absent:
        if not name or name not in STRUCTURE:
            raise InputError(f"absent: {name!r} is no structure; expected names of STRUCTURES")
    for name, count in tumours.items():
        if name not in TUMOURS:
            raise InputError(f"tumours: {name!r} is unknown; expected {' or '.join(TUMOURS)}")
        if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 0:
            raise InputError(f"tumours: {name} is {count!r}; expected a number from 0 up")
        if count and TUMOURS[name] <= set(absent):
            organs = ", ".join(sorted(TUMOURS[name]))
            raise InputError(f"tumours: {name} needs {organs}, which are absent; drop either")
    if sex not in (None, "female", "male"):
        raise InputError(f"sex is {sex!r}; expected 'female', 'male' or None")


def _measure(outline: Solid, frame: Frame) -> np.ndarray:
    """Rows of height, front, back, right and left limit (mm) of an outline, every 12 mm."""
    grid = Grid((66, 40, 64), (12.0, 10.0, 10.0), (90.0, 0.0, 0.0))
    inside = outline.distance(frame.space(grid)) < 0
    z, y, x = grid.axes()
    side = ARMPIT * frame.scale[2]
    rows = []
    for height, plane in zip(z, inside, strict=True):
        if plane.any():
            down, across = y[plane.any(1)], np.clip(x[plane.any(0)], -side, side)
            rows.append((height, down[0] - 5, down[-1] + 5, across[0] - 5, across[-1] + 5))
    return np.array(rows)


def grid_for(
    torso: Torso,
    region: str,
    shape: tuple[int, int, int],
    *,
    spacing: tuple[float, float, float] | None = None,
    margin_mm: float = 10.0,
) -> Grid:
    """Grid of `shape` voxels around the middle of a region of the body.

    spacing None: chosen so that the region fits along z, and the body's outline (raised arms
    excepted) with `margin_mm` on each side fits in plane at square pixels, whatever the number of
    voxels. Raises InputError for an unknown region.
    """
    low, high = torso.region(region)
    front, back, right, left = torso.extent(low, high)
    centre = ((low + high) / 2, (front + back) / 2, (right + left) / 2)
    if spacing is None:
        pixel = max(
            (back - front + 2 * margin_mm) / shape[1], (left - right + 2 * margin_mm) / shape[2]
        )
        spacing = ((high - low) / shape[0], pixel, pixel)
    return Grid(tuple(shape), tuple(float(step) for step in spacing), centre)
