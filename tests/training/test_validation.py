"""What a run is watched by: a loss in which data sets count alike, and a Dice over all voxels."""

import contextlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from piecemeal.errors import InputError
from piecemeal.methods._base import Method
from piecemeal.training.cases import Case, labelled_cases
from piecemeal.training.data import Samples
from piecemeal.training.validation import validate
from piecemeal.training.window import Window

COMPLETE = np.eye(2, dtype=bool)
NOTHING = np.ones((1, 2), dtype=bool)
CPU = torch.device("cpu")


class Brightness(Method):
    """The loss of a batch is the mean of its images; everything is found to be structure 1."""

    def __init__(self):
        super().__init__(2)
        self.batches = []

    def loss(self, logits, codes, sets):
        self.batches.append(logits[:, 0, 0, 0].tolist())
        return logits.mean()

    def probabilities(self, logits):
        return torch.cat([torch.zeros_like(logits), torch.ones_like(logits)], dim=1)


def case(dataset: str, values: list[float], structure: int, sets=COMPLETE) -> Case:
    """One slice of 2 x 2 pixels a value, all of it of one class; without labels if unlabelled."""
    image = np.tile(np.float32(values)[:, None, None], (1, 2, 2))
    codes = np.full(image.shape, structure, np.uint8)
    labels = codes if sets is COMPLETE else None
    return Case(dataset, "s", "c", "CT", image, codes, labels, sets, None)


def uneven() -> Samples:
    """Of data set a 5 slices, before and behind the 2 of data set b; one of 7 is structure."""
    cases = [case("a", [1, 2], 0), case("b", [10, 20], 0), case("a", [3, 4], 0), case("a", [5], 1)]
    return Samples(cases, Window((1, 2, 2), True))


def watched(samples: Samples, group=None, batch_size: int = 3):
    method = Brightness()
    group = group or SimpleNamespace(rank=0, size=1, sum=lambda tensor: tensor)
    network = nn.Identity()
    return method, validate(
        network, method, samples, batch_size, group, CPU, contextlib.nullcontext()
    )


def test_data_sets_count_alike_and_share_no_batch():
    """The mean of 3 and 15 is 9; that of all seven slices would be 45 / 7."""
    method, found = watched(uneven())
    assert found.loss == 9
    assert method.batches == [[1, 2, 3], [4, 5], [10, 20]]
    assert found.dice == pytest.approx(2 * 1 / (7 + 1))


def test_of_one_data_set_the_loss_is_the_mean_over_the_samples():
    samples = Samples([case("a", [1, 2], 0), case("a", [6], 1)], Window((1, 2, 2), True))
    _, found = watched(samples, batch_size=2)
    assert found.loss == 3


@pytest.mark.parametrize("size", [2, 3, 4])
def test_processes_take_turns_and_agree(size):
    """The first one is left with what the others computed; the fourth has nothing to do."""
    parts = []
    for rank in range(1, size):
        sent = []
        group = SimpleNamespace(rank=rank, size=size, sum=lambda t, sent=sent: sent.append(+t))
        watched(uneven(), group)
        parts.append(sent)
    received = [sum(tensors) for tensors in zip(*parts, strict=True)]
    group = SimpleNamespace(rank=0, size=size, sum=lambda t: t.add_(received.pop(0)))
    method, found = watched(uneven(), group)
    assert len(method.batches) < 3
    assert found == watched(uneven())[1]


def test_a_data_set_of_which_nothing_is_labelled_is_named(tmp_path, caplog):
    labelled_cases([case("a", [1.0], 0), case("b", [3.0], 1, NOTHING)], tmp_path)
    assert [record.message.split(":")[0] for record in caplog.records] == ["b"]


def test_what_nobody_labelled_is_left_out(tmp_path):
    given = [case("a", [1.0], 0), case("a", [7.0], 0, NOTHING), case("b", [3.0], 1)]
    kept = labelled_cases(given, tmp_path)
    assert kept == [given[0], given[2]]
    assert watched(Samples(kept, Window((1, 2, 2), True)))[1].loss == 2
    with pytest.raises(InputError, match=r"cases\.csv: no case .* 'validation' is labelled"):
        labelled_cases(given[1:2], tmp_path)
