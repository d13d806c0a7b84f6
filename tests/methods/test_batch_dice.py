"""The Dice of a batch: what samples ask of channels, and the loss by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from piecemeal.labelsets import pad
from piecemeal.methods._batch_dice import (
    Targets,
    at_level,
    batch_dice,
    level_weights,
    make_targets,
    pyramid_dice,
)
from piecemeal.methods._heads import Head
from piecemeal.methods._tasks import at

TASKS = [[1, 2, 3], [4, 5]]
LISTED = torch.tensor([0, 1, 2, 3, 1, 2])  # channels of the classes


def by_hand(voxels: torch.Tensor, taught: torch.Tensor, counted: torch.Tensor) -> Targets:
    """Targets of a channel for every voxel (B, *space), 0 for background and -1 for unknown."""
    count = taught.shape[1]
    rows = torch.cat([torch.zeros(1, count), torch.eye(count), torch.zeros(1, count)]).bool()
    known = torch.arange(count + 2) <= count
    codes = torch.where(voxels < 0, count + 1, voxels)
    drawn = rows.expand(len(voxels), -1, -1)
    return Targets(codes, drawn, known.expand(len(voxels), -1), taught, counted)


def channels_of(targets: Targets) -> torch.Tensor:
    """The reverse, where no voxel is of two channels."""
    numbers = torch.arange(1, targets.drawn.shape[2] + 1)
    assert targets.drawn.sum(dim=2).max() <= 1
    row = (targets.drawn * numbers).sum(dim=2).masked_fill(~targets.known, -1)
    return at(row, targets.codes)


def with_unknown(codes: torch.Tensor, sets: torch.Tensor, where: tuple) -> tuple:
    """The same, but nothing is known of the voxels at `where`."""
    anything = torch.ones(len(sets), 1, sets.shape[2], dtype=torch.bool)
    codes = codes.clone()
    codes[where] = sets.shape[1]
    return codes, torch.cat([sets, anything], dim=1)


def test_what_a_sample_asks_of_shared_channels(as_batch):
    codes, sets = as_batch(([0, 1, 3, 2], TASKS[0]), ([4, 0, 5, 5], TASKS[1]))
    codes, sets = with_unknown(codes, sets, (1, 3))
    found = make_targets(codes, sets, LISTED, 3)
    assert channels_of(found).tolist() == [[0, 1, 3, 2], [1, 0, 2, -1]]
    assert found.taught.tolist() == [[True, True, True], [True, True, False]]
    assert found.counted.all()
    masked = make_targets(codes, sets, LISTED, 3, masked=True)
    assert masked.counted.equal(masked.taught)


def test_nothing_is_asked_for_what_a_sample_cannot_answer():
    sets = torch.tensor([[[True, False, False], [False, True, True]]])
    found = make_targets(torch.tensor([[0, 1]]), sets, torch.tensor([0, 1, 2]), 2)
    assert channels_of(found).tolist() == [[-1, -1]]
    assert not found.taught.any()
    assert not found.counted.any()


def test_sums_run_over_the_batch():
    """Probabilities 1/2 everywhere; two channels, of which the second sample has the first."""
    logits = torch.zeros(2, 3, 4) + torch.tensor([1.0, 1.0, -1e4]).view(1, 3, 1)
    voxels = torch.tensor([[1, 1, 0, -1], [1, 0, 0, 0]])
    taught = torch.tensor([[True, True], [True, False]])
    everything = by_hand(voxels, taught, torch.ones_like(taught))
    of_first = (2 * 1.5 + 1e-5) / (3.5 + 3 + 1e-5)
    of_second = 1.0  # neither is there any of it, nor is any found
    found = batch_dice(logits, everything).item()
    assert found == pytest.approx(1 - (of_first + of_second) / 2)
    logits[:, 2] = 1.0  # a third each
    over_both = (1e-5) / (7 / 3 + 1e-5)
    of_first = (2 * 1.0 + 1e-5) / (7 / 3 + 3 + 1e-5)
    found = batch_dice(logits, everything).item()
    assert found == pytest.approx(1 - (of_first + over_both) / 2, rel=1e-5)


def test_a_masked_sample_is_out_of_the_sums():
    logits = torch.randn(2, 3, 5)
    voxels = torch.tensor([[1, 2, 0, 0, 2], [1, 1, 0, 0, 0]])
    taught = torch.tensor([[True, True], [True, False]])
    found = batch_dice(logits, by_hand(voxels, taught, taught))
    chance = logits.softmax(1)
    first = 2 * (chance[:, 1] * (voxels == 1)).sum() / (chance[:, 1].sum() + 3)
    second = 2 * (chance[0, 2] * (voxels[0] == 2)).sum() / (chance[0, 2].sum() + 2)
    torch.testing.assert_close(found, 1 - (first + second) / 2, rtol=1e-4, atol=0)


def test_a_channel_that_no_sample_teaches_is_out_of_the_mean():
    logits, voxels = torch.randn(2, 3, 6), torch.randint(0, 2, (2, 6))
    taught = torch.tensor([[True, False], [True, False]])
    found = batch_dice(logits, by_hand(voxels, taught, torch.ones_like(taught)))
    chance = logits.softmax(1)[:, 1]
    drawn = voxels == 1
    expected = 1 - (2 * (chance * drawn).sum() + 1e-5) / (chance.sum() + drawn.sum() + 1e-5)
    torch.testing.assert_close(found, expected)


def test_without_anything_taught_the_loss_is_zero():
    logits = torch.randn(1, 3, 4, requires_grad=True)
    nothing = torch.zeros(1, 2, dtype=torch.bool)
    loss = batch_dice(logits, by_hand(torch.full((1, 4), -1), nothing, nothing))
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


def test_levels_count_half_of_the_finer_one_each_and_the_coarsest_nothing():
    assert level_weights(1) == [1.0]
    assert level_weights(2) == [1.0, 0.0]
    assert level_weights(4) == pytest.approx([4 / 7, 2 / 7, 1 / 7, 0])


def test_coarser_levels_see_the_voxels_in_the_middle_of_theirs():
    voxels = torch.arange(48).view(1, 6, 8)
    targets = Targets(voxels, None, None, None, None)
    assert at_level(targets, (3, 2)).codes.tolist() == [[[10, 14], [26, 30], [42, 46]]]
    assert at_level(targets, (6, 8)).codes is voxels
    for space in ((3, 4), (2, 3), (5, 7)):
        nearest = nn.functional.interpolate(voxels[None].float(), space, mode="nearest-exact")
        assert torch.equal(at_level(targets, space).codes, nearest[0].long())


def test_deep_supervision_by_hand(as_batch):
    targets = make_targets(*as_batch((np.eye(4, dtype=int), TASKS[0])), LISTED, 3)
    levels = [torch.randn(1, 4, 4, 4), torch.randn(1, 4, 2, 2), torch.full((1, 4, 1, 1), 9.0)]
    fine, coarse = batch_dice(levels[0], targets), batch_dice(levels[1], at_level(targets, (2, 2)))
    torch.testing.assert_close(pyramid_dice(levels, targets), (2 * fine + coarse) / 3)


# Sigmoids, and structures that lie over each other.

BOTH = Head(sigmoid=True, overlapping=True)


def test_a_row_of_several_structures_means_all_of_them(overlaid):
    """Bits of the second task: nothing, class 4, class 5, both; then a voxel that nobody knows."""
    codes, sets = (torch.from_numpy(part)[None] for part in overlaid([0, 1, 2, 3, 0], TASKS[1]))
    codes, sets = with_unknown(codes, sets, (0, 4))
    found = make_targets(codes, sets, LISTED, 3, overlapping=True)
    at_voxels = found.drawn[0, codes[0].long()]
    assert at_voxels.int().tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert found.known[0, codes[0].long()].tolist() == [True] * 4 + [False]
    assert found.taught.tolist() == [[True, True, False]]
    assert found.counted.all()
    # The same table of structures that exclude each other leaves both of them undecided.
    assert not make_targets(codes, sets, LISTED, 3).taught.any()


def test_the_dice_of_overlapping_structures_by_hand(overlaid):
    """Half a chance of everything, four known voxels: two are of each structure, one of both."""
    codes, sets = (torch.from_numpy(part)[None] for part in overlaid([0, 1, 2, 3, 0], TASKS[1]))
    targets = make_targets(*with_unknown(codes, sets, (0, 4)), LISTED, 3, overlapping=True)
    logits = torch.zeros(1, 3, 5, requires_grad=True)
    loss = batch_dice(logits, targets, head=BOTH)
    assert loss.item() == pytest.approx(1 - (2 * 1 + 1e-5) / (2 + 2 + 1e-5))
    loss.backward()
    assert (logits.grad[0, :2, :4] != 0).all()
    assert not logits.grad[0, :, 4].any()
    assert not logits.grad[0, 2].any()  # the channel that this task does not have
    perfect = torch.tensor([[[-9, 9, -9, 9, 9], [-9, -9, 9, 9, 9], [9, 9, 9, 9, 9]]]) * 10.0
    assert batch_dice(perfect, targets, head=BOTH).item() == pytest.approx(0, abs=1e-5)


def test_samples_of_two_overlapping_tasks_share_the_sums_of_a_channel(overlaid):
    """Tables of different lengths; class 1 shares with class 4."""
    first, second = overlaid([1, 7], TASKS[0]), overlaid([1, 0], TASKS[1])
    codes = torch.from_numpy(np.stack([first.codes, second.codes]))
    sets = torch.from_numpy(pad([first.sets, second.sets]))
    targets = make_targets(codes, sets, LISTED, 3, overlapping=True)
    assert targets.taught.tolist() == [[True, True, True], [True, True, False]]
    assert targets.drawn[0, [1, 7]].int().tolist() == [[1, 0, 0], [1, 1, 1]]
    logits = torch.tensor([[[0.0, 0.0]] * 3, [[0.0, 0.0]] * 3])
    of_first, others = 2 * 1.5 / (2 + 3), 2 * 0.5 / (2 + 1)
    found = batch_dice(logits, targets, head=BOTH).item()
    assert found == pytest.approx(1 - (of_first + 2 * others) / 3, rel=1e-4)


@given(st.integers(0, 1000))
def test_of_disjoint_structures_both_readings_of_a_table_agree(annotated, seed):
    labels = np.random.default_rng(seed).choice([0, *TASKS[0]], (3, 4))
    codes, sets = (torch.from_numpy(part)[None] for part in annotated(labels, TASKS[0]))
    # Without the rows of the other task, which are of a background that may be anything.
    one = make_targets(codes, sets[:, :4], LISTED, 3)
    two = make_targets(codes, sets[:, :4], LISTED, 3, overlapping=True)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_a_sigmoid_has_no_background_to_compete_with():
    taught = torch.tensor([[True]])
    targets = by_hand(torch.tensor([[1, 0, 1]]), taught, taught)
    logits = torch.tensor([[[2.0, -1.0, 0.0]]])
    chance = logits.sigmoid().flatten()
    expected = 1 - (2 * (chance[0] + chance[2]) + 1e-5) / (chance.sum() + 2 + 1e-5)
    torch.testing.assert_close(batch_dice(logits, targets, head=Head(sigmoid=True)), expected)
    beside_nothing = torch.cat([torch.zeros(1, 1, 3), logits], dim=1)
    torch.testing.assert_close(batch_dice(beside_nothing, targets), expected)
