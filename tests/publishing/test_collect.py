"""Results of other data or of another version of the scoring are refused by name."""

import json

import numpy as np
import pytest

from piecemeal.errors import InputError
from piecemeal.provenance import file_sha256
from piecemeal.publishing.collect import read_scores, read_training, refuse_other_data
from piecemeal.publishing.tables import TRAINING

RUN = "heart/complete/slac/seed0-0123456789"
COHORTS = {"heart": {"treatment": "as predicted"}}


@pytest.fixture
def prepared(tmp_path):
    folder = tmp_path / "prepared"
    folder.mkdir()
    (folder / "cases.csv").write_text("dataset,scan\nacdc,patient001_ED\n")
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


def test_results_without_their_data_prove_nothing(tmp_path):
    refuse_other_data([record("0" * 64)], {"heart": str(tmp_path / "absent")})


SCAN = {
    **{"dataset": "acdc", "case": "007", "phase": "", "diagonal_mm": 412.3, "seconds": 0.5},
    "forward_passes": 10,
}


@pytest.fixture
def scored(tmp_path):
    """Write what the scoring of one run left; return its entry in the parameters."""

    def write(**record):
        folder = tmp_path / RUN
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "scores.csv").write_text("dataset,case,phase,dice\nacdc,007,,0.5\n")
        content = {"scoring": "new", "rows": 1, "scans": [SCAN]} | record
        (folder / "scores.json").write_text(json.dumps(content))
        return {"arm": "slac", "run": RUN, "scoring": "new"}

    return write


def test_scores_carry_arm_and_what_belongs_to_their_scan(tmp_path, scored):
    other = SCAN | {"case": "008", "diagonal_mm": 1.0, "forward_passes": 1}
    (row,) = read_scores(tmp_path, [scored(scans=[other, SCAN])], COHORTS).to_dict("records")
    assert row == {
        **{"dataset": "acdc", "case": "007", "phase": "", "dice": 0.5},
        **{"diagonal_mm": 412.3, "forward_passes": 10},
        **{"arm": "slac", "postprocessing": "as predicted"},
    }


def test_unprocessed_scores_carry_it_too(tmp_path, scored):
    entry = scored()
    (tmp_path / RUN / "scores_unprocessed.csv").write_text(
        "dataset,case,phase,dice\nacdc,007,,0.4\n"
    )
    rows = read_scores(tmp_path, [entry], {"heart": {"treatment": "largest component"}})
    assert rows["postprocessing"].tolist() == ["largest component", "as predicted"]
    assert rows["diagonal_mm"].tolist() == [412.3, 412.3]


def test_phases_of_a_case_are_told_apart(tmp_path, scored):
    phases = [SCAN | {"phase": p, "diagonal_mm": d} for p, d in (("ES", 2.0), ("ED", 1.0))]
    entry = scored(scans=phases)
    (tmp_path / RUN / "scores.csv").write_text(
        "dataset,case,phase,dice\nacdc,007,ED,0.5\nacdc,007,ES,0.6\n"
    )
    rows = read_scores(tmp_path, [entry], COHORTS)
    assert rows["diagonal_mm"].tolist() == [1.0, 2.0]


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


def test_training_time_is_read_once_an_arm(tmp_path):
    folder = tmp_path / RUN
    folder.mkdir(parents=True)
    about = {"cohort": "heart", "seed": 3}
    entries = [{"arm": arm, "run": RUN} for arm in ("slac", "slac again")]
    for minutes, expected in ((1.5, 1.5), (None, np.nan)):
        (folder / "run.json").write_text(json.dumps(about | {"minutes_per_epoch": minutes}))
        rows = read_training(tmp_path, entries)
        assert list(rows.columns) == TRAINING
        assert rows["arm"].tolist() == ["slac", "slac again"]
        assert rows.loc[0, ["cohort", "seed"]].tolist() == ["heart", 3]
        np.testing.assert_equal(rows["minutes_per_epoch"].to_numpy(), [expected, expected])
