"""The target adaptive loss, and the two phases of PIPO-FAN (a baseline of Li et al. 2023)."""

import math

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from piecemeal import losses, methods, networks
from piecemeal.errors import InputError
from piecemeal.methods._target_adaptive import target_adaptive_loss, voxel_weights

# Code 0: the liver; 1: background, kidney or spleen; 2: nothing known. A row of padding.
LIVER = torch.tensor([[0, 1, 0, 0], [1, 0, 1, 1], [1, 1, 1, 1], [0, 0, 0, 0]]).bool()


def random_batch(seed: int, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(2, 4, 5, 6, generator=generator, dtype=dtype)
    codes = torch.randint(3, (2, 5, 6), generator=generator, dtype=torch.uint8)
    return logits, codes, LIVER.expand(2, -1, -1)


def test_weights_by_hand():
    found = voxel_weights(torch.tensor([[0, 1, 2, 1]]), LIVER[None], 0.2, 1.2)
    torch.testing.assert_close(found, torch.tensor([[1.2, 0.2, 0.0, 0.2]]))


def test_weighted_mean_by_hand():
    """q is (.1, .6, .2, .1) everywhere: .6 for the liver, .4 for the rest."""
    logits = torch.tensor([0.1, 0.6, 0.2, 0.1]).log().view(1, 4, 1).expand(1, 4, 4)
    found = target_adaptive_loss(logits, torch.tensor([[0, 1, 2, 1]]), LIVER[None], 0.2, 1.2)
    expected = (-1.2 * math.log(0.6) - 2 * 0.2 * math.log(0.4)) / 1.6
    assert found.item() == pytest.approx(expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_with_weights_of_1_it_is_marginal_cross_entropy(dtype):
    batch = random_batch(1, dtype)
    plain = losses.marginal_cross_entropy(*batch, reduction="known_mean")
    torch.testing.assert_close(target_adaptive_loss(*batch), plain)


def test_with_complete_labels_it_is_weighted_cross_entropy():
    logits, codes, _ = random_batch(2)
    each = torch.eye(4, dtype=torch.bool).expand(2, -1, -1)
    weights = torch.tensor([0.2, 1.2, 1.2, 1.2])
    torch.testing.assert_close(
        target_adaptive_loss(logits, codes, each, 0.2, 1.2),
        F.cross_entropy(logits, codes.long(), weight=weights),
    )


def test_only_the_ratio_of_the_weights_counts():
    batch = random_batch(3)
    torch.testing.assert_close(
        target_adaptive_loss(*batch, 0.2, 1.2), target_adaptive_loss(*batch, 2, 12)
    )


def test_without_information_there_is_nothing_to_learn():
    logits = torch.randn(1, 4, 3, requires_grad=True)
    loss = target_adaptive_loss(logits, torch.full((1, 3), 2), LIVER[None], 0.2, 1.2)
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


@pytest.fixture
def network():
    torch.manual_seed(0)
    return networks.build("pipo_fan", 3, 4, width=2)


@pytest.fixture
def batch():
    """A bright liver in noise."""
    codes = torch.ones(4, 32, 32, dtype=torch.long)
    codes[:, 8:22, 10:26] = 0
    noise = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    return 0.3 * noise + (codes == 0)[:, None], codes, LIVER.expand(4, -1, -1)


def test_first_phase_supervises_the_pyramid_and_leaves_the_attention_alone(network, batch):
    method, (images, codes, sets) = methods.load("pipo_fan", 4), batch
    loss = method.training_loss(network, images, codes, sets, 0.49)
    maps = network.pyramid(images)
    assert len(maps) == 5
    expected = sum(losses.marginal_cross_entropy(logits, codes, sets) for logits in maps)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    for name, parameter in network.named_parameters():
        assert (parameter.grad is None) == name.startswith("weigh"), name


def test_second_phase_trains_all_of_it_for_the_fused_logits(network, batch):
    method, (images, codes, sets) = methods.load("pipo_fan", 4), batch
    loss = method.training_loss(network, images, codes, sets, 0.5)
    torch.testing.assert_close(loss, losses.marginal_cross_entropy(network(images), codes, sets))
    loss.backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_validations_count_from_the_second_phase_on():
    assert methods.load("pipo_fan", 4, {"pyramid": 0.3}).watched_from == 0.3
    with pytest.raises(InputError, match=r"pyramid is 1; expected a share from 0 to below 1"):
        methods.load("pipo_fan", 4, {"pyramid": 1})


def test_learns_the_liver_in_both_phases(network, batch):
    method = methods.load("pipo_fan", 4)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    seen = []
    for step in range(40):
        loss = method.training_loss(network, *batch, step / 40)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        seen.append(loss.item())
    assert seen[19] < 0.7 * seen[0]
    assert seen[39] < 0.7 * seen[20]
    liver = method.probabilities(network(batch[0]))[:, 1] > 0.5
    assert (liver == (batch[1] == 0)).float().mean() > 0.95
