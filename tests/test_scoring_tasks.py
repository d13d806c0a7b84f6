"""Scores of cohorts of several tasks, and of structures that cover each other in a projection."""

import json
import math

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from piecemeal import scoring
from piecemeal.bitmasks import pack
from piecemeal.datasets.case_table import write_cases
from piecemeal.datasets.grid import Geometry
from piecemeal.errors import InputError
from piecemeal.scoring import diagonal_mm, score_run

STRUCTURES = ["toe", "shaft", "head", "heel"]
# The bits of a hip follow this order, not that of the class ids.
TASKS = {"hip axial": ["head", "shaft"], "foot": ["toe", "heel"]}
IDS = {task: [STRUCTURES.index(name) + 1 for name in names] for task, names in TASKS.items()}
SHAPE, SPACING = (1, 9, 12), (1.0, 0.5, 2.0)


def box(rows: slice, columns: slice) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[:, rows, columns] = True
    return mask


HIP = pack([box(np.s_[2:7], np.s_[:]), box(np.s_[:], np.s_[4:8])])  # they cross
FOOT = pack([box(np.s_[0:9], np.s_[0:9]), box(np.s_[1:3], np.s_[1:5])])


@pytest.fixture
def prepared(tmp_path):
    """A projection of a hip and one of a foot, of the same scan, on a grid like its own."""
    rows = []
    for task, labels in (("hip axial", HIP), ("foot", FOOT)):
        name = f"scan1_{task.replace(' ', '-')}"
        folder = tmp_path / "prepared" / "legs" / name
        folder.mkdir(parents=True)
        np.save(folder / "image.npy", np.zeros(SHAPE, np.float32))
        np.save(folder / "labels.npy", labels)
        np.savez_compressed(folder / "reference.npz", labels)
        declared = [name for name in TASKS[task] if name != "heel"]
        about = {"native_shape": SHAPE, "spacing": SPACING, "affine": np.eye(4).tolist()}
        about |= {"grid_shape": SHAPE, "grid_spacing": SPACING}
        (folder / "scan.json").write_text(json.dumps(about | {"task": task, "declared": declared}))
        row = {"dataset": "legs", "scan": name, "case": "scan1", "phase": "", "task": task}
        rows.append(row | {"split": "test", "half": "", "declared": ";".join(declared)})
    write_cases(tmp_path / "prepared", pd.DataFrame(rows).to_csv(index=False))
    return tmp_path / "prepared"


@pytest.fixture
def scored(prepared, settings, tmp_path):
    """Score an untrained method on both tasks, unless changed."""

    def run(name: str, **changes):
        given = settings(
            **{"method": name, "implementation": name, "network": None, "optimiser": None},
            **{"structures": STRUCTURES, "classes": 5, "overlapping": True, "tasks": IDS},
        )
        return score_run(given | changes, prepared, tmp_path / "none", tmp_path / "predictions")

    return run


def test_the_oracle_finds_what_is_covered(scored, tmp_path):
    scores = scored("oracle").processed
    found = scores[["case", "task", "structure", "status", "dice", "hd_mm"]].values.tolist()
    assert found == [
        ["scan1", "hip axial", "head", "ok", 1, 0],
        ["scan1", "hip axial", "shaft", "ok", 1, 0],
        ["scan1", "foot", "toe", "ok", 1, 0],
    ]
    assert scores["true_voxels"].tolist() == [5 * 12, 9 * 4, 9 * 9]
    written = nib.load(tmp_path / "predictions" / "legs" / "scan1_hip-axial.nii.gz")
    np.testing.assert_array_equal(np.asarray(written.dataobj).T, HIP)


def test_the_background_misses_everything(scored, tmp_path):
    scores = scored("background").processed
    assert scores["status"].tolist() == ["missed"] * 3
    assert scores["dice"].tolist() == [0] * 3
    assert scores["hd_mm"].isna().all()
    written = nib.load(tmp_path / "predictions" / "legs" / "scan1_foot.nii.gz")
    assert not np.asarray(written.dataobj).any()


@pytest.mark.parametrize("overlapping", [True, False])
def test_scans_of_other_tasks_are_not_scored(scored, overlapping, tmp_path):
    scores = scored("oracle", tasks={"foot": IDS["foot"]}, overlapping=overlapping)
    for table in (scores.processed, scores.unprocessed, pd.DataFrame(scores.scans)):
        assert set(table["task"]) == {"foot"}
    (written,) = (tmp_path / "predictions" / "legs").iterdir()
    assert written.name == "scan1_foot.nii.gz"


def test_without_tasks_every_scan_is_scored_and_says_its_task(scored):
    """These are class ids, then: the task of a scan is all that is told of it."""
    scores = scored("oracle", tasks={}, overlapping=False)
    assert [scan["task"] for scan in scores.scans] == ["hip axial", "foot"]


def test_a_run_without_a_scan_to_score_is_refused(scored):
    with pytest.raises(InputError, match=r"cases\.csv: no case of the split 'test' of .*knee"):
        scored("oracle", tasks={"knee": [1]})


def test_distances_of_projections_lie_in_their_plane(scored, monkeypatch):
    """A square of 9 x 9 pixels is found but for its middle.

    Of the four pixels around that, new boundary, two lie 4 rows of 0.5 mm from the outline. In a
    volume of one slice all pixels were boundary, and the missing one a row from the next.
    """
    holed = FOOT.copy()
    holed[0, 4, 4] = 0
    monkeypatch.setattr(scoring, "predict", lambda *_: holed)
    scores = scored("oracle", tasks={"foot": IDS["foot"]})
    assert scores.processed["hd_mm"].tolist() == [2]
    (scan,) = scores.scans
    assert scan["diagonal_mm"] == pytest.approx(math.hypot(9 * 0.5, 12 * 2), abs=1e-4)


def test_the_diagonal_of_a_volume_counts_its_depth():
    there = Geometry((3, 4, 12), (4, 1, 1), np.eye(4), (1, 1, 1), (1, 1, 1))
    assert diagonal_mm(there) == math.sqrt(12**2 + 4**2 + 12**2)
    assert diagonal_mm(there, flat=True) == math.hypot(4, 12)


def test_each_structure_keeps_its_own_largest_component(scored, monkeypatch):
    """A stray pixel of both; only the one of the head is taken away."""
    strays = HIP.copy()
    strays[0, 0, 11] = 0b11
    monkeypatch.setattr(scoring, "predict", lambda *_: strays)
    only_hip = {"hip axial": IDS["hip axial"]}
    scores = scored("oracle", largest_component=["head"], tasks=only_hip)
    for table, more in ((scores.processed, [0, 1]), (scores.unprocessed, [1, 1])):
        assert (table["predicted_voxels"] - table["true_voxels"]).tolist() == more


def test_projections_are_measured_in_pixels_as_well(scored):
    entries = scored("oracle", slices=[18, 24]).slices
    wanted = {"dataset": "legs", "case": "scan1", "phase": "", "task": "hip axial"}
    wanted |= {"processed": True, "structure": "head", "hd_slice_px": 0}
    assert entries[0] == wanted | {"slices": 1, "left_out": 0}
    assert [entry["structure"] for entry in entries] == 2 * ["head", "shaft"] + 2 * ["toe"]
