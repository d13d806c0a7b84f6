"""Heart, great vessels, windpipe and gullet."""

import numpy as np

from piecemeal.datasets.phantoms.drawing.parts import SIDES, Hand, Layer, strands
from piecemeal.datasets.phantoms.drawing.solids import Common, Grown, Tube
from piecemeal.datasets.phantoms.drawing.torso_walls import Habitus

Triple = tuple[float, float, float]
CHEST = ("mediastinal fat", "lung", "heart muscle", "heart blood")
GULLET = ("mediastinal fat", "visceral fat", "lung", "muscle", "heart muscle", "heart blood")


def add_heart(hand: Hand, body: Habitus) -> None:
    """Add the heart with its chambers, the stems of its vessels, and vessels in the lungs."""
    size = hand.about(1.0, 0.07)
    centre = np.array([234 + 0.9 * body.breath, -30, 22]) + hand.shift(3)
    # The long axis points to the left, to the front and down.
    turn = (32, -52, 14)
    whole = hand.ellipsoid(centre, (70 * size, 51 * size, 54 * size), turn)
    hand.add("heart", hand.rippled(whole, 2.0, 60), "heart muscle", over=CHEST)

    def chamber(offset: Triple, half: Triple, tissue: str) -> None:
        cut = hand.ellipsoid(centre + np.array(offset) * size, np.array(half) * size, turn)
        inside = Common((hand.rippled(cut, 1.5, 35), Grown(whole, -4.0)))
        hand.add(None, inside, tissue, over=("heart muscle",))

    chamber((-12, -2, 24), (34, 15, 16), "heart blood")  # left ventricle
    chamber((-14, -22, -6), (32, 14, 20), "venous blood")  # right ventricle
    chamber((16, 26, 2), (18, 17, 28), "heart blood")  # left atrium
    chamber((8, 2, -32), (26, 24, 14), "venous blood")  # right atrium

    top = centre[0]
    stem = [(top + 12, -32, 12), (top + 40, -30, 14), (top + 62, -2, 20)]
    pulmonary = [hand.tube(stem, [13, 14, 12], stray=1.0)]
    for _, side in SIDES:
        z = top + 58
        hilum = [(z, 4, side * 14 + 6), (z - 6, 12, side * 42), (z - 40, 24, side * 62)]
        pulmonary.append(hand.tube(hilum, [11, 9, 5]))
        for _ in range(11):
            pulmonary.append(_twig(hand, np.array([z - 14, 14, side * 46]), side))
    hand.add(None, strands(*pulmonary), "venous blood", over=("lung", "mediastinal fat"))


def _twig(hand: Hand, start: np.ndarray, side: float) -> Tube:
    """A vessel from the root of a lung out towards its surface."""
    way = hand.rng.standard_normal(3) * [1.0, 1.0, 0.7]
    way[2] = side * abs(way[2])
    way *= hand.rng.uniform(45, 85) / np.linalg.norm(way)
    bend = start + 0.5 * way + hand.shift(6)
    return hand.tube([start, bend, start + way], [4.5, 3.0, 1.6], step=16)


def add_airways(hand: Hand, body: Habitus) -> None:
    """Add windpipe and main bronchi, gullet, and the thyroid gland at the neck."""
    fork = 306 + 0.4 * body.breath
    path = [(455, -6, 0), (400, 2, 1), (350, 10, 0), (fork, 16, 0)]
    back = body.back
    gullet = [
        (455, 10, 2),
        (400, back(400) - 18, 4),
        (350, back(350) - 24, 4),
        (290, back(290) - 24, 4),
        (235, back(235) - 34, 8),
        (200 + 0.6 * body.breath, back(200) - 46, 16),
        (182 + 0.6 * body.breath, back(185) - 47, 24),
        (170 + 0.6 * body.breath, back(175) - 44, 38),
    ]
    radii = np.array([7.5, 8, 8, 8, 8, 8.5, 9, 9]) * hand.about(1.0, 0.08)
    tube = hand.tube(gullet, radii, stray=1.0)
    hand.add("esophagus", tube, "gullet wall", Layer("gas", 6.5, hand.waves(50, 3)), over=GULLET)
    for _, side in SIDES:
        lobe = hand.ellipsoid((418, -8, side * 17), (18, 9, 8))
        hand.add("", lobe, "gland", over=("muscle", "fat", "mediastinal fat"))
    pipe = hand.tube(path, [9.5, 9, 9, 9.5])
    over = ("muscle", "fat", "mediastinal fat", "lung", "gland")
    hand.add("", pipe, "cartilage", over=over, of="trachea")
    lumen = hand.tube(path, [8.5, 8.3, 8.3, 9])
    hand.add("trachea", lumen, "gas")
    for _, side in SIDES:
        main = [(fork + 2, 16, 0), (fork - 20, 18, side * 22), (fork - 38, 20, side * 44)]
        hand.add("", hand.tube(main, [7, 6, 4.5]), "gas", over=("mediastinal fat", "lung"))
