"""The parts of the 3D TransUNet, each beside the same written out."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from piecemeal.networks._transunet_parts import (
    CosineAttention,
    Residual,
    StandardConv,
    Transformer,
    TransformerBlock,
    Up,
    norm,
    rescaled,
)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def standardised(convolution: nn.Conv3d, x: torch.Tensor) -> torch.Tensor:
    """By mean and biased deviation of all weights that lead to an output channel."""
    flat = convolution.weight.detach().flatten(1)
    spread = (flat.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
    weight = ((flat - flat.mean(1, keepdim=True)) / spread).view_as(convolution.weight)
    return F.conv3d(x, weight, convolution.bias, padding=convolution.padding)


def normed(layer: nn.GroupNorm, x: torch.Tensor) -> torch.Tensor:
    mean, variance = x.mean((2, 3, 4), keepdim=True), x.var((2, 3, 4), correction=0, keepdim=True)
    x = (x - mean) / (variance + 1e-6).sqrt()
    return x * layer.weight.view(1, -1, 1, 1, 1) + layer.bias.view(1, -1, 1, 1, 1)


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_weights_of_a_convolution_are_standardised(kernel):
    convolution, x = StandardConv(3, 4, kernel), torch.randn(2, 3, 5, 6, 7)
    with torch.no_grad():
        found = convolution(x)
        torch.testing.assert_close(found, standardised(convolution, x))
        assert found.shape[2:] == x.shape[2:]
        convolution.weight.mul_(30).add_(0.5)
        torch.testing.assert_close(convolution(x), found, rtol=0.1, atol=0.05)


def test_a_norm_sees_one_channel_of_one_image():
    layer, x = norm(4), 5 + 3 * torch.randn(2, 4, 3, 3, 3)
    with torch.no_grad():
        layer.weight.uniform_(0.5, 2)
        layer.bias.normal_()
        torch.testing.assert_close(layer(x), normed(layer, x))


def test_corner_voxels_keep_their_values_when_sides_are_halved():
    """Four voxels to two: the first and the last. Six to three: 0, halfway from 2 to 3, 5."""
    line = torch.tensor([3.0, 1.0, 4.0, 1.0])
    found = rescaled(line.view(1, 1, 1, 1, 4).expand(1, 1, 4, 4, 4), 0.5)
    assert found.shape == (1, 1, 2, 2, 2)
    assert found[0, 0, 0, 0].tolist() == [3, 1]
    assert found[0, 0, 1, 1].tolist() == [3, 1]
    line = torch.tensor([3.0, 1.0, 4.0, 2.0, 5.0, 9.0])
    found = rescaled(line.view(1, 1, 6, 1, 1).expand(1, 1, 6, 6, 6), 0.5)
    torch.testing.assert_close(found[0, 0, :, 0, 0], torch.tensor([3.0, 3.0, 9.0]))


def test_corner_voxels_keep_their_values_when_sides_are_doubled():
    """Two voxels to four: thirds of the way between them."""
    line = torch.tensor([0.0, 3.0])
    found = rescaled(line.view(1, 1, 1, 2, 1).expand(1, 1, 2, 2, 2), 2.0)
    torch.testing.assert_close(found[0, 0, 3, :, 3], torch.tensor([0.0, 1.0, 2.0, 3.0]))


@pytest.mark.parametrize(("channels", "half"), [(4, False), (6, False), (6, True)])
def test_a_residual_by_hand(channels, half):
    unit, x = Residual(4, 2, channels, half), torch.randn(2, 4, 4, 4, 4)
    first, first_norm, _, second, second_norm = unit.body
    with torch.no_grad():
        body = F.relu(normed(first_norm, standardised(first, x)))
        body = normed(second_norm, standardised(second, body))
        shortcut = x if channels == 4 else standardised(unit.shortcut, x)
        expected = F.relu(body + shortcut)
        torch.testing.assert_close(unit(x), rescaled(expected, 0.5) if half else expected)


def test_a_step_up_puts_the_skip_behind():
    up, x, skip = Up(3, 2, 4), torch.randn(1, 3, 2, 2, 2), torch.randn(1, 2, 4, 4, 4)
    with torch.no_grad():
        expected = torch.cat([rescaled(x, 2.0), skip], dim=1)
        for convolution, layer in ((up.body[0], up.body[1]), (up.body[3], up.body[4])):
            expected = F.relu(normed(layer, standardised(convolution, expected)))
        torch.testing.assert_close(up(x, skip), expected)


def by_hand(attention: CosineAttention, x: torch.Tensor, scales: list[float]) -> torch.Tensor:
    """Head by head and token by token, with cosines in so many words."""
    width = x.shape[2] // attention.heads
    query, key, value = attention.inputs(x).chunk(3, dim=2)
    found = torch.empty_like(x)
    for head, scale in enumerate(scales):
        own = slice(head * width, (head + 1) * width)
        for image in range(len(x)):
            for token in range(x.shape[1]):
                cosines = torch.stack(
                    [
                        F.cosine_similarity(query[image, token, own], other, dim=0)
                        for other in key[image, :, own]
                    ]
                )
                shares = torch.softmax(scale * cosines, 0)
                found[image, token, own] = shares @ value[image, :, own]
    return attention.output(found)


def test_attention_is_by_cosines_with_a_scale_of_ten_at_first():
    attention, x = CosineAttention(8, heads=2), torch.randn(2, 5, 8)
    with torch.no_grad():
        torch.testing.assert_close(attention(x), by_hand(attention, x, [10.0, 10.0]))


def test_scales_of_the_heads_differ_and_end_at_a_hundred():
    attention, x = CosineAttention(8, heads=2), torch.randn(2, 5, 8)
    with torch.no_grad():
        attention.log_scale.copy_(torch.tensor([3.0, 500.0]).log().view(2, 1, 1))
        torch.testing.assert_close(attention(x), by_hand(attention, x, [3.0, 100.0]))


def test_lengths_of_queries_and_keys_do_not_matter():
    attention, x = CosineAttention(8, heads=2), torch.randn(2, 5, 8)
    with torch.no_grad():
        before = attention(x)
        for part in (attention.inputs.weight, attention.inputs.bias):
            part[:16] *= 7
        torch.testing.assert_close(attention(x), before)


def test_a_block_norms_before_attention_and_mixing():
    block, x = TransformerBlock(8, heads=2), 3 + torch.randn(2, 5, 8)
    _, wide, _, narrow = block.mixing
    assert (wide.out_features, narrow.in_features) == (16, 16)
    with torch.no_grad():
        attended = x + block.attention[1](F.layer_norm(x, (8,), eps=1e-6))
        mixed = narrow(F.gelu(wide(F.layer_norm(attended, (8,), eps=1e-6))))
        torch.testing.assert_close(block(x), attended + mixed)


def test_tokens_know_their_places_only_once_these_are_learned():
    """At first tokens that change places change nothing else: the places are zero."""
    transformer, x = Transformer(3, 8, depth=2, heads=2, side=2), torch.randn(1, 3, 2, 2, 2)
    assert transformer.places.shape == (8, 8)
    assert not transformer.places.any()
    with torch.no_grad():
        torch.testing.assert_close(transformer(x.flip(2)), transformer(x).flip(2))
        transformer.places.normal_()
        assert not torch.allclose(transformer(x.flip(2)), transformer(x).flip(2))


def test_tokens_come_back_to_the_voxels_they_come_from():
    transformer, x = Transformer(3, 8, depth=1, heads=2, side=3), torch.randn(2, 3, 3, 3, 3)
    transformer.blocks = nn.Sequential()
    with torch.no_grad():
        transformer.places.normal_()
        found = transformer(x)
        for voxel, place in (((0, 0, 1), 1), ((1, 2, 0), 15)):
            z, y, x_ = voxel
            embedding = transformer.embedding
            token = embedding.weight.flatten(1) @ x[1, :, z, y, x_] + embedding.bias
            expected = F.layer_norm(token + transformer.places[place], (8,), eps=1e-6)
            torch.testing.assert_close(found[1, :, z, y, x_], expected)
