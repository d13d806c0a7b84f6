"""CMU-Net: its three readings, the order trap, and what its classifier sees."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from piecemeal import networks
from piecemeal.errors import InputError

READINGS = ["A", "B", "C"]


def small(**options) -> nn.Module:
    torch.manual_seed(0)
    return networks.build("cmu_unet", 1, 1, **{"width": 2, **options}).eval()


@pytest.mark.parametrize(
    ("reading", "plain", "affine"),
    [("A", 3_338_610, 3_342_578), ("B", 1_962_594, 1_965_538), ("C", 3_732_578, 3_736_546)],
)
def test_sizes_of_the_readings(parameters, reading, plain, affine):
    assert parameters("cmu_unet", 1, 1, reading=reading) == plain
    assert parameters("cmu_unet", 1, 1, reading=reading, affine=True) == affine
    assert parameters("cmu_unet", 1, 1, reading=reading, classifier=False) == plain - 257


def test_the_literal_reading_is_the_default(parameters):
    assert parameters("cmu_unet", 1, 1) == 3_338_610


@pytest.mark.parametrize(("reading", "published"), [("A", 1.90), ("B", 3.48)])
def test_cost_of_the_readings(gmac, reading, published):
    found = gmac((256, 256), "cmu_unet", 1, 1, reading=reading)
    assert found == pytest.approx(published, rel=0.02)


@pytest.mark.parametrize(
    ("reading", "seen"),
    [
        ("A", [(256, 8), (512, 16), (256, 32), (128, 64), (64, 128)]),
        ("B", [(384, 32), (192, 64), (96, 128), (48, 256)]),
        ("C", [(512, 16), (384, 32), (192, 64), (96, 128), (48, 256)]),
    ],
)
def test_what_the_decoder_blocks_see(reading, seen):
    """Channels and size, of a slice of 256 x 256 pixels."""
    found = []
    with torch.device("meta"), torch.no_grad():
        network = networks.build("cmu_unet", 1, 1, reading=reading)
        for block in network.decoder:
            block.register_forward_pre_hook(lambda _, x: found.append(tuple(x[0].shape[1:3])))
        assert network(torch.empty(1, 1, 256, 256)).shape == (1, 1, 256, 256)
    assert found == seen


def test_widths_of_the_encoder():
    for width in (16, 3):
        with torch.device("meta"):
            network = networks.build("cmu_unet", 1, 1, width=width)
        widths = [block[0].out_channels for block in network.encoder]
        assert widths == [width, 2 * width, 4 * width, 8 * width, 16 * width]


def test_a_block_by_hand():
    """Twice: 3x3 convolution, mean 0 and variance 1 over each channel, leaky ReLU of slope 0.2."""
    x, block = torch.randn(2, 1, 9, 9), small().encoder[0]
    found = block(x)
    for convolution in (block[0], block[3]):
        x = F.conv2d(x, convolution.weight, convolution.bias, padding=1)
        mean, variance = x.mean((2, 3), keepdim=True), x.var((2, 3), keepdim=True, correction=0)
        x = (x - mean) / (variance + 1e-5).sqrt()
        x = torch.where(x > 0, x, 0.2 * x)
    torch.testing.assert_close(found, x)


def _doubled(x):
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


def test_literal_reading_by_hand():
    """Five times block and pooling; five times block, up-sampling and skip; a 1x1 convolution."""
    network, image = small(), torch.randn(2, 1, 64, 96)
    with torch.inference_mode():
        x, skips = image, []
        for block in network.encoder:
            skips.append(block(x))
            x = F.max_pool2d(skips[-1], 2)
        presence = F.linear(x.mean((2, 3)), network.classifier.weight, network.classifier.bias)
        for block, skip in zip(network.decoder, reversed(skips), strict=True):
            x = torch.cat([_doubled(block(x)), skip], dim=1)
        assert torch.equal(network(image), network.segmentation(x))
        assert torch.equal(network.presence(image), presence)


def test_multimix_reading_by_hand():
    """Four poolings; four times up-sampling, skip and block. The classifier pools a fifth time."""
    network, image = small(reading="B"), torch.randn(2, 1, 32, 48)
    with torch.inference_mode():
        x, skips = image, []
        for stage, block in enumerate(network.encoder):
            x = block(F.max_pool2d(x, 2) if stage else x)
            skips.append(x)
        presence = network.classifier(F.max_pool2d(x, 2).mean((2, 3)))
        skips.pop()
        for block, skip in zip(network.decoder, reversed(skips), strict=True):
            x = block(torch.cat([_doubled(x), skip], dim=1))
        assert torch.equal(network(image), network.segmentation(x))
        assert torch.equal(network.presence(image), presence)


def _pooled(order: str) -> torch.Tensor:
    """Global averages of what the deepest block gives for two images of noise."""
    torch.manual_seed(0)
    network, seen = networks.build("cmu_unet", 1, 1, width=4, order=order), []
    network.encoder[-1].register_forward_hook(lambda _m, _x, y: seen.append(y.mean(dim=(2, 3))))
    with torch.no_grad():
        network(torch.randn(2, 1, 128, 128))
    return seen[0]


def test_order_as_listed_leaves_nothing_to_average():
    assert _pooled("activation_first").abs().max() < 1e-6
    assert _pooled("norm_first").abs().mean() > 0.1


def test_classifier_tells_images_apart():
    """In the default order, by more than rounding."""
    with torch.inference_mode():
        one, two = small(width=4).presence(torch.randn(2, 1, 64, 64)).flatten()
    assert (one - two).abs() > 1e-3


@pytest.mark.parametrize("reading", READINGS)
def test_both_tasks_from_one_pass(reading):
    network, image = small(reading=reading), torch.randn(2, 1, 64, 64)
    calls = []
    network.encoder[0].register_forward_hook(lambda *_: calls.append(1))
    with torch.inference_mode():
        logits, presence = network.forward_with_presence(image)
        assert len(calls) == 1
        assert presence.shape == (2, 1)
        assert torch.equal(logits, network(image))
        assert torch.equal(presence, network.presence(image))


def test_presence_trains_the_encoder_only():
    network = small()
    network.presence(torch.randn(2, 1, 64, 64)).sum().backward()
    trained = {key.split(".")[0] for key, p in network.named_parameters() if p.grad is not None}
    assert trained == {"encoder", "classifier"}


def test_a_pre_trained_encoder_fits_a_network_without_classifier():
    weights = small().state_dict()
    extra = weights.keys() - small(classifier=False).state_dict().keys()
    assert extra == {"classifier.weight", "classifier.bias"}


def test_without_classifier_presence_is_refused():
    network = small(classifier=False)
    for ask in (network.presence, network.forward_with_presence):
        with pytest.raises(InputError, match="build it with classifier: true"):
            ask(torch.zeros(1, 1, 64, 64))


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("size", [(256, 256), (32, 32), (50, 31), (1, 70)])
def test_output_has_the_size_of_the_input(reading, size):
    network = small(reading=reading, width=1)
    with torch.inference_mode():
        logits, presence = network.forward_with_presence(torch.randn(1, 1, *size))
    assert logits.shape == (1, 1, *size)
    assert presence.isfinite().all()


@pytest.mark.parametrize(("reading", "padded"), [("A", (64, 96)), ("B", (32, 80)), ("C", (32, 96))])
def test_how_much_is_padded(reading, padded):
    network, seen = small(reading=reading), []
    network.encoder[0].register_forward_pre_hook(lambda _, x: seen.append(tuple(x[0].shape[2:])))
    with torch.inference_mode():
        network(torch.zeros(1, 1, 20, 70))
    assert seen == [padded]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"reading": "D"}, "reading is 'D'; allowed: A, B, C"),
        ({"order": "norm_last"}, "order is 'norm_last'; allowed: norm_first, activation_first"),
        ({"width": 0}, "width is 0"),
    ],
)
def test_wrong_options_are_refused(options, said):
    with pytest.raises(InputError, match=f"cmu_unet: {said}"):
        networks.build("cmu_unet", 1, 1, **options)
