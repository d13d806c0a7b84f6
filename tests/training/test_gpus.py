"""Which of several GPUs a process takes; without any of them."""

import errno
import multiprocessing
import os

import pytest
import torch

from piecemeal.training import gpus


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """`machine(4)`: one that has so many GPUs; its locks are let go in the end."""
    monkeypatch.setattr(gpus.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(gpus, "_held", [])
    for name in ("LOCAL_RANK", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)

    def make(count):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    yield make
    for lock in gpus._held:
        os.close(lock)


take = gpus.own_gpu.__wrapped__  # as a process of its own


def test_processes_spread_over_the_gpus(machine):
    machine(3)
    assert [take() for _ in range(7)] == [0, 1, 2, 0, 1, 2, 0]


def test_a_gpu_is_free_again_when_its_process_ended(machine):
    machine(2)
    assert [take() for _ in range(3)] == [0, 1, 0]
    os.close(gpus._held.pop(1))
    assert take() == 1


def test_the_gpu_with_the_fewest_is_taken_after_some_have_ended(machine):
    machine(2)
    assert [take() for _ in range(6)] == [0, 1] * 3
    for place in (5, 3, 0):  # two are left on the first, one on the second
        os.close(gpus._held.pop(place))
    assert [take() for _ in range(3)] == [1, 0, 1]


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EACCES])
def test_without_locks_it_is_the_first(machine, monkeypatch, caplog, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    machine(2)
    monkeypatch.setattr(gpus.fcntl, "flock", refuse)
    assert [take(), take()] == [0, 0]
    assert "taking the first" in caplog.text


def test_one_process_keeps_what_it_took(machine):
    machine(2)
    gpus.own_gpu.cache_clear()
    assert [gpus.own_gpu(), gpus.own_gpu()] == [0, 0]
    gpus.own_gpu.cache_clear()


@pytest.mark.parametrize("count", [0, 1])
def test_without_a_choice_nothing_is_locked(machine, tmp_path, count):
    machine(count)
    assert take() == 0
    assert not list(tmp_path.iterdir())


def test_torchrun_says_which(machine, monkeypatch):
    machine(4)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert take() == 3


def test_processes_that_see_others_know_them_by_their_names_on_the_machine(machine, monkeypatch):
    machine(2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1")
    assert take() == 0  # 3
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,3")
    assert take() == 0  # 1
    assert take() == 0  # both have one by now
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,2")
    assert take() == 1  # 2


def _hold(taken, done):
    taken.put(take())
    done.wait(60)
    os._exit(9)  # as one that was killed: nothing is tidied up


def test_what_a_killed_process_took_is_free(machine):
    machine(2)
    context = multiprocessing.get_context("fork")
    taken, done = context.Queue(), context.Event()
    process = context.Process(target=_hold, args=(taken, done))
    process.start()
    assert taken.get(timeout=60) == 0
    assert take() == 1
    done.set()
    process.join(60)
    assert take() == 0
