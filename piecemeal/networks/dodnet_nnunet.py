"""DoDNet on nnU-Net, the comparison of Anand et al. (2024, section 3.2).

The dynamic head of DoDNet (`_dynamic_head`) takes the place of the heads of nnU-Net: its controller
sees the deepest map and the task, its three dynamic convolutions work on the finest map of the
decoder. There is no deep supervision: the coarser levels have no head.
"""

from __future__ import annotations

from torch import Tensor

from piecemeal.errors import InputError
from piecemeal.networks._dynamic_head import DynamicHead, ToldNetwork
from piecemeal.networks._sizes import centre
from piecemeal.networks.nnunet import Backbone, build_backbone


def build(
    in_channels: int,
    out_channels: int,
    tasks: int = 3,
    dimensions: int = 2,
    stages: int | None = None,
    width: int = 32,
    cap: int | None = None,
) -> DoDNetOnNNUNet:
    """The network; `out_channels` logits for each of `tasks` tasks, the rest as for nnunet."""
    if tasks < 1:
        raise InputError(f"dodnet_nnunet: tasks is {tasks}; it must be at least 1")
    backbone = build_backbone("dodnet_nnunet", in_channels, dimensions, stages, width, cap)
    return DoDNetOnNNUNet(backbone, out_channels, tasks, dimensions)


class DoDNetOnNNUNet(ToldNetwork):
    """(B, in_channels, *space) and a task to logits (B, out_channels, *space), any space."""

    def __init__(self, backbone: Backbone, out_channels: int, tasks: int, dimensions: int):
        super().__init__()
        self.tasks, self.backbone = tasks, backbone
        first, *_, deepest = backbone.widths
        self.dynamic = DynamicHead(deepest, first, tasks, out_channels, dimensions)

    def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """All that the head needs of the images, for whatever task."""
        deep, maps = self.backbone(x)
        context, last = self.dynamic.features(deep, maps[0])
        return context, centre(last, x.shape[2:])
