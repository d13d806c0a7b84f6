"""DoDNet's head on nnU-Net: what it adds, what it replaces, and which maps it sees."""

import pytest
import torch
from torch import nn

from piecemeal import networks
from piecemeal.errors import InputError


def small(dimensions: int = 2, **options) -> nn.Module:
    torch.manual_seed(0)
    options = {"dimensions": dimensions, "stages": 3, "width": 4, "tasks": 3, **options}
    return networks.build("dodnet_nnunet", 1, 2, **options).eval()


@pytest.mark.parametrize(("tasks", "added"), [(3, 103_520), (4, 103_718)])
def test_published_size(parameters, tasks, added):
    """All of nnU-Net but its heads, 1,510 weights for each logit, and the dynamic head."""
    backbone = parameters("nnunet", 1, 6) - 6 * 1_510
    assert parameters("dodnet_nnunet", 1, 6, tasks=tasks) == backbone + added


def test_three_tasks_are_the_default(parameters):
    assert parameters("dodnet_nnunet", 1, 6) == parameters("dodnet_nnunet", 1, 6, tasks=3)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_head_sees_the_deepest_and_the_finest_map(dimensions):
    network = small(dimensions)
    image, task = torch.randn(2, 1, *dimensions * (16,)), torch.tensor([2, 0])
    with torch.inference_mode():
        deep, maps = network.backbone(image)
        expected = network.dynamic(network.dynamic.features(deep, maps[0]), task)
        assert torch.equal(network(image, task), expected)


def test_tasks_differ():
    network, image = small(), torch.randn(2, 1, 16, 16)
    with torch.inference_mode():
        assert not torch.allclose(network(image, 0), network(image, 1))


@pytest.mark.parametrize("task", [-1, 3])
def test_unknown_tasks_are_refused(task):
    with pytest.raises(InputError, match=rf"asked for task {task}; it was built for tasks 0 to 2"):
        small()(torch.randn(1, 1, 16, 16), task)


def test_no_tasks_are_refused():
    with pytest.raises(InputError, match="dodnet_nnunet: tasks is 0; it must be at least 1"):
        networks.build("dodnet_nnunet", 1, 2, tasks=0)
