import errno
import json
import logging
import math
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from piecemeal.augmentation_specs import AugmentationConfig
from piecemeal.datasets.case_table import write_cases
from piecemeal.errors import InputError
from piecemeal.provenance import file_sha256
from piecemeal.training import loop, runtime
from piecemeal.training.loop import Training
from piecemeal.training.record import minutes_per_epoch
from piecemeal.training.results import export, load_network
from piecemeal.training.validation import Watched


@pytest.fixture
def train(cohort, settings, tmp_path):
    """Makes a Training of the tiny cohort that keeps its checkpoint in `folder`."""

    def make(folder="run", training=(), workers=None, starts_from=None, **changes) -> Training:
        s = settings(training, **changes)
        annotated = cohort.annotated[s["annotation"]]
        given = (s, cohort.prepared, annotated, tmp_path / folder)
        return Training(*given, workers=workers, starts_from=starts_from)

    return make


def finished(training: Training) -> Training:
    training.run()
    return training


def weights_of(training: Training) -> dict[str, torch.Tensor]:
    return training.state["best_weights"]


def equal(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


def losses(training: Training) -> list[tuple]:
    return [(r["step"], r["loss"], r["validation_loss"]) for r in training.state["history"]]


class StopAfter:
    """Raises a signal of a running training once it has done so many steps."""

    def __init__(self, training: Training, steps: int, number: int, monkeypatch):
        real = loop.learning_rate

        def learning_rate(step, *rest):
            if step == steps:
                signal.raise_signal(number)
            return real(step, *rest)

        monkeypatch.setattr(loop, "learning_rate", learning_rate)


class Clock:
    """The loop's clock: it moves only where `slow` says that something takes time."""

    def __init__(self, monkeypatch):
        self.now, self.patch = 1000.0, monkeypatch
        monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: self.now))
        self.slow(loop, "learning_rate", 1)

    def slow(self, owner, name: str, seconds: float) -> None:
        real = getattr(owner, name)

        def slowed(*given):
            self.now += seconds
            return real(*given)

        self.patch.setattr(owner, name, slowed)


@pytest.fixture
def clock(monkeypatch):
    """A step takes 1 s, and nothing else takes any time."""
    return Clock(monkeypatch)


def test_loss_falls(train):
    rows = losses(finished(train(training={"steps": 40, "validate_every": 20})))
    assert rows[-1][1] < 0.8 * rows[0][1]


def test_history_has_the_step_of_every_validation(train):
    """25 is no multiple of 25 // 10 = 2, yet the row of step 25 is there and is its own."""
    rows = losses(finished(train(training={"steps": 52, "validate_every": 25})))
    steps = [step for step, _, _ in rows]
    assert steps == sorted({*range(2, 53, 2), 25})
    validated = [step for step, _, validation in rows if validation is not None]
    assert validated == [25, 50, 52]


def test_history_holds_means_since_the_row_before(train):
    every_step = losses(finished(train("a", training={"steps": 8, "validate_every": 4})))
    sparse = losses(finished(train("b", training={"steps": 8, "validate_every": 40})))
    assert [step for step, _, _ in every_step] == list(range(1, 9))
    assert [step for step, _, _ in sparse] == [4, 8]
    for (_, mean, _), first in zip(sparse, (0, 4), strict=True):
        single = [loss for _, loss, _ in every_step[first : first + 4]]
        assert mean == pytest.approx(np.mean(single))


def test_same_seed_same_bits_another_seed_another_run(train):
    one, two, other = finished(train("a")), finished(train("b")), finished(train("c", seed=1))
    assert equal(weights_of(one), weights_of(two))
    assert losses(one) == losses(two)
    assert not equal(weights_of(one), weights_of(other))


AUGMENTED = AugmentationConfig.model_validate(
    {
        "flip": {"x": 0.5},
        "rotation": {"probability": 0.5, "degrees": [-20, 20]},
        "noise": {"probability": 0.5, "sigma": [0.0, 0.1]},
        "cutmix": {"probability": 0.5},
    }
).model_dump()


def test_workers_change_nothing(train):
    runs = [
        finished(train(str(n), workers=n, augmentation=AUGMENTED, sampler={"name": "cases"}))
        for n in (0, 2)
    ]
    assert equal(*map(weights_of, runs))
    assert losses(runs[0]) == losses(runs[1])


def test_augmentation_and_sampler_change_the_run(train):
    plain = finished(train("plain"))
    for name, changes in {
        "augmented": {"augmentation": AUGMENTED},
        "sampled": {"sampler": {"name": "foreground", "fraction": 0.5}},
    }.items():
        assert losses(finished(train(name, **changes))) != losses(plain)


def test_patches_that_are_turned_are_read_with_a_margin(train, monkeypatch):
    patches = {"kind": "patches", "size": [16, 16, 16]}
    volumes = {"network": "unet_plus_plus", "network_options": {"features": 6 * [2]}}
    turned = {"rotation": {"probability": 1, "degrees": (-45, 45)}}
    augmented = AugmentationConfig.model_validate(turned).model_dump()
    given = {"input": patches, "augmentation": augmented, "batch_size": 2, **volumes}
    training, spaces = train(training={"steps": 2, "validate_every": 2}, **given), []
    real = training.method.loss

    def loss(logits, codes, sets):
        spaces.append(tuple(codes.shape[1:]))
        return real(logits, codes, sets)

    monkeypatch.setattr(training.method, "loss", loss)
    finished(training)
    assert training.data.margin == (0, 4, 4)  # 8 (cos 45 + sin 45) - 8
    assert set(spaces) == {(16, 16, 16)}
    assert training.data.batch(training.data.every()[:1]).images.shape[2:] == (16, 24, 24)
    assert training.validation_data.margin == (0, 0, 0)


def test_slices_with_neighbours_have_channels(train):
    training = finished(train(input={"kind": "slices", "neighbours": 1}))
    first = next(iter(training.network.parameters()))
    assert first.shape[1] == 3


def test_methods_of_a_seed_start_alike(train):
    """Same initialisation and same batches: arms differ by their method alone."""
    trainings = [train("a"), train("b", method="other", implementation="naive_masking")]
    for training in trainings:
        training._build()
    one, two = (t.network.state_dict() for t in trainings)
    assert equal(one, two)


def test_the_weights_of_the_lowest_validation_loss_are_kept(train, monkeypatch):
    wanted, seen = [3.0, 1.0, 2.0, 1.0, 5.0], {}
    training = train(training={"steps": 10, "validate_every": 2})

    class Scripted:
        """In evaluation the loss is as written down above; in training it is the method's."""

        def __init__(self, method):
            self.method = method

        def __getattr__(self, name):
            return getattr(self.method, name)

        def loss(self, logits, codes, sets):
            if training.network.training:
                return self.method.loss(logits, codes, sets)
            state = training.network.state_dict()
            seen[training.state["step"]] = {k: v.clone() for k, v in state.items()}
            return torch.tensor(wanted[training.state["step"] // 2 - 1])

    training.method = Scripted(training.method)
    training.run()
    # The first of two equal ones.
    assert training.state["best_step"] == 4
    assert training.state["best"] == 1.0
    assert equal(weights_of(training), seen[4])
    assert not equal(weights_of(training), seen[10])
    assert [v for _, _, v in losses(training) if v is not None] == wanted


def test_the_weights_of_the_highest_dice_are_kept_where_dice_selects(train, monkeypatch):
    seen = iter([Watched(1.0, 0.2), Watched(2.0, 0.7), Watched(0.5, 0.7), Watched(math.nan, 0.9)])
    training = train(training={"steps": 8, "validate_every": 2}, selection="dice")
    monkeypatch.setattr(loop, "validate", lambda *_: next(seen))
    training.run()
    # The first of two equal ones; without a finite loss weights are broken.
    assert training.state["best_step"] == 4
    assert training.state["best"] == pytest.approx(0.3)


def test_patience_stops(train, monkeypatch):
    training = train(training={"steps": 40, "validate_every": 2, "patience": 3})
    real = training._validate

    def worse_and_worse(data):
        real(data)
        state = training.state
        if state["step"] > 4:
            state["since_best"] = (state["step"] - 4) // 2

    monkeypatch.setattr(training, "_validate", worse_and_worse)
    training.run()
    assert training.state["stopped"] == "patience"
    assert training.state["step"] == 10


def test_before_a_method_is_watched_no_weights_are_chosen_and_nothing_stops(train, monkeypatch):
    training = train(training={"steps": 12, "validate_every": 2, "patience": 1})
    monkeypatch.setattr(type(training.method), "watched_from", 0.5)
    monkeypatch.setattr(loop, "validate", lambda *_: Watched(1.0, 0.5))  # never better again
    training.run()
    rows = [row["step"] for row in training.state["history"] if row["validation_loss"] is not None]
    assert rows == [2, 4, 6, 8, 10]  # watched from step 6 on: 8 is the best, 10 no better
    assert training.state["best_step"] == 8
    assert training.state["stopped"] == "patience"


def test_what_a_method_notes_is_in_the_history_and_survives_a_stop(train, tmp_path, monkeypatch):
    """It notes the share of the training that is over; a row is the mean since the row before."""

    def noting(training):
        monkeypatch.setattr(type(training.method), "noted", ("over",))
        real = training.method.loss

        def training_loss(forward, images, codes, sets, done):
            training.method.notes = {"over": torch.tensor(done)}
            return real(forward(images), codes, sets)

        training.method.training_loss = training_loss
        return training

    plan = {"steps": 8, "validate_every": 40}  # rows of the history at steps 4 and 8
    with monkeypatch.context() as patch:
        StopAfter(noting(train(training=plan)), 6, signal.SIGTERM, patch)
        with pytest.raises(SystemExit):
            noting(train(training=plan)).run()
    training = finished(noting(train(training=plan)))
    table = pd.read_csv(exported(training, tmp_path / "out")[1])
    assert table["over"].tolist() == pytest.approx([1.5 / 8, 5.5 / 8])


def test_parts_of_slices_are_trained_on_and_whole_slices_watched(train, monkeypatch):
    seen = {"trained": set(), "watched": set()}
    training = train(input={"kind": "slices", "neighbours": 1, "crop": 0.5})
    real = training.method.loss

    def loss(logits, codes, sets):
        seen["trained" if logits.requires_grad else "watched"].add(tuple(codes.shape[1:]))
        return real(logits, codes, sets)

    training.method.loss = loss
    training.run()
    assert seen == {"trained": {(16, 16)}, "watched": {(32, 32)}}
    assert training.state["training_samples"] == 12  # slices, whatever part of them is seen


def test_a_step_is_told_what_its_method_asks_for(train, monkeypatch):
    training, told = train(training={"steps": 1}), []
    real = training.method.training_loss
    for name in ("shown", "tables"):
        monkeypatch.setattr(training.method, f"wants_{name}", True, raising=False)

    def loss(forward, images, codes, sets, done, **named):
        told.append((sets, named))
        return real(forward, images, codes, sets, done)

    monkeypatch.setattr(training.method, "training_loss", loss)
    training.run()
    ((sets, named),) = told
    assert named.keys() == {"shown", "tables"}
    assert torch.equal(named["tables"], sets)
    assert named["shown"].tolist() == [-1] * len(sets)


def test_unlabelled_scans_are_not_watched(train):
    training = train(annotation="half_unlabelled")
    training._build()
    assert any(not case.is_labelled for case in training.data.cases)
    assert len(training.validation_data.cases) == 1


def test_without_a_labelled_scan_to_watch_a_run_does_not_begin(train):
    said = r"unlabelled/cases\.csv: no case of the split 'validation' is labelled, .*; enlarge"
    with pytest.raises(InputError, match=said):
        train(annotation="unlabelled").run()


def test_a_method_says_how_many_rows_a_process_needs(train):
    training = train(batch_size=5)
    training.method.least_rows, training.group.size = 3, 2
    with pytest.raises(InputError, match="each needs at least 3; start at most 1,"):
        training._build()


def test_without_patience_all_steps_are_done(train):
    training = finished(train(training={"steps": 5, "validate_every": 1}))
    assert training.state["step"] == 5
    assert training.state["stopped"] == "steps"


def test_a_loss_that_is_not_finite_names_the_configuration(train):
    training = train()
    training.settings["optimiser"]["learning_rate"] = 1e30
    with pytest.raises(InputError, match=r"loss is (nan|inf).*config/methods/slac\.yaml"):
        training.run()


def test_no_finite_validation_loss_names_the_configuration(train, tmp_path, monkeypatch):
    training = train()

    def nan(data):
        training.state["history"][-1]["validation_loss"] = math.nan

    monkeypatch.setattr(training, "_validate", nan)
    training.run()
    with pytest.raises(InputError, match=r"no validation loss was finite.*methods/slac\.yaml"):
        export(training, tmp_path / "w.pt", tmp_path / "h.csv", tmp_path / "r.json")


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGINT])
def test_a_stopped_run_goes_on_to_the_same_bits(train, monkeypatch, number):
    # A row of the history every 4 steps, so that it stops in the middle of one.
    rows = {"validate_every": 40}
    whole = finished(train("whole", training=rows))
    with monkeypatch.context() as patch:
        StopAfter(train("halved", training=rows), 5, number, patch)
        with pytest.raises(SystemExit) as stopped:
            train("halved", training=rows).run()
    assert stopped.value.code == runtime.REQUEUE == 75
    torch.rand(7)  # what the process drew meanwhile must not matter
    halved = finished(train("halved", training=rows))
    assert halved.state["resumed_at"] == [6]
    assert equal(weights_of(halved), weights_of(whole))
    assert losses(halved) == losses(whole)


def test_a_finished_run_is_not_trained_again(train, monkeypatch):
    first = finished(train())
    monkeypatch.setattr(loop, "learning_rate", None)
    second = finished(train())
    assert equal(weights_of(second), weights_of(first))
    assert second.state["resumed_at"] == []


def test_a_checkpoint_of_another_configuration_is_refused(train):
    finished(train())
    with pytest.raises(InputError, match="checkpoint of another configuration"):
        train(hash="9999999999").run()


@pytest.fixture
def replace_data(cohort, tmp_path, monkeypatch):
    """Give the cohort folders of its own, and replace what one of them holds."""
    folders = {"prepared": cohort.prepared, **cohort.annotated}
    for name in ("prepared", "half_merged"):
        folders[name] = Path(shutil.copytree(folders[name], tmp_path / name))
    monkeypatch.setattr(cohort, "prepared", folders.pop("prepared"))
    monkeypatch.setattr(cohort, "annotated", folders)

    def replace(name: str) -> None:
        table = tmp_path / name / "cases.csv"
        write_cases(table.parent, table.read_text() + "\n")

    return replace


@pytest.mark.parametrize("changed", ["prepared", "half_merged"])
def test_a_checkpoint_of_other_data_is_refused(train, replace_data, monkeypatch, changed):
    with monkeypatch.context() as patch:
        StopAfter(train(), 9, signal.SIGTERM, patch)
        with pytest.raises(SystemExit):
            train().run()
    replace_data(changed)
    with pytest.raises(InputError, match="checkpoint of other data than are prepared"):
        train().run()


@pytest.mark.parametrize("implementation", ["slac", "background"])
def test_the_record_has_the_data_that_were_loaded(
    train, cohort, replace_data, tmp_path, implementation
):
    files = [folder / "cases.csv" for folder in (cohort.prepared, cohort.annotated["half_merged"])]
    loaded = [file_sha256(path) for path in files]
    training = finished(train(implementation=implementation))
    for name in ("prepared", "half_merged"):
        replace_data(name)
    content = json.loads(exported(training, tmp_path / "out")[2].read_text())
    assert [content["data_manifest_sha256"], content["annotation_sha256"]] == loaded


def test_a_full_disk_stops_the_run_and_the_next_start_goes_on(train, monkeypatch):
    whole = finished(train("whole"))
    training = train("full", training={"checkpoint_seconds": 0})
    real, saved = torch.save, []

    def save(state, path):
        if len(saved) == 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        saved.append(state["step"])
        real(state, path)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", save)
        with pytest.raises(InputError, match="the previous checkpoint is kept; make room"):
            training.run()
    again = finished(train("full"))
    assert again.state["resumed_at"] == [4]
    assert equal(weights_of(again), weights_of(whole))


def test_bfloat16_trains(train):
    training = finished(train(training={"precision": "bfloat16"}))
    assert training.state["precision"] == "bfloat16"
    assert all(math.isfinite(loss) for _, loss, _ in losses(training))
    assert {w.dtype for w in weights_of(training).values()} == {torch.float32, torch.int64}


def test_a_resumed_run_keeps_its_precision(train, monkeypatch):
    automatic = {"precision": "auto"}
    with monkeypatch.context() as patch:
        patch.setattr(runtime, "_convolution_seconds", {torch.float32: 1, torch.bfloat16: 2}.get)
        StopAfter(train(training=automatic), 3, signal.SIGTERM, patch)
        with pytest.raises(SystemExit):
            train(training=automatic).run()
    monkeypatch.setattr(runtime, "_convolution_seconds", {torch.float32: 2, torch.bfloat16: 1}.get)
    assert finished(train(training=automatic)).state["precision"] == "float32"


def exported(training: Training, folder) -> tuple:
    paths = (folder / "weights.pt", folder / "history.csv", folder / "run.json")
    export(training, *paths)
    return paths


def test_exported_files(train, cohort, tmp_path):
    training = finished(train())
    weights, history, record = exported(training, tmp_path / "out")
    assert equal(torch.load(weights, weights_only=True), weights_of(training))
    table = pd.read_csv(history)
    assert list(table.columns)[:4] == ["step", "loss", "lr", "seconds"]
    assert table["step"].is_monotonic_increasing
    assert table["lr"].tolist()[:3] == pytest.approx([0.001, 0.001, 0.01])
    content = json.loads(record.read_text())
    assert content["hash"] == training.settings["hash"]
    assert content["config"] == training.settings
    assert content["weights_sha256"] == file_sha256(weights)
    assert content["annotation_sha256"] == file_sha256(
        cohort.annotated["half_merged"] / "cases.csv"
    )
    parameters = sum(p.numel() for p in training.network.parameters())
    assert content["parameters"] == parameters
    assert content["steps"] == 12
    assert content["best_step"] in (4, 8, 12)
    assert content["gpu_hours"] == 0 or torch.cuda.is_available()
    keys = [
        "commit",
        "clean",
        "source_hash",
        "data_sources",
        "data_manifest_sha256",
        "lock_sha256",
        "device",
    ]
    keys += ["seconds", "peak_memory_mib", "resumed_at_steps", "precision", "torch", "threads"]
    assert content.keys() >= set(keys)


def last_of(training: Training, folder) -> dict[str, torch.Tensor]:
    """The exported weights of the last step."""
    names = ("weights.pt", "history.csv", "run.json", "last.pt")
    export(training, *(folder / name for name in names))
    return torch.load(folder / "last.pt", weights_only=True)


@pytest.mark.parametrize(("watched", "kept"), [([1.0, 2.0], 4), ([2.0, 1.0], 8)])
def test_the_last_weights_are_those_of_the_best_step_only_if_it_is_the_last(
    train, tmp_path, monkeypatch, watched, kept
):
    found = iter(watched)
    monkeypatch.setattr(loop, "validate", lambda *_: Watched(next(found), 0.5))
    training = finished(train(training={"steps": 8, "validate_every": 4}))
    last = last_of(training, tmp_path / "out")
    assert training.state["best_step"] == kept
    assert equal(last, dict(training.network.state_dict()))
    assert equal(last, torch.load(tmp_path / "out" / "weights.pt", weights_only=True)) == (
        kept == 8
    )


def test_a_finished_run_exports_the_same_last_weights_again(train, tmp_path, monkeypatch):
    found = iter([1.0, 2.0])  # the best ones are others
    monkeypatch.setattr(loop, "validate", lambda *_: Watched(next(found), 0.5))
    steps = {"steps": 8, "validate_every": 4}
    first = last_of(finished(train(training=steps)), tmp_path / "first")
    second = last_of(finished(train(training=steps)), tmp_path / "second")
    assert equal(first, second)
    for name in ("last.pt", "weights.pt"):
        bytes_of = [(tmp_path / folder / name).read_bytes() for folder in ("first", "second")]
        assert bytes_of[0] == bytes_of[1]


def test_last_weights_are_written_only_if_they_are_asked_for(train, tmp_path):
    exported(finished(train()), tmp_path / "out")
    assert not (tmp_path / "out" / "last.pt").exists()


def test_exported_weights_are_those_of_the_network(train, tmp_path):
    training = finished(train())
    weights, _, _ = exported(training, tmp_path / "out")
    network = load_network(training.settings, training.method, weights)
    assert not network.training
    assert equal(network.state_dict(), weights_of(training))


def test_a_method_without_training_leaves_its_record(train, tmp_path):
    none = {"network": None, "network_options": {}, "optimiser": None, "batch_size": None}
    training = finished(train(method="oracle", implementation="oracle", **none))
    weights, history, record = exported(training, tmp_path / "out")
    assert torch.load(weights, weights_only=True) == {}
    assert history.read_text() == "step,loss,lr,seconds,validation_loss,validation_dice\n"
    assert last_of(training, tmp_path / "again") == {}
    content = json.loads(record.read_text())
    assert content["stopped"] == "not trained"
    assert content["parameters"] == content["steps"] == content["training_seconds"] == 0
    assert content["best_step"] is None
    assert content["minutes_per_epoch"] is None


def test_training_time_is_that_of_the_steps_alone(train, clock):
    """12 steps of 1 s, 3 validations of 100 s, 12 checkpoints of 10,000 s before the last one."""
    training = train(training={"checkpoint_seconds": 0})
    clock.slow(training, "_validate", 100)
    clock.slow(training.checkpoint, "save", 10_000)
    training.run()
    assert training.state["training_seconds"] == 12
    assert training.state["seconds"] == 12 + 3 * 100 + 12 * 10_000


def test_times_of_a_stopped_run_go_on(train, clock, monkeypatch):
    """Stopped at step 6, after the first of 3 validations; the hour in between is not the run's."""

    def part():
        training = train()
        clock.slow(training, "_validate", 100)
        return training

    with monkeypatch.context() as patch:
        StopAfter(train(), 5, signal.SIGTERM, patch)
        with pytest.raises(SystemExit):
            part().run()
    clock.now += 3600
    resumed = finished(part())
    assert resumed.state["training_seconds"] == 12
    assert resumed.state["seconds"] == 12 + 3 * 100
    assert resumed.state["history"][-1]["seconds"] == 12 + 2 * 100


def test_steps_that_the_device_still_computes_are_counted(train, clock, monkeypatch):
    """A device on which steps take no time, and whoever reads a number waits 5 s for each."""
    waiting, real = [], torch.Tensor.item
    clock.slow(loop, "learning_rate", -1)

    def learning_rate(*given, rate=loop.learning_rate):
        waiting.append(5)
        return rate(*given)

    def item(tensor):
        clock.now += sum(waiting)
        waiting.clear()
        return real(tensor)

    monkeypatch.setattr(loop, "learning_rate", learning_rate)
    monkeypatch.setattr(torch.Tensor, "item", item)
    # A row of the history every 4 steps; the signal has it saved in the middle of one.
    rows = {"validate_every": 40}
    with monkeypatch.context() as patch:
        StopAfter(train(training=rows), 5, signal.SIGTERM, patch)
        with pytest.raises(SystemExit):
            train(training=rows).run()
    training = train(training=rows)
    assert training.checkpoint.load()["training_seconds"] == 6 * 5
    training.run()
    assert training.state["training_seconds"] == training.state["seconds"] == 12 * 5


@pytest.mark.parametrize(("samples", "minutes"), [(8, 0.1), (9, 0.15), (3, 0.05)])
def test_minutes_per_epoch(samples, minutes):
    """30 s for 10 steps: 3 s a step. 8 samples are 2 batches of 4; 9 are 3; 3 are 1."""
    assert minutes_per_epoch(30.0, 10, samples, 4) == pytest.approx(minutes)


def test_the_record_says_what_a_pass_over_the_training_data_takes(train, clock, tmp_path):
    """4 scans of 3 slices are 3 batches of 4, so 3 s."""
    training = train()
    clock.slow(training, "_validate", 100)
    _, _, record = exported(finished(training), tmp_path / "out")
    content = json.loads(record.read_text())
    assert (content["training_seconds"], content["training_samples"]) == (12, 12)
    assert content["minutes_per_epoch"] == pytest.approx(3 / 60)


def test_progress_is_logged_without_a_terminal(train, caplog):
    with caplog.at_level(logging.INFO):
        finished(train())
    assert any("step 12/12, loss" in message for message in caplog.messages)


def test_the_validation_dice_is_that_of_the_kept_networks_predictions(train):
    training = finished(train())
    data = training.validation_data
    everything = data.every()
    images = data.batch(everything).images
    training.network.eval()
    with torch.no_grad():
        found = training.network(images).argmax(1)
    labels = data.labels(everything)
    dice = [
        2 * ((found == c) & (labels == c)).sum() / ((found == c).sum() + (labels == c).sum())
        for c in range(1, training.method.classes)
    ]
    last = training.state["history"][-1]["validation_dice"]
    assert last == pytest.approx(float(sum(dice)) / len(dice), abs=1e-6)


class TestARunThatStartsFromAnother:
    @pytest.fixture
    def earlier(self, train, tmp_path):
        """A finished run, and the file of its weights."""
        run = finished(train("earlier"))
        export(run, *(tmp_path / "earlier" / n for n in ("weights.pt", "h.csv", "run.json")))
        return run, tmp_path / "earlier" / "weights.pt"

    def test_begins_with_its_weights(self, train, earlier, settings):
        before, file = earlier
        barely = {"name": "sgd", "learning_rate": 1e-12, "momentum": 0.0, "nesterov": False}
        barely = settings()["optimiser"] | barely
        later = finished(train("later", starts_from=file, optimiser=barely, hash="1123456789"))
        old, new = weights_of(before), weights_of(later)
        learned = [name for name in old if name.endswith("weight")]
        assert learned
        assert all(torch.allclose(old[name], new[name], atol=1e-6) for name in learned)
        fresh = finished(train("fresh", optimiser=barely, hash="2123456789"))
        assert not torch.allclose(old[learned[0]], weights_of(fresh)[learned[0]], atol=1e-6)

    def test_takes_steps_and_rates_of_its_own(self, train, earlier):
        later = finished(train("later", starts_from=earlier[1], hash="1123456789"))
        assert later.state["step"] == 12
        assert later.state["history"][0]["step"] == 1

    def test_of_no_length_has_its_weights_as_they_are(self, train, earlier, tmp_path):
        before, file = earlier
        run = finished(train("later", {"steps": 0}, starts_from=file, hash="1123456789"))
        assert equal(weights_of(before), weights_of(run))
        outputs = {n: tmp_path / "later" / n for n in ("weights.pt", "h.csv", "run.json", "l.pt")}
        export(run, *outputs.values())
        assert outputs["weights.pt"].read_bytes() == file.read_bytes()
        assert outputs["l.pt"].read_bytes() == file.read_bytes()
        assert outputs["h.csv"].read_text().count("\n") == 1  # no step, no row
        record = json.loads(outputs["run.json"].read_text())
        assert record["steps"] == record["training_seconds"] == 0
        assert record["history_sha256"] == file_sha256(outputs["h.csv"])
        assert record["minutes_per_epoch"] is record["samples_per_second"] is None
        again = finished(train("later", {"steps": 0}, starts_from=file, hash="1123456789"))
        assert equal(weights_of(before), weights_of(again))

    def test_refuses_weights_of_another_network(self, train, earlier):
        wider = {"width": 4, "padding": "same"}
        with pytest.raises(InputError, match=r"weights\.pt: the run cannot start with"):
            train("later", starts_from=earlier[1], network_options=wider).run()
