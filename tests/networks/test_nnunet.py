"""nnU-Net's U-Net: its stages, its heads, and what an independent implementation makes of it."""

import pytest
import torch
from monai.networks.nets import DynUNet
from torch import nn
from torch.nn import functional as F  # noqa: N812

from piecemeal import networks
from piecemeal.errors import InputError

SPACES = {2: (16, 32), 3: (8, 16, 24)}


def small(dimensions: int = 2, **options) -> nn.Module:
    torch.manual_seed(0)
    options = {"dimensions": dimensions, "stages": 3, "width": 4, **options}
    return networks.build("nnunet", 1, 2, **options).eval()


def images(dimensions: int = 2, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, 1, *SPACES[dimensions])


@pytest.mark.parametrize(
    ("logits", "published"),
    [
        (1, 33_470_310),
        (4, 33_474_840),
        (5, 33_476_350),
        (6, 33_477_860),
        (14, 33_489_940),
        (15, 33_491_450),
        (18, 33_495_980),
    ],
)
def test_published_sizes_in_2d(parameters, logits, published):
    assert parameters("nnunet", 1, logits) == published


@pytest.mark.parametrize(
    ("stages", "published", "a_channel"),
    [(6, 20_618_085, 997), (7, 33_470_310, 1_510), (8, 46_322_535, 2_023)],
)
def test_published_sizes_by_stages(parameters, stages, published, a_channel):
    """And what a further output channel costs in all heads together."""
    assert parameters("nnunet", 1, 1, stages=stages) == published
    assert parameters("nnunet", 1, 2, stages=stages) == published + a_channel


def test_published_size_in_3d(parameters):
    assert parameters("nnunet", 1, 17, dimensions=3) == 31_207_669


def test_published_cost(gmac):
    assert gmac((256, 256), "nnunet", 1, 6) == pytest.approx(14.8, rel=0.02)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_heads_of_the_coarser_levels_are_what_deep_supervision_costs(parameters, dimensions):
    coarser = {2: (64, 128, 256, 512, 512), 3: (64, 128, 256, 320)}[dimensions]
    less = parameters("nnunet", 1, 6, dimensions=dimensions, deep_supervision=False)
    more = parameters("nnunet", 1, 6, dimensions=dimensions)
    assert more - less == sum(6 * (channels + 1) for channels in coarser)


def test_stages_of_the_published_network():
    """Channels and size of what each stage gives for a slice of 256 x 256 pixels."""
    found = []
    with torch.device("meta"), torch.no_grad():
        backbone = networks.build("nnunet", 1, 6).backbone
        for stage in (*backbone.encoder, *backbone.decoder):
            stage.register_forward_hook(lambda _m, _x, y: found.append(tuple(y.shape[1:3])))
        backbone(torch.empty(1, 1, 256, 256))
    down = [(32, 256), (64, 128), (128, 64), (256, 32), (512, 16), (512, 8), (512, 4)]
    assert found == down + down[-2::-1]


def test_widths_in_3d():
    with torch.device("meta"):
        backbone = networks.build("nnunet", 1, 6, dimensions=3).backbone
    assert backbone.widths == [32, 64, 128, 256, 320, 320]


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_stage_by_hand(dimensions):
    """Twice: convolution, mean 0 and variance 1, scale and shift, leaky ReLU; first of stride 2."""
    stage, x = small(dimensions).backbone.encoder[1], torch.randn(2, 4, *SPACES[dimensions])
    convolve = {2: F.conv2d, 3: F.conv3d}[dimensions]
    over, one_each = tuple(range(2, 2 + dimensions)), (1, -1, *dimensions * (1,))
    with torch.no_grad():
        for norm in (stage[1], stage[4]):
            norm.weight.uniform_(0.5, 2)
            norm.bias.normal_()
        found = stage(x)
        for convolution, norm, stride in ((stage[0], stage[1], 2), (stage[3], stage[4], 1)):
            x = convolve(x, convolution.weight, convolution.bias, stride=stride, padding=1)
            mean, variance = x.mean(over, keepdim=True), x.var(over, keepdim=True, correction=0)
            x = (x - mean) / (variance + 1e-5).sqrt()
            x = x * norm.weight.view(one_each) + norm.bias.view(one_each)
            x = torch.where(x > 0, x, 0.01 * x)
        torch.testing.assert_close(found, x)


def test_what_is_up_sampled_comes_before_the_skip():
    network, image = small(), images()
    backbone = network.backbone
    with torch.inference_mode():
        x, skips = image, []
        for stage in backbone.encoder:
            x = stage(x)
            skips.append(x)
        deep, maps = backbone(image)
        assert torch.equal(deep, skips.pop())
        x = deep
        for up, stage in zip(backbone.up, backbone.decoder, strict=True):
            x = stage(torch.cat([up(x), skips.pop()], dim=1))
        assert torch.equal(maps[0], x)
        assert torch.equal(network(image), network.heads[0](x))


@pytest.mark.parametrize("dimensions", [2, 3])
def test_agrees_with_monai(dimensions):
    """DynUNet has no biases in its convolutions; ours are zero when newly built."""
    ours, steps = small(dimensions, stages=4, cap=16), [1, 2, 2, 2]
    theirs = DynUNet(
        dimensions,
        1,
        2,
        4 * [3],
        steps,
        steps[1:],
        filters=[4, 8, 16, 16],
        norm_name=("INSTANCE", {"affine": True}),
    )
    missing, unexpected = theirs.load_state_dict(dict(_named_as_in_monai(ours)), strict=False)
    assert not unexpected
    assert all(key.startswith("skip_layers.") for key in missing)  # the same layers, nested
    image = torch.randn(2, 1, *dimensions * (32,))
    with torch.inference_mode():
        torch.testing.assert_close(ours(image), theirs.eval()(image), rtol=1e-4, atol=1e-5)


def _named_as_in_monai(network):
    backbone = network.backbone
    between = [f"downsamples.{k}" for k in range(len(backbone.encoder) - 2)]
    stages = dict(zip(["input_block", *between, "bottleneck"], backbone.encoder, strict=True))
    for k, (up, stage) in enumerate(zip(backbone.up, backbone.decoder, strict=True)):
        yield f"upsamples.{k}.transp_conv.conv.weight", up.weight
        stages[f"upsamples.{k}.conv_block"] = stage
    for prefix, stage in stages.items():
        for part, (convolution, norm) in enumerate(((stage[0], stage[1]), (stage[3], stage[4]))):
            yield f"{prefix}.conv{part + 1}.conv.weight", convolution.weight
            yield f"{prefix}.norm{part + 1}.weight", norm.weight
            yield f"{prefix}.norm{part + 1}.bias", norm.bias
    yield "output_block.conv.conv.weight", network.heads[0].weight
    yield "output_block.conv.conv.bias", network.heads[0].bias


def test_weights_are_drawn_as_for_a_leaky_relu():
    """Variance 2 / ((1 + 0.01^2) fan-in), biases zero."""
    convolution = small(width=32).backbone.encoder[1][3]
    expected = (2 / (1 + 0.01**2) / (9 * 64)) ** 0.5
    assert convolution.weight.std().item() == pytest.approx(expected, rel=0.03)
    biases = [p for key, p in small().named_parameters() if key.endswith("bias")]
    assert not any(bias.any() for bias in biases)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_pyramid_has_every_level_of_the_decoder_at_its_own_size(dimensions):
    network = small(dimensions, stages=4)
    with torch.inference_mode():
        found = network(images(dimensions), output="pyramid")
    sizes = [tuple(size // 2**level for size in SPACES[dimensions]) for level in range(3)]
    assert [tuple(logits.shape) for logits in found] == [(2, 2, *size) for size in sizes]


def test_finest_of_the_pyramid_is_the_prediction():
    network, image = small(), images()
    with torch.inference_mode():
        assert torch.equal(network(image, output="pyramid")[0], network(image))


def test_pyramid_uses_all_parameters():
    network = small().train()
    found = network(images(), output="pyramid")
    sum((logits * torch.randn_like(logits)).sum() for logits in found).backward()
    assert all(p.grad is not None for p in network.parameters())


def test_without_deep_supervision_the_pyramid_is_the_prediction_alone():
    network, image = small(deep_supervision=False), images()
    with torch.inference_mode():
        (found,) = network(image, output="pyramid")
        assert torch.equal(found, network(image))


def test_weights_fit_with_and_without_deep_supervision():
    supervised, plain, image = small(), small(deep_supervision=False), images()
    missing, unexpected = plain.load_state_dict(supervised.state_dict(), strict=False)
    assert not missing
    assert set(unexpected) == {"heads.1.weight", "heads.1.bias"}
    with torch.inference_mode():
        assert torch.equal(plain(image), supervised(image))


@pytest.mark.parametrize(("dimensions", "size"), [(2, (31, 50)), (2, (1, 1)), (3, (3, 17, 16))])
def test_output_has_the_size_of_the_input(dimensions, size):
    network = small(dimensions)
    with torch.inference_mode():
        fine, coarse = network(torch.randn(2, 1, *size), output="pyramid")
    assert fine.shape[2:] == size
    assert coarse.shape[2:] == tuple(-(-side // 2) for side in size)
    assert fine.isfinite().all()
    assert coarse.isfinite().all()


def test_pyramid_of_a_padded_image_is_the_middle_of_the_padded_one():
    """Of 20 pixels amid 24, two zeros on each side, and so one of 12 pixels at half the size."""
    network, image = small(stages=4), torch.randn(1, 1, 20, 32)
    with torch.inference_mode():
        fine, coarse, _ = network(image, output="pyramid")
        whole = network(F.pad(image, (0, 0, 2, 2)), output="pyramid")
    assert torch.equal(fine, whole[0][:, :, 2:22])
    assert torch.equal(coarse, whole[1][:, :, 1:11])


def test_an_instance_norm_sees_two_pixels_a_side_at_least():
    network, seen = small(), []
    network.backbone.encoder[-1].register_forward_hook(lambda _m, _x, y: seen.append(y.shape[2:]))
    with torch.inference_mode():
        network(torch.zeros(1, 1, 2, 20))
    assert seen == [(2, 5)]


def test_unknown_output_is_refused():
    with pytest.raises(InputError, match="output is 'maps'; allowed: segmentation, pyramid"):
        small()(images(), output="maps")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dimensions": 4}, "dimensions is 4; allowed: 2, 3"),
        ({"stages": 1}, "stages is 1; it must be at least 2"),
        ({"width": 0}, "width is 0; it must be at least 1"),
        ({"cap": 0}, "cap is 0; it must be at least 1"),
    ],
)
@pytest.mark.parametrize("name", ["nnunet", "dodnet_nnunet"])
def test_wrong_options_are_refused(name, options, said):
    with pytest.raises(InputError, match=f"{name}: {said}"):
        networks.build(name, 1, 2, **options)
