"""PIPO-FAN (Fang and Yan, TMI 2020), which UniMOS (Li et al., section III-A) takes as its base.

A residual pre-activation U-Net with a pyramid at both ends. Pyramid input: the image, averaged down
to a half, a quarter, an eighth and a sixteenth, enters every level of the encoder through one and
the same pair of convolutions, followed by as many units as the encoder has had by then. Pyramid
output: every level of the decoder gives logits, brought to full size. Feature abstraction: a small
net shared by the five maps weighs them by attention, and their weighted sum is the prediction.

The released code pools the attention over a fixed window of 224 x 224 pixels; here it is pooled
over all of the image, which is the same at 224. It also builds seven shortcuts that it never uses,
363,904 of its 28,271,661 weights; `unused_shortcuts` builds them too.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from piecemeal.errors import InputError
from piecemeal.networks._sizes import centre, pad_to_multiple

DIMENSIONS = 2
LEVELS = 5
MULTIPLE = 2 ** (LEVELS - 1)


def build(
    in_channels: int, out_channels: int, width: int = 64, unused_shortcuts: bool = False
) -> PIPOFAN:
    """The network; `width` channels at full size, doubled in each of the next three levels."""
    if width < 1:
        raise InputError(f"pipo_fan: width is {width}; it must be at least 1")
    return PIPOFAN(in_channels, out_channels, width, unused_shortcuts)


def _activated(in_channels: int, out_channels: int, kernel: int) -> list[nn.Module]:
    """Batch norm, ReLU, convolution."""
    return [
        nn.BatchNorm2d(in_channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2),
    ]


class _Unit(nn.Module):
    """Two activated 3x3 convolutions beside a shortcut, 1x1 where the channels change."""

    def __init__(self, in_channels: int, out_channels: int, unused_shortcuts: bool):
        super().__init__()
        self.body = nn.Sequential(
            *_activated(in_channels, out_channels, 3), *_activated(out_channels, out_channels, 3)
        )
        self.projects = in_channels != out_channels
        if self.projects or unused_shortcuts:
            self.shortcut = nn.Sequential(*_activated(in_channels, out_channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + (self.shortcut(x) if self.projects else x)


class PIPOFAN(nn.Module):
    """(B, in_channels, H, W) to logits (B, out_channels, H, W), any H and W.

    A batch of one image needs more than 16 pixels a side to train: its batch norms would see one
    value each.
    """

    # With its batch norms, prediction takes up to a quarter less time in this order of memory.
    memory_format = torch.channels_last

    def __init__(self, in_channels: int, out_channels: int, width: int, unused_shortcuts: bool):
        super().__init__()

        def unit(i: int, o: int) -> _Unit:
            return _Unit(i, o, unused_shortcuts)

        def chain(channels: list[int]) -> list[_Unit]:
            return [unit(i, o) for i, o in pairwise(channels)]

        widths = [width * 2**level for level in range(LEVELS - 1)]
        upwards = [*reversed(widths), width]  # of the decoder's levels, from coarse to fine
        self.entry = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, padding=1), *_activated(width, width, 3)
        )
        self.branches = nn.ModuleList(
            nn.Sequential(*chain(widths[: level + 1])) for level in range(LEVELS - 1)
        )
        self.down = nn.ModuleList(
            unit(2 * i, o) for i, o in zip(widths, [*widths[1:], widths[-1]], strict=True)
        )
        self.up = nn.ModuleList(unit(2 * i, o) for i, o in pairwise(upwards))
        self.outputs = nn.ModuleList(
            nn.Sequential(*chain(upwards[level:]), *_activated(width, out_channels, 1))
            for level in range(LEVELS)
        )
        self.weigh = nn.Sequential(*_activated(out_channels, 1, 1), *_activated(1, 1, 3))

    def forward(self, x: Tensor) -> Tensor:
        """The fused logits on the grid of `x`."""
        return self.fuse(self.pyramid(x))

    def pyramid(self, x: Tensor) -> list[Tensor]:
        """Five maps of logits on the grid of `x`, of the coarsest level first.

        Deep pyramid supervision, by which the network is trained before its attention is, is the
        sum of the losses of these.
        """
        return self.logit_maps(self.features(x), x.shape[2:])

    def attention(self, x: Tensor) -> Tensor:
        """How much each of the five maps counts (B, 5), of the coarsest level first; sum 1."""
        return self._weights(self.pyramid(x))

    def features(self, x: Tensor) -> list[Tensor]:
        """The five maps that the encoder hands to the decoder, of the finest level first.

        They are those of `x` with zeros around it where its sides are not multiples of 16.
        """
        image = pad_to_multiple(x, MULTIPLE)
        maps = [self.entry(image)]
        for branch, unit in zip(self.branches, self.down, strict=True):
            image = F.avg_pool2d(image, 2)
            given = [F.max_pool2d(maps[-1], 2), branch(self.entry(image))]
            maps.append(unit(torch.cat(given, dim=1)))
        return maps

    def decode(self, features: list[Tensor], space: tuple[int, ...] | None = None) -> Tensor:
        """The fused logits from the encoder's maps, whatever was done to them.

        space: (H, W) of the image, where its sides are not multiples of 16.
        """
        return self.fuse(self.logit_maps(features, space))

    def logit_maps(
        self, features: list[Tensor], space: tuple[int, ...] | None = None
    ) -> list[Tensor]:
        """The five maps of `pyramid` from the encoder's maps; `space` as for `decode`."""
        *skips, x = features
        levels = [x]
        for unit in self.up:
            x = unit(torch.cat([skips.pop(), _doubled(x, 1)], dim=1))
            levels.append(x)
        found = [
            _doubled(output(x), LEVELS - 1 - level)
            for level, (output, x) in enumerate(zip(self.outputs, levels, strict=True))
        ]
        return found if space is None else [centre(logits, space) for logits in found]

    def fuse(self, maps: list[Tensor]) -> Tensor:
        """The sum of five maps of logits, weighted by the attention that they themselves call."""
        weights = self._weights(maps)
        return sum(
            weight[:, None, None, None] * logits
            for weight, logits in zip(weights.unbind(1), maps, strict=True)
        )

    def _weights(self, maps: list[Tensor]) -> Tensor:
        scores = [self.weigh(logits) for logits in maps]
        pooled = [score.mean(dim=(1, 2, 3)) + score.amax(dim=(1, 2, 3)) for score in scores]
        return torch.stack(pooled, dim=1).softmax(dim=1)


def _doubled(x: Tensor, times: int) -> Tensor:
    for _ in range(times):
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
    return x
