"""Sources of a cohort and what they annotate, as numbers and as a figure."""

import pandas as pd
import pytest

from piecemeal.figure_specs import FiguresFile, cohorts_of
from piecemeal.publishing.composition import annotation_matrix, parted, sources_of

NAMES = ["liver", "spleen", "bladder"]
FIGURE = {"key": "figure3", "title": "t", "caption": "c", "kind": "annotation_matrix"}


@pytest.fixture
def cases():
    """AMOS in two modalities, of which one shows no bladder; WORD declares the spleen alone."""
    rows = [
        ("amos", "CT", "train", "liver;bladder", "liver;bladder"),
        ("amos", "CT", "train", "liver;bladder", "liver"),
        ("amos", "CT", "test", "liver;bladder", "liver;bladder"),
        ("amos", "MR", "train", "liver;bladder", "liver"),
        ("amos", "MR", "validation", "liver;bladder", "liver;bladder"),
        ("word", "CT", "train", "spleen", ""),
    ]
    return pd.DataFrame(rows, columns=["dataset", "modality", "split", "declared", "present"])


def test_sources_are_data_sets_and_modalities_of_those_with_several(cases):
    sources = {source.name: source for source in sources_of(cases, NAMES)}
    assert list(sources) == ["amos CT", "amos MR", "word"]
    assert sources["amos CT"].scans == {"train": 2, "validation": 0, "test": 1}
    assert sources["amos MR"].scans == {"train": 1, "validation": 1, "test": 0}


def test_annotated_is_what_is_declared_and_shown_what_training_scans_have(cases):
    sources = {source.name: source for source in sources_of(cases, NAMES)}
    assert sources["amos CT"].declared == {"liver": True, "spleen": False, "bladder": True}
    assert sources["amos CT"].shown == {"liver": 2, "spleen": 0, "bladder": 1}
    # Annotated, though no training scan shows it: the one of validation does not count.
    assert sources["amos MR"].declared["bladder"]
    assert sources["amos MR"].shown["bladder"] == 0
    assert (sources["word"].declared["spleen"], sources["word"].shown["spleen"]) == (True, 0)


def test_scores_without_modality_are_parted_by_data_set(cases):
    assert [name for name, _ in parted(cases.drop(columns="modality"))] == ["amos", "word"]
    assert [len(part) for _, part in parted(cases)] == [3, 2, 1]


def test_cells_say_how_many_scans_and_stay_empty_where_nobody_drew(cases):
    titles = {"amos": "AMOS22 (a long name)", "word": "WORD, of organs"}
    figure = annotation_matrix(sources_of(cases, NAMES), titles, "phantoms")
    bars, matrix = figure.axes
    assert [t.get_text() for t in bars.get_yticklabels()] == ["AMOS22 CT", "AMOS22 MR", "WORD"]
    assert [t.get_text() for t in bars.texts] == ["2 + 0 + 1", "1 + 1 + 0", "1 + 0 + 0"]
    cells = {(t.get_position()[1], t.get_position()[0]): t.get_text() for t in matrix.texts}
    assert cells == {
        **{(0.5, 0.5): "2", (0.5, 2.5): "1"},
        **{(1.5, 0.5): "1", (1.5, 2.5): "0"},
        **{(2.5, 1.5): "0"},
    }
    filled = [box for box in matrix.patches if box.get_facecolor()[3] > 0]
    assert len(filled) == len(cells)
    deepest = max(filled, key=lambda box: box.get_facecolor()[3])
    assert deepest.get_xy() in {(0, 0), (0, 1)}  # the liver, which all scans of AMOS show
    assert "phantoms" in {text.get_text() for text in figure.texts}


def test_it_shows_a_cohort_and_no_arms():
    (spec,) = FiguresFile.model_validate({"figures": [FIGURE | {"cohort": "abdomen"}]}).figures
    assert (spec.arms, cohorts_of(spec, {})) == ({}, ["abdomen"])
