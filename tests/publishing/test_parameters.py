from pathlib import Path
from types import SimpleNamespace

import pytest

from piecemeal.errors import InputError
from piecemeal.figure_specs import FiguresFile
from piecemeal.plan import Planner
from piecemeal.publishing import parameters

BASE = {"title": "t", "caption": "c"}
FIGURES = [
    {"key": "views", "kind": "views", "arm": "mos", "cohort": "organs"},
    {"key": "levels", "kind": "attention", "arms": {"mos": "M", "fan": "F"}, "cohort": "organs"},
    {"key": "curves", "kind": "training_curves", "arms": {"mos": "M"}, "cohorts": ["organs"]},
]
RUNS = [
    ("mos", "chests/full/mos/seed0-1"),
    ("mos", "organs/half/mos/seed0-2"),
    ("mos", "organs/half/mos/seed1-3"),
    ("fan", "organs/half/fan/seed0-4"),
    ("dod", "organs/half/dod/seed0-5"),
]


def networks(key, runs=RUNS):
    figures = FiguresFile.model_validate({"figures": [BASE | f for f in FIGURES]}).figures
    planner = SimpleNamespace(paper=lambda key: SimpleNamespace(figures=figures))
    plan = SimpleNamespace(papers={"doe2020": [{"arm": arm, "run": run} for arm, run in runs]})
    return parameters.networks(planner, plan, "doe2020", key)


def test_the_first_seed_of_the_arms_looks_once_more():
    assert networks("views") == {"mos": "organs/half/mos/seed0-2"}
    assert networks("levels") == {
        "mos": "organs/half/mos/seed0-2",
        "fan": "organs/half/fan/seed0-4",
    }


def test_other_figures_ask_no_network():
    assert networks("curves") == {}


def test_a_cohort_that_is_not_run_has_no_network():
    assert networks("views", RUNS[:1]) == {}


def test_arms_that_a_scale_leaves_out_are_named():
    planner = Planner(Path(__file__).resolve().parents[2])
    scale = planner.scale("smoke")
    arms = ["cmu-net-as-listed", "oracle"]
    change = scale.cohorts["liver"].model_copy(update={"leave_out": arms})
    cohorts = scale.cohorts | {"liver": change}
    planner.scale = lambda _: scale.model_copy(update={"cohorts": cohorts})
    plan = planner.plan("smoke")
    found = parameters.claims(planner, plan)["papers"]
    assert found["moseley2023"]["cohorts"]["liver"]["left_out"] == arms
    organs = found["li2023"]["cohorts"]["liver_kidney_spleen"]
    assert organs["left_out"] == []


def test_a_table_is_made_of_its_own_runs(pytestconfig):
    planner = Planner(pytestconfig.rootpath)
    plan = planner.plan("smoke")
    given = parameters.table(planner, plan, "anand2024", "table1")["runs"]
    table = parameters.table_spec(planner, "anand2024", "table1")
    assert {entry["arm"] for entry in given} == {arm.name for arm in table.arms}
    assert {entry["run"].split("/")[0] for entry in given} == {"anatomy"}
    # One that has none at this scale says so, of all that there is.
    assert not any(run.startswith("head_neck/") for run in plan.runs)
    others = parameters.table(planner, plan, "arena", "headneck")["runs"]
    assert len(others) == len(plan.papers["arena"])


def test_a_figure_is_made_of_its_own_runs(pytestconfig):
    planner = Planner(pytestconfig.rootpath)
    plan = planner.plan("smoke")

    def runs(paper, key):
        given = parameters.figure(planner, plan, paper, key)["runs"]
        return {(entry["arm"], entry["run"].split("/")[0]) for entry in given}

    assert runs("anand2024", "sharing_localisation") == {("label-sharing-il", "extremities")}
    # What the other arms of its table missed may decide the cases of a figure.
    compared = {arm.name for arm in parameters.table_spec(planner, "kemnitz2018", "table2").arms}
    assert compared > {"slac", "naive"}
    assert {arm for arm, _ in runs("kemnitz2018", "case_scores")} == compared
    # One of the data has no arms; its runs say whether these are phantoms.
    assert {cohort for _, cohort in runs("chen2024", "figure3")} == {"abdominal"}


def test_an_unknown_figure_is_refused():
    with pytest.raises(InputError, match=r"doe2020/figures.yaml: has no 'maps'; there are: \['v"):
        networks("maps")
