"""Label sharing and what Anand et al. (2024) compare it with: Dice of a batch, and who is asked."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from piecemeal import methods, networks
from piecemeal.annotations import Annotation, as_declared, complete
from piecemeal.datasets.store import PreparedScan, read_cases
from piecemeal.errors import InputError
from piecemeal.inference import ForwardPasses, predict
from piecemeal.methods import _tasks
from piecemeal.methods._batch_dice import (
    Targets,
    at_level,
    batch_dice,
    level_weights,
    make_targets,
    pyramid_dice,
)
from piecemeal.methods._tasks import OnePerTask, asked_of
from piecemeal.training.cases import Case
from piecemeal.training.loop import Training
from piecemeal.training.results import export, load_network

TASKS = [[1, 2, 3], [4, 5]]
CLASSES = 6
ARMS = ["label_sharing", "multichannel", "individual"]
LISTED = torch.tensor([0, 1, 2, 3, 1, 2])  # the channels of the classes, unless sizes are learned


def load(name: str, **options):
    return methods.load(name, CLASSES, {"tasks": TASKS} | options)


def annotated(labels: np.ndarray, task: list[int]) -> Annotation:
    """As the cohort annotates a scan in whose labels only the structures of `task` can occur."""
    return as_declared(complete(np.asarray(labels), CLASSES), task)


def as_batch(*samples: tuple) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes and sets of samples (labels, task), which all have a table of CLASSES rows."""
    found = [annotated(*sample) for sample in samples]
    return tuple(torch.from_numpy(np.stack(parts)) for parts in zip(*found, strict=True))


def with_unknown(codes: torch.Tensor, sets: torch.Tensor, where: tuple) -> tuple:
    """The same, but nothing is known of the voxels at `where`."""
    anything = torch.ones(len(sets), 1, sets.shape[2], dtype=torch.bool)
    codes = codes.clone()
    codes[where] = sets.shape[1]
    return codes, torch.cat([sets, anything], dim=1)


def small_nnunet(channels: int) -> nn.Module:
    return networks.build("nnunet", 1, channels, width=4, stages=3)


# The Dice of a batch.


def test_what_a_sample_asks_of_shared_channels():
    codes, sets = as_batch(([0, 1, 3, 2], TASKS[0]), ([4, 0, 5, 5], TASKS[1]))
    codes, sets = with_unknown(codes, sets, (1, 3))
    found = make_targets(codes, sets, LISTED, 3)
    assert found.voxels.tolist() == [[0, 1, 3, 2], [1, 0, 2, -1]]
    assert found.taught.tolist() == [[True, True, True], [True, True, False]]
    assert found.counted.all()
    masked = make_targets(codes, sets, LISTED, 3, masked=True)
    assert masked.counted.equal(masked.taught)


def test_nothing_is_asked_for_what_a_sample_cannot_answer():
    sets = torch.tensor([[[True, False, False], [False, True, True]]])
    found = make_targets(torch.tensor([[0, 1]]), sets, torch.tensor([0, 1, 2]), 2)
    assert found.voxels.tolist() == [[-1, -1]]
    assert not found.taught.any()
    assert not found.counted.any()


def test_sums_run_over_the_batch():
    """Probabilities 1/2 everywhere; two channels, of which the second sample has the first."""
    logits = torch.zeros(2, 3, 4) + torch.tensor([1.0, 1.0, -1e4]).view(1, 3, 1)
    voxels = torch.tensor([[1, 1, 0, -1], [1, 0, 0, 0]])
    taught = torch.tensor([[True, True], [True, False]])
    everything = Targets(voxels, taught, torch.ones_like(taught))
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
    found = batch_dice(logits, Targets(voxels, taught, taught))
    chance = logits.softmax(1)
    first = 2 * (chance[:, 1] * (voxels == 1)).sum() / (chance[:, 1].sum() + 3)
    second = 2 * (chance[0, 2] * (voxels[0] == 2)).sum() / (chance[0, 2].sum() + 2)
    torch.testing.assert_close(found, 1 - (first + second) / 2, rtol=1e-4, atol=0)


def test_a_channel_that_no_sample_teaches_is_out_of_the_mean():
    logits, voxels = torch.randn(2, 3, 6), torch.randint(0, 2, (2, 6))
    taught = torch.tensor([[True, False], [True, False]])
    found = batch_dice(logits, Targets(voxels, taught, torch.ones_like(taught)))
    chance = logits.softmax(1)[:, 1]
    drawn = voxels == 1
    expected = 1 - (2 * (chance * drawn).sum() + 1e-5) / (chance.sum() + drawn.sum() + 1e-5)
    torch.testing.assert_close(found, expected)


def test_without_anything_taught_the_loss_is_zero():
    logits = torch.randn(1, 3, 4, requires_grad=True)
    nothing = torch.zeros(1, 2, dtype=torch.bool)
    loss = batch_dice(logits, Targets(torch.full((1, 4), -1), nothing, nothing))
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


def test_levels_count_half_of_the_finer_one_each_and_the_coarsest_nothing():
    assert level_weights(1) == [1.0]
    assert level_weights(2) == [1.0, 0.0]
    assert level_weights(4) == pytest.approx([4 / 7, 2 / 7, 1 / 7, 0])


def test_coarser_levels_see_the_voxels_in_the_middle_of_theirs():
    voxels = torch.arange(48).view(1, 6, 8)
    targets = Targets(voxels, None, None)
    assert at_level(targets, (3, 2)).voxels.tolist() == [[[10, 14], [26, 30], [42, 46]]]
    assert at_level(targets, (6, 8)).voxels is voxels
    for space in ((3, 4), (2, 3), (5, 7)):
        nearest = nn.functional.interpolate(voxels[None].float(), space, mode="nearest-exact")
        assert torch.equal(at_level(targets, space).voxels, nearest[0].long())


def test_deep_supervision_by_hand():
    targets = make_targets(*as_batch((np.eye(4, dtype=int), TASKS[0])), LISTED, 3)
    levels = [torch.randn(1, 4, 4, 4), torch.randn(1, 4, 2, 2), torch.full((1, 4, 1, 1), 9.0)]
    fine, coarse = batch_dice(levels[0], targets), batch_dice(levels[1], at_level(targets, (2, 2)))
    torch.testing.assert_close(pyramid_dice(levels, targets), (2 * fine + coarse) / 3)


@pytest.mark.parametrize("name", ARMS)
def test_a_step_gives_every_head_a_gradient(name):
    torch.manual_seed(0)
    method, labels = load(name), np.random.default_rng(0).integers(0, 4, (16, 16))
    network = method.build(small_nnunet)
    codes, sets = as_batch((labels, TASKS[0]), (4 + labels % 2, TASKS[1]))
    calls = []

    def forward(*arguments, **options):
        calls.append(options.pop("output"))
        return network(*arguments, output=calls[-1], **options)

    loss = method.training_loss(forward, torch.randn(2, 1, 16, 16), codes, sets, 0.0)
    loss.backward()
    assert calls == ["pyramid"]
    assert all(p.grad is not None for p in network.parameters())
    moved = {key for key, p in network.named_parameters() if p.grad.any()}
    assert any("heads.0" in key for key in moved)
    assert not any("heads.1" in key for key in moved)  # the coarsest


@pytest.mark.parametrize("name", ["label_sharing", "multichannel"])
def test_a_network_without_levels_learns_from_its_prediction(name):
    method = load(name)
    network = method.build(lambda channels: nn.Conv2d(1, channels, 1))
    images, codes_sets = torch.randn(1, 1, 4, 4), as_batch((np.eye(4, dtype=int), TASKS[0]))
    found = method.training_loss(network, images, *codes_sets, 0.0)
    torch.testing.assert_close(found, method.loss(network(images), *codes_sets))


def test_one_task_is_the_same_to_all_of_them():
    """With complete labels of all structures a channel, a model and a merged model are one."""
    labels = torch.randint(0, CLASSES, (3, 8, 8))
    sets = torch.eye(CLASSES, dtype=torch.bool).expand(3, -1, -1)
    logits = torch.randn(3, CLASSES, 8, 8)
    found = [methods.load(name, CLASSES) for name in ARMS]
    losses = [method.loss(logits, labels, sets).item() for method in found]
    assert losses == pytest.approx(losses[:1] * 3)
    for method in found:
        torch.testing.assert_close(method.probabilities(logits), logits.softmax(1))


# Which structures share a channel.


def scan(task: list[int], voxels: dict[int, int]) -> Case:
    """A case of two slices; `voxels` of each structure, all of them in the second slice."""
    labels = np.zeros((2, 10, 10), np.uint8)
    labels[1].flat[: sum(voxels.values())] = np.repeat([*voxels], [*voxels.values()])
    codes, sets = annotated(labels, task)
    shown = np.stack([(codes == code).any(axis=(1, 2)) for code in range(len(sets))])
    names = ("d", "s", "c", "CT")
    return Case(*names, None, codes, labels, sets, SimpleNamespace(slices=shown))


SCANS = [
    scan(TASKS[0], {1: 10, 2: 30, 3: 20}),
    scan(TASKS[0], {2: 5, 3: 45}),
    scan(TASKS[0], {}),
    scan(TASKS[1], {4: 9, 5: 1}),
]


def test_channels_go_by_mean_relative_size():
    method = load("label_sharing")
    assert method.output_channels() == 4
    method.learn_from(SCANS)
    assert method.sizes == pytest.approx(
        {1: 1 / 12, 2: 0.3, 3: 0.75 - 1 / 6 + 1 / 30, 4: 0.9, 5: 0.1}
    )
    assert method.channels.tolist() == [0, 3, 2, 1, 1, 2]


def test_the_table_is_logged(caplog):
    with caplog.at_level("INFO", logger="piecemeal.methods.label_sharing"):
        load("label_sharing").learn_from(SCANS)
    assert caplog.messages[0] == "label sharing: channel 1: class 3 (0.617), class 4 (0.900)"


@pytest.mark.parametrize(
    ("order", "expected"), [("reversed", [0, 3, 2, 1, 2, 1]), ("listed", LISTED.tolist())]
)
def test_other_orders(order, expected):
    method = load("label_sharing", order=order)
    method.learn_from(SCANS)
    assert method.channels.tolist() == expected


def test_random_orders_differ_by_seed_and_keep_tasks_apart():
    found = set()
    for seed in range(8):
        method = load("label_sharing", order="random", seed=seed)
        method.learn_from(SCANS)
        channels = method.channels.tolist()
        assert sorted(channels[1:4]) == [1, 2, 3]
        assert len(set(channels[4:]) & {1, 2, 3}) == 2
        found.add(tuple(channels))
    assert len(found) > 3


def test_a_task_that_no_case_shows_is_refused():
    with pytest.raises(InputError, match=r"no training case .* structures \[4, 5\]"):
        load("label_sharing").learn_from(SCANS[:3])


def test_cases_of_several_tasks_are_refused():
    method = load("label_sharing")
    for case in SCANS:
        method.check(case.sets)
    with pytest.raises(InputError, match=r"annotated for the structures \[1, 2, 3, 4, 5\]"):
        method.check(np.eye(CLASSES, dtype=bool))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": [[1, 2], [2, 3, 4, 5]]}, r"structures \[2\] are in more than one task"),
        ({"tasks": [[1, 2], [3, 4]]}, "expected to hold the structures 1 to 5"),
        ({"tasks": [[1, 2, 3, 4, 5], []]}, "empty"),
        ({"order": "alphabet"}, "order is 'alphabet'; allowed: size, reversed, random, listed"),
        ({"unmapped": "ignored"}, "unmapped is 'ignored'; allowed: negative, masked"),
        ({"smooth": 0.0}, "smooth: 0.0"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        load("label_sharing", **options)


# What is asked, and what the answer is called.

# A softmax of four channels in three voxels; the last is of channel 3.
CHANCES = torch.tensor([[[0.1, 0.2, 0.1], [0.6, 0.1, 0.1], [0.2, 0.5, 0.1], [0.1, 0.2, 0.7]]])


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (
            [1, 2, 3],
            [[0.1, 0.2, 0.1], [0.6, 0.1, 0.1], [0.2, 0.5, 0.1], [0.1, 0.2, 0.7], [0] * 3, [0] * 3],
        ),
        ([4, 5], [[0.2, 0.4, 0.8], [0] * 3, [0] * 3, [0] * 3, [0.6, 0.1, 0.1], [0.2, 0.5, 0.1]]),
        ([4], [[0.4, 0.9, 0.9], [0] * 3, [0] * 3, [0] * 3, [0.6, 0.1, 0.1], [0] * 3]),
        (
            None,
            [[0.1, 0.2, 0.1], [0.6, 0.1, 0.1], [0.2, 0.5, 0.1], [0.1, 0.2, 0.7], [0] * 3, [0] * 3],
        ),
    ],
)
def test_shared_channels_are_called_by_the_task_asked(asked, expected):
    method = load("label_sharing")
    method.ask(asked)
    found = method.probabilities(CHANCES.log())
    torch.testing.assert_close(found[0], torch.tensor(expected, dtype=torch.float32))


def test_the_wrong_task_gets_an_answer_as_confident_as_the_right_one():
    """Nothing in the prediction tells that it is nonsense: only the task can say what it is."""
    method = load("label_sharing")
    answers = []
    for asked in TASKS:
        method.ask(asked)
        answers.append(method.probabilities(CHANCES[..., :2].log()))
    right, wrong = answers
    assert right.argmax(dim=1).tolist() == [[1, 2]]
    assert wrong.argmax(dim=1).tolist() == [[4, 5]]
    assert torch.equal(right[:, 1:3], wrong[:, 4:])


def test_structures_of_several_tasks_cannot_be_asked_for_at_once():
    with pytest.raises(InputError, match=r"a scan to predict .* \[3, 4\]"):
        load("label_sharing").ask([3, 4])


def test_weights_carry_what_the_channels_mean():
    trained = load("label_sharing")
    trained.learn_from(SCANS)
    torch.manual_seed(0)
    network = trained.build(lambda channels: nn.Conv2d(1, channels, 1))
    predicting = load("label_sharing")
    fresh = predicting.build(lambda channels: nn.Conv2d(1, channels, 1))
    fresh.load_state_dict(network.state_dict())
    images = torch.randn(2, 1, 3, 3)
    for asked in (*TASKS, None):
        trained.ask(asked)
        predicting.ask(asked)
        found = predicting.read_out(fresh, images)
        assert torch.equal(found, trained.read_out(network, images))
        assert torch.equal(found, trained.probabilities(network(images)))


def test_what_is_not_asked_of_a_merged_model_is_background():
    logits = torch.randn(2, CLASSES, 3, 3)
    method, chances = load("multichannel"), logits.softmax(1)
    method.ask([4, 5])
    found = method.probabilities(logits)
    torch.testing.assert_close(found[:, 4:], chances[:, 4:])
    torch.testing.assert_close(found[:, 0], chances[:, :4].sum(1))
    assert not found[:, 1:4].any()


def test_to_a_masked_merged_model_other_tasks_are_neither_right_nor_wrong():
    """A sample of the second task in which the first is claimed, and one of the first."""
    codes, sets = as_batch(([1, 2, 3, 0], TASKS[0]), ([4, 5, 0, 0], TASKS[1]))
    claimed = torch.zeros(2, CLASSES, 4)
    claimed[1, 1, 2:] = 6.0
    silent = torch.zeros(2, CLASSES, 4)
    silent[1, 0, 2:] = 6.0
    losses = {
        masked: [
            load("multichannel", masked=masked).loss(x, codes, sets) for x in (claimed, silent)
        ]
        for masked in (False, True)
    }
    torch.testing.assert_close(*losses[True])
    assert losses[False][0] > losses[False][1] + 0.01


def test_masked_and_negative_channels_of_label_sharing():
    """Channel 3 is of the first task alone: the second finds it, which counts, or does not."""
    codes, sets = as_batch(([1, 2, 3, 0], TASKS[0]), ([4, 5, 0, 0], TASKS[1]))
    claimed, silent = torch.zeros(2, 4, 4), torch.zeros(2, 4, 4)
    claimed[1, 3, 2:], silent[1, 0, 2:] = 6.0, 6.0
    for unmapped, differs in (("negative", True), ("masked", False)):
        method = load("label_sharing", unmapped=unmapped)
        one, two = (method.loss(logits, codes, sets).item() for logits in (claimed, silent))
        assert (one > two + 0.01) == differs
        assert differs or one == pytest.approx(two)


def test_probabilities_of_channels_sum_to_one_over_the_classes():
    chances = torch.randn(2, 4, 5, 3, 2).softmax(1)
    found = asked_of(chances, LISTED, [4, 5])
    torch.testing.assert_close(found.sum(1), torch.ones(2, 5, 3, 2))
    assert found.min() >= 0


# A model for every task.


@pytest.fixture
def individual():
    torch.manual_seed(0)
    method = load("individual")
    return method, method.build(small_nnunet)


def mixed(rows: int = 4):
    """Images of the first and the second task by turns, and what is drawn in them."""
    generator = np.random.default_rng(1)
    samples = [
        (generator.choice([0, *TASKS[row % 2]], (16, 16)), TASKS[row % 2]) for row in range(rows)
    ]
    images = torch.randn(rows, 1, 16, 16, generator=torch.Generator().manual_seed(0))
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


def test_each_model_learns_as_if_it_were_alone(individual):
    method, network = individual
    images, codes, sets = mixed()
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


def test_a_step_leaves_the_models_of_other_tasks_alone(individual):
    method, network = individual
    images, codes, sets = mixed()
    method.training_loss(network, images[::2], codes[::2], sets[::2], 0.0).backward()
    assert all(p.grad is not None for p in network.members[0].parameters())
    assert all(p.grad is None for p in network.members[1].parameters())


def test_a_batch_of_nothing_known_moves_no_model(individual):
    method, network = individual
    images, codes, sets = mixed(2)
    loss = method.training_loss(network, images, codes, torch.ones_like(sets), 0.0)
    loss.backward()
    assert loss.item() == 0
    assert all(p.grad is None for p in network.parameters())


def test_validation_is_the_mean_over_the_models_that_are_asked(individual):
    method, network = individual
    images, codes, sets = mixed()
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
    method = load("individual")
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


# Together.


def picture(task: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels and image: a large and a small square, dark in the first task, else bright."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((32, 32), int)
    y, x = rng.integers(1, 5, 2)
    large, small = TASKS[task][:2]
    labels[y : y + 14, x : x + 14] = large
    labels[y + 18 : y + 25, x + 18 : x + 25] = small
    image = (2.0 if task else -2.0) * (labels > 0) + 0.2 * rng.normal(size=labels.shape)
    return labels, image.astype(np.float32)


def test_two_tasks_share_a_network_that_answers_the_wrong_one_just_as_well():
    torch.manual_seed(0)
    method = load("label_sharing", order="listed")
    network = method.build(
        lambda channels: networks.build("nnunet", 1, channels, width=8, stages=3)
    )
    optimiser = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    for step in range(80):
        shown = [(n % 2, *picture(n % 2, 10 * step + n)) for n in range(6)]
        images = torch.from_numpy(np.stack([image for *_, image in shown]))[:, None]
        codes, sets = as_batch(*((labels, TASKS[task]) for task, labels, _ in shown))
        loss = method.training_loss(network, images, codes, sets, step / 80)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    network.eval()
    for task, other in ((0, 1), (1, 0)):
        labels, image = picture(task, 1000)
        found = {}
        for asked in (task, other):
            method.ask(TASKS[asked])
            with torch.no_grad():
                chances = method.read_out(network, torch.from_numpy(image)[None, None])
            found[asked] = chances.argmax(dim=1)[0].numpy()
        for rank in (0, 1):
            here = labels == TASKS[task][rank]
            assert (found[task][here] == TASKS[task][rank]).mean() > 0.9
            assert (found[other][here] == TASKS[other][rank]).mean() > 0.9


def test_a_run_learns_its_channels_and_predicts_by_its_weights(cohort, settings, tmp_path):
    """The right block is as large as the left; ties and all, the run and its weights agree."""
    given = settings(
        annotation="complete",
        method="label_sharing",
        implementation="label_sharing",
        method_options={"tasks": [[1, 2]], "order": "reversed"},
        network="nnunet",
        network_options={"width": 4, "stages": 3},
        training={"steps": 2, "validate_every": 2},
    )
    training = Training(given, cohort.prepared, cohort.annotated["complete"], tmp_path / "run")
    training.run()
    assert training.method.sizes[1] + training.method.sizes[2] == pytest.approx(1)
    weights = tmp_path / "weights.pt"
    export(training, weights, tmp_path / "history.csv", tmp_path / "run.json")
    saved = torch.load(weights, weights_only=True)
    assert torch.equal(saved["channels"], training.method.channels)

    method = methods.load("label_sharing", 3, given["method_options"])
    network = load_network(given, method, weights)
    row = read_cases(cohort.prepared).iloc[0]
    scan = PreparedScan(cohort.prepared / row.dataset / row.scan)
    assert predict(method, network, scan, given).shape == scan.reference.shape
    assert method.asked == [1, 2]
    predict(method, network, scan)
    assert method.asked is None
