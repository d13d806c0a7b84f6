"""Kidneys with ureters, adrenal glands, bladder, and the prostate or the uterus behind it."""

import numpy as np

from piecemeal.datasets.phantoms.drawing.parts import Hand, Layer, sheet
from piecemeal.datasets.phantoms.drawing.solids import Common, Outside, Solid
from piecemeal.datasets.phantoms.drawing.torso_organs import FREE, STOMACH
from piecemeal.datasets.phantoms.drawing.torso_walls import Habitus


def add_kidneys(hand: Hand, body: Habitus) -> dict[str, Solid]:
    """Add kidneys with sinus and pelvis, ureters and adrenal glands; return the kidneys."""
    found = {}
    for name, side, level in (("right", -1.0, 78.0), ("left", 1.0, 91.0)):
        found[f"{name} kidney"] = _add_kidney(hand, body, name, side, level + 0.6 * body.breath)
    return found


def _add_kidney(hand: Hand, body: Habitus, name: str, side: float, level: float) -> Solid:
    size = hand.about(1.0, 0.05)
    centre = np.array([level, body.back(level) + 17, side * 67]) + hand.shift(3) * [2, 1, 1]
    half = np.array([56, 29, 26]) * size
    # The upper pole leans to the spine and to the back; the hilum faces inwards and to the front.
    turn = (-side * 28, -side * 14, 12)
    bean = hand.ellipsoid(centre, half, turn, share=0.04)
    inward = bean.axes[2] * -side
    dent = hand.ellipsoid(centre + inward * 27 * size, np.array([17, 9, 13]) * size, turn)
    kidney = hand.rippled(Common((bean, Outside(dent))), 0.8, 30)
    around = hand.ellipsoid(centre, half + 5, turn, share=0, tilt=0)
    hand.add("", around, "visceral fat", over=("muscle",), of=f"{name} kidney")
    hand.add(
        f"{name} kidney",
        kidney,
        "renal cortex",
        Layer("renal medulla", 6.5 * size, hand.waves(22, 4, 0.45)),
        over=(*FREE, "liver", "spleen", "pancreas", *STOMACH, "muscle"),
    )
    sinus = hand.ellipsoid(centre + inward * 13 * size, np.array([23, 9, 14]) * size, turn)
    inside = Common((sinus, bean))
    over = ("renal cortex", "renal medulla")
    hand.add("", hand.rippled(inside, 1.5, 14), "visceral fat", over=over)
    pelvis = hand.ellipsoid(centre + inward * 16 * size, np.array([13, 4.5, 11]) * size, turn)
    over = ("renal cortex", "renal medulla", "visceral fat")
    hand.add("", pelvis, "renal pelvis", over=over, of=f"{name} kidney")
    _add_ureter(hand, body, name, side, centre + inward * 26 * size)
    top = centre[0] + 0.72 * half[0]
    _add_adrenal(hand, body, name, side, top)
    return bean


def _add_ureter(hand: Hand, body: Habitus, name: str, side: float, start: np.ndarray) -> None:
    """Ureter of a kidney, from the hilum at `start` over the psoas to the bladder."""
    path = [
        start,
        (start[0] - 40, start[1] - 14, side * 42),
        (0, body.back(0) - 22, side * 40),
        (-55, 12, side * 48),
        (-100, 30, side * 54),
        (-128, 8, side * 22),
    ]
    ureter = hand.tube(path, [4.5, 2.8, 2.6, 2.6, 2.6, 2.6], stray=1.0, step=12)
    hand.add("", ureter, "renal pelvis", over=("visceral fat", "muscle"), of=f"{name} kidney")


def _add_adrenal(hand: Hand, body: Habitus, name: str, side: float, top: float) -> None:
    """Adrenal gland: a front ridge with two wings behind it, at height `top`."""
    y = body.back(top)
    inner = 30 if side < 0 else 38
    front = y - 12 if side < 0 else y - 14
    points = {
        "a": (top + 8, front, side * inner, 3.0),
        "b": (top - 12, front - 2, side * inner, 3.2),
        "c": (top + 12, front + 22, side * (inner + 3), 2.2),
        "d": (top - 16, front + 20, side * (inner + 2), 2.6),
        "e": (top + 4, front + 18, side * (inner + 15), 2.2),
        "f": (top - 16, front + 14, side * (inner + 18), 2.6),
    }
    size = hand.about(1.0, 0.1)
    moved = {key: (*(row[:3] + hand.shift(1.0)), row[3] * size) for key, row in points.items()}
    gland = sheet(moved, "abc bcd abe bef")
    over = (*FREE, "renal cortex", "renal medulla", "liver", *STOMACH, "pancreas")
    hand.add(f"{name} adrenal gland", gland, "adrenal", over=over)


def add_pelvic_organs(hand: Hand, body: Habitus) -> None:
    """Add bladder, and prostate or uterus."""
    male = body.sex == "male"
    half = np.array([37, 35, 45]) * hand.rng.uniform(0.82, 1.2)
    # It fills upwards from its neck, which stands on the prostate in men.
    neck = -152 if male else -166
    centre = np.array([neck + half[0] * 0.95, -12, 0]) + hand.shift(2) * [0.3, 1, 1]
    bladder = hand.rippled(hand.ellipsoid(centre, half, (0, 0, -14)), 1.5, 50)
    over = (*FREE, "venous blood", "arterial blood", "muscle", "fat")
    if male:
        gland = hand.ellipsoid((-164, -6, 0), (18, 15, 23), (0, 0, 20), share=0.1)
        organ = hand.rippled(gland, 1.0, 25)
        floor = [(-170, -6, 0), (-205, -22, 0)]
    else:
        womb = [(-152, 20, 0), (-132, 22, 0), (-108, 18, 2), (-90, 4, 4)]
        radii = np.array([9, 11, 17, 15]) * hand.about(0.95, 0.12)
        organ = hand.rippled(hand.tube(womb, radii, stray=2.5), 1.0, 30)
        over = (*over, "urine")
        floor = [(-146, 18, 0), (-172, 12, 0), (-205, 0, 0)]
    # Below: the urethra with what is around it, or the vagina.
    hand.add("", hand.tube(floor, [11] * len(floor)), "muscle", over=FREE)
    hand.add("bladder", bladder, "bladder wall", Layer("urine", 2.6), over=(*FREE, "muscle"))
    hand.add("prostate or uterus", organ, "prostate or uterus", over=over)
