"""What a body is put together from: parts in drawing order, and a hand that shapes them.

Parts are laid over one another; a later part takes the place of what it may cover, so organs
compete for space in the order of the list and neighbours touch.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.interpolate import PchipInterpolator, make_interp_spline

from piecemeal.datasets.phantoms.drawing.solids import (
    EVERYWHERE,
    Ellipsoid,
    Rippled,
    Sheet,
    Solid,
    Tube,
    Waves,
)
from piecemeal.datasets.phantoms.drawing.spaces import Box, Space
from piecemeal.datasets.phantoms.drawing.tissues import STRUCTURE, TISSUE

SIDES = (("right", -1.0), ("left", 1.0))
TURNS = ((1, 2), (0, 2), (0, 1))  # planes of the turns about the z, y and x axis


@dataclass(frozen=True)
class Layer:
    """Tissue of a part from `depth` mm under its surface inwards, inside `where` if given."""

    tissue: str
    depth: float = 0.0
    where: Solid | None = None


@dataclass(frozen=True)
class Part:
    """A solid with a meaning.

    structure: name of the label it gets; "" clears the label, None leaves the one below.
    layers: tissues from the outside in, none to label what is there. over: tissues that it may
    cover, None for any; on: labels that it may cover, None for any. of: the structure that it is
    missing with, if not its own label.
    """

    structure: str | None
    solid: Solid
    layers: tuple[Layer, ...]
    over: tuple[str, ...] | None = None
    on: tuple[str, ...] | None = None
    of: str = ""


def lay(part: Part, space: Space, structures: np.ndarray, tissue: np.ndarray) -> None:
    """Draw one part on `space` over `structures` and `tissue` (uint8, of its shape), in place."""
    found = space.crop(part.solid.box)
    if found is None:
        return
    where, inner = found
    gap = part.solid.distance(inner)
    inside = gap < 0
    for names, ids, below in (
        (part.over, TISSUE, tissue[where]),
        (part.on, STRUCTURE, structures[where]),
    ):
        if names is not None:
            allowed = np.zeros(len(ids), bool)
            allowed[[ids[name] for name in names]] = True
            inside &= allowed[below]
    for layer in part.layers:
        chosen = inside & (gap < -layer.depth) if layer.depth else inside
        if layer.where is not None:
            chosen = chosen & (layer.where.distance(inner) < 0)
        np.copyto(tissue[where], TISSUE[layer.tissue], where=chosen)
    if part.structure is not None:
        np.copyto(structures[where], STRUCTURE[part.structure], where=inside)


@dataclass
class Hand:
    """Shapes solids with one subject's random numbers; positions are (z, y, x) in mm."""

    rng: np.random.Generator
    parts: list[Part] = field(default_factory=list)

    def add(
        self,
        structure: str | None,
        solid: Solid,
        *layers: str | Layer,
        over: tuple[str, ...] | None = None,
        on: tuple[str, ...] | None = None,
        of: str = "",
    ) -> None:
        """Lay a part over those so far; see Part."""
        made = tuple(Layer(layer) if isinstance(layer, str) else layer for layer in layers)
        self.parts.append(Part(structure, solid, made, over, on, of))

    def about(self, value: float, share: float = 0.08) -> float:
        """Draw a length around `value`, of relative deviation `share`, never beyond 2.5 of it."""
        return float(value * (1 + share * np.clip(self.rng.standard_normal(), -2.5, 2.5)))

    def shift(self, millimetres: float) -> np.ndarray:
        """Draw a random displacement (z, y, x), normal, cut at two deviations."""
        return millimetres * np.clip(self.rng.standard_normal(3), -2, 2)

    def waves(
        self, length: float, count: int = 4, threshold: float = 0.0, box: Box = EVERYWHERE
    ) -> Waves:
        """Draw a random field with waves about `length` mm long."""
        ways = self.rng.standard_normal((count, 3))
        ways /= np.linalg.norm(ways, axis=1, keepdims=True)
        lengths = length * self.rng.uniform(0.7, 1.4, (count, 1))
        phases = self.rng.uniform(0, 2 * np.pi, count)
        return Waves(2 * np.pi * ways / lengths, phases, threshold, box)

    def rippled(self, solid: Solid, height: float, length: float, count: int = 4) -> Rippled:
        """Let the surface of a solid stray by `height` mm over some `length` mm."""
        return Rippled(solid, self.waves(length, count), height)

    def ellipsoid(
        self,
        centre: Sequence[float],
        half: Sequence[float],
        turn: Sequence[float] = (0, 0, 0),
        *,
        share: float = 0.06,
        tilt: float = 4.0,
    ) -> Ellipsoid:
        """Ellipsoid with half axes near `half` (z, y, x), turned by about `turn` degrees.

        turn: about the z, y and x axis: a positive turn about z carries the front (-y) towards
        the patient's left (+x); about y carries the head end towards the left; about x carries
        the head end towards the back.
        """
        degrees = np.asarray(turn, float) + tilt * np.clip(self.rng.standard_normal(3), -2, 2)
        turned = np.eye(3)
        for angle, plane in zip(np.radians(degrees * (-1, 1, 1)), TURNS, strict=True):
            turned = turned @ _rotation(*plane, angle)
        return Ellipsoid(
            np.asarray(centre, float), np.array([self.about(h, share) for h in half]), turned
        )

    def tube(
        self,
        path: Sequence[Sequence[float]],
        radii: Sequence[float],
        *,
        stray: float = 0.0,
        step: float = 8.0,
        folds: tuple[float, float] = (0.0, 1.0),
    ) -> Tube:
        """Tube along a smooth curve through `path` (n, 3), with `radii` (n) at its points, mm.

        stray: deviation of the points, mm. folds: relative depth and length (mm) of haustra.
        """
        points = np.asarray(path, float)
        points = points + stray * np.clip(self.rng.standard_normal(points.shape), -2, 2)
        way = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
        along = np.linspace(0, way[-1], max(2, int(np.ceil(way[-1] / step)) + 1))
        rows = np.column_stack([points, radii])
        smooth = PchipInterpolator(way, rows) if len(rows) > 2 else make_interp_spline(way, rows, 1)
        *curve, wide = smooth(along).T
        curve = np.stack(curve, 1)
        depth, length = folds
        if depth:
            wide = wide * (1 + depth * np.sin(2 * np.pi * along / length))
        return Tube(
            np.stack([curve[:-1], curve[1:]], 1).astype(np.float32),
            np.stack([wide[:-1], wide[1:]], 1),
        )


def without(parts: Sequence[Part], absent: Collection[str]) -> tuple[Part, ...]:
    """Leave out the parts of structures that a body lacks; their labels, where there is no more."""
    kept = (part for part in parts if part.of not in absent)
    return tuple(
        replace(part, structure="") if part.structure in absent else part
        for part in kept
        if part.structure not in absent or not part.layers
    )


def sheet(
    points: dict[str, tuple[float, float, float, float]], triangles: str, side: float = 1.0
) -> Sheet:
    """Sheet through named points (z, y, x, half thickness); `triangles` like "abc bcd".

    side: -1 mirrors x, for the right half of the body.
    """
    table = {name: np.array(row) * [1, 1, side, 1] for name, row in points.items()}
    rows = np.array([[table[name] for name in triangle] for triangle in triangles.split()])
    return Sheet(rows[..., :3].astype(np.float32), rows[..., 3])


def strands(*tubes: Tube) -> Tube:
    """Join tubes into one solid."""
    return Tube(
        np.concatenate([tube.pieces for tube in tubes]),
        np.concatenate([tube.radii for tube in tubes]),
    )


def _rotation(one: int, two: int, angle: float) -> np.ndarray:
    """Rotation in the plane of two axes, from `one` towards `two`; rows are the turned axes."""
    turned = np.eye(3)
    turned[one, one] = turned[two, two] = np.cos(angle)
    turned[one, two], turned[two, one] = np.sin(angle), -np.sin(angle)
    return turned
