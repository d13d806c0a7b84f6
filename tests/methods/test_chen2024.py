"""Self-disambiguation (Chen et al. 2024) and its comparisons: what a step of training learns."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from piecemeal import methods, networks
from piecemeal.ambiguity import ambiguity_terms
from piecemeal.annotations import as_declared, complete
from piecemeal.errors import InputError
from piecemeal.losses import entropy, focal_marginal_cross_entropy, marginal_dice
from piecemeal.methods.dodnet_classes import draw_tasks
from piecemeal.training_specs import MethodConfig
from piecemeal.validation import load_model

FOLDER = Path(__file__).resolve().parents[2] / "config/methods"
CONFIGS = {p.stem: load_model(p, MethodConfig) for p in FOLDER.glob("*.yaml")}
ENTRIES = {name: entry for name, entry in CONFIGS.items() if entry.citation == "chen2024"}

# Background, liver, kidney, spleen.
COMPLETE = [[0], [1], [2], [3]]
LIVER = [[0, 2, 3], [1]]
LIVER_AND_SPLEEN = [[0, 2], [1], [3]]
NOTHING = [[0, 1, 2, 3]]


def tables(*samples):
    """(B, K, 4) of samples that list the classes of each of their sets, padded."""
    sets = torch.zeros(len(samples), max(map(len, samples)), 4, dtype=torch.bool)
    for sample, rows in zip(sets, samples, strict=True):
        for row, members in zip(sample, rows, strict=False):
            row[members] = True
    return sets


class Network:
    """Stands for one: gives the logits, and remembers what it was told."""

    def __init__(self, logits):
        self.logits, self.told = logits, []

    def __call__(self, images, **options):
        self.told.append(options)
        return self.logits


def step(method, logits, codes, sets, **views):
    network = Network(logits)
    return method.training_loss(network, torch.zeros(len(logits), 1), codes, sets, 0.0, **views)


def self_disambiguation(**options):
    return methods.load("self_disambiguation", 4, options)


@pytest.fixture
def batch():
    """A patch that shows the liver, one that misses it, an unlabelled one, and one in slices."""
    torch.manual_seed(0)
    sets = tables(LIVER, LIVER, NOTHING, [*LIVER_AND_SPLEEN, [0, 1, 2, 3]])
    codes = torch.zeros(4, 3, 4, 4, dtype=torch.uint8)
    codes[0, 1] = 1
    codes[3] = torch.tensor([3, 0, 3]).view(3, 1, 1)
    codes[3, 1, 0] = 1
    return torch.randn(4, 4, 3, 4, 4), codes, sets


VIEWS = torch.tensor([-1, -1, -1, 0], dtype=torch.int8)


def test_patches_without_an_annotated_structure_have_three_times_the_entropy(batch):
    logits, codes, sets = batch
    terms = ambiguity_terms(logits, codes, sets, VIEWS)
    assert terms.foreground.tolist() == [True, False, False, True]
    supervised = (terms.cross_entropy + terms.dice).mean()
    method = self_disambiguation()
    found = step(method, logits, codes, sets, views=VIEWS)
    weighted = (torch.tensor([1.0, 3.0, 3.0, 1.0]) * terms.entropy).mean()
    torch.testing.assert_close(found, supervised + weighted)
    assert method.notes["unannotated"] == 0.5
    torch.testing.assert_close(method.notes["entropy"], terms.entropy.mean())
    assert set(method.notes) == set(method.noted)


@pytest.mark.parametrize(
    ("options", "weights"),
    [
        ({"entropy": False}, (0.0, 0.0)),
        ({"entropy_scale": 112 / 17}, (112 / 17, 3 * 112 / 17)),
        ({"unannotated_weight": 1.0}, (1.0, 1.0)),
    ],
)
def test_options_of_the_entropy(batch, options, weights):
    logits, codes, sets = batch
    terms = ambiguity_terms(logits, codes, sets, VIEWS)
    one, three = weights
    weighted = torch.tensor([one, three, three, one]) * terms.entropy
    found = step(self_disambiguation(**options), logits, codes, sets, views=VIEWS)
    torch.testing.assert_close(found, (terms.cross_entropy + terms.dice + weighted).mean())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"gamma": 0.5}, {"gamma": 0.5}),
        ({"dice_classes": "present_in_patch"}, {"present_only": True}),
        ({"slice_dice_defect": True}, {"whole_background": True}),
    ],
)
def test_options_of_the_losses_that_need_labels(batch, options, told):
    logits, codes, sets = batch
    terms = ambiguity_terms(logits, codes, sets, VIEWS, **told)
    method = self_disambiguation(entropy=False, **options)
    found = step(method, logits, codes, sets, views=VIEWS)
    torch.testing.assert_close(found, (terms.cross_entropy + terms.dice).mean())
    plain = step(self_disambiguation(entropy=False), logits, codes, sets, views=VIEWS)
    assert abs(found - plain) > 1e-3


def test_empty_slices_can_be_skipped():
    logits, codes = torch.randn(1, 4, 2, 3, 3), torch.zeros(1, 2, 3, 3, dtype=torch.uint8)
    codes[:, 0, 0] = 1
    views = torch.tensor([0])
    found, first = (
        step(method, logits[:, :, :n], codes[:, :n], tables(LIVER), views=views)
        for method, n in (
            (self_disambiguation(empty_slices="skipped", entropy=False), 2),
            (self_disambiguation(entropy=False), 1),
        )
    )
    torch.testing.assert_close(found, first)


def test_without_views_it_is_the_loss_of_volumes(batch):
    logits, codes, sets = batch
    method = self_disambiguation(entropy=False)
    loss = method.loss(logits, codes, sets)
    torch.testing.assert_close(step(method, logits, codes, sets), loss)
    focal = [
        focal_marginal_cross_entropy(*sample, reduction="known_mean")
        for sample in zip(*(part.split(1) for part in batch), strict=True)
    ]
    expected = torch.stack(focal).mean() + marginal_dice(logits, codes, sets)
    torch.testing.assert_close(loss, expected)


def test_of_unlabelled_scans_the_entropy_alone_is_learned():
    logits, codes = torch.randn(2, 4, 3, 3), torch.zeros(2, 3, 3, dtype=torch.uint8)
    sets = tables(NOTHING, NOTHING)
    found = step(self_disambiguation(), logits, codes, sets)
    torch.testing.assert_close(found, 3 * entropy(logits, codes, sets))
    assert self_disambiguation().loss(logits, codes, sets) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dice_classes": "all"}, "dice_classes: 'all' given, expected one of annotated, present"),
        ({"empty_slices": "kept"}, "empty_slices: 'kept' given, expected one of used, skipped"),
        ({"gamma": -1}, "gamma: -1 given"),
        ({"entropy_scale": -1}, "entropy_scale: -1 given"),
        ({"unannotated_weight": math.nan}, "unannotated_weight: nan given"),
    ],
)
def test_options_that_are_none_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        self_disambiguation(**options)


# ---- comparisons ----


def test_a_task_is_drawn_of_those_that_a_sample_teaches():
    torch.manual_seed(0)
    sets = tables(COMPLETE, LIVER, LIVER_AND_SPLEEN, NOTHING)
    draws = [draw_tasks(sets) for _ in range(300)]
    assert all(taught.tolist() == [True, True, True, False] for _, taught in draws)
    counts = torch.stack([tasks for tasks, _ in draws], dim=1)
    of_sample = [torch.bincount(row, minlength=3).tolist() for row in counts]
    assert min(of_sample[0]) > 70
    assert of_sample[1] == [300, 0, 0]
    assert of_sample[2][1] == 0
    assert min(of_sample[2][0], of_sample[2][2]) > 110
    assert of_sample[3] == [300, 0, 0]


def test_a_task_is_the_class_that_a_sample_was_drawn_to_show():
    """Not if that is the background, nothing, or a class that the sample cannot teach."""
    sets = tables(*[COMPLETE] * 3, *[LIVER_AND_SPLEEN] * 3, NOTHING)
    shown = torch.tensor([1, 2, 3, 3, 0, 2, 2], dtype=torch.int16)
    torch.manual_seed(0)
    drawn = torch.stack([draw_tasks(sets, shown)[0] for _ in range(60)], dim=1).tolist()
    assert [set(tasks) for tasks in drawn] == [{0}, {1}, {2}, {2}, {0, 2}, {0, 2}, {0}]


def test_dodnet_is_told_the_class_that_a_sample_was_drawn_to_show():
    method, network = methods.load("dodnet_classes", 4), Network(torch.zeros(2, 1, 3))
    assert method.wants_shown
    given = torch.zeros(2, 1, 3), torch.zeros(2, 3, dtype=torch.uint8), tables(COMPLETE, COMPLETE)
    method.training_loss(network, *given, 0.0, shown=torch.tensor([3, 1], dtype=torch.int16))
    assert network.told[0]["task"].tolist() == [2, 0]


def test_the_same_seed_draws_the_same_tasks():
    sets = tables(*[COMPLETE] * 20)
    drawn = []
    for _ in range(2):
        torch.manual_seed(5)
        drawn.append(draw_tasks(sets)[0].tolist())
    assert drawn[0] == drawn[1]


def test_dodnet_learns_the_structure_of_each_sample_that_was_drawn(monkeypatch):
    """The liver was asked for in the first, the spleen in the second; the third teaches nothing."""
    method, sets = methods.load("dodnet_classes", 4), tables(COMPLETE, LIVER_AND_SPLEEN, NOTHING)
    drawn = torch.tensor([0, 2, 0]), torch.tensor([True, True, False])
    monkeypatch.setattr("piecemeal.methods.dodnet_classes.draw_tasks", lambda *_: drawn)
    codes = torch.tensor([[0, 1, 2], [0, 1, 2], [0, 0, 0]])
    chances = torch.tensor([[0.2, 0.7, 0.4], [0.5, 0.1, 0.6], [0.9, 0.9, 0.9]])
    logits = torch.logit(chances).unsqueeze(1).requires_grad_()
    network = Network(logits)
    loss = method.training_loss(network, torch.zeros(3, 1, 3), codes, sets, 0.0)
    (told,) = network.told
    assert told["task"].tolist() == [0, 2, 0]
    first = 1 - 2 * 0.7 / (1.3 + 1 + 1) - math.log(0.8 * 0.7 * 0.6) / 3
    second = 1 - 2 * 0.6 / (1.2 + 1 + 1) - math.log(0.5 * 0.9 * 0.6) / 3
    assert loss.item() == pytest.approx((first + second) / 2, abs=1e-6)
    loss.backward()
    assert logits.grad.ne(0).flatten(1).any(1).tolist() == [True, True, False]


def test_dodnet_with_nothing_to_teach_has_no_loss_and_no_gradient():
    logits = torch.randn(2, 1, 4, requires_grad=True)
    codes = torch.zeros(2, 4, dtype=torch.uint8)
    loss = step(methods.load("dodnet_classes", 4), logits, codes, tables(NOTHING, NOTHING))
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


def test_dodnet_s_loss_of_all_tasks_is_the_mean_of_those_of_each(monkeypatch):
    method, sets = methods.load("dodnet_classes", 4), tables(COMPLETE, COMPLETE)
    logits, codes = torch.randn(2, 3, 6), torch.randint(0, 4, (2, 6))
    found = []
    for task in range(3):
        drawn = torch.tensor([task, task]), torch.tensor([True, True])
        monkeypatch.setattr(
            "piecemeal.methods.dodnet_classes.draw_tasks", lambda *_, drawn=drawn: drawn
        )
        found.append(step(method, logits[:, task : task + 1], codes, sets))
    torch.testing.assert_close(torch.stack(found).mean(), method.loss(logits, codes, sets))


def test_clip_driven_learns_all_structures_that_are_taught_from_one_pass():
    method, sets = methods.load("clip_driven", 4), tables(COMPLETE, LIVER)
    logits, codes = torch.randn(2, 3, 5, requires_grad=True), torch.randint(0, 2, (2, 5))
    network = Network(logits)
    loss = method.training_loss(network, torch.zeros(2, 1, 5), codes, sets, 0.0)
    assert network.told == [{}]
    torch.testing.assert_close(loss, methods.load("dodnet", 4).loss(logits, codes, sets))
    loss.backward()
    assert logits.grad.ne(0).any(2).tolist() == [[True] * 3, [True, False, False]]


@pytest.mark.parametrize("name", ["dodnet_classes", "clip_driven"])
def test_comparisons_on_their_network(name):
    """A step moves everything, and one pass of the backbone predicts as one for each structure."""
    torch.manual_seed(0)
    method, entry = methods.load(name, 4), ENTRIES[name]
    small = {"root": 2, "tokens": 8, "depth": 1, "heads": 2, "patch": 32}
    options = entry.network.options | small
    network = method.build(lambda n, **k: networks.build(entry.network.name, 1, n, **options, **k))
    images, codes = torch.randn(2, 1, 32, 32, 32), torch.randint(0, 4, (2, 32, 32, 32)).byte()
    sets = tables(COMPLETE, COMPLETE)
    method.training_loss(network, images, codes, sets, 0.0).backward()
    of_structures = {key for key, p in network.named_parameters() if p.grad is None}
    assert not of_structures
    passes = []
    network.backbone.register_forward_hook(lambda *_: passes.append(1))
    found = []
    with torch.inference_mode():
        for method.one_pass in (False, True):
            found.append(method.read_out(network, images[:1]))
    assert len(passes) == 3 + 1
    assert torch.equal(*found)
    assert found[0].shape == (1, 4, 32, 32, 32)


# ---- scans of which nobody drew anything ----


@pytest.fixture
def found_empty():
    """The tables of a scan without a structure, where only what it shows counts as asked for."""
    said = as_declared(complete(np.zeros((3, 3), int), 4), [])
    return torch.from_numpy(said.sets)[None]


def test_a_scan_that_shows_no_structure_is_learned_by_its_entropy_alone(found_empty):
    logits, codes = torch.randn(1, 4, 3, 3), torch.zeros(1, 3, 3, dtype=torch.uint8)
    terms = ambiguity_terms(logits, codes, found_empty)
    assert (terms.cross_entropy, terms.dice) == (0, 0)
    torch.testing.assert_close(terms.entropy, entropy(logits, codes, found_empty)[None])
    expected = 3 * entropy(logits, codes, found_empty)
    torch.testing.assert_close(step(self_disambiguation(), logits, codes, found_empty), expected)


@pytest.mark.parametrize("name", ["clip_driven", "dodnet_classes"])
def test_a_scan_that_shows_no_structure_teaches_none(found_empty, name):
    method = methods.load(name, 4)
    codes = torch.zeros(2, 3, 3, dtype=torch.uint8)
    codes[0, 0] = 1
    sets = torch.cat([tables(COMPLETE), found_empty])
    logits = torch.randn(2, 3, 3, 3)
    alone = method.loss(logits[:1], codes[:1], sets[:1])
    torch.testing.assert_close(method.loss(logits, codes, sets), alone)


# ---- settings ----


def test_every_arm_has_the_published_settings():
    assert len(ENTRIES) == 18
    for name, entry in ENTRIES.items():
        optimiser = entry.optimiser
        assert (optimiser.name, optimiser.learning_rate, optimiser.weight_decay) == (
            *("adamw", 0.001, 0.00001),
        )
        assert (optimiser.decay.kind, optimiser.decay.power) == ("polynomial", 0.9)
        assert entry.batch_size == 8
        side = 96 if name.endswith("swin_unetr") else 112
        assert entry.input.size == (side,) * 3
        assert (entry.inference.overlap, entry.inference.weights) == (0.5, "uniform")
        told = name in ("dodnet_classes", "clip_driven")  # of a structure, never of none
        assert entry.sampler.name == "cases" or entry.sampler.background != told
        rotation, scaling = entry.augmentation.rotation, entry.augmentation.scaling
        assert rotation.degrees == (-15, 15)
        assert scaling.factor == (0.9, 1.1)
        in_slices = {"axial", "coronal", "sagittal"} & set(name.split("_")) != set()
        skips = in_slices and not name.endswith("_declared")
        assert (entry.options.get("empty_slices", "used") == "skipped") == skips
        in_slices &= "hybrid" not in name
        assert (rotation.tilt_degrees is None) == (not scaling.through_plane) == in_slices
        assert ("hybrid" in name) == (entry.sampler.name == "hybrid")


@pytest.mark.parametrize(("view", "axis"), [("axial", "z"), ("coronal", "y"), ("sagittal", "x")])
def test_slices_are_turned_about_the_axis_across_them(view, axis):
    augmentation = ENTRIES[f"self_disambiguation_{view}"].augmentation
    assert augmentation.rotation.about == augmentation.scaling.about == axis
