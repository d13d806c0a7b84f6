"""The merged model that Anand et al. (2024) compare with: a channel for every structure."""

from collections.abc import Sequence

import torch
from torch import Tensor

from piecemeal.methods._batch_dice import SMOOTH, BatchDice, Targets, make_targets
from piecemeal.methods._tasks import asked_of


class Multichannel(BatchDice):
    """Softmax over the structures of all tasks and the background.

    masked: False takes a sample for a negative of the structures of other tasks, as the paper does,
    whose tasks show nothing of each other; True leaves its voxels out of their Dice, which is right
    for whatever a scan may show beside its own. tasks: class ids of each; they may overlap.
    """

    def __init__(
        self,
        classes: int,
        tasks: Sequence[Sequence[int]] | None = None,
        masked: bool = False,
        smooth: float = SMOOTH,
    ):
        super().__init__(classes, tasks, smooth, disjoint=False)
        self.masked = masked

    def targets(self, codes: Tensor, sets: Tensor) -> Targets:
        """The channel of a structure is its class id."""
        channels = torch.arange(self.classes, device=codes.device)
        return make_targets(codes, sets, channels, self.classes - 1, self.masked)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Softmax; what was not asked for is background."""
        chances = logits.float().softmax(dim=1)
        if self.asked is None:
            return chances
        channels = torch.arange(self.classes, device=logits.device)
        return asked_of(chances, channels, self.asked)
