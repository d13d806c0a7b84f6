"""UNet++, which is MONAI's: its size, the heads it leaves out, and images of any size."""

import pytest
import torch
from monai.networks.nets import BasicUNetPlusPlus
from torch import nn
from torch.nn import functional as F  # noqa: N812

from piecemeal import networks
from piecemeal.errors import InputError

NARROW = [2, 2, 4, 4, 8, 2]


def small(**options) -> nn.Module:
    torch.manual_seed(0)
    return networks.build("unet_plus_plus", 1, 3, features=NARROW, **options).eval()


def test_published_size(parameters):
    assert parameters("unet_plus_plus", 1, 17, unused_heads=True) == 6_981_956
    assert parameters("unet_plus_plus", 1, 17) == 6_981_956 - 1_683


def test_wider_size(parameters):
    features = [32, 64, 128, 256, 512, 32]
    found = parameters("unet_plus_plus", 1, 17, features=features, unused_heads=True)
    assert found == 26_384_036


def test_published_cost(gmac):
    found = gmac((64, 64, 64), "unet_plus_plus", 1, 17, unused_heads=True)
    assert found == pytest.approx(157.6, rel=0.001)


@pytest.mark.parametrize("unused_heads", [False, True])
def test_gives_the_last_logits_of_monai_s(unused_heads):
    ours, image = small(unused_heads=unused_heads), torch.randn(1, 1, 32, 32, 48)
    theirs = BasicUNetPlusPlus(3, 1, 3, NARROW).eval()
    missing, unexpected = theirs.load_state_dict(ours.network.state_dict(), strict=False)
    assert not unexpected
    heads = [f"final_conv_0_{depth}.{part}" for depth in (1, 2, 3) for part in ("weight", "bias")]
    assert missing == ([] if unused_heads else heads)
    with torch.inference_mode():
        assert torch.equal(ours(image), theirs(image)[-1])


def test_images_of_any_size_are_the_middle_of_padded_ones():
    """Of 20 voxels amid 32, six zeros on each side."""
    network, image = small(), torch.randn(1, 1, 20, 32, 48)
    with torch.inference_mode():
        whole = network(F.pad(image, (0, 0, 0, 0, 6, 6)))
        assert torch.equal(network(image), whole[:, :, 6:26])


@pytest.mark.parametrize("features", [[4, 4, 8], [4, 4, 8, 8, 0, 4]])
def test_wrong_features_are_refused(features):
    with pytest.raises(InputError, match=r"features is \[4, 4, 8.*\]; it must be 6 numbers"):
        networks.build("unet_plus_plus", 1, 2, features=features)
