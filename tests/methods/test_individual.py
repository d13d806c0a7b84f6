"""A model for every task, the gold standard of Anand et al. (2024)."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from piecemeal import methods, networks
from piecemeal.errors import InputError
from piecemeal.inference import ForwardPasses
from piecemeal.methods import _tasks
from piecemeal.methods._batch_dice import batch_dice, make_targets, pyramid_dice
from piecemeal.methods._heads import Head
from piecemeal.methods._tasks import OnePerTask

TASKS = [[1, 2, 3], [4, 5]]
CLASSES = 6


def load(**options):
    return methods.load("individual", CLASSES, {"tasks": TASKS} | options)


def small_nnunet(channels: int) -> nn.Module:
    return networks.build("nnunet", 1, channels, width=4, stages=3)


@pytest.fixture
def individual():
    torch.manual_seed(0)
    method = load()
    return method, method.build(small_nnunet)


@pytest.fixture
def mixed(as_batch):
    """Four images, of the first and the second task by turns, and what is drawn in them."""
    generator = np.random.default_rng(1)
    samples = [
        (generator.choice([0, *TASKS[row % 2]], (16, 16)), TASKS[row % 2]) for row in range(4)
    ]
    images = torch.randn(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    return images, *as_batch(*samples)


def test_models_have_the_channels_of_their_tasks(individual):
    method, network = individual
    assert method.output_channels() == 7
    assert method.work == 0.5
    network.eval()
    images = torch.randn(2, 1, 16, 16)
    logits = network(images)
    for task, part in enumerate(logits.split([4, 3], dim=1)):
        assert torch.equal(network(images, task=task), part)


def test_levels_of_all_models_stand_side_by_side(individual):
    _, network = individual
    images = torch.randn(3, 1, 16, 16)
    rows = torch.tensor([[True, False], [False, True], [True, False]])
    levels = network(images, rows=rows, output="pyramid")
    assert [tuple(x.shape) for x in levels] == [(3, 7, 16, 16), (3, 7, 8, 8)]
    alone = network.members[0](images[[0, 2]], output="pyramid")
    for level, expected in zip(levels, alone, strict=True):
        torch.testing.assert_close(level[[0, 2], :4], expected)
        assert not level[1, :4].any()


def test_each_model_learns_as_if_it_were_alone(individual, mixed):
    method, network = individual
    images, codes, sets = mixed
    method.training_loss(network, images, codes, sets, 0.0).backward()
    for number, (task, member) in enumerate(zip(TASKS, network.members, strict=True)):
        alone = copy.deepcopy(member)
        alone.zero_grad()
        own = slice(number, None, 2)
        channels = torch.zeros(CLASSES, dtype=torch.long)
        channels[task] = torch.arange(1, len(task) + 1)
        targets = make_targets(codes[own], sets[own], channels, len(task))
        pyramid_dice(alone(images[own], output="pyramid"), targets).backward()
        for one, two in zip(member.parameters(), alone.parameters(), strict=True):
            torch.testing.assert_close(one.grad, two.grad)


def test_a_step_leaves_the_models_of_other_tasks_alone(individual, mixed):
    method, network = individual
    images, codes, sets = mixed
    method.training_loss(network, images[::2], codes[::2], sets[::2], 0.0).backward()
    assert all(p.grad is not None for p in network.members[0].parameters())
    assert all(p.grad is None for p in network.members[1].parameters())


def test_a_batch_of_nothing_known_moves_no_model(individual, mixed):
    method, network = individual
    images, codes, sets = mixed
    loss = method.training_loss(network, images, codes, torch.ones_like(sets), 0.0)
    loss.backward()
    assert loss.item() == 0
    assert all(p.grad is None for p in network.parameters())


def test_validation_is_the_mean_over_the_models_that_are_asked(individual, mixed):
    method, network = individual
    images, codes, sets = mixed
    logits = network(images)
    first, second = (
        method.loss(logits[own], codes[own], sets[own])
        for own in (slice(0, None, 2), slice(1, None, 2))
    )
    torch.testing.assert_close(method.loss(logits, codes, sets), (first + second) / 2)
    nothing = method.loss(logits, codes, torch.ones_like(sets))
    assert nothing.item() == 0


def test_a_scan_is_answered_by_the_model_of_its_task_in_one_pass(individual):
    method, network = individual
    images = torch.randn(3, 1, 16, 16)
    for number, asked in enumerate(TASKS):
        method.ask(asked)
        with torch.no_grad(), ForwardPasses(network) as passes:
            found = method.read_out(network, images)
            expected = network.members[number](images).softmax(1)
        assert passes.count == 6  # three by the read-out, three by the line below it
        torch.testing.assert_close(found[:, [0, *asked]], expected)
        others = [c for c in range(1, CLASSES) if c not in asked]
        assert not found[:, others].any()


def test_without_a_question_the_likeliest_structure_of_all_models_wins():
    method = load()
    logits = torch.zeros(1, 7, 2)
    logits[0, 2], logits[0, 6] = torch.tensor([2.0, -3.0]), torch.tensor([1.0, -3.0])
    logits[0, [1, 3, 5]] = -5.0
    assert method.probabilities(logits).argmax(dim=1).tolist() == [[2, 0]]


def test_members_without_batch_norms_wait_for_no_other_process(individual, monkeypatch):
    def fail(*_):
        raise AssertionError("asked the other processes")

    monkeypatch.setattr(_tasks, "_used", fail)
    _, network = individual
    assert isinstance(network, OnePerTask)
    network(torch.randn(2, 1, 16, 16), rows=torch.tensor([[True, False], [True, False]]))


def test_models_of_overlapping_structures_have_a_sigmoid_each(overlaid):
    torch.manual_seed(0)
    method = load(overlapping=True)
    network = method.build(small_nnunet)
    assert method.output_channels() == 5
    codes, sets = (
        torch.from_numpy(part)[None]
        for part in overlaid(np.arange(256).reshape(16, 16) % 4, TASKS[1])
    )
    images = torch.randn(1, 1, 16, 16)
    rows = torch.tensor([[False, True]])
    logits = network(images, rows=rows)
    targets = make_targets(codes, sets, torch.tensor([0, 0, 0, 0, 1, 2]), 2, overlapping=True)
    alone = batch_dice(logits[:, 3:], targets, head=Head(True, True))
    torch.testing.assert_close(method.loss(logits, codes, sets), alone)
    method.training_loss(network, images, codes, sets, 0.0).backward()
    assert all(p.grad is None for p in network.members[0].parameters())
    assert any(p.grad.any() for p in network.members[1].parameters())
    method.ask(TASKS[1])
    found = method.read_out(network, images)
    torch.testing.assert_close(found[:, 4:], network.members[1](images).sigmoid())
    assert not found[:, 1:4].any()


def test_a_scan_of_what_was_not_learned_is_refused():
    method = load(tasks=[[1, 2, 3]])
    method.ask([4, 5])
    with pytest.raises(InputError, match=r"structures \[4, 5\].* leave its task out"):
        method.probabilities(torch.zeros(1, 4, 2))
