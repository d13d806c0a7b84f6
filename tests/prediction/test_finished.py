"""Which runs predict, and where the settings of their scans are found."""

import json
import shutil
from pathlib import Path

import pytest

from piecemeal.errors import InputError
from piecemeal.plan import Planner
from piecemeal.plan_file import as_jobs_see_it
from piecemeal.prediction.finished import read_run
from piecemeal.provenance import source_hash

ROOT = Path(__file__).resolve().parents[2]
THIS_CODE = source_hash("piecemeal.errors")  # of the runs of `run`


def rewrite(run, **changes) -> None:
    record = {key: value for key, value in (run.record | changes).items() if value is not None}
    (run.folder / "run.json").write_text(json.dumps(record))


def test_its_settings_are_those_of_the_plan_beside_it(run, tmp_path):
    made = run()
    found = read_run(made.folder)
    assert found.scoring == made.settings
    assert found.cohort["grid"]["size"] == [None, 32, 32]
    assert found.settings_from == str(tmp_path / "results" / "smoke" / "plan.json")
    assert found.same_code


@pytest.mark.parametrize(
    ("before", "after"),
    [("piecemeal.errors", "piecemeal.gone"), (THIS_CODE, "0000000000")],
)
def test_code_that_has_changed_is_noticed(run, tmp_path, before, after):
    made, plan = run(), tmp_path / "results" / "smoke" / "plan.json"
    plan.write_text(plan.read_text().replace(before, after))
    assert not read_run(made.folder).same_code


def test_it_may_be_named_from_where_it_lies(run, monkeypatch):
    monkeypatch.chdir(run().folder)
    assert read_run(Path()).key == "blocks/half_merged/slac/seed0-0123456789"


def test_without_a_plan_beside_it_the_configuration_has_its_settings(run, monkeypatch, tmp_path):
    """As after `dvc pull` into a clone, or for a folder that was copied elsewhere."""
    plan = as_jobs_see_it(Planner(ROOT).plan("smoke"))
    (key,) = [k for k in plan.runs if k.startswith("thigh/half_merged/slac/seed0")]
    names = ("scale", "cohort", "annotation", "method", "seed", "hash")
    made = run()
    rewrite(made, **{k: plan.runs[key].settings[k] for k in names}, config=plan.runs[key].settings)
    folder = tmp_path / "copied"
    shutil.copytree(made.folder, folder)
    monkeypatch.chdir(ROOT)
    found = read_run(folder)
    assert (found.key, found.settings_from) == (key, str(ROOT / "config"))
    assert found.scoring == plan.scores[key].settings
    assert found.cohort == plan.prepared["thigh"].settings


def test_a_run_that_no_plan_has_is_refused(run, monkeypatch, tmp_path):
    made = run()
    rewrite(made, hash="aaaaaaaaaa")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        InputError, match=r"older .* than .*plan\.json, expected .*-aaaaaaaaaa.* c0ffee"
    ):
        read_run(made.folder)
    (tmp_path / "results" / "smoke" / "plan.json").unlink()
    with pytest.raises(InputError, match=r"smoke/plan\.json lies above it, .* main folder"):
        read_run(made.folder)


@pytest.mark.parametrize("name", ["background", "oracle"])
def test_what_is_not_trained_is_refused(run, name):
    made = run(method=name, implementation=name, network=None)
    with pytest.raises(InputError, match=f"'{name}' has no network here"):
        read_run(made.folder)


def test_projections_are_refused(run):
    with pytest.raises(InputError, match="'blocks' is made of projections"):
        read_run(run(overlapping=True).folder)


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"run\.json: cannot be read .* folder of a finished run"):
        read_run(tmp_path)


@pytest.mark.parametrize("text", ["", '{"scale": "smo', "[]", "null", '{"scale": "smoke"}'])
def test_a_damaged_record_is_refused(run, text):
    made = run()
    (made.folder / "run.json").write_text(text)
    with pytest.raises(InputError, match=r"run\.json: .* copy (it|the file) again"):
        read_run(made.folder)


@pytest.mark.parametrize("sources", [None, {}, {"blocks": {}}, {"blocks": {"phantom": None}}])
def test_weights_of_unknown_data_are_refused(run, sources):
    made = run()
    rewrite(made, data_sources=sources)
    with pytest.raises(InputError, match=r"run\.json: key 'data_sources"):
        read_run(made.folder)


def test_missing_weights_are_refused(run):
    made = run()
    made.weights.unlink()
    with pytest.raises(InputError, match=r"weights\.pt: is missing"):
        read_run(made.folder)


def test_other_weights_than_those_of_the_record_are_refused(run):
    made = run()
    made.weights.write_bytes(made.weights.read_bytes() + b"\0")
    with pytest.raises(InputError, match=r"weights\.pt: is not the file that run\.json speaks of"):
        read_run(made.folder)
