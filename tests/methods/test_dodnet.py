"""DoDNet as a method: which structures a sample teaches, their loss, and what is predicted."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from piecemeal import methods, networks
from piecemeal.errors import InputError
from piecemeal.methods._tasks import answerable, of_structures

# Background, liver, kidney, spleen.
COMPLETE = [[0], [1], [2], [3]]
LIVER = [[0, 2, 3], [1]]
NOTHING = [[0, 1, 2, 3]]
MERGED = [[0], [1, 2], [3]]

TABLES = arrays.arrays(bool, (3, 4, 3))


def tables(*samples: list[list[int]], classes: int = 4) -> torch.Tensor:
    """(B, K, C) of samples that list the classes of each of their sets, padded."""
    sets = torch.zeros(len(samples), max(map(len, samples)), classes, dtype=torch.bool)
    for sample, rows in zip(sets, samples, strict=True):
        for row, members in zip(sample, rows, strict=False):
            row[members] = True
    return sets


def logit(chance: float) -> float:
    return math.log(chance / (1 - chance))


@pytest.mark.parametrize(
    ("table", "structures"),
    [
        (COMPLETE, [True, True, True]),
        (LIVER, [True, False, False]),
        (LIVER + NOTHING, [True, False, False]),  # where a slice was not annotated, say
        (NOTHING, [False, False, False]),
        (MERGED, [False, False, True]),
        ([[0]], [False, False, False]),
        # The liver was drawn in some regions and merged in others: there it is not known.
        ([[0], [1], [2], [1, 2]], [False, False, False]),
        ([[0, 1, 2], [3]], [False, False, True]),
    ],
)
def test_what_a_sample_teaches(table, structures):
    assert answerable(tables(table)).tolist() == [structures]


def test_padding_does_not_matter():
    assert answerable(tables(LIVER, COMPLETE, NOTHING)).tolist() == [
        [True, False, False],
        [True, True, True],
        [False, False, False],
    ]


@given(TABLES)
def test_a_sample_that_teaches_a_structure_knows_it_everywhere_it_knows_anything(table):
    for taught, sets in zip(answerable(torch.from_numpy(table)), table, strict=True):
        informative = [row for row in sets if row.any() and not row.all()]
        for structure, found in enumerate(taught.tolist(), start=1):
            only = [row.sum() == 1 and row[structure] for row in informative]
            assert found == (
                any(only)
                and all(o or not row[structure] for o, row in zip(only, informative, strict=True))
            )


def test_drawn_and_known_by_hand():
    sets = tables([[0, 2, 3], [1], [0, 1, 2, 3]])
    drawn, known = of_structures(torch.tensor([[0, 1, 2]]), sets)
    assert drawn[0].tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 0]]
    assert known[0].tolist() == [[1, 1, 0], [0, 1, 0], [0, 1, 0]]


def test_loss_by_hand():
    """A sample that teaches two structures, with an unknown voxel, and one that teaches one."""
    sets = tables([[0], [1], [2], [0, 1, 2]], [[0, 2], [1]], classes=3)
    codes = torch.tensor([[0, 1, 2, 3], [0, 1, 1, 0]])
    chances = [
        [[0.2, 0.5, 0.4, 0.9], [0.5, 0.5, 0.8, 0.9]],
        [[0.1, 0.7, 0.6, 0.3], [0.9, 0.9, 0.9, 0.9]],
    ]
    logits = torch.tensor([[[logit(c) for c in row] for row in sample] for sample in chances])
    pairs = [
        1 - 2 * 0.5 / (1.1 + 1 + 1) - (math.log(0.8) + math.log(0.5) + math.log(0.6)) / 3,
        1 - 2 * 0.8 / (1.8 + 1 + 1) - (math.log(0.5) + math.log(0.5) + math.log(0.8)) / 3,
        1 - 2 * 1.3 / (1.7 + 2 + 1) - math.log(0.9 * 0.7 * 0.6 * 0.7) / 4,
    ]
    loss = methods.load("dodnet", 3).loss(logits, codes, sets)
    assert loss.item() == pytest.approx(sum(pairs) / 3, abs=1e-6)


def test_of_a_window_without_the_structure_the_dice_teaches_nothing():
    """An erratum of the released code, kept: its smoothing is in the denominator alone."""
    method, codes = methods.load("dodnet", 2), torch.zeros(1, 2, 2, dtype=torch.long)
    logits = torch.randn(1, 1, 2, 2, requires_grad=True)
    loss = method.loss(logits, codes, tables([[0], [1]], classes=2))
    entropy = torch.nn.functional.softplus(logits).mean()
    assert loss.item() == pytest.approx(1 + entropy.item())
    (found,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(found, torch.autograd.grad(entropy, logits)[0])


@given(TABLES, st.integers(0, 99))
def test_a_structure_that_a_sample_does_not_teach_gets_no_gradient(table, seed):
    sets = torch.from_numpy(table)
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, 2, 5, generator=generator).requires_grad_()
    # Every other voxel at the first set that says of a structure that it is there.
    drawn = (sets & (sets.sum(2, keepdim=True) == 1))[:, :, 1:].any(2).int().argmax(1)
    codes = torch.randint(0, 4, (3, 5), generator=generator)
    codes[:, ::2] = drawn[:, None]
    loss = methods.load("dodnet", 3).loss(logits, codes, sets)
    loss.backward()
    assert torch.equal(logits.grad.ne(0).any(dim=2), answerable(sets))
    assert answerable(sets).any() or loss.item() == 0


def test_without_anything_to_teach_the_loss_is_zero_and_so_is_its_gradient():
    logits = torch.randn(2, 3, 4, requires_grad=True)
    codes = torch.zeros(2, 4, dtype=torch.long)
    loss = methods.load("dodnet", 4).loss(logits, codes, tables(NOTHING, [[0, 1], [2, 3]]))
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


def test_the_likeliest_structure_wins_and_the_background_where_none_reaches_a_half():
    method = methods.load("dodnet", 3)
    logits = torch.tensor([[[0.5, -0.5, 2.0]], [[1.0, -0.1, -3.0]]])[None]  # (1, 2, 1, 3)
    found = method.probabilities(logits)
    assert found.argmax(dim=1).flatten().tolist() == [2, 0, 1]
    assert torch.equal(found, method.merge([logits[:, :1], logits[:, 1:]]))


def network(method, dimensions: int = 3, width: int = 2) -> torch.nn.Module:
    torch.manual_seed(0)
    options = {"width": width, "dimensions": dimensions}
    return method.build(lambda n, **told: networks.build("dodnet", 1, n, **options, **told))


def test_a_network_has_a_logit_for_every_structure():
    method = methods.load("dodnet", 4)
    assert network(method)(torch.zeros(2, 1, 16, 16, 32)).shape == (2, 3, 16, 16, 32)
    settings = {"network": "dodnet", "network_options": {"tasks": 7}, "implementation": "dodnet"}
    with pytest.raises(InputError, match=r"network\.options .* give \['tasks'\]"):
        methods.build_network(settings, method, 1)


def test_the_whole_network_for_every_task_predicts_the_same():
    once, anew = (methods.load("dodnet", 4) for _ in range(2))
    assert once.one_pass
    anew.one_pass = False
    built, images = network(once).eval(), torch.randn(2, 1, 16, 16, 16)
    with torch.inference_mode():
        assert torch.equal(once.read_out(built, images), anew.read_out(built, images))


def test_learns_two_structures_that_were_never_drawn_together():
    """New noise in every step: an image that was seen before would give its task away."""
    method = methods.load("dodnet", 3)
    built = network(method, dimensions=2, width=4)
    labels = torch.zeros(4, 32, 32, dtype=torch.long)
    labels[:, 2:16, 4:18], labels[:, 18:30, 8:28] = 1, 2
    # The first two samples know of structure 1 alone, the others of structure 2.
    sets = tables(*[[[0, 2], [1]]] * 2, *[[[0, 1], [2]]] * 2, classes=3)
    codes = torch.cat([labels[:2] == 1, labels[2:] == 2]).long()
    torch.manual_seed(1)

    def images() -> torch.Tensor:
        return (torch.tensor([0.0, 2.0, -2.0])[labels] + 0.2 * torch.randn(4, 32, 32))[:, None]

    optimiser = torch.optim.Adam(built.parameters(), lr=0.02)
    for step in range(100):
        loss = method.training_loss(built, images(), codes, sets, step / 100)
        optimiser.zero_grad()
        loss.backward()
        assert all(p.grad is not None for p in built.parameters())
        optimiser.step()
    with torch.inference_mode():
        found = method.read_out(built.eval(), images()).argmax(dim=1)
    assert (found == labels).float().mean() > 0.95
