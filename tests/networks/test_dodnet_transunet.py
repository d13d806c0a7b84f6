"""DoDNet's head on the 3D TransUNet: what it adds, what it replaces, and which maps it sees."""

import pytest
import torch
from torch import nn

from piecemeal import networks
from piecemeal.errors import InputError

SMALL = {"root": 2, "tokens": 8, "depth": 1, "heads": 2, "patch": 32}


def small(**options) -> nn.Module:
    torch.manual_seed(0)
    return networks.build("dodnet_transunet", 1, 1, **(SMALL | {"tasks": 3} | options)).eval()


def image(batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, 1, 32, 32, 32)


def test_published_size(parameters):
    """All of the TransUNet but its head of 17 classes, and a dynamic head of 16 tasks."""
    whole = parameters("versatile_transunet", 1, 17)
    assert parameters("dodnet_transunet", 1, 1) == whole - 1_105 + 82_609


def test_a_structure_has_153_dynamic_numbers():
    assert sum(small().dynamic.sizes) == 153


def test_head_sees_the_tokens_and_the_last_map():
    network, x, task = small(), image(), torch.tensor([2, 0])
    with torch.inference_mode():
        tokens, last = network.backbone(x)
        assert tokens.shape == (2, 8, 2, 2, 2)
        expected = network.dynamic(network.dynamic.features(tokens, last), task)
        assert torch.equal(network(x, task), expected)


def test_without_a_task_all_are_answered():
    network, x = small(), image()
    with torch.inference_mode():
        every = network(x)
        assert every.shape == (2, 3, 32, 32, 32)
        each = [network(x, task) for task in range(3)]
        assert torch.equal(every, torch.cat(each, dim=1))
        assert not torch.allclose(each[0], each[1])


@pytest.mark.parametrize("name", ["dodnet_transunet", "clip_transunet"])
@pytest.mark.parametrize("task", [-1, 3])
def test_unknown_tasks_are_refused(name, task):
    network = networks.build(name, 1, 1, tasks=3, **SMALL)
    features = torch.zeros(1, 8 if name == "dodnet_transunet" else 256), torch.zeros(1, 8, 2, 2, 2)
    with pytest.raises(InputError, match=rf"asked for task {task}; it was built for tasks 0 to 2"):
        network.head(features, task)


@pytest.mark.parametrize("name", ["dodnet_transunet", "clip_transunet"])
def test_no_tasks_are_refused(name):
    with pytest.raises(InputError, match=f"{name}: tasks is 0; it must be at least 1"):
        networks.build(name, 1, 1, tasks=0)
