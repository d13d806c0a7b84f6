"""What every file in piecemeal/methods must do, found by itself."""

import types
from pathlib import Path

import numpy as np
import pytest
import torch

from piecemeal import labelsets, methods, networks, registry
from piecemeal.datasets.store import PreparedScan, read_cases
from piecemeal.errors import InputError
from piecemeal.inference import predict
from piecemeal.methods._base import Method, TaskConditioned
from piecemeal.methods.dodnet_tasks import DoDNetTasks
from piecemeal.training.cases import load_cases
from piecemeal.training.data import Batch, Samples
from piecemeal.training.window import Window
from piecemeal.training_specs import MethodConfig
from piecemeal.validation import load_model

ROOT = Path(__file__).resolve().parents[2]
CLASSES = 3
CONFIGS = {p.stem: load_model(p, MethodConfig) for p in (ROOT / "config/methods").glob("*.yaml")}
IMPLEMENTATIONS = registry.known("piecemeal.methods")
OURS = [n for n in IMPLEMENTATIONS if n != "elsewhere"]  # whose predictions are files
TRAINED = [n for n in IMPLEMENTATIONS if methods.load(n, CLASSES).trained]
UNTRAINED = [n for n in IMPLEMENTATIONS if n not in TRAINED]
# Merged structures are not for every method; the refusal has a test of its own.
COMPLETE_ONLY = {"cross_entropy"}
LESSONS = [(name, "complete") for name in TRAINED]
LESSONS += [(name, "half_merged") for name in TRAINED if name not in COMPLETE_ONLY]
STEPS = 20


def slices(cohort, annotation: str):
    """Every training slice of the cohort as one batch."""
    window = {"kind": "slices", "neighbours": 0}
    cases = load_cases(cohort.prepared, cohort.annotated[annotation], "train", CLASSES)
    data = Samples(cases, Window.of(window, cases))
    return data.batch(data.every())


def network_for(method) -> torch.nn.Module:
    """As the method wants it built; one that is told its task where it needs to be."""
    torch.manual_seed(0)
    if isinstance(method, TaskConditioned | DoDNetTasks):
        options = {"width": 4, "dimensions": 2}
        return method.build(lambda n, **told: networks.build("dodnet", 1, n, **options, **told))
    options = {"width": 2, "padding": "same"}
    return method.build(lambda logits: networks.build("baumgartner_unet", 1, logits, **options))


def test_there_are_methods():
    assert {"cross_entropy", "naive_masking", "slac"} <= set(TRAINED)
    assert {"background", "oracle"} <= set(UNTRAINED)


@pytest.mark.parametrize("name", OURS)
def test_has_an_entry_in_the_configuration(name):
    entries = [entry for entry in CONFIGS.values() if entry.implementation == name]
    assert entries
    for entry in entries:
        method = methods.load(name, CLASSES, entry.options)
        assert method.trained == (entry.network is not None)
        assert not method.trained or entry.citation, f"give `citation` in the file of {name}"


@pytest.mark.parametrize("number", [0, 2])
def test_a_file_has_one_method(monkeypatch, number):
    module = types.ModuleType("piecemeal.methods.mine")
    for name in "AB"[:number]:
        setattr(module, name, type(name, (Method,), {"__module__": module.__name__}))
    monkeypatch.setattr(registry, "load", lambda *_: module)
    with pytest.raises(InputError, match=r"methods/mine\.py: subclasses of Method .* expected one"):
        methods.load("mine", CLASSES)


def test_a_method_that_lacks_something_is_told_what(monkeypatch):
    module = types.ModuleType("piecemeal.methods.mine")
    module.Mine = type("Mine", (Method,), {"__module__": module.__name__})
    monkeypatch.setattr(registry, "load", lambda *_: module)
    with pytest.raises(InputError, match=r"methods/mine\.py: Mine has to define loss, as Method"):
        methods.load("mine", CLASSES)


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_unknown_option_is_refused(name):
    with pytest.raises(InputError, match=rf"{name}: unknown options \['no_such_option'\]"):
        methods.load(name, CLASSES, {"no_such_option": 1})


@pytest.mark.parametrize(("name", "annotation"), LESSONS)
def test_learns(cohort, name, annotation):
    method = methods.load(name, CLASSES)
    network, batch = network_for(method), slices(cohort, annotation)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.02)
    losses = []
    for _ in range(STEPS):
        loss = method.loss(network(batch.images), batch.codes, batch.sets)
        assert loss.shape == ()
        optimiser.zero_grad()
        loss.backward()
        for key, parameter in network.named_parameters():
            assert parameter.grad is not None, key
            assert parameter.grad.isfinite().all(), key
        optimiser.step()
        losses.append(loss.item())
    assert np.isfinite(losses).all()
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("name", [n for n in TRAINED if methods.load(n, CLASSES).wants_views])
def test_is_told_which_samples_are_annotated_in_slices(name):
    torch.manual_seed(0)
    method, sets = methods.load(name, CLASSES), torch.eye(CLASSES, dtype=torch.bool).expand(4, 3, 3)
    logits = torch.randn(4, method.output_channels(), 4, 4, 4)
    codes = torch.randint(0, CLASSES, logits[:, 0].shape, dtype=torch.uint8)

    def loss(*views: int) -> float:
        told = torch.tensor(views, dtype=torch.int8)
        return method.training_loss(lambda _: logits, logits, codes, sets, 0.0, views=told).item()

    assert len({loss(-1, -1, -1, -1), loss(0, 0, 0, 0), loss(2, 2, 2, 2)}) == 3
    assert np.isfinite(loss(-1, 0, 1, 2))


@pytest.mark.parametrize("name", TRAINED)
def test_what_lies_outside_a_scan_teaches_nothing(name):
    torch.manual_seed(0)
    method = methods.load(name, CLASSES)
    logits = torch.randn(2, method.output_channels(), 6, 5, requires_grad=True)
    codes = torch.randint(0, CLASSES, (2, 6, 5), dtype=torch.uint8)
    codes[:, 4:] = CLASSES  # a row without any class
    sets = torch.cat([torch.eye(CLASSES), torch.zeros(1, CLASSES)]).bool().expand(2, -1, -1)
    batch = Batch(torch.zeros(2, 1, 6, 5), codes, sets)
    loss = method.loss(logits, codes, batch.sets_for(method))
    (slope,) = torch.autograd.grad(loss, logits)
    assert loss.isfinite()
    assert slope[:, :, :4].any()
    assert not slope[:, :, 4:].any()


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_probabilities(name, kind):
    method = methods.load(name, CLASSES)
    logits = (10 * torch.randn(2, method.output_channels(), 5, 4)).to(kind)
    probabilities = method.probabilities(logits)
    assert probabilities.shape == (2, CLASSES, 5, 4)
    assert probabilities.dtype == torch.float32
    assert probabilities.min() >= 0
    torch.testing.assert_close(probabilities.sum(1), torch.ones(2, 5, 4))


@pytest.mark.parametrize("name", TRAINED)
def test_what_a_network_needs_is_known_of_what_is_made_of_it(name, monkeypatch):
    """Its number format and order of memory, which the loop reads off what the method builds."""
    real = networks.build

    def build(*given, **options):
        network = real(*given, **options)
        network.precision, network.memory_format = "float32", torch.channels_last
        return network

    monkeypatch.setattr(networks, "build", build)
    built = network_for(methods.load(name, CLASSES))
    assert (built.precision, built.memory_format) == ("float32", torch.channels_last)


@pytest.mark.parametrize("name", OURS)
def test_predicts_class_ids_on_the_scan_s_own_voxels(cohort, name):
    method = methods.load(name, CLASSES)
    row = read_cases(cohort.prepared).iloc[0]
    scan = PreparedScan(cohort.prepared / row.dataset / row.scan)
    network = network_for(method).eval() if method.trained else None
    prediction = predict(method, network, scan)
    assert prediction.shape == scan.reference.shape == (3, 32, 36)
    assert prediction.dtype == np.uint8
    assert prediction.max() < CLASSES


@pytest.mark.parametrize("name", UNTRAINED)
def test_an_untrained_method_has_no_loss(name):
    with pytest.raises(TypeError, match="is not trained"):
        methods.load(name, CLASSES).loss(None, None, None)


def test_background_predicts_nothing():
    labels = np.arange(12, dtype=np.uint8).reshape(1, 3, 4) % CLASSES
    probabilities = methods.load("background", CLASSES).without_network(labels)
    assert probabilities.shape == (CLASSES, 1, 3, 4)
    assert (probabilities[0] == 1).all()
    assert (probabilities[1:] == 0).all()


def test_oracle_gives_the_labels_back():
    labels = np.arange(12, dtype=np.uint8).reshape(1, 3, 4) % CLASSES
    probabilities = methods.load("oracle", CLASSES).without_network(labels)
    assert (probabilities.argmax(0) == labels).all()
    assert (probabilities.sum(0) == 1).all()


def test_cross_entropy_refuses_merged_labels_and_passes_over_the_unknown():
    method = methods.load("cross_entropy", CLASSES)
    complete, merged = labelsets.singletons(CLASSES), np.array([[False, True, True]])
    nothing = labelsets.all_classes(CLASSES)[None]
    method.check(np.concatenate([complete, nothing]))
    with pytest.raises(InputError, match="needs complete labels"):
        method.check(np.concatenate([complete, merged]))
    # One voxel of class 1, one of which nothing is known.
    sets = torch.from_numpy(np.concatenate([complete, nothing]))[None]
    logits = torch.tensor([[[0.0, 0.0], [0.0, 5.0], [0.0, -5.0]]])
    loss = method.loss(logits, torch.tensor([[1, CLASSES]], dtype=torch.uint8), sets)
    assert loss.item() == pytest.approx(np.log(3) / 2)


def test_slac_and_naive_masking_differ_on_merged_voxels_only(cohort):
    batch = slices(cohort, "half_merged")
    size = batch.sets.sum(-1).gather(1, batch.codes.flatten(1).long()).view(batch.codes.shape)
    merged = size > 1
    assert merged.any()
    logits = torch.randn(len(batch.images), CLASSES, *batch.codes.shape[1:])
    values = {}
    for name in ("slac", "naive_masking"):
        method = methods.load(name, CLASSES, {"reduction": "none"})
        values[name] = method.loss(logits, batch.codes, batch.sets)
    assert torch.equal(values["slac"] == values["naive_masking"], ~merged)
    assert (values["naive_masking"][merged] == 0).all()
    assert (values["slac"][merged] > 0).all()


@pytest.mark.parametrize("name", ["slac", "naive_masking"])
def test_complete_labels_give_plain_cross_entropy(cohort, name):
    batch = slices(cohort, "complete")
    logits = torch.randn(len(batch.images), CLASSES, *batch.codes.shape[1:])
    batches = (logits, batch.codes, batch.sets)
    plain = methods.load("cross_entropy", CLASSES).loss(*batches)
    torch.testing.assert_close(methods.load(name, CLASSES).loss(*batches), plain)
