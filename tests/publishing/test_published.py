"""The numbers that papers printed: as typed in, and joined to ours."""

import numpy as np
import pandas as pd
import pytest

from piecemeal.errors import InputError
from piecemeal.papers import load_paper
from piecemeal.publishing.published import read_published, with_published
from piecemeal.table_specs import Speed


@pytest.fixture
def numbers(table, tmp_path):
    """Write a file of published numbers and read it."""

    def write(text):
        header = "method,setting,structure,metric,unit,mean,std\n"
        (tmp_path / "table1.csv").write_text(header + text)
        return read_published(table, tmp_path)

    return write


def test_published_numbers_are_read_as_printed(numbers):
    row = numbers("a,heart,LV ED,DSC,1,0.971,\n").iloc[0]
    assert (row["column"], row["unit"], row["mean"], row["note"]) == ("LV ED", "1", 0.971, "")
    assert np.isnan(row["std"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,heart,RV,DSC,1,0.9,\n", "line 2.*is no cell of table 'table1'"),
        ("a,heart,LV ED,DSC,1,0.9,\n" * 2, "line 3.*already there"),
        ("a,heart,LV ED,DSC,%,90,\n", "line 2: unit '%'.*'1' for DSC"),
    ],
)
def test_published_numbers_without_a_place_are_refused(numbers, text, message):
    with pytest.raises(InputError, match=message):
        numbers(text)


@pytest.fixture
def timed(table, tmp_path):
    """The table with a testing time, and its published numbers read from text."""

    def write(text):
        speed = Speed(name="testing time", measure="seconds_per_case", unit="s/case", decimals=2)
        (tmp_path / "table1.csv").write_text(
            f"method,setting,structure,metric,unit,mean,std\n{text}"
        )
        return read_published(table.model_copy(update={"speed": [speed]}), tmp_path)

    return write


def test_published_cost_has_no_column(timed):
    published = timed("a,heart,LV ED,DSC,1,0.9,\na,heart,,testing time,s/case,8.43,\n")
    row = published.iloc[1]
    assert (row["column"], row["metric"], row["mean"]) == ("", "testing time", 8.43)


def test_published_cost_alone_has_no_column_either(timed):
    # A column of nothing is read as numbers.
    assert timed("a,heart,,testing time,s/case,8.43,\n")["column"].tolist() == [""]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,heart,LV ED,testing time,s/case,8.43,\n", "is no cell of table 'table1'"),
        ("a,heart,,DSC,1,0.9,\n", "is no cell of table 'table1'"),
        ("a,heart,,testing time,min,8.43,\n", "unit 'min'.*'s/case' for testing time"),
    ],
)
def test_published_cost_without_a_place_is_refused(timed, text, message):
    with pytest.raises(InputError, match=message):
        timed(text)


def test_a_table_that_no_paper_has_has_no_published_numbers(table, tmp_path):
    spec = table.model_copy(update={"published": None})
    published = read_published(spec, tmp_path)
    assert len(published) == 0
    row = {"method": "a", "setting": "heart", "column": "LV ED", "metric": "DSC", "mean": 0.5}
    (joined,) = with_published(pd.DataFrame([row | {"status": "ok"}]), published).to_dict("records")
    assert np.isnan(joined["published_mean"])
    assert joined["status"] == "ok"


def test_a_std_is_missed_only_where_others_are_printed(numbers):
    ours = {"method": "a", "setting": "heart", "column": "LV ED", "mean": 0.8, "status": "ok"}
    rows = pd.DataFrame([ours | {"metric": "DSC"}])
    alone = "a,heart,LV ED,DSC,1,0.9,\n"
    assert with_published(rows.copy(), numbers(alone))["status"].tolist() == ["ok"]
    other = "a,heart,LV ES,DSC,1,0.9,0.1\n"
    joined = with_published(rows.copy(), numbers(alone + other))
    assert joined["status"].tolist() == ["ok; published std unreadable"]


def test_absent_published_numbers_are_named(table, tmp_path):
    with pytest.raises(InputError, match=r"table1.csv: cannot be read"):
        read_published(table, tmp_path)


@pytest.fixture(scope="module")
def kemnitz(pytestconfig):
    paper = load_paper(pytestconfig.rootpath / "config" / "papers" / "kemnitz2018")
    return paper, read_published(paper.tables[0], paper.folder)


def test_kemnitz_2018_marks_its_printing_errors(kemnitz):
    _, published = kemnitz
    assert len(published) == 4 * (8 + 7) * 3
    noted = published[published["note"] != ""]
    assert set(noted["column"]) == {"sartorius", "adductors"}
    # lower and upper bound: two structures x three metrics; slac: the two DSC cells
    assert noted["method"].value_counts().to_dict() == {"xent-lb": 6, "xent-ub": 6, "slac": 2}


def test_the_average_rule_gives_the_averages_kemnitz_2018_prints(kemnitz):
    paper, published = kemnitz
    half = paper.tables[0].halves[1]
    upper = published[(published["method"] == "xent-ub") & (published["setting"] == half.setting)]
    for metric, decimals in (("DSC", 3), ("ASSD", 2), ("HD", 2)):
        numbers = upper[upper["metric"] == metric].set_index("column")[["mean", "std"]]
        printed = numbers.loc[half.average]
        ours = numbers.drop(index=half.average).mean()
        assert (ours - printed).abs().max() <= 0.5 * 10**-decimals + 1e-9
