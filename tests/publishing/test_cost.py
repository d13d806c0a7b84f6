"""What training and prediction cost, worked out by hand."""

import numpy as np
import pandas as pd
import pytest

from piecemeal.publishing.cost import in_words
from piecemeal.publishing.footers import Circumstances
from piecemeal.publishing.formats import to_latex, to_markdown
from piecemeal.publishing.printed import NONE, lay_out
from piecemeal.publishing.ranks import COLUMNS as RANKS
from piecemeal.publishing.ranks import build_ranks
from piecemeal.publishing.tables import TRAINING, build_table
from piecemeal.table_specs import Speed, Table

SPEED = [
    {"name": "Tr.", "measure": "minutes_per_epoch", "unit": "min/epoch", "decimals": 2},
    {"name": "Ts.", "measure": "seconds_per_case", "unit": "s/case", "decimals": 2},
    {"name": "passes", "measure": "forward_passes_per_case", "unit": "1/case", "decimals": 1},
]


@pytest.fixture(scope="session")
def costs(table):
    """The small table with cost alone."""
    half = {"setting": "heart", "cohort": "cardiac"}
    content = table.model_dump(mode="json") | {"metrics": [], "speed": SPEED, "halves": [half]}
    return Table.model_validate(content | {"published": None})


@pytest.fixture
def timed(scores):
    """Two structures a scan. Arm a: p1 at ED 1 s with seed 0, 3 s with seed 1; all else 5 s."""
    early = (scores["case"] == "p1") & (scores["phase"] == "ED") & (scores["arm"] == "a")
    seconds = np.where(early, np.where(scores["seed"] == 0, 1.0, 3.0), 5.0)
    passes = np.where(scores["phase"] == "ED", 10, 8)
    scores = scores.assign(seconds=seconds, forward_passes=passes)
    absent = scores.assign(structure="RV", status="both_empty", dice=np.nan, hd_mm=np.nan)
    return pd.concat([scores, absent], ignore_index=True)


@pytest.fixture
def training():
    rows = [
        ("cardiac", "a", 0, 2.0, 20.0, 3 * 2**18, 3),
        ("cardiac", "a", 1, 3.0, 40.0, 3 * 2**18, 3),
        ("cardiac", "b_1", 0, np.nan, np.nan, np.nan, 1),
        ("thigh", "a", 0, 100.0, 1000.0, 7, 1),
    ]
    return pd.DataFrame(rows, columns=TRAINING)


@pytest.fixture
def built(costs, timed, unpublished, training):
    return build_table(costs, timed, unpublished, None, training).set_index(["method", "metric"])


def test_cost_belongs_to_no_column_and_has_one_row_an_arm(built):
    assert len(built) == 3 * 3
    assert set(built["column"]) == {""}
    assert built.loc["a"]["unit"].to_dict() == {
        "Tr.": "min/epoch",
        "Ts.": "s/case",
        "passes": "1/case",
    }


def test_training_time_is_over_runs(built):
    row = built.loc["a", "Tr."]
    assert (row["mean"], row["std"]) == (2.5, 0.5)
    assert (row["n_cases"], row["n_seeds"], row["status"]) == (0, 2, "ok")
    assert row[["ci_low", "ci_high"]].isna().all()


def test_an_untrained_arm_has_no_training_time(built):
    row = built.loc["b_1", "Tr."]
    assert np.isnan(row["mean"])
    assert (row["n_seeds"], row["status"]) == (0, "no training time recorded")


def test_time_and_size_of_a_run(costs, timed, unpublished, training):
    """Arm a: 3 * 2^18 parameters for 3 tasks; its second run took twice as long."""
    measures = {"training_minutes": 1, "parameters": 0, "parameters_per_task": 0, "weights_mib": 2}
    speed = [
        {"name": measure, "measure": measure, "unit": "1", "decimals": decimals}
        for measure, decimals in measures.items()
    ]
    spec = Table.model_validate(costs.model_dump(mode="json") | {"speed": speed})
    rows = build_table(spec, timed, unpublished, None, training).set_index(["method", "metric"])
    assert rows.loc["a", list(measures), :]["mean"].tolist() == [30, 3 * 2**18, 2**18, 3]
    assert rows.loc["a", "training_minutes"]["std"] == 10
    assert rows.loc["a", list(measures)[1:], :]["std"].isna().all()
    assert (rows.loc["a"]["n_seeds"] == 2).all()
    assert set(rows.loc["b_1"]["status"]) == {"no training time recorded", "no size recorded"}
    circumstances = Circumstances("demo", {"cardiac": "phantom"})
    printed = lay_out(spec, rows.reset_index(), unpublished, circumstances)
    cells = printed.halves[0].blocks[0].rows[0].cells
    said = [(cell.mean, cell.std) for cell in cells]
    assert said == [("30.0", "(10.0)"), ("786432", ""), ("262144", ""), ("3.00", "")]
    assert "at 4 bytes each. Times depend" in dict(printed.footer)["Cost"]


def test_of_sizes_alone_the_footer_says_nothing_of_times():
    speed = Speed(name="size", measure="parameters", unit="1", decimals=0)
    assert "Times" not in in_words([speed])


def test_parts_of_a_scan_are_predicted_one_by_one(costs, timed, unpublished, training):
    """Every scan has a second task, whose prediction takes 100 passes."""
    other = timed.assign(task="head", forward_passes=100)
    both = pd.concat([timed.assign(task="chest"), other], ignore_index=True)
    rows = build_table(costs, both, unpublished, None, training).set_index(["method", "metric"])
    assert rows.loc["a", "passes"]["mean"] == (10 + 8 + 100 + 100) / 4


def test_testing_time_is_over_cases_of_the_mean_over_phases_and_seeds(built):
    row = built.loc["a", "Ts."]
    # p1: ED (1 + 3) / 2 = 2, ES 5, so 3.5; p2 and p3: 5
    assert row["mean"] == pytest.approx((3.5 + 5 + 5) / 3)
    assert row["std"] == pytest.approx(np.std([3.5, 5, 5]))
    assert (row["n_cases"], row["n_seeds"], row["status"]) == (3, 2, "ok")
    assert 3 <= row["ci_low"] < row["mean"] < row["ci_high"] <= 5


def test_forward_passes_are_counted_the_same_way(built):
    assert built.loc["a", "passes"]["mean"] == (10 + 8) / 2
    assert built.loc["b_1", "passes"]["n_cases"] == 3


def test_a_case_counts_though_there_was_nothing_to_score(costs, timed, unpublished, training):
    timed.loc[timed["case"] == "p3", "status"] = "both_empty"
    rows = build_table(costs, timed, unpublished, None, training)
    assert rows.set_index(["method", "metric"]).loc["a", "Ts."]["n_cases"] == 3


def test_what_other_software_predicted_has_no_cost(costs, timed, unpublished, training):
    timed.loc[timed["arm"] == "b_1", ["seconds", "forward_passes"]] = np.nan
    table = build_table(costs, timed, unpublished, None, training)
    rows = table.set_index(["method", "metric"]).loc["b_1", ["Ts.", "passes"], :]
    assert rows["mean"].isna().all()
    assert set(rows["status"]) == {"predicted by other software"}
    printed = lay_out(costs, table, unpublished, Circumstances("demo", {"cardiac": "phantom"}))
    (line,) = (n for n in to_markdown(printed).splitlines() if n.startswith(r"| B\_1 \| x |"))
    assert "ok" not in line
    assert line.count(NONE) >= 2


def test_an_arm_that_was_not_run_says_so(built, costs, timed, unpublished, training):
    assert set(built.loc["floor"]["status"]) == {"not run: left out at this scale"}
    rows = build_table(costs, timed.iloc[:0], unpublished, {"cardiac": "private data"}, training)
    assert set(rows["status"]) == {"not run: private data"}


def test_without_records_there_is_no_training_time(costs, timed, unpublished):
    rows = build_table(costs, timed, unpublished).set_index(["method", "metric"])
    assert rows.loc["a", "Tr."]["status"] == "no training time recorded"


def test_post_processing_does_not_repeat_the_cost(table, timed, unpublished, training):
    spec = Table.model_validate(table.model_dump(mode="json") | {"speed": SPEED})
    both = pd.concat([timed.assign(postprocessing="largest component"), timed])
    rows = build_table(spec, both, unpublished, None, training)
    assert set(rows.loc[rows["metric"] == "DSC", "setting"]) == {"heart", "heart, as predicted"}
    of_cost = rows[rows["column"] == ""]
    assert len(of_cost) == 3 * 3
    assert set(of_cost["setting"]) == {"heart"}


def test_a_published_cost_is_joined(costs, timed, training, published):
    printed = published.iloc[:1].assign(
        column="", metric="Ts.", unit="s/case", mean=8.5, std=np.nan
    )
    rows = build_table(costs, timed, printed, None, training).set_index(["method", "metric"])
    row = rows.loc["a", "Ts."]
    assert row["published_mean"] == 8.5
    assert row["difference"] == pytest.approx(4.5 - 8.5)
    assert row["status"] == "ok"


@pytest.fixture
def saved(costs, timed, unpublished, training):
    """Only arm a takes a pass a task: 2 s and 3 passes of every scan if tasks share one."""
    speed = [
        {"name": name, "measure": f"{measure}_per_case_one_pass", "unit": unit, "decimals": 1}
        for name, measure, unit in (("s", "seconds", "s/case"), ("n", "forward_passes", "1/case"))
    ]
    spec = Table.model_validate(costs.model_dump(mode="json") | {"speed": speed})
    of_a = timed["arm"] == "a"
    columns = {"seconds_one_pass": 2.0, "forward_passes_one_pass": 3.0}
    timed = timed.assign(**{name: np.where(of_a, v, np.nan) for name, v in columns.items()})
    return spec, build_table(spec, timed, unpublished, None, training)


def test_one_pass_is_measured_of_methods_that_take_more(saved):
    rows = saved[1].set_index(["method", "metric"])
    assert rows.loc["a", ["s", "n"], :]["mean"].tolist() == [2, 3]
    assert rows.loc["a", "s"]["n_cases"] == 3
    assert rows.loc["b_1", ["s", "n"], :]["mean"].isna().all()
    assert set(rows.loc["b_1"]["status"]) == {"no more than one pass"}


def test_where_no_arm_takes_more_there_is_no_number(saved, timed, unpublished, training):
    rows = build_table(saved[0], timed, unpublished, None, training)
    assert set(rows.loc[rows["method"] != "floor", "status"]) == {"no more than one pass"}


def test_a_dash_stands_for_passes_that_cannot_be_saved(saved, unpublished):
    printed = lay_out(*saved, unpublished, Circumstances("demo", {"cardiac": "phantom"}))
    text = to_markdown(printed)
    assert "| A & co | 2.0 (0.0) | 3.0 (0.0) |" in text
    assert rf"| B\_1 \| x | _{NONE}_ | _{NONE}_ |" in text
    assert r"B & {\scriptsize --} & {\scriptsize --}" in to_latex(printed)
    assert "a dash for other methods" in dict(printed.footer)["Cost"]


def test_cost_is_not_ranked(costs, timed):
    ranks = build_ranks(costs, timed)
    assert len(ranks) == 0
    assert list(ranks.columns) == RANKS
