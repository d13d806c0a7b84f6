"""How noise, blur, brightness, contrast, low resolution and gamma are drawn for samples."""

import numpy as np
import pytest
import torch

from piecemeal.augmentation_specs import AugmentationConfig
from piecemeal.intensities import low_resolution
from piecemeal.training.augmentation import Augmentation
from piecemeal.training.data import Batch


def lines(*values: list[float]) -> torch.Tensor:
    """Samples of one channel and one line."""
    return torch.tensor(values)[:, None, None, :]


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def augment(images: torch.Tensor, **operations: dict) -> torch.Tensor:
    codes = torch.zeros(images.shape[0], *images.shape[2:], dtype=torch.uint8)
    sets = torch.ones(len(images), 1, 2, dtype=torch.bool)
    config = AugmentationConfig.model_validate(operations).model_dump()
    batch = Batch(images, codes, sets)
    return Augmentation(config, 3)(batch, 0, range(len(images)), len(images)).images


@pytest.mark.parametrize(("through_plane", "slices"), [(False, 1), (True, 3)])
def test_blur_through_the_plane(through_plane, slices):
    image = torch.zeros(1, 1, 3, 5, 5)
    image[0, 0, 1, 2, 2] = 1
    options = {"probability": 1, "sigma": (1, 1), "through_plane": through_plane}
    found = augment(image, blur=options)[0, 0]
    assert (found.flatten(1).sum(1) > 1e-3).sum() == slices
    close(found[1], found[1].T)


@pytest.mark.parametrize("through_plane", [False, True])
def test_low_resolution_through_the_plane(through_plane):
    image = torch.rand(1, 1, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    options = {"probability": 1, "factor": (0.5, 0.5), "through_plane": through_plane}
    found = augment(image, low_resolution=options)
    half = np.array([0.5])
    in_plane = low_resolution(image, half, (-2, -1))
    in_space = low_resolution(image, half, (-3, -2, -1))
    assert torch.equal(found, in_space if through_plane else in_plane)
    assert not torch.equal(in_space, in_plane)


def test_parameters_are_of_their_range():
    images = torch.zeros(200, 1, 2, 2)
    found = augment(images, brightness={"probability": 1, "shift": (2, 3)})[:, 0, 0, 0]
    assert 2 <= found.min() < 2.1
    assert 2.9 < found.max() < 3


def test_gamma_is_inverted_as_often_as_told():
    images = lines([2.0, 4.0, 6.0]).repeat(400, 1, 1, 1)
    options = {"exponent": (2, 2), "inverted": 0.25, "keep_statistics": False}
    found = augment(images, gamma={"probability": 1, **options})[:, 0, 0, 1]
    assert (found > 4).float().mean().item() == pytest.approx(0.25, abs=0.07)
