"""Cohorts of projections from files to annotations: cases, copies for training, bit masks."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from piecemeal import bitmasks
from piecemeal.cohort_specs import CohortConfig
from piecemeal.dataset_specs import DatasetConfig
from piecemeal.datasets import phantoms
from piecemeal.datasets.annotate import annotate
from piecemeal.datasets.prepare import prepare
from piecemeal.datasets.store import PreparedScan
from piecemeal.errors import InputError
from piecemeal.training.cases import load_cases
from piecemeal.validation import load_model, validate

CONFIG = Path(__file__).resolve().parents[2] / "config"
COPIES = 2
COMPLETE = {1: {"kind": "complete"}, 2: {"kind": "complete"}}


def arguments(root: Path, name: str, patients: int) -> tuple[CohortConfig, dict]:
    """A cohort of `config`, and the arguments of `prepare` for it on small phantoms."""
    cohort = load_model(CONFIG / f"cohorts/{name}.yaml", CohortConfig)
    sources = {}
    for dataset in cohort.datasets:
        content = load_model(CONFIG / f"datasets/{dataset}.yaml", DatasetConfig)
        options = content.phantom.options | {"size": 40, "slices": 20}
        phantoms.load(content.phantom.writer).write(root / dataset, patients, 1, **options)
        labels = [[raw, structure] for raw, structure in content.labels.items()]
        given = {"root": root / dataset, "labels": labels, "exclude": {}}
        sources[dataset] = content.model_dump(mode="json") | given
    return cohort, {
        "sources": sources,
        "structures": cohort.parts(),
        "orientation": cohort.orientation,
        "grid": {"spacing_mm": [None] * 3, "size": [None, 32, 32], "fit": True},
        "intensity": {key: how.model_dump(mode="json") for key, how in cohort.intensity.items()},
        "split": {"seed": 1, "train": 2, "validation": 1, "test": 1},
        "tasks": cohort.tasks,
        "projection": cohort.projection.model_dump(mode="json") | {"copies": COPIES},
    }


@pytest.fixture(scope="module")
def extremities(tmp_path_factory) -> SimpleNamespace:
    """The landmark cohort of Anand et al. (2024): its folder, table, configuration, arguments."""
    root = tmp_path_factory.mktemp("extremities")
    cohort, given = arguments(root, "extremities", 4)
    folder = root / "extremities-0000000001"
    table = prepare(folder, **given)
    return SimpleNamespace(root=root, folder=folder, table=table, cohort=cohort, given=given)


def scan_of(place, row) -> PreparedScan:
    return PreparedScan(place.folder / row.dataset / row.scan)


def test_every_scan_is_a_case_of_every_view_of_its_data_set(extremities):
    table, views = extremities.table, extremities.cohort.projection.views
    assert len(table) == 4 * len(views)
    assert (table.scan == table.case + "_" + table.task).all()
    for row in table.itertuples():
        assert row.dataset == views[row.task].dataset
        assert row.declared.split(";") == extremities.cohort.tasks[row.task]
        assert row.spacing_z == 1
    assert table.groupby(["dataset", "case"]).split.nunique().eq(1).all()
    assert table.notes.eq("").all()


def test_only_training_scans_have_copies(extremities):
    images = extremities.table.groupby("split").slices.unique()
    assert {split: list(n) for split, n in images.items()} == {
        "train": [1 + COPIES],
        "validation": [1],
        "test": [1],
    }
    for row in extremities.table.itertuples():
        scan = scan_of(extremities, row)
        assert scan.image.shape == scan.labels.shape == (row.slices, 32, 32)
        assert (scan.image.dtype, scan.labels.dtype) == (np.float32, np.uint8)
        assert len(scan.reference) == row.slices


def test_every_landmark_is_seen_from_every_side_that_asks_for_it(extremities):
    for row in extremities.table.itertuples():
        own = extremities.cohort.tasks[row.task]
        assert row.present.split(";") == own, row.scan
        scan = scan_of(extremities, row)
        for volume in (np.asarray(scan.labels), scan.reference):
            assert volume.max() < 2 ** len(own)
            for k in range(len(own)):
                assert bitmasks.bit(volume, k)[0].any(), (row.scan, own[k])


def test_landmarks_are_seen_where_they_lie(extremities):
    places = {}
    for row in extremities.table.itertuples():
        scan = scan_of(extremities, row)
        for k, name in enumerate(extremities.cohort.tasks[row.task]):
            mask = bitmasks.bit(np.asarray(scan.labels), k)[0]
            places[row.case, name] = np.argwhere(mask).mean(0)
    for case in extremities.table.case.unique():
        rows = {name: place[0] for (of, name), place in places.items() if of == case}
        for side in ("coronal", "sagittal"):  # from the top down
            order = [rows[f"knee {side}: {name}"] for name in ("femur", "plateau", "tibia")]
            assert order == sorted(order)
        assert rows["hip coronal: iliac"] < rows["hip coronal: femur head"]
        # From the front to the back.
        order = [rows[f"hip axial: {name}"] for name in ("iliac", "femur head", "ischiac spine")]
        assert order == sorted(order)
        assert rows["head axial: nasion"] < rows["head axial: eye"] < rows["head axial: ear"]
        assert rows["head coronal: nasion"] < rows["head coronal: ear"]
        assert rows["foot coronal back: tibia"] < rows["foot coronal back: sub-taloid joint"]


def test_a_scan_that_comes_into_training_gets_its_copies(extremities, tmp_path):
    other = extremities.folder.with_name("extremities-0000000002")
    moved = prepare(
        other, **extremities.given | {"split": extremities.given["split"] | {"seed": 3}}
    )
    both = extremities.table.merge(moved, on=["dataset", "scan"], suffixes=("", "_moved"))
    changed = both[(both.split == "train") != (both.split_moved == "train")]
    assert set(changed.slices_moved) == {1, 1 + COPIES}
    assert (moved.slices == np.where(moved.split == "train", 1 + COPIES, 1)).all()
    for row in both.itertuples():
        before, after = (
            PreparedScan(folder / row.dataset / row.scan) for folder in (extremities.folder, other)
        )
        np.testing.assert_array_equal(before.image[0], after.image[0])
        alike = (before.folder / "image.npy").samefile(after.folder / "image.npy")
        assert alike == (row.slices == row.slices_moved)
    shutil.rmtree(other)


def test_a_second_time_nothing_is_done(extremities):
    files = sorted(extremities.folder.rglob("*/*.*"))
    before = [file.stat().st_mtime_ns for file in files]
    assert prepare(extremities.folder, **extremities.given).equals(extremities.table)
    assert [file.stat().st_mtime_ns for file in files] == before


def bits_of(cohort: CohortConfig) -> dict[str, list[int]]:
    ids = {name: i for i, name in enumerate(cohort.structures, start=1)}
    return {task: [ids[name] for name in own] for task, own in cohort.tasks.items()}


@pytest.mark.parametrize("known", ["declared", "all"])
def test_annotations_are_the_bit_masks_with_a_table_of_their_task(extremities, tmp_path, known):
    cohort, bits = extremities.cohort, bits_of(extremities.cohort)
    annotate(tmp_path, extremities.folder, cohort.structures, COMPLETE, known, bits=bits)
    classes = len(cohort.structures) + 1
    cases = load_cases(extremities.folder, tmp_path, "train", classes)
    assert len(cases) == (extremities.table.split == "train").sum()
    for case in cases:
        np.testing.assert_array_equal(case.codes, case.labels)
        own = bits[case.task]
        others = {i for i in range(1, classes) if i not in own}
        assert set(np.flatnonzero(case.sets[0])) == {0} | (others if known == "declared" else set())
        assert set(case.undeclared) == others
        for value in range(1, 2 ** len(own)):
            shown = {own[k] for k in range(len(own)) if value >> k & 1}
            assert set(np.flatnonzero(case.sets[value])) == shown
        assert len(case.sets) == 2 ** len(own)


def test_only_cases_of_the_tasks_asked_for_are_annotated(extremities, tmp_path):
    cohort = extremities.cohort
    asked = cohort.annotations["added_tasks"].tasks
    bits = bits_of(cohort)
    found = annotate(tmp_path, extremities.folder, cohort.structures, COMPLETE, "all", asked, bits)
    assert set(found.task) == set(asked) == {"head_axial", "head_coronal"}
    assert found.protocol.tolist() == [f"{task}_complete" for task in found.task]


def test_bit_masks_take_complete_annotations(extremities, tmp_path):
    halves = COMPLETE | {2: {"kind": "unlabelled"}}
    with pytest.raises(InputError, match=r"structures that overlap take `complete`"):
        annotate(
            tmp_path,
            extremities.folder,
            extremities.cohort.structures,
            halves,
            bits=bits_of(extremities.cohort),
        )


def test_bones_are_projected_where_all_of_them_are(tmp_path):
    cohort, given = arguments(tmp_path, "bone_projections", 8)
    given["split"] |= {"train": 4}
    table = prepare(tmp_path / "bones-0000000001", **given)
    cases = set(table.case)
    assert 0 < len(cases) < 6  # some phantoms show no hip, or no femur
    assert table.groupby("case").task.nunique().eq(3).all()
    for row in table.itertuples():
        assert row.present.split(";") == cohort.tasks[row.task]
        low, high = PreparedScan(tmp_path / "bones-0000000001/totalseg_v1" / row.scan).record[
            "box"
        ][0]
        assert high - low <= 20


def test_a_task_that_no_scan_shows_is_told(extremities, tmp_path):
    views = dict(extremities.given["projection"]["views"])
    views["foot_coronal_back"] = views["foot_coronal_back"] | {"part": [0.0, 0.05]}
    given = extremities.given | {"projection": extremities.given["projection"] | {"views": views}}
    with pytest.raises(InputError, match=r"no scan is a case of \['foot_coronal_back'\].*`part`"):
        prepare(tmp_path / "x-0000000001", **given)


def content() -> dict:
    return load_model(CONFIG / "cohorts/bone_projections.yaml", CohortConfig).model_dump(
        mode="json"
    )


def refused(change, match) -> None:
    given = content()
    change(given)
    with pytest.raises(InputError, match=match):
        validate(given, CohortConfig, "cohort.yaml")


def test_a_cohort_of_projections_overlaps_and_others_do_not():
    assert validate(content(), CohortConfig, "").overlapping
    assert not load_model(CONFIG / "cohorts/anatomy.yaml", CohortConfig).overlapping


def test_what_does_not_go_with_projections_is_refused():
    def view(of):
        return of["projection"]["views"]["pelvis_axial"]

    refused(lambda c: c["projection"]["views"].pop("pelvis_axial"), r"one for each of \['pelvis")
    refused(lambda c: view(c).update(dataset="hanseg"), r"some of each of \['totalseg_v1'\]")
    refused(lambda c: view(c).update(part=[0.5, 0.5]), r"part: \[0\.5, 0\.5\] is empty")
    refused(lambda c: view(c).update(axis="oblique"), "axis")
    refused(lambda c: c.update(transition={"margin": 1, "least": 1}), "without `transition`")
    refused(lambda c: c["grid"].update(size=[4, 8, 8]), "a grid in plane only")
    refused(lambda c: c.update(intensity={"CT": {"kind": "zscore"}}), "a window or percentiles")
    half = {"kind": "unlabelled"}
    refused(lambda c: c["annotations"]["all_tasks"].update(half2=half), "take `complete` only")
    refused(lambda c: c["projection"].update(rotation_deg=[90, 0, 0]), "rotation_deg")


def test_a_task_has_a_bit_for_each_of_its_structures():
    def nine(of):
        names = [f"s{number}" for number in range(9)]
        of.update(structures=names, merged={}, tasks={"pelvis_axial": names})
        of["projection"]["views"] = {"pelvis_axial": of["projection"]["views"]["pelvis_axial"]}
        of["annotations"] = {}

    refused(nine, r"tasks: \['pelvis_axial'\] have more than 8 structures")
