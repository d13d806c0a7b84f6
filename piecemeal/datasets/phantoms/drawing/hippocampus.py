"""A parametric left hippocampus among its neighbours: head, body and tail, cut across by voxels.

Frame in mm: x towards the patient's right (here the inner side), y towards the face, z towards the
vertex, 0 in the middle of the hippocampus. Around it, position is measured from the nearest point
of its curved axis: `inward` and `upward`. Its grey matter is as bright as the amygdala in front
of it and the cortex below; only place and shape tell them apart. Arrays are (z, y, x).
"""

from typing import NamedTuple

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.spatial import cKDTree

from piecemeal.datasets.phantoms.drawing import figures
from piecemeal.datasets.phantoms.drawing.shapes import coverage, paint
from piecemeal.datasets.phantoms.drawing.solids import Ellipsoid
from piecemeal.datasets.phantoms.drawing.spaces import Space

ANTERIOR, POSTERIOR = 1, 2

# The axis from tail to uncus: x, y, z of a point, half width and half height across it, mm.
AXIS = np.array(
    [
        [2.0, -17.9, 10.9, 2.5, 2.1],
        [-2.0, -15.5, 8.9, 4.3, 3.2],
        [-5.2, -11.3, 5.7, 5.3, 3.8],
        [-6.6, -5.6, 2.3, 5.6, 3.8],
        [-6.7, 0.0, -0.9, 5.6, 3.8],
        [-5.5, 5.6, -3.8, 6.1, 4.1],
        [-3.0, 10.3, -5.9, 6.3, 4.6],
        [0.9, 13.3, -6.5, 5.4, 4.4],
        [5.1, 14.3, -5.1, 3.8, 3.4],
        [8.0, 13.7, -3.8, 2.3, 2.1],
    ]
)
CORTEX = 2.9  # thickness, mm
SHEET = 2.4  # white matter between hippocampus and the cortex below, mm


UP = np.array([-0.15, 0.35, 0.93])  # upwards of the axis, roughly: x, y, z


class Tissue(NamedTuple):
    """Signal of one subject's tissues, relative to white matter at 1."""

    grey: float
    thalamus: float
    brainstem: float
    cerebellum: float
    fluid: float
    vessel: float


class Around(NamedTuple):
    """Where voxels lie relative to the axis, mm; `along` runs from 0 (tail) to 1 (uncus)."""

    inward: np.ndarray
    upward: np.ndarray
    past_end: np.ndarray
    along: np.ndarray
    half_width: np.ndarray
    half_height: np.ndarray


class Scene:
    """One subject being painted: `signal` float32 (z, y, x), white matter at 1.

    width: mm over which neighbours mix in a voxel.
    """

    def __init__(self, rng: np.random.Generator, space: Space, width: float):
        self.rng, self.space, self.width = rng, space, width
        self.tissue = _sample_tissue(rng)
        # Bent smoothly by about a millimetre, so that no shape is exact.
        bend = rng.uniform(0.5, 1.0)
        self.x, self.y, self.z = (
            axis + bend * self.texture(9.0) for axis in (space.x, space.y, space.z)
        )
        self.around = _measure(self.x, self.y, self.z, _sample_axis(rng))
        self.signal = 1 + 0.03 * self.texture(5.0)

    def texture(self, grain_mm: float) -> np.ndarray:
        """See figures.texture."""
        return figures.texture(self.rng, self.space, grain_mm)

    def paint(
        self, distance: np.ndarray, level: float | np.ndarray, width: float = 0, share: float = 1
    ) -> None:
        """Lay a tissue over the inside of a signed distance, `share` of it."""
        paint(self.signal, share * coverage(distance, width or self.width), level)

    def ball(self, centre: tuple, half: tuple, stray: float = 0.0) -> np.ndarray:
        """Signed distance to an upright ellipsoid: x, y, z of its middle, astray, and half axes."""
        middle = np.array(centre) + self.rng.normal(0, stray or 1e-9, 3)
        solid = Ellipsoid(middle[::-1], np.array(half, float)[::-1], np.eye(3))
        return solid.distance(Space(self.z, self.y, self.x))


def draw(rng: np.random.Generator, space: Space, width: float) -> tuple[np.ndarray, np.ndarray]:
    """Signal float32 and labels uint8 (z, y, x) of a random subject on `space`.

    space: x, y, z as in this module's frame. width: mm over which neighbours mix in a voxel.
    """
    scene = Scene(rng, space, width)
    around = scene.around
    gyrus = _ellipse(around.inward - 1.5, around.upward + 7.5, 12.0 + rng.normal(0, 1), 10.5)
    distance = _section(around)
    _paint_deep_grey(scene)
    _paint_inner_side(scene, gyrus)
    _paint_cortex(scene, gyrus)
    _paint_fluid(scene)
    _paint_amygdala(scene, distance)
    _paint_hippocampus(scene, distance)

    # A reader's contour strays a little, and cuts the head off where the uncus ends.
    slip = 0.35 * scene.texture(4.0) + rng.normal(0, 0.2)
    inside = distance < slip
    border = rng.normal(1.7, 1.2) + rng.normal(0, 0.08) * scene.z
    labels = np.zeros(space.shape, np.uint8)
    labels[inside] = POSTERIOR
    labels[inside & (scene.y > border)] = ANTERIOR
    return scene.signal, labels


def _sample_tissue(rng: np.random.Generator) -> Tissue:
    """Draw relative signals as T1-weighted MR has them: thalamus between grey and white."""
    grey = rng.uniform(0.47, 0.61)
    return Tissue(
        grey=grey,
        thalamus=rng.uniform(0.7, 0.85),
        brainstem=rng.uniform(0.84, 0.98),
        cerebellum=rng.uniform(0.6, 0.75),
        fluid=rng.uniform(0.06, 0.24),
        vessel=rng.uniform(0.05, 0.9),
    )


def _sample_axis(rng: np.random.Generator) -> np.ndarray:
    """Dense rows of a random subject's AXIS: larger or smaller, tilted, bent."""
    rows = AXIS.copy()
    rows[:, :3] *= rng.normal(1, [0.045, 0.035, 0.05])
    rows[:, :3] += np.cumsum(rng.normal(0, 0.18, (len(rows), 3)), axis=0)
    rows[:, :3] -= rows[:, :3].mean(0) - AXIS[:, :3].mean(0)
    rows[:, 3:] *= rng.normal(1, 0.045) * rng.normal(1, 0.04, (len(rows), 2))
    tilt, turn = rng.normal(0, 0.11), rng.normal(0, 0.08)
    x, y, z = rows[:, :3].T.copy()
    y, z = y - tilt * z, z + tilt * y
    rows[:, 0], rows[:, 1], rows[:, 2] = x - turn * y, y + turn * x, z
    return CubicSpline(np.linspace(0, 1, len(rows)), rows)(np.linspace(0, 1, 90))


def _measure(x: np.ndarray, y: np.ndarray, z: np.ndarray, axis: np.ndarray) -> Around:
    """Position of every voxel relative to the nearest point of the axis."""
    places = np.stack([x.ravel(), y.ravel(), z.ravel()], 1)
    _, nearest = cKDTree(axis[:, :3]).query(places)
    offset = places - axis[nearest, :3].astype(np.float32)
    tangent = np.gradient(axis[:, :3], axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    up = UP - tangent * (tangent @ UP)[:, None]
    up /= np.linalg.norm(up, axis=1, keepdims=True)

    def project(directions: np.ndarray) -> np.ndarray:
        return (offset * directions.astype(np.float32)[nearest]).sum(1).reshape(x.shape)

    def look_up(values: np.ndarray) -> np.ndarray:
        return values.astype(np.float32)[nearest].reshape(x.shape)

    return Around(
        inward=project(np.cross(tangent, up)),
        upward=project(up),
        past_end=project(tangent),
        along=look_up(np.linspace(0, 1, len(axis))),
        half_width=look_up(axis[:, 3]),
        half_height=look_up(axis[:, 4]),
    )


def _ellipse(u: np.ndarray, v: np.ndarray, across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """Signed distance (mm) in a plane to an ellipse of half axes `across` and `down` at 0."""
    level = np.hypot(u / across, v / down)
    slope = np.hypot(u / across**2, v / down**2)
    return (level - 1) * level / (slope + np.float32(1e-6))


def _section(around: Around, grow: np.ndarray | float = 0, shift: np.ndarray | float = 0):
    """Signed distance to the hippocampus, `grow` mm larger, moved `shift` mm up and outward."""
    across, down = around.half_width + grow, around.half_height + grow
    flat = _ellipse(around.inward + shift, around.upward - 0.6 * shift, across, down)
    return np.hypot(np.maximum(flat + down, 0), 0.9 * around.past_end) - down


def _paint_deep_grey(scene: Scene) -> None:
    """Lentiform nucleus and insula: above and outside."""
    tissue = scene.tissue
    scene.paint(scene.ball((-13, 12, 19), (7, 20, 10), 1), 0.5 * (tissue.grey + tissue.thalamus))
    insula = np.abs(scene.x + 23 + 0.2 * scene.z) - CORTEX
    scene.paint(np.maximum(insula, 2 - scene.z), tissue.grey)


def _paint_inner_side(scene: Scene, gyrus: np.ndarray) -> None:
    """What lies inwards of the temporal lobe: cistern with vessels, brainstem, cerebellum."""
    around, tissue, rng = scene.around, scene.tissue, scene.rng
    x, y, z = scene.x, scene.y, scene.z
    stem = scene.ball((22, 1, -3), (12, 15, 19), 1.2)
    below = scene.ball((19, -20, -19), (20, 17, 15), 1.2)
    # From the choroidal fissure down to the edge of the tentorium.
    gap = np.maximum(2 - around.inward, around.upward + 0.25 * around.inward - 5)
    cistern = np.maximum(np.maximum(gap, -gyrus), np.minimum(stem, below) - rng.uniform(4, 7))
    front = scene.ball((21, 29, -1), (15, 12, 17), 1)
    scene.paint(np.minimum(cistern, front), tissue.fluid)
    leaves = np.sin(1.9 * (0.8 * z + 0.5 * x - 0.35 * y))
    scene.paint(below, tissue.cerebellum + 0.14 * leaves)
    scene.paint(scene.ball((13, -3, 16), (15, 18, 12), 1.2), tissue.thalamus, 4)
    scene.paint(stem, tissue.brainstem, 1.5 * scene.width)
    artery = np.hypot(x - 9.5 - rng.normal(0, 1), z + 0.12 * y - rng.normal(0.5, 1)) - 1.2
    scene.paint(np.maximum(artery, 1 - gyrus), tissue.vessel)


def _paint_cortex(scene: Scene, gyrus: np.ndarray) -> None:
    """Gyri below: the parahippocampal one folds inward, further ones lie flat under it."""
    around, tissue = scene.around, scene.tissue
    scene.paint(gyrus, tissue.grey)
    scene.paint(gyrus + CORTEX, 1.0)
    # Depth below the hippocampus: arcs on its inner side, flat sheets on its outer side.
    flat = -around.upward - around.half_height
    arcs = np.where(around.upward < 0, _section(around), flat)
    mix = np.clip((around.inward + 3) / 6, 0, 1)
    depth = mix * np.minimum(arcs, flat + 6) + (1 - mix) * flat
    depth += 0.9 * scene.texture(8.0)
    lobe = np.minimum(gyrus, around.inward + 1)
    for fundus in (SHEET + CORTEX, SHEET + 3 * CORTEX + scene.rng.uniform(3, 5.5)):
        from_fundus = np.abs(depth - fundus)
        scene.paint(np.maximum(from_fundus - CORTEX, lobe), tissue.grey)
        sulcus = from_fundus - 0.35 * np.clip(scene.texture(9.0), 0, 2)
        scene.paint(np.maximum(sulcus, lobe), 0.5 * (tissue.fluid + tissue.grey))
    subiculum = _ellipse(around.inward - 9, around.upward + 3, 5.5, 4.5)
    scene.paint(np.maximum(subiculum, gyrus), tissue.grey)


def _paint_fluid(scene: Scene) -> None:
    """Temporal horn over the outer edge, choroidal fissure inside, the atrium behind the tail."""
    around, fluid = scene.around, scene.tissue.fluid
    wide = scene.rng.gamma(1.8, 0.5)
    uneven = wide * np.clip(1 + 0.7 * scene.texture(7.0), 0, 2.5)
    horn = _section(around, uneven, 0.3 + 0.6 * uneven)
    scene.paint(np.maximum(horn, np.maximum(around.inward - 1, -around.upward - 1.5)), fluid)
    fissure = _ellipse(around.inward - 6.5, around.upward - 4, 3.5, 1.2 + 0.4 * wide)
    body = np.abs(around.along - 0.42) * 40 - 12
    scene.paint(np.maximum(fissure, body), fluid)
    scene.paint(scene.ball((-7, -23, 12), (5 + wide, 8 + wide, 6 + wide), 1.2), fluid)


def _paint_amygdala(scene: Scene, distance: np.ndarray) -> None:
    """Amygdala in front of and over the head, parted from it by a slit of fluid."""
    around, grey = scene.around, scene.tissue.grey
    almond = np.minimum(
        scene.ball((1, 16.5, 2.5), (10, 9, 8), 0.9), scene.ball((7, 18, 0), (8, 8, 8), 0.8)
    )
    almond = almond + 1.2 * scene.texture(5.0)
    nuclei = 0.06 * scene.texture(4.0) + scene.rng.uniform(0.08, 0.3)
    scene.paint(almond, grey + nuclei * (1 - grey), 2.5)
    slit = np.maximum(np.abs(around.upward - around.half_height - 0.6) - 0.5, distance - 1.5)
    scene.paint(np.maximum(slit, almond), scene.tissue.fluid, share=0.6)


def _paint_hippocampus(scene: Scene, distance: np.ndarray) -> None:
    """The hippocampus: grey matter with a bright layer inside, under the white alveus."""
    around = scene.around
    coat = np.maximum(distance - 0.9, np.abs(around.inward - 1) - around.half_width)
    scene.paint(np.maximum(coat, -around.upward), 0.95)
    scene.paint(distance, scene.tissue.grey * (1 + 0.1 * scene.texture(3.0)))
    layer = np.abs(_section(around, -0.48 * around.half_height)) - 0.5
    scene.paint(np.maximum(layer, around.upward - 2), 0.95, share=0.4)
