"""What every file in piecemeal/networks must do, found by itself.

A network works in the `DIMENSIONS` that its module says, or in those of its option `dimensions`.
One with an option `tasks` is told which task to solve and has its channels for each of them. One
that does not take images of any size refuses all others: its option `patch` is the side of the
cubes that it takes, or its module has the side of the smallest, `LEAST_SIDE`. One that needs more
than bfloat16 has its `precision`.
"""

import copy
import inspect
import io
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from piecemeal import networks, registry
from piecemeal.config import ScaleConfig
from piecemeal.errors import InputError
from piecemeal.inference import ForwardPasses
from piecemeal.training.validation import memory_format_of
from piecemeal.validation import load_model

ROOT = Path(__file__).resolve().parents[2]
NAMES = registry.known("piecemeal.networks")
SMALL = load_model(ROOT / "config" / "scales" / "smoke.yaml", ScaleConfig).networks
CHANNELS = 3
# Sides that suit every network, and sides that suit none.
EVEN, ODD = {2: (32, 48), 3: (16, 32, 48)}, {2: (33, 50), 3: (9, 18, 35)}


class Case(NamedTuple):
    name: str
    dimensions: int
    options: dict
    tasks: int | None
    side: int | None

    def build(self) -> torch.nn.Module:
        torch.manual_seed(0)
        return networks.build(self.name, 1, CHANNELS, **self.options)

    def space(self, spaces: dict) -> tuple[int, ...]:
        """Of `spaces`, but for a network that is particular where another would take any."""
        if self.side and spaces is EVEN:
            return self.dimensions * (self.side,)
        return spaces[self.dimensions]

    def images(self, spaces: dict = EVEN) -> torch.Tensor:
        return torch.randn(2, 1, *self.space(spaces))

    def logits(self, spaces: dict = EVEN) -> tuple[int, ...]:
        """Shape of what the network says of `images(spaces)`."""
        return (2, CHANNELS * (self.tasks or 1), *self.space(spaces))


def cases() -> list[Case]:
    found = []
    for name in NAMES:
        module = registry.load("piecemeal.networks", name)
        options = inspect.signature(module.build).parameters
        default = options["tasks"].default if "tasks" in options else None
        tasks = SMALL.get(name, {}).get("tasks", default)
        side = getattr(module, "LEAST_SIDE", None)
        if "patch" in options:
            side = SMALL.get(name, {}).get("patch", options["patch"].default)
        if "dimensions" in options:
            choices = [(2, {"dimensions": 2}), (3, {"dimensions": 3})]
        else:
            choices = [(getattr(module, "DIMENSIONS", 2), {})]
        found += [Case(name, d, SMALL.get(name, {}) | more, tasks, side) for d, more in choices]
    return found


CASES = cases()
TASK_CONDITIONED = [case for case in CASES if case.tasks]


def name_of(case: Case) -> str:
    return f"{case.name}-{case.dimensions}d"


@pytest.fixture(params=CASES, ids=name_of)
def case(request) -> Case:
    name = request.param.name
    assert name in SMALL, f"give {name} a small size in config/scales/smoke.yaml"
    return request.param


def outputs(network: torch.nn.Module, images: torch.Tensor) -> list[torch.Tensor]:
    """The logits, and what the network has to say beside them."""
    if hasattr(network, "forward_with_presence"):
        return list(network.forward_with_presence(images))
    if len(getattr(network, "heads", ())) > 1:
        return network(images, output="pyramid")
    return [network(images)]


def test_there_are_networks():
    assert NAMES


@pytest.mark.parametrize("name", NAMES)
def test_published_size_is_the_default(name):
    signature = inspect.signature(registry.load("piecemeal.networks", name).build)
    channels = list(signature.parameters.values())[:2]
    assert [p.name for p in channels] == ["in_channels", "out_channels"]
    options = list(signature.parameters.values())[2:]
    assert all(p.default is not inspect.Parameter.empty for p in options)


def test_every_parameter_gets_a_gradient(case):
    network = case.build().train()
    found = outputs(network, case.images())
    assert found[0].shape == case.logits()
    assert all(output.isfinite().all() for output in found)
    sum((output * torch.randn_like(output)).sum() for output in found).backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        # A norm or softmax may take a bias off again, so that it moves nothing.
        assert key.endswith("bias") or parameter.grad.abs().sum() > 0, key


def test_images_of_any_size(case):
    network = case.build().eval()
    if case.side:
        with pytest.raises(InputError, match=f"{case.name}: an image of .* voxels"):
            network(case.images(ODD))
        return
    with torch.inference_mode():
        logits = network(case.images(ODD))
    assert logits.shape == case.logits(ODD)
    assert logits.isfinite().all()


def test_images_do_not_see_each_other_in_prediction(case):
    network, images = case.build().eval(), case.images()
    with torch.inference_mode():
        together, alone = network(images), network(images[1:])
    torch.testing.assert_close(together[1:], alone, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("precision", "near"), [(torch.float64, 1e-8), (torch.float32, 1e-2)])
def test_the_order_of_memory_on_a_cpu_changes_nothing(case, precision, near):
    """Neither logits nor gradients, but for rounding; in float32 it chooses other kernels."""
    plain, images = case.build().to(precision), case.images().to(precision)
    ordered = copy.deepcopy(plain)
    layout = memory_format_of(ordered, torch.device("cpu"))
    assert case.dimensions == 2 or layout == torch.channels_last_3d
    ordered.to(memory_format=layout)
    found = [plain(images), ordered(images.to(memory_format=layout))]
    for logits in found:
        logits.square().mean().backward()
    gradients = [
        torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])
        for network in (plain, ordered)  # heads beside the main one have none
    ]
    for one, other in (found, gradients):
        assert (one - other).norm() <= near * one.norm()


def test_reduced_precision(case):
    network, images = case.build().eval(), case.images()
    needed = getattr(network, "precision", None)
    assert needed in (None, "float32")
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=needed is None):
        logits = network(images)
    assert logits.shape == case.logits()
    assert logits.isfinite().all()


def test_saved_and_loaded_gives_the_same_output(case):
    network, images, file = case.build(), case.images(), io.BytesIO()
    network.train()(images)  # moves what batch norms remember
    torch.save(network.state_dict(), file)
    file.seek(0)
    torch.manual_seed(1)
    other = networks.build(case.name, 1, CHANNELS, **case.options)
    other.load_state_dict(torch.load(file, weights_only=True))
    with torch.inference_mode():
        ours, theirs = (outputs(n.eval(), images) for n in (network, other))
    assert all(map(torch.equal, ours, theirs))


def test_same_seed_same_network(case):
    one, two = case.build().state_dict(), case.build().state_dict()
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_unknown_option_is_refused(case):
    with pytest.raises(InputError, match=rf"{case.name}: unknown options \['no_such_option'\]"):
        networks.build(case.name, 1, 3, no_such_option=1)


@pytest.mark.parametrize("channels", [0, -1, True, 1.5, "1", None])
@pytest.mark.parametrize("name", NAMES)
def test_channels_are_counted_from_one(name, channels):
    for given in ((channels, 2), (1, channels)):
        with pytest.raises(InputError, match=f"network {name}: (in|out)_channels is .*from 1"):
            networks.build(name, *given)


@pytest.mark.parametrize("wrong", ["x", [1.5], {}, 1.5j, object()])
@pytest.mark.parametrize("name", NAMES)
def test_options_of_another_type_are_refused(name, wrong):
    build = registry.load("piecemeal.networks", name).build
    for key, parameter in list(inspect.signature(build).parameters.items())[2:]:
        if isinstance(wrong, str) and parameter.annotation == "str":
            continue  # what it may be is said by the network
        with pytest.raises(InputError, match=f"network {name}: {key} is .*; expected"):
            networks.build(name, 1, 2, **{key: wrong})


def test_unknown_network_lists_the_known_ones():
    with pytest.raises(InputError, match=f"networks: there is no 'nothing'; known: {NAMES[0]}"):
        networks.build("nothing", 1, 3)


@pytest.mark.parametrize("case", TASK_CONDITIONED, ids=name_of)
def test_one_pass_of_the_backbone_serves_all_tasks(case):
    network, images = case.build().eval(), case.images()
    with torch.inference_mode(), ForwardPasses(network) as passes:
        features = network.features(images)
        each = [network.head(features, task) for task in range(case.tasks)]
        assert (passes.count, passes.head_count) == (2, 2 * case.tasks)
        assert torch.equal(torch.cat(each, dim=1), network(images))


@pytest.mark.parametrize("case", TASK_CONDITIONED, ids=name_of)
def test_a_batch_may_mix_tasks(case):
    network, images = case.build().eval(), case.images()
    with torch.inference_mode():
        mixed = network(images, torch.tensor([1, 0]))
        assert mixed.shape == (2, CHANNELS, *images.shape[2:])
        for image, task in enumerate((1, 0)):
            torch.testing.assert_close(mixed[image], network(images, task)[image])
