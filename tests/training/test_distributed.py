"""One run in two processes, started as on a machine with two GPUs."""

import json
import os
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from piecemeal import methods
from piecemeal.errors import InputError
from piecemeal.training import distributed
from piecemeal.training.distributed import Group, launch

ROOT = Path(__file__).resolve().parents[2]
# Not Adam: its steps do not depend on the size of the gradient, but much on its rounding.
SGD = {
    **{"name": "sgd", "learning_rate": 0.02, "momentum": 0.5, "nesterov": True},
    **{"warmup_steps": 0, "warmup_factor": 1.0, "weight_decay": 0.0, "clip_norm": None},
}
# One of which no maximum or rectifier of so narrow a network is at a tie: there the last digit of a
# sum decides, in one process as well.
SEED = 2


@pytest.fixture(scope="module")
def job(cohort, settings, tmp_path_factory):
    """Writes a job file; what it makes lies beside it."""

    def make(name: str, **changes) -> Path:
        folder = tmp_path_factory.mktemp(name)
        content = {
            "settings": settings(
                {"steps": 6, "validate_every": 3, "checkpoint_seconds": 0.0},
                **{"optimiser": SGD, "seed": SEED} | changes,
            ),
            "prepared": str(cohort.prepared),
            "annotated": str(cohort.annotated[changes.get("annotation", "half_merged")]),
            "checkpoints": str(folder / "checkpoints"),
            "weights": str(folder / "weights.pt"),
            "history": str(folder / "history.csv"),
            "record": str(folder / "run.json"),
            "threads": 1,
        }
        (folder / "job.json").write_text(json.dumps(content))
        return folder / "job.json"

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setenv("OMP_NUM_THREADS", "1")
        yield make


def run(job: Path, processes: int) -> SimpleNamespace:
    launch(processes, job, job.parent / "log")
    weights = torch.load(job.parent / "weights.pt", weights_only=True)
    history = pd.read_csv(job.parent / "history.csv")
    return SimpleNamespace(
        weights=weights,
        history=history.drop(columns="seconds"),
        record=json.loads((job.parent / "run.json").read_text()),
    )


def assert_alike(one: SimpleNamespace, two: SimpleNamespace) -> None:
    pd.testing.assert_frame_equal(one.history, two.history, rtol=1e-4, atol=1e-5)
    for key, weight in one.weights.items():
        torch.testing.assert_close(two.weights[key], weight, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def together(job) -> SimpleNamespace:
    """A run of two processes. An odd batch, so that their parts differ in size."""
    return run(job("together", batch_size=5), 2)


def test_two_processes_follow_the_loss_curve_of_one(job, together):
    alone = run(job("alone", batch_size=5), 1)
    assert_alike(alone, together)
    assert [alone.record["processes"], together.record["processes"]] == [1, 2]
    assert len(alone.history) == 6


def test_two_processes_stop_together_and_go_on(job, together):
    """Stopped as soon as the first checkpoint is there; the same command does what is left."""
    halved = job("halved", batch_size=5)
    progress = halved.parent / "checkpoints" / "progress.json"

    def stop():
        while not progress.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGUSR1)

    watcher = threading.Thread(target=stop)
    watcher.start()
    with pytest.raises(SystemExit) as stopped:
        launch(2, halved, halved.parent / "log")
    watcher.join()
    assert stopped.value.code == 75
    assert not (halved.parent / "run.json").exists()
    resumed = run(halved, 2)
    assert resumed.record["resumed_at_steps"]
    assert_alike(together, resumed)


UNIMOS = {
    **{"implementation": "unimos", "annotation": "half_unlabelled", "network": "pipo_fan"},
    **{"network_options": {"width": 2}, "sampler": {"name": "alternating", "unlabelled": 0.5}},
    "input": {"kind": "slices", "neighbours": 1},
}
KIU_NET = {
    **{"implementation": "kiu_net", "annotation": "half", "network": "kiu_net"},
    **{"network_options": {"width": 2}, "sampler": {"name": "alternating"}},
}


@pytest.mark.parametrize("method", [UNIMOS, KIU_NET], ids=lambda method: method["implementation"])
def test_two_processes_train_what_takes_several_passes_a_step(job, method):
    """With the fewest rows; processes that do not meet in every batch norm would never end."""
    together = run(job("two", batch_size=4 if method is UNIMOS else 2, **method), 2)
    assert together.record["processes"] == 2
    assert together.record["steps"] == 6
    assert together.history["loss"].gt(0).all()
    for weight in together.weights.values():
        assert weight.isfinite().all()


def test_a_failure_names_the_log(job, cohort):
    wrong = job("wrong", implementation="no_such_method")
    with pytest.raises(InputError, match=r"failed with status 1; .*log says why"):
        launch(2, wrong, wrong.parent / "log")
    assert "no_such_method" in (wrong.parent / "log").read_text()


@pytest.mark.parametrize(
    ("batch", "size", "parts"), [(5, 2, [[0, 1], [2, 3, 4]]), (4, 4, [[0], [1], [2], [3]])]
)
def test_processes_share_the_batch(monkeypatch, batch, size, parts):
    group = Group()
    group.size = size
    for group.rank, rows in enumerate(parts):
        assert list(group.rows(batch)) == rows


@pytest.mark.parametrize(("batch", "least", "most"), [(2, 1, 2), (5, 2, 2), (1, 2, 1)])
def test_a_batch_too_small_to_share_is_refused(batch, least, most):
    group = Group()
    group.size = 3
    said = f"a batch of {batch} cannot be shared by 3 processes, .* {least}; start at most {most},"
    with pytest.raises(InputError, match=said):
        group.rows(batch, least)


def test_one_process_alone_takes_any_batch():
    assert list(Group().rows(1, least=2)) == [0]


@pytest.mark.parametrize("batch", [4, 5, 16])
def test_every_process_has_rows_of_both_kinds(batch):
    """Of a batch of which half the rows are unlabelled: else they would wait for each other."""
    group, least = Group(), methods.load("unimos", 3).least_rows
    group.size = processes = batch // least
    for group.rank in range(processes):
        assert {row % 2 for row in group.rows(batch, least)} == {0, 1}


@pytest.mark.parametrize("kind", [torch.nn.BatchNorm2d, torch.nn.BatchNorm3d])
def test_the_norm_of_one_part_alone_is_torchs(monkeypatch, kind):
    """With nothing to add from elsewhere, outputs, gradients and buffers are torch's."""
    monkeypatch.setattr(distributed.dist, "all_reduce", lambda tensor: None)
    shape = (3, 2, 4, 5) if kind is torch.nn.BatchNorm2d else (3, 2, 4, 5, 2)
    torch.manual_seed(0)
    one, two = kind(2, momentum=0.2), kind(2, momentum=0.2)
    distributed._synchronise_norms(two)
    results = []
    for norm in (one, two):
        x = torch.arange(torch.Size(shape).numel(), dtype=torch.float32).sin().view(shape)
        x.requires_grad_()
        y = norm(x)
        y.square().cumsum(0).sum().backward()
        results.append([y, x.grad, norm.weight.grad, norm.running_mean, norm.running_var])
        results[-1].append(norm.eval()(x))
    for mine, theirs in zip(*results, strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize(("most", "processes"), [(None, 8), (1, 1), (2, 2)])
def test_as_many_processes_as_a_method_allows(monkeypatch, most, processes):
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    Group().allow(most, "slac")


def test_more_processes_than_a_method_allows_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match=r"label_sharing: .*train it on 1 GPU, not on 2"):
        Group().allow(1, "label_sharing")
