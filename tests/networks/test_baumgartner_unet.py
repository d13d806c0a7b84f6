import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from piecemeal import networks
from piecemeal.errors import InputError


def small(padding: str, channels: int = 3, width: int = 2) -> nn.Module:
    torch.manual_seed(0)
    return networks.build("baumgartner_unet", 1, channels, width=width, padding=padding)


@pytest.mark.parametrize(("classes", "parameters"), [(4, 25_274_472), (8, 25_432_208)])
def test_published_size(classes, parameters):
    with torch.device("meta"):
        network = networks.build("baumgartner_unet", 1, classes)
    assert sum(p.numel() for p in network.parameters()) == parameters


def test_published_size_by_kind():
    with torch.device("meta"):
        network = networks.build("baumgartner_unet", 1, 4)
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert sum(p.numel() for m in norms for p in m.parameters()) == 11_816
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    assert all(m.bias is None for m in convolutions)
    assert sum(m.weight.numel() for m in convolutions) == 25_262_656


def test_batch_norm_as_published():
    for module in small("valid").modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.momentum == pytest.approx(1 - 0.99)
            assert module.eps == 1e-3
            assert module.affine


def test_both_paddings_have_the_same_parameters():
    shapes = [
        {name: tuple(value.shape) for name, value in small(p).state_dict().items()}
        for p in ("valid", "same")
    ]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("size", [(212, 212), (260, 260), (256, 256), (31, 50), (1, 17)])
def test_output_has_the_size_of_the_input(padding, size):
    network = small(padding, width=1).eval()
    with torch.inference_mode():
        assert network(torch.randn(1, 1, *size)).shape == (1, 3, *size)


@pytest.mark.parametrize(
    ("size", "padded", "computed"), [(212, 396, 212), (256, 444, 260), (260, 444, 260)]
)
def test_how_much_the_valid_network_pads_and_cuts(size, padded, computed):
    network, seen = small("valid", width=1).eval(), {}
    network.encoder[0].register_forward_pre_hook(lambda _, x: seen.update(padded=x[0].shape[-1]))
    network.head.register_forward_hook(lambda _m, _x, y: seen.update(computed=y.shape[-1]))
    with torch.inference_mode():
        network(torch.randn(1, 1, 20, size))
    assert seen == {"padded": padded, "computed": computed}


def test_valid_network_by_hand():
    """The published order of operations, written out once more for an input that fits exactly."""
    network = small("valid").eval()
    image = torch.randn(1, 1, 212, 212)
    with torch.inference_mode():
        skips, x = [], F.pad(image, (92, 92, 92, 92))
        for stage in range(5):
            if stage:
                x = F.max_pool2d(x, 2, ceil_mode=True)
            x = network.encoder[stage](x)
            skips.append(x)
        assert [s.shape[-1] for s in skips] == [392, 192, 92, 42, 17]
        for step in range(4):
            x = network.up[step](x)
            skip, size = skips[3 - step], x.shape[-1]
            cut = (skip.shape[-1] - size) // 2
            x = torch.cat([x, skip[..., cut : cut + size, cut : cut + size]], dim=1)
            x = network.decoder[step](x)
        assert torch.equal(network.head(x), network(image))


# Sizes at which nothing is cut off: the head normalises all that it computes.
@pytest.mark.parametrize(("padding", "size"), [("valid", 68), ("same", 64)])
def test_logits_are_normalised_after_initialisation(padding, size):
    network = small(padding, channels=4, width=8).train()
    with torch.no_grad():
        logits = network(torch.randn(2, 1, size, size)).transpose(0, 1).flatten(1)
    torch.testing.assert_close(logits.mean(1), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(logits.std(1), torch.ones(4), atol=0.1, rtol=0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"padding": "reflect"}, "padding is 'reflect'; allowed: valid, same"),
        ({"width": 0}, "width is 0"),
        ({"widht": 8}, r"unknown options \['widht'\]; allowed: \['width', 'padding'\]"),
    ],
)
def test_wrong_options_are_refused(options, said):
    with pytest.raises(InputError, match=f"baumgartner_unet: {said}"):
        networks.build("baumgartner_unet", 1, 4, **options)
