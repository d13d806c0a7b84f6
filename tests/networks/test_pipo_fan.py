"""PIPO-FAN: its pyramids at both ends, its attention, and what it hands from encoder to decoder."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from piecemeal import networks
from piecemeal.errors import InputError


def small(in_channels: int = 3, classes: int = 4, **options) -> nn.Module:
    torch.manual_seed(0)
    return networks.build("pipo_fan", in_channels, classes, **{"width": 2, **options}).eval()


def test_published_size_without_what_is_never_used(parameters):
    assert parameters("pipo_fan", 3, 4) == 28_271_661 - 363_904 == 27_907_757


@pytest.mark.parametrize(
    ("channels", "classes", "published"),
    [(3, 4, 28_271_661), (1, 4, 28_270_509), (3, 2, 28_271_005)],
)
def test_released_size(parameters, channels, classes, published):
    assert parameters("pipo_fan", channels, classes, unused_shortcuts=True) == published


def test_attention_has_25_weights():
    with torch.device("meta"):
        network = networks.build("pipo_fan", 3, 4)
    assert sum(p.numel() for p in network.weigh.parameters()) == 25


def test_published_cost(gmac):
    assert gmac((224, 224), "pipo_fan", 3, 4) == pytest.approx(33.8, rel=0.02)


def test_unused_shortcuts_are_not_used():
    network = small(unused_shortcuts=True).train()
    network(torch.randn(2, 3, 32, 32)).square().sum().backward()
    unused = {key: p.numel() for key, p in network.named_parameters() if p.grad is None}
    clean = sum(p.numel() for p in small().parameters())
    assert sum(unused.values()) == sum(p.numel() for p in network.parameters()) - clean
    units = {key.split(".shortcut")[0] for key in unused}
    assert units == {f"down.{i}" for i in range(3)} | {
        *("outputs.0.3", "outputs.1.2", "outputs.2.1", "outputs.3.0")
    }


def test_one_entry_for_the_whole_pyramid():
    """The image averaged down, four times by two, of an image that is 1 in one pixel of 256."""
    network, seen = small(in_channels=1), []
    network.entry.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    image = torch.zeros(1, 1, 16, 16)
    image[..., 5, 9] = 1
    with torch.inference_mode():
        network.features(image)
    assert [tuple(x.shape[2:]) for x in seen] == [(16, 16), (8, 8), (4, 4), (2, 2), (1, 1)]
    assert [x.amax().item() for x in seen] == [1, 1 / 4, 1 / 16, 1 / 64, 1 / 256]
    assert seen[1][0, 0, 2, 4] == 1 / 4


def test_branches_are_as_deep_as_the_encoder_they_meet():
    assert [len(branch) for branch in small().branches] == [0, 1, 2, 3]


def test_features_are_what_the_encoder_hands_on():
    found = small(width=4).features(torch.randn(2, 3, 32, 48))
    assert [tuple(x.shape[1:]) for x in found] == [
        *((4, 32, 48), (8, 16, 24), (16, 8, 12), (32, 4, 6), (32, 2, 3))
    ]


def _doubled(x):
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


def _unit(unit, x):
    shortcut = unit.shortcut(x) if hasattr(unit, "shortcut") else x
    return unit.body(x) + shortcut


def test_encoder_and_decoder_by_hand():
    network, image = small(), torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        images = [image]
        for _ in range(4):
            images.append(F.avg_pool2d(images[-1], 2))
        x1, *z = (network.entry(x, level) for level, x in enumerate(images))
        z[1] = _unit(network.branches[1][0], z[1])
        for unit in network.branches[2]:
            z[2] = _unit(unit, z[2])
        for unit in network.branches[3]:
            z[3] = _unit(unit, z[3])
        x = [x1]
        for level in range(4):
            given = torch.cat([F.max_pool2d(x[-1], 2), z[level]], dim=1)
            x.append(_unit(network.down[level], given))
        assert all(map(torch.equal, x, network.features(image)))
        deep, maps = x[4], [_doubled(_doubled(_doubled(_doubled(network.outputs[0](x[4])))))]
        for level in range(4):
            deep = _unit(network.up[level], torch.cat([x[3 - level], _doubled(deep)], dim=1))
            logits = network.outputs[level + 1](deep)
            for _ in range(3 - level):
                logits = _doubled(logits)
            maps.append(logits)
        assert all(map(torch.equal, maps, network.pyramid(image)))


def test_prediction_is_the_attended_sum_of_the_pyramid():
    network, image = small(), torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        maps, weights = network.pyramid(image), network.attention(image)
        assert [tuple(logits.shape) for logits in maps] == 5 * [(2, 4, 32, 32)]
        torch.testing.assert_close(weights.sum(1), torch.ones(2))
        by_hand = sum(weights[:, i].view(2, 1, 1, 1) * maps[i] for i in range(5))
        torch.testing.assert_close(network(image), by_hand)


class _FirstChannel(nn.Module):
    def forward(self, logits, level):
        return logits[:, :1]


@pytest.mark.parametrize("size", [3, 230])
def test_attention_pools_all_of_the_image(size):
    """Mean plus maximum of each map, wherever it lies: 1 in the last pixel, 0 elsewhere."""
    network = small()
    network.weigh = _FirstChannel()
    maps = [torch.zeros(1, 4, size, size) for _ in range(5)]
    maps[3][..., -1, -1] = 1
    weights = torch.tensor([0, 0, 0, 1 + 1 / size**2, 0]).softmax(0)
    torch.testing.assert_close(network.fuse(maps), weights[3] * maps[3])


def test_attention_follows_maps_that_were_changed():
    network = small()
    network.weigh = _FirstChannel()
    maps = list(torch.randn(5, 1, 4, 8, 8))
    before = network.fuse(maps)
    changed = [*maps[:4], maps[4] + 100]
    assert network.fuse(changed).mean() > 50 + before.mean()


def test_decoder_takes_features_that_were_changed():
    network, image = small(), torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        features = network.features(image)
        assert torch.equal(network.decode(features), network(image))
        for level in range(5):
            changed = [*features[:level], 0 * features[level], *features[level + 1 :]]
            assert not torch.allclose(network.decode(changed), network(image))


@pytest.mark.parametrize("size", [(31, 50), (16, 17), (5, 33)])
def test_output_has_the_size_of_the_input(size):
    network, image = small(), torch.randn(1, 3, *size)
    with torch.inference_mode():
        logits = network(image)
        assert logits.shape == (1, 4, *size)
        assert network.pyramid(image)[0].shape == (1, 4, *size)
        assert torch.equal(network.decode(network.features(image), size), logits)


def first_norms(**options) -> list[torch.Tensor]:
    """Running means of the entry's first norms, 1 before, after one step on maps of mean 0."""
    network = small(in_channels=1, **options).train()
    first, norms = network.entry.layers[:2]
    nn.init.zeros_(first.weight)
    nn.init.zeros_(first.bias)
    for norm in norms:
        norm.running_mean.fill_(1)
    network.features(torch.randn(2, 1, 32, 32))
    return [norm.running_mean for norm in norms]


def test_every_level_has_running_statistics_of_its_own():
    """One batch a step each: with momentum 0.1, 0.9 of the mean at the start is left."""
    found = first_norms()
    assert len(found) == 5
    for mean in found:
        torch.testing.assert_close(mean, torch.full((2,), 0.9))


def test_mixed_statistics_see_all_levels():
    """Five batches a step: 0.9^5 is left."""
    (mean,) = first_norms(mixed_statistics=True)
    torch.testing.assert_close(mean, torch.full((2,), 0.9**5))


def test_in_training_the_statistics_make_no_difference():
    mixed, own = small(mixed_statistics=True).train(), small().train()
    own.load_state_dict(mixed.state_dict(), strict=False)
    # Norms share what is learned, so the first of each brings it to all of them.
    assert sum(p.numel() for p in own.parameters()) == sum(p.numel() for p in mixed.parameters())
    image = torch.randn(2, 3, 32, 32)
    assert torch.equal(own(image), mixed(image))


def test_impossible_width_is_refused():
    with pytest.raises(InputError, match="pipo_fan: width is 0"):
        networks.build("pipo_fan", 3, 4, width=0)


def test_one_entrance_for_all_outputs():
    network, image = small(), torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        maps = network(image, output="pyramid")
        assert len(maps) == 5
        assert all(map(torch.equal, maps, network.pyramid(image)))
        assert torch.equal(network(image, output="segmentation"), network.fuse(maps))
    with pytest.raises(InputError, match="output is 'mask'; allowed: segmentation, pyramid"):
        network(image, output="mask")


@pytest.mark.parametrize(("height", "width"), [(32, 32), (21, 34)])
@pytest.mark.parametrize("output", ["disturbed", "disturbed_maps"])
def test_disturbed_rows_come_beside_the_undisturbed(output, height, width):
    network, image = small(), torch.randn(3, 3, height, width)
    with torch.inference_mode():
        plain, disturbed = network(image, output=output, kept=1)
        torch.testing.assert_close(plain, network(image))
    assert disturbed.shape == (2, 4, height, width)
    assert not torch.allclose(disturbed, plain[1:], atol=1e-3)


def channels_dropped(before: torch.Tensor, after: torch.Tensor) -> float:
    """Share of whole channels that are 0 in `after`; the others are doubled."""
    dropped = (after == 0).all(dim=(2, 3))
    torch.testing.assert_close(after[~dropped], 2 * before[~dropped])
    return dropped.float().mean().item()


def test_half_the_channels_of_the_encoder_s_maps_are_dropped():
    """In one pass of the decoder, of the rows that are not kept as they are."""
    network, image, given = small(width=16), torch.randn(3, 3, 32, 32), []
    network.logit_maps = lambda features, _: given.append(features) or [torch.zeros(5, 4, 32, 32)]
    network.fuse = lambda maps: maps[0]
    with torch.inference_mode():
        network(image, output="disturbed", kept=1)
        features = network.features(image)
    assert len(given) == 1
    for before, after in zip(features, given[0], strict=True):
        torch.testing.assert_close(after[:3], before)
        assert 0.2 < channels_dropped(before[1:], after[3:]) < 0.8


def test_released_disturbance_drops_classes_of_the_logit_maps():
    """The attention is that of what is left of them."""
    network, image, weighed = small(), torch.randn(40, 3, 16, 16), []
    hook = network.weigh.register_forward_pre_hook(lambda _, x: weighed.append(x[0]))
    with torch.inference_mode():
        _, disturbed = network(image, output="disturbed_maps", kept=8)
        hook.remove()
        maps = network.pyramid(image)
        for before, after in zip(maps, weighed, strict=True):
            torch.testing.assert_close(after[:40], before)
            assert channels_dropped(before[8:], after[40:]) == pytest.approx(0.5, abs=0.2)
        torch.testing.assert_close(network.fuse([x[40:] for x in weighed]), disturbed)


@pytest.mark.parametrize("output", ["disturbed", "disturbed_maps"])
def test_nothing_is_disturbed_where_all_rows_are_kept(output):
    network, image = small(), torch.randn(2, 3, 16, 16)
    with torch.inference_mode():
        plain, disturbed = network(image, output=output, kept=2)
        assert torch.equal(plain, network(image))
    assert len(disturbed) == 0
