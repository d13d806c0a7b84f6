"""The skeleton of a torso: spine, ribs, breastbone, shoulders, pelvis, thighs."""

import numpy as np

from piecemeal.datasets.phantoms.drawing.lofts import Loft
from piecemeal.datasets.phantoms.drawing.parts import SIDES, Hand, Layer, sheet, strands
from piecemeal.datasets.phantoms.drawing.solids import (
    Common,
    Ellipsoid,
    Half,
    Outside,
    Solid,
    Union,
)
from piecemeal.datasets.phantoms.drawing.spaces import Box, Space
from piecemeal.datasets.phantoms.drawing.torso_walls import SHOULDER, Habitus

# Lower edges of the vertebrae, L5 upwards to C7; the disc lies on top of each.
EDGES = np.cumsum([-54, 33, 35, 36, 35, 34, 31, 30, 28, 27, 26, 25, 24.5, 24, 23, 22, 21, 20, 18])
FIRST_RIB = 16  # index in EDGES of the first thoracic vertebra; the twelfth has index 5
HIP = (-145.0, 0.0, 84.0)  # middle of the left femoral head

WING = (
    {
        "a": (-3, 26, 124, 5),
        "b": (-48, -50, 127, 5.5),
        "c": (-10, 60, 92, 6),
        "d": (-28, 82, 56, 7),
        "e": (-82, -52, 112, 6),
        "f": (-62, 8, 98, 3),
        "g": (-82, 62, 50, 9),
        "h": (-118, -6, 84, 11),
        "i": (-110, 34, 68, 8),
    },
    "fab fac fcd fdg fgi fih fhe feb",
)
SCAPULA = (
    {
        "a": (372, 82, 62, 3.0),
        "b": (268, 96, 84, 4.0),
        "c": (372, 42, 138, 7.0),
        "d": (330, 84, 96, 2.5),
    },
    "abd acd bcd",
)
BONE = (Layer("cortical bone"), Layer("spongy bone", 2.6))
NOT_SKIN = ("fat", "muscle", "visceral fat", "mediastinal fat", "lung", "cortical bone", "gland")


class Discs:
    """The discs between vertebral bodies, square to the curve of the spine."""

    def __init__(self, body: Habitus, column: Loft):
        self._spine = body.spine
        self.box: Box = column.box
        at = np.arange(-80, 500, 0.5)
        thick = np.interp(EDGES, [0, 120, 300], [9.5, 7.5, 5.0])
        self._at = at
        self._gap = np.min(
            [np.abs(at - edge) - half / 2 for edge, half in zip(EDGES, thick, strict=True)], 0
        )

    def distance(self, space: Space) -> np.ndarray:
        """Distance along the spine, mm, negative in a disc."""
        heights = space.z[:, 0, 0]
        middle = self._spine(heights)[:, None, None].astype(np.float32)
        lean = self._spine.derivative()(heights)[:, None, None].astype(np.float32)
        along = space.z + lean * (space.y - middle) + 0 * space.x
        return np.interp(along, self._at, self._gap).astype(np.float32)


def add_spine(hand: Hand, body: Habitus) -> None:
    """Add vertebrae with discs, arches and processes, and the sacrum."""
    size = hand.about(1.0, 0.05)
    z = np.arange(-58, 481, 6.0)
    width = np.interp(z, [-58, 40, 140, 280, 400, 480], [27, 25, 21, 16, 15, 14]) * size
    depth = np.interp(z, [-58, 40, 140, 280, 400, 480], [17.5, 17, 16, 15, 10, 8.5]) * size
    middle = body.spine(z)
    nothing = np.zeros_like(z)
    column = Loft(np.stack([z, nothing, middle, width, depth, 0.8 * depth], 1), 2.3)
    behind = middle + 0.8 * depth + 8
    arch = Loft(np.stack([z, nothing, behind, nothing + 17, nothing + 11, nothing + 13], 1))
    canal = Loft(np.stack([z, nothing, behind, nothing + 10.5, nothing + 8, nothing + 7.5], 1))
    discs = Discs(body, column)

    spines, wings = [], []
    for index, edge in enumerate(EDGES):
        lumbar = index < 5
        level = edge + (18 if lumbar else 14)
        back = float(body.spine(level)) + float(np.interp(level, z, 0.8 * depth)) + 14
        tip = (back + 27, level - 10) if lumbar else (back + 20, level - 24)
        for drop in (0, 7) if lumbar else (0,):
            ends = [(level - drop, back, 0), (tip[1] - drop, tip[0], 0)]
            spines.append(hand.tube(ends, [5, 4.2], step=40))
        reach = 42 if lumbar else 32
        for _, side in SIDES:
            ends = [(level + 2, back - 4, side * 12), (level + 3, back + 2, side * reach)]
            wings.append(hand.tube(ends, [5.5, 4.5], step=40))
    hand.add("vertebrae", Common((arch, Outside(discs, 1.5))), *BONE)
    hand.add("vertebrae", strands(*spines, *wings), *BONE)
    hand.add("", canal, "spinal canal")
    bodies = Common((column, Outside(discs)))
    hand.add("", column, "disc", over=None)
    hand.add("vertebrae", bodies, Layer("cortical bone"), Layer("spongy bone", 1.8))
    _add_sacrum(hand, body)


def _add_sacrum(hand: Hand, body: Habitus) -> None:
    jut = hand.about(1.0, 0.06)
    table = [
        (-166, 0, 70, 5, 4, 4),
        (-148, 0, 76, 13, 6, 6),
        (-125, 0, 74, 26, 9, 10),
        (-98, 0, 62, 40, 13, 14),
        (-75, 0, 50, 52, 18, 18),
        (-62, 0, 42, 50, 19, 22),
        (-52, 0, 40, 28, 16, 14),
    ]
    rows = np.array(table, float) * [1, 1, 1, jut, 1, 1]
    bone = hand.rippled(Loft(rows, 2.2), 1.5, 30)
    hand.add("sacrum", bone, *BONE)
    canal = [(-50, 52, 0), (-75, 62, 0), (-110, 76, 0)]
    hand.add("sacrum", hand.tube(canal, [8, 7, 4]), "spinal canal", over=("spongy bone",))


def add_ribs(hand: Hand, body: Habitus) -> None:
    """Add twelve pairs of ribs on the wall of the chest, their cartilage, and the breastbone."""
    bones, cartilages = [], []
    front = np.array([100, 100, 95, 92, 88, 85, 83, 80, 75, 68, 52, 38]) / 100
    for number in range(1, 13):
        head = EDGES[FIRST_RIB + 1 - number] + 20
        fall = np.interp(number, [1, 4, 8, 12], [38, 72, 95, 62]) * hand.about(1, 0.04)
        for _, side in SIDES:
            path = _rib(body, head, fall, front[number - 1], side)
            bones.append(hand.tube(path, [5.5] * len(path), step=11))
            if number <= 10:
                end = path[-1]
                target = _breastbone_point(body, number, side)
                bend = (0.5 * (end + target)) + np.array([-8 if number > 4 else 0, -3, 0])
                cartilages.append(hand.tube([end, bend, target], [5.5, 5.5, 5], step=11))
    hand.add("", strands(*cartilages), "cartilage", over=NOT_SKIN)
    hand.add("ribs", strands(*bones), *BONE, over=NOT_SKIN)
    _add_breastbone(hand, body)


def _wall(body: Habitus, z: float, angle: float, side: float) -> np.ndarray:
    """Point on the inside of the chest wall, `angle` 0 behind to pi in front."""
    heights, _, middle, across, front, back = body.cavity.table.T
    values = [np.interp(z, heights, row) for row in (middle, across, front, back)]
    y, a, f, b = values
    sine, cosine = np.sin(angle), np.cos(angle)
    power = 2 / body.cavity.power
    x = (a + 3.5) * abs(sine) ** power
    down = (b + 3.5) * cosine**power if cosine > 0 else -(f + 3.5) * (-cosine) ** power
    return np.array([z, y + down, side * x])


def _rib(body: Habitus, head: float, fall: float, reach: float, side: float) -> np.ndarray:
    """Course of a rib from its vertebra round the wall; `reach` 1 ends beside the breastbone."""
    start = np.array([head, float(body.spine(head)) + 8, side * 20])
    angles = np.linspace(0.42, 0.42 + 2.25 * reach, 9)
    # Ribs leave the spine backwards and downwards, then fall steadily to the front.
    heights = head - fall * (angles - 0.3) / 2.4
    around = [_wall(body, z, angle, side) for z, angle in zip(heights, angles, strict=True)]
    return np.array([start, *around])


def _breastbone_point(body: Habitus, number: int, side: float) -> np.ndarray:
    """Where the cartilage of a rib ends: beside the breastbone, or at the costal arch."""
    z = np.interp(number, [1, 2, 7, 10], [372, 352, 232, 190])
    aside = np.interp(number, [1, 7, 10], [24, 16, 62])
    point = _wall(body, z, np.pi, side)
    return point + np.array([0, 1.5 if number < 8 else 8, side * aside])


def _add_breastbone(hand: Hand, body: Habitus) -> None:
    def at(z: float) -> float:
        return float(_wall(body, z, np.pi, 1.0)[1]) - 1.0

    points = {
        "a": (386, at(386), 22, 5),
        "b": (386, at(386), -22, 5),
        "c": (345, at(345), 11, 4.5),
        "d": (345, at(345), -11, 4.5),
        "e": (250, at(250), 13, 4.5),
        "f": (250, at(250), -13, 4.5),
        "g": (218, at(218), 0, 3),
    }
    hand.add("sternum", sheet(points, "abc bcd cde def efg"), *BONE, over=NOT_SKIN)


def add_shoulders(hand: Hand, body: Habitus) -> None:
    """Add collar bones, shoulder blades and upper arms; the arms are raised."""
    rise, reach = np.sin(np.radians(body.arms)), np.cos(np.radians(body.arms))
    for name, side in SIDES:
        z, y, x = SHOULDER
        front = float(_wall(body, 385, np.pi, 1.0)[1])
        collar = [
            (386, front, side * 22),
            (392, front - 6, side * 60),
            (402, y - 8, side * 105),
            (408, y + 6, side * 140),
        ]
        hand.add(f"{name} clavicle", hand.tube(collar, [8, 6, 6, 6.5], stray=1.5), *BONE)
        blade = sheet(SCAPULA[0], SCAPULA[1], side)
        ridge = [(350, 86, side * 80), (362, 86, side * 105), (402, 48, side * 148)]
        beak = [(376, 36, side * 134), (382, 0, side * 124)]
        ridges = strands(hand.tube(ridge, [3.5, 5, 6.5]), hand.tube(beak, [6, 5]))
        hand.add(f"{name} scapula", Union((blade, ridges)), *BONE, over=NOT_SKIN)
        arm = [
            (z + 6, y, side * (x + 4)),
            (z + 70 * rise, y - 14, side * (x + 70 * reach)),
            (z + 150 * rise, y - 24, side * (x + 150 * reach)),
        ]
        ball = hand.ellipsoid((z, y, side * x), (24, 23, 23))
        bone = Union((ball, hand.tube(arm, [16, 11.5, 11])), blend=6.0)
        hand.add(f"{name} humerus", bone, Layer("cortical bone"), Layer("spongy bone", 3.2))


def add_pelvis(hand: Hand) -> None:
    """Add hip bones and thigh bones."""
    size = hand.about(1.0, 0.04)
    for name, side in SIDES:
        z, y, x = HIP
        ball = hand.ellipsoid((z, y, side * x), (23.5 * size,) * 3, share=0.02)
        hand.add(f"{name} hip", _hip(hand, ball, side), *BONE)
        gap = Ellipsoid(ball.centre, ball.half + 2.0, ball.axes)
        hand.add("", gap, "cartilage")
        hand.add(f"{name} femur", _femur(hand, ball, side), *BONE)


def _hip(hand: Hand, ball: Ellipsoid, side: float) -> Solid:
    z, y, _ = HIP
    wing = sheet(WING[0], WING[1], side)
    rami = [
        ([(z + 12, y - 24, side * 74), (-158, -44, side * 42), (-164, -52, side * 9)], (11, 8, 8)),
        ([(-160, -52, side * 9), (-186, -46, side * 9)], (8, 7)),
        ([(-186, -46, side * 9), (-212, -8, side * 36), (-220, 36, side * 54)], (7, 6, 10)),
        ([(-216, 40, side * 56), (-170, 40, side * 64), (-118, 26, side * 70)], (14, 12, 12)),
    ]
    arms = strands(*(hand.tube(path, radii, stray=1.0, step=14) for path, radii in rami))
    # The socket: a cup around the ball, open to the side, to the front and below.
    outward = np.array([-0.45, -0.25, 0.86 * side])
    outward /= np.linalg.norm(outward)
    cup = Common(
        (
            Ellipsoid(ball.centre, ball.half + 9.0, ball.axes),
            Half(outward, float(outward @ ball.centre) + 6.0),
        )
    )
    return Union((wing, arms, cup), blend=5.0)


def _femur(hand: Hand, ball: Ellipsoid, side: float) -> Solid:
    z, y, x = HIP
    neck = [ball.centre, (z - 20, y + 8, side * (x + 28)), (z - 30, y + 12, side * (x + 40))]
    shaft = [
        (z - 10, y + 18, side * (x + 44)),
        (z - 45, y + 14, side * (x + 36)),
        (z - 90, y + 8, side * (x + 30)),
        (z - 185, y - 2, side * (x + 20)),
    ]
    knob = hand.ellipsoid((z - 75, y + 18, side * (x + 20)), (12, 9, 9))
    tubes = strands(hand.tube(neck, [14, 14, 16]), hand.tube(shaft, [11, 17, 15, 14], step=14))
    return Union((ball, tubes, knob), blend=8.0)
