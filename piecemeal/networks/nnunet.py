"""The plain U-Net of nnU-Net (Isensee et al., Nature Methods 2021), as its version 2 builds it.

Two 3x3(x3) convolutions a stage, each followed by instance norm and leaky ReLU. The first one of
every stage but the first has stride 2, in place of pooling. Upwards come transposed convolutions,
whose kernel is their stride, and the skips. Every level of the decoder has a 1x1(x1) head, for deep
supervision; only that of the finest level predicts.

The defaults are what nnU-Net plans for slices of 256 x 256 pixels: seven stages, down to 4 x 4
pixels. In 3D they are six stages, halved alike along all axes, as for patches of 128 voxels a side.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from piecemeal.errors import InputError
from piecemeal.networks._sizes import centre, pad_to_multiple

STAGES = {2: 7, 3: 6}
CAP = {2: 512, 3: 320}
CONVOLUTION = {2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
NORM = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
SLOPE = 0.01  # of the leaky ReLU


def build(
    in_channels: int,
    out_channels: int,
    dimensions: int = 2,
    stages: int | None = None,
    width: int = 32,
    cap: int | None = None,
    deep_supervision: bool = True,
) -> NNUNet:
    """The network; `width` channels in the first stage, doubled in each of the next up to `cap`.

    stages: 7 in 2D and 6 in 3D unless given; cap: 512 and 320. deep_supervision: build heads on
    all levels of the decoder, as published; without, on the finest only.
    """
    backbone = build_backbone("nnunet", in_channels, dimensions, stages, width, cap)
    return NNUNet(backbone, out_channels, dimensions, deep_supervision)


def build_backbone(
    network: str,
    in_channels: int,
    dimensions: int,
    stages: int | None,
    width: int,
    cap: int | None,
) -> Backbone:
    """All of the network but its heads; options as for `build`.

    Raises InputError, in the name of `network`, on impossible options.
    """
    if dimensions not in STAGES:
        raise InputError(f"{network}: dimensions is {dimensions}; allowed: 2, 3")
    stages = STAGES[dimensions] if stages is None else stages
    cap = CAP[dimensions] if cap is None else cap
    for key, value, least in (("stages", stages, 2), ("width", width, 1), ("cap", cap, 1)):
        if value < least:
            raise InputError(f"{network}: {key} is {value}; it must be at least {least}")
    return Backbone(in_channels, dimensions, [min(width * 2**k, cap) for k in range(stages)])


def _stage(in_channels: int, out_channels: int, dimensions: int, stride: int = 1) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels, step in ((in_channels, stride), (out_channels, 1)):
        layers += [
            CONVOLUTION[dimensions](channels, out_channels, 3, stride=step, padding=1),
            NORM[dimensions](out_channels, eps=1e-5, affine=True),
            nn.LeakyReLU(SLOPE, inplace=True),
        ]
    return nn.Sequential(*layers)


def _initialise(module: nn.Module) -> None:
    """Weights of a convolution as He et al. draw them for this leaky ReLU, biases zero."""
    if isinstance(module, (*CONVOLUTION.values(), *TRANSPOSED.values())):
        nn.init.kaiming_normal_(module.weight, a=SLOPE)
        nn.init.zeros_(module.bias)


class Backbone(nn.Module):
    """(B, in_channels, *space) to the deepest map, and those of the decoder from fine to coarse.

    widths: channels of the stages. Maps are those of images with zeros around them where a side is
    no multiple of 2^(stages - 1), or only once that: an instance norm cannot do with one pixel.
    """

    def __init__(self, in_channels: int, dimensions: int, widths: list[int]):
        super().__init__()
        self.widths = widths
        self.multiple = 2 ** (len(widths) - 1)
        self.encoder = nn.ModuleList(
            _stage(i, o, dimensions, stride=2 if stage else 1)
            for stage, (i, o) in enumerate(pairwise([in_channels, *widths]))
        )
        self.up = nn.ModuleList(
            TRANSPOSED[dimensions](i, o, 2, stride=2) for i, o in pairwise(reversed(widths))
        )
        self.decoder = nn.ModuleList(
            _stage(2 * skip, skip, dimensions) for skip in reversed(widths[:-1])
        )
        self.apply(_initialise)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(B, deepest channels, *coarsest), and a map of every level of the decoder."""
        x = pad_to_multiple(x, self.multiple, smallest=2 * self.multiple)
        skips = []
        for stage in self.encoder:
            x = stage(x)
            skips.append(x)
        x = deep = skips.pop()
        maps: list[Tensor] = []
        for up, stage in zip(self.up, self.decoder, strict=True):
            x = stage(torch.cat([up(x), skips.pop()], dim=1))
            maps.insert(0, x)
        return deep, maps


class NNUNet(nn.Module):
    """(B, in_channels, *space) to logits (B, out_channels, *space), any space."""

    def __init__(
        self, backbone: Backbone, out_channels: int, dimensions: int, deep_supervision: bool
    ):
        super().__init__()
        self.backbone = backbone
        levels = backbone.widths[:-1] if deep_supervision else backbone.widths[:1]
        self.heads = nn.ModuleList(
            CONVOLUTION[dimensions](channels, out_channels, 1) for channels in levels
        )
        self.heads.apply(_initialise)

    def forward(self, x: Tensor, output: str = "segmentation") -> Any:
        """Logits on the grid of `x`, or of the levels of the decoder as `pyramid` says.

        output: "segmentation" or "pyramid". One entrance for both, because what goes past `forward`
        is not synchronised between GPUs. Only "pyramid" uses all parameters.
        """
        if output == "pyramid":
            return self.pyramid(x)
        if output != "segmentation":
            raise InputError(f"nnunet: output is '{output}'; allowed: segmentation, pyramid")
        _, maps = self.backbone(x)
        return centre(self.heads[0](maps[0]), x.shape[2:])

    def pyramid(self, x: Tensor) -> list[Tensor]:
        """Logits of all levels that have a head, from fine to coarse; the first are the prediction.

        Level k has the sides of `x` divided by 2^k, rounded up. Where `x` was padded, what is cut
        out is the middle, to within half a pixel of the level.
        """
        _, maps = self.backbone(x)
        found = []
        for level, (head, given) in enumerate(zip(self.heads, maps, strict=False)):
            space = [-(-size // 2**level) for size in x.shape[2:]]
            found.append(centre(head(given), space))
        return found
