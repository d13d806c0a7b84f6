"""One run in several processes, one a GPU, started by torchrun.

All processes work on the same effective batch: process r of W takes its r-th part, and gradients,
losses and the statistics of batch normalisation are those of the whole batch. A loss that is not a
mean over samples (one over all voxels of a batch, say) is that of each part, averaged.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from piecemeal.errors import InputError
from piecemeal.provenance import locked
from piecemeal.training.runtime import REQUEUE, STOP_SIGNALS

HELD = "PIECEMEAL_RUN_HELD"  # in the environment of processes whose parent has locked the run


class Group:
    """The processes of a run: this one's `rank` of `size`, and what they do together."""

    def __init__(self) -> None:
        self.rank = int(os.environ.get("RANK", 0))
        self.size = int(os.environ.get("WORLD_SIZE", 1))

    @property
    def first(self) -> bool:
        """Whether this process writes the files of the run."""
        return self.rank == 0

    @contextmanager
    def joined(self, device: torch.device) -> Iterator[None]:
        """Meet the other processes; leave them at the end."""
        if self.size == 1:
            yield
            return
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, device_id=device if backend == "nccl" else None)
        try:
            yield
            self.meet()  # none leaves while another still talks to it
        finally:
            dist.destroy_process_group()

    def rows(self, batch: int, least: int = 1) -> range:
        """This process's rows of an effective batch.

        Raises InputError if that are less than the `least` that a process needs.
        """
        if batch // self.size < (least if self.size > 1 else 1):
            raise InputError(
                f"a batch of {batch} cannot be shared by {self.size} processes, of which each "
                f"needs at least {least}; start at most {max(1, batch // least)}, or raise "
                "batch_size in the method's file"
            )
        return range(self.rank * batch // self.size, (self.rank + 1) * batch // self.size)

    def allow(self, most: int | None, method: str) -> None:
        """Raise InputError if these are more processes than may train with `method` together."""
        if most is not None and self.size > most:
            raise InputError(
                f"{method}: its loss has sums over a whole batch, which processes do not share; "
                f"train it on {most} GPU, not on {self.size} (resources of the rule train)"
            )

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum of `tensor` over the processes, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    @property
    def holds_run(self) -> bool:
        """Whether this process is the one that has to lock the run."""
        return self.first and HELD not in os.environ

    def meet(self) -> None:
        """Wait until all processes are here."""
        if self.size > 1:
            dist.barrier()

    def agree(self, value):
        """What the first process holds, in all of them; any plain value."""
        if self.size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]

    def wrap(self, network: nn.Module, device: torch.device, all_used: bool = True) -> nn.Module:
        """The network as all processes train it together.

        all_used: every step gives every parameter a gradient, so that none need be looked for.
        """
        if self.size == 1:
            return network
        _synchronise_norms(network)
        ids = [device.index] if device.type == "cuda" else None
        return DistributedDataParallel(
            network,
            device_ids=ids,
            gradient_as_bucket_view=True,
            # They are alike already, and a step may go through the network more than once.
            forward_sync_buffers=False,
            find_unused_parameters=not all_used,
        )


class _Sum(torch.autograd.Function):
    """Sum over the processes, of values forwards and of gradients backwards."""

    @staticmethod
    def forward(_, tensor: Tensor) -> Tensor:
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total


class _WholeBatchNorm:
    """Forward pass of a batch normalisation over the parts of all processes.

    Mixed into torch's own layers, whose parameters, buffers and settings stay as they are. (torch's
    SyncBatchNorm does the same on GPUs only.)
    """

    def forward(self, x: Tensor) -> Tensor:
        """As torch's batch normalisation of the whole batch."""
        if not self.training:
            return super().forward(x)
        axes = [axis for axis in range(x.dim()) if axis != 1]
        values = x.float()
        sums = torch.cat([values.sum(axes), values.new_full((1,), x.numel() / x.shape[1])])
        total, count = _Sum.apply(sums).split([x.shape[1], 1])
        mean = total / count
        shape = [1, -1] + [1] * (x.dim() - 2)
        centred = values - mean.view(shape)
        variance = _Sum.apply(centred.square().sum(axes)) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            unbiased = variance * count / (count - 1).clamp(min=1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(unbiased, self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale.view(shape) + self.bias.view(shape)).to(x.dtype)


def _synchronise_norms(network: nn.Module) -> None:
    """Let the batch normalisations of `network` see the whole batch, in place."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            kind = type(module)
            module.__class__ = type(f"WholeBatch{kind.__name__}", (_WholeBatchNorm, kind), {})


def launch(processes: int, job: Path, log: Path) -> None:
    """Train the run that the file `job` describes in so many processes on this machine.

    What they say is appended to `log`. At one of `STOP_SIGNALS` they save at the next row of the
    history, and this process exits with status 75: start it again. torchrun is not told, for it
    kills its processes half a minute after a signal; they are in a session of their own, so that a
    signal to a whole job does not reach it. Raises InputError if they failed.
    """
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={processes}", "-m", "piecemeal.training", str(job)]
    checkpoints = Path(json.loads(job.read_text(encoding="utf-8"))["checkpoints"])
    stop = stop_file(checkpoints)
    asked: list[int] = []

    def ask(number: int, _frame) -> None:
        asked.append(number)
        stop.touch()

    # Held by this process and torchrun: none of the others waits for a lock while it meets others.
    with locked(checkpoints) as lock, log.open("a", encoding="utf-8") as said:
        stop.unlink(missing_ok=True)
        before = {number: signal.signal(number, ask) for number in STOP_SIGNALS}
        child = subprocess.Popen(
            command,
            stdout=said,
            stderr=said,
            env=os.environ | {HELD: "1"},
            pass_fds=[lock.fileno()],
            start_new_session=True,
        )
        try:
            status = child.wait()
        finally:
            child.terminate()
            child.wait()
            stop.unlink(missing_ok=True)
            for number, handler in before.items():
                signal.signal(number, handler)
    if status and asked:
        sys.exit(REQUEUE)
    if status:
        raise InputError(
            f"{job}: training in {processes} processes failed with status {status}; {log} says "
            "why; correct it and start the same command again"
        )


def stop_file(checkpoints: Path) -> Path:
    """The file that asks the processes of a run to save and stop."""
    return checkpoints / "STOP"
