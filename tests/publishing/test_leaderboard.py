"""Arms by their rank, with the intervals of means and ranks."""

import numpy as np
import pytest

from piecemeal.publishing.leaderboard import leaderboard, standings
from piecemeal.publishing.ranks import build_ranks
from piecemeal.publishing.tables import build_table

ARMS = {"a": "method A", "b_1": "method B"}


def drawn(table, scores, metric="DSC", arms=ARMS):
    return leaderboard(standings(table, metric, arms, scores), metric, "higher", "phantom")


def test_a_standing_is_what_table_and_ranks_say(table, scored, published):
    scores = scored(
        *(
            (arm, 0, f"p{case}", phase, dice, 3.0)
            for arm, phase, dices in (
                ("a", "ED", (0.6, 0.7, 0.9)),
                ("a", "ES", (0.5, 0.2, 0.6)),
                ("b_1", "ED", (0.5, 0.6, 0.4)),
                ("b_1", "ES", (0.8, 0.9, 0.7)),
            )
            for case, dice in enumerate(dices)
        )
    )
    (board,) = standings(table, "DSC", ARMS, scores).values()
    assert [standing.label for standing in board] == ["method B", "method A"]
    rows = build_table(table, scores, published).set_index(["method", "column", "metric"])
    ranks = build_ranks(table, scores).set_index(["arm", "column", "metric"])
    for standing, arm in zip(board, ("b_1", "a"), strict=True):
        row, rank = rows.loc[arm, "average", "DSC"], ranks.loc[arm, "average", "DSC"]
        assert standing.mean == pytest.approx(row["mean"])
        assert standing.interval == pytest.approx((row["ci_low"], row["ci_high"]))
        assert standing.rank == rank["rank"]
        assert standing.ranks == (rank["rank_low"], rank["rank_high"])
        assert standing.first == rank["first"]


def test_arms_without_a_label_are_not_on_the_board(table, scores):
    (board,) = standings(table, "DSC", {"a": "method A"}, scores).values()
    assert [standing.label for standing in board] == ["method A"]


def test_the_best_is_on_top_and_says_how_often_it_is(table, scores):
    figure = drawn(table, scores)
    means, ranks = figure.axes
    (board,) = standings(table, "DSC", ARMS, scores).values()
    assert [label.get_text() for label in means.get_yticklabels()] == [s.label for s in board]
    assert means.get_ylim()[0] > means.get_ylim()[1]
    points = [line.get_xdata()[0] for line in means.lines if len(line.get_xdata()) == 1]
    assert points == pytest.approx([s.mean for s in board])
    intervals = [line.get_xdata() for line in ranks.lines if len(line.get_xdata()) == 2]
    np.testing.assert_allclose(intervals, [s.ranks for s in board])
    assert [text.get_text() for text in ranks.texts] == [f"{100 * s.first:.0f} %" for s in board]
    assert "phantom" in {text.get_text() for text in figure.texts}


def test_of_a_single_case_nobody_knows_how_often_an_arm_is_the_best(table, scored):
    rows = [(arm, 0, "p0", phase, 0.5, 3.0) for arm in ("a", "b_1") for phase in ("ED", "ES")]
    _, ranks = drawn(table, scored(*rows)).axes
    assert [text.get_text() for text in ranks.texts] == ["-", "-"]


def test_a_setting_without_scores_says_so():
    means, _ = leaderboard({"heart": []}, "DSC", "higher").axes
    assert [text.get_text() for text in means.texts] == ["not run"]
