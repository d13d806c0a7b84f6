import json
import multiprocessing
import os
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from piecemeal.datasets import layouts
from piecemeal.datasets import prepare_scan as module
from piecemeal.datasets.prepare import COLUMNS, prepare
from piecemeal.datasets.store import PreparedScan, read_cases, read_rows
from piecemeal.errors import InputError


def modification_times(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.*") if path.is_file()}


def source(arguments):
    return arguments["sources"]["acdc"]


def grid(spacing, size):
    return {"spacing_mm": [None, spacing, spacing], "size": [None, size, size], "fit": False}


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
    arguments["grid"] = grid(1.5, 32)  # the scan whole, unresampled
    prepare(store, **arguments)
    image = PreparedScan(store / "acdc" / "patient002_ES").image
    raw = volumes.draw(212)[0].T.astype(float)
    inside = image[:, 4:28, 6:26]
    np.testing.assert_allclose(inside, (raw - raw.mean()) / raw.std(), atol=1e-4)
    assert image[:, :4].any() == image[:, :, :6].any() == np.False_


def test_class_ids_follow_the_cohort(store, arguments):
    arguments["structures"] = {name: [name] for name in ("left ventricle", "right ventricle")}
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
    arguments["grid"] = grid(2.0, 18)
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


FILES = ["coarse.npy", "image.npy", "labels.npy", "reference.npz", "scan.json"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["empty", "cut short", "zeros"])
def test_a_broken_file_is_named_and_what_its_error_says_repairs_it(store, arguments, name, damage):
    prepare(store, **arguments)
    folder = store / "acdc" / "patient001_ED"
    path = folder / name
    whole = path.read_bytes()
    left = {"empty": b"", "cut short": whole[: len(whole) // 2], "zeros": bytes(len(whole))}
    path.write_bytes(left[damage])
    scan = PreparedScan(folder)
    with pytest.raises(InputError) as caught:
        getattr(scan, {"scan": "record"}.get(path.stem, path.stem))
    text = str(caught.value)
    assert text.startswith(f"{path}: cannot be read (")
    assert text.endswith(f"; delete the folder {folder} and {store / 'cases.csv'}, and start again")
    shutil.rmtree(folder)
    (store / "cases.csv").unlink()
    prepare(store, **arguments)
    assert path.read_bytes() == whole


def test_a_missing_image_is_named(store, arguments):
    prepare(store, **arguments)
    (store / "acdc" / "patient001_ED" / "image.npy").unlink()
    with pytest.raises(InputError, match=r"image\.npy: cannot be read .* and start again"):
        _ = PreparedScan(store / "acdc" / "patient001_ED").image


def test_a_scan_lies_on_the_disk_before_its_folder_has_its_name(store, arguments, monkeypatch):
    synced, fsync = [], os.fsync

    def spy(number):
        path = Path(os.readlink(f"/proc/self/fd/{number}"))
        synced.append(path)
        assert path.parent == store or path.parent.name.endswith(".partial")
        fsync(number)

    monkeypatch.setattr("os.fsync", spy)
    prepare(store, **arguments)
    for scan in (store / "acdc").iterdir():
        partial = scan.with_name(f"{scan.name}.partial")
        assert {path.name for path in synced if path.parent == partial} >= set(FILES)
    assert synced[-1].name.startswith(".cases.csv.")


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


def test_a_scan_that_shows_nothing_is_known_to_where_its_layout_says_so(
    store, arguments, acdc, volumes, monkeypatch
):
    spoil_empty(acdc, volumes)
    layout = layouts.load("acdc")
    real = layout.find_cases

    def find_cases(*given, **options):
        return [replace(case, may_be_empty=True) for case in real(*given, **options)]

    monkeypatch.setattr(layout, "find_cases", find_cases)
    table = prepare(store, **arguments)
    (row,) = table[table.present == ""].itertuples()
    assert row.declared == "right ventricle;myocardium;left ventricle"
    assert not PreparedScan(store / "acdc" / row.scan).reference.any()


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


@pytest.mark.parametrize("name", ["download", "phantom", "local"])
def test_what_was_fetched_is_to_be_fetched_again(store, arguments, acdc, volumes, name):
    spoil_truncated(acdc, volumes)
    root = acdc.rename(acdc.with_name(name))
    source(arguments)["root"] = root
    with pytest.raises(InputError) as caught:
        prepare(store, **arguments)
    said = f"To have it drawn or unpacked again: rm -r {root} {root.with_name('manifest.json')}"
    assert (said in str(caught.value).splitlines()) is (name != "local")


def test_old_table_does_not_outlive_a_failure(store, arguments, acdc, volumes):
    prepare(store, **arguments)
    spoil_nan(acdc, volumes)
    with pytest.raises(InputError):
        prepare(store, **arguments)
    for read in (read_cases, read_rows):
        with pytest.raises(InputError, match=r"cases\.csv: is missing"):
            read(store)


def test_a_modality_without_normalisation_is_refused(store, arguments):
    source(arguments)["other_modality"] = {"CT": "patient004"}
    with pytest.raises(InputError, match=r"data set acdc: patient004_ED is CT, for which .*'MR'"):
        prepare(store, **arguments)


def test_patients_of_another_modality_are_normalised_as_that(store, arguments):
    source(arguments)["other_modality"] = {"CT": r"patient00[34]"}
    arguments["intensity"]["CT"] = {"kind": "window", "low": 0, "high": 100, "scale": [0, 1]}
    table = prepare(store, **arguments)
    assert table.groupby("case").modality.first().tolist() == ["MR", "MR", "CT", "CT"]
    ranges = [PreparedScan(store / "acdc" / f"patient00{n}_ED").image for n in (1, 3)]
    assert ranges[0].min() < -0.5
    assert ranges[1].min() == 0
    assert ranges[1].max() == 1


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
    arguments["structures"]["liver"] = ["liver"]
    with pytest.raises(InputError, match=r"no data set of the cohort labels \['liver'\], only"):
        prepare(store, **arguments)


def test_a_data_set_that_labels_nothing_of_the_cohort(store, arguments):
    arguments["sources"]["other"] = source(arguments) | {"labels": [[1, "liver"]]}
    with pytest.raises(InputError, match=r"data set other labels none of .*, only \['liver'\]"):
        prepare(store, **arguments)
    assert not (store / "other").exists()


def test_what_a_data_set_does_not_label_is_not_declared(store, arguments):
    labels = [[1, "right ventricle"], [2, "papillary muscle"], [3, "left ventricle"]]
    arguments["sources"]["other"] = source(arguments) | {"labels": labels}
    table = prepare(store, **arguments).groupby("dataset").first()
    assert table.declared["acdc"] == "right ventricle;myocardium;left ventricle"
    assert table.declared["other"] == "right ventricle;left ventricle"
    assert table.present["other"] == "right ventricle;left ventricle"
    first = PreparedScan(store / "other" / "patient001_ED").reference
    assert set(np.unique(first)) == {0, 1, 3}


def test_volumes_and_field_of_view_are_those_of_the_scan(store, arguments):
    row = prepare(store, **arguments).iloc[0]
    # Three bars of 4 x 10 x 3 voxels of 1.5 x 1.5 x 10 mm.
    assert row.volumes_ml == "2.7;2.7;2.7"
    assert (row.fov_z, row.fov_y, row.fov_x) == (30, 36, 30)


def test_structures_are_merged_for_the_cohort(store, arguments):
    arguments["structures"] = {
        "ventricle": ["right ventricle", "left ventricle"],
        "myocardium": ["myocardium"],
    }
    row = prepare(store, **arguments).iloc[0]
    assert row.declared == "ventricle;myocardium"
    assert row.volumes_ml == "5.4;2.7"
    reference = PreparedScan(store / "acdc" / "patient001_ED").reference
    assert [int(reference[0, 10, 4 * raw]) for raw in (0, 1, 2, 3)] == [0, 1, 2, 1]


def test_each_data_set_has_its_modality(store, arguments):
    arguments["sources"]["other"] = source(arguments) | {"modality": "CT"}
    arguments["intensity"]["CT"] = {"kind": "zscore"}
    found = prepare(store, **arguments).groupby("dataset").modality.unique()
    assert {name: list(values) for name, values in found.items()} == {
        "acdc": ["MR"],
        "other": ["CT"],
    }


def test_a_ct_of_false_voxel_size_is_refused_and_may_be_accepted(store, arguments, acdc, volumes):
    image, labels = volumes.draw(5)
    for suffix, voxels in (("", image), ("_gt", labels)):
        path = acdc / "patient001" / f"patient001_frame12{suffix}.nii.gz"
        volumes.write(path, voxels, spacing=(1.0, 1.0, 1.0))
    arguments["intensity"]["CT"] = {"kind": "zscore"}
    source(arguments)["modality"] = "CT"
    with pytest.raises(InputError, match=r"frame12\.nii\.gz: claims voxels of exactly 1 x 1 x 1"):
        prepare(store, **arguments)
    source(arguments)["unit_spacing"] = "accept"
    assert len(prepare(store, **arguments)) == 8


def test_the_same_scan_under_another_name_leaves_the_training_set(store, arguments, acdc, caplog):
    test = prepare(store, **arguments).query("split == 'test'").case.iloc[0]
    train = read_cases(store).query("split == 'train'").case.iloc[0]
    for frame in ("01", "12"):
        for suffix in ("", "_gt"):
            source_file = acdc / test / f"{test}_frame{frame}{suffix}.nii.gz"
            target = acdc / train / f"{train}_frame{frame}{suffix}.nii.gz"
            target.write_bytes(source_file.read_bytes())
    table = prepare(store, **arguments)
    assert train not in set(table.case)
    assert table.query("split == 'test'").case.unique().tolist() == [test]
    assert f"acdc/{train}" in caplog.text
    left = pd.read_csv(store / "twins.csv")
    assert left[["dataset", "case"]].to_numpy().tolist() == [["acdc", train]]
    assert left.reason[0] == f"the same scan as acdc/{test}, which is in the test set"
    arguments["split"]["twins"] = "keep"
    assert train in set(prepare(store, **arguments).case)
    assert pd.read_csv(store / "twins.csv").empty


def test_a_set_that_twins_leave_empty_is_refused(store, arguments, acdc):
    arguments["split"] |= {"train": 1, "validation": 1, "test": 2}
    table = prepare(store, **arguments).drop_duplicates("case").set_index("split").case
    for frame in ("01", "12"):
        name = f"{{0}}/{{0}}_frame{frame}.nii.gz"
        shutil.copy(acdc / name.format(table["test"].iloc[0]), acdc / name.format(table["train"]))
    said = (
        "no scan of the set 'train' is left: 1 of 4 patients are taken for others of another set, "
        f"such as acdc/{table['train']} for the same scan as acdc/{table['test'].iloc[0]}, .*; if "
        "they only look alike, set `split.twins: keep`"
    )
    with pytest.raises(InputError, match=said):
        prepare(store, **arguments)
    assert not (store / "cases.csv").exists()


def test_a_structure_that_no_scan_of_a_data_set_shows_is_told(store, arguments, caplog):
    labels = [*source(arguments)["labels"], [4, "spleen"]]
    arguments["sources"]["other"] = source(arguments) | {"labels": labels}
    arguments["structures"]["spleen"] = ["spleen"]
    arguments["split"]["twins"] = "keep"
    prepare(store, **arguments)
    told = [r.getMessage() for r in caplog.records if "no scan shows" in r.getMessage()]
    assert told == [
        "other: no scan shows spleen, though its labels have it; with `known: declared` it counts "
        "as known to be absent"
    ]


def test_prepare_waits_for_whom_holds_the_folder(store, arguments, waits):
    waits(store, lambda: prepare(store, **arguments))
    assert len(read_cases(store)) == 8
    assert sorted(path.name for path in store.iterdir()) == [
        "LOCK",
        "SHA256SUMS",
        "acdc",
        "cases.csv",
        "twins.csv",
    ]


def test_workers_of_a_killed_process_let_the_folder_go(store, arguments, monkeypatch):
    context = multiprocessing.get_context("fork")
    busy, store_scan = context.Event(), module._store

    def slow(job, files):
        busy.set()
        time.sleep(1200)  # longer than the patience below

    monkeypatch.setattr(module, "_store", slow)
    first = context.Process(target=prepare, args=(store,), kwargs={**arguments, "workers": 2})
    first.start()
    assert busy.wait(300)
    os.kill(first.pid, signal.SIGKILL)
    first.join(300)
    monkeypatch.setattr(module, "_store", store_scan)
    second = context.Process(target=prepare, args=(store,), kwargs=arguments)
    second.start()
    second.join(300)
    second.kill()
    second.join(20)
    assert second.exitcode == 0
    assert len(read_cases(store)) == 8


def test_structures_beyond_the_grid_are_noted(store, arguments):
    arguments["grid"] = grid(2.0, 8)
    notes = prepare(store, **arguments).notes
    # 16 mm of 30: the middle bar whole across, the outer ones cut.
    assert notes.str.contains(r"right ventricle: only \d+ % fits the grid").all()
    arguments["grid"] = grid(2.0, 16)
    arguments["grid"]["size"] = [None, None, None]
    assert not prepare(store, **arguments).notes.str.contains("fits the grid").any()


def test_a_committed_split_decides_who_is_tested(store, arguments, tmp_path):
    rows = ["dataset,case,split", "acdc,patient002,test", "acdc,patient003,leave out"]
    (tmp_path / "paper.csv").write_text("\n".join([*rows, "acdc,*,train", ""]))
    file = str(tmp_path / "paper.csv")
    arguments["split"] = {"seed": 1, "file": file, "validation_share": 0.5}
    table = prepare(store, **arguments)
    assert set(table[table.split == "test"].case) == {"patient002"}
    assert set(table[table.split != "test"].case) == {"patient001", "patient004"}
    assert set(table.split) == {"train", "validation", "test"}


def test_a_case_of_a_committed_split_that_is_not_there(store, arguments, tmp_path):
    rows = ["dataset,case,split", "acdc,*,train", "acdc,patient009,test", ""]
    (tmp_path / "paper.csv").write_text("\n".join(rows))
    arguments["split"] = {"seed": 1, "file": str(tmp_path / "paper.csv")}
    with pytest.raises(InputError, match="patient009"):
        prepare(store, **arguments)
    source(arguments)["limit"] = 3  # on purpose, then
    assert prepare(store, **arguments).case.nunique() == 3


def test_data_sets_may_have_counts_of_their_own(store, arguments):
    own = {"train": 1, "validation": 0, "test": 2}
    arguments["split"]["datasets"] = {"acdc": own}
    found = prepare(store, **arguments).groupby("split").case.nunique().to_dict()
    assert found == {"train": 1, "test": 2}


def test_a_new_split_links_the_scans_of_the_old_one(tmp_path, arguments):
    first, second = tmp_path / "cardiac-0000000001", tmp_path / "cardiac-0000000002"
    prepare(first, **arguments)
    source(arguments)["exclude"] = {"patient001_ED": "motion"}
    table = prepare(second, **arguments)
    assert len(table) == 7
    image = second / "acdc" / "patient002_ED" / "image.npy"
    assert image.samefile(first / "acdc" / "patient002_ED" / "image.npy")
    # Other code, or another cohort, is another scan.
    for other, code in (("cardiac-0000000003", "newer"), ("liver-0000000004", "")):
        prepare(tmp_path / other, **arguments, code=code)
        alone = tmp_path / other / "acdc" / "patient002_ED" / "image.npy"
        assert not alone.samefile(image)


def test_what_an_annotator_was_asked_for_is_part_of_the_scan(store, arguments, monkeypatch):
    prepare(store, **arguments)
    layout = layouts.load("acdc")
    find_cases = layout.find_cases

    def with_less(root, bad=None):
        return [replace(case, declared=(1, 3)) for case in find_cases(root, bad)]

    monkeypatch.setattr(layout, "find_cases", with_less)
    assert prepare(store, **arguments).declared.eq("right ventricle;left ventricle").all()


def test_a_value_that_the_annotator_names_and_the_map_lacks_is_passed_over(
    store, arguments, monkeypatch
):
    layout = layouts.load("acdc")
    find_cases = layout.find_cases

    def with_more(root, bad=None):
        return [replace(case, declared=(1, 2, 3, 8)) for case in find_cases(root, bad)]

    monkeypatch.setattr(layout, "find_cases", with_more)
    assert prepare(store, **arguments).declared.str.count(";").eq(2).all()


def test_a_merged_structure_is_declared_only_if_all_its_parts_were_drawn(store, arguments):
    arguments["structures"] = {"ventricle": ["right ventricle", "left ventricle"]}
    source(arguments)["labels"] = [[1, "right ventricle"], [2, "myocardium"], [3, "cavity"]]
    arguments["sources"]["other"] = source(arguments) | {
        "labels": [[1, "right ventricle"], [2, "myocardium"], [3, "left ventricle"]]
    }
    declared = prepare(store, **arguments).groupby("dataset").declared.first()
    assert declared.to_dict() == {"acdc": "", "other": "ventricle"}


def test_a_tumour_that_is_not_told_apart_is_part_of_its_organ(store, arguments):
    source(arguments)["labels"] = [[1, "liver"], [2, "spleen"], [3, "stomach"]]
    arguments["sources"]["other"] = source(arguments) | {
        "labels": [[1, "liver"], [2, "liver tumour"], [3, "stomach"]]
    }
    arguments["structures"] = {"liver": ["liver", "liver tumour"]}
    table = prepare(store, **arguments)
    assert table.declared.eq("liver").all()
    assert table.groupby("dataset").volumes_ml.first().to_dict() == {"acdc": "2.7", "other": "5.4"}


def test_beyond_the_scan_it_is_as_dark_as_in_the_darkest_place(store, arguments):
    how = {"kind": "window", "low": 0, "high": 300, "scale": [-1, 1]}
    arguments["intensity"]["MR"] = how
    arguments["grid"] = grid(1.5, 32)
    prepare(store, **arguments)
    image = PreparedScan(store / "acdc" / "patient002_ES").image
    assert image[:, :4].max() == image[:, :, :6].max() == -1
    assert image.min() == -1


def test_the_publishers_split_is_taken_where_it_is_asked_for(store, arguments, acdc, monkeypatch):
    layout = layouts.load("acdc")
    find_cases = layout.find_cases
    words = {"patient001": "train", "patient002": "validation", "patient003": "test"}

    def with_split(root, bad=None):
        return [replace(c, split=words.get(c.case, "")) for c in find_cases(root, bad)]

    arguments["split"] = {"seed": 1, "official": True}
    with pytest.raises(
        InputError, match=r"data set acdc.*in test, train, validation: the data set"
    ):
        prepare(store, **arguments)
    monkeypatch.setattr(layout, "find_cases", with_split)
    table = prepare(store, **arguments)
    assert dict(zip(table.case, table.split, strict=True)) == words
    # Half a patient is missed, though nobody says in which part of the split it was.
    (acdc / "patient004" / "Info.cfg").unlink()
    monkeypatch.setattr(
        layout,
        "find_cases",
        lambda root, bad=None: [
            replace(c, split=words.get(c.case, "")) for c in find_cases(root, bad)
        ],
    )
    with pytest.raises(InputError, match="acdc/patient004: "):
        prepare(store, **arguments)


def test_a_file_decides_for_the_data_sets_that_it_names_and_the_publisher_for_others(
    store, arguments, tmp_path, monkeypatch
):
    layout = layouts.load("acdc")
    find_cases = layout.find_cases
    words = {"patient001": "train", "patient002": "validation", "patient003": "test"}
    monkeypatch.setattr(
        layout,
        "find_cases",
        lambda root, bad=None: [
            replace(c, split=words.get(c.case, "")) for c in find_cases(root, bad)
        ],
    )
    rows = ["dataset,case,split", "other,*,train", "other,patient001,test", ""]
    (tmp_path / "paper.csv").write_text("\n".join(rows))
    arguments["sources"]["other"] = source(arguments)
    file = {"file": str(tmp_path / "paper.csv"), "validation_share": 0.4}
    arguments["split"] = {"seed": 1, "official": True, "twins": "keep"} | file
    table = prepare(store, **arguments).groupby(["dataset", "case"]).split.first()
    assert table["acdc"].to_dict() == words
    assert table["other"].value_counts().to_dict() == {"train": 2, "test": 1, "validation": 1}
    assert table["other"]["patient001"] == "test"
    words.clear()  # then neither knows the first
    with pytest.raises(InputError, match=r"data set acdc.*comes without a split.*or a `file`"):
        prepare(store, **arguments)


def test_sides_are_split_in_canonical_order_only(store, arguments):
    source(arguments)["sides"] = {"right ventricle": ["one", "other"]}
    with pytest.raises(InputError, match="takes `orientation: canonical`"):
        prepare(store, **arguments)


def test_a_copy_with_a_part_of_the_data_may_lack_what_is_excluded(store, arguments):
    source(arguments).update(exclude={"patient099": "motion"}, partial=True)
    assert len(prepare(store, **arguments)) == 8


def test_a_worker_killed_for_memory_is_explained(store, arguments, monkeypatch):
    monkeypatch.setattr(module, "_store", lambda job, files: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(InputError, match=r"most likely for memory.*what is done is kept"):
        prepare(store, **arguments, workers=2)


def test_a_patient_of_a_split_whose_scans_are_excluded_one_by_one_is_not_missed(
    store, arguments, tmp_path
):
    rows = ["dataset,case,split", "acdc,*,train", "acdc,patient002,test", "acdc,patient003,test"]
    (tmp_path / "paper.csv").write_text("\n".join([*rows, ""]))
    arguments["split"] = {"seed": 1, "file": str(tmp_path / "paper.csv")}
    source(arguments)["exclude"] = {"patient002_ED": "motion", "patient002_ES": "motion"}
    assert set(prepare(store, **arguments).case) == {"patient001", "patient003", "patient004"}
