"""MedNeXt (Roy et al., MICCAI 2023), MONAI's in 3D, a base network of Chen et al. (2024).

A U-Net of ConvNeXt blocks: a depth-wise convolution, then channels expanded and brought back.
Chen et al. use the variant L and give no kernel size; ours is 3. In variants B, M and L MONAI's
differs from the authors' own: a block that halves the sides expands its channels as the stage
before it does, where theirs expands as the stage after it, which is 0.1 % more weights in L.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from piecemeal.errors import InputError
from piecemeal.networks._sizes import centre, pad_to_multiple

DIMENSIONS = 3
MULTIPLE = 16


class Variant(NamedTuple):
    """Of the encoder's four stages, of the deepest one, and backwards of the decoder's."""

    expansions: tuple[int, int, int, int, int]
    blocks: tuple[int, int, int, int, int]


VARIANTS = {
    "S": Variant((2, 2, 2, 2, 2), (2, 2, 2, 2, 2)),
    "B": Variant((2, 3, 4, 4, 4), (2, 2, 2, 2, 2)),
    "M": Variant((2, 3, 4, 4, 4), (3, 4, 4, 4, 4)),
    "L": Variant((3, 4, 8, 8, 8), (3, 4, 8, 8, 8)),
}


def build(
    in_channels: int, out_channels: int, variant: str = "L", kernel_size: int = 3, width: int = 32
) -> MedNeXt:
    """The network; variant: S, B, M or L; kernel_size: of the depth-wise convolutions, odd.

    width: channels of the first stage, doubled in each of the next.
    """
    if variant not in VARIANTS:
        raise InputError(f"mednext: variant is '{variant}'; allowed: {', '.join(VARIANTS)}")
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise InputError(f"mednext: kernel_size is {kernel_size}; it must be odd")
    if width < 1:
        raise InputError(f"mednext: width is {width}; it must be at least 1")
    return MedNeXt(in_channels, out_channels, VARIANTS[variant], kernel_size, width)


class MedNeXt(nn.Module):
    """(B, in_channels, *space) to logits (B, out_channels, *space), any space."""

    def __init__(
        self, in_channels: int, out_channels: int, variant: Variant, kernel_size: int, width: int
    ):
        super().__init__()
        from monai.networks.nets import MedNeXt as Network

        *expansions, deepest_expansion = variant.expansions
        *blocks, deepest_blocks = variant.blocks
        self.network = Network(
            spatial_dims=3,
            init_filters=width,
            in_channels=in_channels,
            out_channels=out_channels,
            encoder_expansion_ratio=expansions,
            decoder_expansion_ratio=expansions[::-1],
            bottleneck_expansion_ratio=deepest_expansion,
            kernel_size=kernel_size,
            use_residual_connection=True,
            blocks_down=blocks,
            blocks_bottleneck=deepest_blocks,
            blocks_up=blocks[::-1],
        )

    def forward(self, x: Tensor) -> Tensor:
        """Logits on the grid of `x`."""
        # A norm would leave nothing of the one voxel that a side of 16 becomes.
        padded = pad_to_multiple(x, MULTIPLE, smallest=2 * MULTIPLE)
        return centre(self.network(padded), x.shape[2:])
