"""Smooth implicit shapes on a pixel grid, in millimetres.

A shape is a *signed distance*: a float32 array, negative inside, in millimetres, exact to first
order at the boundary. Points of a plane are complex numbers x + iy (mm, y pointing down the
image), so that a rotation is a product and the harmonics of a contour are powers of the
direction. Arrays are (slice, row, column); per-slice parameters have shape (slices, 1, 1).
"""

import cmath

import numpy as np
from scipy.ndimage import zoom


def plane(shape: tuple[int, int], spacing: float, origin: complex = 0) -> np.ndarray:
    """Pixel centres of a (rows, columns) plane as complex64 (1, rows, columns), mm.

    The middle of the plane lies at `origin`.
    """
    rows, columns = ((np.arange(n) - (n - 1) / 2) * spacing for n in shape)
    points = columns[None, :] + 1j * rows[:, None] + origin
    return points[None].astype(np.complex64)


def harmonics(
    rng: np.random.Generator, amplitudes: list[float], slices: int = 1, drift: float = 0.0
) -> np.ndarray:
    """Random complex Fourier coefficients (order, slices, 1, 1), first order first.

    `amplitudes` are the standard deviations of orders 1, 2, ...; along the slices a coefficient
    moves linearly by a random step of `drift` times its amplitude, so neighbours look alike.
    """
    scale = np.asarray(amplitudes)[:, None] / np.sqrt(2)

    def normal() -> np.ndarray:
        return scale * (rng.standard_normal(scale.shape) + 1j * rng.standard_normal(scale.shape))

    along = np.linspace(-1, 1, slices) if slices > 1 else np.zeros(1)
    return (normal() + drift * normal() * along)[..., None, None].astype(np.complex64)


def series(direction: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """Real Fourier series sum_m Re(c_m e^(i m theta)) at unit complex `direction`."""
    total = coefficients[-1] * direction
    for coefficient in coefficients[-2::-1]:
        total = (total + coefficient) * direction
    return total.real


def direction(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance from the origin and unit direction of complex points."""
    radius = np.sqrt(points.real**2 + points.imag**2) + np.float32(1e-4)
    return radius, points / radius


def ellipse(
    points: np.ndarray,
    centre: complex | np.ndarray,
    half_axes: tuple,
    turn: float = 0.0,
    wobble: np.ndarray | None = None,
) -> np.ndarray:
    """Signed distance (mm) to an ellipse, optionally with a wobbling contour.

    half_axes: along and across the direction `turn` (radians), mm, numbers or arrays.
    wobble: Fourier coefficients of the relative radius, see `harmonics`.
    """
    local = (points - centre) * cmath.rect(1, -turn)
    across, down = (
        np.maximum(np.asarray(half, dtype=np.float32), np.float32(1e-3)) for half in half_axes
    )
    u, v = local.real / across, local.imag / down
    level = np.sqrt(u * u + v * v) + np.float32(1e-4)
    # Level / |gradient| turns the level, which has no unit, into millimetres near the contour.
    unit = level / np.sqrt((u / across) ** 2 + (v / down) ** 2 + np.float32(1e-12))
    if wobble is not None:
        level = level / (1 + series((u + 1j * v) / level, wobble))
    return (level - 1) * unit


def coverage(distance: np.ndarray, width: float | np.ndarray) -> np.ndarray:
    """Fraction of a pixel inside the shape: a ramp over `width` mm across the boundary."""
    return np.clip(np.float32(0.5) - distance / np.asarray(width, np.float32), 0, 1)


def paint(canvas: np.ndarray, fraction: np.ndarray, value: float | np.ndarray) -> None:
    """Lay a tissue over `canvas` in place, mixing by `fraction` (partial volume)."""
    canvas += fraction * (value - canvas)


def texture(rng: np.random.Generator, shape: tuple[int, ...], grain: float) -> np.ndarray:
    """Smooth random field, float32, about zero mean and unit deviation, in-plane.

    `grain` is the pixel distance between independent values; every slice is its own draw.
    """
    slices, *inplane = shape
    coarse = [max(2, int(np.ceil(n / grain)) + 1) for n in inplane]
    field = rng.standard_normal((slices, *coarse), dtype=np.float32)
    factors = (1, *((n / c) for n, c in zip(inplane, coarse, strict=True)))
    field = zoom(field, factors, order=1, mode="nearest", grid_mode=True)
    return field / np.float32(0.67)
