"""The table of which structures share a channel."""

import pytest

from piecemeal.publishing.shared_labels import sharing_of, sharing_tables

RECORD = {
    "config": {
        "structures": ["liver", "spleen", "lung", "leg front: knee"],
        "tasks": {"abdomen": [1, 2], "chest": [3], "leg_front": [4]},
    },
    "learned": {
        "channels": {"1": 1, "2": 2, "3": 1, "4": 2},
        "relative_sizes": {"1": 0.875, "2": 0.125, "3": 1.0},
        "grown": 0,
    },
}


def said(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_cells_are_named_by_the_tasks_structures():
    found = sharing_of(RECORD)
    assert found.cells == {
        (1, "abdomen"): ("liver", 0.875),
        (2, "abdomen"): ("spleen", 0.125),
        (1, "chest"): ("lung", 1.0),
        (2, "leg_front"): ("knee", None),
    }
    assert (found.tasks, found.channels, found.grown) == (["abdomen", "chest", "leg_front"], 2, 0)


@pytest.mark.parametrize("learned", [{}, {"learned": {}}])
def test_a_method_that_shares_nothing_has_no_table(learned):
    record = {"config": RECORD["config"]} | learned
    assert sharing_of(record) is None
    assert said(sharing_tables({"individual": None})) == ["shares no channels"]


def test_the_table_says_structure_and_size():
    figure = sharing_tables({"by size": sharing_of(RECORD)}, "phantom")
    words = said(figure)
    assert words[:3] == ["abdomen", "chest", "leg front"]
    assert {"channel 1", "channel 2", "liver\n87.5 %", "lung\n100 %", "knee"} <= set(words)
    assert {"by size", "phantom"} <= {text.get_text() for text in figure.texts}
    (axes,) = figure.axes
    assert len(axes.patches) == 6  # two of them empty


def test_larger_structures_are_deeper():
    (axes,) = sharing_tables({"by size": sharing_of(RECORD)}).axes
    depth = {box.get_xy(): box.get_facecolor()[3] for box in axes.patches}
    assert depth[1, 0] > depth[0, 0] > depth[0, 1] > depth[1, 1] == 0


def test_added_channels_are_told():
    grown = sharing_of(RECORD)._replace(grown=1)
    figure = sharing_tables({"by size": grown, "others": grown._replace(grown=2)})
    titles = {text.get_text() for text in figure.texts}
    assert "by size, 1 channel added for a new task" in titles
    assert "others, 2 channels added for a new task" in titles


def test_texts_do_not_overlap():
    figure = sharing_tables({"by size": sharing_of(RECORD), "individual": None}, "phantom")
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    texts = [*figure.texts, *(text for axes in figure.axes for text in axes.texts)]
    boxes = [text.get_window_extent(renderer) for text in texts if text.get_text()]
    for i, first in enumerate(boxes):
        assert not any(first.overlaps(second) for second in boxes[i + 1 :])
