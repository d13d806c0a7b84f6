"""The CLIP-driven universal model (Liu et al., ICCV 2023) on the 3D TransUNet.

A comparison of Chen et al. (CVPR 2024). Dynamic convolutions as DoDNet's, whose controller is told
a structure not by its number but by a vector: in the original the CLIP embedding of a sentence
about it. Those embeddings are not ours to give on. Without them the text has no part in it, and the
arm is to be called "CLIP-driven (rand)".
"""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from piecemeal.errors import InputError
from piecemeal.networks._dynamic_head import ToldHead
from piecemeal.networks.dodnet_transunet import ToldTransUNet
from piecemeal.networks.versatile_transunet import build_backbone

DIMENSIONS = 3
TEXT = 512  # numbers of an embedding of CLIP
SEEN = 256  # numbers of the image and of the structure that the controller sees
EMBEDDINGS = ("learned", "random")


def build(
    in_channels: int,
    out_channels: int,
    tasks: int = 16,
    embeddings: str = "learned",
    seed: int = 0,
    root: int = 32,
    tokens: int = 512,
    depth: int = 4,
    heads: int = 8,
    patch: int = 112,
) -> ToldTransUNet:
    """The network; `out_channels` logits for each of `tasks` structures.

    embeddings: `learned`, a vector of 256 for each structure; `random`, one of 512 that `seed`
    draws and nothing changes, through a linear layer to 256; or a file of such vectors, (tasks,
    512) in the order of the structures, .npy or .pt. The rest as for versatile_transunet; `heads`
    are those of its attentions. Raises InputError if the file does not fit.
    """
    if tasks < 1:
        raise InputError(f"clip_transunet: tasks is {tasks}; it must be at least 1")
    backbone = build_backbone("clip_transunet", in_channels, root, tokens, depth, heads, patch)
    if embeddings == "learned":
        structures: nn.Module = Learned(tasks)
    elif embeddings == "random":
        drawn = np.random.default_rng(seed).standard_normal((tasks, TEXT), np.float32)
        structures = Given(torch.as_tensor(drawn, device="cpu"))
    else:
        structures = Given(_read(Path(embeddings), tasks))
    return ToldTransUNet(
        backbone, ClipHead(backbone.tokens, backbone.last, out_channels, tasks, structures)
    )


def _read(path: Path, tasks: int) -> Tensor:
    """The embeddings (tasks, 512) in a file, float32; InputError if that is not what it holds."""
    wanted = f"numbers of the shape ({tasks}, {TEXT}), a row for each structure"
    if path.suffix not in (".npy", ".pt"):
        raise InputError(
            f"clip_transunet: embeddings is '{path}'; allowed: {', '.join(EMBEDDINGS)}, or a .npy "
            f"or .pt file of {wanted}"
        )
    try:
        vectors = _numbers(path)
    except (OSError, EOFError, ValueError, TypeError, RuntimeError, UnpicklingError) as error:
        raise InputError(
            f"clip_transunet: embeddings {path} cannot be read ({type(error).__name__}); give a "
            f"file of {wanted}"
        ) from error
    if vectors.shape != (tasks, TEXT):
        shape = tuple(vectors.shape)
        raise InputError(
            f"clip_transunet: embeddings {path} has the shape {shape}; give a file of {wanted}"
        )
    if not vectors.isfinite().all():
        raise InputError(
            f"clip_transunet: embeddings {path} holds numbers that are not finite; mend it"
        )
    return vectors


def _numbers(path: Path) -> Tensor:
    """What the file holds, float32; nothing in it is executed."""
    if path.suffix == ".npy":
        found = np.load(path, allow_pickle=False)
    else:
        found = torch.load(path, map_location="cpu", weights_only=True)
    return torch.as_tensor(found, dtype=torch.float32, device="cpu")


class Learned(nn.Module):
    """Numbers of structures (B,) to vectors (B, 256) that are weights of the network."""

    def __init__(self, tasks: int):
        super().__init__()
        self.vectors = nn.Parameter(torch.randn(tasks, SEEN))

    def forward(self, tasks: Tensor) -> Tensor:
        """Those of `tasks` (B,)."""
        return self.vectors[tasks]


class Given(nn.Module):
    """Numbers of structures (B,) to vectors (B, 256) made of given ones (tasks, 512)."""

    def __init__(self, vectors: Tensor):
        super().__init__()
        self.register_buffer("vectors", vectors.to(torch.get_default_device()))
        self.layer = nn.Linear(TEXT, SEEN)

    def forward(self, tasks: Tensor) -> Tensor:
        """Those of `tasks` (B,)."""
        return F.relu(self.layer(self.vectors[tasks]))


class ClipHead(ToldHead):
    """From the tokens and the decoder's last map to the logits of a structure.

    structures: numbers of structures (B,) to vectors (B, 256); the image is told in as many.
    """

    def __init__(
        self,
        deep_channels: int,
        last_channels: int,
        channels: int,
        tasks: int,
        structures: nn.Module,
    ):
        super().__init__(deep_channels, last_channels, tasks, channels, DIMENSIONS, seen=2 * SEEN)
        self.image = nn.Linear(deep_channels, SEEN)
        self.structures = structures

    def told(self, tasks: Tensor, context: Tensor) -> Tensor:
        """What stands for the structures, whatever the image."""
        return self.structures(tasks)

    def features(self, deep: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        """What `forward` needs of an image: (B, 256), and 8 maps (B, 8, *space)."""
        context, maps = super().features(deep, last)
        return self.image(context), maps
