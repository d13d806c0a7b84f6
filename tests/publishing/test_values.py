"""What figures draw is what the cells of the table are made of."""

import pandas as pd
import pytest

from piecemeal.errors import InputError
from piecemeal.publishing.tables import build_table
from piecemeal.publishing.values import (
    arms_with_scores,
    case_values,
    column_grids,
    columns_of,
    metric_of,
    only,
)


def of_ed(table, metric, scores):
    """{(arm, case): value} at ED."""
    values = case_values(column_grids(table, metric, scores))
    return values[values["column"] == "LV (ED)"].set_index(["arm", "case"])["value"]


def test_case_values_are_means_over_seeds_with_misses_at_0(table, scores):
    ed = of_ed(table, "DSC", scores)
    assert ed["a", "acdc/p1"] == pytest.approx(0.85)
    assert ed["b_1", "acdc/p2"] == 0


def test_case_values_count_the_diagonal_for_a_missed_distance(table, scores):
    ed = of_ed(table, "HD", scores)
    assert ed["b_1"].to_dict() == {"acdc/p1": 2.0, "acdc/p2": 20.0, "acdc/p3": 9.0}
    assert ed["a"].to_dict() == {"acdc/p1": 2.0, "acdc/p2": 4.0, "acdc/p3": 9.0}


def test_case_values_leave_a_case_out_for_all_arms_where_the_table_does(table, scores):
    ed = of_ed(table.model_copy(update={"misses": "excluded"}), "HD", scores)
    assert set(ed.index) == {(arm, f"acdc/{case}") for arm in ("a", "b_1") for case in ("p1", "p3")}


def test_case_values_ask_for_the_diagonal_of_a_miss(table, scores):
    with pytest.raises(InputError, match=r"no diagonal_mm.*start again"):
        column_grids(table, "HD", scores.drop(columns="diagonal_mm"))


def test_case_values_use_the_main_setting(table, scores):
    kept = scores.assign(postprocessing="largest component", dice=1.0)
    ed = of_ed(table, "DSC", pd.concat([scores, kept]))
    assert set(ed["a"]) == {1.0}


def test_case_values_are_of_the_seeds_that_all_arms_have_where_the_table_says_so(table, scores):
    shared = table.model_copy(update={"shared_seeds": True})
    assert of_ed(shared, "DSC", scores)["a", "acdc/p1"] == pytest.approx(0.8)


@pytest.mark.parametrize("metric", ["DSC", "HD"])
def test_their_mean_is_that_of_the_table(table, scores, unpublished, metric):
    rows = build_table(table, scores, unpublished).set_index(["metric", "column", "method"])["mean"]
    grids = column_grids(table, metric, scores)
    for place, heading in {"LV ED": "LV (ED)", "LV ES": "LV (ES)"}.items():
        for arm, grid in grids["heart", heading].items():
            assert grid.mean(axis=1).mean() == pytest.approx(rows[metric, place, arm])


def test_settings_columns_and_arms_keep_their_order(table, scores):
    grids = column_grids(table, "DSC", scores)
    assert columns_of(grids) == {"heart": ["LV (ED)", "LV (ES)"]}
    assert arms_with_scores(grids, "heart") == {"a", "b_1"}
    assert [set(of_arms) for of_arms in only(grids, ["a"]).values()] == [{"a"}, {"a"}]
    assert arms_with_scores(only(grids, ["c"]), "heart") == set()
    assert metric_of(table, "HD").unit == "mm"
