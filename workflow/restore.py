"""Bring results from a DVC remote and have Snakemake accept what DVC vouches for: `make restore`.

Runs are accepted by the hash in their path. Tables, claims and metrics have none, and in a clone
Snakemake has no records of them: they are accepted if DVC finds configuration, code, runs and the
files themselves as they were when they were committed, and made anew otherwise. Pictures are never
passed on; they are drawn here, where no real data are missing for it.
"""

import json
import subprocess
import sys
from pathlib import Path

import yaml

from piecemeal.plan import Planner

NUMBERS = ("table", "claims", "metrics", "params")
PICTURES = ("figure", "report", "quality", "gallery")


def run(*command: str) -> None:
    """Run a command; if it fails it has said why, and that is the end."""
    print("+", " ".join(command), flush=True)
    if status := subprocess.run(command).returncode:
        sys.exit(status)


def changed_since_commit() -> dict:
    """What DVC finds changed of the numbers and of what decides them; empty: nothing."""
    command = ["dvc", "status", "--json", "params", "publish"]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def main(arguments: list[str]) -> None:
    """Pull with the `arguments` of `dvc pull`, then accept or make anew."""
    scale = yaml.safe_load(Path("config/config.yaml").read_text())["scale"]
    snakemake = ["snakemake", "--quiet", "all", "--config", f"scale={scale}"]
    run("dvc", "pull", *arguments)
    # What decides the results as configuration and code are here, not as they were recorded.
    params = f"results/{scale}/params.yaml"
    run(*snakemake, "--force", "--allowed-rules", "params", "--", params)
    if changed := changed_since_commit():
        print(f"not as committed, so made anew: {json.dumps(changed)}")
        anew = ("--forcerun", *NUMBERS)
        run(*snakemake, *anew, "--allowed-rules", "numbers", *NUMBERS, "--", "numbers")
    else:
        run(*snakemake, "--touch", "--allowed-rules", "numbers", *NUMBERS, "--", "numbers")
    plan = Planner(overrides={"scale": scale}).plan(scale)
    if real := [name for name, unit in plan.raw.items() if unit.settings["restricted"]]:
        print(f"figures, quality pages and the report need the data of {', '.join(real)}")
        print("`snakemake` gets these and draws; it trains no run that is here")
    else:
        run(*snakemake, "--allowed-rules", "all", "licences", *PICTURES, "--", "all")


if __name__ == "__main__":
    main(sys.argv[1:])
