"""PIPO-FAN (Fang and Yan, TMI 2020), which UniMOS (Li et al., section III-A) takes as its base.

A residual pre-activation U-Net with a pyramid at both ends. Pyramid input: the image, averaged down
to a half, a quarter, an eighth and a sixteenth, enters every level of the encoder through one and
the same pair of convolutions, followed by as many units as the encoder has had by then. Pyramid
output: every level of the decoder gives logits, brought to full size. Feature abstraction: a small
net shared by the five maps weighs them by attention, and their weighted sum is the prediction.

The released code pools the attention over a fixed window of 224 x 224 pixels; here it is pooled
over all of the image, which is the same at 224. It also builds seven shortcuts that it never uses,
363,904 of its 28,271,661 weights; `unused_shortcuts` builds them too.

What is shared by five levels holds batch norms. In training each level is normalised by its own
batch. The released code predicts with running statistics that are a mixture of all five, which no
level was trained with; here each level has its own. `mixed_statistics` brings the mixture back.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from piecemeal.errors import InputError
from piecemeal.networks._sizes import centre, pad_to_multiple

DIMENSIONS = 2
LEVELS = 5
MULTIPLE = 2 ** (LEVELS - 1)
DROPPED = 0.5  # share of the channels that a disturbance leaves out (UniMatch, section 3.2)


def build(
    in_channels: int,
    out_channels: int,
    width: int = 64,
    unused_shortcuts: bool = False,
    mixed_statistics: bool = False,
) -> PIPOFAN:
    """The network; `width` channels at full size, doubled in each of the next three levels."""
    if width < 1:
        raise InputError(f"pipo_fan: width is {width}; it must be at least 1")
    return PIPOFAN(in_channels, out_channels, width, unused_shortcuts, mixed_statistics)


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


class _Shared(nn.Module):
    """Layers that all levels share, and running statistics of the norms that they do not.

    statistics: how many of these there are, one a level or one for all.
    """

    def __init__(self, layers: list[nn.Module], statistics: int):
        super().__init__()
        self.layers = nn.ModuleList()
        for layer in layers:
            if isinstance(layer, nn.BatchNorm2d):
                others = [nn.BatchNorm2d(layer.num_features) for _ in range(statistics - 1)]
                for norm in others:
                    norm.weight, norm.bias = layer.weight, layer.bias
                layer = nn.ModuleList([layer, *others])
            self.layers.append(layer)

    def forward(self, x: Tensor, level: int) -> Tensor:
        for layer in self.layers:
            if isinstance(layer, nn.ModuleList):
                layer = layer[min(level, len(layer) - 1)]
            x = layer(x)
        return x


class PIPOFAN(nn.Module):
    """(B, in_channels, H, W) to logits (B, out_channels, H, W), any H and W.

    A batch of one image needs more than 16 pixels a side to train: its batch norms would see one
    value each.
    """

    # With its batch norms, prediction takes up to a quarter less time in this order of memory.
    memory_format = torch.channels_last

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        width: int,
        unused_shortcuts: bool,
        mixed_statistics: bool,
    ):
        super().__init__()
        statistics = 1 if mixed_statistics else LEVELS

        def unit(i: int, o: int) -> _Unit:
            return _Unit(i, o, unused_shortcuts)

        def chain(channels: list[int]) -> list[_Unit]:
            return [unit(i, o) for i, o in pairwise(channels)]

        widths = [width * 2**level for level in range(LEVELS - 1)]
        upwards = [*reversed(widths), width]  # of the decoder's levels, from coarse to fine
        first = nn.Conv2d(in_channels, width, 3, padding=1)
        self.entry = _Shared([first, *_activated(width, width, 3)], statistics)
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
        attention = [*_activated(out_channels, 1, 1), *_activated(1, 1, 3)]
        self.weigh = _Shared(attention, statistics)

    def forward(self, x: Tensor, output: str = "segmentation", kept: int = 0) -> Any:
        """The fused logits on the grid of `x`, or what the methods below say.

        output: "segmentation", "pyramid", "disturbed" or "disturbed_maps"; kept: for the last two.
        One entrance for all, because what goes past `forward` is not synchronised between GPUs.
        """
        match output:
            case "segmentation":
                return self.fuse(self.pyramid(x))
            case "pyramid":
                return self.pyramid(x)
            case "disturbed":
                return self.disturbed(x, kept)
            case "disturbed_maps":
                return self.disturbed_maps(x, kept)
        raise InputError(
            f"pipo_fan: output is '{output}'; allowed: segmentation, pyramid, disturbed, "
            "disturbed_maps"
        )

    def disturbed(self, x: Tensor, kept: int = 0) -> tuple[Tensor, Tensor]:
        """The fused logits of `x`, and those of its rows from `kept` on with disturbed features.

        Of the five maps that the encoder hands on, half the channels are dropped (training or
        not). As in UniMatch, one pass of the decoder takes both.
        """
        features = [_with_dropped(given, kept) for given in self.features(x)]
        logits = self.decode(features, x.shape[2:])
        return logits[: len(x)], logits[len(x) :]

    def disturbed_maps(self, x: Tensor, kept: int = 0) -> tuple[Tensor, Tensor]:
        """As `disturbed`, but of the five maps of logits: what is dropped are classes, at a scale.

        So does the released code of UniMOS. The attention is that of the maps that are left.
        """
        logits = self.fuse([_with_dropped(found, kept) for found in self.pyramid(x)])
        return logits[: len(x)], logits[len(x) :]

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
        maps = [self.entry(image, 0)]
        for level, (branch, unit) in enumerate(zip(self.branches, self.down, strict=True), start=1):
            image = F.avg_pool2d(image, 2)
            given = [F.max_pool2d(maps[-1], 2), branch(self.entry(image, level))]
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
        scores = [self.weigh(logits, level) for level, logits in enumerate(maps)]
        pooled = [score.mean(dim=(1, 2, 3)) + score.amax(dim=(1, 2, 3)) for score in scores]
        return torch.stack(pooled, dim=1).softmax(dim=1)


def _with_dropped(x: Tensor, kept: int) -> Tensor:
    """`x`, and behind it its rows from `kept` on with whole channels dropped."""
    return torch.cat([x, F.dropout2d(x[kept:], DROPPED)])


def _doubled(x: Tensor, times: int) -> Tensor:
    for _ in range(times):
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
    return x
