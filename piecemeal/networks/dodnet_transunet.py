"""DoDNet on the 3D TransUNet, the comparison of Chen et al. (CVPR 2024, section 4.2).

The dynamic head of DoDNet (`_dynamic_head`) takes the place of the head of `versatile_transunet`:
its controller sees the tokens and the task, its dynamic convolutions work on the decoder's last
map. The published one has a task of one channel, a sigmoid, for each of the 16 structures.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from piecemeal.errors import InputError
from piecemeal.networks._dynamic_head import DynamicHead, ToldHead
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


class ToldTransUNet(nn.Module):
    """(B, in_channels, patch, patch, patch) and a task to logits (B, out_channels, *space)."""

    def __init__(self, backbone: Backbone, head: ToldHead):
        super().__init__()
        self.tasks, self.backbone, self.dynamic = head.tasks, backbone, head

    def forward(self, x: Tensor, task: int | Tensor | None = None) -> Tensor:
        """Logits of `task`: one for all images, or an id for each (B,).

        Without a task, those of all tasks, one after the other in the channels:
        (B, tasks * out_channels, *space).
        """
        features = self.features(x)
        if task is not None:
            return self.head(features, task)
        return torch.cat([self.head(features, task) for task in range(self.tasks)], dim=1)

    def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """All that the head needs of the images, for whatever task."""
        return self.dynamic.features(*self.backbone(x))

    def head(self, features: tuple[Tensor, Tensor], task: int | Tensor) -> Tensor:
        """Logits (B, out_channels, *space) of `task`, as in `forward`; InputError if unknown."""
        return self.dynamic(features, task)
