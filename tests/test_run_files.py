"""Which jobs of a run need its data: those that are not done, and those that are forced."""

import json

import pytest

from piecemeal.run_files import SCORE_RECORD, SCORES, TRAINED, Again, RunFiles

TODAY = "0123456789"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A run that is trained and scored, in the folder that a user works in."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "results/smoke/runs/cardiac/half/slac/seed0-abcdef0123"
    folder.mkdir(parents=True)
    for name in (*TRAINED, *SCORES):
        (folder / name).touch()
    (folder / SCORE_RECORD).write_text(json.dumps({"scoring": TODAY}))
    return folder.relative_to(tmp_path)


def needs(folder, *forced: str, everything: bool = False) -> tuple[bool, bool]:
    """Whether training and scoring need data."""
    run = RunFiles(folder, TODAY, Again.of(forced, everything))
    return run.trains, run.scores


def test_a_finished_run_needs_no_data(folder):
    assert needs(folder) == (False, False)


@pytest.mark.parametrize("name", TRAINED)
def test_a_run_that_is_not_whole_is_trained_and_so_scored(folder, name):
    (folder / name).unlink()
    assert needs(folder) == (True, True)


@pytest.mark.parametrize("name", [*SCORES, SCORE_RECORD])
def test_a_run_without_all_its_scores_is_scored(folder, name):
    (folder / name).unlink()
    assert needs(folder) == (False, True)


@pytest.mark.parametrize("record", ['{"scoring": "of yesterday"}', "{}", "[]", "", '{"scor'])
def test_a_run_with_other_scores_than_today_s_is_scored(folder, record):
    (folder / SCORE_RECORD).write_text(record)
    assert needs(folder) == (False, True)


@pytest.mark.parametrize("name", ["train", *TRAINED])
def test_a_forced_training_is_scored_again(folder, name):
    forced = name if name == "train" else f"{folder}/{name}"
    assert needs(folder, forced) == (True, True)


@pytest.mark.parametrize("name", ["score", *SCORES, SCORE_RECORD])
def test_a_forced_scoring_is_not_trained_again(folder, name):
    forced = name if name == "score" else f"{folder}/{name}"
    assert needs(folder, forced) == (False, True)


def test_everything_may_be_forced(folder):
    assert needs(folder, everything=True) == (True, True)


@pytest.mark.parametrize("wording", ["./{}/weights.pt", "{}//weights.pt", "{}/../{}/weights.pt"])
def test_a_file_may_be_written_in_many_ways(folder, wording):
    first, second = folder, folder.name
    assert needs(folder, wording.format(first, second)) == (True, True)


def test_what_is_forced_elsewhere_is_nothing_to_this_run(folder):
    others = ("prepare", "trained", f"{folder}-x/weights.pt", "weights.pt", f"{folder}")
    assert needs(folder, *others) == (False, False)
