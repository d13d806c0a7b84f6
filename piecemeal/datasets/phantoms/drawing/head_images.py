"""How a parametric head looks on CT and MR: tissue levels of one subject, metal in its teeth."""

import numpy as np

from piecemeal.datasets.phantoms.drawing.figures import TISSUES
from piecemeal.datasets.phantoms.drawing.spaces import Space

Palette = dict[str, tuple[float, float]]
SOFTEST_BODY = -700.0  # HU; streaks are drawn in what is denser


def ct_palette(rng: np.random.Generator) -> Palette:
    """Hounsfield units (level, unevenness) of one subject, with or without contrast agent."""
    levels = {tissue: (ct, uneven) for tissue, (ct, uneven, _) in TISSUES.items()}
    dose = float(rng.choice([0, 1], p=[0.4, 0.6]) * rng.uniform(60, 160))
    soft = rng.normal(0, 5)
    shifts = {
        "artery": dose * rng.uniform(0.8, 1.1),
        "vein": dose * rng.uniform(0.6, 1.3),
        "thyroid": 0.4 * dose + rng.normal(0, 15),
        "gland": 0.25 * dose + rng.normal(0, 12),
        "parotid": 0.15 * dose + rng.normal(0, 26),
        "mucosa": 0.2 * dose + soft,
        "muscle": 0.08 * dose + soft,
        "fat": rng.normal(0, 6),
        "cartilage": rng.gamma(1.5, 80),
        "cortical": rng.normal(0, 90),
        "spongy": rng.normal(0, 50),
    }
    shifted = {name: (levels[name][0] + by, levels[name][1]) for name, by in shifts.items()}
    return levels | shifted


def mr_palette(rng: np.random.Generator) -> Palette:
    """Signal (level, unevenness) of T1-weighted MR of one subject, fat at about 1."""
    return {
        tissue: (float(signal * rng.normal(1, 0.07)), 0.12 * signal)
        for tissue, (_, _, signal) in TISSUES.items()
    }


def add_streaks(
    rng: np.random.Generator, hu: np.ndarray, space: Space, fillings: np.ndarray
) -> None:
    """Bright and dark rays through the slices of metal `fillings` (n, 3) in mm, in place."""
    for z, y, x in fillings:
        near = np.abs(space.z[:, 0, 0] - z) < 12
        if not near.any():
            continue
        down, right = space.y[near] - np.float32(y), space.x[near] - np.float32(x)
        away = np.hypot(down, right)
        angle = np.arctan2(down, right)
        rays = sum(
            np.cos(order * angle + phase) / order**0.5
            for order, phase in zip(range(2, 14, 2), rng.uniform(0, 2 * np.pi, 6), strict=True)
        )
        fade = np.exp(-np.abs(space.z[near] - z) / 4) * np.exp(-away / 45) * away / (away + 6)
        strength = rng.uniform(150, 550)
        block = hu[near]
        block += strength * fade * rays * (block > SOFTEST_BODY)
        block[away < 4] = 3000
        hu[near] = block
