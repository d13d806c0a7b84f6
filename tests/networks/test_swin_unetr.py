"""Swin UNETR, which is MONAI's: its size, its precision, and what it refuses."""

import pytest
import torch
from monai.networks.nets import SwinUNETR

from piecemeal import networks
from piecemeal.errors import InputError


def test_published_size(parameters):
    assert parameters("swin_unetr", 1, 17) == 62_187_443


@pytest.mark.parametrize(
    ("feature_size", "logits", "published"), [(24, 17, 15_703_379), (12, 5, 4_078_103)]
)
def test_narrower_sizes(parameters, feature_size, logits, published):
    assert parameters("swin_unetr", 1, logits, feature_size=feature_size) == published


def test_published_cost(gmac):
    assert gmac((64, 64, 64), "swin_unetr", 1, 17) == pytest.approx(96.7, rel=0.001)


def test_is_monai_s_of_the_same_seed():
    torch.manual_seed(0)
    ours = networks.build("swin_unetr", 1, 2, feature_size=12, window_size=4).eval()
    torch.manual_seed(0)
    theirs = SwinUNETR(1, 2, feature_size=12, window_size=4).eval()
    image = torch.randn(1, 1, 64, 64, 64)
    with torch.inference_mode():
        assert torch.equal(ours(image), theirs(image))


def test_is_built_where_it_is_wanted():
    with torch.device("meta"):
        network = networks.build("swin_unetr", 1, 2, feature_size=12)
    assert {p.device.type for p in network.parameters()} == {"meta"}


def test_needs_float32():
    assert networks.build("swin_unetr", 1, 2, feature_size=12).precision == "float32"


@pytest.mark.parametrize("space", [(64, 64, 32), (64, 80, 64), (32, 32, 32)])
def test_images_of_other_sizes_are_refused(space):
    network = networks.build("swin_unetr", 1, 2, feature_size=12)
    wrong = " x ".join(map(str, space))
    with pytest.raises(InputError, match=f"{wrong} voxels; .* multiple of 32 and at least 64"):
        network(torch.zeros(1, 1, *space))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"feature_size": 0}, "feature_size is 0; it must be a multiple of 12"),
        ({"feature_size": 16}, "feature_size is 16; it must be a multiple of 12"),
        ({"window_size": 1}, "window_size is 1; it must be at least 2"),
    ],
)
def test_wrong_options_are_refused(options, said):
    with pytest.raises(InputError, match=f"swin_unetr: {said}"):
        networks.build("swin_unetr", 1, 2, **options)
