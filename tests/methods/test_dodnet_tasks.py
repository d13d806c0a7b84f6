"""DoDNet as Anand et al. (2024) compare with it: each sample is told its anatomy task."""

import numpy as np
import pytest
import torch
from torch import nn

from piecemeal import methods, networks
from piecemeal.errors import InputError
from piecemeal.inference import ForwardPasses
from piecemeal.methods._batch_dice import batch_dice, make_targets

TASKS = [[1, 2, 3], [4, 5]]
CLASSES = 6
LISTED = torch.tensor([0, 1, 2, 3, 1, 2])


def load(**options):
    return methods.load("dodnet_tasks", CLASSES, {"tasks": TASKS} | options)


def small(channels: int, **told) -> nn.Module:
    return networks.build("dodnet_nnunet", 1, channels, width=4, stages=3, **told)


@pytest.fixture
def trained():
    torch.manual_seed(0)
    method = load()
    return method, method.build(small)


@pytest.fixture
def mixed(as_batch):
    """Three images, the second one of the second task, and what is drawn in them."""
    rng, tasks = np.random.default_rng(1), [TASKS[0], TASKS[1], TASKS[0]]
    samples = [(rng.choice([0, *task], (16, 16)), task) for task in tasks]
    images = torch.randn(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    return images, *as_batch(*samples)


@pytest.mark.parametrize(("head", "channels"), [("softmax", 4), ("sigmoid", 3)])
def test_the_head_is_as_large_as_the_largest_task_needs(head, channels):
    method = load(head=head)
    network = method.build(small)
    assert network.tasks == 2
    assert network.dynamic.channels == channels
    assert method.output_channels() == 2 * channels
    assert network(torch.randn(1, 1, 16, 16)).shape == (1, 2 * channels, 16, 16)


def test_every_sample_is_told_its_own_task(trained, mixed):
    method, network = trained
    images, codes, sets = mixed
    said = []

    def forward(images, task):
        said.append(task.tolist())
        return network(images, task=task)

    loss = method.training_loss(forward, images, codes, sets, 0.0)
    assert said == [[0, 1, 0]]
    torch.testing.assert_close(method.loss(network(images), codes, sets), loss)
    alone = torch.cat([network(images[[n]], task=task) for n, task in enumerate([0, 1, 0])])
    torch.testing.assert_close(loss, batch_dice(alone, make_targets(codes, sets, LISTED, 3)))


def test_only_the_logits_of_its_own_task_teach_a_sample(mixed):
    _, codes, sets = mixed
    logits = torch.randn(3, 8, 16, 16, requires_grad=True)
    load().loss(logits, codes, sets).backward()
    moved = logits.grad.unflatten(1, (2, 4)).abs().amax(dim=(2, 3, 4)) > 0
    assert moved.tolist() == [[True, False], [False, True], [True, False]]


def test_the_number_of_a_task_learns_from_its_samples_alone(trained, mixed):
    """The last columns of the controller are those of the one-hot task."""
    method, network = trained
    images, codes, sets = mixed
    method.training_loss(network, images[1:2], codes[1:2], sets[1:2], 0.0).backward()
    moved = network.dynamic.controller.weight.grad[:, -2:].abs().amax(dim=0) > 0
    assert moved.tolist() == [False, True]
    assert all(p.grad is not None for p in network.parameters())


def test_a_sample_of_nothing_known_teaches_nothing(mixed):
    _, codes, sets = mixed
    logits = torch.randn(3, 8, 16, 16, requires_grad=True)
    loss = load().loss(logits, codes, torch.ones_like(sets))
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
def test_a_scan_is_answered_by_the_head_of_its_task_in_one_pass(head):
    torch.manual_seed(0)
    method = load(head=head)
    network, images = method.build(small), torch.randn(3, 1, 16, 16)
    for number, asked in enumerate(TASKS):
        method.ask(asked)
        with torch.no_grad(), ForwardPasses(network) as passes:
            found = method.read_out(network, images)
        assert (passes.count, passes.head_count) == (3, 3)
        logits = network(images, task=number)
        torch.testing.assert_close(found, method.head.named(logits, LISTED, asked))
        torch.testing.assert_close(found, method.probabilities(network(images)))


def test_without_a_question_all_tasks_are_asked_of_one_backbone(trained):
    method, network = trained
    images = torch.randn(2, 1, 16, 16)
    with torch.no_grad(), ForwardPasses(network) as passes:
        found = method.read_out(network, images)
    assert (passes.count, passes.head_count) == (2, 4)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(2, 16, 16))
    torch.testing.assert_close(found, method.probabilities(network(images)))


def test_overlapping_structures_of_a_task(overlaid):
    method = load(overlapping=True)
    codes, sets = (torch.from_numpy(part)[None] for part in overlaid([0, 1, 2, 3], TASKS[1]))
    logits = torch.full((1, 6, 4), -90.0)
    logits[0, 3:5] = torch.tensor([[-90.0, 90, -90, 90], [-90, -90, 90, 90]])
    assert method.loss(logits, codes, sets).item() == pytest.approx(0, abs=1e-5)
    method.ask(TASKS[1])
    found = method.probabilities(logits)
    assert (found[0, 4:] >= 0.5).tolist() == [
        [False, True, False, True],
        [False, False, True, True],
    ]


def test_cases_of_several_tasks_are_refused(annotated):
    method = load()
    method.check(annotated([0, 4], TASKS[1]).sets)
    with pytest.raises(InputError, match=r"structures \[1, 2, 3, 4, 5\].* `known: declared`"):
        method.check(np.eye(CLASSES, dtype=bool))


def test_a_network_that_cannot_be_told_a_task_is_refused():
    with pytest.raises(InputError, match=r"network\.name .* Conv2d cannot be told a task"):
        load().build(lambda channels, tasks: nn.Conv2d(1, channels, 1))


def test_the_method_says_how_many_tasks_the_network_has():
    settings = {"network": "dodnet_nnunet", "implementation": "dodnet_tasks"}
    options = {"width": 4, "stages": 3}
    network = methods.build_network(settings | {"network_options": options}, load(), 1)
    assert network.tasks == 2
    options = options | {"tasks": 2}
    with pytest.raises(InputError, match=r"network\.options .* give \['tasks'\]"):
        methods.build_network(settings | {"network_options": options}, load(), 1)
