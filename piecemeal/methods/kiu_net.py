"""KiU-Net as Li et al. (2023) compare with it: a model of its own for every structure.

All are trained in one run, none of them knowing of the others: the answer to partial labels that
their paper calls intuitive and costly.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from piecemeal.methods._base import Method
from piecemeal.methods._tasks import OnePerTask, answerable, beside_background, of_structures

CHANNELS = 2  # of a model: all else, and the structure


class KiUNet(Method):
    """Cross-entropy of each model on the samples that can teach its structure.

    (Valanarasu et al., MICCAI 2020; nothing here asks for their network.) A step moves the models
    of which its batch has samples, so batches of one data set train each as if it were alone.
    """

    uses_all_parameters = False
    wants_tables = True

    def __init__(self, classes: int):
        super().__init__(classes)
        self.work = 1 / (classes - 1)  # a sample is of one data set, and that of one structure

    def output_channels(self) -> int:
        """Of all models together."""
        return CHANNELS * (self.classes - 1)

    def build(self, network: Callable[[int], nn.Module]) -> nn.Module:
        """One network a structure, drawn one after the other."""
        return OnePerTask([network(CHANNELS) for _ in range(self.classes - 1)], CHANNELS)

    def training_loss(
        self,
        forward: Callable[..., Any],
        images: Tensor,
        codes: Tensor,
        sets: Tensor,
        done: float,
        tables: Tensor | None = None,
    ) -> Tensor:
        """Sum over the models of each one's own mean, so that none feels how many there are."""
        logits = forward(images, rows=answerable(sets if tables is None else tables).tolist())
        losses, voxels = self._of_models(logits, codes, sets)
        return (losses / voxels.clamp(min=1)).sum()

    def loss(self, logits: Tensor, codes: Tensor, sets: Tensor) -> Tensor:
        """Mean over the voxels, and structures, that a sample can teach; 0 if there are none.

        logits (B, 2 (C - 1), *space), codes (B, *space), sets (B, K, C).
        """
        losses, voxels = self._of_models(logits, codes, sets)
        return losses.sum() / voxels.sum().clamp(min=1)

    def probabilities(self, logits: Tensor) -> Tensor:
        """The likeliest structure, and the background where each model prefers all else."""
        return beside_background(_odds(logits))

    def _of_models(self, logits: Tensor, codes: Tensor, sets: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy summed over the voxels each model learns from, and their number, (T,)."""
        drawn, known = of_structures(codes, sets)
        counted = known * answerable(sets).view(known.shape[:2] + (1,) * (known.ndim - 2))
        losses = F.binary_cross_entropy_with_logits(
            _odds(logits), drawn, weight=counted, reduction="none"
        )
        over = (0, *range(2, known.ndim))
        return losses.sum(over), counted.sum(over)


def _odds(logits: Tensor) -> Tensor:
    """Logarithm of the odds of each structure, (B, C - 1, *space): what a softmax of two gives."""
    return logits[:, 1::CHANNELS].float() - logits[:, ::CHANNELS].float()
