"""DoDNet (Zhang et al., CVPR 2021): one network that is told which task to solve.

A residual pre-activation encoder and decoder with group norms and weight-standardised convolutions,
which knows no task, and the dynamic head that does (`_dynamic_head`). The published network is 3D
and has seven tasks of two channels each, organ and tumour, each a sigmoid of its own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from piecemeal.errors import InputError
from piecemeal.networks._dynamic_head import DynamicHead, ToldNetwork, group_norm
from piecemeal.networks._sizes import centre, pad_to_multiple

UNITS = (1, 2, 2, 2, 2)  # residual units of the encoder's stages
MULTIPLE = 2 ** (len(UNITS) - 1)
UPSAMPLING = {2: "bilinear", 3: "trilinear"}


def build(
    in_channels: int, out_channels: int, tasks: int = 7, width: int = 32, dimensions: int = 3
) -> DoDNet:
    """The network; `out_channels` logits for each of `tasks` tasks.

    width: channels of the first stage, doubled in each of the next three and kept in the fifth.
    """
    for key, value in (("tasks", tasks), ("width", width)):
        if value < 1:
            raise InputError(f"dodnet: {key} is {value}; it must be at least 1")
    if dimensions not in UPSAMPLING:
        raise InputError(f"dodnet: dimensions is {dimensions}; allowed: 2, 3")
    return DoDNet(in_channels, out_channels, tasks, width, dimensions)


class _Standardised:
    """A convolution whose weights have mean 0 and variance 1 over each output channel."""

    def forward(self, x: Tensor) -> Tensor:
        over = tuple(range(1, self.weight.dim()))
        variance, mean = torch.var_mean(self.weight, over, keepdim=True)
        return self._conv_forward(x, (self.weight - mean) / (variance + 1e-12).sqrt(), self.bias)


class _Convolution2d(_Standardised, nn.Conv2d):
    pass


class _Convolution3d(_Standardised, nn.Conv3d):
    pass


def _convolution(
    in_channels: int, out_channels: int, kernel: int, dimensions: int, stride: int = 1
) -> nn.Module:
    kind = _Convolution2d if dimensions == 2 else _Convolution3d
    return kind(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False)


def _activated(
    in_channels: int, out_channels: int, kernel: int, dimensions: int, stride: int = 1
) -> list[nn.Module]:
    """Group norm, ReLU, convolution."""
    return [
        group_norm(in_channels),
        nn.ReLU(inplace=True),
        _convolution(in_channels, out_channels, kernel, dimensions, stride),
    ]


class _Unit(nn.Module):
    """Two activated convolutions beside a shortcut, 1x1x1 where the shape changes."""

    def __init__(self, in_channels: int, out_channels: int, dimensions: int, stride: int = 1):
        super().__init__()
        self.body = nn.Sequential(
            *_activated(in_channels, out_channels, 3, dimensions, stride),
            *_activated(out_channels, out_channels, 3, dimensions),
        )
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                *_activated(in_channels, out_channels, 1, dimensions, stride)
            )

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.shortcut(x)


class DoDNet(ToldNetwork):
    """(B, in_channels, *space) and a task to logits (B, out_channels, *space), any space."""

    def __init__(
        self, in_channels: int, out_channels: int, tasks: int, width: int, dimensions: int
    ):
        super().__init__()
        self.tasks, self.upsampling = tasks, UPSAMPLING[dimensions]
        widths = [width * factor for factor in (1, 2, 4, 8, 8)]
        self.stem = _convolution(in_channels, width, 3, dimensions)
        self.encoder = nn.ModuleList()
        for stage, (units, i, o) in enumerate(zip(UNITS, [width, *widths], widths, strict=False)):
            first = _Unit(i, o, dimensions, stride=2 if stage else 1)
            others = (_Unit(o, o, dimensions) for _ in range(units - 1))
            self.encoder.append(nn.Sequential(first, *others))
        deep = widths[-1]
        self.fusion = nn.Sequential(*_activated(deep, deep, 1, dimensions))
        # A unit takes the sum of what comes from below and of a skip of as many channels.
        skips = widths[-2::-1]
        self.decoder = nn.ModuleList(
            _Unit(i, o, dimensions) for i, o in zip(skips, [*skips[1:], width], strict=True)
        )
        self.dynamic = DynamicHead(deep, width, tasks, out_channels, dimensions)

    def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """All that the head needs of the images, for whatever task."""
        space = x.shape[2:]
        x = self.stem(pad_to_multiple(x, MULTIPLE))
        skips = []
        for stage in self.encoder:
            x = stage(x)
            skips.append(x)
        skips.pop()
        x = deep = self.fusion(x)
        for unit in self.decoder:
            x = F.interpolate(x, scale_factor=2, mode=self.upsampling, align_corners=False)
            x = unit(x + skips.pop())
        context, maps = self.dynamic.features(deep, x)
        return context, centre(maps, space)
