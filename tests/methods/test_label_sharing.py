"""Label sharing: which structures share a channel, who is asked, and adding a task."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from piecemeal import methods, networks
from piecemeal.errors import InputError
from piecemeal.training.cases import Case

TASKS = [[1, 2, 3], [4, 5]]
CLASSES = 6
LISTED = torch.tensor([0, 1, 2, 3, 1, 2])  # the channels of the classes, unless sizes are learned


def load(**options):
    return methods.load("label_sharing", CLASSES, {"tasks": TASKS} | options)


def small_nnunet(channels: int) -> nn.Module:
    return networks.build("nnunet", 1, channels, width=4, stages=3)


def case(codes: np.ndarray, sets: np.ndarray) -> Case:
    shown = np.stack([(codes == code).any(axis=(1, 2)) for code in range(len(sets))])
    names = ("d", "s", "c", "CT")
    return Case(*names, None, codes, codes, sets, SimpleNamespace(slices=shown))


@pytest.fixture
def scans(annotated):
    """Cases of two slices; the voxels of each structure are all in the second slice."""

    def scan(task: list[int], voxels: dict[int, int]) -> Case:
        labels = np.zeros((2, 10, 10), np.uint8)
        labels[1].flat[: sum(voxels.values())] = np.repeat([*voxels], [*voxels.values()])
        return case(*annotated(labels, task))

    return [
        scan(TASKS[0], {1: 10, 2: 30, 3: 20}),
        scan(TASKS[0], {2: 5, 3: 45}),
        scan(TASKS[0], {}),
        scan(TASKS[1], {4: 9, 5: 1}),
    ]


def test_channels_go_by_mean_relative_size(scans):
    method = load()
    assert method.output_channels() == 4
    method.learn_from(scans)
    assert method.sizes == pytest.approx(
        {1: 1 / 12, 2: 0.3, 3: 0.75 - 1 / 6 + 1 / 30, 4: 0.9, 5: 0.1}
    )
    assert method.channels.tolist() == [0, 3, 2, 1, 1, 2]


def test_the_table_is_logged(caplog, scans):
    with caplog.at_level("INFO", logger="piecemeal.methods.label_sharing"):
        load().learn_from(scans)
    assert caplog.messages[0] == "label sharing: channel 1: class 3 (0.617), class 4 (0.900)"


@pytest.mark.parametrize(
    ("order", "expected"), [("reversed", [0, 3, 2, 1, 2, 1]), ("listed", LISTED.tolist())]
)
def test_other_orders(order, expected, scans):
    method = load(order=order)
    method.learn_from(scans)
    assert method.channels.tolist() == expected


def test_random_orders_differ_by_seed_and_keep_tasks_apart(scans):
    found = set()
    for seed in range(8):
        method = load(order="random", seed=seed)
        method.learn_from(scans)
        channels = method.channels.tolist()
        assert sorted(channels[1:4]) == [1, 2, 3]
        assert len(set(channels[4:]) & {1, 2, 3}) == 2
        found.add(tuple(channels))
    assert len(found) > 3


def test_a_task_that_no_case_shows_is_refused(scans):
    with pytest.raises(InputError, match=r"no training case .* structures \[4, 5\]"):
        load().learn_from(scans[:3])


def test_cases_of_several_tasks_are_refused(scans):
    method = load()
    for scan in scans:
        method.check(scan.sets)
    with pytest.raises(InputError, match=r"structures \[1, 2, 3, 4, 5\].* `known: declared`"):
        method.check(np.eye(CLASSES, dtype=bool))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": [[1, 2], [2, 3, 4, 5]]}, r"structures \[2\] are in more than one task"),
        ({"tasks": [[1, 2], [3, 6]]}, "expected to hold structures of 1 to 5"),
        ({"tasks": [[1, 2, 3, 4, 5], []]}, "empty"),
        ({"tasks": []}, "empty"),
        ({"tasks": [[1, 1]]}, "names a structure twice"),
        ({"head": "softmax", "overlapping": True}, "structures of this cohort overlap"),
        ({"order": "alphabet"}, "order is 'alphabet'; allowed: size, reversed, random, listed"),
        ({"unmapped": "ignored"}, "unmapped is 'ignored'; allowed: negative, masked"),
        ({"smooth": 0.0}, "smooth: 0.0"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        load(**options)


def test_a_voxel_of_several_structures_counts_for_each(overlaid):
    """Of class 4 there are 2 voxels, of class 5 there are 3, and one of them is of both."""
    masks = np.zeros((2, 2, 2), np.uint8)
    masks[1] = [[1, 2], [2, 3]]
    method = load(tasks=TASKS[1:], overlapping=True)
    method.learn_from([case(*overlaid(masks, TASKS[1]))])
    assert method.sizes == pytest.approx({4: 2 / 5, 5: 3 / 5})
    assert method.channels.tolist() == [0, 0, 0, 0, 2, 1]
    assert method.output_channels() == 2


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
    method = load()
    method.ask(asked)
    found = method.probabilities(CHANCES.log())
    torch.testing.assert_close(found[0], torch.tensor(expected, dtype=torch.float32))


def test_the_wrong_task_gets_an_answer_as_confident_as_the_right_one():
    """Nothing in the prediction tells that it is nonsense: only the task can say what it is."""
    method = load()
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
        load().ask([3, 4])


def test_weights_carry_what_the_channels_mean(scans):
    trained = load()
    trained.learn_from(scans)
    torch.manual_seed(0)
    network = trained.build(lambda channels: nn.Conv2d(1, channels, 1))
    predicting = load()
    fresh = predicting.build(lambda channels: nn.Conv2d(1, channels, 1))
    fresh.load_state_dict(network.state_dict())
    images = torch.randn(2, 1, 3, 3)
    for asked in (*TASKS, None):
        trained.ask(asked)
        predicting.ask(asked)
        found = predicting.read_out(fresh, images)
        assert torch.equal(found, trained.read_out(network, images))
        assert torch.equal(found, trained.probabilities(network(images)))


def test_masked_and_negative_channels_of_label_sharing(as_batch):
    """Channel 3 is of the first task alone: the second finds it, which counts, or does not."""
    codes, sets = as_batch(([1, 2, 3, 0], TASKS[0]), ([4, 5, 0, 0], TASKS[1]))
    claimed, silent = torch.zeros(2, 4, 4), torch.zeros(2, 4, 4)
    claimed[1, 3, 2:], silent[1, 0, 2:] = 6.0, 6.0
    for unmapped, differs in (("negative", True), ("masked", False)):
        method = load(unmapped=unmapped)
        one, two = (method.loss(logits, codes, sets).item() for logits in (claimed, silent))
        assert (one > two + 0.01) == differs
        assert differs or one == pytest.approx(two)


def test_an_overlapping_task_is_answered_by_its_sigmoids():
    method = load(overlapping=True)
    logits = torch.tensor([[[2.0, -1.0], [1.0, 3.0], [9.0, 9.0]]])
    method.ask(TASKS[1])
    found = method.probabilities(logits)
    torch.testing.assert_close(found[:, 4:], logits[:, :2].sigmoid())
    torch.testing.assert_close(found[0, 0], 1 - torch.tensor([2.0, 3.0]).sigmoid())
    assert not found[:, 1:4].any()


# A task more.


def learned(tasks: list[list[int]], scans: list[Case], **options):
    """A run of these tasks alone: method, network, weights."""
    torch.manual_seed(0)
    method = load(tasks=tasks, **options)
    method.learn_from(scans)
    network = method.build(small_nnunet)
    return method, network, network.state_dict()


@pytest.mark.parametrize("order", ["size", "reversed", "random", "listed"])
def test_a_new_task_leaves_the_channels_of_the_old_ones_alone(order, scans):
    """Its cases alone are there; old sizes come with the weights."""
    before, _, weights = learned(TASKS[:1], scans[:3], order=order)
    assert before.channels[4:].tolist() == [0, 0]
    method = load(order=order)
    method.continue_from(weights)
    method.learn_from(scans[3:])
    assert torch.equal(method.channels[:4], before.channels[:4])
    assert len(set(method.channels[4:].tolist()) & {1, 2, 3}) == 2
    assert method.grown == 0
    if order == "size":
        assert method.channels.tolist() == [0, 3, 2, 1, 1, 2]
    if order != "listed":
        sizes = {1: 1 / 12, 2: 0.3, 3: 0.75 - 1 / 6 + 1 / 30, 4: 0.9, 5: 0.1}
        assert method.sizes == pytest.approx(sizes)


def test_nothing_of_a_network_that_keeps_its_size_is_drawn_anew(scans):
    _, network, weights = learned(TASKS[:1], scans[:3])
    method = load()
    method.continue_from(weights)
    method.learn_from(scans[3:])
    further = method.build(small_nnunet)
    further.load_state_dict(method.adopted(weights, further.state_dict()))
    for name, parameter in network.named_parameters():
        assert torch.equal(parameter, further.get_parameter(name))
    assert further.channels.tolist() == [0, 3, 2, 1, 1, 2]
    assert further.sizes[4:].tolist() == pytest.approx([0.9, 0.1])
    assert weights["sizes"].isnan().tolist() == [True, False, False, False, True, True]


def test_a_run_of_all_tasks_needs_no_sizes_of_those_that_are_known(scans):
    _, _, weights = learned(TASKS, scans)
    method = load()
    method.continue_from(weights)
    method.learn_from([])
    assert method.channels.tolist() == [0, 3, 2, 1, 1, 2]


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
def test_a_head_that_grows_keeps_the_rows_that_it_had(head, scans, caplog):
    _, network, weights = learned(TASKS[1:], scans[3:], head=head)
    method = load(head=head)
    method.continue_from(weights)
    with caplog.at_level("WARNING", logger="piecemeal.methods.label_sharing"):
        method.learn_from(scans[:3])
    assert method.grown == 1
    assert "the head gains 1" in caplog.text
    assert method.channels.tolist() == [0, 3, 2, 1, 1, 2]
    grown = method.build(small_nnunet)
    fresh = {key: tensor.clone() for key, tensor in grown.state_dict().items()}
    grown.load_state_dict(method.adopted(weights, fresh))
    images, rows = torch.randn(2, 1, 16, 16), method.head.channels(2)
    torch.testing.assert_close(grown(images)[:, :rows], network(images))
    for key in ("network.heads.0.weight", "network.heads.1.weight"):
        assert torch.equal(grown.get_parameter(key)[rows:], fresh[key][rows:])
        assert len(grown.get_parameter(key)) == rows + 1


def test_a_new_task_without_cases_is_refused(scans):
    _, _, weights = learned(TASKS[:1], scans[:3])
    method = load()
    method.continue_from(weights)
    with pytest.raises(InputError, match=r"no training case .* structures \[4, 5\]"):
        method.learn_from(scans[:3])


@pytest.mark.parametrize("tasks", [[[1, 2], [4, 5]], [[1, 2, 3]], [[1, 2, 3, 4]]])
def test_the_tasks_of_the_run_before_it_are_told_as_they_were(tasks, scans):
    _, _, weights = learned(TASKS, scans)
    with pytest.raises(InputError, match=r"structures \[1, 2, 3, 4, 5\], expected whole tasks"):
        load(tasks=tasks).continue_from(weights)


def test_weights_of_another_method_say_nothing_of_channels():
    with pytest.raises(InputError, match="let `starts_from` name an arm of label sharing"):
        load().continue_from(small_nnunet(4).state_dict())


def test_the_record_of_a_run_has_all_that_a_new_task_needs(scans):
    method, _, _ = learned(TASKS, scans)
    facts = method.facts()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["channels"] == {"1": 3, "2": 2, "3": 1, "4": 1, "5": 2}
    assert facts["relative_sizes"]["4"] == pytest.approx(0.9)
    assert facts["grown"] == 0
