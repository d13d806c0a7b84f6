"""The label map of a scan is that which scoring writes for it, and says where it comes from."""

import json
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from piecemeal import prediction
from piecemeal.datasets.store import PreparedScan, read_cases
from piecemeal.errors import InputError
from piecemeal.prediction import PHANTOMS_ONLY
from piecemeal.provenance import file_sha256
from piecemeal.scoring import score_run

OF_BODIES = {"structures": ["bone", "liver", "lung"], "classes": 4, "cohort": "bodies"}
OF_BODIES |= {"annotation": "complete"}
TASKS = {"pelvis": ["bone"], "abdomen": ["liver"], "chest": ["lung"]}
IDS = {"pelvis": [1], "abdomen": [2], "chest": [3]}


def voxels(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def about(folder: Path) -> dict:
    return json.loads((folder / "labels.json").read_text())


def test_it_is_what_scoring_writes_of_the_same_scan(run, say, cohort, tmp_path):
    made = run(largest_component=["left"])
    score_run(made.settings, cohort.prepared, made.weights, tmp_path / "scored")
    (first, second) = sorted((tmp_path / "scored" / "blocks").iterdir())
    for written in (first, second):
        case = written.name.removesuffix(".nii.gz")
        say(made.folder, cohort.raw / case / "thigh.nii.gz", written.name)
        assert len(np.unique(voxels(written))) > 1
        np.testing.assert_array_equal(voxels(tmp_path / written.name), voxels(written))
        found, expected = nib.load(tmp_path / written.name), nib.load(written)
        np.testing.assert_array_equal(found.affine, expected.affine)
        assert found.get_data_dtype() == np.uint8


def test_the_cohorts_post_processing_is_applied(run, say, scan, monkeypatch, tmp_path):
    """One stray voxel of each structure, of which only `left` is cleaned."""
    drawn = np.zeros((3, 32, 36), np.uint8)
    drawn[1, 4:8, 4:8], drawn[1, 4:8, 20:28], drawn[0, 0, 0], drawn[0, -1, -1] = 1, 2, 1, 2
    monkeypatch.setattr(prediction, "predict", lambda *_: drawn)
    say(run(largest_component=["left"]).folder, scan)
    found = voxels(tmp_path / "labels.nii.gz").T
    assert (found[0, 0, 0], found[0, -1, -1]) == (0, 2)


def test_a_turned_and_tilted_scan_comes_back_on_its_own_voxels(run, say, bodies, tmp_path):
    made = bodies()
    finished = run(made.cohort, **OF_BODIES)
    score_run(finished.settings, made.prepared, finished.weights, tmp_path / "scored")
    (written,) = (tmp_path / "scored" / "bodies").iterdir()
    scan = made.raw / written.name.removesuffix(".nii.gz") / "thigh.nii.gz"
    assert nib.aff2axcodes(nib.load(scan).affine) == ("L", "S", "P")
    say(finished.folder, scan)
    found, own = nib.load(tmp_path / "labels.nii.gz"), nib.load(scan)
    assert found.shape == own.shape
    np.testing.assert_allclose(found.affine, own.affine, atol=1e-4)
    assert len(np.unique(voxels(written))) > 1
    np.testing.assert_array_equal(voxels(tmp_path / "labels.nii.gz"), voxels(written))


@pytest.mark.parametrize("task", TASKS)
def test_a_task_is_asked_for_as_scoring_asks_for_it(run, say, bodies, tmp_path, task):
    """Scoring predicts the slices that show the task; a scan of one's own is predicted whole."""
    grid = {"spacing_mm": [None, 3.0, 3.0], "size": [None, 16, 16], "fit": False}
    made = bodies(TASKS, grid=grid)
    method = {"implementation": "individual", "method_options": {"tasks": list(IDS.values())}}
    finished = run(made.cohort, **OF_BODIES, **method, tasks=IDS)
    score_run(finished.settings, made.prepared, finished.weights, tmp_path / "scored")
    (case,) = set(read_cases(made.prepared).query("split == 'test'")["case"])
    planes = slice(*PreparedScan(made.prepared / "bodies" / f"{case}_{task}").record["planes"])
    say(finished.folder, made.raw / case / "thigh.nii.gz", task=task)
    found = voxels(tmp_path / "labels.nii.gz")[:, planes]  # slices are the second axis of the file
    np.testing.assert_array_equal(found, voxels(tmp_path / f"scored/bodies/{case}_{task}.nii.gz"))
    assert set(np.unique(found)) == {0, *IDS[task]}
    assert about(tmp_path)["task"] == task
    assert about(tmp_path)["asked_for"] == TASKS[task]


def test_what_lies_beside_it_says_what_it_is(run, say, scan, tmp_path):
    made = run()
    lines = say(made.folder, scan)
    said, labels = about(tmp_path), tmp_path / "labels.nii.gz"
    assert said["classes"] == {"0": "background", "1": "left", "2": "right"}
    assert said["run"] == "blocks/half_merged/slac/seed0-0123456789"
    assert (said["source_hash"], said["commit"]) == ("fedcba9876", "c0ffee")
    assert said["weights_sha256"] == made.record["weights_sha256"]
    assert said["data_sources"] == made.record["data_sources"]
    assert (said["trained_on_phantoms"], said["warnings"]) == ([], [])
    assert said["scan_sha256"] == file_sha256(scan)
    assert said["labels_sha256"] == file_sha256(labels)
    assert said["settings_from"].endswith("plan.json")
    voxel_ml = np.prod(nib.load(labels).header.get_zooms()) / 1000
    counts = {name: np.sum(voxels(labels) == i) for i, name in enumerate(["left", "right"], 1)}
    assert said["volumes_ml"] == {
        name: pytest.approx(count * voxel_ml, abs=1e-3) for name, count in counts.items() if count
    }
    assert not any(line.startswith("warning") for line in lines)
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == [
        "labels.json",
        "labels.nii.gz",
    ]


def test_what_is_asked_for_and_not_found_is_said(run, say, scan, monkeypatch):
    monkeypatch.setattr(prediction, "predict", lambda *_: np.ones((3, 32, 36), np.uint8))
    assert "not found: right" in say(run().folder, scan)


# --- phantoms are never shown as if they were real ----------------------------------------------


def test_weights_that_saw_phantoms_only_say_so(run, say, scan, tmp_path):
    phantom = {"blocks": {"source": "phantom", "phantom": True, "sha256": 64 * "1"}}
    lines = say(run(sources=phantom).folder, scan)
    assert lines[0] == f"warning: {PHANTOMS_ONLY}"
    assert about(tmp_path)["warnings"] == [PHANTOMS_ONLY]
    assert about(tmp_path)["trained_on_phantoms"] == ["blocks"]
    header = nib.load(tmp_path / "labels.nii.gz").header
    assert header["descrip"].item() == b"piecemeal 0123456789, TRAINED ON PHANTOMS"


def test_weights_that_saw_phantoms_beside_patients_name_them(run, say, scan, tmp_path):
    some = {
        name: {"source": "local", "phantom": name == "drawn", "sha256": 64 * "0"}
        for name in ("blocks", "drawn")
    }
    say(run(sources=some).folder, scan)
    (warning,) = about(tmp_path)["warnings"]
    assert "drawn are phantoms, not patients (1 of 2)" in warning


def test_other_code_than_that_of_the_run_is_told(run, say, scan, tmp_path):
    made = run()
    plan = tmp_path / "results" / "smoke" / "plan.json"
    plan.write_text(plan.read_text().replace(made.settings["source_hash"], "0000000000"))
    assert say(made.folder, scan)[0].startswith("warning: the code that prepares and predicts has")


# --- options ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tasks", "options", "words"),
    [
        ({"hip": [1], "knee": [2]}, {}, r"--task: .* give one of hip, knee"),
        ({"hip": [1], "knee": [2]}, {"task": "foot"}, r"--task foot: .* has only hip, knee"),
        ({}, {"task": "hip"}, r"--task hip: .* has no task; leave the option out"),
        ({}, {"modality": "CT"}, r"--modality CT: .* has only MR"),
    ],
)
def test_options_that_do_not_fit_the_cohort_are_refused(run, say, scan, tasks, options, words):
    with pytest.raises(InputError, match=words):
        say(run(tasks=tasks).folder, scan, **options)


def test_of_several_modalities_one_has_to_be_given(run, say, scan, cohort):
    from_0_to_1 = {"kind": "window", "low": -100.0, "high": 300.0, "scale": [0.0, 1.0]}
    both = {"MR": {"kind": "zscore"}, "CT": from_0_to_1}
    blocks = {
        **{"cohort": "blocks", "orientation": "file", "intensity": both},
        "structures": [["left", ["left"]], ["right", ["right"]]],
        "grid": {"spacing_mm": [None, 2.0, 2.0], "size": [None, 32, 32], "fit": False},
    }
    code = {"modules": ["piecemeal.errors"], "source_hash": ""}
    made = run(blocks | code)
    with pytest.raises(InputError, match=r"--modality: .* give one of MR, CT"):
        say(made.folder, scan)
    say(made.folder, scan, modality="CT")


# --- the output ---------------------------------------------------------------------------------


@pytest.mark.parametrize("there", ["labels.nii.gz", "labels.json"])
def test_what_exists_is_replaced_only_by_force(run, say, scan, tmp_path, there):
    made = run()
    (tmp_path / there).write_text("precious")
    with pytest.raises(InputError, match=rf"{there}: exists; .* --force"):
        say(made.folder, scan)
    assert (tmp_path / there).read_text() == "precious"
    say(made.folder, scan, force=True)
    assert about(tmp_path)["labels_sha256"] == file_sha256(tmp_path / "labels.nii.gz")


@pytest.mark.parametrize("name", ["labels.nrrd", "labels", ".nii.gz"])
def test_the_output_is_nifti(run, say, scan, name):
    with pytest.raises(InputError, match=r"expected a name that ends in \.nii\.gz or \.nii"):
        say(run().folder, scan, name)


def test_without_gz_it_is_not_packed(run, say, scan, tmp_path):
    made = run()
    say(made.folder, scan)
    say(made.folder, scan, "plain.nii")
    assert (tmp_path / "plain.nii").read_bytes()[:2] != b"\x1f\x8b"
    np.testing.assert_array_equal(
        voxels(tmp_path / "plain.nii"), voxels(tmp_path / "labels.nii.gz")
    )


def test_the_scan_is_never_replaced(run, tmp_path, scan):
    own = tmp_path / "own.nii.gz"
    own.write_bytes(scan.read_bytes())
    with pytest.raises(InputError, match="is the scan itself"):
        list(prediction.predict_own_scan(run().folder, own, own, force=True))
    assert own.read_bytes() == scan.read_bytes()


def test_a_kill_leaves_no_half_map_and_no_word_of_the_one_before(
    run, say, scan, tmp_path, monkeypatch
):
    made = run()
    say(made.folder, scan)
    before = (tmp_path / "labels.nii.gz").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(InputError, match=r"labels\.nii\.gz: cannot be written \(No space"):
            say(made.folder, scan, force=True)
    assert (tmp_path / "labels.nii.gz").read_bytes() == before
    assert not (tmp_path / "labels.json").exists()
    assert not list(tmp_path.glob(".labels*"))
