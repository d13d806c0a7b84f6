"""One case of every data set in one figure."""

import numpy as np

from piecemeal.publishing.gallery import gallery


def about(cohort, **roots):
    return {
        "title": "blocks",
        "layout": "oai_thigh",
        "layout_options": {},
        "labels": [[1, "left"], [2, "right"]],
        "modality": "MR",
        "oblique": True,
        "roots": roots or {"phantom": cohort.raw},
    }


def test_a_row_a_data_set_with_the_real_case_beside(cohort):
    both = about(cohort, phantom=cohort.raw, real=cohort.raw)
    figure = gallery({"blocks": both, "others": about(cohort)})
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == [
        "blocks, phantom: subject001, 36 x 32 x 3",
        "blocks, real: subject001, 36 x 32 x 3",
        "blocks, phantom: subject001, 36 x 32 x 3",
        "",
    ]
    shown = [len(axes.images) for axes in figure.axes]
    assert shown == [1, 1, 1, 0]


def test_an_upright_case_has_a_coronal_slice_too(cohort):
    flat = gallery({"blocks": about(cohort)}).axes[0].images[0].get_array()
    upright = about(cohort) | {"oblique": False}
    both = gallery({"blocks": upright}).axes[0].images[0].get_array()
    assert both.shape[1] > 1.5 * flat.shape[1]


def test_outlines_are_coloured(cohort):
    picture = np.asarray(gallery({"blocks": about(cohort)}).axes[0].images[0].get_array(), int)
    assert (picture.max(axis=-1) - picture.min(axis=-1) > 60).any()


def test_without_real_cases_several_data_sets_share_a_row(cohort):
    figure = gallery({str(number): about(cohort) for number in range(4)})
    assert [len(axes.images) for axes in figure.axes] == [1, 1, 1, 1, 0, 0]


def test_a_folder_without_cases_is_left_out_and_logged(cohort, tmp_path, caplog):
    figure = gallery({"blocks": about(cohort, phantom=cohort.raw, real=tmp_path / "unplugged")})
    assert [len(axes.images) for axes in figure.axes] == [1]
    assert "blocks, real: left out of the gallery" in caplog.text


def test_with_nothing_to_show_it_says_so(cohort, tmp_path):
    figure = gallery({"blocks": about(cohort, real=tmp_path / "unplugged")})
    assert [text.get_text() for text in figure.texts] == ["no data set has a case with labels"]
