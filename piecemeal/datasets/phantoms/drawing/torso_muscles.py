"""Named muscles of a torso: the buttocks, and the columns in front of and behind the spine."""

from scipy.interpolate import PchipInterpolator

from piecemeal.datasets.phantoms.drawing.parts import SIDES, Hand, sheet
from piecemeal.datasets.phantoms.drawing.solids import Common, Grown, Solid, Union

# Points of the left side: (z, y, x, half thickness) mm; triangles by their letters.
MAXIMUS = (
    {
        "a": (-28, 84, 60, 7),
        "b": (-75, 88, 38, 11),
        "c": (-115, 86, 24, 13),
        "d": (-160, 78, 22, 13),
        "e": (-215, 66, 50, 13),
        "f": (-205, 45, 110, 10),
        "g": (-165, 40, 140, 8),
        "h": (-105, 58, 120, 10),
        "i": (-60, 72, 92, 9),
        "m": (-140, 74, 78, 22),
    },
    "mab mbc mcd mde mef mfg mgh mhi mia",
)
MEDIUS = (
    {
        "a": (-8, 30, 130, 4),
        "b": (-42, -42, 136, 6),
        "c": (-22, 66, 86, 5),
        "d": (-80, -30, 134, 13),
        "e": (-85, 42, 112, 15),
        "f": (-150, 16, 138, 8),
        "g": (-60, 10, 130, 11),
    },
    "gab gbd gdf gfe gec gca",
)
MINIMUS = (
    {
        "a": (-42, -15, 122, 5),
        "b": (-55, 35, 102, 6),
        "c": (-105, -28, 112, 9),
        "d": (-100, 28, 98, 10),
        "e": (-148, -4, 122, 7),
    },
    "abc bcd cde",
)


def add_gluteal_muscles(hand: Hand, hull: Solid) -> None:
    """Add the three muscles of each buttock, a little fat between them."""
    size = hand.about(1.1, 0.12)
    for muscle, (points, triangles) in (
        ("gluteus maximus", MAXIMUS),
        ("gluteus medius", MEDIUS),
        ("gluteus minimus", MINIMUS),
    ):
        for name, side in SIDES:
            moved = {
                letter: (*(place + hand.shift(2.0)), half * hand.about(size, 0.05))
                for letter, (*place, half) in points.items()
            }
            belly = Common((sheet(moved, triangles, side), hull))
            hand.add("", Grown(belly, 2.2), "fat", over=("muscle",))
            hand.add(f"{name} {muscle}", belly, "muscle", over=("muscle", "fat"))


def add_columns(hand: Hand, spine: PchipInterpolator) -> None:
    """Add psoas with iliacus, the square muscle of the loin, and the columns along the back."""
    build = hand.about(1.0, 0.1)
    for name, side in SIDES:
        psoas = [
            (132, float(spine(132)) + 2, side * 24),
            (90, float(spine(90)) + 6, side * 32),
            (40, float(spine(40)) + 10, side * 43),
            (-10, float(spine(-10)) - 6, side * 50),
            (-60, -2, side * 62),
            (-105, -24, side * 78),
            (-150, -30, side * 86),
            (-185, -6, side * 92),
            (-215, 14, side * 92),
        ]
        radii = [r * build for r in (4, 12, 18, 21, 19, 19, 17, 13, 8)]
        long = hand.tube(psoas, radii, stray=1.5, step=14)
        iliacus = sheet(
            {
                "a": (-15, 30, 112, 5 * build),
                "b": (-20, 62, 72, 5 * build),
                "c": (-50, -35, 116, 8 * build),
                "d": (-75, 20, 82, 9 * build),
                "e": (-105, -20, 88, 13 * build),
            },
            "abd acd cde",
            side,
        )
        hand.add(f"{name} iliopsoas", Union((long, iliacus), blend=6.0), "muscle")
        loin = [(-2, 48, side * 82), (50, 42, side * 72), (125, 52, side * 48)]
        square = hand.tube(loin, [11 * build, 13 * build, 6], step=20)
        hand.add("", square, "muscle", over=("visceral fat",))
    heights = (-118, -60, -10, 50, 110, 170, 240, 310, 370, 430, 475)
    behind = (28, 44, 52, 52, 49, 44, 38, 37, 37, 40, 42)
    aside = (14, 28, 34, 36, 36, 33, 29, 27, 25, 22, 20)
    radii = (6, 14, 20, 23, 22, 20, 16, 14, 13, 14, 14)
    for name, side in SIDES:
        bundles = []
        for shift in (-0.32, 0.32):
            path = [
                (z, float(spine(z)) + b - 0.12 * shift * r, side * (a + shift * 1.3 * r))
                for z, b, a, r in zip(heights, behind, aside, radii, strict=True)
            ]
            wide = [r * build * (0.95 if shift < 0 else 0.85) for r in radii]
            bundles.append(hand.tube(path, wide, stray=0.8, step=18))
        column = Union(tuple(bundles), blend=4.0)
        over = ("muscle", "fat", "visceral fat")
        hand.add("", Grown(column, 1.8), "fat", over=over)
        hand.add(f"{name} autochthon", column, "muscle", over=over)
