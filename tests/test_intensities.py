"""Noise, blur, brightness, contrast, low resolution and gamma by hand."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from piecemeal.intensities import blur, brightness, contrast, gamma, low_resolution, noise

HALF = 1 / math.sqrt(2 * math.log(2))  # sigma of a Gaussian that is 1/2 at a distance of 1


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values).view(-1, 1, 1, 1)


def lines(*values: list[float]) -> torch.Tensor:
    """Samples of one channel and one line."""
    return torch.tensor(values)[:, None, None, :]


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_brightness_multiplies_then_adds():
    found = brightness(lines([1.0, 2.0], [1.0, 2.0]), column(2, 1), column(1, -1))
    close(found, lines([3.0, 5.0], [0.0, 1.0]))


def test_contrast_spreads_about_the_mean():
    found = contrast(lines([0.0, 1.0, 5.0], [0.0, 1.0, 5.0]), column(2, 0.5), keep_range=False)
    close(found, lines([-2.0, 0.0, 8.0], [1.0, 1.5, 3.5]))


def test_contrast_may_keep_the_range():
    close(contrast(lines([0.0, 1.0, 5.0]), column(2), keep_range=True), lines([0.0, 0.0, 5.0]))


def test_channels_share_mean_and_range():
    image = torch.tensor([[[[0.0]], [[4.0]]]])
    close(contrast(image, column(0.5), keep_range=False), torch.tensor([[[[1.0]], [[3.0]]]]))


def test_gamma_raises_the_range_to_a_power():
    found = gamma(lines([2.0, 4.0, 6.0]), column(2), column(1), keep_statistics=False)
    close(found, lines([2.0, 3.0, 6.0]))


def test_gamma_of_the_negative_image():
    found = gamma(lines([2.0, 4.0, 6.0]), column(2), column(-1), keep_statistics=False)
    close(found, lines([2.0, 5.0, 6.0]))


def test_gamma_may_keep_mean_and_deviation():
    image = torch.rand(3, 2, 8, 8, generator=torch.Generator().manual_seed(0)) * 9 - 4
    found = gamma(image, column(0.5, 1.5, 3), column(1, -1, 1), keep_statistics=True)
    close(found.mean((1, 2, 3)), image.mean((1, 2, 3)))
    close(found.std((1, 2, 3)), image.std((1, 2, 3)))
    assert not torch.allclose(found, image, atol=0.1)


@pytest.mark.parametrize("keep_statistics", [False, True])
def test_gamma_leaves_one_intensity_as_it_is(keep_statistics):
    image = torch.full((1, 1, 4, 4), -3.0)
    assert torch.equal(gamma(image, column(0.5), column(-1), keep_statistics), image)


def test_low_resolution_is_read_off_the_nearest_voxels_and_goes_back_linearly():
    # Two of four voxels: the second and the fourth, at places 0 and 1 of the grid of two. The four
    # lie at -0.25, 0.25, 0.75 and 1.25 of it, and beyond its ends there is nothing.
    image = lines([0.0, 4.0, 1.0, 8.0])
    close(low_resolution(image, np.array([0.5]), (-1,)), lines([4.0, 5.0, 7.0, 8.0]))


@pytest.mark.parametrize("space", [(7,), (6, 9), (5, 8, 4)])
@pytest.mark.parametrize("factor", [0.1, 0.34, 0.5, 0.77, 1.0])
def test_low_resolution_is_that_of_torch(space, factor):
    image = torch.rand(2, 3, *space, generator=torch.Generator().manual_seed(0))
    few = [max(1, round(length * factor)) for length in space]
    kind = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(space)]
    small = interpolate(image, few, mode="nearest-exact")
    expected = interpolate(small, space, mode=kind, align_corners=False)
    found = low_resolution(image, np.full(2, factor), tuple(range(-len(space), 0)))
    close(found, expected)


def test_low_resolution_has_a_factor_for_every_sample():
    image = lines([0.0, 4.0, 1.0, 8.0], [0.0, 4.0, 1.0, 8.0])
    found = low_resolution(image, np.array([1.0, 0.25]), (-1,))
    close(found, lines([0.0, 4.0, 1.0, 8.0], [1.0, 1.0, 1.0, 1.0]))


def test_blur_is_a_mean_with_the_weights_of_a_gaussian():
    # 1/2, 1, 1/2 and nothing beyond; at the border the weight inside counts.
    found = blur(lines([0.0, 0.0, 12.0, 0.0]), np.array([HALF]), 1, (-1,))
    close(found, lines([0.0, 3.0, 6.0, 4.0]))


def test_blur_reaches_as_far_as_it_is_told():
    found = blur(lines([0.0, 0.0, 0.0, 1.0]), np.array([HALF]), 2, (-1,))
    assert (found[0, 0, 0] > 0).tolist() == [False, True, True, True]


def test_blur_reaches_across_the_window():
    # 1, 1/2 and 1/16 of 25/16.
    found = blur(lines([0.0, 0.0, 25.0]), np.array([HALF]), 9, (-1,))
    close(found, lines([1.0, 6.25, 16.0]))


def test_blur_has_a_sigma_for_every_sample():
    image = lines([0.0, 12.0, 0.0], [0.0, 12.0, 0.0])
    close(blur(image, np.array([HALF, 0.01]), 1, (-1,)), lines([4.0, 6.0, 4.0], [0.0, 12.0, 0.0]))


def test_blur_leaves_one_intensity_as_it_is():
    image = torch.full((2, 1, 5, 7), 3.0)
    close(blur(image, np.array([0.7, 5]), 20, (-2, -1)), image)


def test_noise_has_its_sigma_and_no_mean():
    found = noise(torch.ones(2, 1, 200, 200), column(0.5, 2), np.array([1, 2]))
    assert found.std((1, 2, 3)).tolist() == pytest.approx([0.5, 2], rel=0.02)
    assert found.mean((1, 2, 3)).tolist() == pytest.approx([1, 1], abs=0.04)


def test_noise_follows_from_the_seed_of_the_sample():
    found = noise(torch.zeros(3, 1, 4, 4), column(1, 1, 1), np.array([7, 8, 7]))
    assert torch.equal(found[0], found[2])
    assert not torch.equal(found[0], found[1])
