"""Training and prediction as on a GPU machine that has torch and numpy, but nothing else."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from piecemeal.augmentation_specs import AugmentationConfig

ROOT = Path(__file__).resolve().parents[2]

# Run by Python before anything else, in the workers of a data loader too. What is not allowed is
# not found, as if it were not installed; what torch needs is found by torch only.
GUARD = """
import builtins
import sys

ALLOWED = {"numpy", "torch", "torchgen", "functorch", "piecemeal"} | sys.stdlib_module_names
OF_TORCH = {"typing_extensions", "sympy", "mpmath", "networkx", "jinja2", "markupsafe", "filelock"}
OF_TORCH |= {"fsspec"}


def allowed(name):
    part = name.partition(".")[0]
    return part in ALLOWED or part.startswith("_sysconfigdata")  # named after the platform


class Without:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        if allowed(name) or name.partition(".")[0] in OF_TORCH:
            return self.finder.find_spec(name, path, target)
        return None


def guarded(name, globals=None, locals=None, fromlist=(), level=0):
    importer = (globals or {}).get("__name__", "").partition(".")[0]
    if importer in ("piecemeal", "__main__") and level == 0 and not allowed(name):
        raise ModuleNotFoundError(f"No module named '{name}'", name=name)
    return original(name, globals, locals, fromlist, level)


original, builtins.__import__ = builtins.__import__, guarded
sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
"""

IMPORT_ALL = """
import importlib
import pkgutil
import sys

PACKAGES = ["training", "inference", "methods", "networks"]
ALONE = ["losses", "labelsets", "errors", "registry", "provenance"]
ALONE += ["datasets.store", "datasets.grid", "datasets.places"]
names = [f"piecemeal.{name}" for name in ALONE]
for name in PACKAGES:
    package = importlib.import_module(f"piecemeal.{name}")
    names += [m.name for m in pkgutil.walk_packages(package.__path__, f"piecemeal.{name}.")]
for name in names:
    importlib.import_module(name)
print("\\n".join(names))
"""

PREDICT = """
import json
import sys
from pathlib import Path

import numpy as np

from piecemeal import methods
from piecemeal.datasets.store import PreparedScan
from piecemeal.inference import predict
from piecemeal.training.results import load_network

job = json.loads(Path(sys.argv[1]).read_text())
settings = job["settings"]
method = methods.load(settings["implementation"], settings["classes"], settings["method_options"])
network = load_network(settings, method, Path(job["weights"]))
np.save(sys.argv[3], predict(method, network, PreparedScan(Path(sys.argv[2])), settings))
"""

TRY = """
import sys
import torch

for name in sys.argv[1:]:
    try:
        __import__(name, globals())
    except ModuleNotFoundError as error:
        assert error.name == name
    else:
        print(name)
"""
HIDDEN = ["pandas", "scipy", "pydantic", "yaml", "nibabel", "numba", "monai", "jinja2"]
HIDDEN += ["matplotlib", "snakemake"]

AUGMENTATION = {
    "flip": {"y": 0.5, "x": 0.5},
    "rotation": {"probability": 1.0, "degrees": [-15, 15]},
    "scaling": {"probability": 1.0, "factor": [0.9, 1.1]},
    "noise": {"probability": 1.0, "sigma": [0.0, 0.1]},
    "blur": {"probability": 1.0, "sigma": [0.5, 1.0]},
    "brightness": {"probability": 1.0, "factor": [0.9, 1.1]},
    "contrast": {"probability": 1.0, "factor": [0.9, 1.1]},
    "low_resolution": {"probability": 1.0, "factor": [0.5, 1.0]},
    "gamma": {"probability": 1.0, "exponent": [0.8, 1.2]},
    "cutmix": {"probability": 1.0},
}
STEPS = 3


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """Runs Python where nothing but the standard library, numpy and torch is found."""
    folder = tmp_path_factory.mktemp("guard")
    (folder / "sitecustomize.py").write_text(GUARD)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]),
        "OMP_NUM_THREADS": "1",
    }

    def run(*arguments: str) -> tuple[int, str]:
        command = [sys.executable, *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=folder)
        return done.returncode, done.stdout + done.stderr

    return run


def test_the_guard_hides_what_is_installed(python):
    assert python("-c", TRY, *HIDDEN, "json", "numpy") == (0, "json\nnumpy\n")


def test_everything_that_trains_and_predicts_can_be_imported(python):
    status, said = python("-c", IMPORT_ALL)
    assert status == 0, said
    names = said.split()
    assert "piecemeal.training.loop" in names
    assert "piecemeal.training.__main__" in names
    assert "piecemeal.networks.baumgartner_unet" in names
    files = {
        path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
        for package in ("training", "inference", "methods", "networks")
        for path in (ROOT / "piecemeal" / package).rglob("*.py")
        if path.name != "__init__.py"
    }
    assert files <= set(names)


@pytest.fixture
def job(cohort, settings, tmp_path) -> Path:
    """A job file: every augmentation, places from the index, a loader with a worker."""
    content = {
        "settings": settings(
            {"steps": STEPS, "validate_every": STEPS},
            sampler={"name": "class_modality_dataset"},
            augmentation=AugmentationConfig.model_validate(AUGMENTATION).model_dump(mode="json"),
        ),
        "prepared": str(cohort.prepared),
        "annotated": str(cohort.annotated["half_merged"]),
        "checkpoints": str(tmp_path / "checkpoints"),
        "weights": str(tmp_path / "weights.pt"),
        "history": str(tmp_path / "history.csv"),
        "record": str(tmp_path / "run.json"),
        "threads": 1,
        "workers": 1,
    }
    path = tmp_path / "job.json"
    path.write_text(json.dumps(content))
    return path


def test_a_run_is_trained_and_predicts(python, job, cohort):
    status, said = python("-X", "importtime", "-m", "piecemeal.training", str(job))
    assert status == 0, said
    modules = re.findall(r"^import time:.*\| +(\S+)$", said, re.MULTILINE)
    assert "torch.optim" in modules
    # The compiler takes longer to import than torch itself.
    assert not {"torch._dynamo", "torch._inductor"} & set(modules)
    record = json.loads((job.parent / "run.json").read_text())
    assert (record["steps"], record["stopped"]) == (STEPS, "steps")
    weights = torch.load(job.parent / "weights.pt", weights_only=True)
    assert all(torch.isfinite(weight.double()).all() for weight in weights.values())

    scan = next((cohort.prepared / "blocks").iterdir())
    status, said = python("-c", PREDICT, str(job), str(scan), str(job.parent / "prediction.npy"))
    assert status == 0, said
    prediction = np.load(job.parent / "prediction.npy")
    assert prediction.shape == np.load(scan / "reference.npz")["arr_0"].shape
    assert prediction.max() < cohort.classes
