"""The merged model that Anand et al. (2024) compare with: a channel for every structure."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from piecemeal.errors import InputError
from piecemeal.methods._batch_dice import SMOOTH, BatchDice, Targets, listed
from piecemeal.methods._shared_channels import SharedChannels, with_rows_of


class Multichannel(BatchDice):
    """One head over the structures of all tasks, in the order of their class ids.

    masked: False takes a sample for a negative of the structures of other tasks, as the paper does,
    whose tasks show nothing of each other; True leaves its voxels out of their Dice, which is right
    for whatever a scan may show beside its own. tasks: class ids of each; they may overlap.

    before (C,) long: the channel that every class has in the run that this one goes on from.
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
        self.before = torch.zeros_like(self.channels)

    def output_channels(self) -> int:
        """One for every structure that some task has."""
        return self.head.channels(len(self.structures))

    def build(self, network: Callable[..., nn.Module]) -> nn.Module:
        """The network together with what its channels mean, for a run that goes on from it."""
        return SharedChannels(super().build(network), self.channels, {})

    def continue_from(self, weights: dict[str, Tensor]) -> None:
        """See which structures have a channel by now.

        Raises InputError if the weights do not say, or if some structure would lose its channel.
        """
        before = weights.get("channels")
        if before is None or len(before) != self.classes or (self.channels[before > 0] == 0).any():
            raise InputError(
                "multichannel: the weights to go on from do not say which structure has which "
                "channel, or have one for structures that are of no task here; in runs.tsv, let "
                "`starts_from` name an arm of multichannel whose tasks this run has too"
            )
        self.before = before.clone()

    def adopted(self, weights: dict[str, Tensor], fresh: dict[str, Tensor]) -> dict[str, Tensor]:
        """All of `weights`; a head that grew keeps the rows of the structures that it had."""
        first = 1 if self.head.sigmoid else 0  # channel of the head's first row
        rows = {0: 0} if first == 0 else {}
        for old, new in zip(self.before.tolist(), self.channels.tolist(), strict=True):
            if old:
                rows[old - first] = new - first
        kept = {
            key: with_rows_of(old, fresh[key], rows) if key in fresh else old
            for key, old in weights.items()
        }
        return kept | {"channels": fresh["channels"]}

    def targets(self, codes: Tensor, sets: Tensor) -> Targets:
        """Each structure in its own channel."""
        return self.in_channels(codes, sets, self.channels, len(self.structures), self.masked)

    def probabilities(self, logits: Tensor) -> Tensor:
        """What was not asked for is background."""
        asked = self.structures if self.asked is None else self.asked
        return self.head.named(logits, self.channels.to(logits.device), asked)
