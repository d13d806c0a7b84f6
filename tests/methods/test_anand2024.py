"""Label sharing and what Anand et al. (2024) compare it with, side by side."""

import numpy as np
import pytest
import torch
from torch import nn

from piecemeal import methods, networks
from piecemeal.datasets.store import PreparedScan, read_cases
from piecemeal.inference import predict
from piecemeal.methods._tasks import asked_of
from piecemeal.training.loop import Training
from piecemeal.training.results import export, load_network

TASKS = [[1, 2, 3], [4, 5]]
CLASSES = 6
ARMS = ["label_sharing", "multichannel", "individual"]
ANATOMY = [list(range(1, 6)), list(range(6, 11)), list(range(11, 15))]  # of 17 structures


def load(name: str, **options):
    return methods.load(name, CLASSES, {"tasks": TASKS} | options)


def small_nnunet(channels: int) -> nn.Module:
    return networks.build("nnunet", 1, channels, width=4, stages=3)


@pytest.mark.parametrize("name", ARMS)
def test_a_step_gives_every_head_a_gradient(name, as_batch):
    torch.manual_seed(0)
    method, labels = load(name), np.random.default_rng(0).integers(0, 4, (16, 16))
    network = method.build(small_nnunet)
    codes, sets = as_batch((labels, TASKS[0]), (4 + labels % 2, TASKS[1]))
    calls = []

    def forward(*arguments, **options):
        calls.append(options.pop("output"))
        return network(*arguments, output=calls[-1], **options)

    loss = method.training_loss(forward, torch.randn(2, 1, 16, 16), codes, sets, 0.0)
    loss.backward()
    assert calls == ["pyramid"]
    assert all(p.grad is not None for p in network.parameters())
    moved = {key for key, p in network.named_parameters() if p.grad.any()}
    assert any("heads.0" in key for key in moved)
    assert not any("heads.1" in key for key in moved)  # the coarsest


@pytest.mark.parametrize("name", ["label_sharing", "multichannel"])
def test_a_network_without_levels_learns_from_its_prediction(name, as_batch):
    method = load(name)
    network = method.build(lambda channels: nn.Conv2d(1, channels, 1))
    images, codes_sets = torch.randn(1, 1, 4, 4), as_batch((np.eye(4, dtype=int), TASKS[0]))
    found = method.training_loss(network, images, *codes_sets, 0.0)
    torch.testing.assert_close(found, method.loss(network(images), *codes_sets))


def test_one_task_is_the_same_to_all_of_them():
    """With complete labels of all structures a channel, a model and a merged model are one."""
    labels = torch.randint(0, CLASSES, (3, 8, 8))
    sets = torch.eye(CLASSES, dtype=torch.bool).expand(3, -1, -1)
    logits = torch.randn(3, CLASSES, 8, 8)
    found = [methods.load(name, CLASSES) for name in ARMS]
    losses = [method.loss(logits, labels, sets).item() for method in found]
    assert losses == pytest.approx(losses[:1] * 3)
    for method in found:
        torch.testing.assert_close(method.probabilities(logits), logits.softmax(1))


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("label_sharing", 6),
        ("multichannel", 15),
        ("individual", 6 + 6 + 5),
        ("dodnet_tasks", 3 * 6),
    ],
)
def test_heads_are_over_the_tasks_of_the_run_alone(name, channels):
    """The fourth task of the cohort is not learned yet."""
    method = methods.load(name, 18, {"tasks": ANATOMY})
    assert method.output_channels() == channels
    found = method.probabilities(torch.randn(1, channels, 4))
    assert found.shape == (1, 18, 4)
    assert not found[:, 15:].any()


@pytest.mark.parametrize("name", [*ARMS, "dodnet_tasks"])
def test_one_process_trains_what_has_sums_over_the_batch(name):
    assert load(name).most_processes == 1
    assert methods.load("slac", CLASSES).most_processes is None


@pytest.mark.parametrize("name", [*ARMS, "dodnet_tasks"])
def test_a_sample_of_a_task_that_is_not_learned_teaches_nothing(name, as_batch):
    method = load(name, tasks=TASKS[:1])
    logits = torch.randn(1, method.output_channels(), 4, requires_grad=True)
    loss = method.loss(logits, *as_batch(([4, 5, 0, 0], TASKS[1])))
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


def test_what_is_not_asked_of_a_merged_model_is_background():
    logits = torch.randn(2, CLASSES, 3, 3)
    method, chances = load("multichannel"), logits.softmax(1)
    method.ask([4, 5])
    found = method.probabilities(logits)
    torch.testing.assert_close(found[:, 4:], chances[:, 4:])
    torch.testing.assert_close(found[:, 0], chances[:, :4].sum(1))
    assert not found[:, 1:4].any()


def test_to_a_masked_merged_model_other_tasks_are_neither_right_nor_wrong(as_batch):
    """A sample of the second task in which the first is claimed, and one of the first."""
    codes, sets = as_batch(([1, 2, 3, 0], TASKS[0]), ([4, 5, 0, 0], TASKS[1]))
    claimed = torch.zeros(2, CLASSES, 4)
    claimed[1, 1, 2:] = 6.0
    silent = torch.zeros(2, CLASSES, 4)
    silent[1, 0, 2:] = 6.0
    losses = {
        masked: [
            load("multichannel", masked=masked).loss(x, codes, sets) for x in (claimed, silent)
        ]
        for masked in (False, True)
    }
    torch.testing.assert_close(*losses[True])
    assert losses[False][0] > losses[False][1] + 0.01


def test_probabilities_of_channels_sum_to_one_over_the_classes():
    chances = torch.randn(2, 4, 5, 3, 2).softmax(1)
    found = asked_of(chances, torch.tensor([0, 1, 2, 3, 1, 2]), [4, 5])
    torch.testing.assert_close(found.sum(1), torch.ones(2, 5, 3, 2))
    assert found.min() >= 0


# Together.


def picture(task: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels and image: a large and a small square, dark in the first task, else bright."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((32, 32), int)
    y, x = rng.integers(1, 5, 2)
    large, small = TASKS[task][:2]
    labels[y : y + 14, x : x + 14] = large
    labels[y + 18 : y + 25, x + 18 : x + 25] = small
    image = (2.0 if task else -2.0) * (labels > 0) + 0.2 * rng.normal(size=labels.shape)
    return labels, image.astype(np.float32)


def test_two_tasks_share_a_network_that_answers_the_wrong_one_just_as_well(as_batch):
    torch.manual_seed(0)
    method = load("label_sharing", order="listed")
    network = method.build(
        lambda channels: networks.build("nnunet", 1, channels, width=8, stages=3)
    )
    optimiser = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    for step in range(80):
        shown = [(n % 2, *picture(n % 2, 10 * step + n)) for n in range(6)]
        images = torch.from_numpy(np.stack([image for *_, image in shown]))[:, None]
        codes, sets = as_batch(*((labels, TASKS[task]) for task, labels, _ in shown))
        loss = method.training_loss(network, images, codes, sets, step / 80)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    network.eval()
    for task, other in ((0, 1), (1, 0)):
        labels, image = picture(task, 1000)
        found = {}
        for asked in (task, other):
            method.ask(TASKS[asked])
            with torch.no_grad():
                chances = method.read_out(network, torch.from_numpy(image)[None, None])
            found[asked] = chances.argmax(dim=1)[0].numpy()
        for rank in (0, 1):
            here = labels == TASKS[task][rank]
            assert (found[task][here] == TASKS[task][rank]).mean() > 0.9
            assert (found[other][here] == TASKS[other][rank]).mean() > 0.9


def test_a_run_learns_its_channels_and_predicts_by_its_weights(cohort, settings, tmp_path):
    """The right block is as large as the left; ties and all, the run and its weights agree."""
    given = settings(
        annotation="complete",
        method="label_sharing",
        implementation="label_sharing",
        method_options={"tasks": [[1, 2]], "order": "reversed"},
        network="nnunet",
        network_options={"width": 4, "stages": 3},
        training={"steps": 2, "validate_every": 2},
    )
    training = Training(given, cohort.prepared, cohort.annotated["complete"], tmp_path / "run")
    training.run()
    assert training.method.sizes[1] + training.method.sizes[2] == pytest.approx(1)
    weights = tmp_path / "weights.pt"
    export(training, weights, tmp_path / "history.csv", tmp_path / "run.json")
    saved = torch.load(weights, weights_only=True)
    assert torch.equal(saved["channels"], training.method.channels)
    assert saved["sizes"][1:].tolist() == pytest.approx([*training.method.sizes.values()])

    method = methods.load("label_sharing", 3, given["method_options"])
    network = load_network(given, method, weights)
    row = read_cases(cohort.prepared).iloc[0]
    scan = PreparedScan(cohort.prepared / row.dataset / row.scan)
    assert predict(method, network, scan, given).shape == scan.reference.shape
    assert method.asked == [1, 2]
    predict(method, network, scan)
    assert method.asked is None
