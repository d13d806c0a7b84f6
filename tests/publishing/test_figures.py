import sys
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from piecemeal.publishing import figures, style
from piecemeal.publishing.values import case_values, column_grids

ARMS = {"a": "A", "b_1": "B_1"}


@pytest.fixture
def histories():
    def run(arm, seed, best):
        steps = np.arange(1, 101)
        validation = np.full(100, np.nan)
        validation[19::20] = 1.0
        validation[best - 1] = 0.5
        loss = 1 / steps
        columns = {"step": steps, "loss": loss, "validation_loss": validation, "best_step": best}
        return pd.DataFrame({"cohort": "heart", "arm": arm, "seed": seed, **columns})

    return pd.concat([run("a", 0, 40), run("a", 1, 80), run("b_1", 0, 100)])


def test_of_many_runs_the_range_of_the_kept_steps_is_said():
    assert figures._kept([40]) == "kept: step 40"
    assert figures._kept([1200, 80, 40]) == "kept: step 40 to 1,200 (3 runs)"
    assert figures._kept([80, 80, 80]) == "kept: step 80 (3 runs)"


def test_curves_mark_the_weights_that_were_kept(histories):
    figure = figures.training_curves(histories, {"heart": "heart"}, ARMS, "phantom")
    kept = [axes.texts[0].get_text() for axes in figure.axes]
    assert kept == ["kept: step 40, 80", "kept: step 100"]
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [tuple(float(v[0]) for v in dot.get_data()) for dot in dots] == [(40, 0.5), (80, 0.5)]
    assert all(axes.get_yscale() == "log" for axes in figure.axes)


def test_a_lower_loss_before_the_method_is_watched_is_not_marked(histories):
    histories.loc[histories["step"] == 20, "validation_loss"] = 0.1
    first = figures.training_curves(histories, {"heart": "heart"}, ARMS).axes[0]
    assert first.texts[0].get_text() == "kept: step 40, 80"
    dots = [line for line in first.lines if line.get_marker() == "o"]
    assert [dot.get_ydata().tolist() for dot in dots] == [[0.5], [0.5]]


def test_an_arm_without_runs_says_so(histories):
    figure = figures.training_curves(histories, {"heart": "heart"}, ARMS | {"c": "C"})
    assert figure.axes[2].texts[0].get_text() == "not run"


NOTED = {"accepted": "accepted, weak view", "threshold": "threshold"}


@pytest.fixture
def noted(histories):
    """Arm a notes two shares, arm b_1 nothing."""
    of_a = histories["arm"] == "a"
    shares = {"accepted": 0.25, "threshold": 0.7}
    return histories.assign(**{k: np.where(of_a, v, np.nan) for k, v in shares.items()})


def test_noted_shares_have_a_line_a_column_and_seed(noted):
    figure = figures.noted_curves(noted, {"heart": "heart"}, ARMS, NOTED, "phantom")
    first, second = figure.axes
    assert [float(line.get_ydata()[-1]) for line in first.lines[1::2]] == [0.25, 0.7] * 2
    assert [axes.get_title() for axes in figure.axes] == ["A", "B_1"]
    assert second.texts[0].get_text() == "notes none of this"
    assert not first.texts
    assert {axes.get_ylim() for axes in figure.axes} == {(-0.02, 1.02)}
    assert "phantom" in {text.get_text() for text in figure.texts}


def test_a_column_that_no_run_has_is_nowhere(histories, noted):
    figure = figures.noted_curves(noted, {"heart": "heart"}, ARMS, {"accepted": "a", "other": "o"})
    assert [len(axes.lines) for axes in figure.axes] == [4, 0]
    nowhere = figures.noted_curves(histories, {"heart": "heart"}, ARMS, {"other": "other"})
    assert [axes.texts[0].get_text() for axes in nowhere.axes] == ["notes none of this"] * 2


def test_what_was_not_run_is_not_said_to_note_nothing(noted):
    figure = figures.noted_curves(noted, {"heart": "heart"}, ARMS | {"c": "C"}, NOTED)
    assert [axes.texts[0].get_text() for axes in figure.axes[1:]] == [
        *("notes none of this", "not run")
    ]


def test_a_figure_of_nothing_says_why():
    figure = figures.nothing("heart: private data", "phantom")
    assert {text.get_text() for text in figure.texts} == {"heart: private data", "phantom"}
    assert not figure.axes


def test_every_column_gets_a_panel_and_every_case_a_dot(table, scores):
    values = case_values(column_grids(table, "DSC", scores))
    figure = figures.case_scores(values, ARMS, "Dice", "phantom")
    assert [axes.get_title() for axes in figure.axes] == ["LV (ED)", "LV (ES)"]
    for axes in figure.axes:
        assert [len(dots.get_offsets()) for dots in axes.collections] == [3, 3]
    assert "phantom" in {text.get_text() for text in figure.texts}


def test_panels_wrap_after_four(table, scores):
    values = case_values(column_grids(table, "DSC", scores))
    names = [f"structure {i}" for i in range(6)]
    many = pd.concat([values[values["column"] == "LV (ED)"].assign(column=n) for n in names])
    figure = figures.case_scores(many, ARMS, "Dice")
    assert [axes.get_title() for axes in figure.axes if axes.get_visible()] == names
    assert len({axes.get_subplotspec().rowspan.start for axes in figure.axes}) == 2


@pytest.mark.parametrize(
    "labels", [["LB", "naive", "SLAC", "UB"], ["sagittal 20 %", "100 %", "CLIP-driven (rand)"] * 2]
)
def test_labels_of_arms_do_not_run_into_each_other(table, scores, labels):
    values = case_values(column_grids(table, "DSC", scores))
    arms = {f"arm {i}": label for i, label in enumerate(labels)}
    figure = figures.case_scores(values, ARMS | arms, "Dice")
    with style.look():
        figure.draw_without_rendering()
        for axes in figure.axes:
            boxes = [label.get_window_extent() for label in axes.get_xticklabels()]
            assert all(a.x1 < b.x0 for a, b in pairwise(boxes))


def test_same_input_same_bytes(table, scores, histories, tmp_path):
    values = case_values(column_grids(table, "DSC", scores))
    written = []
    for name in ("one", "two"):
        for kind, figure in {
            "curves": figures.training_curves(histories, {"heart": "heart"}, ARMS),
            "cases": figures.case_scores(values, ARMS, "Dice"),
        }.items():
            paths = style.save(figure, tmp_path / name / kind)
            assert [path.suffix for path in paths] == [".svg", ".png"]
            written.append([path.read_bytes() for path in paths])
    assert written[:2] == written[2:]


def test_no_pyplot_and_no_changed_settings(table, scores):
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    figures.case_scores(case_values(column_grids(table, "DSC", scores)), ARMS, "Dice")
    assert dict(mpl.rcParams) == before
    assert "matplotlib.pyplot" not in vars(figures)
    assert not hasattr(sys.modules["piecemeal.publishing.style"], "plt")


def test_colours_follow_the_order_of_names():
    assert style.colours(["x", "y"]) == {"x": style.PALETTE[0], "y": style.PALETTE[1]}
    assert len(set(style.PALETTE)) == 7


@pytest.mark.parametrize("count", [1, 7, 8, 16, 20, 21, 40])
def test_colours_of_many_names_all_differ(count):
    found = style.colours([str(number) for number in range(count)])
    assert len(found) == len(set(found.values())) == count
