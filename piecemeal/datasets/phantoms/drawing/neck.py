"""The neck of a parametric body: spine with cord, airway, gullet, larynx, vessels, muscles.

Heights (z) are those of `skull`; depth is measured from the middle of the spinal canal, whose
course leans back from the skull to the chest. Positions are (z, depth, x) in mm.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.interpolate import PchipInterpolator

from piecemeal.datasets.phantoms.drawing.figures import Part, Points, bone, part
from piecemeal.datasets.phantoms.drawing.lofts import Loft
from piecemeal.datasets.phantoms.drawing.solids import Ellipsoid, Sheet, Solid, Tube

# Course of the spinal canal, measured on planning CT: height and place front to back, mm.
CANAL = np.array(
    [
        *((-420, 85), (-300, 84), (-240, 79), (-210, 73), (-190, 65), (-170, 54), (-150, 43)),
        *((-130, 33), (-110, 25), (-90, 20), (-70, 17), (-50, 15), (-30, 15), (60, 15)),
    ],
    float,
)
CANAL_CURVE = PchipInterpolator(*CANAL.T)
# Middles of the vertebrae C2 to T8.
LEVELS = (-50, -67, -83, -99, -115, -132, -150, -170, -191, -212, -235, -259, -283, -308)
FLOOR = -330.0  # where everything ends
VERTEBRA = [(FLOOR, 0, -25, 15, 14, 14), (-160, 0, -20, 14, 11, 11), (-110, 0, -18, 12.5, 9, 9)]
VERTEBRA += [(-44, 0, -17, 11, 8, 8)]


@dataclass(frozen=True)
class Neck:
    """Places shapes along one subject's neck.

    lean: 1 as in CANAL, more leans back further. stretch: relative length. girth: relative width.
    larynx: height and depth of its middle. side: 1 left, -1 mirrors x.
    """

    lean: float
    stretch: float
    girth: float
    larynx: tuple[float, float]
    side: int = 1

    def canal(self, z: np.ndarray | float) -> np.ndarray:
        """y (mm) of the middle of the spinal canal at heights z of the picture."""
        own = np.clip(self.own(z), CANAL[0, 0], CANAL[-1, 0])
        return 15 + self.lean * (CANAL_CURVE(own) - 15)

    def height(self, z: np.ndarray | float) -> np.ndarray:
        """Height in the picture of a height in the tables; only what lies below 0 is stretched."""
        z = np.asarray(z, float)
        return np.where(z < 0, z * self.stretch, z)

    def own(self, z: np.ndarray | float) -> np.ndarray:
        """The other way round."""
        z = np.asarray(z, float)
        return np.where(z < 0, z / self.stretch, z)

    def mirrored(self) -> "Neck":
        """The same for the other side."""
        return replace(self, side=-self.side)

    def put(self, points: Points) -> np.ndarray:
        """Where points (n, 3) of (z, depth, x) come to lie."""
        z, depth, x = np.asarray(points, float).T
        high = self.height(z)
        return np.stack(
            [high, self.canal(high) + self.girth * depth, self.side * self.girth * x], 1
        )

    def stack(self, rows: Points, power: float = 2.0) -> Loft:
        """Loft of rows (z, x, depth, half width, half depth in front, behind), rising in z."""
        rows = np.asarray(rows, float)
        count = max(2, int(np.ptp(rows[:, 0]) / 12) + 1)
        z = np.union1d(np.linspace(rows[0, 0], rows[-1, 0], count), rows[:, 0])
        x, depth, *halves = (np.interp(z, rows[:, 0], column) for column in rows.T[1:])
        high = self.height(z)
        y = self.canal(high) + self.girth * depth
        columns = [high, self.side * self.girth * x, y, *(self.girth * half for half in halves)]
        return Loft(np.stack(columns, 1), power)

    def ball(self, centre: tuple, half: tuple) -> Ellipsoid:
        """Upright ellipsoid."""
        return Ellipsoid(self.put([centre])[0], self.girth * np.asarray(half, float), np.eye(3))

    def tube(self, points: Points, radii: float | tuple) -> Tube:
        """Chain of capsules."""
        path = self.put(points)
        radii = self.girth * np.broadcast_to(np.asarray(radii, float), len(path))
        return Tube(np.stack([path[:-1], path[1:]], 1), np.stack([radii[:-1], radii[1:]], 1))

    def plate(self, first: Points, second: Points, half: float) -> Sheet:
        """Plate between two rails of as many points, `half` mm to either side."""
        a, b = self.put(first), self.put(second)
        corners = []
        for i in range(len(a) - 1):
            corners += [[a[i], b[i], a[i + 1]], [b[i], b[i + 1], a[i + 1]]]
        return Sheet(np.array(corners), np.full((len(corners), 3), half))


def sample_neck(rng: np.random.Generator, size: float) -> Neck:
    """Draw a neck of a relative `size`."""
    z, depth = rng.normal(-108, 7), rng.normal(-45, 2.5)
    return Neck(
        lean=float(np.clip(rng.normal(1, 0.22), 0.4, 1.5)),
        stretch=size * float(np.clip(rng.normal(1, 0.06), 0.88, 1.14)),
        girth=size * float(np.clip(rng.normal(1, 0.05), 0.9, 1.12)),
        larynx=(float(z), float(depth)),
    )


def skin(neck: Neck, thick: float, drop: float) -> list[Solid]:
    """Outline of the neck, relative `thick`, and of the trapezius muscles down to the shoulders."""
    rows = [(-160, 0, -14, 92, 62, 66), (-140, 0, -15, 70, 52, 64), (-120, 0, -15, 60, 47, 60)]
    rows += [(-98, 0, -15, 58, 47, 58), (-70, 0, -13, 60, 42, 58), (-40, 0, -8, 60, 36, 62)]
    rows += [(-18, 0, -2, 58, 30, 62)]
    table = [(z, x, d, a * thick, f * thick, b * thick) for z, x, d, a, f, b in rows]
    radii = np.array([14, 15, 19, 22, 20]) * thick
    ridges = [half.tube(slope(drop), radii) for half in (neck, neck.mirrored())]
    return [neck.stack(table, 2.2), *ridges]


def slope(drop: float) -> list[tuple[float, float, float]]:
    """Course of the trapezius muscle to a shoulder that hangs `drop` mm lower than usual."""
    return [
        *((-30, 28, 22), (-80, 28, 28), (-112 - 0.4 * drop, 26, 42)),
        *((-136 - drop, 24, 86), (-148 - drop, 12, 140)),
    ]


def muscles(rng: np.random.Generator, neck: Neck) -> list[Part]:
    """Muscles of the nape and the sides; fat is left between them."""
    bulk = rng.normal(1, 0.08)
    nape = [
        (FLOOR, 20, 34, 22, 16, 18),
        (-175, 20, 26, 26, 20, 22),
        (-120, 19, 24, 23, 20, 22),
        (-60, 20, 23, 22, 19, 23),
    ]
    nape += [(-28, 22, 20, 22, 15, 20)]
    parts = []
    for half in (neck, neck.mirrored()):
        scaled = [(z, x, d, a * bulk, f * bulk, b * bulk) for z, x, d, a, f, b in nape]
        lateral = [(-160, 44, 0, 16, 14, 16), (-110, 40, -2, 11, 12, 15), (-50, 42, 6, 8, 9, 12)]
        parts += [
            part(half.stack(scaled, 2.6), "muscle"),
            part(half.stack(lateral), "muscle"),
            part(
                half.tube(
                    [(-22, 6, 58), (-60, -6, 52), (-100, -36, 42), (-160, -74, 14)],
                    (7 * bulk, 10 * bulk, 10 * bulk, 6),
                ),
                "muscle",
            ),
            part(half.tube([(-44, -26, 9), (-150, -34, 10)], (5, 6)), "muscle"),
        ]
    return parts


def spine(rng: np.random.Generator, neck: Neck) -> list[Part]:
    """Vertebrae with discs, arches, processes; the canal is laid over them."""
    parts = [bone(neck.stack(VERTEBRA, 3.0), 1.6)]
    arch = [(FLOOR, 0, 0, 19, 12, 13), (-140, 0, 0, 18, 12, 13), (-38, 0, 0, 18, 11, 13)]
    parts.append(bone(neck.stack(arch), 1.6, "dense spongy"))
    bounds = np.array([-39, *(np.add(LEVELS[:-1], LEVELS[1:]) / 2)])
    for low, z in zip(bounds[1:], LEVELS[1:], strict=False):
        chest = float(np.clip((-125 - z) / 40, 0, 1))
        wide, deep = 11 + 3 * chest, 9 + 3 * chest
        middle = (low, -18 - 5 * chest, 0)
        parts += [
            part(neck.ball(middle, (3.2, 1.25 * deep, 1.25 * wide)), "fat"),
            part(neck.ball(middle, (2.6, deep, wide)), "disc"),
            part(neck.ball((low - 2, 18, 0), (3.5, 12, 22)), "muscle"),
        ]
    for z in LEVELS:
        chest = float(np.clip((-125 - z) / 40, 0, 1))
        across, back = 26 + 8 * chest, 6 * chest
        tips = [(z + 2, -6 + back, 12), (z, 4 + 2 * back, across)]
        spinous = 26 + 16 * float(np.clip((-100 - z) / 40, 0, 1)) + 8 * (z == LEVELS[0])
        parts.append(
            bone(neck.tube([(z - 2, 11, 0), (z - 8 - 8 * chest, spinous, 0)], (4, 3)), 1.2)
        )
        for half in (neck, neck.mirrored()):
            parts.append(bone(half.tube(tips, (6.5, 3.5)), 1.5))
            parts.append(bone(half.ball((z + 7, 2, 17 - 2 * chest), (9, 6, 6)), 1.5))
    ring = [(-34, -19, 0), (-34, -14, 10), (-34, -6, 20), (-34, 8, 19), (-33, 18, 8), (-33, 20, 0)]
    for half in (neck, neck.mirrored()):
        parts.append(bone(half.tube(ring, (4, 4, 8, 6, 4, 4)), 1.4))  # the atlas
        parts.append(bone(half.tube([(-34, -4, 22), (-35, 0, 38)], (5, 3.5)), 1.4))
    dens = neck.tube([(-26, -13.5, 0), (-48, -16, 0)], (5, 6.5))
    return [*parts, bone(dens, 1.6)]


def cord(rng: np.random.Generator, neck: Neck, start: np.ndarray) -> list[Part]:
    """Canal and cord from `start` (z, y, x), the end of the brainstem; drawn generously."""
    heights = neck.height(np.arange(-40, FLOOR, -14.0))
    path = np.stack([heights, neck.canal(heights), 0 * heights], 1)
    path = np.concatenate([start[None], path])
    wide = Tube(np.stack([path[:-1], path[1:]], 1), np.full((len(path) - 1, 2), 8.5))
    size = rng.normal(6.4, 0.55)
    drawn = Tube(wide.pieces, np.full((len(path) - 1, 2), size))
    return [part(wide, "fluid"), Part(drawn, (("cord", 1.2),), "spinal cord")]
