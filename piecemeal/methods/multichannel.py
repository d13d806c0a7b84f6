"""The merged model that Anand et al. (2024) compare with: a channel for every structure."""

from collections.abc import Sequence

from torch import Tensor

from piecemeal.methods._batch_dice import SMOOTH, BatchDice, Targets, listed


class Multichannel(BatchDice):
    """One head over the structures of all tasks, in the order of their class ids.

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
        head: str | None = None,
        overlapping: bool = False,
    ):
        super().__init__(classes, tasks, smooth, False, head, overlapping)
        self.masked = masked
        self.structures = sorted({c for task in self.tasks for c in task})
        self.channels = listed([self.structures], classes)

    def output_channels(self) -> int:
        """One for every structure that some task has."""
        return self.head.channels(len(self.structures))

    def targets(self, codes: Tensor, sets: Tensor) -> Targets:
        """Each structure in its own channel."""
        return self.in_channels(codes, sets, self.channels, len(self.structures), self.masked)

    def probabilities(self, logits: Tensor) -> Tensor:
        """What was not asked for is background."""
        asked = self.structures if self.asked is None else self.asked
        return self.head.named(logits, self.channels.to(logits.device), asked)
