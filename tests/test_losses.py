import math
from functools import partial as bind

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st

from piecemeal import annotations, set_softmax
from piecemeal.errors import InputError
from piecemeal.losses import (
    entropy,
    focal_marginal_cross_entropy,
    leaf_dice,
    log_set_probability,
    marginal_cross_entropy,
    marginal_dice,
    naive_cross_entropy,
)

PER_VOXEL = [marginal_cross_entropy, naive_cross_entropy, focal_marginal_cross_entropy]
DICE = [marginal_dice, leaf_dice]
LABELLED = PER_VOXEL + DICE  # all that need labels
LOSSES = [*LABELLED, entropy]
REDUCTIONS = ["mean", "known_mean", "sum", "none"]

relaxed = settings(max_examples=40)


@pytest.fixture(params=[False, True], ids=["on a CPU", "as on a GPU"], autouse=True, scope="module")
def far_down(request):
    """Whether log q_A is always worked out as where it is far from 0, as GPUs do it."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param:
            patch.setattr(set_softmax, "_far_down", lambda _: True)
        yield


def table(*rows, classes):
    """Set table (1, K, C) of one scan from rows of class ids."""
    sets = torch.zeros(1, len(rows), classes, dtype=torch.bool)
    for k, row in enumerate(rows):
        sets[0, k, list(row)] = True
    return sets


def batch(annotation):
    """Codes (1, *space) and sets (1, K, C) of one annotation."""
    return torch.from_numpy(annotation.codes)[None], torch.from_numpy(annotation.sets)[None]


def logits_of(*voxels, dtype=torch.float64):
    """Logits (1, C, V, 1) whose softmax is the given distributions, one a voxel."""
    return torch.tensor(voxels, dtype=dtype).log().T[None, :, :, None]


def gradient(loss, logits, *arguments, **options):
    logits = logits.detach().clone().requires_grad_()
    value = loss(logits, *arguments, **options)
    return torch.autograd.grad(value.sum(), logits)[0]


def volume(draw, scale):
    """Random generator and logits (B, C, *space) in 2D or 3D."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    shape = draw(st.lists(st.integers(1, 4), min_size=2, max_size=3))
    size = (draw(st.integers(1, 3)), draw(st.integers(2, 5)), *shape)
    return generator, scale * torch.randn(size, generator=generator, dtype=torch.float64)


@st.composite
def problems(draw):
    """Logits, codes and arbitrary non-empty sets."""
    generator, logits = volume(draw, draw(st.sampled_from([1.0, 5.0])))
    batches, classes, *space = logits.shape
    rows = draw(st.integers(1, 5))
    sets = torch.rand(batches, rows, classes, generator=generator) < 0.5
    certain = torch.randint(0, classes, (batches, rows, 1), generator=generator)
    sets.scatter_(2, certain, True)
    codes = torch.randint(0, rows, (batches, *space), generator=generator)
    return logits, codes, sets


@st.composite
def labelled_volumes(draw):
    """Logits and complete labels (B, *space)."""
    generator, logits = volume(draw, 2.0)
    batches, classes, *space = logits.shape
    return logits, torch.randint(0, classes, (batches, *space), generator=generator)


def annotate(labels, simulation, *arguments):
    return batch_of([simulation(scan.numpy(), *arguments) for scan in labels])


def batch_of(scans):
    codes, sets = zip(*map(batch, scans), strict=True)
    return torch.cat(codes), torch.cat(sets)


def complete(labels, classes):
    return annotate(labels, annotations.complete, classes)


# log q_A and its gradient


@relaxed
@given(problems())
def test_log_set_probability_is_the_log_of_the_sum(problem):
    logits, codes, sets = problem
    q = logits.softmax(1)
    for b in range(len(logits)):
        member = sets[b][codes[b]].movedim(-1, 0)
        expected = (q[b] * member).sum(0).log()
        torch.testing.assert_close(log_set_probability(*problem)[b], expected)


@relaxed
@given(problems())
def test_gradient_is_q_minus_the_share_inside_the_set(problem):
    logits, codes, sets = problem
    q = logits.softmax(1)
    member = torch.stack([s[c].movedim(-1, 0) for s, c in zip(sets, codes, strict=True)])
    q_set = (q * member).sum(1, keepdim=True)
    actual = gradient(marginal_cross_entropy, *problem, reduction="sum")
    torch.testing.assert_close(actual, q - q * member / q_set)


@relaxed
@given(problems(), st.sampled_from(LOSSES))
def test_gradient_sums_to_zero_over_classes(problem, loss):
    total = gradient(loss, *problem).sum(1)
    torch.testing.assert_close(total, torch.zeros_like(total), atol=1e-12, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_every_class_has_probability_one_exactly(dtype, layout):
    logits = 30 * torch.randn(2, 17, 20, 20, generator=torch.Generator().manual_seed(0))
    logits = logits.to(dtype, memory_format=layout)
    arguments = torch.zeros(2, 20, 20, dtype=torch.uint8), torch.ones(2, 1, 17, dtype=torch.bool)
    assert (log_set_probability(logits, *arguments) == 0).all()
    assert (gradient(log_set_probability, logits, *arguments) == 0).all()


def test_a_voxel_that_says_nothing_teaches_nothing_beside_one_far_from_the_truth():
    logits = torch.randn(2, 5, 8, 8, generator=torch.Generator().manual_seed(0))
    logits[0, 0, 0, 0] = 200
    codes = torch.zeros(2, 8, 8, dtype=torch.uint8)
    codes[0, 0, 0] = 1
    sets = table(range(5), [3], classes=5).expand(2, -1, -1)
    slope = gradient(marginal_cross_entropy, logits, codes, sets)
    assert slope[0, :, 0, 0].count_nonzero() == 2
    slope[0, :, 0, 0] = 0
    assert slope.count_nonzero() == 0


@pytest.mark.parametrize("loss", LABELLED)
@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 3, 4, 0)])
def test_no_voxel_is_no_loss(loss, shape):
    codes = torch.zeros(shape[0], *shape[2:], dtype=torch.uint8)
    sets = table([0], [1, 2], classes=3).expand(shape[0], -1, -1)
    assert gradient(bind(loss, reduction="sum"), torch.zeros(shape), codes, sets).shape == shape


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_log_set_probability_is_never_positive(layout):
    # Class 0 is too unlikely to count, so log q_A is 0 but for the order of summation.
    logits = torch.randn(1, 17, 40, 40, generator=torch.Generator().manual_seed(0))
    logits[:, 0] -= 50
    codes = torch.zeros(1, 40, 40, dtype=torch.uint8)
    sets = table(range(1, 17), classes=17)
    assert (log_set_probability(logits.to(memory_format=layout), codes, sets) <= 0).all()


def test_nothing_with_a_class_axis_is_kept_but_the_logits():
    logits = torch.zeros(2, 5, 6, 7, dtype=torch.bfloat16, requires_grad=True)
    codes = torch.zeros(2, 6, 7, dtype=torch.uint8)
    sets = torch.ones(2, 3, 5, dtype=torch.bool)
    kept = log_set_probability(logits, codes, sets).grad_fn.saved_tensors
    volumes = [t for t in kept if t.shape == logits.shape]
    assert [t.data_ptr() for t in volumes] == [logits.data_ptr()]
    assert sum(t.numel() for t in kept if t is not volumes[0]) == codes.numel() + sets.numel()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("space", [(2, 3), (2, 1, 2)])
def test_gradcheck(loss, space):
    generator = torch.Generator().manual_seed(1)
    sets = torch.cat([table([0], [1, 2], [0, 1, 2], classes=3), table([2], [1], [0], classes=3)])
    codes = torch.randint(0, 3, (2, *space), generator=generator)
    logits = torch.randn(2, 3, *space, generator=generator, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: loss(z, codes, sets), logits)


# Identities between losses


@relaxed
@given(labelled_volumes(), st.sampled_from(["mean", "sum", "none"]))
def test_complete_labels_give_plain_cross_entropy(volume, reduction):
    logits, labels = volume
    expected = F.cross_entropy(logits, labels, reduction=reduction)
    arguments = logits, *complete(labels, logits.shape[1])
    for loss in [*PER_VOXEL[:2], bind(focal_marginal_cross_entropy, gamma=0)]:
        torch.testing.assert_close(loss(*arguments, reduction=reduction), expected)


@relaxed
@given(labelled_volumes())
def test_complete_labels_give_plain_cross_entropy_in_float32(volume):
    logits, labels = volume[0].float(), volume[1]
    arguments = complete(labels, logits.shape[1])
    expected = gradient(F.cross_entropy, logits, labels)
    torch.testing.assert_close(
        marginal_cross_entropy(logits, *arguments), F.cross_entropy(logits, labels)
    )
    torch.testing.assert_close(gradient(marginal_cross_entropy, logits, *arguments), expected)


@relaxed
@given(labelled_volumes())
def test_slac_with_an_empty_super_label_is_cross_entropy(volume):
    logits, labels = volume
    arguments = annotate(labels, annotations.super_label, [], logits.shape[1])
    torch.testing.assert_close(
        marginal_cross_entropy(logits, *arguments), F.cross_entropy(logits, labels)
    )


@relaxed
@given(labelled_volumes(), st.sampled_from(["mean", "sum", "none"]))
def test_slac_lies_between_zero_and_cross_entropy(volume, reduction):
    logits, labels = volume
    arguments = annotate(labels, annotations.super_label, [0, 1], logits.shape[1])
    slac = marginal_cross_entropy(logits, *arguments, reduction=reduction)
    assert (slac >= 0).all()
    assert (slac <= F.cross_entropy(logits, labels, reduction=reduction) + 1e-12).all()


@relaxed
@given(labelled_volumes())
def test_naive_masking_is_slac_with_every_class_for_super_label(volume):
    logits, labels = volume
    classes = logits.shape[1]
    codes, sets = annotate(labels, annotations.super_label, [0, 1], classes)
    everything = sets.clone()
    everything[:, -1] = True
    torch.testing.assert_close(
        naive_cross_entropy(logits, codes, sets), marginal_cross_entropy(logits, codes, everything)
    )


@relaxed
@given(labelled_volumes())
def test_partial_labels_give_the_target_adaptive_loss(volume):
    # Merge the softmax channels of the background and the un-annotated structures, then take the
    # negative log-likelihood of the merged labels.
    logits, labels = volume
    q = logits.softmax(1)
    merged = torch.stack([q[:, 0] + q[:, 2:].sum(1), q[:, 1]], dim=1)
    expected = F.nll_loss(merged.log(), (labels == 1).long())
    arguments = logits, *annotate(labels, annotations.partial, [1], logits.shape[1])
    torch.testing.assert_close(marginal_cross_entropy(*arguments), expected)
    torch.testing.assert_close(focal_marginal_cross_entropy(*arguments, gamma=0), expected)


@relaxed
@given(problems(), st.sampled_from([0, 0.5, 1, 2, 3]))
def test_focal_weighs_with_the_missing_probability(problem, gamma):
    log_q = log_set_probability(*problem)
    expected = (1 - log_q.exp()) ** gamma * -log_q
    actual = focal_marginal_cross_entropy(*problem, gamma=gamma, reduction="none")
    torch.testing.assert_close(actual, expected, atol=1e-12, rtol=1e-5)


@pytest.mark.parametrize("gamma", [0, 0.5, 1, 2])
def test_focal_gradient_is_finite_where_the_network_is_certain(gamma):
    logits = torch.tensor([100.0, -100.0]).view(1, 2, 1, 1)
    actual = gradient(
        bind(focal_marginal_cross_entropy, gamma=gamma),
        logits,
        torch.zeros(1, 1, 1, dtype=torch.long),
        table([0], classes=2),
    )
    assert (actual == 0).all()


def soft_dice(probabilities, one_hot, smooth=1.0):
    """Plain soft Dice loss, mean over images and classes."""
    space = tuple(range(2, one_hot.ndim))
    overlap = (probabilities * one_hot).sum(space)
    total = probabilities.sum(space) + one_hot.sum(space)
    return 1 - ((2 * overlap + smooth) / (total + smooth)).mean()


@relaxed
@given(labelled_volumes(), st.sampled_from(DICE), st.sampled_from([1.0, 0.01]))
def test_complete_labels_give_plain_soft_dice(volume, loss, smooth):
    logits, labels = volume
    one_hot = F.one_hot(labels, logits.shape[1]).movedim(-1, 1)
    arguments = complete(labels, logits.shape[1])

    def plain(z):
        return soft_dice(z.softmax(1), one_hot, smooth)

    torch.testing.assert_close(loss(logits, *arguments, smooth=smooth), plain(logits))
    torch.testing.assert_close(
        gradient(loss, logits, *arguments, smooth=smooth), gradient(plain, logits)
    )


@relaxed
@given(labelled_volumes())
def test_partial_labels_give_soft_dice_of_the_merged_channels(volume):
    logits, labels = volume
    q = logits.softmax(1)
    merged = torch.stack([q[:, 0] + q[:, 2:].sum(1), q[:, 1]], dim=1)
    one_hot = F.one_hot((labels == 1).long(), 2).movedim(-1, 1)
    arguments = annotate(labels, annotations.partial, [1], logits.shape[1])
    torch.testing.assert_close(marginal_dice(logits, *arguments), soft_dice(merged, one_hot))


@relaxed
@given(problems(), st.sampled_from(LOSSES), st.randoms(use_true_random=False))
def test_renaming_classes_changes_nothing(problem, loss, random):
    logits, codes, sets = problem
    order = list(range(logits.shape[1]))
    random.shuffle(order)
    torch.testing.assert_close(
        loss(logits[:, order], codes, sets[:, :, order]), loss(logits, codes, sets)
    )


@relaxed
@given(labelled_volumes(), st.sampled_from([marginal_cross_entropy, marginal_dice]))
def test_classes_within_a_set_can_change_places(volume, loss):
    logits, labels = volume
    arguments = annotate(labels, annotations.super_label, [0, 1], logits.shape[1])
    order = [1, 0, *range(2, logits.shape[1])]
    torch.testing.assert_close(loss(logits[:, order], *arguments), loss(logits, *arguments))


# Worked by hand


def test_cross_entropies_by_hand():
    # Voxel 0 is {0} with q = 1/2; voxel 1 is {1, 2} with q_A = 1/4 + 1/2; voxel 2 may be anything.
    logits = logits_of([1 / 2, 1 / 4, 1 / 4], [1 / 4, 1 / 4, 1 / 2], [1 / 3, 1 / 3, 1 / 3])
    sets = table([0], [1, 2], [0, 1, 2], classes=3)
    codes = torch.tensor([0, 1, 2]).view(1, 3, 1)
    expected = {
        (marginal_cross_entropy, "sum"): math.log(2) + math.log(4 / 3),
        (marginal_cross_entropy, "mean"): (math.log(2) + math.log(4 / 3)) / 3,
        (marginal_cross_entropy, "known_mean"): (math.log(2) + math.log(4 / 3)) / 2,
        (naive_cross_entropy, "sum"): math.log(2),
        (naive_cross_entropy, "mean"): math.log(2) / 3,
        (naive_cross_entropy, "known_mean"): math.log(2),
        (focal_marginal_cross_entropy, "sum"): math.log(2) / 4 + math.log(4 / 3) / 16,
    }
    for (loss, reduction), value in expected.items():
        actual = loss(logits, codes, sets, reduction=reduction)
        assert actual.item() == pytest.approx(value), (loss.__name__, reduction)


def test_no_reduction_leaves_one_value_a_voxel():
    logits = logits_of([1 / 2, 1 / 2], [1 / 4, 3 / 4])
    codes = torch.tensor([0, 1]).view(1, 2, 1)
    actual = marginal_cross_entropy(logits, codes, table([0], [0, 1], classes=2), reduction="none")
    assert actual.flatten().tolist() == pytest.approx([math.log(2), 0])
    assert actual.shape == codes.shape


HALVES = logits_of([1 / 2, 1 / 4, 1 / 4], [1 / 4, 1 / 4, 1 / 2], [0.1, 0.2, 0.7])


def test_merged_dice_by_hand():
    # Voxel 2 says nothing. {0}: overlap 1/2, prediction 1/2 + 1/4, one voxel labelled:
    # (2 * 1/2 + 1) / (3/4 + 1 + 1) = 8/11. {1, 2}: overlap 3/4, prediction 1/2 + 3/4:
    # (2 * 3/4 + 1) / (5/4 + 1 + 1) = 10/13.
    sets = table([0], [1, 2], [0, 1, 2], [], classes=3)
    codes = torch.tensor([0, 1, 2]).view(1, 3, 1)
    expected = 1 - (8 / 11 + 10 / 13) / 2
    assert marginal_dice(HALVES, codes, sets).item() == pytest.approx(expected)


def test_merged_dice_of_a_set_that_no_voxel_has():
    # {0} as before without voxel 2; {1} nowhere: (0 + 1) / (1/4 + 1/4 + 0 + 1) = 2/3 where voxel 1
    # is {2}: (2 * 1/2 + 1) / (1/4 + 1/2 + 1 + 1) = 8/11.
    sets = table([0], [1], [2], classes=3)
    codes = torch.tensor([0, 2]).view(1, 2, 1)
    logits = HALVES[:, :, :2]
    every = 1 - (8 / 11 + 2 / 3 + 8 / 11) / 3
    present = 1 - 8 / 11
    for loss in DICE:
        assert loss(logits, codes, sets).item() == pytest.approx(every)
        assert loss(logits, codes, sets, present_only=True).item() == pytest.approx(present)


def test_merged_dice_leaves_out_voxels_that_may_be_inside():
    # {0}: voxel 1 may be 0 or 1, so voxel 0 alone counts: (2 * 1/2 + 1) / (1/2 + 1 + 1) = 4/5.
    # {0, 1}: voxel 0 is inside as well: overlap 3/4 + 1/2 = prediction, two voxels labelled:
    # (2 * 5/4 + 1) / (5/4 + 2 + 1) = 14/17.
    sets = table([0], [0, 1], classes=3)
    codes = torch.tensor([0, 1]).view(1, 2, 1)
    expected = 1 - (4 / 5 + 14 / 17) / 2
    assert marginal_dice(HALVES[:, :, :2], codes, sets).item() == pytest.approx(expected)


def test_leaf_dice_by_hand():
    # Only voxel 0 counts, only {0} is a leaf: (2 * 1/2 + 1) / (1/2 + 1 + 1) = 4/5.
    sets = table([0], [1, 2], [0, 1, 2], [], classes=3)
    codes = torch.tensor([0, 1, 2]).view(1, 3, 1)
    assert leaf_dice(HALVES, codes, sets).item() == pytest.approx(1 / 5)


@pytest.mark.parametrize("loss", DICE)
def test_dice_reductions_speak_of_images(loss):
    # Image 0 as in the leaf Dice above; image 1 has the same sets and no information in it.
    sets = table([0], [0, 1, 2], classes=3).expand(2, -1, -1)
    codes = torch.tensor([[0, 1, 1], [1, 1, 1]]).view(2, 3, 1)
    logits = HALVES.expand(2, -1, -1, -1)
    assert loss(logits, codes, sets, reduction="none").tolist() == pytest.approx([1 / 5, 0])
    assert loss(logits, codes, sets, reduction="sum").item() == pytest.approx(1 / 5)
    assert loss(logits, codes, sets, reduction="mean").item() == pytest.approx(1 / 10)
    assert loss(logits, codes, sets, reduction="known_mean").item() == pytest.approx(1 / 5)


def test_entropy_by_hand():
    # One voxel undecided among four classes, one among two, one certain; the second says nothing.
    tiny = 1e-300
    logits = logits_of([1 / 4] * 4, [1 / 2, 1 / 2, tiny, tiny], [1, tiny, tiny, tiny])
    codes = torch.tensor([0, 1, 0]).view(1, 3, 1)
    arguments = logits, codes, table([0], range(4), classes=4)
    mask = torch.tensor([True, True, False]).view(1, 3, 1)
    four, two = math.log(4), math.log(2)
    assert entropy(*arguments).item() == pytest.approx((four + two) / 3)
    assert entropy(*arguments, reduction="sum").item() == pytest.approx(four + two)
    assert entropy(*arguments, reduction="known_mean").item() == pytest.approx(four / 2)
    assert entropy(*arguments, mask=mask).item() == pytest.approx((four + two) / 2)
    known = entropy(*arguments, mask=mask, reduction="known_mean")
    assert known.item() == pytest.approx(four)


def test_entropy_is_a_number_where_a_class_is_ruled_out_or_nothing_is_looked_at():
    logits = torch.tensor([[0.0, float("nan")], [-math.inf, 0.0]])[None, :, :, None]
    arguments = torch.zeros(1, 2, 1, dtype=torch.uint8), table([0], classes=2)
    mask = torch.tensor([True, False]).view(1, 2, 1)
    assert entropy(logits, *arguments, mask=mask).item() == 0


@pytest.mark.parametrize("shape", [(1, 2, 2), (2,)])
def test_a_mask_that_does_not_fit_is_refused(shape):
    arguments = torch.zeros(1, 3, 2, 1), torch.zeros(1, 2, 1, dtype=torch.long)
    with pytest.raises(InputError, match=r"mask: torch.bool .* given, expected bool \(1, 2, 1\)"):
        entropy(*arguments, table([0], classes=3), mask=torch.ones(shape, dtype=torch.bool))
    with pytest.raises(InputError, match=r"mask: torch\.float32"):
        entropy(*arguments, table([0], classes=3), mask=torch.ones(1, 2, 1))


def test_entropy_of_an_empty_mask_is_zero():
    codes = torch.zeros(1, 2, 1, dtype=torch.long)
    logits = logits_of([1 / 2, 1 / 2], [1 / 2, 1 / 2])
    mask = torch.zeros(1, 2, 1, dtype=torch.bool)
    arguments = codes, table([0], classes=2)
    assert entropy(logits, *arguments, mask=mask).item() == 0
    assert (gradient(entropy, logits, *arguments, mask=mask) == 0).all()


# No information


@pytest.mark.parametrize("loss", LABELLED)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("rows", [[[0, 1, 2]], [[0, 1, 2], [0], [1]]])
def test_nothing_known_gives_zero_loss_and_gradient(loss, reduction, rows):
    logits = 10 * torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(2))
    codes = torch.zeros(2, 4, 5, dtype=torch.uint8)
    sets = table(*rows, classes=3).expand(2, -1, -1)
    assert (loss(logits, codes, sets, reduction=reduction) == 0).all()
    assert (gradient(loss, logits, codes, sets, reduction=reduction) == 0).all()


@relaxed
@given(problems())
def test_naive_masking_is_exactly_blind_to_masked_voxels(problem):
    logits, codes, sets = problem[0].float(), *problem[1:]
    masked = (sets.sum(-1) > 1).gather(1, codes.flatten(1)).view(codes.shape)
    assert (naive_cross_entropy(logits, codes, sets, reduction="none")[masked] == 0).all()
    actual = gradient(naive_cross_entropy, logits, codes, sets)
    assert (actual.movedim(1, -1)[masked] == 0).all()


@relaxed
@given(problems(), st.sampled_from(LOSSES), st.sampled_from(REDUCTIONS))
def test_padding_rows_and_the_type_of_codes_do_not_matter(problem, loss, reduction):
    logits, codes, sets = problem
    expected = loss(logits, codes, sets, reduction=reduction)
    padded = torch.cat([sets, torch.zeros_like(sets[:, :2])], dim=1)
    for dtype in [torch.uint8, torch.int16, torch.int32]:
        actual = loss(logits, codes.to(dtype), padded, reduction=reduction)
        torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("reduction", ["known_mean", "sum"])
def test_voxels_of_padding_are_worth_nothing(loss, reduction):
    generator = torch.Generator().manual_seed(4)
    logits = 5 * torch.randn(2, 3, 4, 5, generator=generator)
    codes = torch.randint(0, 3, (2, 4, 5), generator=generator)
    codes[:, :, 3:] = 3
    sets = table([0], [1, 2], [2], [], classes=3).expand(2, -1, -1)
    found = loss(logits, codes, sets, reduction=reduction)
    inside = loss(logits[..., :3], codes[..., :3], sets, reduction=reduction)
    torch.testing.assert_close(found, inside)
    assert not gradient(loss, logits, codes, sets, reduction=reduction)[..., 3:].any()


@relaxed
@given(problems(), st.sampled_from(LOSSES))
def test_images_do_not_mix(problem, loss):
    together = loss(*problem, reduction="none")
    for b in range(len(together)):
        one = [tensor[b : b + 1] for tensor in problem]
        torch.testing.assert_close(together[b : b + 1], loss(*one, reduction="none"))


# Numerics


def extreme(dtype):
    """Logits of exactly +-100 and 0 in all combinations of three classes, every code for each."""
    values = torch.tensor([-100.0, 0.0, 100.0])
    logits = torch.cartesian_prod(values, values, values).T.to(dtype)
    sets = table([0], [1, 2], [2], [0, 1, 2], classes=3)
    codes = torch.arange(4).view(1, 4, 1).expand(1, 4, 27)
    return logits.view(1, 3, 1, 27).expand(1, 3, 4, 27), codes, sets


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_extreme_logits_match_float64(loss, dtype):
    logits, codes, sets = extreme(dtype)
    exact = logits.double()
    value = loss(logits, codes, sets, reduction="none")
    assert value.dtype == torch.float32
    torch.testing.assert_close(
        value.double(), loss(exact, codes, sets, reduction="none"), rtol=1e-5, atol=2e-5
    )
    slope = gradient(loss, logits, codes, sets, reduction="sum")
    assert slope.dtype == dtype
    precision = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 1e-3}[dtype]
    expected = gradient(loss, exact, codes, sets, reduction="sum")
    torch.testing.assert_close(slope.double(), expected, rtol=precision, atol=3e-5)


def test_a_hopeless_voxel_still_gets_its_full_gradient():
    # q_A = exp(-200) underflows in float32; the loss is 200 and its slope +-1 nevertheless.
    logits = torch.tensor([100.0, -100.0]).view(1, 2, 1, 1)
    arguments = torch.zeros(1, 1, 1, dtype=torch.long), table([1], classes=2)
    assert marginal_cross_entropy(logits, *arguments).item() == pytest.approx(200)
    assert gradient(marginal_cross_entropy, logits, *arguments).flatten().tolist() == [1, -1]


@pytest.mark.parametrize("loss", LOSSES)
def test_autocast_does_not_lower_the_precision(loss):
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(2, 3, 16, 16, generator=generator)
    codes = torch.randint(0, 2, (2, 16, 16), generator=generator)
    sets = table([0], [1, 2], classes=3).expand(2, -1, -1)
    value, slope = loss(logits, codes, sets), gradient(loss, logits, codes, sets)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(loss(logits, codes, sets), value)
        again = gradient(loss, logits, codes, sets)
        torch.testing.assert_close(again, slope, rtol=1e-5, atol=1e-8)


# Errors


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    ("codes", "sets"),
    [((1, 4, 5), (2, 3, 3)), ((2, 4), (2, 3, 3)), ((2, 4, 5), (2, 3, 4)), ((2, 4, 5), (3, 3))],
)
def test_shapes_that_do_not_fit_are_refused(loss, codes, sets):
    logits = torch.zeros(2, 3, 4, 5)
    with pytest.raises(InputError, match="do not fit"):
        loss(logits, torch.zeros(codes, dtype=torch.long), torch.ones(sets, dtype=torch.bool))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    ("code", "dtype"), [(-1, torch.int16), (3, torch.uint8), (255, torch.long)]
)
def test_codes_without_a_row_are_refused(loss, code, dtype):
    codes = torch.zeros(1, 4, 5, dtype=dtype)
    codes[0, 1, 2] = code
    with pytest.raises(InputError, match=rf"codes from .*{code}.*expected rows .* 0 to 2; a voxel"):
        loss(torch.zeros(1, 3, 4, 5), codes, table([0], [1], [2], classes=3))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    ("logits", "codes"),
    [(torch.float32, torch.float32), (torch.float32, torch.bool), (torch.int64, torch.int64)],
)
def test_other_types_are_refused(loss, logits, codes):
    arguments = torch.zeros(1, 2, 3, dtype=logits), torch.zeros(1, 3, dtype=codes)
    with pytest.raises(InputError, match=f"logits are {logits} and codes {codes}, expected"):
        loss(*arguments, table([0], [1], classes=2))


@pytest.mark.parametrize("loss", LOSSES)
def test_codes_may_be_unsigned(loss):
    logits, codes = torch.randn(1, 3, 4), torch.tensor([[0, 1, 1, 2]])
    arguments = table([0], [1, 2], [2], classes=3)
    expected = loss(logits, codes, arguments)
    for kind in (torch.uint16, torch.uint32, torch.uint64):
        torch.testing.assert_close(loss(logits, codes.to(kind), arguments), expected)


@pytest.mark.parametrize("loss", LOSSES)
def test_sets_may_be_any_numbers(loss):
    """Not 0 is true, as in numpy."""
    logits, codes = torch.randn(1, 3, 4), torch.tensor([[0, 1, 1, 2]])
    sets = table([0], [1, 2], [2], classes=3)
    for numbers in (255 * sets.byte(), 0.5 * sets):
        torch.testing.assert_close(loss(logits, codes, numbers), loss(logits, codes, sets))


@pytest.mark.parametrize(
    ("loss", "options", "message"),
    [(loss, {"reduction": "median"}, "reduction: 'median'") for loss in LOSSES]
    + [(loss, {"smooth": 0}, "smooth: 0") for loss in DICE]
    + [(focal_marginal_cross_entropy, {"gamma": -1}, "gamma: -1")],
)
def test_bad_options_are_refused(loss, options, message):
    sets = table([0], [1], classes=2)
    with pytest.raises(InputError, match=message):
        loss(torch.zeros(1, 2, 3, 3), torch.zeros(1, 3, 3, dtype=torch.long), sets, **options)
