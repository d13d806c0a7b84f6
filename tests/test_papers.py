import shutil

import pytest
from pydantic import BaseModel, ValidationError

from piecemeal import papers, table_specs
from piecemeal.errors import InputError
from piecemeal.papers import load_paper, read_runs
from piecemeal.table_specs import Table


@pytest.fixture
def folder(tmp_path, pytestconfig):
    """A copy of a paper's folder, to be spoilt."""
    original = pytestconfig.rootpath / "config" / "papers" / "kemnitz2018"
    return shutil.copytree(original, tmp_path / "kemnitz2018")


def spoil(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


@pytest.mark.parametrize("separator", ["  ", ", "])
def test_columns_that_no_tab_separates_are_refused(tmp_path, separator):
    path = tmp_path / "runs.tsv"
    path.write_text(f"arm{separator}cohort\nours{separator}cardiac\n")
    said = r"runs\.tsv, line 1: one column, 'arm.*cohort'; expected arm, .*, separated by tabs"
    with pytest.raises(InputError, match=said):
        read_runs(path)


def test_every_paper_loads(pytestconfig):
    folders = sorted((pytestconfig.rootpath / "config" / "papers").iterdir())
    assert folders
    for folder in folders:
        assert load_paper(folder).paper.key == folder.name


def test_kemnitz_2018_compares_four_arms_on_two_cohorts(folder):
    paper = load_paper(folder)
    table = paper.tables[0]
    assert [arm.name for arm in table.arms if arm.role == "compared"] == [
        *("xent-lb", "naive", "slac", "xent-ub")
    ]
    assert {run.cohort for run in paper.runs} == {"thigh", "cardiac"}
    assert {run.arm for run in paper.runs} == {arm.name for arm in table.arms}


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (
            "tables.yaml",
            "    arms:",
            "    color: red\n    arms:",
            r"tables.yaml: key .*color.*unknown",
        ),
        ("tables.yaml", "better: higher", "beter: higher", r"tables.yaml: key .*beter.*better"),
        ("tables.yaml", "better: higher", "better: more", r"tables.yaml: key .*better.*'lower'"),
        (
            "tables.yaml",
            "misses: diagonal",
            "misses: zero",
            r"key .*misses.*'diagonal'.*'excluded'",
        ),
        ("tables.yaml", "minutes_per_epoch", "hours", r"tables.yaml: key .*measure.*'seconds_per"),
        ("tables.yaml", "name: forward passes", "name: testing time", r"metrics and speed: every"),
        ("tables.yaml", "key: cost", "key: table2", r"every key must occur once"),
        ("tables.yaml", "name: naive,", "name: slac,", r"arms: every name must occur once"),
        ("tables.yaml", "name: naive,", "name: nave,", r"tables.yaml.*'nave' on 'cardiac'.*runs"),
        ("figures.yaml", "kind: qualitative", "kind: pie", r"figures.yaml: key .*pie"),
        ("figures.yaml", "table: table2", "table: table3", r"'table3'; tables.yaml has: table2"),
        ("figures.yaml", "metric: DSC", "metric: IoU", r"'IoU'; table 'table2' has: DSC, ASSD"),
        ("figures.yaml", "key: training", "key: figure2", r"every key must occur once"),
        ("figures.yaml", "{xent-lb: LB", "{lower: LB", r"figures.yaml: 'figure2' asks for 'lower'"),
        (
            "claims.yaml",
            "worse: naive",
            "worse: nave",
            r"claims.yaml: 'slac_.* 'nave' on 'cardiac'",
        ),
        ("claims.yaml", "worse: naive", "worst: naive", r"claims.yaml: key .*worse"),
        ("paper.yaml", "key: kemnitz2018", "key: doe2020", r"must be the folder's name"),
        ("paper.yaml", "title:", "titel:", r"paper.yaml: key 'titel'.*did you mean 'title'"),
        ("runs.tsv", "naive\tthigh", "xent-lb\tthigh", r"line 3: arm 'xent-lb'.*already in line 2"),
        ("runs.tsv", "\tmethod\n", "\tmethods\n", r"runs.tsv, line 2: key 'method"),
        ("runs.tsv", "half\tcross_entropy", "half", r"runs.tsv, line 2: key 'method'"),
        ("runs.tsv", "cross_entropy\n", "cross_entropy\tmore\n", r"line 2.*more cells than col"),
    ],
)
def test_mistakes_name_file_and_key(folder, file, old, new, message):
    spoil(folder / file, old, new)
    with pytest.raises(InputError, match=message):
        load_paper(folder)


def test_kemnitz_2018_counts_the_diagonal_for_a_miss(folder):
    text = (folder / "tables.yaml").read_text(encoding="utf-8")
    assert "misses: diagonal" in text  # said, not left to the default
    assert load_paper(folder).tables[0].misses == "diagonal"


def test_cost_keeps_to_a_table_of_its_own(folder):
    table2, cost = load_paper(folder).tables
    assert table2.speed == []
    assert (cost.metrics, cost.published) == ([], None)
    assert [arm.name for arm in cost.arms] == table2.compared == cost.compared
    assert {speed.measure for speed in cost.speed} == {
        *("minutes_per_epoch", "seconds_per_case", "forward_passes_per_case")
    }


TABLE = {
    **{"key": "t", "label": "T", "title": "T", "base": "u_net"},
    "arms": [{"name": "a", "label": "A", "tex": "A"}],
}
DICE = {"name": "DSC", "score": "dice", "unit": "1", "decimals": 3, "better": "higher"}
TIME = {"name": "Ts.", "measure": "seconds_per_case", "unit": "s/case", "decimals": 2}
HALF = {"setting": "heart", "cohort": "cardiac"}
COLUMN = {"name": "LV", "heading": "LV", "structure": "LV"}


def test_a_table_may_have_cost_alone():
    table = Table.model_validate(TABLE | {"speed": [TIME], "halves": [HALF]})
    assert table.speed[0].better == "lower"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"halves": [HALF]}, "table 't' has neither metrics nor speed"),
        ({"metrics": [DICE], "halves": [HALF]}, "half 'heart' has no columns for the metrics"),
        (
            {"metrics": [DICE], "speed": [TIME], "halves": [HALF]},
            "half 'heart' has no columns for the metrics",
        ),
        (
            {"speed": [TIME], "halves": [HALF | {"average": "mean"}]},
            "half 'heart' has no columns to average",
        ),
        (
            {"metrics": [DICE | {"name": "Ts."}], "speed": [TIME]}
            | {"halves": [HALF | {"columns": [COLUMN]}]},
            "metrics and speed: every name must occur once",
        ),
    ],
)
def test_a_table_must_measure_something(content, message):
    with pytest.raises(ValidationError, match=message):
        Table.model_validate(TABLE | content)


def test_absent_runs_are_named(tmp_path):
    with pytest.raises(InputError, match=r"runs.tsv: cannot be read"):
        read_runs(tmp_path / "runs.tsv")


def test_no_runs_are_refused(tmp_path):
    (tmp_path / "runs.tsv").write_text("arm\tcohort\tannotation\tmethod\n")
    with pytest.raises(InputError, match=r"no runs; expected .*arm, cohort, annotation, method"):
        read_runs(tmp_path / "runs.tsv")


RUNS = "arm\tcohort\tannotation\tmethod\tstarts_from\tlength\n"


def test_a_run_may_start_from_another_and_have_its_own_length(tmp_path):
    path = tmp_path / "runs.tsv"
    path.write_text(f"{RUNS}one\tc\ta\tm\t\t\ntwo\tc\ta\tm\tone\t0.3\n")
    first, second = read_runs(path)
    assert (first.starts_from, first.length) == (None, 1.0)
    assert (second.starts_from, second.length) == ("one", 0.3)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("one\tc\ta\tm\tone\t", r"line 2: arm 'one' starts from 'one'"),
        ("one\tc\ta\tm\ttwo\t\ntwo\tc\ta\tm\tone\t", r"line 2: arm 'one' starts from 'two'"),
        ("one\td\ta\tm\t\t\ntwo\tc\ta\tm\tone\t", r"line 3: .*no arm on cohort 'c' further up"),
        ("one\tc\ta\tm\t\t0", r"line 2: .*name the arm whose weights it has in `starts_from`"),
        ("one\tc\ta\tm\t\t-1", r"line 2: key 'length'"),
        ("one\tc\ta\tm\t\tlong", r"line 2: key 'length'"),
    ],
)
def test_a_chain_of_runs_that_cannot_be_is_refused(tmp_path, rows, message):
    (tmp_path / "runs.tsv").write_text(RUNS + rows + "\n")
    with pytest.raises(InputError, match=message):
        read_runs(tmp_path / "runs.tsv")


def test_every_key_is_described():
    found = {**vars(papers), **vars(table_specs)}.values()
    models = [m for m in found if isinstance(m, type) and issubclass(m, BaseModel)]
    assert {table_specs.Speed, papers.Paper} <= set(models)
    for model in models:
        for name, field in model.model_fields.items():
            nested = isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
            assert field.description or name == "kind" or nested, f"{model.__name__}.{name}"
