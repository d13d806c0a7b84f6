"""Tumours of liver and kidneys: round, uneven, darker inside; laid over everything else."""

from collections.abc import Mapping

import numpy as np

from piecemeal.datasets.phantoms.drawing.parts import Hand, Layer
from piecemeal.datasets.phantoms.drawing.solids import Common, Grown, Outside, Solid
from piecemeal.datasets.phantoms.drawing.spaces import points
from piecemeal.datasets.phantoms.drawing.torso_walls import Habitus

# What a tumour may grow into: kidney tumours bulge into the fat around and in the kidney.
KIDNEY = ("renal cortex", "renal medulla", "renal pelvis", "visceral fat")
# Ranges of the radius, mm, and of the depth of the middle under the organ's surface relative to
# it: liver tumours lie inside, kidney tumours bulge out of the cortex.
SIZES = {"liver tumour": (8.0, 26.0), "kidney tumour": (10.0, 25.0)}
DEPTHS = {"liver tumour": (0.4, 9.0), "kidney tumour": (0.1, 0.7)}


def add_tumours(
    hand: Hand,
    body: Habitus,
    counts: Mapping[str, int],
    liver: Solid,
    kidneys: list[Solid],
) -> None:
    """Add as many tumours as `counts` says, each kidney tumour to one of the `kidneys`."""
    inside = Common((liver, body.cavity, Outside(body.diaphragm), *map(Outside, kidneys)))
    for name, count in sorted(counts.items()):
        for _ in range(count):
            low, high = np.log(SIZES[name])
            radius = float(np.exp(hand.rng.uniform(low, high)))
            organ = inside if name == "liver tumour" else kidneys[hand.rng.integers(len(kidneys))]
            centre = _place(hand, organ, radius, DEPTHS[name])
            ball = hand.ellipsoid(centre, (radius,) * 3, share=0.12, tilt=40)
            mass = hand.rippled(ball, 0.08 * radius, 1.6 * radius)
            core = Layer("necrosis", 0.35 * radius, hand.waves(1.3 * radius, 4, 0.2))
            if name == "liver tumour":
                hand.add(name, mass, name, core, on=("liver", name))
                continue
            # Nothing of it may float free in the fat around.
            mass = Common((mass, Grown(organ, 1.2 * radius)))
            hand.add(name, mass, name, core, over=(*KIDNEY, name, "necrosis"))


def _place(hand: Hand, organ: Solid, radius: float, depth: tuple[float, float]) -> np.ndarray:
    """Random point of an organ, its depth within `depth` radii, or the one nearest to that."""
    low, high = organ.box
    places = hand.rng.uniform(low, high, (400, 3))
    deep = -organ.distance(points(places))[:, 0, 0] / radius
    miss = np.maximum(depth[0] - deep, 0) + np.maximum(deep - depth[1], 0)
    return places[np.argmin(miss)]
