"""Ranks of the compared arms beside a table."""

import numpy as np
import pandas as pd
import pytest

from piecemeal.publishing.ranks import build_ranks, in_words
from piecemeal.publishing.tables import build_table

HEADER = "setting,column,metric,arm,rank,rank_low,rank_high,first,kendall_tau,n_cases,n_seeds"


@pytest.fixture
def ranks(table, scores):
    return build_ranks(table, scores).set_index(["column", "metric", "arm"]).sort_index()


def test_every_metric_and_column_is_ranked_over_the_compared_arms(table, scores):
    ranks = build_ranks(table, scores)
    assert ",".join(ranks.columns) == HEADER
    assert set(ranks["arm"]) == {"a", "b_1"}
    places = ranks[["column", "metric"]].drop_duplicates().itertuples(index=False, name=None)
    assert list(places) == [
        (column, metric) for metric in ("DSC", "HD") for column in ("LV ED", "LV ES", "average")
    ]
    assert set(ranks["setting"]) == {"heart"}


def test_the_better_arm_is_first_in_its_own_direction(ranks):
    # At ED a has the higher Dice in every case, and b_1 missed p2: 20 mm against 4 mm.
    for metric in ("DSC", "HD"):
        row = ranks.loc["LV ED", metric, "a"]
        assert row["rank"] == 1
        assert ranks.loc["LV ED", metric, "b_1"]["rank"] == 2
    row = ranks.loc["LV ED", "DSC", "a"]
    assert (row["rank_low"], row["rank_high"], row["first"], row["kendall_tau"]) == (1, 1, 1, 1)
    assert (row["n_cases"], row["n_seeds"]) == (3, 2)
    assert ranks.loc["LV ED", "DSC", "b_1"]["n_seeds"] == 1


def test_ties_share_their_rank(ranks):
    assert ranks.loc["LV ES", "DSC"]["rank"].tolist() == [1.5, 1.5]


def test_the_average_ranks_by_the_mean_over_columns(table, scored):
    # b_1 is behind by 0.1 at ED and ahead by 0.3 at ES.
    rows = [
        (arm, 0, case, phase, dice, 3.0)
        for case in ("p1", "p2", "p3")
        for arm, phase, dice in (
            *(("a", "ED", 0.6), ("a", "ES", 0.5)),
            *(("b_1", "ED", 0.5), ("b_1", "ES", 0.8)),
        )
    ]
    ranks = build_ranks(table, scored(*rows)).set_index(["column", "metric", "arm"])["rank"]
    assert ranks["LV ED", "DSC", "a"] == 1
    assert ranks["average", "DSC", "b_1"] == 1


def test_what_is_not_printed_is_not_ranked(table, scores):
    hidden = [m.model_copy(update={"printed": m.name == "DSC"}) for m in table.metrics]
    ranks = build_ranks(table.model_copy(update={"metrics": hidden}), scores)
    assert set(ranks["metric"]) == {"DSC"}


def test_an_arm_without_scores_has_no_rank(table, scores):
    ranks = build_ranks(table, scores[scores["arm"] == "a"])
    assert set(ranks["arm"]) == {"a"}
    assert set(ranks["rank"]) == {1}


def test_arms_are_ranked_by_the_seeds_that_all_of_them_have(table, scores):
    """In seed 1, which b_1 has not, a is better than in the shared one."""
    ahead = (scores["arm"] == "b_1") & (scores["case"] != "p2")
    scores.loc[ahead & (scores["phase"] == "ED"), "dice"] = 0.9
    scores.loc[(scores["arm"] == "b_1") & (scores["case"] == "p2"), "dice"] = 0.62
    scores.loc[scores["arm"] == "b_1", "status"] = "ok"
    distances = ["assd_mm", "hd_mm", "hd95_mm"]
    scores[distances] = scores[distances].fillna(1.0)
    scores.loc[scores["seed"] == 1, "dice"] = 1.0
    found = {}
    for shared in (False, True):
        ranks = build_ranks(table.model_copy(update={"shared_seeds": shared}), scores)
        rows = ranks.set_index(["column", "metric", "arm"]).sort_index().loc["LV ED", "DSC"]
        found[shared] = rows.loc["a", ["rank", "n_seeds"]].tolist()
    assert found == {False: [1, 2], True: [2, 1]}


def test_an_invented_structure_costs_its_rank(table, scored, unpublished):
    """Where the reference has nothing the other arm has no score, and keeps its mean."""
    rows = [(arm, 0, case, "ED", 0.5, 3.0) for arm in ("a", "b_1") for case in ("p1", "p2", "p3")]
    rows += [(arm, 0, "p1", "ES", 0.5, 3.0) for arm in ("a", "b_1")]
    scores = scored(*rows)
    absent = scores["case"].eq("p3") & scores["phase"].eq("ED")
    scores.loc[absent, ["dice", "hd_mm"]] = np.nan
    scores.loc[absent, "status"] = ["both_empty", "invented"]
    ranks = build_ranks(table, scores).set_index(["column", "metric", "arm"])["rank"]
    means = build_table(table, scores, unpublished).set_index(["column", "metric", "method"])
    for metric in ("DSC", "HD"):
        assert [ranks["LV ED", metric, arm] for arm in ("a", "b_1")] == [1, 2]
        assert means["mean"]["LV ED", metric, "a"] == {"DSC": 0.5, "HD": 3.0}[metric]


def test_both_post_processings_are_ranked(table, scores):
    both = pd.concat([scores.assign(postprocessing="largest component"), scores])
    assert set(build_ranks(table, both)["setting"]) == {"heart", "heart, as predicted"}


def test_the_footer_says_the_ranks_of_the_average(table, scores):
    said = in_words(table, build_ranks(table, scores))
    assert said.startswith("heart, DSC: A & co 1 (1 to 1), B_1 | x 2 (2 to 2). 1 is the best")
    assert "; in brackets, 95 % of the ranks" in said


def test_the_footer_says_the_ranks_of_an_only_column(table, scores):
    half = table.halves[0]
    half = half.model_copy(update={"columns": half.columns[:1], "average": None})
    spec = table.model_copy(update={"halves": [half]})
    assert in_words(spec, build_ranks(spec, scores)).startswith("heart, DSC: A & co 1 (1 to 1)")


def test_one_case_has_ranks_without_a_spread(table, scores):
    ranks = build_ranks(table, scores[scores["case"] == "p1"])
    said = in_words(table, ranks)
    assert said.startswith("heart, DSC: A & co 1, B_1 | x 2. ")
    assert "in brackets" not in said


def test_nothing_ranked_is_nothing_said(table, scores):
    assert in_words(table, build_ranks(table, scores.iloc[:0])) == ""
