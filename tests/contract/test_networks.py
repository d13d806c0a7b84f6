"""What every file in piecemeal/networks must do, found by itself."""

import inspect
import io
from pathlib import Path

import pytest
import torch

from piecemeal import networks, registry
from piecemeal.config import ScaleConfig
from piecemeal.errors import InputError
from piecemeal.validation import load_model

ROOT = Path(__file__).resolve().parents[2]
NAMES = registry.known("piecemeal.networks")
SMALL = load_model(ROOT / "config" / "scales" / "smoke.yaml", ScaleConfig).networks


@pytest.fixture(params=NAMES)
def name(request) -> str:
    assert request.param in SMALL, f"give {request.param} a small size in config/scales/smoke.yaml"
    return request.param


def build(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    return networks.build(name, 1, 3, **SMALL[name])


def test_there_are_networks():
    assert NAMES


def test_published_size_is_the_default(name):
    signature = inspect.signature(registry.load("piecemeal.networks", name).build)
    channels = list(signature.parameters.values())[:2]
    assert [p.name for p in channels] == ["in_channels", "out_channels"]
    options = list(signature.parameters.values())[2:]
    assert all(p.default is not inspect.Parameter.empty for p in options)


def test_every_parameter_gets_a_gradient(name):
    network = build(name).train()
    logits = network(torch.randn(2, 1, 32, 48))
    assert logits.shape == (2, 3, 32, 48)
    assert logits.isfinite().all()
    (logits * torch.randn_like(logits)).sum().backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.abs().sum() > 0, key


def test_saved_and_loaded_gives_the_same_output(name):
    network, image, file = build(name), torch.randn(2, 1, 32, 32), io.BytesIO()
    network.train()(image)  # moves what batch norms remember
    torch.save(network.state_dict(), file)
    file.seek(0)
    torch.manual_seed(1)
    other = networks.build(name, 1, 3, **SMALL[name])
    other.load_state_dict(torch.load(file, weights_only=True))
    with torch.inference_mode():
        assert torch.equal(other.eval()(image), network.eval()(image))


def test_same_seed_same_network(name):
    one, two = build(name).state_dict(), build(name).state_dict()
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_unknown_option_is_refused(name):
    with pytest.raises(InputError, match=rf"{name}: unknown options \['no_such_option'\]"):
        networks.build(name, 1, 3, no_such_option=1)


def test_unknown_network_lists_the_known_ones():
    with pytest.raises(InputError, match=f"networks: there is no 'nothing'; known: {NAMES[0]}"):
        networks.build("nothing", 1, 3)
