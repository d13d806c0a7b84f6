"""What a run asks of its machine: device, number format, allocator, seeds, and when to stop."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import platform
import random
import resource
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from piecemeal.provenance import short_hash
from piecemeal.training.gpus import own_gpu

log = logging.getLogger(__name__)

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGURG, signal.SIGINT)
REQUEUE = 75  # exit status "temporary failure": the job saved its state and wants to run again


def prepare_process(threads: int) -> torch.device:
    """Set threads, determinism and the allocator; the device to use.

    Which of several GPUs that is says `own_gpu`.
    """
    torch.set_num_threads(threads)
    # As use_deterministic_algorithms, which also imports torch's compiler: two seconds a job.
    torch.set_deterministic_debug_mode("warn")
    # Every new tensor would be filled with NaN first, which finds mistakes and costs time.
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.backends.cudnn.benchmark = False
    _keep_freed_memory()
    if not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", own_gpu())
    torch.cuda.set_device(device)
    return device


def compiled(network: nn.Module | Callable[..., Any]) -> Callable[..., Any]:
    """`torch.compile` of a network, deterministic too: the compiler has a setting of its own."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    return torch.compile(network)


def loader_workers(threads: int, device: torch.device) -> int:
    """How many processes read samples: on a CPU none, for its cores are busy with the steps."""
    return max(0, threads - 1) if device.type == "cuda" else 0


def _keep_freed_memory() -> None:
    """Let glibc keep freed blocks: page faults of large tensors cost up to a third of a step."""
    if sys.platform != "linux":
        return
    trim_threshold, mmap_max = -1, -4  # parameters of mallopt(3)
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(mmap_max, 0)
        libc.mallopt(trim_threshold, 2**31 - 1)
    except (OSError, AttributeError):  # another C library: slower, not wrong
        return


def return_freed_memory() -> None:
    """Give kept blocks back: between scans of different sizes they would only pile up."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)


def seed_everything(*axes: Any) -> None:
    """Seed every generator from a run's identity, e.g. ("initialisation", cohort, seed)."""
    seed = int(short_hash(axes), 16) % 2**32
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def seed_step(seed: int, step: int, rank: int) -> None:
    """Make what a network draws in a step (dropout) a function of seed, step and process."""
    (drawn,) = np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)
    torch.manual_seed(int(drawn >> np.uint64(1)))


def choose_precision(
    wanted: str, device: torch.device, dimensions: int = 2, needed: str | None = None
) -> str:
    """`auto` becomes bfloat16 where it is faster here, else float32; anything else stays.

    needed: what the network says that it needs, in place of that.

    A CPU with bfloat16 instructions is nearly twice as fast, one without several times slower,
    so a measurement of a moment separates them safely. In three dimensions it stays with float32:
    gradients of torch's bfloat16 convolutions on CPUs hold what the memory held before (torch 2.13,
    64 channels of 2 x 8 x 8 voxels), NaN sooner or later.
    """
    if wanted != "auto":
        return wanted
    if needed is not None:
        return needed
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    if dimensions == 3:
        return "float32"
    seconds = {d: _convolution_seconds(d) for d in (torch.float32, torch.bfloat16)}
    gain = seconds[torch.float32] / seconds[torch.bfloat16]
    log.info("bfloat16 convolutions run %.2f times as fast as float32 here", gain)
    return "bfloat16" if gain > 1.1 else "float32"


def _convolution_seconds(dtype: torch.dtype) -> float:
    images = torch.ones(4, 32, 96, 96, dtype=dtype)
    weights = torch.ones(32, 32, 3, 3, dtype=dtype)
    times = []
    for _ in range(6):
        start = time.perf_counter()
        torch.nn.functional.conv2d(images, weights, padding=1)
        times.append(time.perf_counter() - start)
    return min(times)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """What a network runs in at a `precision`: bfloat16, float16, or nothing special."""
    kinds = {"bfloat16": torch.bfloat16, "float16": torch.float16}
    return torch.autocast(device.type, kinds.get(precision), enabled=precision in kinds)


def peak_memory_mib(device: torch.device) -> float:
    """Peak memory of this process on its device, in MiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def device_name(device: torch.device) -> str:
    """The GPU's name, or the CPU's architecture."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu ({platform.machine()})"


class StopRequest:
    """Notes `STOP_SIGNALS`, so that the loop can finish its step, save and exit."""

    def __init__(self):
        self.signal: int | None = None

    def __enter__(self) -> StopRequest:
        self._before = {s: signal.signal(s, self._note) for s in STOP_SIGNALS}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame) -> None:
        self.signal = number
