"""Noise, blur, brightness, contrast, low resolution and gamma of samples that the coin chose.

What each does is said in piecemeal.intensities; here its parameters are drawn, one for all channels
of a sample.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from torch import Tensor

from piecemeal.intensities import blur, brightness, contrast, gamma, low_resolution, noise
from piecemeal.training.augmentation.draws import Draw, Draws, change, column

REACH = 4  # sigmas at which a blur is cut off


def transform(images: Tensor, settings: dict[str, Any], draws: Draws) -> None:
    """Do in place what `settings` (operation -> its options) says."""
    for name, operation in _OPERATIONS.items():
        if options := settings.get(name):
            draw = draws.of(name)
            operation(images, draw.hits(options["probability"]), options, draw)


def _noise(images: Tensor, hits: np.ndarray, options: dict[str, Any], draw: Draw) -> None:
    sigma = draw.uniform(*options["sigma"])[hits]
    seeds = draw.integers(0, 2**63)[hits]
    change(images, hits, lambda t: noise(t, column(sigma, t), seeds))


def _blur(images: Tensor, hits: np.ndarray, options: dict[str, Any], draw: Draw) -> None:
    sigma = draw.uniform(*options["sigma"])[hits]
    reach = math.ceil(REACH * options["sigma"][1])
    change(images, hits, lambda t: blur(t, sigma, reach, _axes(options)))


def _brightness(images: Tensor, hits: np.ndarray, options: dict[str, Any], draw: Draw) -> None:
    factor, shift = draw.uniform(*options["factor"])[hits], draw.uniform(*options["shift"])[hits]
    change(images, hits, lambda t: brightness(t, column(factor, t), column(shift, t)))


def _contrast(images: Tensor, hits: np.ndarray, options: dict[str, Any], draw: Draw) -> None:
    factor = draw.uniform(*options["factor"])[hits]
    change(images, hits, lambda t: contrast(t, column(factor, t), options["keep_range"]))


def _low_resolution(images: Tensor, hits: np.ndarray, options: dict[str, Any], draw: Draw) -> None:
    factor = draw.uniform(*options["factor"])[hits]
    change(images, hits, lambda t: low_resolution(t, factor, _axes(options)))


def _gamma(images: Tensor, hits: np.ndarray, options: dict[str, Any], draw: Draw) -> None:
    exponent = draw.uniform(*options["exponent"])[hits]
    sign = np.where(draw.uniform() < options["inverted"], -1.0, 1.0)[hits]
    keep = options["keep_statistics"]
    change(images, hits, lambda t: gamma(t, column(exponent, t), column(sign, t), keep))


def _axes(options: dict[str, Any]) -> tuple[int, ...]:
    return (-3, -2, -1) if options["through_plane"] else (-2, -1)


_OPERATIONS = {
    "noise": _noise,
    "blur": _blur,
    "brightness": _brightness,
    "contrast": _contrast,
    "low_resolution": _low_resolution,
    "gamma": _gamma,
}
