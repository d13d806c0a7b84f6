"""CMU-Net, the context-aware multitasking U-Net of Moseley et al. (section 2).

A 2D U-Net with instance norm whose encoder also tells whether the organ is in the slice: global
average pooling and one fully connected layer on its last map. The plain U-Net of the paper and the
pre-trained one are the same network, trained in other ways.

There is no released code, and the text can be read in three ways:

- A, the default, takes it at its word: five encoder blocks each followed by max pooling, five
  decoder blocks (256 to 16 channels) each followed by up-sampling and a skip, a 1x1 convolution.
- B follows MultiMix, which the paper builds on: four poolings, and four decoder blocks that come
  after up-sampling and skip. The classifier pools once more.
- C has five decoder blocks, as the text says, in the order of B.

The paper lists a block's layers as convolution, leaky ReLU, instance norm. In this order every
channel of a block has mean zero, so that global average pooling tells nothing of the image. We
normalise before the leaky ReLU, as MultiMix does; `order="activation_first"` is the order listed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from piecemeal.errors import InputError
from piecemeal.networks._sizes import centre, pad_to_multiple

DIMENSIONS = 2
STAGES = 5
READINGS = ("A", "B", "C")
ORDERS = ("norm_first", "activation_first")
# What the sides of an image must be a multiple of, and at least: an instance norm cannot do with
# one pixel. Smaller images and others are padded.
MULTIPLE = {"A": 32, "B": 16, "C": 32}
SMALLEST = {"A": 64, "B": 32, "C": 32}


def build(
    in_channels: int,
    out_channels: int,
    width: int = 16,
    reading: str = "A",
    order: str = "norm_first",
    affine: bool = False,
    classifier: bool = True,
) -> CMUUNet:
    """The network; `width` channels in the first block, doubled in each of the next four.

    affine: instance norms learn scale and shift. classifier: build the head that tells whether the
    organ is present; a network that only segments has no use for it.
    """
    for key, value, allowed in (("reading", reading, READINGS), ("order", order, ORDERS)):
        if value not in allowed:
            raise InputError(f"cmu_unet: {key} is '{value}'; allowed: {', '.join(allowed)}")
    if width < 1:
        raise InputError(f"cmu_unet: width is {width}; it must be at least 1")
    return CMUUNet(in_channels, out_channels, width, reading, order, affine, classifier)


def _block(in_channels: int, out_channels: int, order: str, affine: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (in_channels, out_channels):
        norm = nn.InstanceNorm2d(out_channels, affine=affine)
        activation = nn.LeakyReLU(0.2, inplace=True)
        layers.append(nn.Conv2d(channels, out_channels, 3, padding=1))
        layers += [norm, activation] if order == "norm_first" else [activation, norm]
    return nn.Sequential(*layers)


class CMUUNet(nn.Module):
    """(B, in_channels, H, W) to logits (B, out_channels, H, W), any H and W."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        width: int,
        reading: str,
        order: str,
        affine: bool,
        classifier: bool,
    ):
        super().__init__()
        self.reading = reading
        widths = [width * 2**stage for stage in range(STAGES)]

        def blocks(*channels: tuple[int, int]) -> nn.ModuleList:
            return nn.ModuleList(_block(i, o, order, affine) for i, o in channels)

        self.encoder = blocks(*zip([in_channels, *widths], widths, strict=False))
        deep = widths[-1]
        if reading == "A":
            # A block sees what the one before it gave, up-sampled, and the skip of that size.
            given = [deep, 2 * deep, *(2 * skip for skip in widths[-2:0:-1])]
            self.decoder = blocks(*zip(given, reversed(widths), strict=True))
            last = 2 * width
        else:
            skips = widths[-2::-1] if reading == "B" else widths[::-1]
            given = [below + skip for below, skip in zip([deep, *skips], skips, strict=False)]
            self.decoder = blocks(*zip(given, skips, strict=True))
            last = width
        self.segmentation = nn.Conv2d(last, out_channels, 1)
        self.classifier = nn.Linear(deep, 1) if classifier else None

    def forward(self, x: Tensor, output: str = "segmentation") -> Any:
        """Segmentation logits on the grid of `x`, or what the methods below say.

        output: "segmentation", "presence" or "both". One entrance for all, because what goes past
        `forward` is not synchronised between GPUs.
        """
        if output == "presence":
            return self.presence(x)
        if output == "both":
            return self.forward_with_presence(x)
        return centre(self._segment(self._encode(x)), x.shape[2:])

    def presence(self, x: Tensor) -> Tensor:
        """Logit (B, 1) that the organ is in the slice, from the encoder alone."""
        return self._classify(self._encode(x))

    def forward_with_presence(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Segmentation logits and the presence logit (B, 1), from one pass of the encoder."""
        maps = self._encode(x)
        return centre(self._segment(maps), x.shape[2:]), self._classify(maps)

    def _encode(self, x: Tensor) -> list[Tensor]:
        """What each block gives, from fine to coarse, and the last of them max-pooled."""
        x = pad_to_multiple(x, MULTIPLE[self.reading], SMALLEST[self.reading])
        maps = []
        for block in self.encoder:
            maps.append(block(x))
            x = F.max_pool2d(maps[-1], 2)
        return [*maps, x]

    def _segment(self, maps: list[Tensor]) -> Tensor:
        maps = maps[:-1] if self.reading == "B" else list(maps)
        x = maps.pop()
        for block in self.decoder:
            if self.reading == "A":
                x = torch.cat([_doubled(block(x)), maps.pop()], dim=1)
            else:
                x = block(torch.cat([_doubled(x), maps.pop()], dim=1))
        return self.segmentation(x)

    def _classify(self, maps: list[Tensor]) -> Tensor:
        if self.classifier is None:
            raise InputError(
                "cmu_unet: this network cannot tell presence; build it with classifier: true"
            )
        return self.classifier(maps[-1].mean(dim=(2, 3)))


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
