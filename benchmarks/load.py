"""What a scale asks of a cluster: jobs, their lengths, what they read and write a GPU second.

    make benchmark NAME=load

All of it is estimated from the plan, nothing is measured: GPU hours as `piecemeal plan` has them
(counted operations, `gpu_tflops` of config/config.yaml). A training sample is read as float32
images and uint8 codes, so MB/s = bytes of a sample x samples / seconds; memory of the nodes that
keeps what was read before makes it less. A checkpoint holds four numbers a parameter (network, two
moments, best weights), written every `checkpoint_seconds`, but once a step at most.
"""

import argparse
import math
from collections import defaultdict

import torch

from piecemeal import methods
from piecemeal.estimates import gpu_hours, input_shape
from piecemeal.plan import Planner

HEAD = ("cohort", "runs", "hours", "h a run", "read MB/s", "saved MB/s", "cluster jobs")


def parameters(settings: dict, channels: int) -> int:
    """Numbers that a run trains."""
    given = (settings["implementation"], settings["classes"], settings["method_options"])
    with torch.device("meta"):
        network = methods.build_network(settings, methods.load(*given), channels)
    return sum(p.numel() for p in network.parameters())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--scale", default="paper")
    scale = parser.parse_args().scale
    planner = Planner()
    plan = planner.plan(scale)
    hours = gpu_hours(plan, planner.main.gpu_tflops)
    rows = defaultdict(list)  # cohort -> (hours, MB read a second, MB saved a second) of its runs
    for key, unit in plan.runs.items():
        run, seconds = unit.settings, (hours[key] or 0) * 3600
        read = saved = 0.0
        if seconds:
            channels, *space = input_shape(plan, run)
            samples = run["training"]["steps"] * run["batch_size"]
            read = (4 * channels + 1) * math.prod(space) * samples / seconds / 1e6
            a_step = seconds / run["training"]["steps"]
            every = max(run["training"]["checkpoint_seconds"], a_step)
            saved = 16 * parameters(run, channels) / every / 1e6
        rows[run["cohort"]].append((seconds / 3600, read, saved))
    print("".join(f"{word:>21}" if word == HEAD[0] else f"{word:>14}" for word in HEAD))
    for cohort in plan.prepared:
        runs = rows.get(cohort, [(0.0, 0.0, 0.0)])
        length, read, saved = (max(column) for column in zip(*runs, strict=True))
        annotated = sum(name.startswith(f"{cohort}/") for name in plan.annotated)
        count = len(rows.get(cohort, []))
        numbers = (f"{sum(run[0] for run in runs):.0f}", f"{length:.1f}", f"{read:.1f}")
        numbers += (f"{saved:.1f}", str(count + annotated + 2))  # prepared, and shown
        print(f"{cohort:>21}{count:>14}" + "".join(f"{number:>14}" for number in numbers))
    jobs = len(plan.runs) + len(plan.annotated) + 2 * len(plan.prepared) + 1
    print(f"{jobs} cluster jobs; the columns of a run are those of the cohort's largest")


if __name__ == "__main__":
    main()
