"""MR of the torso: signal of tissues by sequence, then the scanner of `mr` in three dimensions."""

import numpy as np
from scipy.ndimage import gaussian_filter

from piecemeal.datasets.phantoms.drawing import mr
from piecemeal.datasets.phantoms.drawing.ct import texture
from piecemeal.datasets.phantoms.drawing.tissues import TISSUES
from piecemeal.datasets.phantoms.drawing.torso import Anatomy, Grid
from piecemeal.errors import InputError

SEQUENCES = ("t1", "t2", "t1_fat_saturated", "t1_portal")
# Tissue: signal of each of SEQUENCES, bright fat near 1; what flows or is mixed varies most.
LEVELS = {
    "air": (0.01, 0.01, 0.01, 0.01),
    "skin": (0.5, 0.4, 0.3, 0.4),
    "fat": (1.0, 0.85, 0.18, 0.16),
    "visceral fat": (0.95, 0.78, 0.2, 0.18),
    "mediastinal fat": (0.9, 0.72, 0.22, 0.22),
    "muscle": (0.44, 0.2, 0.5, 0.42),
    "lung": (0.06, 0.07, 0.06, 0.08),
    "cortical bone": (0.07, 0.06, 0.06, 0.06),
    "spongy bone": (0.7, 0.5, 0.24, 0.26),
    "cartilage": (0.35, 0.3, 0.35, 0.3),
    "disc": (0.36, 0.5, 0.36, 0.3),
    "spinal canal": (0.24, 0.95, 0.25, 0.2),
    "liver": (0.55, 0.27, 0.66, 0.66),
    "spleen": (0.38, 0.5, 0.42, 0.72),
    "pancreas": (0.58, 0.38, 0.72, 0.64),
    "adrenal": (0.45, 0.36, 0.48, 0.56),
    "renal cortex": (0.46, 0.55, 0.52, 0.95),
    "renal medulla": (0.36, 0.68, 0.4, 0.88),
    "renal pelvis": (0.18, 1.0, 0.18, 0.24),
    "urine": (0.15, 1.1, 0.15, 0.14),
    "bladder wall": (0.42, 0.3, 0.46, 0.52),
    "bile": (0.32, 1.05, 0.38, 0.3),
    "gullet wall": (0.4, 0.34, 0.44, 0.5),
    "gastric wall": (0.42, 0.34, 0.46, 0.6),
    "gastric content": (0.26, 0.75, 0.28, 0.24),
    "bowel wall": (0.42, 0.34, 0.46, 0.62),
    "bowel content": (0.34, 0.6, 0.36, 0.3),
    "stool": (0.42, 0.34, 0.45, 0.38),
    "gas": (0.02, 0.02, 0.02, 0.02),
    "arterial blood": (0.2, 0.1, 0.3, 1.0),
    "venous blood": (0.26, 0.22, 0.3, 0.95),
    "portal blood": (0.26, 0.24, 0.3, 1.0),
    "heart muscle": (0.42, 0.26, 0.46, 0.58),
    "heart blood": (0.26, 0.16, 0.32, 0.95),
    "prostate or uterus": (0.42, 0.55, 0.46, 0.58),
    "gland": (0.5, 0.45, 0.5, 0.55),
    "liver tumour": (0.4, 0.46, 0.44, 0.48),
    "kidney tumour": (0.4, 0.52, 0.44, 0.62),
    "necrosis": (0.26, 0.8, 0.28, 0.24),
}
SPREAD = 0.13  # relative deviation of a tissue's signal between subjects


def acquire_mr(
    rng: np.random.Generator, anatomy: Anatomy, *, sequence: str = "t1", ceiling: int = 1500
) -> np.ndarray:
    """MR image int16 (z, y, x), 0 to `ceiling`, of a drawn body.

    sequence: one of SEQUENCES; InputError names them. Grey values mean nothing across subjects.
    """
    if sequence not in SEQUENCES:
        raise InputError(f"MR sequence {sequence!r}: expected one of {', '.join(SEQUENCES)}")
    levels = np.array([LEVELS[name][SEQUENCES.index(sequence)] for name in TISSUES])
    levels = (levels * np.exp(rng.normal(0, SPREAD, len(levels)))).astype(np.float32)
    signal = levels[anatomy.tissue]
    signal *= 1 + np.float32(0.09) * texture(rng, signal.shape, anatomy.grid.spacing)
    # Slices are thick: along z the profile reaches into the neighbours.
    signal = gaussian_filter(signal, (0.4, 0, 0), truncate=2.5)
    scanner = mr.Scanner(
        blur=rng.uniform(0.35, 0.6),
        noise=rng.uniform(0.012, 0.04),
        gain=ceiling * rng.uniform(0.4, 0.62),
        gamma=rng.uniform(0.88, 1.12),
        bias=bias_field(rng, anatomy.grid, 0.2),
    )
    return np.minimum(mr.acquire(rng, signal, scanner), ceiling).astype(np.int16)


def bias_field(rng: np.random.Generator, grid: Grid, strength: float) -> np.ndarray:
    """Smooth positive coil sensitivity over a grid, float32 (z, y, x), of mean log about zero.

    The exponential of a random quadratic polynomial of position; `strength` is the deviation of
    the log sensitivity at the edge of the field of view.
    """
    z, y, x = np.meshgrid(
        *(np.linspace(-1, 1, n, dtype=np.float32) for n in grid.shape), indexing="ij", sparse=True
    )
    weights = (rng.normal(0, strength, 7) * [1, 1, 1, 0.6, 0.6, 0.6, 0.6]).astype(np.float32)
    terms = (z, y, x, x * y, x * x - 0.33, y * y - 0.33, z * z - 0.33)
    return np.exp(sum(weight * term for weight, term in zip(weights, terms, strict=True)))
