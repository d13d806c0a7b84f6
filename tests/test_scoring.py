import json
import math
import runpy
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from piecemeal import networks, scoring
from piecemeal.datasets.case_table import write_cases
from piecemeal.datasets.grid import Geometry
from piecemeal.datasets.orientation import to_canonical
from piecemeal.datasets.store import PreparedScan, read_cases
from piecemeal.errors import InputError
from piecemeal.methods._base import TaskConditioned
from piecemeal.provenance import file_sha256
from piecemeal.scoring import diagonal_mm, score_run

COLUMNS = (
    "cohort,annotation,method,seed,dataset,case,phase,structure,status,"
    "dice,assd_mm,hd_mm,hd95_mm,true_voxels,predicted_voxels,overlap_voxels,seconds,task"
)
SCRIPT = Path(__file__).resolve().parents[1] / "workflow" / "scripts" / "score.py"
NAMES = {"scores": "scores.csv", "unprocessed": "unprocessed.csv", "record": "scores.json"}
NAMES["last"] = "scores_last.csv"
UNTRAINED = {"network": None, "network_options": {}, "optimiser": None, "batch_size": None}


@pytest.fixture
def untrained(settings):
    def make(name: str, **changes) -> dict:
        return settings(method=name, implementation=name, **UNTRAINED, **changes)

    return make


@pytest.fixture
def weights(tmp_path, settings):
    torch.manual_seed(0)
    s = settings()
    network = networks.build(s["network"], 1, s["classes"], **s["network_options"])
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    return tmp_path / "weights.pt"


def test_oracle_is_near_one(cohort, untrained, tmp_path):
    scores = score_run(untrained("oracle"), cohort.prepared, tmp_path / "none", tmp_path).processed
    assert (scores["status"] == "ok").all()
    assert scores["dice"].min() > 0.9


def test_background_misses_everything(cohort, untrained, tmp_path):
    floor = untrained("background")
    scores = score_run(floor, cohort.prepared, tmp_path / "none", tmp_path).processed
    assert (scores["status"] == "missed").all()
    assert (scores["dice"] == 0).all()
    assert scores[["assd_mm", "hd_mm", "hd95_mm"]].isna().all(axis=None)


def test_one_row_a_test_scan_and_structure(cohort, untrained, tmp_path):
    cases = read_cases(cohort.prepared)
    test = cases[cases["split"] == "test"]
    scored = score_run(untrained("oracle"), cohort.prepared, tmp_path / "none", tmp_path)
    assert scored.slices == []
    for scores in (scored.processed, scored.unprocessed):
        assert list(scores.columns) == COLUMNS.split(",")
        assert scores.to_csv(index=False).splitlines()[0] == COLUMNS
        wanted = [(case, name) for case in test["case"] for name in ("left", "right")]
        assert list(zip(scores["case"], scores["structure"], strict=True)) == wanted
        identity = scores[["cohort", "annotation", "method", "seed", "dataset", "phase", "task"]]
        assert set(identity.itertuples(index=False, name=None)) == {
            ("blocks", "half_merged", "oracle", 0, "blocks", "", "")
        }
        assert (scores.groupby("case")["seconds"].nunique() == 1).all()


def test_predictions_lie_in_the_space_of_the_scan(cohort, settings, weights, tmp_path):
    score_run(settings(), cohort.prepared, weights, tmp_path / "predictions")
    cases = read_cases(cohort.prepared)
    test = set(cases[cases["split"] == "test"]["scan"])
    written = sorted((tmp_path / "predictions" / "blocks").iterdir())
    assert {p.name for p in written} == {f"{scan}.nii.gz" for scan in test}
    for path in written:
        image = nib.load(cohort.raw / path.name.removesuffix(".nii.gz") / "thigh.nii.gz")
        prediction = nib.load(path)
        assert prediction.shape == image.shape
        np.testing.assert_allclose(prediction.affine, image.affine, atol=1e-5)
        assert prediction.get_data_dtype() == np.uint8


OBLIQUE = np.array(
    [[0.1, 0.2, 2.9, -40], [-0.1, -0.95, 0.3, 80], [-0.85, 0.1, 0.3, 700], [0, 0, 0, 1.0]]
)


def test_predictions_of_turned_scans_lie_voxel_by_voxel_on_the_file(untrained, tmp_path):
    """A file whose voxels run down, to the back and to the right, prepared the other way round."""
    drawn = np.random.default_rng(0).integers(0, 3, (6, 5, 4)).astype(np.uint8)  # (x, y, z)
    file = nib.Nifti1Image(drawn, OBLIQUE)
    assert nib.aff2axcodes(file.affine) == ("I", "P", "R")
    labels, _, affine, file_axes = to_canonical(drawn.T, None, file.affine)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)[::-1].tolist()
    folder = tmp_path / "prepared" / "oblique" / "one"
    folder.mkdir(parents=True)
    for name in ("image", "labels"):
        np.save(folder / f"{name}.npy", labels)
    np.savez_compressed(folder / "reference.npz", labels)
    about = {"native_shape": labels.shape, "spacing": spacing, "affine": affine.tolist()}
    about |= {"grid_shape": labels.shape, "grid_spacing": spacing, "file_axes": file_axes}
    (folder / "scan.json").write_text(json.dumps(about))
    row = {"dataset": "oblique", "scan": "one", "case": "one", "phase": "", "task": ""}
    row |= {"split": "test", "half": "", "declared": "left;right"}
    write_cases(tmp_path / "prepared", pd.DataFrame([row]).to_csv(index=False))

    scores, *_ = score_run(untrained("oracle"), tmp_path / "prepared", tmp_path, tmp_path)
    assert (scores["dice"] == 1).all()
    written = nib.load(tmp_path / "oblique" / "one.nii.gz")
    np.testing.assert_array_equal(np.asarray(written.dataobj), drawn)
    np.testing.assert_allclose(written.affine, file.affine, atol=1e-4)


def test_scores_are_those_of_the_written_prediction(cohort, untrained, tmp_path):
    scores = score_run(untrained("oracle"), cohort.prepared, tmp_path / "none", tmp_path).processed
    row = scores.iloc[0]
    prediction = np.asarray(nib.load(tmp_path / "blocks" / f"{row.case}.nii.gz").dataobj)
    truth = np.asarray(nib.load(cohort.raw / row.case / "thigh_labels.nii.gz").dataobj)
    assert row.predicted_voxels == (prediction == 1).sum()
    assert row.true_voxels == (truth == 1).sum()
    assert row.overlap_voxels == ((prediction == 1) & (truth == 1)).sum()


def test_only_the_processed_table_has_largest_components(cohort, untrained, tmp_path, monkeypatch):
    """The reference with one stray voxel of each structure, of which only `left` is cleaned."""

    def with_strays(method, network, scan: PreparedScan, settings) -> np.ndarray:
        prediction = np.array(scan.reference)
        prediction[0, 0, 0], prediction[0, -1, -1] = 1, 2
        return prediction

    monkeypatch.setattr(scoring, "predict", with_strays)
    settings = untrained("oracle", largest_component=["left"])
    processed, raw, *_ = score_run(settings, cohort.prepared, tmp_path / "none", tmp_path)
    more = (processed["predicted_voxels"] - processed["true_voxels"]).tolist()
    assert more == [0, 1] * (len(processed) // 2)
    assert (raw["predicted_voxels"] - raw["true_voxels"] == 1).all()
    left = processed["structure"] == "left"
    assert (processed[left]["dice"] == 1).all()
    pd.testing.assert_frame_equal(processed[~left], raw[~left])
    for path in (tmp_path / "blocks").iterdir():
        assert np.asarray(nib.load(path).dataobj)[0, 0, 0] == 0


# ---- slice by slice ----


@pytest.mark.parametrize(("plane", "distance"), [((256, 360), 10), ((64, 18), 0.5)])
def test_slices_are_measured_in_pixels_of_the_plane_that_is_asked_for(
    cohort, untrained, tmp_path, monkeypatch, plane, distance
):
    """The reference one of 36 voxels further along x, whatever the grid; none in one slice."""

    def shifted(method, network, scan: PreparedScan, settings) -> np.ndarray:
        prediction = np.roll(np.array(scan.reference), 1, axis=2)
        prediction[1] = 0
        return prediction

    monkeypatch.setattr(scoring, "predict", shifted)
    settings = untrained("oracle", slices=plane)
    scores = score_run(settings, cohort.prepared, tmp_path / "none", tmp_path)
    # Two scans, two structures in all of three slices, each with and without post-processing.
    assert len(scores.slices) == 2 * 2 * 2
    for entry in scores.slices:
        assert entry["hd_slice_px"] == pytest.approx(distance)
        assert (entry["slices"], entry["left_out"]) == (2, 1)
    diagonal = pytest.approx(math.hypot(*plane), abs=1e-4)
    assert [scan["slice_diagonal_px"] for scan in scores.scans] == [diagonal] * 2
    assert list(scores.processed.columns) == COLUMNS.split(",")


def test_slices_are_measured_before_and_after_post_processing(
    cohort, untrained, tmp_path, monkeypatch
):
    """One stray voxel, in every slice, is gone from what counts."""

    def with_strays(method, network, scan: PreparedScan, settings) -> np.ndarray:
        prediction = np.array(scan.reference)
        prediction[:, 0, 0] = 1
        return prediction

    monkeypatch.setattr(scoring, "predict", with_strays)
    settings = untrained("oracle", slices=[32, 36], largest_component=["left"])
    slices = score_run(settings, cohort.prepared, tmp_path / "none", tmp_path).slices
    left = {s["processed"]: s["hd_slice_px"] for s in slices if s["structure"] == "left"}
    assert left[True] == 0
    assert left[False] > 5


def test_a_missed_structure_has_no_slice(cohort, untrained, tmp_path):
    floor = untrained("background", slices=[32, 36])
    scores = score_run(floor, cohort.prepared, tmp_path / "none", tmp_path)
    identity = {"dataset": "blocks", "case": scores.scans[0]["case"], "phase": "", "task": ""}
    measures = {"hd_slice_px": None, "slices": 0, "left_out": 3}
    assert scores.slices[0] == {**identity, "processed": True, "structure": "left", **measures}


# ---- what a prediction costs ----


class Slow(nn.Module):
    """Takes `first` s for its first call, and 1 s for every slice."""

    def __init__(self, first: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.first, self.now = first, 0.0

    def forward(self, images):
        self.now += self.first + len(images)
        self.first = 0.0
        return images * self.weight.view(1, 3, 1, 1)


@pytest.fixture
def slow(monkeypatch):
    """The network of every run, and the clock that it moves."""
    network = Slow(first=60.0)
    monkeypatch.setattr(scoring, "load_network", lambda *_: network)
    clock = SimpleNamespace(perf_counter=lambda: network.now)
    monkeypatch.setattr(scoring, "time", clock)
    return network


def test_what_belongs_to_a_scan(cohort, settings, slow, tmp_path):
    """Scans of 36 x 32 x 3 voxels of 1.8 x 1.8 x 5 mm, so of 64.8 x 57.6 x 15 mm."""
    scans = score_run(settings(), cohort.prepared, tmp_path / "none", tmp_path).scans
    cases = read_cases(cohort.prepared)
    assert scans == [
        {
            **{"dataset": "blocks", "case": case, "phase": "", "task": "", "modality": "MR"},
            **{"diagonal_mm": 87.9875, "seconds": 3.0, "forward_passes": 3, "head_passes": 0},
        }
        for case in cases[cases["split"] == "test"]["case"]
    ]


def test_a_scan_says_which_weights_it_was_predicted_with(
    cohort, settings, untrained, weights, tmp_path
):
    nothing = tmp_path / "nothing.pt"
    torch.save({}, nothing)
    for given, path in ((settings(), weights), (untrained("oracle"), nothing)):
        scans = score_run(given, cohort.prepared, path, tmp_path).scans
        assert {scan["weights_sha256"] for scan in scans} == {file_sha256(path)}


@pytest.fixture
def sizes(tmp_path, untrained):
    """Score two scans of (left, right) voxels under `least_voxels`: {(scan, structure): voxels}."""
    voxels = {"one": (3, 5), "two": (0, 4)}
    rows = []
    for scan, (left, right) in voxels.items():
        folder = tmp_path / "prepared" / "sizes" / scan
        folder.mkdir(parents=True)
        labels = np.zeros((2, 3, 4), dtype=np.uint8)
        labels.flat[:left], labels.flat[-right:] = 1, 2
        for name in ("image", "labels"):
            np.save(folder / f"{name}.npy", labels)
        np.savez_compressed(folder / "reference.npz", labels)
        about = {"native_shape": labels.shape, "spacing": [1, 1, 1], "affine": np.eye(4).tolist()}
        about |= {"grid_shape": labels.shape, "grid_spacing": [1, 1, 1], "file_axes": None}
        (folder / "scan.json").write_text(json.dumps(about))
        row = {"dataset": "sizes", "scan": scan, "case": scan, "phase": "", "task": ""}
        rows.append(row | {"split": "test", "half": "", "declared": "left;right"})
    write_cases(tmp_path / "prepared", pd.DataFrame(rows).to_csv(index=False))

    def score(least):
        settings = untrained("background", least_voxels=least)
        found = score_run(settings, tmp_path / "prepared", tmp_path / "none", tmp_path)
        assert len(found.scans) == 2
        kept = [
            table.set_index(["case", "structure"])["true_voxels"].to_dict() for table in found[:2]
        ]
        assert kept[0] == kept[1]
        assert list(found.processed) == COLUMNS.split(",")
        return kept[0]

    return score


@pytest.mark.parametrize(
    ("least", "kept"),
    [
        (None, {("one", "left"): 3, ("one", "right"): 5, ("two", "left"): 0, ("two", "right"): 4}),
        (0, {("one", "left"): 3, ("one", "right"): 5, ("two", "right"): 4}),
        (3, {("one", "right"): 5, ("two", "right"): 4}),
        (4, {("one", "right"): 5}),
        (5, {}),
    ],
)
def test_structures_that_are_too_small_are_not_scored(sizes, least, kept):
    assert sizes(least) == kept


@pytest.fixture
def script(cohort, planned, tmp_path):
    """Run the script of the rule with settings; what it leaves in scores.json."""

    def run(settings, weights=tmp_path / "none", last=tmp_path / "none", data=None, record=None):
        data = data or file_sha256(cohort.prepared / "cases.csv")
        about = {"cohort": "blocks", "annotation": "half", "method": "mine", "seed": 0, "hash": "0"}
        record = record or json.dumps(about | {"data_manifest_sha256": data})
        (weights.parent / "run.json").write_text(record)
        job = SimpleNamespace(
            input=SimpleNamespace(weights=str(weights), last=str(last)),
            output=SimpleNamespace(**{key: str(tmp_path / name) for key, name in NAMES.items()}),
            params=SimpleNamespace(
                asked=planned(tmp_path, "scores", settings),
                folders={"prepared": str(cohort.prepared)},
            ),
            threads=1,
        )
        runpy.run_path(str(SCRIPT))["main"](job)
        return json.loads((tmp_path / "scores.json").read_text(), parse_constant=pytest.fail)

    return run


def test_the_script_writes_what_belongs_to_a_scan(cohort, settings, slow, script, tmp_path):
    record = script(settings())
    assert record.keys() == {"scoring", "rows", "data_manifest_sha256", "sha256", "scans"}
    assert record["data_manifest_sha256"] == file_sha256(cohort.prepared / "cases.csv")
    tables = ("scores.csv", "unprocessed.csv", "scores_last.csv")
    assert record["sha256"] == {name: file_sha256(tmp_path / name) for name in tables}
    assert record["scoring"] == "0123456789"
    assert record["rows"] == len(pd.read_csv(tmp_path / "scores.csv")) == 4
    assert [(s["diagonal_mm"], s["forward_passes"]) for s in record["scans"]] == [(87.9875, 3)] * 2


def test_a_run_is_not_scored_on_other_data_than_it_was_trained_on(untrained, script, tmp_path):
    with pytest.raises(InputError, match=r"cases\.csv: not the data that blocks/half/mine/"):
        script(untrained("background"), data="0" * 64)
    assert not (tmp_path / "scores.csv").exists()


def test_a_record_that_was_cut_is_named(untrained, script, tmp_path):
    weights = tmp_path / "run" / "weights.pt"
    weights.parent.mkdir()
    with pytest.raises(InputError, match=r"run\.json: cannot be read .*; delete it and"):
        script(untrained("background"), weights, record="{")


def test_the_script_writes_slices_where_the_cohort_asks_for_them(untrained, script):
    record = script(untrained("background", slices=[32, 36]))
    assert len(record["slices"]) == 8
    assert {entry["hd_slice_px"] for entry in record["slices"]} == {None}


def test_the_script_scores_the_last_weights_where_the_scale_asks_for_them(
    settings, weights, script, tmp_path
):
    last = tmp_path / "last.pt"
    state = torch.load(weights, weights_only=True)
    torch.save({name: torch.full_like(value, 0.1) for name, value in state.items()}, last)
    script(settings(last_weights=True), weights, last)
    best, ours = (pd.read_csv(tmp_path / name) for name in ("scores.csv", "scores_last.csv"))
    assert len(best) == len(ours) == 4
    assert not best["predicted_voxels"].equals(ours["predicted_voxels"])
    names = [
        {path.name for path in (tmp_path / folder / "blocks").iterdir()}
        for folder in ("predictions", "predictions_last")
    ]
    assert names[0] == names[1]
    script(settings(last_weights=True), weights, weights)
    best, ours = (pd.read_csv(tmp_path / name) for name in ("scores.csv", "scores_last.csv"))
    pd.testing.assert_frame_equal(best.drop(columns="seconds"), ours.drop(columns="seconds"))


def test_the_script_writes_only_a_header_where_last_weights_are_not_asked_for(
    settings, weights, script, tmp_path
):
    script(settings(), weights)
    assert (tmp_path / "scores_last.csv").read_text() == COLUMNS + "\n"
    assert not (tmp_path / "predictions_last").exists()


class Tasks(TaskConditioned):
    """Two tasks of one logit; background is what neither claims."""

    def loss(self, logits, codes, sets):
        raise NotImplementedError

    def merge(self, outputs):
        claimed = torch.cat(outputs, dim=1).sigmoid()
        return torch.cat([1 - claimed.amax(1, keepdim=True), claimed], dim=1)


class TaskNetwork(nn.Module):
    """Features take 1 s a slice, a head 0.1 s."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.now = 0.0

    def features(self, images):
        self.now += len(images)
        return images

    def head(self, features, task):
        self.now += 0.1 * len(features)
        return features * self.weight


@pytest.mark.parametrize("one_pass", [False, True])
def test_a_pass_a_task_is_timed_in_one_pass_as_well(
    cohort, settings, monkeypatch, one_pass, tmp_path
):
    """Three slices and two tasks."""
    network, method = TaskNetwork(), Tasks(3, [0, 1], one_pass=one_pass)
    monkeypatch.setattr(scoring, "load_network", lambda *_: network)
    monkeypatch.setattr(scoring.methods, "load", lambda *_: method)
    monkeypatch.setattr(scoring, "time", SimpleNamespace(perf_counter=lambda: network.now))
    scan = score_run(settings(), cohort.prepared, tmp_path / "none", tmp_path).scans[0]
    found = {key: scan[key] for key in scan if key.endswith(("seconds", "passes", "one_pass"))}
    once = {"seconds": pytest.approx(3.6), "forward_passes": 3, "head_passes": 6}
    if one_pass:
        assert found == once
    else:
        anew = {"seconds": pytest.approx(6.6), "forward_passes": 6, "head_passes": 6}
        shared = {"seconds_one_pass": once["seconds"], "forward_passes_one_pass": 3}
        assert found == anew | shared
        assert method.one_pass is False


def test_seconds_are_those_of_the_table(cohort, settings, slow, tmp_path):
    scores = score_run(settings(), cohort.prepared, tmp_path / "none", tmp_path)
    for table in (scores.processed, scores.unprocessed):
        seconds = table.groupby("case")["seconds"].first().to_dict()
        assert seconds == {scan["case"]: scan["seconds"] for scan in scores.scans}


def test_one_slice_warms_up_and_no_more(cohort, settings, slow, tmp_path):
    score_run(settings(), cohort.prepared, tmp_path / "none", tmp_path)
    assert slow.now == 60 + 1 + 2 * 3


def test_without_a_network_there_is_no_forward_pass(cohort, untrained, tmp_path):
    scans = score_run(untrained("oracle"), cohort.prepared, tmp_path / "none", tmp_path).scans
    assert [scan["forward_passes"] for scan in scans] == [0, 0]


@pytest.mark.parametrize(
    ("shape", "spacing", "diagonal"),
    [
        ((3, 4, 12), (1, 1, 1), 13),
        ((3, 4, 12), (4, 3, 1), math.sqrt(432)),
        ((1, 1, 1), (5, 0, 0), 5),
    ],
)
def test_diagonal(shape, spacing, diagonal):
    geometry = Geometry(shape, spacing, np.eye(4), (1.0, 1.0, 1.0), (3, 8, 8))
    assert diagonal_mm(geometry) == pytest.approx(diagonal)


def test_weights_of_another_network_are_refused_by_name(cohort, settings, weights, tmp_path):
    other = settings(network_options={"width": 3, "padding": "same"})
    with pytest.raises(InputError, match=r"weights\.pt: these weights do not fit"):
        score_run(other, cohort.prepared, weights, tmp_path)


@pytest.mark.parametrize("damage", [b"", b"not weights at all", None])
def test_damaged_weights_are_refused_by_name(cohort, settings, weights, tmp_path, damage):
    weights.write_bytes(weights.read_bytes()[:5000] if damage is None else damage)
    with pytest.raises(InputError, match=r"weights\.pt"):
        score_run(settings(), cohort.prepared, weights, tmp_path)


def test_missing_weights_are_refused_by_name(cohort, settings, tmp_path):
    with pytest.raises(InputError, match=r"weights\.pt"):
        score_run(settings(), cohort.prepared, tmp_path / "weights.pt", tmp_path)
