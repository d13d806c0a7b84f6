"""DoDNet: its standardised weights, and a head computed for every image and task."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from piecemeal import networks
from piecemeal.errors import InputError
from piecemeal.networks._dynamic_head import DynamicHead

SPACES = {2: (16, 32), 3: (16, 16, 32)}


def small(dimensions: int = 2, **options) -> nn.Module:
    torch.manual_seed(0)
    options = {"width": 4, "tasks": 3, "dimensions": dimensions, **options}
    return networks.build("dodnet", 1, 2, **options).eval()


def images(dimensions: int, batch: int = 3) -> torch.Tensor:
    return torch.randn(batch, 1, *SPACES[dimensions])


def test_published_size(parameters):
    assert parameters("dodnet", 1, 2) == 17_329_528


def test_published_cost(gmac):
    assert gmac((64, 64, 64), "dodnet", 1, 2, task=(0,)) == pytest.approx(57.0, rel=0.02)


@pytest.mark.parametrize(
    ("deep", "last", "tasks", "channels", "controller", "total"),
    [
        (256, 32, 7, 2, 42_768, 42_768 + 512 + 64 + 264),
        (512, 32, 3, 6, 102_168, 103_520),  # on a 2D nnU-Net
        (512, 32, 4, 6, 102_366, 103_718),
        (512, 64, 16, 1, 80_937, 82_609),  # on a 3D TransUNet
    ],
)
def test_size_of_the_head(deep, last, tasks, channels, controller, total):
    head = DynamicHead(deep, last, tasks, channels, dimensions=3)
    assert sum(p.numel() for p in head.controller.parameters()) == controller
    assert sum(p.numel() for p in head.parameters()) == total


def test_a_task_has_162_dynamic_numbers():
    assert DynamicHead(256, 32, 7, 2, dimensions=3).sizes == [64, 64, 16, 8, 8, 2]


def test_stages_of_the_published_network():
    """Channels and size of what each stage gives for a window of 64 voxels a side."""
    found = []
    with torch.device("meta"), torch.no_grad():
        network = networks.build("dodnet", 1, 2)
        for part in (*network.encoder, *network.decoder):
            part.register_forward_hook(lambda _m, _x, y: found.append(tuple(y.shape[1:3])))
        network(torch.empty(1, 1, 64, 64, 64), 0)
    assert found[:5] == [(32, 64), (64, 32), (128, 16), (256, 8), (256, 4)]
    assert found[5:] == [(128, 8), (64, 16), (32, 32), (32, 64)]
    assert [len(stage) for stage in network.encoder] == [1, 2, 2, 2, 2]


def test_backbone_has_no_biases_and_norms_of_16_groups():
    with torch.device("meta"):
        network = networks.build("dodnet", 1, 2)
    backbone = [network.stem, network.encoder, network.fusion, network.decoder]
    modules = [module for part in backbone for module in part.modules()]
    assert all(m.bias is None for m in modules if isinstance(m, nn.Conv3d))
    assert {m.num_groups for m in modules if isinstance(m, nn.GroupNorm)} == {16}


@pytest.mark.parametrize("dimensions", [2, 3])
def test_weights_are_standardised(dimensions):
    """By mean and unbiased deviation of all weights that lead to an output channel."""
    network, x = small(dimensions), images(dimensions)
    weight = network.stem.weight.detach()
    flat = weight.flatten(1)
    flat = (flat - flat.mean(1, keepdim=True)) / flat.std(1, keepdim=True)
    convolve = {2: F.conv2d, 3: F.conv3d}[dimensions]
    with torch.inference_mode():
        torch.testing.assert_close(network.stem(x), convolve(x, flat.view_as(weight), padding=1))


def test_scale_and_offset_of_backbone_weights_do_not_matter():
    network, x = small(), images(2)
    with torch.no_grad():
        before = network(x, 0)
        for part in (network.stem, network.encoder, network.fusion, network.decoder):
            for module in part.modules():
                if isinstance(module, nn.Conv2d):
                    module.weight.mul_(3).add_(0.5)
        torch.testing.assert_close(network(x, 0), before, rtol=1e-3, atol=1e-4)


def test_backbone_by_hand():
    network, image = small(), images(2)
    head = network.dynamic
    with torch.inference_mode():
        x, skips = network.stem(image), []
        for stage in network.encoder:
            x = stage(x)
            skips.append(x)
        x = deep = network.fusion(x)
        for unit, skip in zip(network.decoder, skips[-2::-1], strict=True):
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False) + skip
            x = unit.body(x) + (unit.shortcut(x) if len(unit.shortcut) else x)
        context, maps = network.features(image)
        torch.testing.assert_close(context, head.deep(deep).mean((2, 3)))
        assert torch.equal(maps, head.last(x))


@pytest.mark.parametrize("dimensions", [2, 3])
def test_head_by_hand(dimensions):
    """Three convolutions of size one for each image, with weights from the linear layer."""
    network, task = small(dimensions), torch.tensor([2, 0, 2])
    convolve, ones = {2: F.conv2d, 3: F.conv3d}[dimensions], dimensions * (1,)
    with torch.inference_mode():
        features = network.features(images(dimensions))
        found = network.head(features, task)
        for image, (context, maps) in enumerate(zip(*features, strict=True)):
            asked = torch.zeros(3)
            asked[task[image]] = 1
            numbers = network.dynamic.controller(torch.cat([context, asked]))
            x = maps[None]
            for weights, biases, outputs in ((0, 144, 8), (64, 152, 8), (128, 160, 2)):
                x = x.relu() if weights else x
                weight = numbers[weights : weights + 8 * outputs].view(outputs, 8, *ones)
                x = convolve(x, weight, numbers[biases : biases + outputs])
            torch.testing.assert_close(found[image], x[0])


def test_maps_enter_the_dynamic_convolutions_as_they_are():
    """No ReLU before the first: with negated maps and first weights, the same comes out."""
    head = DynamicHead(16, 16, 1, 2, dimensions=2)
    context, maps = torch.randn(1, 16), torch.randn(1, 8, 4, 4)
    before = head((context, maps), 0)
    with torch.no_grad():
        head.controller.weight[:64] *= -1
        head.controller.bias[:64] *= -1
    torch.testing.assert_close(head((context, -maps), 0), before)


def test_every_image_is_answered_by_its_own_task():
    network, x = small(), images(2)
    with torch.inference_mode():
        mixed = network(x, torch.tensor([1, 0, 2]))
        for image, task in enumerate((1, 0, 2)):
            torch.testing.assert_close(mixed[image], network(x, task)[image])
        assert not torch.allclose(network(x, 0), network(x, 1))


def test_without_a_task_all_are_answered():
    network, x = small(), images(2)
    with torch.inference_mode():
        every = network(x)
        assert every.shape == (3, 6, 16, 32)
        assert torch.equal(every, torch.cat([network(x, task) for task in range(3)], dim=1))


@pytest.mark.parametrize("task", [-1, 3])
def test_unknown_tasks_are_refused(task):
    network = small()
    features = network.features(images(2))
    with pytest.raises(InputError, match=rf"asked for task {task}; it was built for tasks 0 to 2"):
        network.head(features, task)
    with pytest.raises(InputError, match=rf"asked for task \[0, 1, {task}\]; it was built"):
        network.head(features, torch.tensor([0, 1, task]))


@pytest.mark.parametrize("task", [[0.0, 1.0, 2.0], [0], 0])
def test_a_task_for_each_image_is_one_whole_number_for_each(task):
    network = small()
    with pytest.raises(InputError, match=r"tasks are torch\..* expected whole numbers \(3,\)"):
        network.head(network.features(images(2)), torch.tensor(task))


@pytest.mark.parametrize(("dimensions", "size"), [(2, (31, 50)), (2, (1, 9)), (3, (5, 33, 16))])
def test_output_has_the_size_of_the_input(dimensions, size):
    network = small(dimensions)
    with torch.inference_mode():
        features = network.features(torch.randn(2, 1, *size))
        assert features[1].shape == (2, 8, *size)
        assert network.head(features, 1).shape == (2, 2, *size)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tasks": 0}, "tasks is 0; it must be at least 1"),
        ({"width": 0}, "width is 0; it must be at least 1"),
        ({"dimensions": 4}, "dimensions is 4; allowed: 2, 3"),
    ],
)
def test_wrong_options_are_refused(options, said):
    with pytest.raises(InputError, match=f"dodnet: {said}"):
        networks.build("dodnet", 1, 2, **options)
