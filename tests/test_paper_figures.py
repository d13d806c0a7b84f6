"""Figures of a paper: what figures.yaml may ask for."""

import shutil

import pytest
import yaml

from piecemeal.errors import InputError
from piecemeal.papers import cohorts_of, load_paper

BASE = {"key": "more", "title": "t", "caption": "c"}
VIEWS = BASE | {"kind": "views", "arm": "slac", "cohort": "cardiac"}
ATTENTION = BASE | {"kind": "attention", "arms": {"slac": "SLAC"}, "cohort": "cardiac"}
NOTED = BASE | {"kind": "noted_curves", "arms": {"slac": "SLAC"}, "cohorts": ["thigh", "cardiac"]}
NOTED |= {"columns": {"accepted": "accepted"}}


@pytest.fixture
def load(tmp_path, pytestconfig):
    """Loads a copy of a paper that asks for one more figure."""
    original = pytestconfig.rootpath / "config" / "papers" / "kemnitz2018"
    folder = shutil.copytree(original, tmp_path / "kemnitz2018")

    def with_figure(figure):
        path = folder / "figures.yaml"
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        content["figures"].append(figure)
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        return load_paper(folder)

    return with_figure


@pytest.mark.parametrize(
    ("figure", "arms", "cohorts"),
    [
        (VIEWS, ["slac"], ["cardiac"]),
        (ATTENTION, ["slac"], ["cardiac"]),
        (NOTED, ["slac"], ["thigh", "cardiac"]),
    ],
    ids=["views", "attention", "noted_curves"],
)
def test_a_figure_shows_its_arms_on_its_cohorts(load, figure, arms, cohorts):
    paper = load(figure)
    shown = paper.figures[-1]
    assert (list(shown.arms), cohorts_of(shown, {})) == (arms, cohorts)


def test_case_scores_are_of_the_cohorts_of_their_table(load):
    paper = load(VIEWS)
    (shown,) = (figure for figure in paper.figures if figure.kind == "case_scores")
    tables = {table.key: table for table in paper.tables}
    assert cohorts_of(shown, tables) == [half.cohort for half in tables[shown.table].halves]


@pytest.mark.parametrize(
    ("figure", "change", "message"),
    [
        (VIEWS, {"arm": "mos"}, r"'more' asks for 'mos' on 'cardiac', which runs.tsv does not"),
        (VIEWS, {"cohort": "organs"}, r"asks for 'slac' on 'organs'"),
        (VIEWS, {"arms": {"slac": "S"}}, r"figures.yaml: key .*arms.*unknown"),
        (ATTENTION, {"arms": {"mos": "M"}}, r"asks for 'mos' on 'cardiac'"),
        (ATTENTION, {"arms": {}}, r"figures.yaml: key .*arms"),
        (NOTED, {"columns": {}}, r"figures.yaml: key .*columns"),
        (NOTED, {"cohorts": ["organs"]}, r"asks for 'slac' on 'organs'"),
    ],
)
def test_mistakes_name_file_and_key(load, figure, change, message):
    with pytest.raises(InputError, match=message):
        load(figure | change)
