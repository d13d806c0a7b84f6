"""MedNeXt, which is MONAI's: its variants and their sizes, and images of any size."""

import pytest
import torch
from monai.networks.nets import MedNeXtLarge
from torch import nn
from torch.nn import functional as F  # noqa: N812

from piecemeal import networks
from piecemeal.errors import InputError


def small(**options) -> nn.Module:
    torch.manual_seed(0)
    return networks.build("mednext", 1, 3, **({"variant": "S", "width": 2} | options)).eval()


@pytest.mark.parametrize(
    ("variant", "kernel_size", "built"),
    [
        ("S", 3, 5_551_409),
        ("B", 3, 10_511_345),
        ("M", 3, 17_534_001),
        ("L", 3, 61_727_249),
        ("L", 5, 62_940_881),
    ],
)
def test_sizes_of_monai_s(parameters, variant, kernel_size, built):
    assert parameters("mednext", 1, 17, variant=variant, kernel_size=kernel_size) == built


@pytest.mark.parametrize(
    ("variant", "official"),
    [("S", 5_551_410), ("B", 10_526_802), ("M", 17_549_458), ("L", 61_779_762)],
)
def test_what_a_halving_block_lacks_beside_the_authors_own(variant, official):
    """It expands as the stage before it does; theirs as the stage after it.

    Theirs has one weight more, which only makes checkpointing possible.
    """
    with torch.device("meta"):
        network = networks.build("mednext", 1, 17, variant=variant).network
    built = sum(p.numel() for p in network.parameters())
    expansions = [
        stage[0].conv2.out_channels // stage[0].conv2.in_channels
        for stage in [*network.enc_stages, network.bottleneck]
    ]
    for block, before, after in zip(network.down_blocks, expansions, expansions[1:], strict=False):
        assert block.conv2.out_channels == before * block.conv2.in_channels
        wide = block.conv2.in_channels * (after - before)
        built += wide * (block.conv2.in_channels + 1 + block.conv3.out_channels)
    assert built + 1 == official


def test_published_variant_is_the_default(parameters):
    assert parameters("mednext", 1, 17) == 61_727_249


def test_published_cost(gmac):
    assert gmac((64, 64, 64), "mednext", 1, 17) == pytest.approx(60.9, rel=0.001)
    assert gmac((64, 64, 64), "mednext", 1, 17, variant="S") == pytest.approx(15.8, rel=0.005)


def test_is_monai_s_large_one():
    with torch.device("meta"):
        ours = networks.build("mednext", 1, 17).network
        theirs = MedNeXtLarge(
            spatial_dims=3, in_channels=1, out_channels=17, kernel_size=3, deep_supervision=False
        )
    shapes = [{k: v.shape for k, v in n.state_dict().items()} for n in (ours, theirs)]
    assert shapes[0] == shapes[1]
    assert all(block.res_conv for block in ours.down_blocks)


def test_images_of_any_size_are_the_middle_of_padded_ones():
    """Of 20 voxels amid 32, six zeros on each side."""
    network, image = small(), torch.randn(1, 1, 20, 32, 48)
    with torch.inference_mode():
        whole = network(F.pad(image, (0, 0, 0, 0, 6, 6)))
        assert torch.equal(network(image), whole[:, :, 6:26])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"variant": "XL"}, "variant is 'XL'; allowed: S, B, M, L"),
        ({"kernel_size": 4}, "kernel_size is 4; it must be odd"),
        ({"width": 0}, "width is 0; it must be at least 1"),
    ],
)
def test_wrong_options_are_refused(options, said):
    with pytest.raises(InputError, match=f"mednext: {said}"):
        networks.build("mednext", 1, 2, **options)
