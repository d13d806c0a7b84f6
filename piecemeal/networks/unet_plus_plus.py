"""UNet++ (Zhou et al., DLMIA 2018), MONAI's in 3D, a base network of Chen et al. (2024).

A U-Net whose skips are dense blocks: every level of every depth is decoded. Chen et al. give no
widths; ours are MONAI's defaults.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from piecemeal.errors import InputError
from piecemeal.networks._sizes import centre, pad_to_multiple

DIMENSIONS = 3
FEATURES = (32, 32, 64, 128, 256, 32)
MULTIPLE = 16


def build(
    in_channels: int,
    out_channels: int,
    features: Sequence[int] = FEATURES,
    unused_heads: bool = False,
) -> UNetPlusPlus:
    """The network; features: channels of the five levels, and of the last map.

    unused_heads: build the heads of the shallower U-Nets too, which MONAI builds and whose logits
    nobody sees.
    """
    if len(features) != len(FEATURES) or min(features) < 1:
        raise InputError(
            f"unet_plus_plus: features is {list(features)}; it must be {len(FEATURES)} numbers of "
            "at least 1"
        )
    return UNetPlusPlus(in_channels, out_channels, features, unused_heads)


class UNetPlusPlus(nn.Module):
    """(B, in_channels, *space) to logits (B, out_channels, *space), any space."""

    def __init__(
        self, in_channels: int, out_channels: int, features: Sequence[int], unused_heads: bool
    ):
        super().__init__()
        from monai.networks.nets import BasicUNetPlusPlus

        self.network = BasicUNetPlusPlus(3, in_channels, out_channels, tuple(features))
        if not unused_heads:
            for depth in (1, 2, 3):
                setattr(self.network, f"final_conv_0_{depth}", nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        """Logits on the grid of `x`."""
        # An instance norm cannot do with the one voxel that a side of 16 leaves.
        padded = pad_to_multiple(x, MULTIPLE, smallest=2 * MULTIPLE)
        return centre(self.network(padded)[-1], x.shape[2:])
