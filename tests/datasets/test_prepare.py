import json
import multiprocessing
import os
import signal
import time

import numpy as np
import pytest

from piecemeal.datasets import prepare as module
from piecemeal.datasets.prepare import COLUMNS, prepare
from piecemeal.datasets.store import PreparedScan, read_cases, read_rows
from piecemeal.errors import InputError


def modification_times(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.*") if path.is_file()}


def source(arguments):
    return arguments["sources"]["acdc"]


@pytest.fixture
def store(tmp_path):
    return tmp_path / "prepared"


@pytest.mark.parametrize("workers", [1, 2])
def test_store(store, arguments, workers):
    prepare(store, **arguments, workers=workers)
    cases = read_cases(store)
    assert list(cases.columns) == COLUMNS
    assert cases.scan.tolist() == sorted(cases.scan)
    assert len(cases) == 8
    assert cases.groupby("case").split.nunique().eq(1).all()
    assert cases.groupby("case").half.nunique(dropna=False).eq(1).all()
    assert cases.half[cases.split == "test"].isna().all()
    assert cases.half[cases.split == "train"].tolist().count(1) == 2
    assert cases.group.eq("DCM").all()
    assert cases.modality.eq("MR").all()
    first = cases.iloc[0]
    assert (first.slices, first.spacing_z, first.spacing_y, first.spacing_x) == (3, 10, 1.5, 1.5)
    assert cases.source_sha256.str.fullmatch("[0-9a-f]{64}").all()
    assert cases.source_sha256.is_unique

    scan = PreparedScan(store / "acdc" / "patient001_ED")
    assert scan.image.shape == scan.labels.shape == (3, 16, 16)
    assert (scan.image.dtype, scan.labels.dtype) == (np.float32, np.uint8)
    assert isinstance(scan.image, np.memmap)
    assert scan.reference.shape == scan.geometry.native_shape == (3, 24, 20)
    assert scan.geometry.grid_shape == (3, 16, 16)
    assert scan.geometry.spacing == (10, 1.5, 1.5)
    np.testing.assert_array_equal(scan.geometry.affine, np.diag([1.5, 1.5, 10, 1]))
    assert list(scan.record["source"]) == [
        "patient001/patient001_frame01.nii.gz",
        "patient001/patient001_frame01_gt.nii.gz",
    ]


def test_rows_are_the_text_of_the_table(store, arguments):
    prepare(store, **arguments)
    cases, rows = read_cases(store), read_rows(store)
    assert [list(row) for row in rows] == len(cases) * [COLUMNS]
    assert [row["scan"] for row in rows] == cases.scan.tolist()
    assert {row["half"] for row in rows} == {"", "1", "2"}


def test_workers_do_not_change_the_result(tmp_path, arguments):
    for workers in (1, 2):
        prepare(tmp_path / str(workers), **arguments, workers=workers)
    for path in (tmp_path / "1").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "2" / path.relative_to(tmp_path / "1")).read_bytes()


def test_normalised_over_the_native_volume(store, arguments, volumes):
    arguments["grid_spacing"], arguments["size"] = 1.5, 32  # the scan whole, unresampled
    prepare(store, **arguments)
    image = PreparedScan(store / "acdc" / "patient002_ES").image
    raw = volumes.draw(212)[0].T.astype(float)
    inside = image[:, 4:28, 6:26]
    np.testing.assert_allclose(inside, (raw - raw.mean()) / raw.std(), atol=1e-4)
    assert image[:, :4].any() == image[:, :, :6].any() == np.False_


def test_class_ids_follow_the_cohort(store, arguments):
    arguments["structures"] = ["left ventricle", "right ventricle"]
    prepare(store, **arguments)
    reference = PreparedScan(store / "acdc" / "patient001_ED").reference
    assert [int(reference[0, 10, 4 * raw]) for raw in (0, 1, 2, 3)] == [0, 2, 0, 1]


def test_second_time_nothing_is_done(store, arguments):
    prepare(store, **arguments)
    before = modification_times(store / "acdc")
    prepare(store, **arguments)
    assert modification_times(store / "acdc") == before


def test_only_a_changed_file_is_done_again(store, arguments, acdc, volumes):
    prepare(store, **arguments)
    before = modification_times(store / "acdc")
    volumes.write(acdc / "patient002" / "patient002_frame01.nii.gz", volumes.draw(77)[0])
    prepare(store, **arguments)
    after = modification_times(store / "acdc")
    assert {path.parent.name for path in after if after[path] != before[path]} == {"patient002_ED"}


def test_touched_and_moved_files_are_not_done_again(store, arguments, acdc):
    prepare(store, **arguments)
    before = modification_times(store / "acdc")
    for path in acdc.rglob("*.nii.gz"):
        path.touch()
    source(arguments)["root"] = acdc.rename(acdc.with_name("moved"))
    prepare(store, **arguments)
    assert modification_times(store / "acdc") == before


def test_other_settings_are_done_again(store, arguments):
    prepare(store, **arguments)
    arguments["size"] = 18
    prepare(store, **arguments)
    assert PreparedScan(store / "acdc" / "patient001_ED").image.shape == (3, 18, 18)


def test_half_written_scan_is_done_again(store, arguments):
    prepare(store, **arguments)
    whole = (store / "acdc" / "patient001_ED" / "image.npy").read_bytes()
    (store / "acdc" / "patient001_ED" / "image.npy").write_bytes(b"")
    (store / "acdc" / "patient002_ED" / "scan.json").write_text('{"native')
    (store / "acdc" / "patient003_ED.partial").mkdir()
    prepare(store, **arguments)
    assert (store / "acdc" / "patient001_ED" / "image.npy").read_bytes() == whole
    assert json.loads((store / "acdc" / "patient002_ED" / "scan.json").read_text())


def spoil_truncated(acdc, volumes):
    path = acdc / "patient002" / "patient002_frame12.nii.gz"
    path.write_bytes(path.read_bytes()[:-20])


def spoil_shape(acdc, volumes):
    labels = volumes.draw(0, (20, 24, 4))[1]
    volumes.write(acdc / "patient002" / "patient002_frame12_gt.nii.gz", labels)


def spoil_space(acdc, volumes):
    labels = volumes.draw(0)[1]
    volumes.write(acdc / "patient002" / "patient002_frame12_gt.nii.gz", labels, shift=5)


def spoil_value(acdc, volumes):
    labels = volumes.draw(0)[1] + 4
    volumes.write(acdc / "patient002" / "patient002_frame12_gt.nii.gz", labels)


def spoil_fraction(acdc, volumes):
    labels = volumes.draw(0)[1] * np.float32(0.5)
    volumes.write(acdc / "patient002" / "patient002_frame12_gt.nii.gz", labels)


def spoil_empty(acdc, volumes):
    labels = np.zeros((20, 24, 3), np.uint8)
    volumes.write(acdc / "patient002" / "patient002_frame12_gt.nii.gz", labels)


def spoil_nan(acdc, volumes):
    image = np.full((20, 24, 3), np.nan, np.float32)
    volumes.write(acdc / "patient002" / "patient002_frame12.nii.gz", image)


def spoil_constant(acdc, volumes):
    image = np.full((20, 24, 3), 7, np.int16)
    volumes.write(acdc / "patient002" / "patient002_frame12.nii.gz", image)


def spoil_missing(acdc, volumes):
    (acdc / "patient002" / "patient002_frame12.nii.gz").unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_truncated, "truncated"),
        (spoil_shape, "differs from"),
        (spoil_space, "5.00 mm away"),
        (spoil_value, "not in the data set's label map"),
        (spoil_fraction, "expected whole numbers"),
        (spoil_empty, "no voxel is labelled"),
        (spoil_nan, "1440 of 1440 voxels are NaN"),
        (spoil_constant, "every voxel has the same value"),
        (spoil_missing, "is missing"),
    ],
)
def test_one_bad_scan_stops_only_itself(store, arguments, acdc, volumes, spoil, message):
    spoil(acdc, volumes)
    with pytest.raises(InputError) as caught:
        prepare(store, **arguments)
    text = str(caught.value)
    assert "acdc/patient002_ES: " in text
    assert "patient002_frame12" in text
    assert message in text
    assert "`exclude` in config/datasets/acdc.yaml" in text
    assert not (store / "cases.csv").exists()
    before = modification_times(store / "acdc")
    assert len(list((store / "acdc").iterdir())) == 7

    source(arguments)["exclude"] = {"patient002_ES": "spoilt"}
    table = prepare(store, **arguments)
    assert len(table) == 7
    assert modification_times(store / "acdc") == before


def test_every_bad_scan_is_listed(store, arguments, acdc, volumes):
    spoil_truncated(acdc, volumes)
    (acdc / "patient001" / "Info.cfg").write_text("ES: 12\n")
    (acdc / "patient004" / "patient004_frame01_gt.nii.gz").unlink()
    with pytest.raises(InputError, match="3 scans could not be prepared; the other 4") as caught:
        prepare(store, **arguments, workers=2)
    for reason in ("Info.cfg: has no ED", "truncated", "patient004_frame01_gt.nii.gz: is missing"):
        assert reason in str(caught.value)


def test_whole_patient_is_excluded_by_name(store, arguments, acdc):
    (acdc / "patient001" / "Info.cfg").unlink()
    source(arguments)["exclude"] = {"patient001": "no Info.cfg"}
    arguments["split"]["train"] = 1
    assert set(prepare(store, **arguments).case) == {"patient002", "patient003", "patient004"}


def test_limit_takes_the_first_patients(store, arguments):
    source(arguments)["limit"] = 2
    arguments["split"] = {"seed": 1, "train": 1, "validation": 0, "test": 1}
    assert set(prepare(store, **arguments).case) == {"patient001", "patient002"}


def test_only_patients_of_the_split_are_prepared(store, arguments, acdc):
    arguments["split"] = {"seed": 1, "train": 1, "validation": 0, "test": 1}
    chosen = set(prepare(store, **arguments).scan)
    assert len(chosen) == 4
    assert {path.name for path in (store / "acdc").iterdir()} == chosen


def test_too_many_patients_asked_for(store, arguments):
    arguments["split"]["train"] = 20
    with pytest.raises(InputError, match=r"data set acdc.*asks for 22 patients.*there are 4"):
        prepare(store, **arguments)


def test_old_table_does_not_outlive_a_failure(store, arguments, acdc, volumes):
    prepare(store, **arguments)
    spoil_nan(acdc, volumes)
    with pytest.raises(InputError):
        prepare(store, **arguments)
    for read in (read_cases, read_rows):
        with pytest.raises(InputError, match=r"cases\.csv: is missing"):
            read(store)


def test_unknown_intensity(store, arguments):
    arguments["intensity"] = "minmax"
    with pytest.raises(InputError, match=r"'minmax' is unknown; use one of \['zscore'\]"):
        prepare(store, **arguments)


@pytest.mark.parametrize("named", [["patient002", "patient004"], ["patient004", "patient002"]])
def test_only_named_patients(store, arguments, named):
    source(arguments)["patients"] = named
    arguments["split"] = {"seed": 1, "train": 1, "validation": 0, "test": 1}
    assert set(prepare(store, **arguments).case) == set(named)


def test_no_list_of_patients_is_all_of_them(store, arguments):
    source(arguments)["patients"] = source(arguments)["limit"] = None
    assert prepare(store, **arguments).case.nunique() == 4


def test_limit_counts_the_named_patients(store, arguments):
    source(arguments)["patients"] = ["patient002", "patient003", "patient004"]
    source(arguments)["limit"] = 2
    arguments["split"] = {"seed": 1, "train": 1, "validation": 0, "test": 1}
    assert set(prepare(store, **arguments).case) == {"patient002", "patient003"}


def test_bad_scan_of_a_patient_who_is_not_named_stops_nothing(store, arguments, acdc):
    (acdc / "patient001" / "Info.cfg").unlink()
    source(arguments)["patients"] = ["patient002", "patient003", "patient004"]
    arguments["split"]["train"] = 1
    assert prepare(store, **arguments).case.nunique() == 3


def test_named_patients_that_are_not_there(store, arguments):
    source(arguments)["patients"] = ["patient001", *(f"patient{n:03d}" for n in range(11, 18))]
    with pytest.raises(InputError) as caught:
        prepare(store, **arguments)
    text = str(caught.value)
    assert text.startswith("data set acdc in ")
    assert "7 of the 8 patients of the key sources.acdc.patients in config/scales" in text
    assert "patient011, patient012, patient013, patient014, patient015, ...; correct" in text


def test_named_patient_that_is_excluded(store, arguments):
    source(arguments)["patients"] = ["patient001", "patient002"]
    source(arguments)["exclude"] = {"patient002": "motion"}
    with pytest.raises(InputError, match=r"excluded in config/datasets/acdc\.yaml: patient002;"):
        prepare(store, **arguments)


@pytest.mark.parametrize("entry", ["patient009", "patient001_DE", "patient00"])
def test_exclusion_of_nothing(store, arguments, entry):
    source(arguments)["exclude"] = {entry: "motion"}
    with pytest.raises(InputError, match=f"datasets/acdc.yaml, key exclude.{entry}: matches no"):
        prepare(store, **arguments)


def test_excluded_scan_of_a_patient_whose_scans_are_unknown(store, arguments, acdc):
    (acdc / "patient001" / "Info.cfg").unlink()
    source(arguments)["exclude"] = {"patient001_ED": "motion"}
    with pytest.raises(InputError, match=r"1 scans could not be prepared.*\n.*Info\.cfg"):
        prepare(store, **arguments)


def test_structure_nobody_labels(store, arguments):
    arguments["structures"] = ["myocardium", "liver"]
    with pytest.raises(InputError, match=r"data set acdc does not label \['liver'\]"):
        prepare(store, **arguments)


def test_structure_that_one_of_two_data_sets_does_not_label(store, arguments):
    labels = {1: "right ventricle", 3: "left ventricle"}
    arguments["sources"]["other"] = source(arguments) | {"labels": labels}
    with pytest.raises(InputError) as caught:
        prepare(store, **arguments)
    text = str(caught.value)
    assert "data set other does not label ['myocardium']" in text
    assert "a data set must label all structures of a cohort" in text
    assert "leave the structure or the data set out of the cohort in config/cohorts" in text
    assert not (store / "other").exists()


def test_two_data_sets_that_label_all(store, arguments):
    more = source(arguments)["labels"] | {4: "aorta"}
    arguments["sources"]["other"] = source(arguments) | {"labels": more}
    assert prepare(store, **arguments).groupby("dataset").size().to_dict() == {
        "acdc": 8,
        "other": 8,
    }


def test_each_data_set_has_its_modality(store, arguments):
    arguments["sources"]["other"] = source(arguments) | {"modality": "CT"}
    found = prepare(store, **arguments).groupby("dataset").modality.unique()
    assert {name: list(values) for name, values in found.items()} == {
        "acdc": ["MR"],
        "other": ["CT"],
    }


def test_a_corrected_modality_is_in_the_table_and_prepares_nothing_again(store, arguments):
    prepare(store, **arguments)
    before = modification_times(store / "acdc")
    source(arguments)["modality"] = "CT"
    assert prepare(store, **arguments).modality.eq("CT").all()
    assert modification_times(store / "acdc") == before


def test_prepare_waits_for_whom_holds_the_folder(store, arguments, waits):
    waits(store, lambda: prepare(store, **arguments))
    assert len(read_cases(store)) == 8
    assert sorted(path.name for path in store.iterdir()) == ["LOCK", "acdc", "cases.csv"]


def test_workers_of_a_killed_process_let_the_folder_go(store, arguments, monkeypatch):
    context = multiprocessing.get_context("fork")
    busy, store_scan = context.Event(), module._store

    def slow(job, files):
        busy.set()
        time.sleep(60)

    monkeypatch.setattr(module, "_store", slow)
    first = context.Process(target=prepare, args=(store,), kwargs={**arguments, "workers": 2})
    first.start()
    assert busy.wait(20)
    os.kill(first.pid, signal.SIGKILL)
    first.join(20)
    monkeypatch.setattr(module, "_store", store_scan)
    second = context.Process(target=prepare, args=(store,), kwargs=arguments)
    second.start()
    second.join(20)
    second.kill()
    second.join(20)
    assert second.exitcode == 0
    assert len(read_cases(store)) == 8


def test_structures_beyond_the_grid_are_logged(store, arguments, caplog):
    arguments["size"] = 8
    prepare(store, **arguments)
    assert "of the labelled area fits the grid" in caplog.text
