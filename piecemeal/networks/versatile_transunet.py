"""The base network of Chen et al. (CVPR 2024, section 3.1), "a 3D variant of TransUNet".

Their own design, as their released code has it; neither of the published 3D TransUNets. A residual
encoder of weight-standardised convolutions, halved four times by resampling; a transformer on the
voxels of the deepest map; a decoder with the encoder's maps as skips. It takes cubes of one size
alone, because every token has a learned place.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from piecemeal.errors import InputError
from piecemeal.networks._transunet_parts import Residual, Transformer, Up, activated, rescaled

DIMENSIONS = 3
MULTIPLE = 16  # voxels of the patch along each axis are one token
SMALLEST = 32  # a norm cannot do with the one voxel that a patch of 16 would leave


def build(
    in_channels: int,
    out_channels: int,
    root: int = 32,
    tokens: int = 512,
    depth: int = 4,
    heads: int = 8,
    patch: int = 112,
) -> VersatileTransUNet:
    """The network; all convolutions are as wide as `root`, of the first one, says.

    tokens: width of the transformer; depth: its blocks; heads: of each attention; patch: voxels
    along each axis of what it is to see, a multiple of 16 and at least 32. Raises InputError, as
    the network does of images of other sizes.
    """
    backbone = build_backbone("versatile_transunet", in_channels, root, tokens, depth, heads, patch)
    return VersatileTransUNet(backbone, out_channels)


def build_backbone(
    network: str, in_channels: int, root: int, tokens: int, depth: int, heads: int, patch: int
) -> Backbone:
    """All of the network but its head; options as for `build`.

    Raises InputError, in the name of `network`, on impossible options.
    """
    for key, value in (("root", root), ("tokens", tokens), ("depth", depth), ("heads", heads)):
        if value < 1:
            raise InputError(f"{network}: {key} is {value}; it must be at least 1")
    if tokens % heads:
        raise InputError(f"{network}: tokens is {tokens}; it must be a multiple of heads, {heads}")
    if patch < SMALLEST or patch % MULTIPLE:
        raise InputError(
            f"{network}: patch is {patch}; it must be a multiple of {MULTIPLE} and at least "
            f"{SMALLEST}"
        )
    return Backbone(network, in_channels, root, tokens, depth, heads, patch)


class Backbone(nn.Module):
    """(B, in_channels, patch, patch, patch) to the tokens and the last map of the decoder.

    These are (B, tokens, *patch / 16) and (B, last, patch, patch, patch).
    """

    def __init__(
        self,
        network: str,
        in_channels: int,
        root: int,
        tokens: int,
        depth: int,
        heads: int,
        patch: int,
    ):
        super().__init__()
        self.network, self.patch, self.tokens, self.last = network, patch, tokens, 2 * root
        fine, second, third, deep = (factor * root for factor in (2, 8, 16, 32))
        self.stem = nn.Sequential(*activated(in_channels, root, 5), *activated(root, fine, 5))
        stages = [
            [(fine, fine, 2 * fine), (2 * fine, 2 * fine, second)],
            [*2 * [(second, second // 2, second)], (second, second // 2, third)],
            [*3 * [(third, third // 2, third)], (third, third // 2, deep)],
        ]
        self.encoder = nn.ModuleList(
            nn.Sequential(*(Residual(*unit, half=unit == units[-1]) for unit in units))
            for units in stages
        )
        self.transformer = Transformer(deep, tokens, depth, heads, patch // MULTIPLE)
        self.bridge = nn.Sequential(*activated(tokens, third))
        self.decoder = nn.ModuleList(
            [Up(third, third, second), Up(second, second, fine), Up(fine, fine, fine)]
        )
        self.merge = nn.Sequential(*activated(2 * fine, fine), nn.Conv3d(fine, fine, 3, padding=1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The tokens on their grid, and the last map; InputError if `x` is of another size."""
        self._check(x)
        full = self.stem(x)
        x = rescaled(full, 0.5)
        skips = [x]
        for stage in self.encoder:
            x = stage(x)
            skips.append(x)
        tokens = self.transformer(skips.pop())
        x = self.bridge(tokens)
        for up in self.decoder:
            x = up(x, skips.pop())
        return tokens, self.merge(torch.cat([rescaled(x, 2.0), full], dim=1))

    def _check(self, x: Tensor) -> None:
        if tuple(x.shape[2:]) != 3 * (self.patch,):
            found = " x ".join(map(str, x.shape[2:]))
            raise InputError(
                f"{self.network}: an image of {found} voxels; it was built for cubes of "
                f"{self.patch} voxels a side: cut patches of that size, or set its option patch"
            )


class VersatileTransUNet(nn.Module):
    """(B, in_channels, patch, patch, patch) to logits (B, out_channels, patch, patch, patch)."""

    def __init__(self, backbone: Backbone, out_channels: int):
        super().__init__()
        self.backbone = backbone
        self.head = nn.Conv3d(backbone.last, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of `x`; InputError if it is of another size."""
        _, last = self.backbone(x)
        return self.head(last)
