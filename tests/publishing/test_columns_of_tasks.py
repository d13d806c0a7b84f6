"""Columns of several structures, arms that know only some tasks, and normalised distances."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from pydantic import ValidationError

from piecemeal.errors import InputError
from piecemeal.publishing.cells import NOT_ITS_TASK, grids_of
from piecemeal.publishing.footers import Circumstances
from piecemeal.publishing.printed import NONE, lay_out
from piecemeal.publishing.published import read_published
from piecemeal.publishing.ranks import build_ranks
from piecemeal.publishing.tables import build_table, in_column
from piecemeal.table_specs import Column, Metric, Table, TablesFile
from piecemeal.validation import load_model

CONFIG = Path(__file__).parents[2] / "config"
ANAND = CONFIG / "papers" / "anand2024"
DIAGONAL = 20.0
CHEST = {"name": "chest", "heading": "chest", "structures": ["lung", "heart"]}
HEAD = {"name": "head", "heading": "head", "structures": ["eye", "jaw"]}
DSC = {"name": "DSC", "score": "dice", "unit": "1", "decimals": 3, "better": "higher"}
HD = {"name": "HD", "score": "hd_mm", "unit": "mm", "decimals": 2, "better": "lower"}
SHARE = HD | {"name": "HD normalised", "unit": "1", "normalised": True}


@pytest.fixture
def spec():
    half = {"setting": "regions", "cohort": "anatomy", "columns": [CHEST, HEAD], "average": "all"}
    return Table.model_validate(
        {
            **{"key": "tasks", "label": "Table 1", "title": "Tasks", "base": "nnunet"},
            "metrics": [DSC, HD, SHARE],
            "arms": [
                {"name": "all", "label": "all tasks", "tex": "all"},
                {"name": "chest", "label": "chest alone", "tex": "chest"},
                {"name": "floor", "label": "nothing", "tex": "nothing", "role": "floor"},
            ],
            "halves": [half],
        }
    )


@pytest.fixture
def tasks():
    """Scan p1 shows both tasks, p2 the chest without a heart. The arm `chest` missed a heart."""
    return scored(
        ("all", "p1", "chest", "lung", 0.9, 2.0),
        ("all", "p1", "chest", "heart", 0.7, 4.0),
        ("all", "p2", "chest", "lung", 0.5, 8.0),
        ("all", "p2", "chest", "heart", None, None),
        ("all", "p1", "head", "eye", 0.6, 1.0),
        ("all", "p1", "head", "jaw", 0.8, 3.0),
        ("chest", "p1", "chest", "lung", 0.8, 6.0),
        ("chest", "p1", "chest", "heart", 0.0, None),
        ("chest", "p2", "chest", "lung", 0.6, 4.0),
        ("chest", "p2", "chest", "heart", None, None),
        ("floor", "p1", "chest", "lung", 0.0, None),
        ("floor", "p1", "head", "jaw", 0.0, None),
    )


def scored(*rows):
    """Scores from (arm, case, task, structure, dice, hd); no dice: both masks are empty."""
    columns = ["arm", "case", "task", "structure", "dice", "hd_mm"]
    found = pd.DataFrame(rows, columns=columns).astype({"dice": float, "hd_mm": float})
    status = np.where(found["hd_mm"].notna(), "ok", "missed")
    status = np.where(found["dice"].isna(), "both_empty", status)
    return found.assign(
        **{"cohort": "anatomy", "postprocessing": "as predicted", "seed": 0, "phase": ""},
        **{"dataset": "totalseg", "status": status, "diagonal_mm": DIAGONAL},
        **{"assd_mm": found["hd_mm"], "hd95_mm": found["hd_mm"]},
    )


@pytest.fixture
def built(spec, tasks, unpublished):
    rows = build_table(spec, tasks, unpublished)
    return rows.set_index(["method", "column", "metric"]).sort_index()


def test_a_case_scores_the_mean_of_the_structures_that_it_has(built):
    row = built.loc["all", "chest", "DSC"]
    # p1: (0.9 + 0.7) / 2 = 0.8; p2, which has no heart: 0.5
    assert row["mean"] == pytest.approx(0.65)
    assert row["std"] == pytest.approx(0.15)
    assert (row["n_cases"], row["status"]) == (2, "ok")


def test_a_missed_structure_counts_in_the_mean_of_its_case(built):
    assert built.loc["chest", "chest", "DSC"]["mean"] == pytest.approx((0.4 + 0.6) / 2)
    row = built.loc["chest", "chest", "HD"]
    assert row["mean"] == pytest.approx(((6 + DIAGONAL) / 2 + 4) / 2)
    assert row["status"] == "1 of 2 missed"


def test_a_miss_of_one_structure_leaves_the_case_out_of_the_whole_column(built):
    found = built.loc[(slice(None), "chest", "HD, where every arm found it"), :]["mean"]
    assert found.droplevel([1, 2]).drop("floor").to_dict() == {"all": 8, "chest": 4}


def test_a_normalised_distance_is_divided_by_the_largest_of_the_compared_arms(built):
    # p1 of the arm chest is the largest: (6 + 20) / 2 = 13.
    assert built.loc["chest", "chest", "HD normalised"]["mean"] == pytest.approx((13 + 4) / 2 / 13)
    assert built.loc["all", "chest", "HD normalised"]["mean"] == pytest.approx((3 + 8) / 2 / 13)
    assert built.loc["floor", "chest", "HD normalised"]["mean"] == pytest.approx(20 / 13)
    assert built.loc["all", "head", "HD normalised"]["mean"] == 1


def test_the_other_convention_has_a_largest_of_its_own(built):
    found = built.loc[(slice(None), "chest", "HD normalised, where every arm found it"), :]["mean"]
    assert found.droplevel([1, 2]).drop("floor").to_dict() == {"all": 1.0, "chest": 0.5}


@pytest.mark.parametrize(
    ("arm", "distances", "expected"),
    [("all", [0.0, 0.0], [0.0, 0.0]), ("floor", [2.0, 8.0], [0.25, 1.0])],
)
def test_nothing_is_divided_by_nothing(spec, arm, distances, expected):
    """Where every distance is 0, and where no compared arm has one."""
    rows = scored(*((arm, f"p{n}", "chest", "lung", 1.0, hd) for n, hd in enumerate(distances)))
    grids = grids_of(rows, spec.metrics[2], "diagonal", spec.compared)
    assert grids[arm][0].tolist() == expected


def test_the_largest_is_over_all_seeds(spec, tasks):
    again = tasks[tasks["arm"] == "all"].assign(seed=1)
    again["hd_mm"] *= 10
    rows = in_column(pd.concat([tasks, again], ignore_index=True), spec.halves[0].columns[0])
    grids = grids_of(rows, spec.metrics[2], "diagonal", spec.compared)
    assert grids["all"].to_numpy().tolist() == [[3 / 80, 30 / 80], [8 / 80, 80 / 80]]


def test_an_arm_without_a_task_has_a_dash(spec, tasks, unpublished, built):
    row = built.loc["chest", "head", "DSC"]
    assert np.isnan(row["mean"])
    assert (row["status"], row["n_cases"], row["n_seeds"]) == (NOT_ITS_TASK, 0, 0)
    assert built.loc["chest", "all", "DSC"]["status"] == "1 of 2 columns empty"
    printed = lay_out(
        spec,
        built.reset_index(),
        unpublished,
        Circumstances("demo", {"anatomy": "phantom"}),
        build_ranks(spec, tasks),
    )
    cell = printed.halves[0].blocks[0].rows[1].cells[3]
    assert (cell.mean, cell.remark, cell.best) == ("", NONE, False)
    assert {line.metric for line in printed.misses.lines} == {"HD"}  # without the normalised one
    footer = dict(printed.footer)
    assert "A dash: a task that the method has not learned." in footer["Cells"]
    assert "In a column a case scores the mean over" in footer["Cells"]
    assert footer["Normalised"].startswith("HD normalised: what a case scores, divided by")


def test_an_average_of_tasks_that_an_arm_has_not_is_a_dash_too(spec, tasks, unpublished):
    half = spec.halves[0].model_copy(update={"columns": [Column.model_validate(HEAD)]})
    rows = build_table(spec.model_copy(update={"halves": [half]}), tasks, unpublished)
    rows = rows.set_index(["method", "column", "metric"])
    assert rows.loc["chest", "all", "DSC"]["status"] == NOT_ITS_TASK


def test_a_structure_that_no_scan_has_is_not_a_task_unknown(spec, tasks, unpublished):
    tasks.loc[(tasks["arm"] == "all") & (tasks["task"] == "head"), "status"] = "both_empty"
    rows = build_table(spec, tasks, unpublished).set_index(["method", "column", "metric"])
    assert rows.loc["all", "head", "DSC"]["status"] == "no case has it"


def test_ranks_are_of_the_arms_that_have_the_task(spec, tasks):
    ranks = build_ranks(spec, tasks).set_index(["column", "metric", "arm"])["rank"].sort_index()
    assert ranks["chest", "DSC"].to_dict() == {"all": 1, "chest": 2}
    assert ranks["head", "DSC"].to_dict() == {"all": 1}
    assert ranks["all", "DSC"].to_dict() == {"all": 1}


def test_normalised_every_column_weighs_alike_in_the_average(spec):
    """In mm the chest decides, by 2 mm to 1 mm; as shares the head does, by a half to a tenth."""
    rows = []
    for case in ("p1", "p2"):
        for arm, chest, head in (("all", 20.0, 1.0), ("chest", 18.0, 2.0)):
            rows += [(arm, case, "chest", name, 0.5, chest) for name in ("lung", "heart")]
            rows += [(arm, case, "head", name, 0.5, head) for name in ("eye", "jaw")]
    ranks = build_ranks(spec, scored(*rows)).set_index(["column", "metric", "arm"])["rank"]
    assert ranks["all", "HD", "chest"] == 1
    assert ranks["all", "HD normalised", "all"] == 1


def test_two_tasks_of_a_scan_are_not_scored_twice(spec, tasks, unpublished):
    build_table(spec, tasks, unpublished)
    with pytest.raises(InputError, match="scored twice"):
        build_table(spec, pd.concat([tasks, tasks.iloc[:1]]), unpublished)


def test_a_column_does_not_mix_tasks(spec, tasks, unpublished):
    mixed = spec.halves[0].columns[0].model_copy(update={"structures": ["lung", "eye"]})
    half = spec.halves[0].model_copy(update={"columns": [mixed]})
    with pytest.raises(InputError, match=r"column 'chest' mixes .* \['chest', 'head'\]"):
        build_table(spec.model_copy(update={"halves": [half]}), tasks, unpublished)


def test_a_structure_that_is_nowhere_is_refused(spec, tasks, unpublished):
    wrong = spec.halves[0].columns[0].model_copy(update={"structures": ["lung", "hart"]})
    half = spec.halves[0].model_copy(update={"columns": [wrong]})
    with pytest.raises(InputError, match=r"\('hart', ''\)\] is in no score"):
        build_table(spec.model_copy(update={"halves": [half]}), tasks, unpublished)


def test_parts_of_one_cohort_say_what_they_share_once(spec, tasks, unpublished):
    halves = [
        spec.halves[0].model_copy(
            update={"setting": c["name"], "columns": [Column.model_validate(c)], "average": None}
        )
        for c in (CHEST, HEAD)
    ]
    parts = spec.model_copy(update={"halves": halves})
    rows = build_table(parts, tasks, unpublished)
    known = Circumstances("demo", {"anatomy": "totalseg: local"}, training={"anatomy": "600 steps"})
    footer = dict(lay_out(parts, rows, unpublished, known).footer)
    assert footer["Data"] == "chest, head: totalseg: local"
    assert footer["Training"] == "600 steps"
    assert footer["Size"] == "chest: 2 cases (1 to 2 a cell), 1 seed; head: 1 case, 1 seed"


@pytest.mark.parametrize("given", [{}, {"structure": "lung", "structures": ["heart"]}])
def test_a_column_is_of_one_structure_or_of_several(given):
    with pytest.raises(ValidationError, match="give either `structure` or `structures`"):
        Column(name="chest", heading="chest", **given)


def test_a_column_names_each_structure_once():
    with pytest.raises(ValidationError, match="every structure must occur once"):
        Column(name="chest", heading="chest", structures=["lung", "lung"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (DSC | {"normalised": True}, "only a distance is normalised"),
        (SHARE | {"unit": "mm"}, "only a distance is normalised"),
        (SHARE | {"miss_counts": 1}, "a normalised one has no miss_counts"),
    ],
)
def test_only_distances_are_normalised(content, message):
    with pytest.raises(ValidationError, match=message):
        Metric.model_validate(content)


# ---- the tables of the paper ----


@pytest.fixture(scope="module")
def anand():
    tables = load_model(ANAND / "tables.yaml", TablesFile).tables
    return {table.key: table for table in tables}


def test_anand_2024_averages_whole_tasks(anand):
    for table in anand.values():
        for half in table.halves:
            cohort = yaml.safe_load((CONFIG / "cohorts" / f"{half.cohort}.yaml").read_text())
            tasks = list(cohort["tasks"].values())
            for column in half.columns:
                assert column.members in tasks or [column.structure] == column.members
                assert any(set(column.members) <= set(task) for task in tasks)


def test_anand_2024_prints_17_averages_three_of_them_above_the_individual_networks(anand):
    """Multichannel, DoDNet and label sharing do not know the head; that is no unreadable number."""
    published = read_published(anand["table1"], ANAND)
    assert len(published) == 5 * 4 - 3
    means = published.pivot(index="column", columns="method", values="mean")
    assert means["label-sharing"].dropna().index.tolist() == ["abdomen", "chest", "pelvic"]
    assert (means["label-sharing"] > means["individual"]).sum() == 1  # the chest
    assert means["individual"].notna().all()
