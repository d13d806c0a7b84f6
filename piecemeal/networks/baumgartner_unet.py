"""The modified 2D U-Net of Baumgartner et al. (STACOM 2017), used by Kemnitz et al. (2018).

Five stages of two [3x3 convolution, batch norm, ReLU]; the decoder's transposed convolutions have
only as many channels as there are classes (the modification); the last 1x1 convolution is followed
by a batch norm, so the logits themselves are normalised. The published network zero-pads its input
once and convolves without padding; `padding="same"` zero-pads in every convolution instead: the
same parameters at about a third of the work, for scales that must fit a laptop.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from piecemeal.errors import InputError

STAGES = 5
MULTIPLE = 2 ** (STAGES - 1)
# What 18 unpadded 3x3 convolutions take off each side, by the scale at which they work: the
# network returns its input size exactly when that size is 4 modulo 16 (212, 260).
MARGIN = 92
REMAINDER = 4


def build(
    in_channels: int, out_channels: int, width: int = 64, padding: str = "valid"
) -> BaumgartnerUNet:
    """The network; `width` channels in the first stage, doubled in each of the next four."""
    if padding not in ("valid", "same"):
        raise InputError(f"baumgartner_unet: padding is '{padding}'; allowed: valid, same")
    if width < 1:
        raise InputError(f"baumgartner_unet: width is {width}; it must be at least 1")
    return BaumgartnerUNet(in_channels, out_channels, width, padding)


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def _block(in_channels: int, out_channels: int, padding: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (in_channels, out_channels):
        layers += [
            nn.Conv2d(channels, out_channels, 3, padding=padding, bias=False),
            _batch_norm(out_channels),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


class BaumgartnerUNet(nn.Module):
    """(B, in_channels, H, W) to logits (B, out_channels, H, W), any H and W."""

    # With batch norm a training step takes about a fifth less time in this order of memory.
    memory_format = torch.channels_last

    def __init__(self, in_channels: int, out_channels: int, width: int, padding: str):
        super().__init__()
        self.valid = padding == "valid"
        pad = 0 if self.valid else 1
        widths = [width * 2**stage for stage in range(STAGES)]
        self.encoder = nn.ModuleList(
            _block(i, o, pad) for i, o in zip([in_channels, *widths], widths, strict=False)
        )
        self.up = nn.ModuleList(
            nn.Sequential(
                nn.ConvTranspose2d(deep, out_channels, 4, stride=2, padding=1, bias=False),
                _batch_norm(out_channels),
                nn.ReLU(inplace=True),
            )
            for deep in widths[:0:-1]
        )
        self.decoder = nn.ModuleList(
            _block(out_channels + skip, skip, pad) for skip in widths[-2::-1]
        )
        self.head = nn.Sequential(
            nn.Conv2d(width, out_channels, 1, bias=False), _batch_norm(out_channels)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Logits on the grid of `x`; sizes the network cannot hold are padded and cut back."""
        height, width = x.shape[-2:]
        x = F.pad(x, self._padding(width) + self._padding(height))
        skips = []
        for stage, block in enumerate(self.encoder):
            x = block(F.max_pool2d(x, 2, ceil_mode=True) if stage else x)
            skips.append(x)
        skips.pop()
        for up, block in zip(self.up, self.decoder, strict=True):
            x = up(x)
            x = block(torch.cat([x, _centre(skips.pop(), *x.shape[-2:])], dim=1))
        return _centre(self.head(x), height, width)

    def _padding(self, size: int) -> tuple[int, int]:
        """Zeros before and after an axis of `size` pixels."""
        extra = -(size - REMAINDER if self.valid else size) % MULTIPLE
        margin = MARGIN if self.valid else 0
        return margin + extra // 2, margin + extra - extra // 2


def _centre(x: Tensor, height: int, width: int) -> Tensor:
    top, left = (x.shape[-2] - height) // 2, (x.shape[-1] - width) // 2
    return x[..., top : top + height, left : left + width]
