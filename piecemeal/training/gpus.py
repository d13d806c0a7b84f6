"""Which GPU of its machine a process takes: one that no other run of this user is at work on."""

from __future__ import annotations

import fcntl
import functools
import logging
import os
import re
import tempfile
from pathlib import Path

import torch

log = logging.getLogger(__name__)

_held: list[int] = []  # locks of this process; the system lets them go when it ends


@functools.cache
def own_gpu() -> int:
    """The number, among those that this process sees, of the GPU that it is to work on.

    A process that torchrun started takes that of its own number. Any other takes the GPU that the
    fewest other processes of this user have taken so, and keeps it until it ends, however it ends:
    runs that are started at once on a machine of several GPUs spread over them. Whoever else works
    there is not known of, nor is a process that sees a single one.
    """
    if (rank := os.environ.get("LOCAL_RANK")) is not None:
        return int(rank)
    names = _names(torch.cuda.device_count())
    if len(names) < 2:
        return 0
    folder = Path(tempfile.gettempdir(), f"piecemeal-gpus-{os.getuid()}")
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        with (folder / "LOCK").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            counts = [sum(map(_is_held, folder.glob(f"{name}.*"))) for name in names]
            number = counts.index(min(counts))
            handle, _ = tempfile.mkstemp(prefix=f"{names[number]}.", dir=folder)
            fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError as error:  # a file system without locks, say
        log.warning("%s: cannot tell which GPU is free (%s); taking the first", folder, error)
        return 0
    _held.append(handle)
    return number


def _names(count: int) -> list[str]:
    """What the GPUs are called on the machine, whichever of them a process sees."""
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = [re.sub(r"\W", "-", name.strip()) for name in seen.split(",") if name.strip()]
    return names[:count] if len(names) >= count else [str(number) for number in range(count)]


def _is_held(path: Path) -> bool:
    """Whether a process that lives has this lock; one that nobody has is removed."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        path.unlink()
        return False
