import errno
import multiprocessing
import os
import random

import numpy as np
import pytest
import torch

from piecemeal import provenance
from piecemeal.datasets.case_table import write_cases
from piecemeal.errors import InputError
from piecemeal.training import checkpoint as module
from piecemeal.training.checkpoint import Checkpoint, random_states, restore_random_states


@pytest.fixture
def made(tmp_path):
    """Makes the checkpoint of a run of small data."""
    for name in ("prepared", "annotated"):
        (tmp_path / name).mkdir()
        write_cases(tmp_path / name, "dataset,scan\n")

    def make(identity: str = "0123456789") -> Checkpoint:
        folder = tmp_path / "checkpoints"
        folder.mkdir(exist_ok=True)
        return Checkpoint(folder, identity, tmp_path / "prepared", tmp_path / "annotated")

    return make


@pytest.fixture
def checkpoint(made) -> Checkpoint:
    return made()


def leftovers(checkpoint: Checkpoint) -> list[str]:
    return [p.name for p in checkpoint.path.parent.iterdir() if p.name.endswith(".partial")]


def test_nothing_saved_is_none(checkpoint):
    assert checkpoint.load() is None


def test_what_is_saved_is_loaded(checkpoint):
    weights = torch.randn(3, 4)
    checkpoint.save({"step": 7, "network": {"w": weights}, "history": [{"loss": 0.5}]})
    loaded = checkpoint.load()
    assert loaded["step"] == 7
    assert loaded["history"] == [{"loss": 0.5}]
    assert torch.equal(loaded["network"]["w"], weights)


def test_the_last_one_counts(checkpoint):
    for step in (1, 2):
        checkpoint.save({"step": step})
    assert checkpoint.load()["step"] == 2


def test_another_configuration_is_refused(checkpoint, made):
    checkpoint.save({"step": 7})
    with pytest.raises(InputError, match=r"last\.pt: checkpoint of another configuration"):
        made("9876543210").load()


@pytest.mark.parametrize("changed", ["prepared", "annotated"])
def test_other_data_are_refused(checkpoint, made, tmp_path, changed):
    checkpoint.save({"step": 7})
    assert made().load()["step"] == 7
    write_cases(tmp_path / changed, "dataset,scan\nacdc,patient001_ED\n")
    said = r"last\.pt: checkpoint of other data than .*; delete it to train on these, or put"
    with pytest.raises(InputError, match=said):
        made().load()


def test_a_checkpoint_that_does_not_say_its_data_is_refused(checkpoint):
    torch.save({"step": 7, "identity": checkpoint.identity}, checkpoint.path)
    with pytest.raises(InputError, match=r"last\.pt: checkpoint of other data than .*; delete it"):
        checkpoint.load()


@pytest.mark.parametrize("absent", ["prepared", "annotated"])
def test_data_that_are_not_there_are_named(made, tmp_path, absent):
    (tmp_path / absent / "cases.csv").unlink()
    with pytest.raises(InputError, match=rf"{absent}/cases\.csv: is missing, .*; run it again"):
        made()


@pytest.mark.parametrize("kept", [0, 1, 100, 0.5, 0.99])
def test_a_cut_off_file_is_refused_by_name(checkpoint, kept):
    checkpoint.save({"step": 7, "w": torch.randn(500)})
    content = checkpoint.path.read_bytes()
    checkpoint.path.write_bytes(content[: int(kept * len(content)) if kept < 1 else kept])
    with pytest.raises(InputError, match=r"last\.pt: damaged file .*; delete it"):
        checkpoint.load()


@pytest.mark.parametrize("content", [b"not a checkpoint", b"\x80\x02garbage", bytes(1000)])
def test_a_foreign_file_is_refused_by_name(checkpoint, content):
    checkpoint.path.write_bytes(content)
    with pytest.raises(InputError, match=r"last\.pt: damaged file"):
        checkpoint.load()


def test_flipped_bits_in_the_weights_are_refused_by_name(checkpoint):
    checkpoint.save({"w": torch.zeros(5000)})
    content = bytearray(checkpoint.path.read_bytes())
    content[len(content) // 2] ^= 0x40
    checkpoint.path.write_bytes(content)
    with pytest.raises(InputError, match=r"last\.pt: damaged file"):
        checkpoint.load()


def test_code_in_a_checkpoint_does_not_run(checkpoint, tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "pwned"),)

    torch.save({"identity": checkpoint.identity, "x": Evil()}, checkpoint.path)
    with pytest.raises(InputError, match=r"last\.pt.*holds other things than tensors") as caught:
        checkpoint.load()
    assert "weights_only" not in str(caught.value)
    assert not (tmp_path / "pwned").exists()


def fill_disk(monkeypatch, how: str) -> None:
    """Let the next checkpoint run into a full disk, in each of the ways this shows."""

    def save(state, path):
        path.write_bytes(b"half a checkpoint")
        if how == "torch":
            raise RuntimeError("[enforce fail at inline_container.cc:626] . unexpected pos 64 vs 0")
        if how == "write":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if how == "quota":
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    def sync(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module.torch, "save", save)
    if how == "sync":
        monkeypatch.setattr(os, "fsync", sync)


@pytest.mark.parametrize("how", ["torch", "write", "quota", "sync"])
def test_a_full_disk_keeps_the_previous_checkpoint(checkpoint, monkeypatch, how):
    checkpoint.save({"step": 7})
    with monkeypatch.context() as patch:
        fill_disk(patch, how)
        with pytest.raises(InputError, match=r"last\.pt: .* the previous checkpoint is kept"):
            checkpoint.save({"step": 8})
    assert checkpoint.load()["step"] == 7
    assert leftovers(checkpoint) == []


def test_a_full_disk_says_if_there_is_no_previous_one(checkpoint, monkeypatch):
    fill_disk(monkeypatch, "write")
    with pytest.raises(InputError, match=r"MiB are free there; none is kept; make room"):
        checkpoint.save({"step": 1})
    assert not checkpoint.path.exists()


def test_another_error_of_the_disk_is_not_called_full(checkpoint, monkeypatch):
    def denied(state, path):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(module.torch, "save", denied)
    with pytest.raises(OSError, match="Input/output error"):
        checkpoint.save({"step": 1})


def test_what_a_killed_writer_left_is_cleared(checkpoint):
    stale = checkpoint.path.parent / f".{checkpoint.path.name}.abc123.partial"
    stale.write_bytes(b"half")
    checkpoint.save({"step": 1})
    assert leftovers(checkpoint) == []


def _hold(checkpoint, held, release) -> None:
    with checkpoint.locked():
        held.set()
        release.wait(300)


def test_a_second_process_waits_for_the_first(checkpoint, monkeypatch):
    context = multiprocessing.get_context("fork")
    held, release = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(checkpoint, held, release))
    other.start()
    assert held.wait(300)
    said = []

    def warning(text, *values):
        said.append(text % values)
        release.set()  # only now, so that the lock was held when this process asked for it

    monkeypatch.setattr(provenance.log, "warning", warning)
    try:
        with checkpoint.locked():
            assert len(said) == 1
    finally:
        release.set()
        other.join(300)
    assert f"held by process {other.pid} on " in said[0]
    assert other.exitcode == 0


def test_the_lock_says_which_slurm_job_holds_it(checkpoint, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "1234")
    with checkpoint.locked():
        said = (checkpoint.path.parent / "LOCK").read_text()
    assert said.startswith(f"SLURM job 1234, process {os.getpid()} on ")


def test_the_lock_is_let_go_on_an_error(checkpoint):
    with pytest.raises(KeyError), checkpoint.locked():
        raise KeyError
    with checkpoint.locked():
        pass


def draw() -> list:
    return [
        torch.rand(3).tolist(),
        torch.randn(3).tolist(),
        np.random.rand(3).tolist(),
        np.random.randn(),  # leaves a second Gaussian behind, which is part of the state
        random.random(),
        random.gauss(0, 1),  # likewise
    ]


def test_random_states_round_trip(checkpoint):
    draw()
    checkpoint.save({"random": random_states()})
    wanted = draw()
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    restore_random_states(checkpoint.load()["random"])
    assert draw() == wanted


@pytest.mark.parametrize("gpu", [False, True])
def test_the_state_of_a_gpu_goes_to_the_one_that_a_run_goes_on_with_if_any(monkeypatch, gpu):
    restored = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda: torch.full((16,), 7))
    monkeypatch.setattr(torch.cuda, "set_rng_state", restored.append)
    states = random_states()
    assert len(states["cuda"]) == gpu
    restore_random_states(states | {"cuda": [torch.full((16,), 7)]})
    assert [state.tolist() for state in restored] == gpu * [[7] * 16]
