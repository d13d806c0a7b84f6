"""How tests run, and a cohort small enough to train on in a moment, in the package's own store."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import hypothesis
import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from snakemake.utils import available_cpu_count

from piecemeal.datasets.annotate import annotate
from piecemeal.datasets.prepare import prepare
from piecemeal.provenance import source_hash

ROOT = Path(__file__).resolve().parent.parent
CLASSES = 3
COMPLETE = {"kind": "complete"}
MERGED = {"kind": "super_label", "merged": [[1, 2]]}
UNLABELLED = {"kind": "unlabelled"}
# Turned about the slice axis, moved, and anisotropic: an affine that is not preserved shows.
TURNED = np.array(
    [[-1.44, 1.08, 0.0, 12.0], [1.08, 1.44, 0.0, -7.0], [0.0, 0.0, 5.0, 3.0], [0.0, 0.0, 0.0, 1.0]]
)
# Two blocks in noise look much like two others: without `keep` they would be taken for one scan.
SPLIT = {"seed": 1, "train": 4, "validation": 2, "test": 2, "twins": "keep"}


# Whether a test passes must not depend on how busy the machine is.
hypothesis.settings.register_profile(
    "any speed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any speed")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """A worker for each core that this process may use, as `snakemake --cores all` counts them.

    xdist would count those of the machine, though a container or a batch job may have fewer.
    """
    return available_cpu_count()


def pytest_collection_modifyitems(config, items) -> None:
    """Among workers the workflow goes first, which takes longest; alone, tests keep their order."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.path.parent.name != "workflow")


PROJECT = ("Snakefile", "rules", "workflow", "profiles", "slurm", "config", "envs", "piecemeal")
PROJECT += ("dvc.yaml", ".dvc", ".dvcignore", ".gitignore")


@pytest.fixture(scope="session")
def copy_checkout():
    """Copies what the workflow is made of, at smoke scale, without what a site or a user has."""

    def copy(target: Path, **changes) -> None:
        target.mkdir(parents=True)
        ignored = shutil.ignore_patterns(
            *("local.yaml", "site.yaml", "tmp", "cache", "__pycache__")
        )
        for part in PROJECT:
            source = ROOT / part
            if source.is_symlink() or source.is_file():
                shutil.copy2(source, target / part, follow_symlinks=False)
            else:
                shutil.copytree(source, target / part, ignore=ignored)
        main = target / "config/config.yaml"
        content = yaml.safe_load(main.read_text()) | {"scale": "smoke"} | changes
        main.write_text(yaml.safe_dump(content, sort_keys=False))

    return copy


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)


def _write_subject(folder: Path, number: int) -> None:
    """Two blocks side by side that move from subject to subject, in noise; (x, y, z)."""
    rng = np.random.default_rng(number)
    labels = np.zeros((36, 32, 3), np.uint8)
    x, y = rng.integers(6, 12, 2)
    labels[x : x + 10, y : y + 14] = 1
    labels[x + 10 : x + 20, y : y + 14] = 2
    image = 100 * labels + rng.normal(0, 20, labels.shape)
    folder.mkdir(parents=True)
    nib.save(nib.Nifti1Image(image.astype(np.int16), TURNED), folder / "thigh.nii.gz")
    nib.save(nib.Nifti1Image(labels, TURNED), folder / "thigh_labels.nii.gz")


@pytest.fixture(scope="session")
def cohort(tmp_path_factory) -> SimpleNamespace:
    """prepared: the store; annotated: annotation -> folder; eight subjects of 36 x 32 x 3 voxels.

    Two structures, `left` and `right`; three classes with the background.
    """
    root = tmp_path_factory.mktemp("cohort")
    for number in range(1, 9):
        _write_subject(root / "raw" / f"subject{number:03d}", number)
    source = {
        "root": root / "raw",
        "layout": "oai_thigh",
        "layout_options": {},
        "labels": [[1, "left"], [2, "right"]],
        "sides": {},
        "side_check": [],
        "unit_spacing": "reject",
        "modality": "MR",
        "other_modality": {},
    }
    grid = {"spacing_mm": [None, 2.0, 2.0], "size": [None, 32, 32], "fit": False}
    names = {"left": ["left"], "right": ["right"]}
    normal = {"MR": {"kind": "zscore"}}
    origin = {"blocks": {"source": "local", "phantom": False, "sha256": 64 * "0"}}
    (root / "prepared").mkdir()
    (root / "prepared" / "sources.json").write_text(json.dumps(origin))
    prepare(root / "prepared", {"blocks": source}, names, "file", grid, normal, SPLIT)
    for name, halves in {
        "complete": {1: COMPLETE, 2: COMPLETE},
        "half": {1: COMPLETE, 2: None},
        "half_merged": {1: COMPLETE, 2: MERGED},
        "half_unlabelled": {1: COMPLETE, 2: UNLABELLED},
        "unlabelled": {1: UNLABELLED, 2: UNLABELLED},
    }.items():
        annotate(root / name, root / "prepared", ["left", "right"], halves)
    return SimpleNamespace(
        prepared=root / "prepared",
        annotated={folder.parent.name: folder.parent for folder in root.glob("*/sets.json")},
        raw=root / "raw",
        classes=CLASSES,
        affine=TURNED,
    )


@pytest.fixture(scope="session")
def planned():
    """Writes a plan of one unit into a folder; the parameter `asked` of the unit's rule."""

    def write(folder: Path, stage: str, settings: dict) -> dict[str, str]:
        path, unit = folder / "plan.json", {"hash": settings["hash"], "settings": settings}
        path.write_text(json.dumps({stage: {"unit": unit}}))
        return {"plan": str(path), "stage": stage, "key": "unit", "hash": unit["hash"]}

    return write


@pytest.fixture(scope="session")
def settings():
    """Settings of a run as the plan gives them; keyword arguments change them."""

    def make(training=(), **changes) -> dict:
        plan = {
            "steps": 12,
            "validate_every": 4,
            "patience": None,
            "decay": {"kind": "none"},
            "precision": "float32",
            "compile": False,
            "checkpoint_seconds": 3600.0,
        }
        return {
            "scale": "smoke",
            "cohort": "blocks",
            "annotation": "half_merged",
            "method": "slac",
            "seed": 0,
            "hash": "0123456789",
            "structures": ["left", "right"],
            "classes": CLASSES,
            "implementation": "slac",
            "method_options": {},
            "network": "baumgartner_unet",
            "network_options": {"width": 2, "padding": "same"},
            "optimiser": {
                "name": "adam",
                "learning_rate": 0.01,
                "warmup_steps": 2,
                "warmup_factor": 0.1,
                "weight_decay": 0.0,
                "clip_norm": None,
            },
            "batch_size": 4,
            "input": {"kind": "slices", "neighbours": 0},
            "sampler": {"name": "epochs"},
            "augmentation": {},
            "training": plan | dict(training),
            "code": "fedcba9876",
            "modules": ["workflow.scripts.train"],
            "source_hash": source_hash("workflow.scripts.train"),
            "largest_component": [],
        } | changes

    return make
