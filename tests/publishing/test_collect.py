"""Results of other data or of another version of the scoring are refused by name."""

import json

import pytest

from piecemeal.errors import InputError
from piecemeal.provenance import file_sha256
from piecemeal.publishing.collect import read_scores, refuse_other_data

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


def test_scores_of_another_scoring_are_refused(tmp_path):
    folder = tmp_path / RUN
    folder.mkdir(parents=True)
    (folder / "scores.csv").write_text("case,phase,dice\n007,,0.5\n")
    (folder / "scores.json").write_text(json.dumps({"scoring": "new"}))
    entry = {"arm": "slac", "run": RUN, "scoring": "new"}
    (row,) = read_scores(tmp_path, [entry], COHORTS).to_dict("records")
    assert row == {
        **{"case": "007", "phase": "", "dice": 0.5},
        **{"arm": "slac", "postprocessing": "as predicted"},
    }
    with pytest.raises(InputError, match=r"scores\.csv: made by another version") as error:
        read_scores(tmp_path, [entry | {"scoring": "newer"}], COHORTS)
    assert RUN in str(error.value)
