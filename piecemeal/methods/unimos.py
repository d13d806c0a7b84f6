"""UniMOS (Li et al. 2023): partial labels and unlabelled images, by consistency with pseudo-labels.

What a weak view of an unlabelled image is predicted to be, where the prediction is confident, is
what two strong views of it have to be, and the weak view with disturbed features. So says the text,
after UniMatch (Yang et al., CVPR 2023); equations 2 and 3 ask for the confidence of the very
predictions that are to be corrected.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from piecemeal.errors import InputError
from piecemeal.methods._base import Method
from piecemeal.methods._target_adaptive import target_adaptive_loss, weighted_values
from piecemeal.methods._views import Views, make_views, weak_view

# Of the released code: 0.7 up to epoch 700 of 2500, 0.8 up to epoch 1400.
THRESHOLDS = ((0.0, 0.7), (0.28, 0.8), (0.56, 0.9))
SHARES = (0.25, 0.25, 0.5)  # of both strong views and of the disturbed features (eq. 4)


class Targets(NamedTuple):
    """Pseudo-labels of B images: codes (B, *space) long, rows of sets (B, K, C) bool, and their
    confidence (B, *space) float32."""

    codes: Tensor
    confidence: Tensor
    sets: Tensor


class UniMos(Method):
    """Half the target adaptive loss of the labelled rows, half that of the unlabelled ones.

    Rows whose table carries no information are unlabelled; they alone are weakly disturbed, as the
    paper feeds labelled images directly. The network gives two predictions from one pass
    (`forward(images, output="disturbed", kept=n)`).

    background, target: weights of voxels without and with a drawn structure. thresholds: from
    which share of the training on, which confidence a pseudo-label needs. as_released: what the
    released code does otherwise. Both boxes overwrite the one tensor of pseudo-labels that all
    three streams share; the confidence inside is a softmax of a softmax, of four classes at most
    e / (e + 3) = 0.475, which never passes; strong views have other intensities than weak ones; and
    logits are dropped instead of features.

    notes: the share of voxels of the weak views whose pseudo-labels are confident, that of the
    voxels pasted into strong ones (both 0 in a step without unlabelled rows), and the threshold.
    """

    noted = ("accepted", "accepted_pasted", "threshold")
    # Each of several processes needs rows of both kinds, which the sampler spreads evenly, half and
    # half: otherwise they would not meet in the batch norms of the same passes.
    least_rows = 2
    # Of n labelled and n unlabelled rows the encoder sees 2 n and both strong views, 4 n, and the
    # decoder besides these the disturbed features, 5 n: 4.5 n passes of 2 n rows.
    work = 2.25
    wants_tables = True

    def __init__(
        self,
        classes: int,
        background: float = 0.2,
        target: float = 1.2,
        thresholds: Sequence[Sequence[float]] = THRESHOLDS,
        as_released: bool = False,
    ):
        super().__init__(classes)
        _check_thresholds(thresholds)
        self.weights, self.thresholds = (background, target), thresholds
        self.as_released = as_released

    def loss(self, logits: Tensor, codes: Tensor, sets: Tensor) -> Tensor:
        """L^l: weighted mean of -log q_A of the fused logits."""
        return target_adaptive_loss(logits, codes, sets, *self.weights)

    def training_loss(
        self,
        forward: Callable[..., Any],
        images: Tensor,
        codes: Tensor,
        sets: Tensor,
        done: float,
        tables: Tensor | None = None,
    ) -> Tensor:
        """0.5 L^l + 0.5 L^u (eq. 5), either of them 0 without rows of its kind.

        Labelled and weak images share a pass, and batch norms their statistics, as in UniMatch. It
        predicts the partners from a batch of their own in eval mode; here they are of the same.
        """
        tables = sets.cpu() if tables is None else tables
        says = (tables.any(dim=2) & ~tables.all(dim=2)).any(dim=1)
        known, unknown = (
            rows.nonzero().flatten().to(images.device, non_blocking=True) for rows in (says, ~says)
        )
        labelled, unlabelled = images[known], images[unknown]
        threshold = self.threshold(done)
        if not len(unlabelled):
            nothing = images.new_zeros(())
            self.notes = dict.fromkeys(self.noted, nothing) | {"threshold": nothing + threshold}
            return 0.5 * self.loss(forward(labelled), codes[known], sets[known])
        weak, rows = weak_view(unlabelled), len(labelled)
        views = self.views(weak)
        output = "disturbed_maps" if self.as_released else "disturbed"
        logits, disturbed = forward(torch.cat([labelled, weak]), output=output, kept=rows)
        strong = forward(torch.cat(views.strong)).chunk(2)
        consistency = self._unlabelled_loss(
            [*strong, disturbed],
            *(logits[rows:], self._questions(sets[known], weak), views, threshold),
        )
        if not rows:
            return 0.5 * consistency
        return 0.5 * self.loss(logits[:rows], codes[known], sets[known]) + 0.5 * consistency

    def views(self, weak: Tensor) -> Views:
        """Two strong views of weak ones (B, channels, H, W) in [-1, 1], and what was pasted."""
        return make_views(weak, self.as_released)

    def threshold(self, done: float) -> float:
        """The confidence that a pseudo-label needs when this share of the training is over."""
        return [needed for start, needed in self.thresholds if start <= done][-1]

    def pseudo_labels(self, logits: Tensor, sets: Tensor) -> tuple[Tensor, Tensor]:
        """Codes (B, *space) long and confidence (B, *space) float32, both without gradient.

        logits (B, C, *space), sets (B, K, C): of the rows that carry information the likeliest, and
        its q_A. So the classes that a data set does not draw are one with its background.
        """
        chances = logits.detach().float().softmax(dim=1).flatten(2)
        informative = sets.any(dim=2) & ~sets.all(dim=2)
        # One row of the tables at a time, as (B, K, C, *space) would be large.
        of_rows = [
            (chances * row[:, :, None]).sum(dim=1).masked_fill(~asked[:, None], -1)
            for row, asked in zip(sets.unbind(1), informative.unbind(1), strict=True)
        ]
        confidence, codes = torch.stack(of_rows, dim=1).max(dim=1)
        space = logits.shape[2:]
        return codes.unflatten(1, space), confidence.unflatten(1, space)

    def targets(
        self, logits: Tensor, sets: Tensor, views: Views
    ) -> tuple[Targets, Targets, Targets, Targets]:
        """What the weak views are predicted to be, and what is asked of the three streams for it.

        logits (B, C, *space) of the weak views; sets (B, K, C): the tables they are asked about.
        The streams are both strong views and the disturbed features.
        """
        weak = Targets(*self.pseudo_labels(logits, sets), sets)
        theirs = self._of_partners(weak, logits, views.partners)
        if self.as_released:
            shared = paste(weak, theirs, views.boxes[0] | views.boxes[1])
            return weak, shared, shared, shared
        first, second = (paste(weak, theirs, box) for box in views.boxes)
        return weak, first, second, weak

    def _of_partners(self, weak: Targets, logits: Tensor, partners: Tensor) -> Targets:
        """Row by row the pseudo-labels of the partner, as they are pasted."""
        if self.as_released:
            twice = logits.detach().float().softmax(dim=1).softmax(dim=1)
            weak = weak._replace(confidence=twice.amax(dim=1))
        return Targets(*(values[partners] for values in weak))

    def _unlabelled_loss(
        self,
        predictions: Sequence[Tensor],
        logits: Tensor,
        sets: Tensor,
        views: Views,
        threshold: float,
    ) -> Tensor:
        """L^u of the three streams' `predictions` (eq. 4), given the `logits` of the weak views."""
        weak, *targets = self.targets(logits, sets, views)
        theirs = self._of_partners(weak, logits, views.partners)
        self.notes = {
            "accepted": (weak.confidence >= threshold).float().mean(),
            "accepted_pasted": _share_pasted(targets, theirs, views.boxes, threshold),
            "threshold": logits.new_full((), threshold, dtype=torch.float32),
        }
        return sum(
            share * self._stream(prediction, wanted, threshold)
            for share, prediction, wanted in zip(SHARES, predictions, targets, strict=True)
        )

    def _stream(self, logits: Tensor, targets: Targets, threshold: float) -> Tensor:
        """Mean over all voxels of w (-log q_A) where the pseudo-label is confident, 0 elsewhere."""
        values = weighted_values(logits, targets.codes, targets.sets, *self.weights)
        return (values * (targets.confidence >= threshold)).mean()

    def _questions(self, tables: Tensor, weak: Tensor) -> Tensor:
        """The tables of the labelled rows in turn for every weak view; every class without any."""
        if not len(tables):
            each = torch.eye(self.classes, dtype=torch.bool, device=tables.device)
            return each.expand(len(weak), -1, -1)
        return tables[torch.arange(len(weak), device=tables.device) % len(tables)]


def paste(own: Targets, theirs: Targets, box: Tensor) -> Targets:
    """`own` pseudo-labels with those of the partner, row by row, where `box` (B, *space) says so.

    The partner's rows of sets come behind the own ones: the two may have been asked otherwise.
    """
    return Targets(
        torch.where(box, theirs.codes + own.sets.shape[1], own.codes),
        torch.where(box, theirs.confidence, own.confidence),
        torch.cat([own.sets, theirs.sets], dim=1),
    )


def _share_pasted(
    targets: Sequence[Targets], theirs: Targets, boxes: Sequence[Tensor], threshold: float
) -> Tensor:
    """Of the voxels in the boxes of both strong views, the share whose pseudo-label is confident.

    Without any box that of the whole of the partners, of which boxes show a random part: the mean
    over steps is then not drawn towards some other number.
    """
    pasted = sum(box.sum() for box in boxes)
    passed = sum(
        (box & (stream.confidence >= threshold)).sum()
        for stream, box in zip(targets, boxes, strict=False)  # not the disturbed features
    )
    anywhere = (theirs.confidence >= threshold).float().mean()
    return torch.where(pasted > 0, passed / pasted.clamp(min=1), anywhere)


def _check_thresholds(thresholds: Sequence[Any]) -> None:
    """Raise InputError unless these are pairs that begin at 0 and rise."""
    pairs = [pair for pair in thresholds if isinstance(pair, Sequence) and len(pair) == 2]
    starts = [start for start, _ in pairs]
    rising = starts == sorted(set(starts)) and starts[:1] == [0]
    if not rising or len(pairs) < len(thresholds) or any(not 0 <= t <= 1 for _, t in pairs):
        raise InputError(
            f"unimos: thresholds is {thresholds}; expected pairs [share of the training, "
            "confidence], all from 0 to 1, the shares rising from 0"
        )
