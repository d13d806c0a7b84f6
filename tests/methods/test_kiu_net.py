"""KiU-Net as a method: a model for each structure, which the others' samples do not touch."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from piecemeal import methods, networks
from piecemeal.methods import _tasks
from piecemeal.methods._tasks import OnePerTask

# Background and two structures. Who drew the first knows of the second no more than where it isn't.
FIRST = [[True, False, True], [False, True, False], [False, False, False]]
SECOND = [[True, True, False], [False, False, True], [False, False, False]]
BOTH = [[True, False, False], [False, True, False], [False, False, True]]
NOTHING = [[True, True, True], [False, False, False], [False, False, False]]
ROWS = torch.tensor([[True, False], [False, False], [True, False]])


@pytest.fixture
def method():
    return methods.load("kiu_net", 3)


@pytest.fixture
def network(method) -> nn.Module:
    torch.manual_seed(0)
    return method.build(lambda channels: networks.build("kiu_net", 1, channels, width=2))


def batch(*samples: list) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images (B, 1, 16, 16), codes and sets; code 1 is drawn in a random place."""
    generator = torch.Generator().manual_seed(len(samples))
    images = torch.randn(len(samples), 1, 16, 16, generator=generator)
    codes = torch.randint(0, 2, (len(samples), 16, 16), generator=generator)
    return images, codes, torch.tensor(samples)


def step(method, network, *data, forward=None, optimiser=None) -> None:
    network.zero_grad(set_to_none=True)
    method.training_loss(forward or network, *data, 0.0).backward()
    if optimiser is not None:
        optimiser.step()


def moved(network) -> list[bool]:
    """Whether the last step gave each model's parameters gradients: all of them, or none."""
    found = [{p.grad is not None for p in model.parameters()} for model in network.members]
    assert all(len(kinds) == 1 for kinds in found)
    return [kinds.pop() for kinds in found]


def test_a_model_for_each_structure_from_weights_of_its_own(method, network):
    assert len(network.members) == 2
    one, two = (model.state_dict() for model in network.members)
    assert not torch.equal(one["last.weight"], two["last.weight"])
    published = method.build(lambda channels: networks.build("kiu_net", 1, channels))
    assert sum(p.numel() for p in published.parameters()) == 2 * 216_546


def test_models_speak_one_after_the_other(network):
    images = torch.randn(2, 1, 16, 24)
    network.eval()
    logits = network(images)
    assert logits.shape == (2, 4, 16, 24)
    for task in range(2):
        assert torch.equal(network(images, task=task), logits[:, 2 * task : 2 * task + 2])


def test_the_models_order_of_memory_is_theirs_together(network):
    assert network.memory_format == torch.channels_last
    assert OnePerTask([nn.Conv2d(1, 2, 1)], 2).memory_format == torch.contiguous_format


def test_a_model_sees_its_rows_as_a_batch_of_their_own(network):
    images = torch.randn(3, 1, 16, 16)
    alone = copy.deepcopy(network.members[0])(images[[0, 2]])
    logits = network(images, rows=ROWS)
    assert torch.equal(logits[[0, 2], :2], alone)
    assert not logits[1].any()
    assert not logits[:, 2:].any()


def test_a_model_that_sees_nothing_remembers_nothing(network):
    before = copy.deepcopy(network.members[1].state_dict())
    network(torch.randn(3, 1, 16, 16), rows=ROWS)
    after = network.members[1].state_dict()
    assert all(torch.equal(after[key], before[key]) for key in before)


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ([FIRST, FIRST], [True, False]),
        ([SECOND], [False, True]),
        ([FIRST, SECOND], [True, True]),
        ([FIRST, NOTHING], [True, False]),
        ([BOTH], [True, True]),
        ([NOTHING], [False, False]),
    ],
)
def test_a_step_moves_the_models_that_have_samples_in_it(method, network, samples, expected):
    step(method, network, *batch(*samples))
    assert moved(network) == expected


def test_a_model_s_gradients_come_from_its_own_rows(method, network):
    """The images of the others may show whatever they like."""
    images, codes, sets = batch(FIRST, SECOND, FIRST)
    gradients = []
    for other in (images[1], 9 - images[1]):
        model = copy.deepcopy(network)
        step(method, model, torch.stack([images[0], other, images[2]]), codes, sets)
        gradients.append([[p.grad for p in member.parameters()] for member in model.members])
    (one, two), (one_again, two_again) = gradients
    assert all(map(torch.equal, one, one_again))
    assert not all(map(torch.equal, two, two_again))


@pytest.mark.parametrize("sequence", [[[FIRST] * 2, [SECOND] * 3, [FIRST]], [[BOTH] * 2] * 3])
def test_each_model_trains_as_if_it_were_alone(method, network, sequence):
    """Adam with its decay of weights, which would move what has a gradient of zero."""
    one = methods.load("kiu_net", 2)
    alone = [OnePerTask([copy.deepcopy(model)], 2) for model in network.members]
    adams = [torch.optim.Adam(n.parameters(), weight_decay=0.01) for n in (network, *alone)]
    for samples in sequence:
        images, codes, sets = batch(*samples)
        step(method, network, images, codes, sets, optimiser=adams[0])
        for c, (model, adam) in enumerate(zip(alone, adams[1:], strict=True), start=1):
            if sets[0, :, c].any() and not sets[0, 0, c]:  # it is drawn in this data set
                drawn = sets[0, :, c].int().argmax()
                of_c = torch.tensor([[[True, False], [False, True]]]).expand(len(sets), -1, -1)
                step(one, model, images, (codes == drawn).long(), of_c, optimiser=adam)
    for model, member in zip(alone, network.members, strict=True):
        for ours, theirs in zip(
            member.state_dict().values(), model.members[0].state_dict().values(), strict=True
        ):
            torch.testing.assert_close(ours, theirs)


def test_a_step_takes_one_call_of_the_network(method, network):
    calls = []

    def forward(*arguments, **options):
        calls.append(options.keys())
        return network(*arguments, **options)

    step(method, network, *batch(FIRST, SECOND), forward=forward)
    assert calls == [{"rows"}]


def test_a_model_that_another_process_needs_passes_without_an_image(method, network, monkeypatch):
    """Its batch norms wait for this process's part of the batch, which is empty."""
    monkeypatch.setattr(_tasks.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(_tasks.dist, "all_reduce", lambda used, _: used.fill_(1))
    seen = []
    network.members[1].register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    step(method, network, *batch(FIRST, FIRST))
    assert seen == [0]
    assert not any(p.grad.any() for p in network.members[1].parameters())


def test_loss_by_hand():
    """Two classes a model: cross-entropy on what is known, of the pairs that are taught."""
    sets = torch.tensor([[*FIRST[:2], [True] * 3], SECOND])
    codes = torch.tensor([[[0, 1, 2]], [[1, 0, 0]]])
    logits = torch.tensor([[[0.0, 1.0, 5.0]], [[2.0, 3.0, 9.0]], [[7.0, 7.0, 7.0]], [[0.0] * 3]])
    logits = logits.expand(2, -1, -1, -1)

    def surprise(of: float, beside: float) -> float:
        return math.log(1 + math.exp(beside - of))

    first = surprise(0, 2) + surprise(3, 1)  # the third voxel is unknown
    second = surprise(0, 7) + 2 * surprise(7, 0)
    method = methods.load("kiu_net", 3)
    assert method.loss(logits, codes, sets).item() == pytest.approx((first + second) / 5)
    trained = method.training_loss(lambda *_, **__: logits, None, codes, sets, 0.0)
    assert trained.item() == pytest.approx(first / 2 + second / 3)


def test_with_complete_labels_it_is_cross_entropy_of_every_structure(method):
    logits, labels = torch.randn(2, 4, 6, 5), torch.randint(0, 3, (2, 6, 5))
    of_models = [
        F.cross_entropy(logits[:, 2 * c : 2 * c + 2], (labels == c + 1).long()) for c in (0, 1)
    ]
    found = method.loss(logits, labels, torch.tensor([BOTH, BOTH]))
    torch.testing.assert_close(found, sum(of_models) / 2)


def test_without_anything_to_teach_the_loss_is_zero(method):
    logits = torch.randn(1, 4, 2, 2, requires_grad=True)
    loss = method.loss(logits, torch.zeros(1, 2, 2, dtype=torch.long), torch.tensor([NOTHING]))
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


def test_one_structure_is_found_where_its_softmax_says_so():
    logits = torch.randn(2, 2, 4, 4)
    found = methods.load("kiu_net", 2).probabilities(logits)
    torch.testing.assert_close(found, logits.softmax(dim=1))


def test_of_two_the_likelier_wins_and_the_background_where_both_decline(method):
    pairs = [[[0.0, 0.0, 1.0]], [[0.5, -0.5, 3.0]], [[2.0, 0.0, 0.0]], [[3.0, -0.1, -3.0]]]
    found = method.probabilities(torch.tensor(pairs)[None])
    assert found.argmax(dim=1).flatten().tolist() == [2, 0, 1]


def test_learns_two_structures_that_were_never_drawn_together(method):
    torch.manual_seed(0)
    network = method.build(lambda channels: networks.build("kiu_net", 1, channels, width=4))
    labels = torch.zeros(2, 16, 16, dtype=torch.long)
    labels[:, 1:8, 2:9], labels[:, 9:15, 4:14] = 1, 2

    def images() -> torch.Tensor:
        return (torch.tensor([0.0, 2.0, -2.0])[labels] + 0.2 * torch.randn(2, 16, 16))[:, None]

    adam = torch.optim.Adam(network.parameters(), lr=0.02)
    for number in range(110):
        table, drawn = ((FIRST, 1), (SECOND, 2))[number % 2]
        data = (images(), (labels == drawn).long(), torch.tensor([table] * 2))
        step(method, network, *data, optimiser=adam)
    with torch.inference_mode():
        found = method.read_out(network.eval(), images()).argmax(dim=1)
    assert (found == labels).float().mean() > 0.95
