"""The CT imaging model: Hounsfield units of tissues by contrast phase, blur, noise, storage."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from piecemeal.datasets.phantoms.drawing.tissues import TISSUE, TISSUES
from piecemeal.datasets.phantoms.drawing.torso import Anatomy
from piecemeal.errors import InputError

PHASES = ("native", "arterial", "portal", "urographic")
# Tissue: native mean and deviation between subjects, texture within, HU; then what contrast adds
# in the arterial, portal venous and urographic phase. Means of common textbooks, rounded.
LEVELS = {
    "air": (-1000, 0, 0, 0, 0, 0),
    "skin": (10, 12, 12, 5, 10, 5),
    "fat": (-104, 6, 9, 0, 1, 1),
    "visceral fat": (-98, 7, 13, 1, 3, 2),
    "mediastinal fat": (-88, 10, 16, 1, 4, 2),
    "muscle": (52, 6, 9, 5, 10, 8),
    "lung": (-840, 35, 38, 5, 10, 5),
    "cortical bone": (540, 90, 120, 0, 0, 0),
    "spongy bone": (170, 50, 55, 5, 12, 8),
    "cartilage": (95, 18, 22, 0, 0, 0),
    "disc": (80, 10, 10, 0, 0, 0),
    "spinal canal": (32, 6, 8, 0, 4, 2),
    "liver": (56, 8, 7, 16, 54, 38),
    "spleen": (48, 5, 6, 62, 68, 42),
    "pancreas": (40, 9, 11, 60, 50, 32),
    "adrenal": (26, 8, 8, 38, 44, 28),
    "renal cortex": (33, 4, 9, 120, 150, 110),
    "renal medulla": (32, 4, 9, 45, 128, 130),
    "renal pelvis": (8, 5, 6, 0, 12, 620),
    "urine": (6, 5, 4, 0, 4, 560),
    "bladder wall": (38, 5, 8, 12, 26, 22),
    "bile": (10, 7, 4, 0, 0, 0),
    "gullet wall": (38, 6, 9, 24, 30, 22),
    "gastric wall": (40, 9, 9, 34, 42, 28),
    "gastric content": (22, 24, 12, 0, 0, 0),
    "bowel wall": (38, 9, 10, 38, 46, 30),
    "bowel content": (26, 18, 14, 4, 8, 6),
    "stool": (22, 28, 40, 0, 0, 0),
    "gas": (-960, 20, 25, 0, 0, 0),
    "arterial blood": (42, 4, 6, 270, 112, 78),
    "venous blood": (42, 4, 8, 40, 98, 76),
    "portal blood": (42, 4, 6, 60, 122, 80),
    "heart muscle": (46, 5, 8, 75, 62, 42),
    "heart blood": (42, 4, 7, 240, 110, 78),
    "prostate or uterus": (40, 6, 10, 30, 48, 36),
    "gland": (35, 12, 18, 20, 22, 15),
    "liver tumour": (40, 8, 11, 12, 22, 24),
    "kidney tumour": (34, 7, 14, 70, 58, 40),
    "necrosis": (22, 6, 9, 2, 4, 4),
}


@dataclass(frozen=True)
class CtScanner:
    """How one subject was scanned.

    noise: standard deviation, HU. blur_mm: standard deviation of the point spread, mm.
    padding: stored value outside the circular field of view, None for a square one.
    offset: added to the Hounsfield units on storage. clip: lowest and highest stored value.
    """

    noise: float = 12.0
    blur_mm: float = 1.0
    padding: float | None = None
    offset: float = 0.0
    clip: tuple[float, float] = (-1024.0, 3071.0)


def tissue_levels(rng: np.random.Generator, phase: str) -> np.ndarray:
    """Hounsfield units of TISSUES in one subject at a contrast phase, float32.

    How much contrast the subject got, and how late, is common to all tissues; the rest varies for
    each. Ranges of neighbours overlap.
    """
    if phase not in PHASES:
        raise InputError(f"contrast phase {phase!r}: expected one of {', '.join(PHASES)}")
    table = np.array([LEVELS[name] for name in TISSUES], np.float32)
    share = np.zeros((4, 1))
    share[PHASES.index(phase)] = 1
    if phase != "native":
        # The scan starts early or late: a little of another phase is mixed in.
        other = "portal" if phase == "arterial" else "arterial"
        late = rng.uniform(0, 0.25)
        share[PHASES.index(phase)] -= late
        share[PHASES.index(other)] += late
    gain = (table[:, 3:] @ share[1:, 0]) * rng.uniform(0.75, 1.2)
    gain *= np.exp(rng.normal(0, 0.10, len(TISSUES)))
    return (table[:, 0] + table[:, 1] * rng.standard_normal(len(TISSUES)) + gain).astype(np.float32)


def paint_ct(
    rng: np.random.Generator, anatomy: Anatomy, *, phase: str = "portal", table: bool = True
) -> np.ndarray:
    """Hounsfield units, float32 (z, y, x), of a drawn body in a contrast `phase`.

    table: show the couch under the patient. Raises InputError for an unknown phase.
    """
    levels = tissue_levels(rng, phase)
    grain = np.array([LEVELS[name][2] for name in TISSUES], np.float32)
    spacing = anatomy.grid.spacing
    image = levels[anatomy.tissue]
    field = texture(rng, anatomy.tissue.shape, spacing)
    image += grain[anatomy.tissue] * field
    # Vessels too small to draw, seen in lung only.
    vessels = np.float32(220) * np.maximum(field - np.float32(1.5), 0)
    np.add(image, vessels, out=image, where=anatomy.tissue == TISSUE["lung"])
    if table:
        _paint_couch(rng, image, anatomy)
    return image


def texture(
    rng: np.random.Generator, shape: tuple[int, ...], spacing: tuple[float, float, float]
) -> np.ndarray:
    """Random field of zero mean and unit deviation, float32, with grains of some 5 mm."""
    field = rng.standard_normal(shape, dtype=np.float32)
    field = gaussian_filter(field, [max(0.35, 2.0 / step) for step in spacing], truncate=2.0)
    return field / field.std()


def _paint_couch(rng: np.random.Generator, image: np.ndarray, anatomy: Anatomy) -> None:
    """Lay the couch's curved shell under the body, where the field of view holds it."""
    body = (anatomy.tissue > 0).any((0, 2))
    if not body.any():
        return
    _, y, x = anatomy.grid.axes()
    step = max(anatomy.grid.spacing[1], 3.0)
    lowest = y[np.flatnonzero(body)[-1]]
    dip = rng.uniform(4, 12) + step
    curve = (x / 230) ** 2 * rng.uniform(20, 55)
    depth = y[:, None] - (lowest + dip - curve)[None, :]
    shell = (np.abs(depth) < step / 2) & (np.abs(x) < 235)
    foam = (depth >= step / 2) & (depth < rng.uniform(25, 45)) & (np.abs(x) < 235)
    outside = anatomy.tissue == 0
    np.copyto(image, np.float32(rng.uniform(-250, 50)), where=outside & shell)
    np.copyto(image, np.float32(rng.uniform(-960, -900)), where=outside & foam)


def acquire_ct(
    rng: np.random.Generator,
    hu: np.ndarray,
    spacing: tuple[float, float, float],
    scanner: CtScanner,
) -> np.ndarray:
    """Stored CT values int16 (z, y, x) of Hounsfield units on voxels of `spacing` (z, y, x) mm."""
    image = gaussian_filter(hu, [scanner.blur_mm / step for step in spacing], truncate=3.0)
    noise = rng.standard_normal(hu.shape, dtype=np.float32)
    # Filtered back projection leaves grains in plane, not white noise.
    noise = gaussian_filter(noise, (0, 0.5, 0.5), truncate=2.0)
    image += np.float32(scanner.noise) * noise / noise.std()
    image = np.clip(np.rint(image + scanner.offset), *scanner.clip)
    if scanner.padding is not None:
        rows, columns = ((np.arange(n) - (n - 1) / 2) for n in hu.shape[1:])
        radius = min(hu.shape[1:]) / 2
        away = rows[:, None] ** 2 + columns[None, :] ** 2 > radius**2
        image[:, away] = scanner.padding
    return image.astype(np.int16)
