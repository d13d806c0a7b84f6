"""Scores after every stage of a training in several."""

import pytest

from piecemeal.publishing import style
from piecemeal.publishing.stages import stage_curves
from piecemeal.publishing.values import column_grids, metric_of

ORDER = {"a": "before", "b_1": "after"}


@pytest.fixture
def figure(table, scores):
    """Draws the stages of some orders."""

    def of(orders, rows=scores, metric="DSC"):
        grids = column_grids(table, metric, rows)
        return stage_curves(grids, orders, metric_of(table, metric), "phantom")

    return of


def curves(axes):
    """Colour -> means along a line."""
    return {line.get_color(): line.get_ydata().tolist() for line in axes.lines}


def test_a_line_a_column_over_the_stages(figure):
    drawn = figure({"one order": ORDER})
    (axes,) = drawn.axes
    assert axes.get_title() == "one order"
    assert axes.get_ylabel() == "heart\nDSC"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["before", "after"]
    found = curves(axes)
    assert found[style.PALETTE[0]] == pytest.approx([0.8, 0.5])  # at ED
    assert found[style.PALETTE[1]] == pytest.approx([0.5, 0.5])  # at ES
    assert [text.get_text() for text in drawn.legends[0].texts] == ["LV (ED)", "LV (ES)"]
    assert "phantom" in {text.get_text() for text in drawn.texts}


def test_a_column_that_a_stage_has_not_learned_has_no_point(figure, scores):
    rows = scores[(scores["arm"] != "a") | (scores["phase"] != "ES")]
    (axes,) = figure({"one order": ORDER}, rows).axes
    assert [len(means) for means in curves(axes).values()] == [2, 1]
    late = next(line for line in axes.lines if line.get_color() == style.PALETTE[1])
    assert round(late.get_xdata()[0]) == 1


def test_every_order_has_its_panel(figure):
    first, second = figure({"one": ORDER, "turned": {"b_1": "early", "a": "late"}}).axes
    assert [axes.get_title() for axes in (first, second)] == ["one", "turned"]
    for colour, means in curves(first).items():
        assert curves(second)[colour] == means[::-1]


def test_a_stage_that_was_not_run_says_so(figure):
    (axes,) = figure({"one": {"a": "before", "c": "after"}}).axes
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert labels == ["before", "after\n(not run)"]


def test_distances_start_at_nought_with_their_intervals_inside(figure):
    (axes,) = figure({"one": ORDER}, metric="HD").axes
    low, high = axes.get_ylim()
    assert low == 0
    assert high >= max(
        path.vertices[:, 1].max() for c in axes.collections for path in c.get_paths()
    )


def test_the_names_stand_beside_the_panels(figure):
    drawn = figure({"one": ORDER, "turned": ORDER})
    drawn.draw_without_rendering()
    renderer = drawn.canvas.get_renderer()
    legend = drawn.legends[0].get_window_extent(renderer)
    assert not any(axes.get_tightbbox(renderer).overlaps(legend) for axes in drawn.axes)
