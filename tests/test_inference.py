import warnings

import numpy as np
import pytest
import torch
from torch import nn

from piecemeal import methods
from piecemeal.datasets.store import PreparedScan
from piecemeal.inference import ForwardPasses, predict, slice_probabilities

CLASSES = 3


class Threshold(nn.Module):
    """Class 1 where the normalised intensity is above 1, else background; counts its calls."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(8.0))
        self.batches = []

    def forward(self, images):
        self.batches.append(len(images))
        margin = self.weight * (images[:, 0] - 1)
        return torch.stack([-margin, margin, torch.full_like(margin, -99.0)], dim=1)


@pytest.fixture
def slac():
    return methods.load("slac", CLASSES)


@pytest.fixture
def scan(cohort) -> PreparedScan:
    return PreparedScan(cohort.prepared / "blocks" / "subject001")


@pytest.mark.parametrize("batch_size", [1, 4, 9, 20])
def test_slices_come_back_in_their_order(slac, batch_size):
    image = np.random.default_rng(0).normal(1, 1, (9, 6, 5)).astype(np.float32)
    network = Threshold()
    probabilities = slice_probabilities(slac, network, image, batch_size)
    assert probabilities.shape == (CLASSES, 9, 6, 5)
    assert probabilities.dtype == np.float32
    assert (probabilities.argmax(0) == (image > 1)).all()
    assert max(network.batches) <= batch_size
    assert sum(network.batches) == 9


def test_prediction_lies_on_the_native_voxels(slac, scan):
    """Intensity follows the blocks, so a threshold finds them where they are in the file."""
    prediction = predict(slac, Threshold(), scan)
    assert prediction.dtype == np.uint8
    assert prediction.shape == scan.reference.shape
    second = np.asarray(scan.reference) == 2
    found = prediction == 1
    assert 2 * (found & second).sum() / (found.sum() + second.sum()) > 0.75


def test_oracle_comes_back_almost_as_it_was(scan):
    prediction = predict(methods.load("oracle", CLASSES), None, scan)
    reference = np.asarray(scan.reference)
    assert (prediction == reference).mean() > 0.97


def test_outside_the_grid_is_background(slac, scan):
    everywhere = Threshold()
    with torch.no_grad():
        everywhere.weight.fill_(-1e6)  # calls everything that is not very bright class 1
    prediction = predict(slac, everywhere, scan)
    rows, columns = (np.flatnonzero(prediction.any(axis=axes)) for axes in ((0, 2), (0, 1)))
    geometry = scan.geometry
    reach = (geometry.grid_shape[1] - 1) / 2 * geometry.grid_spacing + geometry.grid_spacing / 2
    for found, size, spacing in (
        (rows, geometry.native_shape[1], geometry.spacing[1]),
        (columns, geometry.native_shape[2], geometry.spacing[2]),
    ):
        inside = abs(np.arange(size) - (size - 1) / 2) * spacing <= reach
        assert set(found) <= set(np.flatnonzero(inside))


def test_prediction_is_silent_and_leaves_the_store_alone(slac, scan):
    torch.set_warn_always(True)  # else torch warns only the first test of a session
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            predict(slac, Threshold(), scan)
    finally:
        torch.set_warn_always(False)
    assert not scan.image.flags.writeable


def test_no_gradient_is_kept(slac):
    network = Threshold()
    slice_probabilities(slac, network, np.zeros((1, 4, 4), np.float32))
    assert network.weight.grad is None


def test_ten_slices_are_ten_forward_passes(slac):
    """Two batches, of 8 and of 2."""
    network = Threshold()
    with ForwardPasses(network) as passes:
        slice_probabilities(slac, network, np.zeros((10, 6, 5), np.float32))
    assert passes.count == 10


def test_a_method_that_asks_the_network_again_is_counted_twice():
    network = Threshold()

    class Twice:
        def probabilities(self, logits):
            again = network(torch.zeros(len(logits), 1, 6, 5))
            return (logits + again).softmax(1)

    with ForwardPasses(network) as passes:
        slice_probabilities(Twice(), network, np.zeros((10, 6, 5), np.float32))
    assert passes.count == 20


def test_without_a_network_there_is_no_forward_pass(scan):
    with ForwardPasses(None) as passes:
        predict(methods.load("oracle", CLASSES), None, scan)
    assert passes.count == 0


def test_counting_ends_with_its_block():
    network, images = Threshold(), torch.zeros(3, 1, 6, 5)
    passes = ForwardPasses(network)
    with passes:
        network(images)
    with pytest.raises(TypeError), passes:
        network(None)
    network(images)
    assert passes.count == 3
