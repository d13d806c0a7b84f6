"""KiU-Net (Valanarasu et al., MICCAI 2020), with the widths of its released code.

Two branches of three levels side by side. The U branch halves its maps, as a U-Net does; the Ki
branch doubles them, to see small structures: its bottleneck is eight times larger than the image in
each direction. After each level each branch adds what a convolution finds in the other, resized.

The released code puts a ReLU on the logits, by which a class that is nowhere positive gets no
gradient; `final_relu` brings it back. It also builds two convolutions that it never uses, 74,112 of
its 290,658 weights (one channel in, two classes); `unused_fusion` builds them too. It works on
images of 128 x 128 pixels: with `input_size` every image is brought to one size, and its logits
back.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from piecemeal.errors import InputError
from piecemeal.networks._sizes import centre, pad_to_multiple

DIMENSIONS = 2
LEVELS = 3
MULTIPLE = 2**LEVELS


def build(
    in_channels: int,
    out_channels: int,
    width: int = 16,
    final_relu: bool = False,
    unused_fusion: bool = False,
    input_size: int | None = None,
) -> KiUNet:
    """The network; `width` channels in the first level, doubled in each of the next two.

    input_size: pixels a side of what it works on (bilinear resizing, corners not aligned); None:
    the images as they are.
    """
    if width < 2 or width % 2:
        raise InputError(f"kiu_net: width is {width}; it must be even, and at least 2")
    if input_size is not None and input_size <= MULTIPLE:
        raise InputError(
            f"kiu_net: input_size is {input_size}; it must be more than {MULTIPLE}, or null"
        )
    return KiUNet(in_channels, out_channels, width, final_relu, unused_fusion, input_size)


_halved = partial(F.max_pool2d, kernel_size=2)
_resized = partial(F.interpolate, mode="bilinear", align_corners=False)
_doubled = partial(_resized, scale_factor=2)


def _convolution(in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, padding=1)


class _Level(nn.Module):
    """3x3 convolution, a change of size, batch norm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, resize: Callable[[Tensor], Tensor]):
        super().__init__()
        self.convolution, self.resize = _convolution(in_channels, out_channels), resize
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.resize(self.convolution(x))))


class _Fusion(nn.Module):
    """The cross-residual fusion: each branch takes over from the other."""

    def __init__(self, channels: int):
        super().__init__()
        self.to_u, self.to_ki = (
            nn.Sequential(_convolution(channels, channels), nn.BatchNorm2d(channels), nn.ReLU())
            for _ in range(2)
        )

    def forward(self, u: Tensor, ki: Tensor) -> tuple[Tensor, Tensor]:
        return (
            u + _resized(self.to_u(ki), size=u.shape[2:]),
            ki + _resized(self.to_ki(u), size=ki.shape[2:]),
        )


class KiUNet(nn.Module):
    """(B, in_channels, H, W) to logits (B, out_channels, H, W), any H and W.

    The memory it takes is that of a network on an image 8 x 8 times as large, H and W being
    `input_size` where it is given. A batch of one image needs more than 8 pixels a side to train:
    its batch norms would see one value each.
    """

    # A training step takes about a third less time in this order of memory.
    memory_format = torch.channels_last

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        width: int,
        final_relu: bool,
        unused_fusion: bool,
        input_size: int | None,
    ):
        super().__init__()
        widths = [width * 2**level for level in range(LEVELS)]
        inwards = list(zip([in_channels, *widths], widths, strict=False))
        outwards = [(o, o // 2) for o in reversed(widths)]

        def levels(channels: list[tuple[int, int]], resize: Callable) -> nn.ModuleList:
            return nn.ModuleList(_Level(i, o, resize) for i, o in channels)

        self.u_encoder, self.ki_encoder = levels(inwards, _halved), levels(inwards, _doubled)
        self.u_decoder, self.ki_decoder = levels(outwards, _doubled), levels(outwards, _halved)
        self.encoder_fusions = nn.ModuleList(_Fusion(o) for _, o in inwards)
        self.decoder_fusions = nn.ModuleList(_Fusion(o) for _, o in outwards[:-1])
        if unused_fusion:
            self.unused_fusion = _Fusion(widths[-1])
        self.last = nn.Conv2d(width // 2, out_channels, 1)
        self.final_relu, self.input_size = final_relu, input_size

    def forward(self, x: Tensor) -> Tensor:
        """Logits on the grid of `x`."""
        size = x.shape[2:]
        if self.input_size is None or size == (self.input_size,) * 2:
            return self._logits(x)
        return _resized(self._logits(_resized(x, size=(self.input_size,) * 2)), size=size)

    def _logits(self, x: Tensor) -> Tensor:
        """As `forward`; sides that are not multiples of 8 are padded and cut back."""
        u = ki = pad_to_multiple(x, MULTIPLE)
        skips = []
        for u_level, ki_level, fusion in zip(
            self.u_encoder, self.ki_encoder, self.encoder_fusions, strict=True
        ):
            u, ki = fusion(u_level(u), ki_level(ki))
            skips.append((u, ki))
        skips.pop()
        for u_level, ki_level, fusion in zip(
            self.u_decoder, self.ki_decoder, self.decoder_fusions, strict=False
        ):
            u, ki = fusion(u_level(u), ki_level(ki))
            u_skip, ki_skip = skips.pop()
            u, ki = u + u_skip, ki + ki_skip
        logits = self.last(self.u_decoder[-1](u) + self.ki_decoder[-1](ki))
        logits = centre(logits, x.shape[2:])
        return torch.relu(logits) if self.final_relu else logits
