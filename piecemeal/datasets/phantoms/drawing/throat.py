"""Throat of a parametric body: airway, larynx, thyroid, gullet, and the great vessels beside it.

Positions are those of `neck`.
"""

import numpy as np

from piecemeal.datasets.phantoms.drawing.figures import Part, bone, part
from piecemeal.datasets.phantoms.drawing.lofts import Loft
from piecemeal.datasets.phantoms.drawing.neck import FLOOR, Neck


def throat(rng: np.random.Generator, neck: Neck, upper: np.ndarray) -> list[Part]:
    """Pharynx, larynx, thyroid, trachea and gullet.

    upper: places (n, 5) of z, y, x and half axes y, x of the airway above the larynx, falling.
    """
    z, deep = neck.larynx
    front, bottom = deep - 4, FLOOR
    wall = [(z - 34, 0, deep, 13, 13, 12), (z - 16, 0, deep, 17, 19, 14), (z, 0, deep, 19, 21, 17)]
    wall += [(z + 16, 0, deep + 2, 20, 17, 18), (z + 30, 0, deep + 8, 20, 16, 16)]
    wind = [
        (bottom, 2, -68, 9.5, 8, 8),
        (-190, 1, -59, 9.5, 8.5, 7.5),
        (z - 24, 0, deep + 2, 8, 9, 8),
    ]
    wind += [
        (z - 12, 0, front, 6, 10, 9),
        (z - 4, 0, front, 2.6, 11, 9),
        (z + 8, 0, front + 2, 6, 10, 7),
    ]
    wind += [(z + 22, 0, deep + 8, 12, 7, 6)]
    parts = [part(neck.stack(wall), "mucosa")]
    parts += _gullet(rng, neck)
    parts += _larynx(rng, neck)
    for half in (neck, neck.mirrored()):
        parts.append(part(half.ball((z - 28, deep + 4, 17), (21, 10, 8.5)), "thyroid", "thyroid"))
    parts.append(
        part(
            neck.tube([(z - 34, deep - 8, 10), (z - 34, deep - 12, 0), (z - 34, deep - 8, -10)], 4),
            "thyroid",
            "thyroid",
        )
    )
    trachea = neck.stack(
        [
            (bottom, 2, -68, 11.5, 10, 10),
            (-190, 1, -59, 11.5, 10.5, 9.5),
            (z - 22, 0, deep + 2, 10.5, 11, 10),
        ]
    )
    parts += [part(trachea, "cartilage"), part(neck.stack(wind), "air")]
    return [*parts, part(_airway(upper), "air")]


def _airway(upper: np.ndarray) -> Loft:
    z, y, x, half_y, half_x = upper[np.argsort(upper[:, 0])].T
    return Loft(np.stack([z, x, y, half_x, half_y, half_y], 1))


def _gullet(rng: np.random.Generator, neck: Neck) -> list[Part]:
    z, _ = neck.larynx
    left, wide = rng.normal(4, 2), rng.normal(1, 0.12)
    rows = [
        (FLOOR, left, -49, 10 * wide, 7 * wide, 6),
        (-190, left, -42, 9.5 * wide, 6.5 * wide, 6),
        (z - 26, 0.3 * left, -34, 9 * wide, 5.5 * wide, 5),
    ]
    parts = [part(neck.stack(rows), "mucosa", "esophagus")]
    muscle = neck.ball((z - 24, -33, 0), (7, 5.5, 11))
    parts.append(part(muscle, "mucosa", "cricopharyngeus"))
    for gas in rng.uniform(-260, z - 30, rng.integers(0, 4)):
        size = (rng.uniform(6, 22), 3.5 * wide, 5.5 * wide)
        parts.append(part(neck.ball((gas, -43, left), size), "air"))
    return parts


def _larynx(rng: np.random.Generator, neck: Neck) -> list[Part]:
    """Thyroid and cricoid cartilage, hyoid bone; the larynx and its upper part as outlined."""
    z, deep = neck.larynx
    size = rng.normal(1, 0.08)
    parts = []
    for half in (neck, neck.mirrored()):
        parts.append(
            part(
                half.plate(
                    [(z + 12, deep - 19, 0), (z + 15, deep + 2, 17), (z + 16, deep + 12, 20)],
                    [(z - 10, deep - 16, 0), (z - 12, deep, 16), (z - 12, deep + 10, 19)],
                    1.8,
                ),
                "cartilage",
            )
        )
        parts.append(
            bone(
                half.tube(
                    [(z + 27, deep - 14, 0), (z + 28, deep - 10, 12), (z + 32, deep + 12, 21)],
                    (4, 3.2, 2.4),
                ),
                1.2,
            )
        )
        parts.append(part(half.ball((z + 5, deep + 9, 6), (6, 4, 4)), "cartilage", "arytenoid"))
    ring = neck.stack([(z - 24, 0, deep + 2, 12, 12, 12), (z - 17, 0, deep + 2, 12, 11, 13)])
    rows = [(-15, 14, 15, 15), (-6, 16, 17, 16), (2, 17, 19, 16), (15, 18, 18, 16)]
    rows = [(z + up, 0, deep - 1, *(size * half for half in halves)) for up, *halves in rows]
    return [
        part(ring, "cartilage"),
        part(neck.stack(rows), "", "larynx"),
        part(neck.stack(rows[1:3]), "", "glottis"),
        part(neck.stack(rows[2:]), "", "supraglottic larynx"),
        *parts,
    ]


def vessels(rng: np.random.Generator, neck: Neck) -> list[Part]:
    """Carotid arteries and jugular veins, one of which is often larger."""
    parts = []
    for half, side in ((neck, "left"), (neck.mirrored(), "right")):
        artery = [(-16, -10, 27), (-60, -20, 27), (-90, -28, 27), (-130, -36, 23), (-175, -52, 16)]
        vein = [(-26, -4, 31), (-60, -8, 34), (-90, -18, 37), (-130, -30, 34), (-172, -56, 24)]
        size = rng.uniform(4.2, 7.2)
        parts += [
            part(half.tube(vein, (0.7 * size, size, size, size, 1.1 * size)), "vein"),
            part(half.tube(artery, (2.6, 2.8, 3.8, 3.4, 3.8)), "artery", f"{side} carotid"),
        ]
    return parts
