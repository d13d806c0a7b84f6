"""The MR imaging model: coil sensitivity, point spread, Rician noise, arbitrary gain."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter


@dataclass(frozen=True)
class Scanner:
    """How one subject was imaged; signal levels are relative to a bright tissue at about 1.

    blur: standard deviation of the point spread, pixels. noise: of each of the two channels.
    gain: grey values per unit of signal. gamma: contrast exponent. bias: field (1, rows, columns).
    """

    blur: float
    noise: float
    gain: float
    gamma: float
    bias: np.ndarray


def bias_field(rng: np.random.Generator, points: np.ndarray, strength: float) -> np.ndarray:
    """Smooth positive coil sensitivity of mean log about zero over the complex `points` (mm).

    A random quadratic polynomial of position in the exponent; `strength` is the standard
    deviation of the log sensitivity at the edge of the field of view.
    """
    reach = np.abs(points).max()
    x, y = points.real / reach, points.imag / reach
    terms = np.stack([x, y, x * y, x * x - 0.25, y * y - 0.25])
    weights = rng.normal(0, strength, len(terms)) * [1.0, 1.0, 0.6, 0.6, 0.6]
    return np.exp(np.tensordot(weights.astype(np.float32), terms, 1))


def acquire(rng: np.random.Generator, signal: np.ndarray, scanner: Scanner) -> np.ndarray:
    """Magnitude image, int16, of a signal (slices, rows, columns).

    Rician noise is the magnitude of a complex signal with Gaussian noise in both channels
    (Gudbjartsson and Patz, Magn Reson Med 1995).
    """
    seen = np.maximum(signal, 0) ** np.float32(scanner.gamma) * scanner.bias
    seen = gaussian_filter(seen, (0, scanner.blur, scanner.blur), truncate=2.5)
    real, imaginary = np.float32(scanner.noise) * rng.standard_normal(
        (2, *signal.shape), dtype=np.float32
    )
    magnitude = np.hypot(seen + real, imaginary)
    return np.clip(np.rint(magnitude * scanner.gain), 0, 32767).astype(np.int16)
