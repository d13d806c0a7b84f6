"""Means with intervals of arms side by side."""

import itertools

import numpy as np
import pandas as pd
import pytest

from piecemeal.publishing import style
from piecemeal.publishing.compared import structure_scores
from piecemeal.publishing.tables import build_table
from piecemeal.publishing.values import column_grids, metric_of

ARMS = {"a": "A", "b_1": "B_1"}


def means(axes):
    return {
        (round(line.get_xdata()[0]), line.get_color()): line.get_ydata()[0]
        for line in axes.lines
        if line.get_marker() == "o"
    }


@pytest.fixture
def figure(table, scores):
    """Draws a metric of the table."""

    def of(metric, arms=ARMS, rows=scores, note="phantom"):
        return structure_scores(
            column_grids(table, metric, rows), arms, metric_of(table, metric), note
        )

    return of


@pytest.mark.parametrize("metric", ["DSC", "HD"])
def test_means_and_intervals_are_those_of_the_table(figure, table, scores, unpublished, metric):
    rows = build_table(table, scores, unpublished).set_index(["metric", "column", "method"])
    (axes,) = figure(metric).axes
    found = means(axes)
    bars = [line.get_ydata() for line in axes.lines if line.get_marker() == "None"]
    bars = {tuple(bar) for bar in bars if tuple(bar) != (0, 1)}  # but those between the columns
    for place, column in enumerate(("LV ED", "LV ES")):
        for arm, colour in zip(ARMS, style.PALETTE, strict=False):
            cell = rows.loc[(metric, column, arm)]
            assert found[place, colour] == pytest.approx(cell["mean"])
            assert (cell["ci_low"], cell["ci_high"]) in {
                tuple(np.round(bar, 9)) for bar in bars
            } | bars
    assert len(found) == 4


def test_every_case_is_a_dot(figure):
    (axes,) = figure("DSC").axes
    assert [len(dots.get_offsets()) for dots in axes.collections] == [3, 3, 3, 3]
    first = axes.collections[0].get_offsets()
    assert sorted(first[:, 1].tolist()) == pytest.approx([0.6, 0.85, 0.95])
    assert np.abs(first[:, 0]).max() < 0.5  # within its column


def test_columns_are_named_and_arms_are_in_the_legend(figure):
    drawn = figure("DSC")
    (axes,) = drawn.axes
    assert axes.get_title() == "heart"
    assert axes.get_ylabel() == "DSC"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["LV (ED)", "LV (ES)"]
    assert [text.get_text() for text in drawn.legends[0].texts] == ["A", "B_1"]
    assert "phantom" in {text.get_text() for text in drawn.texts}


def test_dice_is_shown_whole_and_distances_from_nought(figure):
    (axes,) = figure("DSC").axes
    assert axes.get_ylim() == (-0.02, 1.02)
    (axes,) = figure("HD").axes
    assert axes.get_ylim()[0] == 0
    assert axes.get_ylim()[1] >= 20  # the diagonal of what was missed
    assert axes.get_ylabel() == "HD (mm)"


def test_an_arm_without_scores_has_no_point(figure, scores):
    drawn = figure("DSC", ARMS | {"c": "C"})
    assert [text.get_text() for text in drawn.legends[0].texts] == ["A", "B_1", "C"]
    assert {colour for _, colour in means(drawn.axes[0])} == set(style.PALETTE[:2])
    only_a = scores[scores["arm"] == "a"]
    assert len(means(figure("DSC", rows=only_a).axes[0])) == 2


def test_a_half_that_was_not_run_says_so(figure, scores):
    (axes,) = figure("DSC", rows=scores[:0]).axes
    assert [text.get_text() for text in axes.texts] == ["not run"]


def many(halves, arms):
    """A grid of two cases for every column and arm."""
    rng = np.random.default_rng(0)

    def grid():
        index = pd.MultiIndex.from_tuples([("d", "p1"), ("d", "p2")], names=["dataset", "case"])
        return pd.DataFrame({0: rng.uniform(0.5, 1, 2)}, index=index)

    return {
        (half, column): {arm: grid() for arm in arms}
        for half, names in halves.items()
        for column in names
    }


def test_panels_wrap_and_nothing_overlaps(table):
    halves = {
        "pelvis": ["gluteus minimus", "gluteus maximus", "hip", "femur", "gluteus medius"],
        "abdomen": ["liver", "kidney", "stomach", "spleen", "gallbladder"],
        "chest": ["lung", "scapula", "humerus", "clavicula"],
        "head": ["mandible", "parotid", "eyes"],
    }
    arms = {arm: f"{arm}, a method" for arm in "abcdefgh"}
    figure = structure_scores(many(halves, arms), arms, table.metrics[0], "phantom")
    assert [axes.get_title() for axes in figure.axes] == list(halves)
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    things = [axes.get_tightbbox(renderer) for axes in figure.axes]
    things += [t.get_window_extent(renderer) for t in [*figure.texts, *figure.legends]]
    for i, first in enumerate(things):
        assert not any(first.overlaps(second) for second in things[i + 1 :])
        assert first.x0 >= 0
        assert first.x1 <= figure.bbox.width
    for axes in figure.axes:  # nor do the names under the columns
        labels = [label.get_window_extent(renderer) for label in axes.get_xticklabels()]
        assert not any(a.overlaps(b) for a, b in itertools.pairwise(labels))


def test_same_input_same_bytes(figure, tmp_path):
    written = []
    for name in ("one", "two"):
        paths = style.save(figure("DSC"), tmp_path / name / "scores")
        written.append([path.read_bytes() for path in paths])
    assert written[0] == written[1]
