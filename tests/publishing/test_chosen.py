"""Which scan and which slice a figure shows, with class ids and with bit masks."""

from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from piecemeal.datasets.case_table import write_cases
from piecemeal.errors import InputError
from piecemeal.figure_specs import QualitativeFigure
from piecemeal.publishing.chosen import (
    Scored,
    examples,
    folder_of,
    largest_slice,
    masks_of,
    median_scan,
    panel,
    rows_of,
)


def test_median_scan_is_the_lower_middle_one():
    scores = pd.DataFrame(
        {
            "dataset": "acdc",
            "case": ["p1", "p2", "p3", "p4"] * 2,
            "phase": [np.nan] * 8,
            "arm": ["one"] * 4 + ["other"] * 4,
            "status": ["ok"] * 7 + ["missed"],
            # means over the two arms: 0.9, 0.6, 0.7, 0.2 (a miss is 0)
            "dice": [0.9, 0.5, 0.7, 0.4, 0.9, 0.7, 0.7, np.nan],
        }
    )
    assert median_scan(scores) == ("acdc", "p2", "", "")
    assert median_scan(scores.sample(frac=1, random_state=1)) == ("acdc", "p2", "", "")


def test_an_arm_of_many_seeds_counts_as_much_as_another():
    scores = pd.DataFrame(
        {
            "dataset": "d",
            "case": ["a", "b", "c"] * 4,
            "phase": "",
            "arm": ["many"] * 9 + ["one"] * 3,
            "status": "ok",
            # Arms alike: 0.55, 0.35, 0.5; seeds alike: 0.375, 0.475, 0.5.
            "dice": [0.2, 0.6, 0.5] * 3 + [0.9, 0.1, 0.5],
        }
    )
    assert median_scan(scores) == ("d", "c", "", "")


def test_equal_scans_go_by_name():
    scores = pd.DataFrame(
        {
            "dataset": "d",
            "case": ["b", "a", "c"],
            "phase": "",
            "arm": "one",
            "status": "ok",
            "dice": 0.5,
        }
    )
    assert median_scan(scores) == ("d", "b", "", "")


def test_largest_slice_is_the_first_of_equals():
    reference = np.zeros((4, 3, 3), dtype=np.uint8)
    reference[1, 0, :2] = 1
    reference[3, 0, :2] = 2
    assert largest_slice(reference) == 1


def test_bit_masks_and_class_ids_become_masks():
    ids = masks_of(np.array([[0, 3, 7]], np.uint8), [3, 7], False)
    assert ids.tolist() == [[[False, True, False]], [[False, False, True]]]
    bits = masks_of(np.array([[0, 1, 2, 3]], np.uint8), [3, 7], True)
    assert bits.tolist() == [[[False, True, False, True]], [[False, False, True, True]]]


ABOUT = {
    "title": "knees",
    "structures": ["knee front: tibia", "knee side: femur", "knee side: tibia"],
    "tasks": {
        "knee_front": ["knee front: tibia"],
        "knee_side": ["knee side: femur", "knee side: tibia"],
    },
    "overlapping": True,
}


@pytest.fixture
def knees(tmp_path):
    """Two patients with a projection of each task, and what an arm made of those of the side.

    In the side both structures overlap in one pixel, value 3.
    """
    rows = []
    for case in ("p1", "p2"):
        for task, slug in (("knee_front", "knee-front"), ("knee_side", "knee-side")):
            folder = tmp_path / "prepared" / "ct" / f"{case}_{slug}"
            folder.mkdir(parents=True)
            masks = np.array([[[0, 1, 0], [2, 3, 0]]], np.uint8)
            if task == "knee_front":
                masks[masks > 1] = 0
            np.save(folder / "image.npy", np.arange(6, dtype=np.float32).reshape(1, 2, 3))
            np.savez(folder / "reference.npz", masks)
            (folder / "scan.json").write_text(
                pd.Series(
                    {
                        **{"native_shape": [1, 2, 3], "grid_shape": [1, 2, 3], "file_axes": ""},
                        **{"spacing": [1.0, 2.0, 1.0], "grid_spacing": [1.0, 2.0, 1.0]},
                        **{"affine": np.eye(4).tolist(), "declared": ABOUT["tasks"][task]},
                    }
                ).to_json()
            )
            rows.append({"dataset": "ct", "scan": folder.name, "case": case, "phase": ""})
            rows[-1] |= {"task": task, "split": "test", "half": ""}
    write_cases(tmp_path / "prepared", pd.DataFrame(rows).to_csv(index=False))
    predicted = tmp_path / "predictions" / "ct"
    predicted.mkdir(parents=True)
    for case in ("p1", "p2"):
        volume = np.array([[[3, 0, 0], [2, 1, 0]]], np.uint8)
        nib.save(
            nib.Nifti1Image(volume.transpose(2, 1, 0), np.eye(4)),
            predicted / f"{case}_knee-side.nii.gz",
        )
    scores = pd.DataFrame(rows).assign(arm="side", status="ok", dice=[0.1, 0.9, 0.2, 0.5])
    return SimpleNamespace(
        prepared=tmp_path / "prepared", predictions=predicted.parent, scores=scores
    )


def figure(**options):
    return QualitativeFigure(
        key="f", title="t", caption="c", kind="qualitative", cohorts=["knees"], **options
    )


def test_every_task_has_its_own_median_scan(knees):
    spec = figure(each_task=True, arms={"side": "S"})
    found = list(examples(spec, ABOUT, knees.scores, knees.prepared))
    assert found == [
        ("knee front", Scored("ct", "p1", "", "knee_front")),
        ("knee side", Scored("ct", "p2", "", "knee_side")),
    ]


def test_tasks_are_shown_in_the_order_asked(knees):
    spec = figure(each_task=True, arms={"side": "S"}, tasks=["knee_side", "knee_front"])
    titles = [title for title, _ in examples(spec, ABOUT, knees.scores, knees.prepared)]
    assert titles == ["knee side", "knee front"]
    of_side = knees.scores[knees.scores["task"] == "knee_side"]
    titles = [title for title, _ in examples(spec, ABOUT, of_side, knees.prepared)]
    assert titles == ["knee side"]


@pytest.mark.parametrize(
    ("tasks", "asked"), [(ABOUT["tasks"], ["knee_back"]), ({}, []), ({}, ["knee_side"])]
)
def test_a_task_that_the_cohort_has_not_is_refused(knees, tasks, asked):
    spec = figure(each_task=True, arms={"side": "S"}, tasks=asked)
    with pytest.raises(InputError, match=r"figure 'f' asks for the tasks .* of the cohort 'knees'"):
        list(examples(spec, ABOUT | {"tasks": tasks}, knees.scores, knees.prepared))


def test_without_arms_the_first_scan_is_shown(knees):
    spec = figure(each_task=True, tasks=["knee_side"])
    found = list(examples(spec, ABOUT, knees.scores[:0], knees.prepared))
    assert found == [("knee side", Scored("ct", "p1", "", "knee_side"))]


def test_bits_are_the_structures_of_the_scans_task(knees):
    scan = Scored("ct", "p1", "", "knee_side")
    shown = panel("side", scan, ABOUT, {"side": knees.predictions}, knees.prepared)
    assert shown.structures == ["femur", "tibia"]
    assert shown.reference[0].tolist() == [[False, True, False], [False, True, False]]
    assert shown.reference[1].tolist() == [[False, False, False], [True, True, False]]
    assert shown.predictions["side"][0].tolist() == [[True, False, False], [False, True, False]]
    assert shown.image.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert (shown.judged, shown.whole, tuple(shown.spacing_yx)) == ([0, 1], True, (2.0, 1.0))


def test_an_arm_that_does_not_know_the_task_has_no_prediction(knees):
    scan = Scored("ct", "p1", "", "knee_front")
    shown = panel("front", scan, ABOUT, {"side": knees.predictions}, knees.prepared)
    assert shown.predictions == {"side": None}


@pytest.fixture
def heart(knees):
    """The same projections of a cohort without tasks, and a scan of it."""
    return ABOUT | {"tasks": {}}, Scored("ct", "p1", "knee-side", "")


def test_a_prediction_that_is_gone_is_named(knees, heart):
    (knees.predictions / "ct" / "p1_knee-side.nii.gz").unlink()
    said = r"p1_knee-side\.nii\.gz: the prediction cannot be read .*; delete \S+/scores\.csv and st"
    with pytest.raises(InputError, match=said):
        panel("hearts", heart[1], heart[0], {"side": knees.predictions}, knees.prepared)


@pytest.mark.parametrize("kept", [0, 10, 40, -12])
def test_a_broken_prediction_is_named(knees, kept):
    path = knees.predictions / "ct" / "p1_knee-side.nii.gz"
    path.write_bytes(path.read_bytes()[:kept])
    scan = Scored("ct", "p1", "", "knee_side")
    with pytest.raises(InputError) as caught:
        panel("side", scan, ABOUT, {"side": knees.predictions}, knees.prepared)
    assert str(caught.value).startswith(f"{path}: the prediction cannot be read (")
    cure = f"delete {knees.predictions.parent / 'scores.csv'} and start again"
    assert str(caught.value).endswith(cure)


def test_a_scan_is_found_by_its_task(knees):
    scan = Scored("ct", "p2", "", "knee_side")
    assert folder_of(knees.prepared, scan).name == "p2_knee-side"
    assert rows_of(knees.scores, scan).tolist() == [False, False, False, True]
    with pytest.raises(InputError, match=r"cases.csv: has no .*p9.*prepare the data again"):
        folder_of(knees.prepared, scan._replace(case="p9"))
