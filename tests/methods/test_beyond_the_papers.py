"""Methods that none of the five papers compares with: what their losses ask for, worked by hand."""

import math

import pytest
import torch

from piecemeal import methods, networks
from piecemeal.losses import leaf_dice, marginal_cross_entropy, marginal_dice
from piecemeal.methods._levels import codes_at
from piecemeal.methods.marginal_exclusion import exclusion

NAMES = ("ignore_label", "leaf_dice", "marginal_exclusion", "multitalent")
# Background, two structures.
COMPLETE = [[0], [1], [2]]
FIRST_DRAWN = [[0, 2], [1]]  # the second was not asked for
MERGED = [[0], [1, 2]]
NOTHING = [[0, 1, 2]]


def table(*rows):
    """(1, K, 3) of the classes of each set."""
    sets = torch.zeros(1, len(rows), 3, dtype=torch.bool)
    for code, members in enumerate(rows):
        sets[0, code, members] = True
    return sets


def voxels(*codes):
    """A row of voxels, (1, 1, n)."""
    return torch.tensor([[codes]], dtype=torch.uint8)


def load(name):
    return methods.load(name, 3)


def gradient(loss, logits, *given):
    logits = logits.clone().requires_grad_()
    loss(logits, *given).backward()
    return logits.grad


@pytest.fixture
def logits():
    torch.manual_seed(0)
    return torch.randn(1, 3, 1, 4)


def test_ignored_voxels_change_nothing(logits):
    method, codes = load("ignore_label"), voxels(0, 1, 1, 0)
    sets = table([0, 2], [1])
    found = gradient(method.loss, logits, codes, sets)
    assert found[..., 1:3].any()
    assert not found[..., [0, 3]].any()
    other = logits.clone()
    other[..., [0, 3]] = 7.0
    torch.testing.assert_close(
        method.loss(other, codes, sets), method.loss(logits, codes, sets), rtol=0, atol=0
    )


def test_ignore_label_is_cross_entropy_and_dice_of_the_known_voxels():
    # Uniform over three classes; of four voxels one is background, one class 1, two are unknown.
    loss = load("ignore_label").loss(
        torch.zeros(1, 3, 1, 4), voxels(0, 1, 2, 2), table([0], [1], [0, 1, 2])
    )
    dice = (2 / 3 + 1e-5) / (2 / 3 + 1 + 1e-5)
    assert loss.item() == pytest.approx(math.log(3) + 1 - dice, abs=1e-6)


@pytest.mark.parametrize("name", ["leaf_dice", "marginal_exclusion"])
def test_predictions_that_differ_inside_a_set_cost_the_same(name):
    # The README of the code released with the label-set losses has this example.
    sure = torch.tensor([[20.0, 0, 0], [0, 20, 0], [0, 0, 20]])
    one, other = sure[[0, 1]].T, sure[[0, 2]].T
    codes, sets = voxels(0, 1), table(*MERGED)
    losses = [load(name).loss(z[None, :, None], codes, sets).item() for z in (one, other)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    wrong = load(name).loss(sure[[1, 0]].T[None, :, None], codes, sets).item()
    assert wrong > losses[0] + 1


def test_leaf_dice_is_the_sum_of_its_two_losses(logits):
    given = (logits, voxels(0, 1, 0, 1), table(*MERGED))
    expected = leaf_dice(*given) + marginal_cross_entropy(*given)
    torch.testing.assert_close(load("leaf_dice").loss(*given), expected)


def test_exclusion_by_hand():
    # Uniform over three classes; of two voxels one is drawn as class 1. Nobody asked for class 2.
    found = exclusion(torch.zeros(1, 3, 1, 2), voxels(0, 1), table(*FIRST_DRAWN))
    dice = 2 * (1 / 3) / (2 / 3 + 1)
    assert found.item() == pytest.approx(dice + math.log(4 / 3) / 2, abs=1e-5)


def test_exclusion_pushes_un_annotated_structures_out_of_drawn_ones_alone(logits):
    codes, sets = voxels(0, 1, 0, 1), table(*FIRST_DRAWN)
    found = gradient(exclusion, logits, codes, sets)
    assert (found[0, 2, 0, [1, 3]] > 0).all()


@pytest.mark.parametrize("rows", [COMPLETE, NOTHING])
def test_there_is_no_exclusion_where_everything_or_nothing_was_asked_for(logits, rows):
    codes = voxels(0, 0, 0, 0) if rows is NOTHING else voxels(0, 1, 2, 1)
    sets = table(*rows)
    assert exclusion(logits, codes, sets) == 0
    expected = marginal_cross_entropy(logits, codes, sets, reduction="known_mean")
    expected = expected + marginal_dice(logits, codes, sets, reduction="known_mean")
    torch.testing.assert_close(load("marginal_exclusion").loss(logits, codes, sets), expected)


def test_multitalent_sums_the_structures_that_a_sample_teaches():
    # One half everywhere; each structure has one of four voxels.
    zeros, codes = torch.zeros(1, 2, 1, 4), voxels(0, 1, 2, 0)
    of_one = math.log(2) + 1 - (2 * 0.5 + 1e-5) / (2 + 1 + 1e-5)
    method = load("multitalent")
    assert method.loss(zeros, codes, table(*COMPLETE)).item() == pytest.approx(2 * of_one, abs=1e-5)
    drawn = voxels(0, 1, 0, 0)
    assert method.loss(zeros, drawn, table(*FIRST_DRAWN)).item() == pytest.approx(of_one, abs=1e-5)


def test_multitalent_leaves_the_sigmoids_of_other_structures_alone(logits):
    found = gradient(
        load("multitalent").loss, logits[:, :2], voxels(0, 1, 1, 0), table(*FIRST_DRAWN)
    )
    assert found[:, 0].any()
    assert not found[:, 1].any()


@pytest.mark.parametrize("name", NAMES)
def test_of_nothing_known_nothing_is_learned(logits, name):
    method = load(name)
    found = gradient(
        method.loss, logits[:, : method.output_channels()], voxels(0, 0, 0, 0), table(*NOTHING)
    )
    assert not found.any()


@pytest.mark.parametrize("name", NAMES)
def test_all_levels_are_trained(name):
    torch.manual_seed(0)
    method = load(name)
    network = method.build(lambda out: networks.build("nnunet", 1, out, stages=4, width=4))
    images, codes = torch.randn(2, 1, 16, 16), torch.randint(0, 3, (2, 16, 16), dtype=torch.uint8)
    sets = table(*COMPLETE).expand(2, -1, -1)
    loss = method.training_loss(network, images, codes, sets, 0.0)
    fine, middle, _ = network(images, output="pyramid")
    expected = 2 * method.loss(fine, codes, sets) + method.loss(
        middle, codes_at(codes, (8, 8)), sets
    )
    torch.testing.assert_close(loss, expected / 3)
