"""Chen et al.'s 3D TransUNet: its size part by part, its stages, and what it refuses."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from piecemeal import networks
from piecemeal.errors import InputError

SMALL = {"root": 2, "tokens": 8, "depth": 1, "heads": 2, "patch": 32}


def small(**options) -> nn.Module:
    torch.manual_seed(0)
    return networks.build("versatile_transunet", 1, 3, **(SMALL | options)).eval()


def size(*parts: nn.Module) -> int:
    return sum(p.numel() for part in parts for p in part.parameters())


def of_stages(**options) -> list[tuple[int, int]]:
    """Channels and sides of what the parts give, one after the other."""
    found = []
    with torch.device("meta"), torch.no_grad():
        backbone = networks.build("versatile_transunet", 1, 17, **options).backbone
        decoder = (backbone.bridge, *backbone.decoder, backbone.merge)
        for part in (backbone.stem, *backbone.encoder, backbone.transformer, *decoder):
            part.register_forward_hook(lambda _m, _x, y: found.append(tuple(y.shape[1:3])))
        backbone(torch.empty(1, 1, *3 * (backbone.patch,)))
    return found


@pytest.mark.parametrize(
    ("patch", "published"), [(112, 67_379_697), (96, 67_314_673), (64, 67_236_849)]
)
def test_published_sizes(parameters, patch, published):
    assert parameters("versatile_transunet", 1, 17, patch=patch) == published


def test_published_patch_is_the_default(parameters):
    assert parameters("versatile_transunet", 1, 17) == 67_379_697


def test_published_sizes_of_the_parts():
    with torch.device("meta"):
        network = networks.build("versatile_transunet", 1, 17)
    backbone, transformer = network.backbone, network.backbone.transformer
    assert size(backbone.stem, backbone.encoder) == 40_677_760
    assert size(transformer.blocks, transformer.norm) == 8_412_192
    assert size(transformer.embedding) + transformer.places.numel() == 700_416
    assert size(backbone.bridge, backbone.decoder, backbone.merge) == 17_588_224
    assert size(network.head) == 1_105


def test_published_cost(gmac):
    assert gmac((112, 112, 112), "versatile_transunet", 1, 17) == pytest.approx(1469, rel=0.001)


def test_a_patch_changes_the_places_of_the_tokens_and_nothing_else():
    sizes = {}
    for patch in (32, 48):
        shapes = {key: value.shape for key, value in small(patch=patch).state_dict().items()}
        sizes[patch] = tuple(shapes.pop("backbone.transformer.places")), shapes
    assert [sizes[patch][0] for patch in (32, 48)] == [(8, 8), (27, 8)]
    assert sizes[32][1] == sizes[48][1]


def test_stages_of_the_published_network():
    assert of_stages() == [
        (64, 112),
        (256, 28),
        (512, 14),
        (1024, 7),
        (512, 7),  # tokens
        (512, 7),
        (256, 14),
        (64, 28),
        (64, 56),
        (64, 112),
    ]


def test_widths_grow_with_the_root_and_the_tokens():
    found = of_stages(root=8, tokens=32, patch=32)
    assert found[:4] == [(16, 32), (64, 8), (128, 4), (256, 2)]
    assert found[4:] == [(32, 2), (128, 2), (64, 4), (16, 8), (16, 16), (16, 32)]


def test_residuals_of_the_published_stages():
    """Channels of their middle, and which of them halve the sides."""
    with torch.device("meta"):
        encoder = networks.build("versatile_transunet", 1, 17).backbone.encoder
    middles = [[unit.body[0].out_channels for unit in stage] for stage in encoder]
    assert middles == [[64, 128], [128, 128, 128], [256, 256, 256, 256]]
    halves = [[unit.half for unit in stage] for stage in encoder]
    assert halves == [[False, True], [False, False, True], [False, False, False, True]]


def test_whole_network_by_hand():
    network, image = small(), torch.randn(2, 1, 32, 32, 32)
    backbone = network.backbone

    def scaled(x: torch.Tensor, factor: float) -> torch.Tensor:
        return F.interpolate(x, scale_factor=factor, mode="trilinear", align_corners=True)

    with torch.inference_mode():
        full = backbone.stem(image)
        half = scaled(full, 0.5)
        quarter = backbone.encoder[0](half)
        eighth = backbone.encoder[1](quarter)
        tokens = backbone.transformer(backbone.encoder[2](eighth))
        x = backbone.bridge(tokens)
        for up, skip in zip(backbone.decoder, (eighth, quarter, half), strict=True):
            x = up.body(torch.cat([scaled(x, 2), skip], dim=1))
        *convolved, last = backbone.merge
        x = torch.cat([scaled(x, 2), full], dim=1)
        x = last(nn.Sequential(*convolved)(x))
        assert type(last) is nn.Conv3d
        assert torch.equal(backbone(image)[0], tokens)
        assert torch.equal(network(image), network.head(x))


@pytest.mark.parametrize("space", [(32, 32, 48), (48, 48, 48), (16, 16, 16)])
def test_images_of_other_sizes_are_refused(space):
    wrong = " x ".join(map(str, space))
    with pytest.raises(InputError, match=f"an image of {wrong} voxels; .* cubes of 32 voxels"):
        small()(torch.zeros(1, 1, *space))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"root": 0}, "root is 0; it must be at least 1"),
        ({"tokens": 0}, "tokens is 0; it must be at least 1"),
        ({"depth": 0}, "depth is 0; it must be at least 1"),
        ({"heads": 3}, "tokens is 8; it must be a multiple of heads, 3"),
        ({"patch": 16}, "patch is 16; it must be a multiple of 16 and at least 32"),
        ({"patch": 40}, "patch is 40; it must be a multiple of 16 and at least 32"),
    ],
)
@pytest.mark.parametrize("name", ["versatile_transunet", "dodnet_transunet", "clip_transunet"])
def test_wrong_options_are_refused(name, options, said):
    with pytest.raises(InputError, match=f"{name}: {said}"):
        networks.build(name, 1, 1, **(SMALL | options))
