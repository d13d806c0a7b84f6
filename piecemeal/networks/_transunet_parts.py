"""What the 3D TransUNet of Chen et al. (CVPR 2024) is made of: convolutions, residuals, attention.

All maps are (B, channels, z, y, x); sides are halved and doubled by trilinear resampling whose
corner voxels stay where they are.
"""

from __future__ import annotations

from math import log

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

CONVOLUTION_EPS, NORM_EPS = 1e-5, 1e-6
FIRST_SCALE, LARGEST_SCALE = 10.0, 100.0  # of the cosines of an attention


class StandardConv(nn.Conv3d):
    """A convolution with bias, of weights with mean 0 and variance 1 in each output channel.

    The variance is the biased one, unlike DoDNet's.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int):
        super().__init__(in_channels, out_channels, kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(self.weight, (1, 2, 3, 4), correction=0, keepdim=True)
        weight = (self.weight - mean) / (variance + CONVOLUTION_EPS).sqrt()
        return self._conv_forward(x, weight, self.bias)


def norm(channels: int) -> nn.GroupNorm:
    """A group norm with a group for each channel, which is an instance norm with weights.

    Of a single voxel it would leave the bias alone.
    """
    return nn.GroupNorm(channels, channels, eps=NORM_EPS)


def activated(in_channels: int, out_channels: int, kernel: int = 3) -> list[nn.Module]:
    """Convolution, norm, ReLU."""
    convolution = StandardConv(in_channels, out_channels, kernel)
    return [convolution, norm(out_channels), nn.ReLU(inplace=True)]


def rescaled(x: Tensor, factor: float) -> Tensor:
    """`x` with sides times `factor`, 0.5 or 2; corner voxels keep their values."""
    return F.interpolate(x, scale_factor=factor, mode="trilinear", align_corners=True)


class Residual(nn.Module):
    """Two convolutions with norms beside a shortcut, 1x1x1 where the channels change, then ReLU.

    half: give it at half the sides.
    """

    def __init__(self, in_channels: int, middle: int, out_channels: int, half: bool = False):
        super().__init__()
        self.half = half
        self.body = nn.Sequential(
            *activated(in_channels, middle),
            StandardConv(middle, out_channels, 3),
            norm(out_channels),
        )
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.shortcut = StandardConv(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.body(x) + self.shortcut(x))
        return rescaled(x, 0.5) if self.half else x


class CosineAttention(nn.Module):
    """Self-attention (B, tokens, width) by cosines of queries and keys, times a scale a head.

    The scale is learned as its logarithm, begins at 10 and is at most 100.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.inputs = nn.Linear(width, 3 * width)
        self.log_scale = nn.Parameter(torch.full((heads, 1, 1), log(FIRST_SCALE)))
        self.output = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        split = self.inputs(x).unflatten(2, (3, self.heads, -1))
        query, key, value = split.permute(2, 0, 3, 1, 4)  # (B, heads, tokens, width of a head)
        cosines = F.normalize(query, dim=-1) @ F.normalize(key, dim=-1).transpose(-2, -1)
        scale = self.log_scale.clamp(max=log(LARGEST_SCALE)).exp()
        shares = torch.softmax(cosines * scale, dim=-1)
        return self.output((shares @ value).transpose(1, 2).flatten(2))


class TransformerBlock(nn.Module):
    """Attention and then two linear layers of twice the width, each behind a layer norm."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.attention = nn.Sequential(
            nn.LayerNorm(width, eps=NORM_EPS), CosineAttention(width, heads)
        )
        self.mixing = nn.Sequential(
            nn.LayerNorm(width, eps=NORM_EPS),
            nn.Linear(width, 2 * width),
            nn.GELU(),
            nn.Linear(2 * width, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(x)
        return x + self.mixing(x)


class Transformer(nn.Module):
    """(B, channels, side, side, side) to as many tokens, and back to (B, tokens, side, side, side).

    Each voxel is a token, which has a learned place added to it, zero at first.
    """

    def __init__(self, channels: int, tokens: int, depth: int, heads: int, side: int):
        super().__init__()
        self.embedding = nn.Conv3d(channels, tokens, 1)
        self.places = nn.Parameter(torch.zeros(side**3, tokens))
        self.blocks = nn.Sequential(*(TransformerBlock(tokens, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(tokens, eps=NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        space = x.shape[2:]
        x = self.embedding(x).flatten(2).transpose(1, 2) + self.places
        return self.norm(self.blocks(x)).transpose(1, 2).unflatten(2, space)


class Up(nn.Module):
    """`x` at twice its sides, beside the skip, then two convolutions with norm and ReLU."""

    def __init__(self, in_channels: int, skip: int, out_channels: int):
        super().__init__()
        self.body = nn.Sequential(
            *activated(in_channels + skip, out_channels), *activated(out_channels, out_channels)
        )

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.body(torch.cat([rescaled(x, 2.0), skip], dim=1))
