"""Which GPU of its machine a process takes: one that no other run of this user is at work on."""

from __future__ import annotations

import fcntl
import functools
import os
import tempfile
from pathlib import Path
from typing import IO

import torch

_held: list[IO[str]] = []  # locks of this process; the system lets them go when it ends


@functools.cache
def own_gpu() -> int:
    """The number, among those that this process sees, of the GPU that it is to work on.

    A process that torchrun started takes that of its own number. Any other takes the first GPU that
    the fewest other processes took so, which it then keeps until it ends, however it ends: runs
    that are started at once on a machine of several GPUs spread over them. Whoever else works on
    them is not known of.
    """
    if (rank := os.environ.get("LOCAL_RANK")) is not None:
        return int(rank)
    names = _names(torch.cuda.device_count())
    if len(names) < 2:
        return 0
    folder = Path(tempfile.gettempdir(), f"piecemeal-gpus-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    place = 0
    while True:
        for number, name in enumerate(names):
            if _taken(folder / f"{name}-{place}"):
                return number
        place += 1


def _names(count: int) -> list[str]:
    """What the GPUs are called on the machine, whichever of them a process sees."""
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = [name.strip().replace("/", "-") for name in seen.split(",") if name.strip()]
    return names[:count] if len(names) >= count else [str(number) for number in range(count)]


def _taken(path: Path) -> bool:
    """Whether this process got hold of the lock."""
    lock = path.open("a", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        return False
    _held.append(lock)
    return True
