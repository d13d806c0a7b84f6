"""Finished runs, their weights as they were drawn, on cohorts that are prepared in a moment."""

import json
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from piecemeal import methods
from piecemeal.datasets.prepare import prepare
from piecemeal.plan_file import Plan, Unit, freeze
from piecemeal.prediction import predict_own_scan
from piecemeal.provenance import file_sha256, source_hash
from piecemeal.training.results import build_network

REAL = {"blocks": {"source": "local", "phantom": False, "sha256": 64 * "0"}}
CODE = {"modules": ["piecemeal.errors"], "source_hash": source_hash("piecemeal.errors")}
BLOCKS = {
    "cohort": "blocks",
    "structures": [["left", ["left"]], ["right", ["right"]]],
    "orientation": "file",
    "grid": {"spacing_mm": [None, 2.0, 2.0], "size": [None, 32, 32], "fit": False},
    "intensity": {"MR": {"kind": "zscore"}},
    **CODE,
}
# In the files slices run to the back, rows up and columns to the left, all of them tilted.
OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = Rotation.from_euler("xyz", [12, -7, 15], degrees=True).as_matrix()
OBLIQUE[:3, :3] = OBLIQUE[:3, [0, 2, 1]] * [-2.0, 2.0, -4.0]
OBLIQUE[:3, 3] = 40, 80, 700
SEED = 10  # of weights that find more than one class in each of the scans
STRUCTURES = ["bone", "liver", "lung"]
TASKS = {"pelvis": ["bone"], "abdomen": ["liver"], "chest": ["lung"]}


@pytest.fixture
def run(tmp_path, settings):
    """Makes a finished run; its `folder`, `settings` of scoring, `record` and `weights`.

    prepared: settings of its cohort; sources: of run.json; the others are settings of the run.
    """

    def make(prepared=BLOCKS, sources=REAL, **changes) -> SimpleNamespace:
        asked = {"tasks": {}, "overlapping": False, "inference": {"batch_size": 2}} | changes
        scoring = json.loads(json.dumps(settings(**asked) | CODE))
        key = "{cohort}/{annotation}/{method}/seed{seed}-{hash}".format_map(scoring)
        folder = tmp_path / "results" / "smoke" / "runs" / key
        folder.mkdir(parents=True)
        torch.manual_seed(SEED)
        state = {}
        if scoring["network"]:
            method = methods.load(
                scoring["implementation"], scoring["classes"], scoring["method_options"]
            )
            state = build_network(scoring, method, 1).state_dict()
        torch.save(state, folder / "weights.pt")
        identity = ("scale", "cohort", "annotation", "method", "seed", "hash")
        record = {name: scoring[name] for name in identity}
        record |= {"source_hash": "fedcba9876", "commit": "c0ffee"}
        record |= {"config": scoring, "data_sources": sources}
        record["weights_sha256"] = file_sha256(folder / "weights.pt")
        (folder / "run.json").write_text(json.dumps(record))
        units = {key: Unit("0123456789", scoring)}
        cohorts = {scoring["cohort"]: Unit("9876543210", prepared)}
        plan = Plan("smoke", {}, cohorts, {}, units, units, {})
        freeze(plan, tmp_path / "results" / "smoke" / "plan.json")
        weights = folder / "weights.pt"
        return SimpleNamespace(folder=folder, settings=scoring, record=record, weights=weights)

    return make


@pytest.fixture
def say(tmp_path):
    """Predicts on one thread to labels.nii.gz; the lines that it says."""

    def predicted(run_folder: Path, scan: Path, name: str = "labels.nii.gz", **options):
        return list(predict_own_scan(run_folder, scan, tmp_path / name, **options))

    return predicted


@pytest.fixture
def scan(cohort) -> Path:
    """The file of a scan of the blocks."""
    return cohort.raw / "subject001" / "thigh.nii.gz"


def _write_body(folder: Path, seed: int) -> None:
    """A body that shows a bone, a liver and a lung, one above the other; (x, z, y) in the file."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((20, 24, 9), np.uint8)
    for label, where in {1: slice(0, 8), 2: slice(6, 15), 3: slice(14, 24)}.items():
        labels[4 * label : 4 * label + 4, where, 2:7] = label
    waves = [np.cos(rng.uniform(0.2, 1) * np.arange(n) + rng.uniform(0, 6)) for n in (20, 9)]
    image = 100 * labels + 100 * np.outer(*waves)[:, None] + rng.normal(0, 5, labels.shape)
    folder.mkdir(parents=True)
    for name, voxels in (("thigh", image.astype(np.int16)), ("thigh_labels", labels)):
        nib.save(nib.Nifti1Image(voxels, OBLIQUE), folder / f"{name}.nii.gz")


@pytest.fixture
def bodies(tmp_path):
    """Prepares bodies, with these tasks if any: `cohort` as in the plan, `prepared`, `raw`."""

    def make(tasks=None, **changes) -> SimpleNamespace:
        raw, prepared = tmp_path / "raw", tmp_path / "prepared"
        for number in range(1, 5):
            _write_body(raw / f"subject{number:03d}", number)
        source = {
            "root": raw,
            "layout": "oai_thigh",
            "layout_options": {},
            "labels": [[number, name] for number, name in enumerate(STRUCTURES, start=1)],
            "sides": {},
            "side_check": [],
            "unit_spacing": "reject",
            "modality": "MR",
            "other_modality": {},
        }
        cohort = {
            "cohort": "bodies",
            "structures": [[name, [name]] for name in STRUCTURES],
            "orientation": "canonical",
            "grid": {"spacing_mm": [2.5, 3.0, 3.0], "size": [None, 16, 16], "fit": False},
            "intensity": {"MR": {"kind": "percentiles", "low": 1.0, "high": 99.0, "above": None}},
            **CODE,
        } | changes
        cohort["intensity"]["MR"]["scale"] = [-1.0, 1.0]
        if tasks:
            cohort |= {"tasks": tasks, "transition": {"margin": 1, "least": 1}}
        split = {"seed": 1, "train": 2, "validation": 1, "test": 1, "twins": "keep"}
        arguments = {key: cohort[key] for key in ("orientation", "grid", "intensity")}
        more = {key: cohort[key] for key in ("tasks", "transition") if key in cohort}
        structures = dict(cohort["structures"])
        prepare(prepared, {"bodies": source}, structures, split=split, **arguments, **more)
        return SimpleNamespace(cohort=cohort, prepared=prepared, raw=raw)

    return make
