import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from piecemeal.errors import InputError
from piecemeal.publishing.ranks import build_ranks
from piecemeal.publishing.tables import COLUMNS, build_table, read_table, treatments
from piecemeal.table_specs import Table


@pytest.fixture
def built(table, scores, published):
    return build_table(table, scores, published)


def cell(rows, method, column, metric, setting="heart"):
    found = rows[
        (rows["method"] == method)
        & (rows["column"] == column)
        & (rows["metric"] == metric)
        & (rows["setting"] == setting)
    ]
    assert len(found) == 1
    return found.iloc[0]


def test_columns_are_the_stable_interface(built):
    assert ",".join(built.columns) == (
        "method,base,setting,column,metric,unit,mean,std,n_cases,n_seeds,ci_low,ci_high,"
        "published_mean,published_std,difference,status"
    )
    assert list(built.columns) == COLUMNS


def test_one_row_a_number(built):
    # 3 arms x (2 columns + average) x (DSC, HD, HD where every arm found it, HD a miss counts)
    assert len(built) == 3 * 3 * 4
    assert set(built["base"]) == {"u_net"}


def test_mean_is_over_cases_of_the_mean_over_seeds(built):
    row = cell(built, "a", "LV ED", "DSC")
    # cases: (0.8 + 0.9) / 2 = 0.85, 0.6, 0.95; mean 0.8; deviations 0.05, -0.2, 0.15
    assert row["mean"] == pytest.approx(0.8)
    assert row["std"] == pytest.approx(np.sqrt((0.05**2 + 0.2**2 + 0.15**2) / 3))
    assert (row["n_cases"], row["n_seeds"]) == (3, 2)
    assert 0.6 <= row["ci_low"] < 0.8 < row["ci_high"] <= 0.95
    assert row["status"] == "ok"


def test_average_is_the_mean_of_the_columns(built):
    row = cell(built, "a", "average", "DSC")
    assert row["mean"] == pytest.approx((0.8 + 0.5) / 2)
    assert row["std"] == pytest.approx((cell(built, "a", "LV ED", "DSC")["std"] + 0) / 2)
    # The other column does not vary, so the interval is half as wide.
    ed = cell(built, "a", "LV ED", "DSC")
    assert row["ci_high"] - row["ci_low"] == pytest.approx((ed["ci_high"] - ed["ci_low"]) / 2)


def test_a_missed_structure_counts_dice_0(built):
    row = cell(built, "b_1", "LV ED", "DSC")
    assert row["mean"] == pytest.approx((0.7 + 0 + 0.8) / 3)
    assert row["status"] == "ok"


def test_both_empty_does_not_enter(table, scores, published):
    neither = scores.iloc[:1].assign(case="p9", status="both_empty", dice=np.nan, hd_mm=np.nan)
    rows = build_table(table, pd.concat([scores, neither]), published)
    assert cell(rows, "a", "LV ED", "HD")["n_cases"] == 3


def test_an_average_over_unequal_cases_is_still_the_mean_of_the_columns(table, scores, published):
    gone = (scores["case"] == "p1") & (scores["phase"] == "ES") & (scores["arm"] == "a")
    scores.loc[(scores["case"] == "p2") & (scores["phase"] == "ES"), "hd_mm"] = 5.0
    rows = build_table(table, scores[~gone], published)
    row = cell(rows, "a", "average", "HD")
    assert row["mean"] == pytest.approx(((2 + 4 + 9) / 3 + (5 + 3) / 2) / 2)
    assert row["ci_low"] <= row["mean"] <= row["ci_high"]


def test_published_numbers_are_joined(built):
    row = cell(built, "a", "LV ED", "DSC")
    assert (row["published_mean"], row["published_std"]) == (0.9, 0.01)
    assert row["difference"] == pytest.approx(0.8 - 0.9)


@pytest.mark.parametrize(
    ("method", "column", "metric", "status"),
    [
        ("a", "LV ES", "DSC", "ok; published mean unreadable"),
        ("b_1", "LV ED", "HD", "1 of 3 missed; published number unreadable"),
        ("b_1", "LV ED", "DSC", "ok"),
        ("a", "LV ED", "HD", "ok; published number doubtful"),
    ],
)
def test_status_says_what_is_wrong_with_the_published_number(built, method, column, metric, status):
    assert cell(built, method, column, metric)["status"] == status


def test_an_unreadable_number_does_not_hide_ours(built):
    row = cell(built, "a", "LV ES", "DSC")
    assert row["mean"] == pytest.approx(0.5)
    assert np.isnan(row["difference"])


def test_an_arm_without_runs_keeps_its_published_numbers(table, scores, published):
    rows = build_table(table, scores[scores["arm"] != "a"], published)
    row = cell(rows, "a", "LV ED", "DSC")
    assert row["status"] == "not run: left out at this scale"
    assert (row["published_mean"], row["n_cases"]) == (0.9, 0)


@pytest.fixture
def shared(table):
    return table.model_copy(update={"shared_seeds": True})


def test_arms_are_compared_by_the_seeds_that_all_of_them_have(shared, scores, published):
    rows = build_table(shared, scores, published)
    row = cell(rows, "a", "LV ED", "DSC")
    assert row["mean"] == pytest.approx((0.8 + 0.6 + 0.95) / 3)  # without seed 1
    assert (row["n_cases"], row["n_seeds"]) == (3, 1)


def test_floors_neither_lose_seeds_nor_take_any(shared, scores, published):
    first = scores[(scores["arm"] == "a") & (scores["seed"] == 1)]
    floor = pd.concat([first.assign(arm="floor", seed=seed) for seed in (7, 8)])
    rows = build_table(shared, pd.concat([scores, floor]), published)
    assert cell(rows, "floor", "LV ED", "DSC")["n_seeds"] == 2
    assert cell(rows, "a", "LV ED", "DSC")["n_seeds"] == 1


def test_an_arm_that_was_left_out_takes_no_seeds(shared, scores, published):
    rows = build_table(shared, scores[scores["arm"] == "a"], published)
    assert cell(rows, "a", "LV ED", "DSC")["n_seeds"] == 2
    assert cell(rows, "b_1", "LV ED", "DSC")["status"].startswith("not run: left out")


def test_a_cohort_without_runs_says_why(table, scores, published):
    rows = build_table(table, scores.iloc[:0], published, {"cardiac": "private data, phantom only"})
    assert len(rows) == 36
    assert all(s.startswith("not run: private data, phantom only") for s in rows["status"])


@pytest.fixture
def last(table):
    return table.model_copy(update={"weights": "last"})


def test_a_table_of_last_weights_that_no_scale_scores_is_not_run(last, published, nothing_scored):
    rows = build_table(last, nothing_scored, published)
    assert len(rows) == 36
    whys = {status.split(";")[0] for status in rows["status"]}
    assert whys == {"not run: last weights are not scored at this scale"}
    assert rows["mean"].isna().all()
    assert build_ranks(last, nothing_scored).empty


def test_an_arm_without_last_weights_is_left_out(last, scores, published):
    rows = build_table(last, scores[scores["arm"] != "a"], published)
    assert cell(rows, "a", "LV ED", "DSC")["status"] == "not run: left out at this scale"
    assert cell(rows, "b_1", "LV ES", "DSC")["mean"] == 0.5


def test_last_weights_are_not_measured_slice_by_slice(last):
    content = last.model_dump(mode="json")
    content["metrics"][1] |= {"score": "hd_slice_px"}
    with pytest.raises(ValidationError, match="last weights are not scored slice by slice"):
        Table.model_validate(content)


def test_both_post_processings_are_shown(table, scores, published):
    kept = scores.assign(postprocessing="largest component")
    both = pd.concat([kept.assign(dice=kept["dice"] * 0.5), scores])
    rows = build_table(table, both, published)
    assert cell(rows, "a", "LV ED", "DSC")["mean"] == pytest.approx(0.4)
    other = cell(rows, "a", "LV ED", "DSC", "heart, as predicted")
    assert other["mean"] == pytest.approx(0.8)
    assert np.isnan(other["published_mean"])
    assert treatments(table.halves[0], both) == {
        "heart": "largest component",
        "heart, as predicted": "as predicted",
    }


def test_a_case_scored_twice_is_refused(table, scores, published):
    with pytest.raises(InputError, match=r"scored twice.*p1.*one run a seed"):
        build_table(table, pd.concat([scores, scores.iloc[:1]]), published)


def test_an_empty_score_needs_a_reason(table, scores, published):
    scores.loc[0, "hd_mm"] = np.nan
    with pytest.raises(InputError, match="status ok, but a score is empty"):
        build_table(table, scores, published)


def test_a_column_that_no_score_has_is_refused(table, scores, published):
    with pytest.raises(InputError, match=r"'heart'.*LV.*ES.*correct tables.yaml"):
        build_table(table, scores[scores["phase"] == "ED"], published)


def test_a_cohort_without_phases_is_read_back_from_csv(table, scores, published, tmp_path):
    plain = scores[scores["phase"] == "ED"].assign(phase="")
    plain.to_csv(tmp_path / "scores.csv", index=False)
    half = table.halves[0]
    column = half.columns[0].model_copy(update={"phase": ""})
    spec = table.model_copy(
        update={"halves": [half.model_copy(update={"columns": [column], "average": None})]}
    )
    rows = build_table(spec, pd.read_csv(tmp_path / "scores.csv"), published)
    assert cell(rows, "a", "LV ED", "DSC")["mean"] == pytest.approx(0.8)


def test_a_table_reads_back_as_it_was_written(table, built, tmp_path):
    (tmp_path / "table.csv").write_text(built.to_csv(index=False))
    read = read_table(tmp_path / "table.csv", table)
    assert read["column"].tolist() == built["column"].tolist()
    costs = pd.concat([built, built.assign(column="")])
    (tmp_path / "cost.csv").write_text(costs.to_csv(index=False))
    assert (read_table(tmp_path / "cost.csv", table)["column"] == "").sum() == len(built)


@pytest.mark.parametrize("characters", [1, 9])
def test_a_table_whose_last_line_was_cut_is_refused(table, built, tmp_path, characters):
    path = tmp_path / "table.csv"
    path.write_text(built.to_csv(index=False)[:-characters])
    with pytest.raises(InputError, match=rf"{path}: .*its last line is cut.*; delete it and"):
        read_table(path, table)


@pytest.mark.parametrize("lines", [0, 1, -1])
def test_a_table_that_was_cut_is_refused(table, built, tmp_path, lines):
    path = tmp_path / "table.csv"
    path.write_text("".join(built.to_csv(index=False).splitlines(keepends=True)[:lines]))
    said = rf"{path}: (cannot be read|has no row of).*; delete it and start again"
    with pytest.raises(InputError, match=said):
        read_table(path, table)
