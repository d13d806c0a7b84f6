"""What the channels of a head are called: softmax or sigmoid, one task or several."""

import pytest
import torch

from piecemeal.errors import InputError
from piecemeal.methods._heads import Head, head_of

CHANNELS = torch.tensor([0, 1, 2, 1])  # classes 1 and 3 share the first channel
SIGMOID, SOFTMAX = Head(sigmoid=True), Head()
OVERLAPPING = Head(sigmoid=True, overlapping=True)


def test_channels():
    assert (SOFTMAX.channels(3), SIGMOID.channels(3)) == (4, 3)


@pytest.mark.parametrize(
    ("name", "overlapping", "expected"),
    [
        (None, False, SOFTMAX),
        (None, True, OVERLAPPING),
        ("softmax", False, SOFTMAX),
        ("sigmoid", False, SIGMOID),
        ("sigmoid", True, OVERLAPPING),
    ],
)
def test_the_head_follows_the_structures_unless_it_is_given(name, overlapping, expected):
    assert head_of(name, overlapping) == expected


@pytest.mark.parametrize(
    ("name", "overlapping", "message"),
    [
        ("softmax", True, "the structures of this cohort overlap"),
        ("tanh", False, "head is 'tanh'; allowed: softmax, sigmoid"),
    ],
)
def test_impossible_heads_are_refused(name, overlapping, message):
    with pytest.raises(InputError, match=message):
        head_of(name, overlapping)


def test_of_sigmoids_the_likeliest_wins_unless_all_are_below_one_half():
    logits = torch.tensor([[[2.0, -1.0, 1.0, -2.0], [1.0, -2.0, 3.0, 4.0]]])
    found = SIGMOID.named(logits, CHANNELS, [1, 2])
    assert found.argmax(dim=1).tolist() == [[1, 0, 2, 2]]
    torch.testing.assert_close(found.sum(dim=1), torch.ones(1, 4))
    # What is not asked for takes nothing from what is.
    found = SIGMOID.named(logits, CHANNELS, [3])
    assert found.argmax(dim=1).tolist() == [[3, 0, 3, 0]]
    torch.testing.assert_close(found[:, 3], logits[:, 0].sigmoid())


def test_overlapping_structures_have_a_chance_each():
    logits = torch.tensor([[[2.0, -1.0], [1.0, -2.0]]])
    found = OVERLAPPING.named(logits, CHANNELS, [1, 2])
    torch.testing.assert_close(found[:, 1:3], logits.sigmoid())
    torch.testing.assert_close(found[:, 0], 1 - logits[:, 0].sigmoid())
    assert not found[:, 3].any()
    found = OVERLAPPING.named(logits, CHANNELS, [3])
    torch.testing.assert_close(found[:, 3], logits[:, 0].sigmoid())
    assert not found[:, 1:3].any()


@pytest.mark.parametrize("head", [SOFTMAX, SIGMOID, OVERLAPPING])
def test_what_has_no_channel_is_never_found(head):
    """A class of a task that the run did not learn."""
    logits = torch.full((1, head.channels(2), 3), 5.0)
    found = head.named(logits, torch.tensor([0, 1, 2, 0]), [1, 3])
    assert not found[:, 2:].any()
    assert found[:, 1].all()


@pytest.mark.parametrize("head", [SOFTMAX, SIGMOID, OVERLAPPING])
def test_a_head_alone_is_read_as_it_is(head):
    """Three channels, two structures: the last channel is of no structure of this task."""
    logits = torch.randn(2, head.channels(3), 4, 4)
    found = head.side_by_side([logits], [[3, 1]], 4, None)
    torch.testing.assert_close(found, head.named(logits, torch.tensor([0, 2, 0, 1]), [1, 3]))


def test_several_heads_meet_at_their_backgrounds():
    one = torch.tensor([1.0, 2.0]).view(1, 2, 1)  # by 1 above its background
    two = torch.tensor([-3.0, -1.0]).view(1, 2, 1)  # by 2
    found = SOFTMAX.side_by_side([one, two], [[1], [2]], 3, None).flatten()
    torch.testing.assert_close(found, torch.tensor([0.0, 1.0, 2.0]).softmax(0))
    found = OVERLAPPING.side_by_side([one[:, :1], two[:, :1]], [[2], [1]], 3, None).flatten()
    expected = torch.tensor([-1.0, -3.0, 1.0]).sigmoid()
    torch.testing.assert_close(found, expected)
