"""Noise, blur, brightness, contrast, low resolution and gamma of images (n, channels, *space).

Images are float32. All channels of a sample share its parameters: they are neighbouring slices of
one scan. Numbers that differ from sample to sample come as (n, 1, ..., 1), sigmas of the blur and
the shares of voxels that a low resolution leaves as arrays (n,).
Augmentation draws them, and so do methods whose loss compares two views of an image.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def noise(images: Tensor, sigma: Tensor, seeds: np.ndarray) -> Tensor:
    """Add Gaussian noise, every sample's from a seed of its own."""
    generator = torch.Generator(images.device)
    values = torch.empty_like(images)
    for row, seed in zip(values, seeds.tolist(), strict=True):
        row.normal_(generator=generator.manual_seed(seed))
    return values.mul_(sigma).add_(images)


def blur(images: Tensor, sigma: np.ndarray, reach: int, axes: tuple[int, ...]) -> Tensor:
    """Mean weighted by a Gaussian of `sigma` (n,) voxels, along one axis after another.

    Cut off at `reach` voxels and at the window's border.
    """
    gaussian = np.exp(-0.5 * (np.arange(1, reach + 1) / sigma[:, None]) ** 2).astype(np.float32)
    # To the device without waiting for it.
    weights = torch.from_numpy(gaussian).to(images.device, non_blocking=True)
    weights = weights.view(len(images), reach, *[1] * (images.ndim - 1))
    for axis in axes:
        shape = [len(images)] + [1] * (images.ndim - 1)
        shape[axis] = images.shape[axis]
        inside = _weighted_sum(images.new_ones(shape), weights, axis)
        images = _weighted_sum(images, weights, axis).div_(inside)
    return images


def brightness(images: Tensor, factor: Tensor, shift: Tensor) -> Tensor:
    """Multiply, then add."""
    return (images * factor).add_(shift)


def contrast(images: Tensor, factor: Tensor, keep_range: bool) -> Tensor:
    """Multiply the distance to the sample's mean; cut off at its old range if that is kept."""
    mean = _mean(images)
    changed = (images - mean).mul_(factor).add_(mean)
    return changed.clamp_(*_range(images)) if keep_range else changed


def low_resolution(images: Tensor, factor: np.ndarray, axes: tuple[int, ...]) -> Tensor:
    """Take each sample's nearest voxels on a grid of `factor` (n,) as many, and go back linearly.

    Along one axis after another; voxels are at the centres of equal parts of the window (as torch's
    `nearest-exact`, then `linear`). A grid has the nearest whole number of voxels, one at least.
    """
    for axis in axes:
        length = images.shape[axis]
        few = np.maximum(np.rint(length * factor), 1)[:, None]
        place = np.clip((np.arange(length) + 0.5) * few / length - 0.5, 0, few - 1)
        before = np.floor(place)
        ends = (before, np.minimum(before + 1, few - 1))
        voxels = [np.floor((end + 0.5) * length / few).astype(np.int64) for end in ends]
        shape = [len(images)] + [1] * (images.ndim - 1)
        shape[axis] = length
        weight, *sources = (
            torch.from_numpy(part).to(images.device, non_blocking=True).view(shape)
            for part in ((place - before).astype(np.float32), *voxels)
        )
        images = torch.lerp(*(images.take_along_dim(one, axis) for one in sources), weight)
    return images


def gamma(images: Tensor, exponent: Tensor, sign: Tensor, keep_statistics: bool) -> Tensor:
    """Raise to a power, the sample's lowest counting as 0 and its highest as 1.

    Where `sign` is -1 the negative image is raised, so that 0 and 1 change places. A sample of
    one intensity stays as it is.
    """
    tiny = torch.finfo(images.dtype).tiny
    changed = images * sign
    low, high = _range(changed)
    width = high - low
    changed.sub_(low).div_(width.clamp(min=tiny))
    # One by one: the last digit of a power depends on how the work is split between threads.
    for sample, power in zip(changed, exponent.flatten(), strict=True):
        sample.pow_(power)
    changed.mul_(width).add_(low).mul_(sign)
    if keep_statistics:
        changed.sub_(_mean(changed)).mul_(_deviation(images) / _deviation(changed).clamp(min=tiny))
        changed.add_(_mean(images))
    return changed


def _weighted_sum(values: Tensor, weights: Tensor, axis: int) -> Tensor:
    """Sum of the voxels at distances 0, 1, ..., with weights 1, weights[:, 0], ..."""
    length, total = values.shape[axis], values.clone()
    for offset, weight in enumerate(weights.unbind(1)[: length - 1], start=1):
        here, there = (0, length - offset), (offset, length - offset)
        total.narrow(axis, *here).addcmul_(values.narrow(axis, *there), weight)
        total.narrow(axis, *there).addcmul_(values.narrow(axis, *here), weight)
    return total


def _mean(images: Tensor) -> Tensor:
    # Line by line first: one long sum is split by the number of samples and threads, and its last
    # digits with it.
    mean = images.mean(-1).flatten(1).mean(1)
    return mean.view(-1, *[1] * (images.ndim - 1))


def _deviation(images: Tensor) -> Tensor:
    return _mean((images - _mean(images)).square_()).sqrt()


def _range(images: Tensor) -> tuple[Tensor, Tensor]:
    axes = tuple(range(1, images.ndim))
    return images.amin(axes, keepdim=True), images.amax(axes, keepdim=True)
