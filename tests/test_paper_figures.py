"""Figures of a paper: what figures.yaml may ask for."""

import shutil

import pytest
import yaml

from piecemeal.errors import InputError
from piecemeal.figure_specs import cohorts_of, shown_of
from piecemeal.papers import load_paper

BASE = {"key": "more", "title": "t", "caption": "c"}
VIEWS = BASE | {"kind": "views", "arm": "slac", "cohort": "cardiac"}
ATTENTION = BASE | {"kind": "attention", "arms": {"slac": "SLAC"}, "cohort": "cardiac"}
NOTED = BASE | {"kind": "noted_curves", "arms": {"slac": "SLAC"}, "cohorts": ["thigh", "cardiac"]}
NOTED |= {"columns": {"accepted": "accepted"}}
GROUPS = BASE | {"kind": "structure_scores", "table": "table2", "metric": "DSC"}
GROUPS |= {"arms": {"slac": "SLAC", "xent-lb": "LB"}}
STAGES = BASE | {"kind": "stages", "table": "table2", "metric": "DSC"}
STAGES |= {"orders": {"one": {"xent-lb": "before", "slac": "after"}}}
SHARING = BASE | {"kind": "sharing", "arms": {"slac": "SLAC"}, "cohort": "cardiac"}
EXAMPLES = BASE | {"kind": "qualitative", "cohorts": ["cardiac"]}


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
        (SHARING, ["slac"], ["cardiac"]),
        (EXAMPLES, [], ["cardiac"]),
    ],
    ids=["views", "attention", "noted_curves", "sharing", "qualitative"],
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


def test_a_figure_of_a_table_is_of_its_halves_and_columns(load):
    paper = load(GROUPS)
    table = next(table for table in paper.tables if table.key == "table2")
    first, *others = table.halves
    tables = {"table2": table}
    whole = paper.figures[-1]
    assert cohorts_of(whole, tables) == [half.cohort for half in table.halves]
    assert shown_of(whole, table) == table
    half = whole.model_copy(update={"settings": [others[0].setting]})
    assert cohorts_of(half, tables) == [others[0].cohort]
    column = whole.model_copy(update={"columns": [first.columns[1].name]})
    (reduced,) = shown_of(column, table).halves
    assert (reduced.cohort, reduced.columns) == (first.cohort, first.columns[1:2])
    stages = load(STAGES | {"key": "further"}).figures[-1]
    assert stages.arms == {"xent-lb": "before", "slac": "after"}


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
        (GROUPS, {"table": "table9"}, r"'more' asks for table 'table9'; tables.yaml has: table2"),
        (GROUPS, {"metric": "IoU"}, r"asks for metric 'IoU'; table 'table2' has: DSC"),
        (GROUPS, {"settings": ["knee"]}, r"asks for setting 'knee'; table 'table2' has: "),
        (GROUPS, {"columns": ["knee"]}, r"asks for column 'knee'; table 'table2' has: "),
        (GROUPS, {"arms": {"mos": "M"}}, r"asks for 'mos' on "),
        (STAGES, {"orders": {"one": {"slac": "only"}}}, r"figures.yaml: key .*orders"),
        (STAGES, {"orders": {"one": {"slac": "a", "mos": "b"}}}, r"asks for 'mos' on "),
        (EXAMPLES, {"cohorts": ["organs"]}, r"'more' asks for cohort \['organs'\], which runs.tsv"),
    ],
)
def test_mistakes_name_file_and_key(load, figure, change, message):
    with pytest.raises(InputError, match=message):
        load(figure | change)
