"""Self-training within label sets: what becomes a pseudo-label, what it costs, and the average."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from piecemeal import methods, networks
from piecemeal.errors import InputError
from piecemeal.methods.pseudo_labels import Averaged

CLASSES = 3


def load(**options):
    return methods.load("pseudo_labels", CLASSES, options)


def table(*rows):
    """(1, K, 3) of the classes of each set."""
    sets = torch.zeros(1, len(rows), CLASSES, dtype=torch.bool)
    for code, members in enumerate(rows):
        sets[0, code, members] = True
    return sets


def chances(*voxels):
    """(1, 3, n), one triple of probabilities a voxel."""
    return torch.tensor(voxels).T[None]


def test_pseudo_labels_by_hand():
    # Of the sets {1}, {0, 2} and any; 0.9 of what a set's classes have together makes one.
    sets = table([1], [0, 2], [0, 1, 2])
    codes = torch.tensor([[0, 1, 1, 2, 2]], dtype=torch.uint8)
    guessed, accepted = load().pseudo_labels(
        chances(
            (0.0, 1.0, 0.0),  # drawn: nothing to guess
            (0.02, 0.75, 0.23),  # sure of class 1, which it cannot be; 0.92 of the rest is 2
            (0.1, 0.6, 0.3),  # 0.75 of the rest is 2
            (0.95, 0.03, 0.02),
            (0.5, 0.3, 0.2),
        ),
        codes,
        sets,
    )
    assert accepted.tolist() == [[False, True, False, True, False]]
    assert guessed[0, [1, 3]].tolist() == [2, 0]


def test_a_set_without_any_chance_has_no_pseudo_label():
    _, accepted = load().pseudo_labels(
        chances((0.0, 1.0, 0.0)), torch.zeros(1, 1, dtype=torch.uint8), table([0, 2])
    )
    assert not accepted.any()


@given(seed=st.integers(0, 2**16), confidence=st.floats(0, 1))
@settings(max_examples=50, deadline=None)
def test_pseudo_labels_never_leave_the_label_set(seed, confidence):
    draw = torch.Generator().manual_seed(seed)
    sets = torch.rand(2, 4, CLASSES, generator=draw) < 0.5
    sets[..., 0] |= ~sets.any(dim=2)
    codes = torch.randint(0, 4, (2, 5, 5), generator=draw, dtype=torch.uint8)
    guesses = torch.randn(2, CLASSES, 5, 5, generator=draw).mul(4).softmax(dim=1)
    guessed, accepted = load(confidence=confidence).pseudo_labels(guesses, codes, sets)
    of_voxels = sets[torch.arange(2)[:, None, None], codes.long()]
    allowed = of_voxels.gather(3, guessed[..., None]).squeeze(3)
    assert allowed[accepted].all()
    assert (of_voxels.sum(dim=3)[accepted] > 1).all()


def test_what_a_step_costs_by_hand():
    # Uniform logits. Of four voxels one is drawn; the average is sure of two of the other three.
    method, logits = load(), torch.zeros(1, CLASSES, 4)
    sure = torch.tensor([[0.0, 0, 0], [9, 0, 0], [0, 9, 0], [1, 1, 1]]).T[None]
    codes, sets = torch.tensor([[0, 1, 1, 1]], dtype=torch.uint8), table([1], [0, 1, 2])
    found = method.training_loss(lambda *_, **__: (logits, sure), logits, codes, sets, 1.0)
    annotated = method.loss(logits, codes, sets)
    assert found.item() == pytest.approx(annotated.item() + 2 / 3 * math.log(3), abs=1e-6)
    assert method.notes["accepted"].item() == pytest.approx(2 / 3)
    early = method.training_loss(lambda *_, **__: (logits, sure), logits, codes, sets, 0.0)
    expected = annotated.item() + math.exp(-5) * 2 / 3 * math.log(3)
    assert early.item() == pytest.approx(expected, abs=1e-6)


def test_complete_labels_leave_nothing_to_guess():
    method, logits = load(), torch.randn(1, CLASSES, 4)
    codes, sets = torch.tensor([[0, 1, 2, 0]], dtype=torch.uint8), table([0], [1], [2])
    found = method.training_loss(lambda *_, **__: (logits, 9 * logits), logits, codes, sets, 1.0)
    torch.testing.assert_close(found, method.loss(logits, codes, sets))
    assert method.notes["accepted"] == 0


def test_the_weight_rises_to_one():
    weights = [load(rise=0.4).weight(done) for done in (0, 0.1, 0.2, 0.3, 0.4, 0.9)]
    assert weights == sorted(weights)
    assert weights[2] == pytest.approx(math.exp(-5 / 4))
    assert weights[4:] == [1, 1]
    assert load(rise=0).weight(0) == 1


@pytest.mark.parametrize("option", ["confidence", "decay", "rise"])
def test_an_option_is_a_share(option):
    with pytest.raises(InputError, match=f"pseudo_labels: {option} is 1.5; expected a share"):
        load(**{option: 1.5})


def small_network():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 3, padding=1), torch.nn.BatchNorm2d(2), torch.nn.Dropout(0.5)
    )


def test_the_average_follows_the_network():
    inner, images = small_network(), torch.randn(2, 1, 4, 4)
    network = Averaged(inner, decay=0.75)
    before = copy.deepcopy(inner.state_dict())
    with torch.no_grad():
        inner[0].weight += 4
        inner[1].running_mean += 8
        inner[1].num_batches_tracked += 5
    _, guess = network(images, averaged=True)
    # By hand: a network of three quarters of the old weights and a quarter of the new ones.
    expected = small_network()
    expected.load_state_dict(before)
    with torch.no_grad():
        expected[0].weight += 1
        expected[1].running_mean += 2
    torch.testing.assert_close(guess, expected.eval()(images))
    assert not guess.requires_grad
    assert network.get_buffer("average_1-num_batches_tracked") == 5
    assert inner.training
    assert inner[1].num_batches_tracked == 6  # the network's own pass; none of the average's


def test_the_average_predicts_and_the_network_learns():
    network, images = Averaged(small_network(), decay=0.9), torch.randn(2, 1, 4, 4)
    with torch.no_grad():
        network.network[0].weight += 1
    assert network(images).requires_grad
    network.eval()
    torch.testing.assert_close(network(images), small_network().eval()(images))
    parameters = dict(network.named_parameters())
    assert parameters.keys() == {f"network.{k}" for k, _ in network.network.named_parameters()}
    # What predicts is saved with the rest.
    other = Averaged(small_network(), decay=0.9)
    with torch.no_grad():
        other.network[0].weight -= 3
    other.load_state_dict(network.state_dict())
    torch.testing.assert_close(other.eval()(images), network(images))


def test_all_levels_learn_from_the_annotation_and_the_finest_from_guesses():
    torch.manual_seed(0)
    method = load(confidence=0)
    network = method.build(lambda out: networks.build("nnunet", 1, out, stages=4, width=4))
    images = torch.randn(2, 1, 16, 16)
    codes, sets = torch.zeros(2, 16, 16, dtype=torch.uint8), table([0, 1, 2]).expand(2, -1, -1)
    loss = method.training_loss(network, images, codes, sets, 1.0)
    loss.backward()
    assert method.notes["accepted"] == 1
    with torch.no_grad():
        logits = network.network(images)
        guessed = network.eval()(images).argmax(dim=1)
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(logits, guessed))
