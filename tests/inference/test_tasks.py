"""Methods whose network is asked one task at a time, with a network of one weight a task.

And what is counted of networks side by side, each with a task of its own.
"""

import numpy as np
import pytest
import torch
from torch import nn

from piecemeal import scoring
from piecemeal.errors import InputError
from piecemeal.inference import ForwardPasses
from piecemeal.inference.reader import Reader
from piecemeal.inference.windows import window_planes
from piecemeal.methods._base import TaskConditioned
from piecemeal.methods._tasks import OnePerTask

TASKS = [2, 0, 1]  # the weight that a task uses


class Tasks(TaskConditioned):
    """One logit a task; background is what no task claims."""

    def loss(self, logits, codes, sets):
        raise NotImplementedError

    def merge(self, outputs):
        claimed = torch.cat(outputs, dim=1).sigmoid()
        self.kinds = {output.dtype for output in outputs}
        return torch.cat([1 - claimed.amax(1, keepdim=True), claimed], dim=1)


class TaskNetwork(nn.Module):
    """Features: the image and its square, on two levels. Logit: the task's weight times both."""

    def __init__(self):
        super().__init__()
        self.weights = nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))
        self.calls = []

    def features(self, images):
        self.calls.append("features")
        return [images, images.square()]

    def head(self, features, task):
        self.calls.append(task)
        return self.weights[task] * (features[0] + features[1])

    def forward(self, images):
        features = self.features(images)
        return torch.cat([self.head(features, task) for task in TASKS], dim=1)


@pytest.fixture
def method():
    return Tasks(4, TASKS)


@torch.no_grad()
def read(method, network, images, *options):
    return Reader(method, network, *options)(images)


def test_every_class_comes_from_its_task(method):
    images = torch.tensor([0.5]).view(1, 1, 1, 1)
    found = read(method, TaskNetwork(), images).flatten()
    claimed = torch.tensor([3.0, 1.0, -2.0]).mul(0.75).sigmoid()
    torch.testing.assert_close(found, torch.cat([1 - claimed[:1], claimed]))


def test_the_backbone_runs_once(method):
    network = TaskNetwork()
    read(method, network, torch.randn(2, 1, 3, 3))
    assert network.calls == ["features", *TASKS]


def test_a_pass_for_every_task_gives_the_same_and_costs_more(method):
    network, images = TaskNetwork(), torch.randn(2, 1, 3, 3)
    repeated = Tasks(4, TASKS, one_pass=False)
    with ForwardPasses(network) as passes:
        found = read(repeated, network, images, [[1]])
    assert torch.equal(found, read(method, network, images, [[1]]))
    assert (passes.count, passes.head_count) == (12, 12)
    assert network.calls[:6] == ["features", 2, "features", 0, "features", 1]


@pytest.mark.parametrize(("inference", "passes"), [({}, 3), ({"one_pass": False}, 9)])
def test_the_settings_of_a_run_say_how_often_the_backbone_runs(
    cohort, settings, monkeypatch, tmp_path, inference, passes
):
    """Three slices a scan; both times the heads are asked for three tasks."""
    given = settings(inference=inference, classes=4)
    monkeypatch.setattr(scoring, "load_network", lambda *_: TaskNetwork())
    monkeypatch.setattr(scoring.methods, "load", lambda *_: Tasks(4, TASKS))
    found = scoring.score_run(given, cohort.prepared, tmp_path / "none", tmp_path).scans
    assert {(scan["forward_passes"], scan["head_passes"]) for scan in found} == {(passes, 9)}


def test_a_network_that_cannot_be_told_a_task_is_refused(method):
    with pytest.raises(InputError, match=r"network\.name .* Conv2d cannot be told a task"):
        method.build(lambda channels, tasks: nn.Conv2d(tasks, channels, 1))


def test_a_network_is_told_how_many_tasks_there_are(method):
    def build(channels: int, **told: int) -> nn.Module:
        built.append((channels, told))
        return TaskNetwork()

    built = []
    method.build(build)
    assert built == [(1, {"tasks": 3})]


def test_logits_of_all_tasks_give_the_same(method):
    """What a training loop sees, which asks the network itself."""
    network, images = TaskNetwork(), torch.randn(2, 1, 3, 3)
    assert method.output_channels() == 3
    logits = network(images)
    assert logits.shape[1] == 3
    torch.testing.assert_close(method.probabilities(logits), read(method, network, images))


def test_tasks_may_have_several_channels():
    class Shapes(Tasks):
        def merge(self, outputs):
            return torch.tensor([output.shape[1] for output in outputs])

    method = Shapes(4, TASKS, channels=2)
    assert method.output_channels() == 6
    assert method.probabilities(torch.zeros(1, 6, 2, 2)).tolist() == [2, 2, 2]


def test_logits_are_merged_in_float32(method):
    read(method, TaskNetwork().bfloat16(), torch.randn(1, 1, 2, 2).bfloat16())
    assert method.kinds == {torch.float32}
    method.probabilities(torch.zeros(1, 3, 2, 2, dtype=torch.bfloat16))
    assert method.kinds == {torch.float32}


def test_backbone_and_heads_are_counted_apart(method):
    """27 windows, 3 tasks."""
    network, size = TaskNetwork(), (4, 4, 4)
    image = np.zeros((8, 8, 8), np.float32)
    with ForwardPasses(network) as passes, torch.no_grad():
        reader = Reader(method, network)
        list(window_planes(reader, image, size, 0.5, "uniform", 4, reader.device))
    assert (passes.count, passes.head_count) == (27, 81)


def test_forward_is_not_counted_twice(method):
    network = TaskNetwork()
    with ForwardPasses(network) as passes:
        network(torch.zeros(5, 1, 2, 2))
    assert (passes.count, passes.head_count) == (5, 15)


def test_flips_are_counted_in_both(method):
    network = TaskNetwork()
    with ForwardPasses(network) as passes:
        read(method, network, torch.zeros(5, 1, 2, 2), [[1], [2]])
    assert (passes.count, passes.head_count) == (15, 45)


def test_each_of_several_networks_is_counted():
    network = OnePerTask([nn.Conv2d(1, 2, 1) for _ in range(3)], 2)
    with ForwardPasses(network) as passes:
        network(torch.zeros(5, 1, 2, 2))
        assert (passes.count, passes.head_count) == (15, 0)
        network(torch.zeros(5, 1, 2, 2), task=1)
        assert passes.count == 20
    network(torch.zeros(5, 1, 2, 2))
    assert passes.count == 20


def test_parts_that_are_modules_are_counted():
    network = nn.Module()
    network.features, network.head = nn.Identity(), nn.Bilinear(1, 1, 1)
    with ForwardPasses(network) as passes:
        network.head(network.features(torch.zeros(5, 1)), torch.zeros(5, 1))
    assert (passes.count, passes.head_count) == (5, 5)
    assert isinstance(network.features, nn.Identity)


def test_counting_leaves_the_network_as_it_was(method):
    network, images = TaskNetwork(), torch.zeros(1, 1, 2, 2)
    before = dict(vars(network))
    with ForwardPasses(network) as outer:
        with ForwardPasses(network) as inner:
            read(method, network, images)
        read(method, network, images)
    read(method, network, images)
    assert (inner.count, outer.count) == (1, 2)
    assert (inner.head_count, outer.head_count) == (3, 6)
    assert vars(network) == before
