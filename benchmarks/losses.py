"""How fast the merged losses are, and how much memory they need, beside losses that merge nothing.

    make benchmark NAME=losses

Forward and backward of cross-entropy + Dice on the same float32 logits: 17 classes, patches of
112 x 112 x 112, a batch of 2. All contenders take turns in one process:

- floor: plain cross-entropy + soft Dice of complete labels, nothing merged;
- MONAI: its DiceCELoss, of the same labels;
- piecemeal, volumes: focal cross-entropy + Dice over 11 label sets, background and six structures
  merged, and the entropy besides (`piecemeal.ambiguity`); the same in slices across every axis;
- piecemeal.losses: the same cross-entropy and Dice from the losses for any method, one by one.

Prints seconds and peak memory beside the logits, both as multiples of the floor's, how far losses
and gradients at logits of +-100 are from float64, and whether the targets of the project are met.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from piecemeal.ambiguity import ambiguity_terms
from piecemeal.losses import focal_marginal_cross_entropy, marginal_dice

CLASSES, BATCH = 17, 2
MERGED = [0, *range(11, CLASSES)]  # the sets are this and {1}, {2}, ... {10}
FLOOR, OURS, ONE_BY_ONE = "floor", "piecemeal, volumes", "piecemeal.losses"
MOST = 1.3  # times the floor, in time and in memory
LARGE = 100.0  # logits at which the losses still are what they are in float64
CLOSE = {torch.float32: 1e-4, torch.bfloat16: 1e-2}  # of gradients, that of bfloat16 its rounding


class Problem(NamedTuple):
    """logits (B, C, *space); labels (B, *space) complete; codes and sets of the same, merged."""

    logits: Tensor
    labels: Tensor
    codes: Tensor
    sets: Tensor


def problem(side: int, device: torch.device) -> Problem:
    """Random logits and blocks of labels, in cubes."""
    torch.manual_seed(0)
    logits = torch.randn(BATCH, CLASSES, side, side, side).to(device).requires_grad_()
    coarse = torch.randint(0, CLASSES, (BATCH, 1, 8, 8, 8)).float()
    labels = F.interpolate(coarse, size=logits.shape[2:])[:, 0].byte().to(device)
    codes = torch.where(labels < MERGED[1], labels, 0)
    sets = torch.eye(CLASSES, dtype=torch.bool, device=device)[: MERGED[1]].repeat(BATCH, 1, 1)
    sets[:, 0, MERGED] = True
    return Problem(logits, labels.long(), codes, sets)


# ---- contenders ----


def plain(given: Problem) -> Tensor:
    """What anyone would write for complete labels."""
    chances = given.logits.softmax(1)
    target = torch.zeros_like(chances).scatter_(1, given.labels.unsqueeze(1), 1)
    space = tuple(range(2, chances.ndim))
    overlap = (chances * target).sum(space)
    dice = (2 * overlap + 1) / (chances.sum(space) + target.sum(space) + 1)
    return F.cross_entropy(given.logits, given.labels) + (1 - dice).mean()


def by_monai(given: Problem) -> Tensor:
    from monai.losses import DiceCELoss

    loss = DiceCELoss(softmax=True, to_onehot_y=True)
    return loss(given.logits, given.labels.unsqueeze(1))


def by_ambiguity(axis: int) -> Callable[[Problem], Tensor]:
    views = torch.full((BATCH,), axis)

    def loss(given: Problem) -> Tensor:
        terms = ambiguity_terms(given.logits, given.codes, given.sets, views)
        return (terms.cross_entropy + terms.dice + terms.entropy).mean()

    return loss


def one_by_one(given: Problem) -> Tensor:
    merged = given.logits, given.codes, given.sets
    return focal_marginal_cross_entropy(*merged) + marginal_dice(*merged)


CONTENDERS: dict[str, Callable[[Problem], Tensor]] = {
    FLOOR: plain,
    "MONAI DiceCELoss": by_monai,
    OURS: by_ambiguity(-1),
    "piecemeal, axial slices": by_ambiguity(0),
    "piecemeal, coronal slices": by_ambiguity(1),
    "piecemeal, sagittal slices": by_ambiguity(2),
    ONE_BY_ONE: one_by_one,
}


# ---- measurement ----


def step(loss: Callable[[Problem], Tensor], given: Problem) -> float:
    """Seconds of one forward and backward."""
    given.logits.grad = None
    _finish(given)
    start = time.perf_counter()
    loss(given).backward()
    _finish(given)
    return time.perf_counter() - start


def _finish(given: Problem) -> None:
    if given.logits.is_cuda:
        torch.cuda.synchronize()


def peak_memory(name: str, side: int, device: torch.device) -> float:
    """MiB that a step needs at its peak beside what it is given; NaN where nobody says."""
    given, small = problem(side, device), problem(16, device)
    step(CONTENDERS[name], small)  # whatever is loaded once
    if given.logits.is_cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step(CONTENDERS[name], given)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")

    def kilobytes(key: str) -> int:
        (line,) = (line for line in status.read_text().splitlines() if line.startswith(key))
        return int(line.split()[1])

    try:
        reset.write_text("5")
        before = kilobytes("VmRSS")
        step(CONTENDERS[name], given)
        return (kilobytes("VmHWM") - before) / 2**10
    except (OSError, ValueError):
        return float("nan")


def memory_of(name: str, side: int, device: torch.device) -> float:
    """`peak_memory`, measured in a process of its own that gives freed blocks back at once."""
    command = [sys.executable, __file__, "--memory", name, "--side", str(side)]
    command += ["--device", str(device)]
    alone = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(2**17)}
    said = subprocess.run(command, env=alone, check=True, capture_output=True, text=True).stdout
    return json.loads(said)


def compare(side: int, repeats: int, device: torch.device) -> pd.DataFrame:
    """One row a contender."""
    given = problem(side, device)
    seconds: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for repeat in range(repeats + 1):
        for name, loss in CONTENDERS.items():
            taken = step(loss, given)
            if repeat:  # the first time, whatever is loaded once is
                seconds[name].append(taken)
    table = pd.DataFrame(
        {
            "contender": name,
            "seconds": statistics.median(seconds[name]),
            "mib": memory_of(name, side, device),
        }
        for name in CONTENDERS
    ).set_index("contender")
    for key in ("seconds", "mib"):
        table[f"times_{key}"] = table[key] / table.loc[FLOOR, key]
    return table


def errors(device: torch.device) -> dict[torch.dtype, float]:
    """Largest difference of losses and gradients at large logits to those in float64, relative."""
    found = {}
    for kind in CLOSE:
        given = problem(16, device)
        logits = (LARGE * torch.sign(given.logits) + given.logits).detach().to(kind)
        exact, ours = (
            _with_gradient(given._replace(logits=logits.to(to).requires_grad_()))
            for to in (torch.float64, kind)
        )
        found[kind] = max(
            ((o.double() - e).abs().max() / e.abs().max()).item()
            for o, e in zip(ours, exact, strict=True)
        )
    return found


def _with_gradient(given: Problem) -> tuple[Tensor, Tensor]:
    loss = CONTENDERS[OURS](given)
    return loss, *torch.autograd.grad(loss, given.logits)


def report(table: pd.DataFrame, wrong: dict[torch.dtype, float], csv: Path | None) -> None:
    """Print the table, and what became of the targets."""
    shown = table.rename(columns=lambda key: key.replace("_", " ").replace("times", "x floor,"))
    print(shown.to_string(float_format="{:,.3f}".format))
    for what, key in (("Time", "times_seconds"), ("Peak memory", "times_mib")):
        for name in (OURS, ONE_BY_ONE):
            times = table.loc[name, key]
            met = "met" if times <= MOST else "MISSED"
            print(f"{what} of {name}: at most {MOST} x the floor asked, {times:.2f} x: {met}")
    for kind, error in wrong.items():
        met = "met" if error <= CLOSE[kind] else "MISSED"
        print(f"Logits of +-{LARGE:g} in {kind}: {error:.1e} off, {CLOSE[kind]:.0e} allowed: {met}")
    if csv:
        table.to_csv(csv)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--side", type=int, default=112, help="voxels along each axis of a patch")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--csv", type=Path, help="write the numbers there as well")
    parser.add_argument("--memory", choices=CONTENDERS, help="measure that of one alone, as JSON")
    given = parser.parse_args()
    device = torch.device(given.device)
    if given.memory:
        print(json.dumps(peak_memory(given.memory, given.side, device)))
        return
    where = torch.cuda.get_device_name() if device.type == "cuda" else "the CPU"
    print(
        f"{CLASSES} classes, {given.side}^3, batch of {BATCH}, on {where}, "
        f"{torch.get_num_threads()} threads",
        flush=True,
    )
    report(compare(given.side, given.repeats, device), errors(device), given.csv)


if __name__ == "__main__":
    main()
