"""Results of other data or of another version of the scoring are refused by name."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from piecemeal.datasets.case_table import write_cases
from piecemeal.errors import InputError
from piecemeal.provenance import file_sha256
from piecemeal.publishing.collect import (
    read_histories,
    read_scores,
    read_training,
    refuse_other_data,
)
from piecemeal.publishing.tables import TRAINING
from piecemeal.scoring import COLUMNS as SCORE_COLUMNS

RUN = "heart/complete/slac/seed0-0123456789"
COHORTS = {"heart": {"treatment": "as predicted"}}


@pytest.fixture
def prepared(tmp_path):
    folder = tmp_path / "prepared"
    folder.mkdir()
    write_cases(folder, "dataset,scan\nacdc,patient001_ED\n")
    return folder


def record(sha256: str) -> dict:
    identity = {"cohort": "heart", "annotation": "complete", "method": "slac", "seed": 0}
    return identity | {"hash": "0123456789", "data_manifest_sha256": sha256}


def test_runs_of_the_prepared_data_pass(prepared):
    same = record(file_sha256(prepared / "cases.csv"))
    refuse_other_data([same], {"heart": str(prepared)})


def test_runs_of_other_data_are_refused(prepared):
    with pytest.raises(InputError, match=RUN) as error:
        refuse_other_data([record("0" * 64)], {"heart": str(prepared)})
    assert str(prepared / "cases.csv") in str(error.value)


def test_good_runs_of_a_damaged_table_of_cases_are_not_to_be_deleted(prepared):
    table = prepared / "cases.csv"
    same = record(file_sha256(table))
    table.write_text(table.read_text().splitlines(keepends=True)[0])
    with pytest.raises(InputError) as error:
        refuse_other_data([same], {"heart": str(prepared)})
    assert str(error.value).startswith(f"{table}: is damaged, edited or missing")
    assert str(error.value).endswith(f"delete {table} and start again")


def test_results_without_their_data_prove_nothing(tmp_path):
    refuse_other_data([record("0" * 64)], {"heart": str(tmp_path / "absent")})


def test_metrics_of_other_data_are_refused(tmp_path, prepared):
    script = Path(__file__).resolve().parents[2] / "workflow/scripts/metrics.py"
    (tmp_path / RUN).mkdir(parents=True)
    (tmp_path / RUN / "run.json").write_text(json.dumps(record("0" * 64)))
    given = {"runs": [{"arm": "slac", "run": RUN, "scoring": "new"}], "cohorts": COHORTS}
    params = {"runs": str(tmp_path), "prepared": {"heart": str(prepared)}}
    job = SimpleNamespace(params=SimpleNamespace(given={"papers": {"p": given}}, **params))
    with pytest.raises(InputError, match=r"cases\.csv: not the data that .* was trained on"):
        runpy.run_path(str(script))["main"](job)


SCAN = {
    **{"dataset": "acdc", "case": "007", "phase": "", "task": ""},
    **{"diagonal_mm": 412.3, "seconds": 0.5, "forward_passes": 10},
}


@pytest.fixture
def scored(tmp_path):
    """Write what the scoring of one run left; return its entry in the parameters."""

    def write(**record):
        folder = tmp_path / RUN
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "scores.csv").write_text("dataset,case,phase,task,dice\nacdc,007,,,0.5\n")
        content = {"scoring": "new", "rows": 1, "scans": [SCAN]} | record
        (folder / "scores.json").write_text(json.dumps(content))
        return {"arm": "slac", "run": RUN, "scoring": "new"}

    return write


def test_scores_carry_arm_and_what_belongs_to_their_scan(tmp_path, scored):
    other = SCAN | {"case": "008", "diagonal_mm": 1.0, "forward_passes": 1}
    (row,) = read_scores(tmp_path, [scored(scans=[other, SCAN])], COHORTS).to_dict("records")
    assert row == {
        **{"dataset": "acdc", "case": "007", "phase": "", "task": "", "dice": 0.5},
        **{"diagonal_mm": 412.3, "forward_passes": 10},
        **{"arm": "slac", "postprocessing": "as predicted"},
    }


def test_scores_that_are_not_the_file_that_was_written_are_refused(tmp_path, scored):
    path = tmp_path / RUN / "scores.csv"
    scored()
    entry = scored(sha256={"scores.csv": file_sha256(path)})
    assert len(read_scores(tmp_path, [entry], COHORTS)) == 1
    whole = path.read_bytes()
    for damaged in (b"", whole[:20], whole[:-2], whole.replace(b"0.5", b"0.6")):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"scores\.csv: is damaged.* delete .*scores\.csv and"):
            read_scores(tmp_path, [entry], COHORTS)


def test_of_unprocessed_scores_that_are_damaged_those_beside_them_are_to_be_deleted(
    tmp_path, scored
):
    """The workflow asks for scores.csv; one of the other tables alone would not come back."""
    entry = scored(sha256={"scores_unprocessed.csv": "0" * 64})
    about = {"heart": {"treatment": "largest component"}}
    message = r"scores_unprocessed\.csv: is damaged.* delete \S*/scores\.csv and start again"
    with pytest.raises(InputError, match=message):
        read_scores(tmp_path, [entry], about)


def test_scores_carry_the_modality_of_the_scan_and_what_is_too_small(tmp_path, scored):
    entry = scored(scans=[SCAN | {"modality": "MR"}])
    about = {"heart": {"treatment": "as predicted", "least_voxels": 50}}
    (row,) = read_scores(tmp_path, [entry], about).to_dict("records")
    assert (row["modality"], row["least_voxels"]) == ("MR", 50)


def test_unprocessed_scores_carry_it_too(tmp_path, scored):
    entry = scored()
    (tmp_path / RUN / "scores_unprocessed.csv").write_text(
        "dataset,case,phase,task,dice\nacdc,007,,,0.4\n"
    )
    rows = read_scores(tmp_path, [entry], {"heart": {"treatment": "largest component"}})
    assert rows["postprocessing"].tolist() == ["largest component", "as predicted"]
    assert rows["diagonal_mm"].tolist() == [412.3, 412.3]


HEADER = ",".join(SCORE_COLUMNS) + "\n"


def test_scores_of_the_last_weights_are_read_in_place_of_the_others(tmp_path, scored):
    entry = scored(scans=[SCAN | {"modality": "MR"}])
    (tmp_path / RUN / "scores_last.csv").write_text(
        "dataset,case,phase,task,dice\nacdc,007,,,0.25\n"
    )
    about = {"heart": {"treatment": "largest component", "least_voxels": 50}}
    (row,) = read_scores(tmp_path, [entry], about, last=True).to_dict("records")
    assert row == {
        **{"dataset": "acdc", "case": "007", "phase": "", "task": "", "dice": 0.25},
        **{"diagonal_mm": 412.3, "forward_passes": 10, "modality": "MR", "least_voxels": 50},
        **{"arm": "slac", "postprocessing": "largest component"},
    }


def test_a_run_without_last_weights_has_no_row(tmp_path, scored):
    entry = scored()
    floor = entry | {"arm": "floor", "run": RUN.replace("slac", "background")}
    (tmp_path / floor["run"]).mkdir(parents=True)
    (tmp_path / floor["run"] / "scores.json").write_text(
        (tmp_path / RUN / "scores.json").read_text()
    )
    (tmp_path / floor["run"] / "scores_last.csv").write_text(HEADER)
    values = {"dataset": "acdc", "case": "007", "dice": "0.25"}
    row = ",".join(values.get(name, "") for name in SCORE_COLUMNS)
    (tmp_path / RUN / "scores_last.csv").write_text(f"{HEADER}{row}\n")
    rows = read_scores(tmp_path, [floor, entry], COHORTS, last=True)
    assert rows["arm"].tolist() == ["slac"]
    assert rows["dice"].dtype == float
    none = read_scores(tmp_path, [floor], COHORTS, last=True)
    assert none.empty
    assert set(none) == set(rows)


def test_slices_of_the_best_weights_are_not_those_of_the_last(tmp_path, sliced):
    entry = sliced()
    text = "dataset,case,phase,task,structure\nacdc,007,,,a\n"
    (tmp_path / RUN / "scores_last.csv").write_text(text)
    assert "hd_slice_px" not in read_scores(tmp_path, [entry], COHORTS, last=True)


def test_phases_of_a_case_are_told_apart(tmp_path, scored):
    phases = [SCAN | {"phase": p, "diagonal_mm": d} for p, d in (("ES", 2.0), ("ED", 1.0))]
    entry = scored(scans=phases)
    (tmp_path / RUN / "scores.csv").write_text(
        "dataset,case,phase,task,dice\nacdc,007,ED,,0.5\nacdc,007,ES,,0.6\n"
    )
    rows = read_scores(tmp_path, [entry], COHORTS)
    assert rows["diagonal_mm"].tolist() == [1.0, 2.0]


def test_parts_of_a_scan_are_told_apart_by_their_task(tmp_path, scored):
    """Tasks are text, whatever they look like."""
    entry = scored(scans=[SCAN | {"task": t, "diagonal_mm": d} for t, d in (("02", 2.0), ("1", 1))])
    (tmp_path / RUN / "scores.csv").write_text(
        "dataset,case,phase,task,dice\nacdc,007,,1,0.5\nacdc,007,,02,0.6\n"
    )
    rows = read_scores(tmp_path, [entry], COHORTS)
    assert rows["task"].tolist() == ["1", "02"]
    assert rows["diagonal_mm"].tolist() == [1.0, 2.0]


def test_names_that_look_like_nothing_are_names(tmp_path, scored):
    """As in cases.csv, which they come from; a number that is not there is nothing."""
    entry = scored(scans=[SCAN | {"case": "NA", "phase": "nan", "dataset": "null"}])
    (tmp_path / RUN / "scores.csv").write_text(
        "dataset,case,phase,structure,dice,hd_mm,task\nnull,NA,nan,None,0.5,,\n"
    )
    rows = read_scores(tmp_path, [entry], COHORTS)
    texts = ["dataset", "case", "phase", "structure", "task"]
    assert rows[texts].values.tolist() == [["null", "NA", "nan", "None", ""]]
    np.testing.assert_array_equal(rows[["dice", "hd_mm"]].to_numpy(float), [[0.5, np.nan]])


@pytest.mark.parametrize("trained", ["a" * 64, "b" * 64, None])
def test_scores_of_other_weights_are_refused(tmp_path, scored, trained):
    entry = scored(scans=[SCAN | {"weights_sha256": "a" * 64}])
    (tmp_path / RUN / "run.json").write_text(json.dumps({"weights_sha256": trained}))
    if trained == "a" * 64:
        assert len(read_scores(tmp_path, [entry], COHORTS)) == 1
        return
    said = r"scores\.csv: scores of other weights \(sha256 a{64}\) .*; delete the file and start"
    with pytest.raises(InputError, match=said):
        read_scores(tmp_path, [entry], COHORTS)


@pytest.mark.parametrize("trained", ["a" * 64, "b" * 64])
def test_scores_of_scans_of_other_data_are_refused(tmp_path, scored, trained):
    entry = scored()
    path = tmp_path / RUN / "scores.json"
    content = json.loads(path.read_text()) | {"data_manifest_sha256": "a" * 64}
    path.write_text(json.dumps(content))
    (tmp_path / RUN / "run.json").write_text(json.dumps({"data_manifest_sha256": trained}))
    if trained == "a" * 64:
        assert len(read_scores(tmp_path, [entry], COHORTS)) == 1
        return
    said = r"scores\.csv: scores of other data \(sha256 a{64}\) .*; delete the file and start"
    with pytest.raises(InputError, match=said):
        read_scores(tmp_path, [entry], COHORTS)


def test_scores_of_another_scoring_are_refused(tmp_path, scored):
    with pytest.raises(InputError, match=r"scores\.csv: made by another version") as error:
        read_scores(tmp_path, [scored() | {"scoring": "newer"}], COHORTS)
    assert RUN in str(error.value)


@pytest.mark.parametrize(
    ("scans", "message"),
    [
        (None, r"scores\.json: expected 'scans'.*delete scores\.csv.*start again"),
        ([], r"scores\.json: expected 'scans'"),
        ([{"dataset": "acdc", "case": "007", "phase": ""}], r"expected 'scans'.*diagonal_mm"),
        ([{k: v for k, v in SCAN.items() if k != "task"}], r"expected 'scans'.*phase, task"),
        ([SCAN | {"case": "008"}], r"scores\.csv: .*'007'.*not among the scans.*start again"),
        ([SCAN | {"phase": "ED"}], r"scores\.csv: .*'007'.*not among the scans"),
    ],
)
def test_scores_without_their_scans_are_refused(tmp_path, scored, scans, message):
    with pytest.raises(InputError, match=message):
        read_scores(tmp_path, [scored(scans=scans)], COHORTS)


def test_a_record_of_an_older_scoring_has_no_scans(tmp_path, scored):
    entry = scored()
    (tmp_path / RUN / "scores.json").write_text(json.dumps({"scoring": "new", "rows": 1}))
    with pytest.raises(InputError, match=r"expected 'scans'"):
        read_scores(tmp_path, [entry], COHORTS)


def slices(structure, processed, hd, **changes):
    identity = {key: SCAN[key] for key in ("dataset", "case", "phase", "task")}
    measures = {"structure": structure, "processed": processed, "hd_slice_px": hd}
    return identity | measures | {"slices": 5, "left_out": 2} | changes


@pytest.fixture
def sliced(tmp_path, scored):
    """A run that was scored slice by slice: one scan, structures `a` and `b`, not in order."""

    def write(**record):
        entries = [slices("b", True, 3.0), slices("a", True, None, slices=0)]
        entries += [slices("a", False, 4.0), slices("b", False, 5.0)]
        scans = [SCAN | {"slice_diagonal_px": 362.0}]
        entry = scored(**{"scans": scans, "slices": entries} | record)
        for name in ("scores.csv", "scores_unprocessed.csv"):
            text = "dataset,case,phase,task,structure\nacdc,007,,,a\nacdc,007,,,b\n"
            (tmp_path / RUN / name).write_text(text)
        return entry

    return write


def test_slices_are_read_of_the_table_they_are_from(tmp_path, sliced):
    rows = read_scores(tmp_path, [sliced()], {"heart": {"treatment": "largest component"}})
    assert rows["structure"].tolist() == ["a", "b", "a", "b"]
    np.testing.assert_array_equal(rows["hd_slice_px"], [np.nan, 3, 4, 5])
    assert rows["slices"].tolist() == [0, 5, 5, 5]
    assert rows["left_out"].tolist() == [2] * 4
    assert rows["slice_diagonal_px"].tolist() == [362.0] * 4
    assert read_scores(tmp_path, [sliced()], COHORTS)["slices"].tolist() == [0, 5]


@pytest.mark.parametrize(
    "record",
    [
        {"slices": []},
        {"slices": [{"dataset": "acdc"}]},
        {"slices": [slices("a", True, 1.0)] * 2},
    ],
    ids=["none", "incomplete", "twice"],
)
def test_slices_that_cannot_be_read_are_refused(tmp_path, sliced, record):
    with pytest.raises(InputError, match=r"scores\.json: expected 'slices'.*start again"):
        read_scores(tmp_path, [sliced(**record)], COHORTS)


def test_slices_without_the_diagonal_of_their_plane_are_refused(tmp_path, sliced):
    with pytest.raises(InputError, match=r"scores\.json: expected 'scans'.*slice_diagonal_px"):
        read_scores(tmp_path, [sliced(scans=[SCAN])], COHORTS)


def test_passes_that_a_method_saves_are_read(tmp_path, scored):
    one_pass = {"seconds_one_pass": 0.2, "forward_passes_one_pass": 4}
    (row,) = read_scores(tmp_path, [scored(scans=[SCAN | one_pass])], COHORTS).to_dict("records")
    assert {key: row[key] for key in one_pass} == one_pass


def test_histories_say_which_step_was_kept(tmp_path):
    entries = []
    for seed, (best, rows) in enumerate({8: "4,0.1\n8,0.2\n", None: ""}.items()):
        run = f"heart/complete/slac/seed{seed}-0"
        (tmp_path / run).mkdir(parents=True)
        (tmp_path / run / "run.json").write_text(json.dumps({"best_step": best}))
        (tmp_path / run / "history.csv").write_text(f"step,validation_loss\n{rows}")
        entries.append({"arm": "slac", "run": run})
    columns = ["cohort", "arm", "seed", "step", "best_step"]
    rows = read_histories(tmp_path, entries)[columns].values.tolist()
    assert rows == [["heart", "slac", 0, step, 8] for step in (4, 8)]


def test_a_history_that_is_not_the_file_that_was_written_is_refused(tmp_path):
    (tmp_path / RUN).mkdir(parents=True)
    path = tmp_path / RUN / "history.csv"
    path.write_text("step,validation_loss\n4,0.1\n8,0.2\n")
    about = {"best_step": 8, "history_sha256": file_sha256(path)}
    (tmp_path / RUN / "run.json").write_text(json.dumps(about))
    entry = {"arm": "slac", "run": RUN}
    assert len(read_histories(tmp_path, [entry])) == 2
    path.write_text("step,validation_loss\n4,0.1\n")
    with pytest.raises(InputError, match=r"history\.csv: is damaged, .* delete .*history\.csv and"):
        read_histories(tmp_path, [entry])


def test_training_time_is_read_once_an_arm(tmp_path):
    folder = tmp_path / RUN
    folder.mkdir(parents=True)
    about = {"cohort": "heart", "seed": 3, "training_seconds": 120.0, "parameters": 7}
    entries = [{"arm": arm, "run": RUN} for arm in ("slac", "slac again")]
    for minutes, expected in ((1.5, 1.5), (None, np.nan)):
        (folder / "run.json").write_text(json.dumps(about | {"minutes_per_epoch": minutes}))
        rows = read_training(tmp_path, entries)
        assert list(rows.columns) == TRAINING
        assert rows["arm"].tolist() == ["slac", "slac again"]
        assert rows.loc[0, ["cohort", "seed"]].tolist() == ["heart", 3]
        np.testing.assert_equal(rows["minutes_per_epoch"].to_numpy(), [expected, expected])
        np.testing.assert_equal(rows["training_minutes"][0], 2.0 if minutes else np.nan)
        assert rows.loc[0, ["parameters", "tasks"]].tolist() == [7, 1]


def test_the_tasks_of_a_run_are_counted(tmp_path):
    folder = tmp_path / RUN
    folder.mkdir(parents=True)
    about = {"cohort": "anatomy", "seed": 0, "config": {"tasks": {"chest": [1], "head": [2, 3]}}}
    (folder / "run.json").write_text(json.dumps(about))
    assert read_training(tmp_path, [{"arm": "shared", "run": RUN}])["tasks"].tolist() == [2]
