"""How long Snakemake plans: the paper scale, and one of so many seeds that it has 20,000 jobs.

    make benchmark NAME=workflow

Dry runs in a copy of the workflow without data or results. Prints jobs, seconds, seconds of
processor time (the machine may be busy) and peak memory of each, and whether the target is met.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import yaml

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("Snakefile", "rules", "workflow", "profiles", "piecemeal", "envs")
SCALE = "config/scales/paper.yaml"
MOST_SECONDS = 60  # of the paper scale


class Planned(NamedTuple):
    """A dry run."""

    jobs: int
    seconds: float
    processor_seconds: float
    peak_mib: float


def planned(folder: Path) -> Planned:
    """What a dry run of the paper scale lists, and what it takes."""
    command = ["snakemake", "-n", "--quiet", "rules", "--config", "scale=paper"]
    with (folder / "listed.txt").open("w+") as listed:
        start = time.perf_counter()
        running = subprocess.Popen(command, cwd=folder, stdout=listed, stderr=listed)
        _, status, usage = os.wait4(running.pid, 0)
        seconds = time.perf_counter() - start
        listed.seek(0)
        said = listed.read()
    total = re.search(r"^total\s+(\d+)$", said, re.MULTILINE)
    if status or not total:
        sys.exit(said)
    spent = usage.ru_utime + usage.ru_stime
    return Planned(int(total[1]), seconds, spent, usage.ru_maxrss / 2**10)


def with_seeds(folder: Path, seeds: int) -> None:
    """Give every cohort of the paper scale so many seeds."""
    path = folder / SCALE
    content = yaml.safe_load(path.read_text())
    content["seeds"] = list(range(seeds))
    for cohort in content["cohorts"].values():
        cohort.pop("seeds", None)
    path.write_text(yaml.safe_dump(content))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=138, help="of every arm of the large plan")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for part in PARTS:
            (folder / part).symlink_to(ROOT / part)
        shutil.copytree(ROOT / "config", folder / "config")
        paper = planned(folder)
        with_seeds(folder, options.seeds)
        large = planned(folder)
    print(f"{'plan':<12}{'jobs':>8}{'seconds':>10}{'CPU s':>8}{'MiB':>8}")
    for name, found in (("paper", paper), (f"{options.seeds} seeds", large)):
        jobs, *amounts = found
        print(f"{name:<12}{jobs:>8}{amounts[0]:>10.1f}{amounts[1]:>8.1f}{amounts[2]:>8.0f}")
    met = "met" if paper.processor_seconds < MOST_SECONDS else "missed"
    print(f"paper scale in less than {MOST_SECONDS} s of processor time: {met}")


if __name__ == "__main__":
    main()
