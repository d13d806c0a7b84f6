"""Learning a new task beside those before: what is kept, how, and of what."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from piecemeal import methods, networks
from piecemeal.errors import InputError
from piecemeal.methods.distilled import forgetting

CLASSES = 4
ALL = torch.ones(1, 1, 1, dtype=torch.bool)


def small_nnunet(channels: int) -> torch.nn.Module:
    return networks.build("nnunet", 1, channels, width=4, stages=3)


def learned(*tasks: list[int], seed: int = 0) -> dict[str, torch.Tensor]:
    """Weights of a masked multichannel run of these tasks."""
    torch.manual_seed(seed)
    method = methods.load("multichannel", CLASSES, {"tasks": list(tasks), "masked": True})
    return method.build(small_nnunet).state_dict()


def going_on(name: str, weights: dict, *tasks: list[int], **options):
    """A method that goes on from `weights`, and its network."""
    method = methods.load(name, CLASSES, {"tasks": list(tasks), **options})
    method.continue_from(weights)
    torch.manual_seed(1)
    network = method.build(small_nnunet)
    network.load_state_dict(method.adopted(weights, network.state_dict()))
    return method, network


def test_forgetting_by_hand():
    """Background 0.5 and structure 0.5 were said; now 0.2, 0.4 and a new structure 0.4."""
    past = torch.tensor([0.5, 0.5, 0.9]).log().view(1, 3, 1, 1)  # the last was no channel then
    now = torch.tensor([0.2, 0.4, 0.4]).log().view(1, 3, 1, 1)
    expected = 0.5 * math.log(0.5 / 0.6) + 0.5 * math.log(0.5 / 0.4)
    assert forgetting(now, past, [1], ALL).item() == pytest.approx(expected, abs=1e-6)


def test_new_structures_may_take_from_the_background_alone():
    past = torch.tensor([2.0, 1.0, 0.0]).view(1, 3, 1, 1)
    chances = past[:, :2].softmax(1).flatten()
    now = torch.stack([0.25 * chances[0], chances[1], 0.75 * chances[0]]).log().view(1, 3, 1, 1)
    assert forgetting(now, past, [1], ALL).item() == pytest.approx(0, abs=1e-6)
    now = torch.stack([chances[0], 0.25 * chances[1], 0.75 * chances[1]]).log().view(1, 3, 1, 1)
    assert forgetting(now, past, [1], ALL).item() > 0.1


def test_only_voxels_that_are_asked_for_count():
    now, past = torch.randn(2, 1, 3, 1, 4, generator=torch.Generator().manual_seed(0))
    asked = torch.tensor([[[True, False, True, False]]])
    each = [forgetting(now[..., [n]], past[..., [n]], [1], ALL).item() for n in (0, 2)]
    assert forgetting(now, past, [1], asked).item() == pytest.approx(sum(each) / 2, abs=1e-6)
    assert forgetting(now, past, [1], ~asked & asked).item() == 0


def test_what_the_annotation_says_is_not_held_against_it():
    """Everything is drawn as the new structure: there is nothing to keep."""
    method, network = going_on("distilled", learned([1, 3]), [1, 3], [2])
    codes, sets = (
        torch.ones(1, 16, 16, dtype=torch.uint8),
        torch.tensor([[[1, 1, 0, 1], [0, 0, 1, 0]]]),
    )
    method.training_loss(network, torch.randn(1, 1, 16, 16), codes, sets.bool(), 0.0)
    assert method.notes["forgetting"] == 0
    method.training_loss(network, torch.randn(1, 1, 16, 16), codes * 0, sets.bool(), 0.0)
    assert method.notes["forgetting"] > 0


@given(st.integers(0, 2**32 - 1), st.sampled_from([[1], [2], [1, 3], [1, 2, 3], []]))
def test_forgetting_is_a_divergence(seed, channels):
    draw = torch.Generator().manual_seed(seed)
    now, past = 5 * torch.randn(2, 2, 4, 1, 1, generator=draw)
    assert forgetting(now, past, channels, ALL).item() >= -1e-6
    if set(channels) == {1, 2, 3}:
        assert forgetting(past, past, channels, ALL).item() == pytest.approx(0, abs=1e-6)


def test_the_past_says_what_the_run_before_said():
    weights = learned([1, 3])
    _, network = going_on("distilled", weights, [1, 3], [2])
    images = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    _, past = network(images, past=True)
    with torch.no_grad():
        before = methods.load("multichannel", CLASSES, {"tasks": [[1, 3]], "masked": True})
        old = before.build(small_nnunet)
        old.load_state_dict(weights)
        said = old.eval()(images)
    assert torch.allclose(past[:, [0, 1, 3]], said, atol=1e-5)  # classes 1 and 3 have moved apart
    assert not past.requires_grad


@pytest.mark.parametrize("name", ["multichannel", "distilled"])
def test_a_head_that_grew_keeps_the_rows_of_its_structures(name):
    weights = learned([1, 3])
    _, network = going_on(name, weights, [1, 3], [2])
    state, first = network.state_dict(), "network." if name == "distilled" else ""
    heads = [k for k, v in weights.items() if v.ndim and v.shape[0] == 3 and "weight" in k]
    assert heads
    for key in heads:
        grown = state[first + key]
        assert len(grown) == 4
        assert torch.equal(grown[[0, 1, 3]], weights[key])
        assert not torch.equal(grown[2], weights[key][2])


def test_a_run_of_the_same_tasks_has_the_same_weights():
    weights = learned([1, 3], [2])
    _, network = going_on("multichannel", weights, [1, 3], [2])
    assert all(torch.equal(v, weights[k]) for k, v in network.state_dict().items() if v.ndim == 4)


def test_the_past_stays_and_the_present_learns():
    method, network = going_on("distilled", learned([1, 3]), [1, 3], [2])
    past = {k: v.clone() for k, v in network.state_dict().items() if k.startswith("past_network")}
    assert past
    parameters = list(network.parameters())
    start = [p.detach().clone() for p in parameters]
    optimiser = torch.optim.SGD(parameters, lr=0.1)
    codes = torch.zeros(2, 16, 16, dtype=torch.uint8)
    codes[:, 4:8] = 1
    sets = torch.tensor([[[1, 1, 0, 1], [0, 0, 1, 0]]]).bool().expand(2, -1, -1)  # class 2 is drawn
    images = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    loss = method.training_loss(network, images, codes, sets, 0.0)
    loss.backward()
    optimiser.step()
    assert method.notes["forgetting"] >= 0
    assert all(torch.equal(v, network.state_dict()[k]) for k, v in past.items())
    assert any(not torch.equal(p, s) for p, s in zip(parameters, start, strict=True))


def test_keeping_more_weighs_more():
    losses = {}
    for keep in (0.0, 1.0, 3.0):
        method, network = going_on("distilled", learned([1, 3]), [1, 3], [2], keep=keep)
        codes = torch.zeros(1, 16, 16, dtype=torch.uint8)
        sets = torch.tensor([[[1, 1, 0, 1], [0, 0, 1, 0]]]).bool()
        images = torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
        losses[keep] = method.training_loss(network, images, codes, sets, 0.0).item()
    gained = losses[1.0] - losses[0.0]
    assert gained > 0
    assert losses[3.0] - losses[0.0] == pytest.approx(3 * gained, rel=1e-4)


def test_a_run_may_go_on_from_one_that_has_a_past():
    _, first = going_on("distilled", learned([1]), [1], [2])
    method, second = going_on("distilled", first.state_dict(), [1], [2], [3])
    assert method.before.tolist() == [0, 1, 2, 0]
    assert torch.equal(second.state_dict()["network.channels"], torch.tensor([0, 1, 2, 3]))


@pytest.mark.parametrize("name", ["multichannel", "distilled"])
def test_weights_that_do_not_fit_are_refused(name):
    method = methods.load(name, CLASSES, {"tasks": [[1, 2]]})
    for weights in ({}, learned([1, 3]), {"channels": torch.zeros(9)}):
        with pytest.raises(InputError, match="let `starts_from` name an arm of multichannel"):
            method.continue_from(weights)


def test_impossible_weights_of_keeping_are_refused():
    with pytest.raises(InputError, match=r"distilled: keep is -1; expected 0 or more"):
        methods.load("distilled", CLASSES, {"keep": -1})
