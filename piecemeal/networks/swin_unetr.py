"""Swin UNETR (Hatamizadeh et al., BrainLes 2021), MONAI's, a base network of Chen et al. (2024).

A Swin transformer of windows of 7 voxels as encoder, convolutions as decoder. Chen et al. give no
feature size; 48 is that of the published network.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from piecemeal.errors import InputError

DIMENSIONS = 3
MULTIPLE = 32
LEAST_SIDE = 64  # at 32 a norm would see one voxel, which MONAI's cannot do with
SMALLEST_WINDOW = 2  # they are shifted by half of it
LEAST_WIDTH = 12  # three heads of the first attention, of four channels


def build(
    in_channels: int, out_channels: int, feature_size: int = 48, window_size: int = 7
) -> SwinUNETR:
    """The network; feature_size: channels of the first stage, a multiple of 12.

    window_size: voxels along each axis of the windows in which its attentions look; the time they
    take grows with its cube. It takes images of sides that are multiples of 32 and at least 64, and
    raises InputError for others.
    """
    if feature_size < LEAST_WIDTH or feature_size % LEAST_WIDTH:
        raise InputError(
            f"swin_unetr: feature_size is {feature_size}; it must be a multiple of {LEAST_WIDTH}"
        )
    if window_size < SMALLEST_WINDOW:
        raise InputError(
            f"swin_unetr: window_size is {window_size}; it must be at least {SMALLEST_WINDOW}"
        )
    return SwinUNETR(in_channels, out_channels, feature_size, window_size)


class SwinUNETR(nn.Module):
    """(B, in_channels, *space) to logits (B, out_channels, *space) in 3D."""

    # Under bfloat16 a few of its runs end in numbers that are not finite.
    precision = "float32"

    def __init__(self, in_channels: int, out_channels: int, feature_size: int, window_size: int):
        super().__init__()
        from monai.networks.nets import SwinUNETR as Network

        # MONAI reads numbers off tensors as it builds, which those of the meta device do not have.
        with torch.device("cpu"):
            network = Network(
                in_channels, out_channels, feature_size=feature_size, window_size=window_size
            )
        self.network = network.to(torch.get_default_device())

    def forward(self, x: Tensor) -> Tensor:
        """Logits of `x`; InputError if a side is too small or no multiple of 32."""
        if any(side < LEAST_SIDE or side % MULTIPLE for side in x.shape[2:]):
            found = " x ".join(map(str, x.shape[2:]))
            raise InputError(
                f"swin_unetr: an image of {found} voxels; every side must be a multiple of "
                f"{MULTIPLE} and at least {LEAST_SIDE}: choose such a patch"
            )
        return self.network(x)
