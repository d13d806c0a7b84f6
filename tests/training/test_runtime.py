import os
import random
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from piecemeal.training import runtime
from piecemeal.training.runtime import STOP_SIGNALS, StopRequest, choose_precision, seed_everything

CPU = torch.device("cpu")


@pytest.mark.parametrize("wanted", ["float32", "bfloat16"])
def test_an_explicit_precision_is_taken_as_it_is(wanted, monkeypatch):
    monkeypatch.setattr(runtime, "_convolution_seconds", None)  # nothing is measured
    assert choose_precision(wanted, CPU) == wanted


@pytest.mark.parametrize(("gain", "chosen"), [(0.2, "float32"), (1, "float32"), (1.8, "bfloat16")])
def test_auto_takes_what_is_faster_here(gain, chosen, monkeypatch):
    seconds = {torch.float32: gain, torch.bfloat16: 1.0}
    monkeypatch.setattr(runtime, "_convolution_seconds", seconds.get)
    assert choose_precision("auto", CPU) == chosen


def test_auto_stays_exact_for_volumes_on_a_cpu(monkeypatch):
    monkeypatch.setattr(runtime, "_convolution_seconds", None)  # nothing is measured
    assert choose_precision("auto", CPU, dimensions=3) == "float32"
    assert choose_precision("bfloat16", CPU, dimensions=3) == "bfloat16"


def test_a_network_may_need_a_precision_that_only_a_scale_overrides():
    gpu = torch.device("cuda")
    assert choose_precision("auto", gpu, 3, needed="float32") == "float32"
    assert choose_precision("bfloat16", gpu, 3, needed="float32") == "bfloat16"


def test_auto_can_measure():
    assert choose_precision("auto", CPU) in ("float32", "bfloat16")


def draw() -> tuple:
    return torch.rand(1).item(), float(np.random.rand()), random.random()


def test_seeds_follow_from_the_identity():
    drawn = []
    for identity in (("training", "thigh", 0), ("training", "thigh", 0), ("training", "thigh", 1)):
        seed_everything(*identity)
        drawn.append(draw())
    assert drawn[0] == drawn[1]
    assert all(one != other for one, other in zip(drawn[1], drawn[2], strict=True))


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_request_to_stop_is_noted(number):
    before = signal.getsignal(number)
    with StopRequest() as stop:
        assert stop.signal is None
        os.kill(os.getpid(), number)
        signal.sigtimedwait([], 0)  # lets the handler run
        assert stop.signal == number
    assert signal.getsignal(number) == before


def test_threads_and_determinism_are_set():
    code = (
        "import sys, torch; from piecemeal.training.runtime import prepare_process\n"
        "device = prepare_process(1)\n"
        "assert torch.get_num_threads() == 1\n"
        "assert torch.are_deterministic_algorithms_enabled()\n"
        "assert torch.is_deterministic_algorithms_warn_only_enabled()\n"
        "assert 'torch._inductor' not in sys.modules\n"  # seconds of every job that scores
        "assert device.type in ('cpu', 'cuda')\n"
        "assert torch.ones(2**20).sum() == 2**20\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_is_compiled_is_deterministic_too(monkeypatch):
    import torch._inductor.config as compiler

    monkeypatch.setattr(compiler, "deterministic", False)
    monkeypatch.setattr(torch, "compile", lambda network: [network, compiler.deterministic])
    before = torch.get_deterministic_debug_mode()
    try:
        assert runtime.compiled("network") == ["network", True]
    finally:
        torch.set_deterministic_debug_mode(before)


def test_peak_memory_is_in_mib():
    # An interpreter with torch takes more than 50 MiB and less than 50 GiB.
    assert 50 < runtime.peak_memory_mib(CPU) < 50_000
