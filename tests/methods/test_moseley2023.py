"""The arms of Moseley et al. (2023): Dice of a slice, presence of the organ, and both together."""

import math

import pytest
import torch

from piecemeal import methods, networks
from piecemeal.errors import InputError
from piecemeal.inference import ForwardPasses
from piecemeal.methods._sigmoid_dice import focal, presence

# Code 0: background, 1: liver, 2: either of them.
SETS = torch.tensor([[[True, False], [False, True], [True, True]]])
CODES = torch.tensor([[[0, 1], [1, 2]]])


def logit(chance: float) -> float:
    return math.log(chance / (1 - chance))


def test_dice_of_a_slice_by_hand():
    """Chances .5, .75 and .25 on the known voxels; the unknown one is left out."""
    chances = [[0.5, 0.75], [0.25, 0.99]]
    logits = torch.tensor([[[[logit(c) for c in row] for row in chances]]])
    loss = methods.load("u_net", 2).loss(logits, CODES, SETS)
    assert loss.item() == pytest.approx(1 - (2 * (0.75 + 0.25) + 1) / (1.5 + 2 + 1), abs=1e-6)


def test_a_slice_without_the_organ_pushes_the_mask_to_zero():
    logits = torch.zeros(1, 1, 2, 2)
    loss = methods.load("u_net", 2).loss(logits, torch.zeros(1, 2, 2, dtype=torch.long), SETS)
    assert loss.item() == pytest.approx(2 / 3)  # sum p = 2: 2 / (2 + 1)


def test_a_slice_of_which_nothing_is_known_gives_nothing_to_learn():
    logits = torch.zeros(1, 1, 2, 2, requires_grad=True)
    loss = methods.load("u_net", 2).loss(logits, torch.full((1, 2, 2), 2), SETS)
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


def test_half_is_the_threshold():
    chances = methods.load("u_net", 2).probabilities(torch.tensor([[[[-0.1, 0.1]]]]))
    assert chances.argmax(dim=1).flatten().tolist() == [0, 1]
    assert chances.sum(dim=1).allclose(torch.ones(1, 1, 2))


def test_of_two_structures_the_likelier_wins_and_the_background_where_both_are_unlikely():
    logits = torch.tensor([[[0.5, -0.5, 2.0]], [[1.0, -0.1, -3.0]]])[None]  # (1, 2, 1, 3)
    chances = methods.load("u_net", 3).probabilities(logits)
    assert chances.argmax(dim=1).flatten().tolist() == [2, 0, 1]


def test_presence_is_known_where_the_labels_leave_no_doubt():
    codes = torch.tensor([[[0, 1]], [[0, 0]], [[0, 2]], [[1, 2]]])
    target, known = presence(codes, SETS.expand(4, -1, -1))
    assert known.tolist() == [True, True, False, True]
    assert target[known].tolist() == [1, 0, 1]


def test_a_super_label_without_background_shows_presence():
    sets = torch.tensor([[[True, False, False], [False, True, True]]])
    target, known = presence(torch.tensor([[[0, 1]]]), sets)
    assert (target.item(), known.item()) == (1, True)


def test_focal_loss_by_hand():
    """Chances .8 for a positive, .3 for a negative; a third slice of which nothing is known."""
    logits = torch.tensor([logit(0.8), logit(0.3), 5.0])
    target, known = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([True, True, False])
    expected = -0.8 * 0.2**2 * math.log(0.8) - 0.2 * 0.3**2 * math.log(0.7)
    assert focal(logits, target, known, 0.8, 0.2, 2.0).item() == pytest.approx(expected / 2)
    assert focal(logits, target, ~known & False, 0.8, 0.2, 2.0).item() == 0


@pytest.fixture
def network():
    torch.manual_seed(0)
    return networks.build("cmu_unet", 1, 1, width=2)


@pytest.fixture
def batch():
    codes = torch.zeros(4, 64, 64, dtype=torch.long)
    codes[:2, 20:40, 20:40] = 1
    images = torch.randn(4, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    return images + 2 * codes[:, None], codes, SETS.expand(4, -1, -1)


def test_cmu_net_learns_both_at_once(network, batch):
    method = methods.load("cmu_net", 2)
    images, codes, sets = batch
    loss = method.training_loss(network, images, codes, sets, 0.0)
    logits, present = network.forward_with_presence(images)
    both = 0.5 * method.loss(logits, codes, sets)
    both += 0.5 * focal(present[:, 0], *presence(codes, sets), 0.8, 0.2, 2.0)
    assert loss.item() == pytest.approx(both.item(), abs=1e-6)
    loss.backward()
    assert all(p.grad is not None for p in network.parameters())


def test_pretraining_moves_the_encoder_only_and_then_the_classifier_rests(network, batch):
    method = methods.load("pretrained_u_net", 2)
    for done, resting in ((0.0, ("decoder", "segmentation")), (0.5, ("classifier",))):
        network.zero_grad()
        method.training_loss(network, *batch, done).backward()
        for name, parameter in network.named_parameters():
            assert (parameter.grad is None) == name.startswith(resting), (done, name)


@pytest.mark.parametrize("name", ["u_net", "pretrained_u_net", "cmu_net"])
def test_every_arm_learns_its_task(network, batch, name):
    method = methods.load(name, 2)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.03)
    losses = []
    for step in range(60):
        loss = method.training_loss(network, *batch, step / 60)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(method.loss(network(batch[0]), *batch[1:]).item())
    assert losses[-1] < 0.9 * losses[0]


def test_validations_count_once_the_mask_is_learned():
    assert methods.load("pretrained_u_net", 2, {"pretraining": 0.3}).watched_from == 0.3
    assert methods.load("cmu_net", 2).watched_from == 0
    with pytest.raises(InputError, match="pretraining is 1"):
        methods.load("pretrained_u_net", 2, {"pretraining": 1})


class FoundIn(torch.nn.Module):
    """Logit 1 everywhere, and presence as it is told for each slice."""

    def __init__(self, *presence: float):
        super().__init__()
        self.presence = torch.tensor(presence)[:, None]

    def forward(self, images: torch.Tensor, output: str = "segmentation"):
        logits = torch.ones_like(images)
        return (logits, self.presence) if output == "both" else logits


def test_gated_slices_are_empty_where_the_organ_is_found_absent():
    network, images = FoundIn(-0.1, 0.0, 3.0), torch.zeros(3, 1, 2, 2)
    chances = methods.load("cmu_net", 2, {"gated": True}).read_out(network, images)
    plain = methods.load("cmu_net", 2).read_out(network, images)
    assert chances[0, 0].eq(1).all()
    assert not chances[0, 1].any()
    assert torch.equal(chances[1:], plain[1:])
    assert plain[0, 1].gt(0.5).all()


def test_a_gated_prediction_takes_one_pass():
    network = networks.build("cmu_unet", 1, 1, width=2)
    with torch.no_grad(), ForwardPasses(network) as passes:
        methods.load("cmu_net", 2, {"gated": True}).read_out(network, torch.rand(3, 1, 32, 32))
    assert passes.count == 3
