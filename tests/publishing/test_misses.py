"""What a missed structure counts: no convention lets an arm gain by missing what another found."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from piecemeal.errors import InputError
from piecemeal.publishing.misses import policy
from piecemeal.publishing.ranks import build_ranks
from piecemeal.publishing.tables import build_table

FOUND, DIAGONAL, ONE = (
    "HD, where every arm found it",
    "HD, a miss counts the diagonal",
    "HD, a miss counts 1 mm",
)
WHERE = ["method", "column", "metric"]


def numbers(rows):
    """The rows by (arm, column, metric)."""
    return rows.set_index(WHERE).sort_index()


@pytest.fixture
def build(table, unpublished):
    """Rows of the small table under a policy."""

    def built(scores, misses="diagonal"):
        spec = table.model_copy(update={"misses": misses})
        return numbers(build_table(spec, scores, unpublished))

    return built


def test_the_diagonal_counts_by_default(build, scores):
    row = build(scores).loc["b_1", "LV ED", "HD"]
    # p1 2 mm, p2 missed in a volume of diagonal 20 mm, p3 9 mm
    assert row["mean"] == pytest.approx((2 + 20 + 9) / 3)
    assert row["std"] == pytest.approx(np.std([2, 20, 9]))
    assert (row["n_cases"], row["status"]) == (3, "1 of 3 missed")
    assert build(scores).loc["a", "LV ED", "HD"]["status"] == "ok"


def test_the_other_conventions_stand_beside_the_diagonal(build, scores):
    rows = build(scores)
    assert DIAGONAL not in rows.index.get_level_values("metric")
    found = rows.loc["b_1", "LV ED", FOUND]
    assert found["mean"] == pytest.approx((2 + 9) / 2)
    assert (found["n_cases"], found["status"]) == (2, "1 of 3 missed, mean of 2 of 3 cases")
    counted = rows.loc["b_1", "LV ED", ONE]
    assert counted["mean"] == pytest.approx((2 + 1 + 9) / 3)
    assert (counted["n_cases"], counted["status"]) == (3, "1 of 3 missed")


def test_a_case_that_one_arm_missed_is_left_out_for_every_compared_arm(build, scores):
    rows = build(scores, "excluded")
    for arm, status in (
        ("a", "mean of 2 of 3 cases"),
        ("b_1", "1 of 3 missed, mean of 2 of 3 cases"),
    ):
        row = rows.loc[arm, "LV ED", "HD"]
        assert row["mean"] == pytest.approx((2 + 9) / 2)
        assert (row["n_cases"], row["status"]) == (2, status)
    # ES was missed by nobody, and Dice has its 0.
    assert rows.loc["b_1", "LV ES", "HD"][["n_cases", "status"]].tolist() == [3, "ok"]
    assert rows.loc["b_1", "LV ED", "DSC"]["mean"] == pytest.approx((0.7 + 0 + 0.8) / 3)


def test_the_other_conventions_stand_beside_the_excluded(build, scores):
    rows = build(scores, "excluded")
    assert FOUND not in rows.index.get_level_values("metric")
    assert rows.loc["b_1", "LV ED", DIAGONAL]["mean"] == pytest.approx((2 + 20 + 9) / 3)
    assert rows.loc["b_1", "LV ED", ONE]["mean"] == pytest.approx((2 + 1 + 9) / 3)


def test_a_miss_of_one_seed_leaves_the_case_out_for_all_seeds(build, scores):
    second = (scores["arm"] == "a") & (scores["seed"] == 1) & (scores["phase"] == "ES")
    scores.loc[second & (scores["case"] == "p3"), ["status", "hd_mm"]] = ["missed", np.nan]
    row = build(scores, "excluded").loc["a", "LV ES", "HD"]
    assert (row["n_cases"], row["n_seeds"]) == (2, 2)
    assert row["status"] == "1 of 3 missed, mean of 2 of 3 cases"
    # By the diagonal the seed that found it counts as well: (3 + 20) / 2.
    row = build(scores).loc["a", "LV ES", "HD"]
    assert row["mean"] == pytest.approx((3 + 3 + 11.5) / 3)


def test_a_floor_leaves_out_its_own_cases_only(build, scores, scored):
    floor = [("floor", 0, "p1", "ED", None, None), ("floor", 0, "p2", "ED", 0.1, 15.0)]
    rows = build(pd.concat([scores, scored(*floor)]), "excluded")
    assert rows.loc["a", "LV ED", "HD"]["n_cases"] == 2
    # p1 it missed itself, p2 an arm that is compared missed.
    row = rows.loc["floor", "LV ED", "HD"]
    assert np.isnan(row["mean"])
    assert (row["n_cases"], row["status"]) == (0, "1 of 2 missed, no case left")


def test_invented_structures_are_named(build, scored):
    scores = scored(("a", 0, "p1", "ED", None, None), ("a", 0, "p1", "ES", 0.5, 3.0))
    scores["status"] = scores["status"].replace("missed", "invented")
    row = build(scores).loc["a", "LV ED", "HD"]
    assert (row["mean"], row["status"]) == (20.0, "1 of 1 invented")


@pytest.mark.parametrize(
    ("misses", "metric", "mean", "status"),
    [
        ("diagonal", "HD", (31 / 3 + 3) / 2, "misses in 1 of 2 columns"),
        ("diagonal", FOUND, (5.5 + 3) / 2, "cases left out in 1 of 2 columns"),
        ("diagonal", ONE, (4 + 3) / 2, "misses in 1 of 2 columns"),
        ("diagonal", "DSC", (0.5 + 0.5) / 2, "ok"),
        ("excluded", "HD", (5.5 + 3) / 2, "cases left out in 1 of 2 columns"),
    ],
)
def test_an_average_says_what_its_columns_rest_on(build, scores, misses, metric, mean, status):
    row = build(scores, misses).loc["b_1", "average", metric]
    assert row["mean"] == pytest.approx(mean)
    assert row["status"] == status


def test_an_average_with_an_empty_column_is_empty(build, scores):
    ed = (scores["arm"] == "b_1") & (scores["phase"] == "ED")
    scores.loc[ed, ["status", "hd_mm"]] = ["missed", np.nan]
    row = build(scores, "excluded").loc["a", "average", "HD"]
    assert np.isnan(row["mean"])
    assert row["status"] == "1 of 2 columns empty"


def test_a_distance_without_another_convention_of_its_paper_has_two_rows(table, scores, published):
    metrics = [m.model_copy(update={"miss_counts": None}) for m in table.metrics]
    rows = build_table(table.model_copy(update={"metrics": metrics}), scores, published)
    assert set(rows["metric"]) == {"DSC", "HD", FOUND}


@pytest.mark.parametrize("status", ["missed", "invented"])
@pytest.mark.parametrize("diagonal", [np.nan, 0.0, None])
def test_a_miss_without_a_diagonal_is_refused(table, scores, published, status, diagonal):
    scores["status"] = scores["status"].replace("missed", status)
    if diagonal is None:
        scores = scores.drop(columns="diagonal_mm")
    else:
        scores.loc[scores["case"] == "p2", "diagonal_mm"] = diagonal
    for build in (
        lambda: build_table(table, scores, published),
        lambda: build_ranks(table, scores),
    ):
        with pytest.raises(InputError, match=rf"no diagonal_mm.*b_1.*p2.*{status}.*start again"):
            build()


def test_the_policy_is_said_in_words(table):
    assert "the diagonal of the scan's volume" in policy(table)
    excluded = policy(table.model_copy(update={"misses": "excluded"}))
    assert "left out for every compared arm" in excluded
    assert "a miss counts the diagonal; a miss counts 1 mm" in excluded
    dice = policy(table.model_copy(update={"metrics": table.metrics[:1]}))
    assert "distance" not in dice
    for said in (policy(table), excluded, dice):
        assert said.startswith("A missed or invented structure counts Dice 0")


# A miss against the same predictions without it, beside an arm that found everything.


def worse(metric, before, after):
    """Whether `after` is no better than `before`, in that metric."""
    return after <= before + 1e-9 if metric == "DSC" else after >= before - 1e-9


def ranks_of(table, scores):
    return build_ranks(table, scores).set_index(["arm", "column", "metric"])["rank"]


@pytest.fixture
def drop(scored):
    """Two arms with the same scores; then `b_1` misses case p2 at ED."""
    same = [("p1", 0.8, 2.0), ("p2", 0.6, 4.0), ("p3", 0.9, 9.0)]
    rows = [
        (arm, 0, case, phase, dice, hd)
        for arm in ("a", "b_1")
        for case, dice, hd in same
        for phase in ("ED", "ES")
    ]
    before = scored(*rows)
    after = before.copy()
    hit = (after["arm"] == "b_1") & (after["case"] == "p2") & (after["phase"] == "ED")
    after.loc[hit, "status"] = "missed"
    after.loc[hit, ["dice", "assd_mm", "hd_mm", "hd95_mm"]] = np.nan
    return before, after


@pytest.mark.parametrize("column", ["LV ED", "average"])
def test_a_dropped_organ_makes_every_mean_worse(table, build, drop, column):
    before, after = (build(scores) for scores in drop)
    for metric in ("DSC", "HD"):
        place = ("b_1", column, metric)
        assert worse(metric, before["mean"][place], after["mean"][place])
        assert before["mean"][place] != after["mean"][place]
        assert after["mean"]["a", column, metric] == before["mean"]["a", column, metric]
    ranks = [ranks_of(table, scores) for scores in drop]
    for metric in ("DSC", "HD"):
        assert [ranks[0][arm, column, metric] for arm in ("a", "b_1")] == [1.5, 1.5]
        assert [ranks[1][arm, column, metric] for arm in ("a", "b_1")] == [1, 2]


@pytest.mark.parametrize("column", ["LV ED", "average"])
def test_a_dropped_organ_gains_nothing_where_cases_are_excluded(table, build, drop, column):
    before, after = (build(scores, "excluded") for scores in drop)
    assert after["mean"]["b_1", column, "DSC"] < before["mean"]["b_1", column, "DSC"]
    # The mean of 2 and 9 in place of 2, 4 and 9, and the same for the arm that found it.
    assert after["mean"]["b_1", column, "HD"] > before["mean"]["b_1", column, "HD"]
    assert after["mean"]["b_1", column, "HD"] == after["mean"]["a", column, "HD"]
    diagonal = after["mean"].xs(DIAGONAL, level="metric")
    assert diagonal["b_1", column] > diagonal["a", column]
    ranks = ranks_of(table.model_copy(update={"misses": "excluded"}), drop[1])
    assert [ranks[arm, column, "HD"] for arm in ("a", "b_1")] == [1, 2]


CASES = list(product(("p1", "p2", "p3"), ("ED", "ES"), (0, 1)))
predictions = st.lists(
    st.tuples(st.floats(0, 1), st.floats(0, 20)), min_size=len(CASES), max_size=len(CASES)
)


def of_arm(arm, values, missed):
    for (case, phase, seed), (dice, hd), lost in zip(CASES, values, missed, strict=True):
        yield (arm, seed, case, phase, *((None, None) if lost else (dice, hd)))


@settings(max_examples=15)
@given(
    one=predictions,
    other=predictions,
    missed=st.lists(st.booleans(), min_size=len(CASES), max_size=len(CASES)),
)
def test_no_miss_improves_a_mean_or_a_rank(table, scored, unpublished, one, other, missed):
    none = [False] * len(CASES)
    rivals = list(of_arm("a", other, none))
    scores = [scored(*rivals, *of_arm("b_1", one, lost)) for lost in (none, missed)]
    before, after = (numbers(build_table(table, s, unpublished))["mean"] for s in scores)
    ranks = [ranks_of(table, s) for s in scores]
    for column in ("LV ED", "LV ES", "average"):
        for metric in ("DSC", "HD"):
            place = ("b_1", column, metric)
            assert worse(metric, before[place], after[place])
            assert ranks[1][place] >= ranks[0][place]
            assert after["a", column, metric] == before["a", column, metric]


@settings(max_examples=15)
@given(
    one=predictions,
    other=predictions,
    missed=st.lists(st.booleans(), min_size=len(CASES), max_size=len(CASES)),
)
def test_excluding_compares_all_arms_on_the_same_cases(
    table, scored, unpublished, one, other, missed
):
    table = table.model_copy(update={"misses": "excluded"})
    none = [False] * len(CASES)
    both = scored(*of_arm("a", other, none), *of_arm("b_1", one, missed))
    rows = numbers(build_table(table, both, unpublished))
    gone = {(case, phase) for (case, phase, _), lost in zip(CASES, missed, strict=True) if lost}
    for phase in ("ED", "ES"):
        left = [case for case in ("p1", "p2", "p3") if (case, phase) not in gone]
        for arm, values in (("a", other), ("b_1", one)):
            pairs = zip(CASES, values, strict=True)
            hd = [v for (case, when, _), (_, v) in pairs if when == phase and case in left]
            row = rows.loc[arm, f"LV {phase}", "HD"]
            assert row["n_cases"] == len(left)
            assert row["mean"] == pytest.approx(np.mean(hd) if hd else np.nan, nan_ok=True)
