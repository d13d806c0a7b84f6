"""No loss or gradient of a training step waits for the device, whatever the method and its network.

Shown on the meta device, which computes nothing: reading a value off it is an error, as are results
whose size depends on values. Copies to and from it have to be told not to wait.
"""

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from piecemeal import methods
from piecemeal.estimates import input_shape
from piecemeal.plan import Planner
from piecemeal.training.data import Batch

PLAN = Planner(Path(__file__).resolve().parents[2]).plan("smoke")
# Runs of one method, network and input do the same.
SAME = ("implementation", "method_options", "network", "network_options", "input", "classes")
ARMS = {
    repr([unit.settings[key] for key in SAME]): (key.split("/seed")[0], unit.settings)
    for key, unit in PLAN.runs.items()
    if unit.settings["network"]
}
META = torch.device("meta")


class Waiting(TorchDispatchMode):
    """Notes what is copied between devices and waited for; `Indexed` what a GPU would copy."""

    def __init__(self):
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        name = function._schema.name
        if name in ("aten::_to_copy", "aten::copy_"):
            given = args[name == "aten::copy_"]
            waits = not ((kwargs or {}).get("non_blocking") or args[2:3] == (True,))
            if given.device != result.device and waits:
                self.found.append(f"{tuple(given.shape)} from {given.device} to {result.device}")
        return result


class Indexed(TorchFunctionMode):
    """Notes indices and numbers that are not on the device yet, which `Waiting` cannot see."""

    MAKERS = (torch.tensor, torch.as_tensor, torch.Tensor.new_tensor)

    def __init__(self):
        super().__init__()
        self.found: list[str] = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if function in (torch.Tensor.__getitem__, torch.Tensor.__setitem__) and args[0].is_meta:
            keys = args[1] if isinstance(args[1], tuple) else (args[1],)
            if any(_is_elsewhere(key) for key in keys):
                self.found.append(f"{tuple(args[0].shape)} at {args[1]}")
        elif function in self.MAKERS and result.is_meta:
            self.found.append(f"{tuple(result.shape)} of numbers")
        return result


def _is_elsewhere(key) -> bool:
    return not key.is_meta if isinstance(key, torch.Tensor) else isinstance(key, list)


def tables(settings: dict) -> torch.Tensor:
    """Label sets (4, K, C): drawn are all classes, the first structure, the last one, and none."""
    classes = settings["classes"]
    every = torch.ones(1, classes, dtype=torch.bool)
    found = torch.zeros(4, classes + 1, classes, dtype=torch.bool)
    found[0] = torch.cat([every, torch.eye(classes, dtype=torch.bool)])
    for row, structure in ((1, 1), (2, classes - 1)):
        alone = torch.arange(classes) == structure
        found[row, :3] = torch.stack([every[0], alone, ~alone])
    found[3, 0] = True
    return found


@pytest.mark.parametrize(("name", "settings"), ARMS.values(), ids=[n for n, _ in ARMS.values()])
@pytest.mark.parametrize("done", [0.0, 0.9])
def test_a_step_waits_for_nothing(name, settings, done, monkeypatch):
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # knows no meta device
    method = methods.load(
        settings["implementation"], settings["classes"], settings["method_options"]
    )
    channels, *space = input_shape(PLAN, settings) or (1, 64, 64)
    with META:
        network = methods.build_network(settings, method, channels).train()
        images = torch.empty(4, channels, *space)
        codes = torch.empty(4, *space, dtype=torch.uint8)
    sets = tables(settings)
    views = torch.tensor([-1, 0, -1, -1], dtype=torch.int8)
    shown = torch.tensor([0, 1, -1, -1], dtype=torch.int16)
    told = Batch(images, codes, sets, views, shown).wanted_by(method)
    there = sets.to(META, non_blocking=True)
    with Waiting() as copied, Indexed() as indexed:
        method.training_loss(network, images, codes, there, done, **told).backward()
    assert copied.found + indexed.found == []
    assert any(parameter.grad is not None for parameter in network.parameters())


def test_what_waits_is_noticed():
    there, here = torch.empty(3, device=META), torch.ones(3)
    with Waiting() as copied, Indexed() as indexed:
        here.to(META)
        there.copy_(here)
        assert len(copied.found) == 2
        here.to(META, non_blocking=True)
        there.copy_(here, non_blocking=True)
        assert len(copied.found) == 2
        there[[0, 1]]
        there[torch.tensor([0, 1])] = 1.0
        torch.tensor([1.0], device=META)
        there.new_tensor([1.0])
        assert len(indexed.found) == 4
        there[1:], there[None], there[there.long()], here[[0, 1]], torch.tensor([1.0])
        assert len(indexed.found) == 4
    for read in (torch.Tensor.item, torch.Tensor.tolist, torch.Tensor.nonzero):
        with pytest.raises((NotImplementedError, RuntimeError)):
            read(there)
