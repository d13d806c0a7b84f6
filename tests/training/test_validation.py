"""What a run is watched by: a loss in which data sets count alike, and a Dice over all voxels."""

import contextlib
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from piecemeal import methods
from piecemeal.errors import InputError
from piecemeal.methods._base import Method
from piecemeal.training.cases import Case, labelled_cases
from piecemeal.training.data import Samples
from piecemeal.training.validation import memory_format_of, validate
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


def watched(samples: Samples, group=None, batch_size: int = 3, method=None, **tasks):
    method = method or Brightness()
    group = group or SimpleNamespace(rank=0, size=1, sum=lambda tensor: tensor)
    network = nn.Identity()
    return method, validate(
        network, method, samples, batch_size, group, CPU, contextlib.nullcontext(), **tasks
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


# Cohorts of several tasks.

TASKS = {"hip": [3, 1], "foot": [2]}


class Asked(Brightness):
    """Finds the first class it is asked for wherever the image is above 10; 4 classes."""

    def __init__(self):
        super().__init__()
        self.classes, self.asked, self.answered = 4, "nothing yet", []

    def ask(self, structures):
        self.asked = structures

    def probabilities(self, logits):
        self.answered.append(self.asked)
        chances = torch.zeros(len(logits), 4, *logits.shape[2:])
        chances[:, 0] = 0.4
        chances[:, self.asked[0]] = (logits[:, 0] > 10) * 0.5
        return chances


def of_task(task: str, values: list[float], labels: list[int], dataset="a", undeclared=()):
    """A slice of 2 x 2 pixels a value, of these labels."""
    image = np.tile(np.float32(values)[:, None, None], (1, 2, 2))
    drawn = np.tile(np.uint8(labels)[:, None, None], (1, 2, 2))
    sets = np.eye(4, dtype=bool)
    return Case(
        *(dataset, "s", "c", "CT", image, np.zeros_like(drawn), drawn, sets, None),
        *(undeclared, task),
    )


def flat(*cases) -> Samples:
    return Samples(cases, Window((1, 2, 2), True))


def test_a_batch_is_of_one_task_and_asks_for_its_structures():
    samples = flat(
        of_task("hip", [11, 1], [3, 0], undeclared=(2,)),
        of_task("foot", [12], [2], undeclared=(1, 3)),
        of_task("hip", [13], [3], undeclared=(2,)),
    )
    method, found = watched(samples, batch_size=4, method=Asked(), tasks=TASKS)
    assert method.batches == [[11, 1, 13], [12]]
    assert method.answered == [(3, 1), (2,)]
    assert method.asked is None
    assert found.dice == 1


def test_what_a_scan_was_not_asked_for_is_not_asked_of_the_method():
    """Cases of a task and a data set that differ in this share no batch, and still one mean."""
    samples = flat(
        of_task("hip", [4, 6], [0, 0], undeclared=(2, 3)),
        of_task("hip", [11], [3], undeclared=(2,)),
        of_task("foot", [5], [0], undeclared=(1, 3)),
    )
    method, found = watched(samples, method=Asked(), tasks=TASKS)
    assert method.answered == [(1,), (3, 1), (2,)]
    assert found.loss == pytest.approx((21 / 3 + 5) / 2)


def test_tasks_count_alike_and_so_do_the_data_sets_of_each():
    """Hip: the mean of 2 and 20, not of their three slices; foot: 5."""
    samples = flat(
        of_task("hip", [1, 3], [0, 0]),
        of_task("foot", [5], [0]),
        of_task("hip", [20], [3], dataset="b"),
    )
    _, found = watched(samples, method=Asked(), tasks=TASKS)
    assert found.loss == pytest.approx((11 + 5) / 2)


def test_without_tasks_nothing_is_asked():
    method, _ = watched(uneven(), method=Recording())
    assert set(method.asks) == {None}


class Recording(Brightness):
    """Keeps what it is asked."""

    def __init__(self):
        super().__init__()
        self.asks = []

    def ask(self, structures):
        self.asks.append(structures)


def test_bits_are_compared_one_by_one_with_chances_of_one_half():
    """Class 3 is bit 0 of a hip, class 1 bit 1; a chance of 0.5 is enough, beside 0.4 of none.

    Class 3 is found in slices 1 and 2 and drawn in 1 and 3: Dice 1/2. Class 1 is drawn in 3 and
    never found: 0. Class 2, the foot, is found where it is: 1.
    """
    samples = flat(
        of_task("hip", [11, 12, 1], [0b01, 0b00, 0b11]),
        of_task("foot", [13], [0b01]),
    )
    _, found = watched(samples, method=Asked(), tasks=TASKS, overlapping=True)
    assert found.dice == pytest.approx((0.5 + 0 + 1) / 3)


def test_bits_that_nobody_drew_are_not_counted():
    samples = flat(of_task("hip", [11], [0b10], undeclared=(3,)))
    method, found = watched(samples, method=Asked(), tasks=TASKS, overlapping=True)
    assert method.answered == [(1,)]
    assert found.dice == 1


@pytest.mark.parametrize("order", [["hip", "foot"], ["foot", "hip"]])
def test_shared_channels_are_watched_as_the_structures_of_their_task(order):
    """Without the task, the channel that both share would be of the first one."""
    values = {"hip": (8.0, 1), "foot": (8.0, 2)}
    samples = flat(*(of_task(task, [values[task][0]], [values[task][1]]) for task in order))
    tasks = {"hip": [1, 3], "foot": [2]}
    method = methods.load("label_sharing", 4, {"tasks": list(tasks.values()), "order": "listed"})
    method.loss = lambda logits, codes, sets: logits.mean()

    class First(nn.Module):
        def forward(self, images):
            return torch.cat([-images, images, -images], dim=1)

    group = SimpleNamespace(rank=0, size=1, sum=lambda tensor: tensor)
    given = (First(), method, samples, 2, group, CPU, contextlib.nullcontext())
    assert validate(*given, tasks=tasks).dice == 1
    assert validate(*given).dice < 1


def test_a_method_that_learns_by_slices_is_watched_by_them():
    class Seeing(Brightness):
        wants_views = True

        def loss(self, logits, codes, sets, views=None):
            self.batches.append(views.tolist())
            return logits.mean()

    sliced = case("a", [1, 2], 0)
    cases = [case("a", [5], 1), replace(sliced, view="coronal")]
    method, _ = watched(Samples(cases, Window((1, 2, 2), False)), method=Seeing())
    assert method.batches == [[-1, 1, 1]]


def test_the_order_of_memory_of_3d_networks_is_known_for_cpus_alone():
    cpu, other = torch.device("cpu"), torch.device("meta")
    flat, solid = nn.Sequential(nn.Conv2d(1, 2, 3)), nn.Sequential(nn.Conv3d(1, 2, 3))
    assert memory_format_of(solid, cpu) == torch.channels_last_3d
    assert memory_format_of(solid, other) == torch.contiguous_format
    assert memory_format_of(flat, cpu) == torch.contiguous_format
    flat.memory_format = torch.channels_last
    assert {memory_format_of(flat, device) for device in (cpu, other)} == {torch.channels_last}
