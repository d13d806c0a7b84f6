"""DoDNet on the 3D TransUNet, the comparison of Chen et al. (CVPR 2024, section 4.2).

The dynamic head of DoDNet (`_dynamic_head`) takes the place of the head of `versatile_transunet`:
its controller sees the tokens and the task, its dynamic convolutions work on the decoder's last
map. The published one has a task of one channel, a sigmoid, for each of the 16 structures.
"""

from __future__ import annotations

from torch import Tensor

from piecemeal.errors import InputError
from piecemeal.networks._dynamic_head import DynamicHead, ToldHead, ToldNetwork
from piecemeal.networks.versatile_transunet import Backbone, build_backbone

DIMENSIONS = 3


def build(
    in_channels: int,
    out_channels: int,
    tasks: int = 16,
    root: int = 32,
    tokens: int = 512,
    depth: int = 4,
    heads: int = 8,
    patch: int = 112,
) -> ToldTransUNet:
    """The network; `out_channels` logits for each of `tasks` tasks.

    The rest as for versatile_transunet; `heads` are those of its attentions.
    """
    if tasks < 1:
        raise InputError(f"dodnet_transunet: tasks is {tasks}; it must be at least 1")
    backbone = build_backbone("dodnet_transunet", in_channels, root, tokens, depth, heads, patch)
    head = DynamicHead(backbone.tokens, backbone.last, tasks, out_channels, DIMENSIONS)
    return ToldTransUNet(backbone, head)


class ToldTransUNet(ToldNetwork):
    """(B, in_channels, patch, patch, patch) and a task to logits (B, out_channels, *space)."""

    def __init__(self, backbone: Backbone, head: ToldHead):
        super().__init__()
        self.tasks, self.backbone, self.dynamic = head.tasks, backbone, head

    def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """All that the head needs of the images, for whatever task."""
        return self.dynamic.features(*self.backbone(x))
