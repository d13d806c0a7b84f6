"""KiU-Net: its two branches, what they exchange, the ReLU on its logits, and its input's size."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from piecemeal import networks
from piecemeal.errors import InputError


def small(**options) -> nn.Module:
    torch.manual_seed(0)
    return networks.build("kiu_net", 1, 2, **{"width": 2, **options}).eval()


def test_released_size_and_what_of_it_is_used(parameters):
    assert parameters("kiu_net", 1, 2, unused_fusion=True) == 290_658
    assert parameters("kiu_net", 1, 2) == 290_658 - 74_112 == 216_546


@pytest.mark.parametrize(("size", "published"), [(64, 17.4), (128, 69.6)])
def test_published_cost(gmac, size, published):
    assert gmac((size, size), "kiu_net", 1, 2) == pytest.approx(published, rel=0.02)


def test_unused_fusion_is_not_used():
    network = small(unused_fusion=True).train()
    network(torch.randn(2, 1, 16, 16)).square().sum().backward()
    unused = {key.split(".")[0] for key, p in network.named_parameters() if p.grad is None}
    assert unused == {"unused_fusion"}


def test_sizes_of_the_branches():
    """Channels and size, of an image of 128 x 128 pixels: the Ki bottleneck is 8 times larger."""
    found = {}
    with torch.device("meta"), torch.no_grad():
        network = networks.build("kiu_net", 1, 2)
        for name in ("u_encoder", "u_decoder", "ki_encoder", "ki_decoder"):
            for level in getattr(network, name):
                level.register_forward_hook(
                    lambda _m, _x, y, name=name: found.setdefault(name, []).append(
                        tuple(y.shape[1:3])
                    )
                )
        network(torch.empty(1, 1, 128, 128))
    assert found == {
        "u_encoder": [(16, 64), (32, 32), (64, 16)],
        "u_decoder": [(32, 32), (16, 64), (8, 128)],
        "ki_encoder": [(16, 256), (32, 512), (64, 1024)],
        "ki_decoder": [(32, 512), (16, 256), (8, 128)],
    }


def _resized(x, factor):
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def _up(level, x):
    return level.norm(_resized(level.convolution(x), 2)).relu()


def _down(level, x):
    return level.norm(F.max_pool2d(level.convolution(x), 2)).relu()


def _exchanged(fusion, u, ki, factor):
    return u + _resized(fusion.to_u(ki), 1 / factor), ki + _resized(fusion.to_ki(u), factor)


def test_by_hand():
    network, image = small(), torch.randn(2, 1, 16, 24)
    with torch.inference_mode():
        u = ki = image
        skips = []
        for level, factor in enumerate((4, 16, 64)):
            u, ki = _down(network.u_encoder[level], u), _up(network.ki_encoder[level], ki)
            u, ki = _exchanged(network.encoder_fusions[level], u, ki, factor)
            skips.append((u, ki))
        for level, factor in enumerate((16, 4)):
            u, ki = _up(network.u_decoder[level], u), _down(network.ki_decoder[level], ki)
            u, ki = _exchanged(network.decoder_fusions[level], u, ki, factor)
            u, ki = u + skips[1 - level][0], ki + skips[1 - level][1]
        x = _up(network.u_decoder[2], u) + _down(network.ki_decoder[2], ki)
        assert torch.equal(network(image), network.last(x))


def test_final_relu_is_a_relu_on_the_logits():
    image = torch.randn(1, 1, 16, 16)
    with torch.inference_mode():
        logits = small()(image)
        assert logits.min() < 0
        assert torch.equal(small(final_relu=True)(image), logits.clamp(min=0))


@pytest.mark.parametrize(("final_relu", "learns"), [(False, True), (True, False)])
def test_a_class_that_is_nowhere_positive_learns_without_the_final_relu(final_relu, learns):
    network = small(final_relu=final_relu)
    with torch.no_grad():
        network.last.bias[1] = -100
    logits = network(torch.randn(2, 1, 16, 16))
    F.cross_entropy(logits, torch.ones(2, 16, 16, dtype=torch.long)).backward()
    assert bool(network.last.weight.grad[1].abs().sum() > 0) == learns


@pytest.mark.parametrize("size", [(8, 8), (31, 18), (1, 9)])
def test_output_has_the_size_of_the_input(size):
    with torch.inference_mode():
        assert small()(torch.randn(1, 1, *size)).shape == (1, 2, *size)


@pytest.mark.parametrize("width", [0, 1, 5])
def test_impossible_widths_are_refused(width):
    with pytest.raises(InputError, match=f"kiu_net: width is {width}; it must be even"):
        networks.build("kiu_net", 1, 2, width=width)


@pytest.mark.parametrize("size", [(32, 32), (16, 24), (9, 40)])
def test_input_size_resizes_the_image_and_its_logits(size):
    image = torch.randn(2, 1, *size)
    with torch.inference_mode():
        inner = F.interpolate(image, size=(16, 16), mode="bilinear", align_corners=False)
        logits = F.interpolate(small()(inner), size=size, mode="bilinear", align_corners=False)
        found = small(input_size=16)(image)
    assert found.shape == (2, 2, *size)
    assert torch.equal(found, logits)


def test_an_image_of_the_input_size_stays_as_it_is():
    image = torch.randn(1, 1, 24, 24)
    with torch.inference_mode():
        assert torch.equal(small(input_size=24)(image), small()(image))


def test_input_size_decides_the_cost_and_not_the_weights(parameters, gmac):
    assert parameters("kiu_net", 1, 2, input_size=128) == 216_546
    cost = gmac((256, 256), "kiu_net", 1, 2, input_size=128)
    assert cost == pytest.approx(69.6, rel=0.02)


@pytest.mark.parametrize("size", [0, 8])
def test_impossible_input_sizes_are_refused(size):
    with pytest.raises(InputError, match=f"input_size is {size}; it must be more than 8"):
        networks.build("kiu_net", 1, 2, input_size=size)
