import numpy as np
import pytest
import torch
from torch import nn

from piecemeal.inference import ForwardPasses
from piecemeal.inference.reader import Reader

# The network of these tests multiplies by the index along x (class 0) and along y (class 1).
SLICE = torch.ones(1, 1, 2, 4)


@torch.no_grad()
def read(method, network, images, *options):
    return Reader(method, network, *options)(images)


def test_without_flips_it_is_the_network(plain, ramp):
    found = read(plain, ramp, SLICE)
    assert found[0, 0].tolist() == [[0, 1, 2, 3], [0, 1, 2, 3]]
    assert found[0, 1].tolist() == [[0, 0, 0, 0], [1, 1, 1, 1]]


def test_flip_worked_by_hand(plain, ramp):
    """Flipped along x, the ramp runs the other way: the mean is flat; along y nothing changes."""
    found = read(plain, ramp, SLICE, [[2]])
    assert found[0, 0].tolist() == [[1.5] * 4] * 2
    assert found[0, 1].tolist() == [[0, 0, 0, 0], [1, 1, 1, 1]]


def test_the_image_is_flipped_too(plain, ramp):
    image = torch.tensor([[[[1.0, 0, 0, 5]]]])
    # As it is: 0, 0, 0, 15. Flipped: 5, 0, 0, 1 times 0, 1, 2, 3, and back: 3, 0, 0, 0.
    assert read(plain, ramp, image, [[2]])[0, 0].tolist() == [[1.5, 0, 0, 7.5]]


def test_several_sets_are_averaged_with_the_image_as_it_is(plain, ramp):
    found = read(plain, ramp, SLICE, [[2], [1], [1, 2]])
    assert found[0, 0].tolist() == [[1.5] * 4] * 2
    assert found[0, 1].tolist() == [[0.5] * 4] * 2


def test_axes_of_windows(plain):
    class AlongZ(nn.Conv3d):
        def forward(self, images):
            return images * torch.arange(images.shape[2]).view(-1, 1, 1)

    found = read(plain, AlongZ(1, 1, 1), torch.ones(1, 1, 3, 2, 2), [[0]])
    np.testing.assert_array_equal(found, np.ones((1, 1, 3, 2, 2)))


def test_every_flip_is_a_forward_pass(plain, ramp):
    with ForwardPasses(ramp) as passes:
        read(plain, ramp, SLICE.expand(5, 1, 2, 4), [[2], [1], [1, 2]])
    assert passes.count == 20


@pytest.mark.parametrize(
    ("precision", "inside"),
    [("float32", torch.float32), ("bfloat16", torch.bfloat16), ("float16", torch.float16)],
)
def test_precision_is_that_of_the_network_only(slac, precision, inside):
    seen = []
    network = nn.Conv2d(1, 3, 1)
    network.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    found = read(slac, network, SLICE, [], precision)
    assert seen == [inside]
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.sum(1), torch.ones(1, 2, 4))


def test_probabilities_are_computed_outside_autocast(slac):
    """A product of matrices is what autocast would do in bfloat16."""
    seen = []

    class Merged(type(slac)):
        def probabilities(self, logits):
            mixed = torch.eye(3) @ super().probabilities(logits).flatten(2)
            seen.append(mixed.dtype)
            return mixed.view(logits.shape)

    found = read(Merged(3), nn.Conv2d(1, 3, 1), SLICE, [], "bfloat16")
    assert seen == [found.dtype] == [torch.float32]
