"""Self-disambiguation's losses: against those of piecemeal.losses, and by hand where slices are."""

import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st

from piecemeal import set_softmax
from piecemeal.ambiguity import ambiguity_terms
from piecemeal.errors import InputError
from piecemeal.losses import (
    entropy,
    focal_marginal_cross_entropy,
    marginal_cross_entropy,
    marginal_dice,
)

relaxed = settings(max_examples=15)
ALL = (0, 1, 2, 3)


def table(*rows, classes=4):
    """Set table (1, K, C) of one scan from rows of class ids."""
    sets = torch.zeros(1, len(rows), classes, dtype=torch.bool)
    for k, row in enumerate(rows):
        sets[0, k, list(row)] = True
    return sets


def logits_of(chances):
    """Logits (1, C, *space), float64, of chances (*space, C)."""
    return torch.tensor(chances, dtype=torch.float64).log().movedim(-1, 0)[None]


def total(*arguments, **options):
    terms = ambiguity_terms(*arguments, **options)
    return (terms.cross_entropy + terms.dice + 3 * terms.entropy).sum()


def gradient(loss, logits):
    logits = logits.detach().clone().requires_grad_()
    return torch.autograd.grad(loss(logits), logits)[0]


@st.composite
def partial_labels(draw, padded=False, least_sides=1):
    """Logits, codes and tables of one background set, structures, and the set of every class."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    sides = st.lists(st.integers(1, 4), min_size=max(2, least_sides), max_size=3)
    batch, classes, space = draw(st.integers(1, 3)), draw(st.integers(3, 6)), draw(sides)
    drawn = draw(st.integers(1, classes - 1))
    rows = [[0, *range(drawn + 1, classes)], *([c] for c in range(1, drawn + 1)), range(classes)]
    sets = table(*rows, classes=classes).expand(batch, -1, -1)
    logits = 2 * torch.randn(batch, classes, *space, generator=generator, dtype=torch.float64)
    codes = torch.randint(0, len(rows) - (not padded), (batch, *space), generator=generator)
    return logits, codes.byte(), sets


def one_by_one(logits, codes, sets, gamma=2.0, **options):
    """The terms of each sample by the losses for any method."""
    known = (~sets.all(2)).gather(1, codes.flatten(1).long()).view(codes.shape)
    found = [
        (
            focal_marginal_cross_entropy(*sample, gamma=gamma, reduction="known_mean"),
            marginal_dice(*sample, **options),
            entropy(*sample, mask=inside),
        )
        for *sample, inside in zip(
            *(part.split(1) for part in (logits, codes, sets, known)), strict=True
        )
    ]
    return [torch.stack(values) for values in zip(*found, strict=True)]


# ---- volumes ----


@relaxed
@given(
    partial_labels(padded=True), st.sampled_from([0.0, 0.5, 1.0, 2.0]), st.booleans(), st.booleans()
)
def test_volumes_are_those_of_the_losses_for_any_method(problem, gamma, present_only, told):
    logits, codes, sets = problem
    views = torch.full((len(logits),), -1) if told else None

    def ours(logits):
        options = {"gamma": gamma, "present_only": present_only}
        return ambiguity_terms(logits, codes, sets, views, **options)[:3]

    def theirs(logits):
        return one_by_one(logits, codes, sets, gamma, present_only=present_only)

    for place in range(3):
        torch.testing.assert_close(ours(logits)[place], theirs(logits)[place])
        ours_at, theirs_at = (
            gradient(lambda z, terms=terms, at=place: terms(z)[at].sum(), logits)
            for terms in (ours, theirs)
        )
        torch.testing.assert_close(ours_at, theirs_at)


@relaxed
@given(partial_labels())
def test_without_gamma_it_is_the_marginal_cross_entropy(problem):
    terms = ambiguity_terms(*problem, gamma=0)
    torch.testing.assert_close(terms.cross_entropy.mean(), marginal_cross_entropy(*problem))


def test_complete_labels_give_plain_cross_entropy_and_soft_dice():
    logits = torch.randn(2, 4, 3, 5, dtype=torch.float64)
    labels = torch.randint(0, 4, (2, 3, 5))
    terms = ambiguity_terms(logits, labels, table(*([c] for c in ALL)).expand(2, -1, -1), gamma=0)
    torch.testing.assert_close(terms.cross_entropy.mean(), F.cross_entropy(logits, labels))
    chances, target = logits.softmax(1), F.one_hot(labels, 4).movedim(-1, 1)
    dice = (2 * (chances * target).sum((2, 3)) + 1) / ((chances + target).sum((2, 3)) + 1)
    torch.testing.assert_close(terms.dice, 1 - dice.mean(1))


@relaxed
@given(partial_labels(padded=True), st.integers(-1, 1))
def test_gradients_sum_to_zero_over_classes(problem, axis):
    logits, codes, sets = problem
    views = torch.full((len(logits),), axis)
    found = gradient(lambda z: total(z, codes, sets, views), logits)
    torch.testing.assert_close(found.sum(1), torch.zeros_like(found[:, 0]), atol=1e-12, rtol=0)


@pytest.mark.parametrize("axis", [-1, 0, 1, 2])
@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_gradcheck(axis, gamma):
    torch.manual_seed(1)
    logits = torch.randn(1, 4, 2, 3, 2, dtype=torch.float64, requires_grad=True)
    codes, sets = torch.randint(0, 4, (1, 2, 3, 2)), table([0, 3], [1], [2], ALL)
    views = torch.tensor([axis])
    assert torch.autograd.gradcheck(lambda z: total(z, codes, sets, views, gamma=gamma), logits)


def test_classes_of_a_set_can_change_places():
    logits, codes = torch.randn(1, 4, 3, 3), torch.randint(0, 3, (1, 3, 3))
    sets = table([0, 3], [1], [2])
    found = (ambiguity_terms(z, codes, sets) for z in (logits, logits[:, [3, 1, 2, 0]]))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_padding_has_no_part_in_a_volume():
    logits, codes = torch.randn(1, 4, 4, 3), torch.randint(0, 3, (1, 4, 3))
    sets = table([0, 3], [1], [2], ALL)
    codes[:, 2:] = 3
    inside = ambiguity_terms(logits[:, :, :2], codes[:, :2], sets)
    for one, other in zip(ambiguity_terms(logits, codes, sets), inside, strict=True):
        torch.testing.assert_close(one, other)
    found = gradient(lambda z: total(z, codes, sets), logits)
    assert not found[:, :, 2:].any()
    assert found[:, :, :2].any()


def test_of_an_unlabelled_scan_there_is_the_entropy_of_every_voxel():
    logits, codes = torch.randn(1, 4, 4, 3), torch.zeros(1, 4, 3, dtype=torch.uint8)
    sets = table(ALL, [])
    terms = ambiguity_terms(logits, codes, sets)
    assert (terms.cross_entropy, terms.dice) == (0, 0)
    torch.testing.assert_close(terms.entropy, entropy(logits, codes, sets)[None])
    assert not terms.foreground
    of_labels = gradient(lambda z: sum(ambiguity_terms(z, codes, sets)[:2]).sum(), logits)
    assert not of_labels.any()


@pytest.mark.parametrize("axis", [-1, 0])
def test_a_patch_of_a_labelled_scan_that_is_all_padding_is_worth_nothing(axis):
    logits, codes = torch.randn(1, 4, 4, 3), torch.full((1, 4, 3), 2)
    terms = ambiguity_terms(logits, codes, table([0, 2, 3], [1], ALL), torch.tensor([axis]))
    assert (terms.cross_entropy, terms.dice) == (0, 0)
    # Between slices that were drawn on, it is one that was not.
    assert (terms.entropy > 0) == (axis == 0)


@pytest.mark.parametrize("axis", [-1, 0, 1])
@pytest.mark.parametrize("known", [[0, 3], ALL], ids=["labelled", "unlabelled"])
def test_what_lies_outside_a_scan_has_no_part_in_anything(axis, known):
    sets, codes = table(known, [1], [2], []), torch.randint(0, 3, (1, 4, 3))
    codes[:, 2:], codes[:, :, 2:] = 3, 3
    logits, views = torch.randn(1, 4, 4, 3), torch.tensor([axis])
    inside = ambiguity_terms(logits[:, :, :2, :2], codes[:, :2, :2], sets, views)
    for one, other in zip(ambiguity_terms(logits, codes, sets, views), inside, strict=True):
        torch.testing.assert_close(one, other)
    found = gradient(lambda z: sum(ambiguity_terms(z, codes, sets, views)[:3]).sum(), logits)
    assert not found[:, :, 2:].any()
    assert not found[:, :, :, 2:].any()
    assert found[:, :, :2, :2].any()


@pytest.mark.parametrize(
    ("codes", "shows"), [([[0, 0]], False), ([[0, 1]], True), ([[0, 2]], False), ([[2, 2]], False)]
)
def test_foreground_is_a_voxel_that_is_annotated_as_a_structure(codes, shows):
    sets = table([0, 2, 3], [1], ALL)
    terms = ambiguity_terms(torch.zeros(1, 4, 1, 2), torch.tensor([codes]), sets)
    assert terms.foreground.tolist() == [shows]


# ---- slices ----


@relaxed
@given(partial_labels(), st.integers(0, 2), st.booleans())
def test_slices_that_are_all_annotated_are_worth_their_mean(problem, axis, present_only):
    logits, codes, sets = problem
    axis %= codes.ndim - 1
    options = {"present_only": present_only}
    found = ambiguity_terms(logits, codes, sets, torch.full((len(logits),), axis), **options)
    slices = [
        ambiguity_terms(logits.select(axis + 2, k), codes.select(axis + 1, k), sets, **options)
        for k in range(codes.shape[axis + 1])
    ]
    for one, many in zip(found[:3], zip(*(s[:3] for s in slices), strict=True), strict=True):
        torch.testing.assert_close(one, torch.stack(many).mean(0))


def test_samples_keep_to_their_own_views():
    logits, codes = torch.randn(4, 4, 3, 3, 3), torch.randint(0, 4, (4, 3, 3, 3))
    sets = table([0, 3], [1], [2], ALL).expand(4, -1, -1)
    views = torch.tensor([-1, 0, 1, 2], dtype=torch.int8)
    together = ambiguity_terms(logits, codes, sets, views)
    for b, view in enumerate(views):
        alone = ambiguity_terms(logits[b : b + 1], codes[b : b + 1], sets[:1], view[None])
        for one, other in zip(together, alone, strict=True):
            torch.testing.assert_close(one[b : b + 1], other)


# Three slices of two voxels. The first shows class 1, what else there is may be 2 or 3; nothing is
# known of the second; the third shows class 2, and its background may be 1 or 3.
SETS = table([0, 2, 3], [1], ALL, [0, 1, 3], [2])
CODES = torch.tensor([[[0, 1], [2, 2], [3, 4]]])
CHANCES = [
    [[0.4, 0.2, 0.3, 0.1], [0.1, 0.6, 0.2, 0.1]],
    [[0.1, 0.1, 0.4, 0.4], [0.25, 0.25, 0.25, 0.25]],
    [[0.2, 0.1, 0.5, 0.2], [0.1, 0.1, 0.7, 0.1]],
]
ACROSS = torch.tensor([0])


def test_slices_by_hand():
    logits = logits_of(CHANCES)
    terms = ambiguity_terms(logits, CODES, SETS, ACROSS)
    known = [0.8, 0.6, 0.5, 0.7]
    focal = [-((1 - q) ** 2) * math.log(q) for q in known]
    assert terms.cross_entropy.item() == pytest.approx(sum(focal) / 4)
    # Of either slice the background and the one structure that was drawn: none is of another.
    first = (2 * 0.8 + 1) / (0.8 + 0.4 + 1 + 1), (2 * 0.6 + 1) / (0.2 + 0.6 + 1 + 1)
    third = (2 * 0.5 + 1) / (0.5 + 0.3 + 1 + 1), (2 * 0.7 + 1) / (0.5 + 0.7 + 1 + 1)
    assert terms.dice.item() == pytest.approx(1 - (sum(first) + sum(third)) / 4)
    values = [-sum(p * math.log(p) for p in voxel) for row in CHANCES for voxel in row]
    assert terms.entropy.item() == pytest.approx(sum(values) / 6)


def test_the_erratum_of_slices_by_hand():
    """All classes for the merged background: a constant, from which nothing is learned."""
    logits = logits_of(CHANCES)
    terms = ambiguity_terms(logits, CODES, SETS, ACROSS, whole_background=True)
    background = (2 * 1 + 1) / (2 + 1 + 1)
    structures = (2 * 0.6 + 1) / (0.8 + 1 + 1), (2 * 0.7 + 1) / (1.2 + 1 + 1)
    assert terms.dice.item() == pytest.approx(1 - (2 * background + sum(structures)) / 4)
    as_volume = (
        ambiguity_terms(logits, CODES, SETS, whole_background=whole) for whole in (False, True)
    )
    assert next(as_volume).dice == next(as_volume).dice


def test_a_structure_that_a_slice_does_not_show_has_a_dice_where_it_was_looked_for():
    """Declared: structures 1 and 2 were looked for in all annotated slices."""
    sets, codes = table([0, 3], [1], [2], ALL), torch.tensor([[[0, 1], [3, 3], [0, 0]]])
    logits = logits_of(CHANCES)
    first = (2 * 0.5 + 1) / (0.5 + 0.2 + 2), (2 * 0.6 + 1) / (0.8 + 2), 1 / (0.3 + 0.2 + 1)
    third = (2 * 0.6 + 1) / (0.6 + 2 + 1), 1 / (0.1 + 0.1 + 1), 1 / (0.5 + 0.7 + 1)
    found = ambiguity_terms(logits, codes, sets, ACROSS).dice.item()
    assert found == pytest.approx(1 - (sum(first) + sum(third)) / 6)
    present = ambiguity_terms(logits, codes, sets, ACROSS, present_only=True).dice.item()
    assert present == pytest.approx(1 - (sum(first[:2]) / 2 + third[0]) / 2)
    # Of the slice without a structure nothing is learned then.
    skipped = ambiguity_terms(logits, codes, sets, ACROSS, skip_empty=True)
    assert skipped.dice.item() == pytest.approx(1 - sum(first) / 3)
    alone = ambiguity_terms(logits[:, :, :1], codes[:, :1], sets)
    torch.testing.assert_close(skipped.cross_entropy, alone.cross_entropy)
    as_volume = (ambiguity_terms(logits, codes, sets, skip_empty=s) for s in (False, True))
    assert next(as_volume).dice == next(as_volume).dice


def test_a_volume_has_no_dice_of_background_sets_that_it_does_not_show():
    logits = logits_of(CHANCES)
    shown = ambiguity_terms(logits[:, :, :2], CODES[:, :2], SETS).dice.item()
    both = (2 * 0.8 + 1) / (0.8 + 0.4 + 2), (2 * 0.6 + 1) / (0.2 + 0.6 + 2)
    assert shown == pytest.approx(1 - sum(both) / 2)


def test_padding_around_an_annotated_slice_has_no_part_in_it():
    sets, codes = table([0, 3], [1], [2], ALL), torch.tensor([[[0, 1, 3], [3, 3, 3]]])
    logits = torch.randn(1, 4, 2, 3)
    padded = ambiguity_terms(logits, codes, sets, ACROSS)
    alone = ambiguity_terms(logits[:, :, :1, :2], codes[:, :1, :2], sets)
    torch.testing.assert_close(padded.cross_entropy, alone.cross_entropy)
    torch.testing.assert_close(padded.dice, alone.dice)


# ---- numbers ----


@pytest.mark.parametrize("axis", [-1, 0, 1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale", [1, 100])
def test_large_logits_match_float64(axis, dtype, scale):
    torch.manual_seed(3)
    logits = (scale * torch.randn(2, 4, 3, 4, 3).clamp(-1, 1)).to(dtype)
    codes = torch.randint(0, 4, (2, 3, 4, 3))
    sets, views = table([0, 3], [1], [2], ALL).expand(2, -1, -1), torch.full((2,), axis)
    ours, exact = (total(z, codes, sets, views) for z in (logits, logits.double()))
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours.double(), exact, rtol=1e-5, atol=1e-6)
    found, wanted = (
        gradient(lambda z: total(z, codes, sets, views), z) for z in (logits, logits.double())
    )
    assert found.dtype == dtype
    close = {"rtol": 1e-4, "atol": 1e-6} if dtype == torch.float32 else {"rtol": 1e-2, "atol": 1e-5}
    torch.testing.assert_close(found.double(), wanted, **close)


@pytest.mark.parametrize("gap", [70.0, 200.0, 1e4])
def test_a_hopeless_voxel_still_gets_its_full_gradient(gap):
    logits = torch.tensor([[[[0.0, 1.0]], [[gap, 0.0]], [[0.0, 0.0]]]])
    sets, codes = table([0, 2], [1], classes=3), torch.zeros(1, 1, 2, dtype=torch.long)
    found = gradient(lambda z: ambiguity_terms(z, codes, sets).cross_entropy.sum(), logits)
    torch.testing.assert_close(found[0, :, 0, 0], torch.tensor([-0.25, 0.5, -0.25]))
    assert found.isfinite().all()


@pytest.mark.parametrize("axis", [-1, 0, 1, 2])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
def test_the_pieces_in_which_it_is_worked_out_do_not_matter(monkeypatch, axis, layout):
    logits = torch.randn(2, 4, 5, 3, 4).to(memory_format=layout)
    codes = torch.randint(0, 4, (2, 5, 3, 4))
    sets, views = table([0, 3], [1], [2], ALL).expand(2, -1, -1), torch.full((2,), axis)

    def both():
        return total(logits, codes, sets, views), gradient(
            lambda z: total(z, codes, sets, views), logits
        )

    whole = both()
    monkeypatch.setitem(set_softmax.VOXELS, "cpu", 24)  # two slices at a time, then one
    torch.testing.assert_close(both(), whole)


def test_autocast_does_not_lower_the_precision():
    logits, codes = torch.randn(1, 4, 3, 4), torch.randint(0, 3, (1, 3, 4))
    sets = table([0, 3], [1], [2])
    plain = gradient(lambda z: total(z, codes, sets), logits)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(gradient(lambda z: total(z, codes, sets), logits), plain)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ({"codes": (1, 3, 3)}, {}, "do not fit"),
        ({"sets": (1, 2, 5)}, {}, "do not fit"),
        ({"sets": (1, 0, 4)}, {}, "codes from 0 to 0, expected rows"),
        ({}, {"gamma": float("nan")}, "gamma: nan given"),
        ({}, {"gamma": -1}, "gamma: -1 given"),
        ({}, {"smooth": 0}, "smooth: 0 given"),
        ({}, {"views": torch.tensor([2])}, r"views: \[2\] given .* 0 to 1, or -1"),
        ({}, {"views": torch.tensor([0, 0])}, r"views: \[0, 0\] given"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, options, message):
    shapes = {"logits": (1, 4, 3, 4), "codes": (1, 3, 4), "sets": (1, 2, 4)} | arguments
    tensors = [torch.zeros(shapes["logits"]), torch.zeros(shapes["codes"], dtype=torch.uint8)]
    with pytest.raises(InputError, match=message):
        ambiguity_terms(*tensors, torch.ones(shapes["sets"], dtype=torch.bool), **options)
