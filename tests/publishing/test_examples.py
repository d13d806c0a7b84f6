from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from piecemeal.publishing import style
from piecemeal.publishing.chosen import masks_of
from piecemeal.publishing.examples import Panel, example_slices, slice_dice


def two(labels):
    """Masks of classes 1 and 2."""
    return masks_of(np.array(labels), [1, 2], False)


def test_slice_dice_averages_the_structures_that_occur():
    reference = masks_of(np.array([[1, 1, 0, 2]]), [1, 2, 3], False)
    prediction = masks_of(np.array([[1, 0, 0, 2]]), [1, 2, 3], False)
    # class 1: 2 * 1 / 3, class 2: 1, class 3 occurs nowhere
    assert slice_dice(prediction, reference, [0, 1, 2]) == pytest.approx((2 / 3 + 1) / 2)
    assert np.isnan(slice_dice(reference & False, reference & False, [0, 1, 2]))


@pytest.fixture
def panel():
    labels = np.zeros((40, 60), dtype=np.uint8)
    labels[10:20, 20:40] = 1
    labels[14:16, 24:30] = 2
    reference = two(labels)
    image = np.add.outer(np.arange(40.0), np.arange(60.0))
    predictions = {"a": reference, "b": np.zeros_like(reference)}
    return Panel("heart_1", image, reference, predictions, ["RV $x", "LV"], (2.0, 1.0), [0, 1])


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


def test_rows_of_the_same_structures_share_a_legend(panel):
    other = replace(panel, structures=["RA", "LA"])
    figure = example_slices([panel, panel, other], {"a": "A"})
    said = [[text.get_text() for text in legend.get_texts()] for legend in figure.legends]
    assert said == [["RV $x", "LV"], ["RA", "LA"]]
    # Between the rows that share one there is room for what stands under the pictures alone.
    first, second, third = (figure.axes[k].get_position() for k in (0, 2, 4))
    assert first.y0 - second.y1 < second.y0 - third.y1


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


def test_an_arm_that_was_not_asked_has_a_dash(panel):
    asked = replace(panel, predictions=panel.predictions | {"b": None})
    figure = example_slices([asked], {"a": "A", "b": "B"})
    assert [text.get_text() for text in figure.texts].count("\N{EN DASH}") == 1
    assert len(figure.axes) == 2


def test_without_arms_the_image_stands_beside_its_masks(panel):
    figure = example_slices([replace(panel, predictions={})], {})
    said = {text.get_text() for text in figure.texts}
    assert {"image", "ground truth"} <= said
    assert not any("Dice" in text for text in said)
    opacity = [axes.images[1].get_array()[..., 3].max() for axes in figure.axes]
    assert opacity == [0, 0.55]


def test_a_projection_is_not_cropped(panel):
    figure = example_slices([replace(panel, whole=True)], {"a": "A"})
    assert figure.axes[0].images[0].get_array().shape == (40, 60)


def test_where_structures_overlap_their_colours_mix(panel):
    masks = np.zeros((2, 40, 60), bool)
    masks[0, 10:30, 10:30] = masks[1, 20:35, 20:35] = True
    both = replace(panel, reference=masks, predictions={}, whole=True)
    (axes, *_) = example_slices([both], {"a": "A"}).axes
    overlay = axes.images[1].get_array()
    first, second = (np.array(to_rgb(style.PALETTE[i])) for i in (0, 1))
    np.testing.assert_allclose(overlay[12, 12], (*first, 0.55))
    np.testing.assert_allclose(overlay[32, 32], (*second, 0.55))
    np.testing.assert_allclose(overlay[25, 25], (*(first + second) / 2, 0.55))
    assert overlay[0, 0, 3] == 0
    assert len(axes.collections) == 2  # an outline each


def test_long_names_take_more_lines_of_the_legend(panel):
    names = [f"a structure with a long name {number}" for number in range(5)]
    masks = np.zeros((5, 40, 60), bool)
    masks[:, 5:20, 5:20] = True
    figure = example_slices([replace(panel, structures=names, reference=masks)] * 2, {})
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    boxes = [legend.get_window_extent(renderer) for legend in figure.legends]
    boxes += [axes.get_window_extent(renderer) for axes in figure.axes]
    for i, first in enumerate(boxes):
        assert first.x0 >= 0
        assert first.x1 <= figure.bbox.width
        assert not any(first.overlaps(second) for second in boxes[i + 1 :])


def test_an_empty_slice_is_drawn_whole(panel):
    empty = np.zeros_like(panel.reference)
    nothing = replace(panel, reference=empty, predictions={"a": empty})
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
    reference, prediction = two([[1, 1, 0, 0]]), two([[1, 1, 2, 2]])
    assert slice_dice(prediction, reference, [0]) == 1
    assert slice_dice(prediction, reference, [0, 1]) == 0.5
