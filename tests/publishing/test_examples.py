import numpy as np
import pandas as pd
import pytest

from piecemeal.publishing import style
from piecemeal.publishing.examples import (
    Panel,
    example_slices,
    largest_slice,
    median_scan,
    slice_dice,
)


def test_median_scan_is_the_lower_middle_one():
    scores = pd.DataFrame(
        {
            "dataset": "acdc",
            "case": ["p1", "p2", "p3", "p4"] * 2,
            "phase": [np.nan] * 8,
            "arm": ["one"] * 4 + ["other"] * 4,
            "status": ["ok"] * 7 + ["missed"],
            # means over the two arms: 0.9, 0.6, 0.7, 0.2 (a miss is 0)
            "dice": [0.9, 0.5, 0.7, 0.4, 0.9, 0.7, 0.7, np.nan],
        }
    )
    assert median_scan(scores) == ("acdc", "p2", "")
    assert median_scan(scores.sample(frac=1, random_state=1)) == ("acdc", "p2", "")


def test_an_arm_of_many_seeds_counts_as_much_as_another():
    scores = pd.DataFrame(
        {
            "dataset": "d",
            "case": ["a", "b", "c"] * 4,
            "phase": "",
            "arm": ["many"] * 9 + ["one"] * 3,
            "status": "ok",
            # Arms alike: 0.55, 0.35, 0.5; seeds alike: 0.375, 0.475, 0.5.
            "dice": [0.2, 0.6, 0.5] * 3 + [0.9, 0.1, 0.5],
        }
    )
    assert median_scan(scores) == ("d", "c", "")


def test_equal_scans_go_by_name():
    scores = pd.DataFrame(
        {
            "dataset": "d",
            "case": ["b", "a", "c"],
            "phase": "",
            "arm": "one",
            "status": "ok",
            "dice": 0.5,
        }
    )
    assert median_scan(scores) == ("d", "b", "")


def test_largest_slice_is_the_first_of_equals():
    reference = np.zeros((4, 3, 3), dtype=np.uint8)
    reference[1, 0, :2] = 1
    reference[3, 0, :2] = 2
    assert largest_slice(reference) == 1


def test_slice_dice_averages_the_structures_that_occur():
    reference = np.array([[1, 1, 0, 2]])
    prediction = np.array([[1, 0, 0, 2]])
    # class 1: 2 * 1 / 3, class 2: 1, class 3 occurs nowhere
    assert slice_dice(prediction, reference, [1, 2, 3]) == pytest.approx((2 / 3 + 1) / 2)
    assert np.isnan(slice_dice(reference * 0, reference * 0, [1, 2, 3]))


@pytest.fixture
def panel():
    reference = np.zeros((40, 60), dtype=np.uint8)
    reference[10:20, 20:40] = 1
    reference[14:16, 24:30] = 2
    image = np.add.outer(np.arange(40.0), np.arange(60.0))
    predictions = {"a": reference, "b": np.zeros_like(reference)}
    return Panel("heart_1", image, reference, predictions, ["RV $x", "LV"], (2.0, 1.0))


def test_pictures_keep_their_proportions(panel):
    figure = example_slices([panel], {"a": "A", "b": "B"}, "phantom")
    width, height = figure.get_size_inches()
    boxes = [axes.get_position() for axes in figure.axes]
    assert len(boxes) == 3
    # Cropped with a margin of 3 pixels: 16 rows of 2 mm, 26 columns of 1 mm.
    for box in boxes:
        assert box.height * height / (box.width * width) == pytest.approx(32 / 26, abs=1e-6)


def test_nothing_overlaps(panel):
    figure = example_slices([panel, panel], {"a": "A", "b": "B"}, "phantom")
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    things = [*figure.axes, *figure.texts, *figure.legends]
    boxes = [thing.get_window_extent(renderer) for thing in things]
    for i, first in enumerate(boxes):
        assert not any(first.overlaps(second) for second in boxes[i + 1 :])


def test_pictures_say_dice_and_phantom(panel):
    figure = example_slices([panel], {"a": "A", "b": "B"}, "phantom")
    said = {text.get_text() for text in figure.texts}
    assert {"ground truth", "A", "B", "Dice 1.000", "Dice 0.000", "heart_1", "phantom"} <= said


def test_an_arm_that_was_not_run_on_an_anatomy_says_so(panel):
    figure = example_slices([panel], {"a": "A", "c": "C", "b": "B"})
    said = [text.get_text() for text in figure.texts]
    assert {"A", "B", "C"} <= set(said)
    assert said.count("not run") == 1
    assert len(figure.axes) == 3


def test_an_empty_slice_is_drawn_whole(panel):
    empty = np.zeros_like(panel.reference)
    nothing = Panel("heart", panel.image, empty, {"a": empty}, ["RV"], (1.0, 1.0))
    figure = example_slices([nothing], {"a": "A"})
    assert figure.axes[0].images[0].get_array().shape == (40, 60)


def test_same_input_same_bytes(panel, tmp_path):
    written = []
    for name in ("one", "two"):
        figure = example_slices([panel], {"a": "A", "b": "B"}, "phantom")
        written.append([path.read_bytes() for path in style.save(figure, tmp_path / name)])
    assert written[0] == written[1]
    assert b"<dc:date>" not in written[0][0]


def test_what_was_not_drawn_in_a_scan_is_not_judged():
    reference = np.array([[1, 1, 0, 0]])
    prediction = np.array([[1, 1, 2, 2]])
    panel = Panel("heart", reference, reference, {}, ["RV", "LV"], (1.0, 1.0), ["RV"])
    assert panel.judged == [1]
    assert slice_dice(prediction, reference, panel.judged) == 1
