"""Every benchmark runs, as small as it can be; what it measures then means nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BENCHMARKS = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py"))
SMALL = {
    "load": ["--scale", "smoke"],
    "losses": ["--side", "16", "--repeats", "1"],
    "metrics": ["--sizes", "64x64x40", "--repeats", "1", "--budget", "1"],
    "training": ["--steps", "1", "--repeats", "1"],
    "workflow": ["--seeds", "1"],
}
# The last words of each, which it comes to after all else.
ENDS = {
    "load": "those of the cohort's largest",
    "losses": "Logits of +-100 in torch.bfloat16",
    "metrics": "SciPy EDT, cropped, missed: at least",
    "training": "x MONAI is what a loop would reach that neither reads nor augments",
    "workflow": "paper scale in less than",
}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_benchmark_runs(name):
    command = [sys.executable, ROOT / "benchmarks" / f"{name}.py", *SMALL[name]]
    alone = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(command, cwd=ROOT, env=alone, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ENDS[name] in ran.stdout.splitlines()[-1], ran.stdout
