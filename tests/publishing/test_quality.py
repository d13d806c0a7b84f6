"""The page on which every case of a cohort is looked at."""

import base64
import io
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from piecemeal.datasets.case_table import write_cases
from piecemeal.datasets.store import PreparedScan
from piecemeal.publishing.quality import write_page
from piecemeal.publishing.thumbnails import HEIGHT, outline_colours, projection, thumbnail

COHORT = {
    "title": "blocks & more",
    "structures": ["left", "right"],
    "tasks": {},
    "overlapping": False,
    "orientation": "file",
    "datasets": {"blocks": "Two blocks"},
}
RED, GREEN = (255, 0, 0), (0, 255, 0)


def pixels(address: str) -> np.ndarray:
    kind, content = address.split(",", 1)
    assert kind == "data:image/jpeg;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content)))).astype(int)


def scene() -> tuple[np.ndarray, np.ndarray]:
    """6 x 40 x 20 voxels: one structure in slices 1 to 4, a second one in slice 4 only."""
    labels = np.zeros((6, 40, 20), np.uint8)
    labels[1:5, 5:15, 4:16] = 1
    labels[4, 25:35, 4:16] = 2
    return labels.astype(np.float32), labels


def strong(picture: np.ndarray, channel: int) -> np.ndarray:
    others = [c for c in range(3) if c != channel]
    return picture[..., channel] - picture[..., others].max(axis=-1) > 80


def test_the_axial_slice_with_most_structures_is_shown_with_outlines():
    image, labels = scene()
    picture = pixels(thumbnail(image, labels, (1, 1, 1), [RED, GREEN], upright=False))
    assert picture.shape == (HEIGHT, HEIGHT // 2, 3)
    rows = np.flatnonzero(strong(picture, 1).any(axis=1)) / HEIGHT
    assert rows.min() == pytest.approx(25 / 40, abs=0.03)
    assert rows.max() == pytest.approx(35 / 40, abs=0.03)
    assert strong(picture, 0).any()
    # An outline, not a filling.
    assert not strong(picture, 1)[round(HEIGHT * 30 / 40), HEIGHT // 4]


def test_pixels_are_square_whatever_the_voxels():
    image, labels = scene()
    picture = pixels(thumbnail(image, labels, (5, 1, 4), [RED, GREEN], upright=False))
    assert picture.shape == (HEIGHT, 2 * HEIGHT, 3)


def test_an_upright_scan_shows_a_coronal_slice_with_the_head_on_top():
    image, labels = scene()
    picture = pixels(thumbnail(image, labels, (4, 1, 1), [RED, GREEN], upright=True))
    coronal = picture[:, HEIGHT // 2 + 4 :]
    rows = np.flatnonzero(strong(coronal, 0).any(axis=1)) / HEIGHT
    # Slices 1 to 4 of 6 with slice 0, the lowest, at the bottom.
    assert rows.min() == pytest.approx(1 / 6, abs=0.04)
    assert rows.max() == pytest.approx(5 / 6, abs=0.04)


def test_an_unlabelled_scan_is_shown_bare():
    picture = pixels(thumbnail(scene()[0], None, (1, 1, 1), [RED], upright=False))
    assert not strong(picture, 0).any()


def overlapping_scene() -> tuple[np.ndarray, np.ndarray]:
    """2 views of 40 x 20 pixels: in the first a bar of each structure, crossing in value 3."""
    labels = np.zeros((2, 40, 20), np.uint8)
    labels[0, 5:35, 8:12] |= 1
    labels[0, 18:24, 2:18] |= 2
    labels[1] = 1
    return labels.astype(np.float32), labels


def test_structures_that_overlap_are_outlined_each():
    image, labels = overlapping_scene()
    picture = pixels(projection(image, labels, (1, 1, 1), [RED, GREEN]))
    assert picture.shape == (HEIGHT, HEIGHT // 2, 3)
    red, green = (np.flatnonzero(strong(picture, c).any(axis=1)) / HEIGHT for c in (0, 1))
    assert (red.min(), red.max()) == pytest.approx((5 / 40, 35 / 40), abs=0.03)
    assert (green.min(), green.max()) == pytest.approx((18 / 40, 24 / 40), abs=0.03)
    # Outlines go on where the other structure lies as well.
    middle = HEIGHT // 4
    assert strong(picture[:, middle - 3 : middle + 3], 1).any()


def test_the_page_of_projections_colours_bits_by_the_scans_task(cohort, tmp_path):
    prepared = tmp_path / "prepared"
    shutil.copytree(cohort.prepared, prepared)
    table = pd.read_csv(prepared / "cases.csv", dtype=str, keep_default_na=False)
    table["task"] = ["one", *7 * ["other"]]
    write_cases(prepared, table.to_csv(index=False))
    image, labels = overlapping_scene()
    for row in table.itertuples():
        np.save(prepared / row.dataset / row.scan / "image.npy", image)
        np.save(prepared / row.dataset / row.scan / "labels.npy", labels & 1)
    page = COHORT | {"overlapping": True, "tasks": {"one": ["left"], "other": ["right"]}}
    write_page(tmp_path / "page.html", page, prepared, [])
    text = (tmp_path / "page.html").read_text()
    first, second, *_ = re.findall(r"data:image/jpeg;base64,[^\"]+", text)
    assert first != second
    left, right = outline_colours(["left", "right"]).values()
    spacing = PreparedScan(prepared / "blocks" / table["scan"][0]).geometry.grid_spacing
    assert first == projection(image, labels & 1, spacing, [left])
    assert second == projection(image, labels & 1, spacing, [right])
    assert "without the turned copies" in text


def test_many_structures_have_colours_of_their_own():
    names = [str(number) for number in range(40)]
    assert len(set(outline_colours(names).values())) == 40


def test_the_page_shows_every_scan_and_what_is_odd(cohort, tmp_path):
    for workers in (1, 2):
        write_page(tmp_path / f"{workers}.html", COHORT, cohort.prepared, ["blocks"], workers)
    text = (tmp_path / "1.html").read_text()
    assert (tmp_path / "2.html").read_text() == text
    assert text.count("data:image/jpeg") == 8
    assert "blocks &amp; more" in text
    assert "Built-in phantoms, not real patients" in text
    for number in range(1, 9):
        assert f"<b>subject{number:03d}</b>" in text
    assert re.search(r"<dt>patients</dt><dd>2 test, 4 train, 2 validation</dd>", text)
    assert "http" not in text.replace("http-equiv", "")


def test_the_page_says_what_is_in_no_scan_and_who_was_left_out(cohort, tmp_path):
    prepared = tmp_path / "prepared"
    shutil.copytree(cohort.prepared, prepared)
    write_page(tmp_path / "page.html", COHORT, prepared, [])
    before = (tmp_path / "page.html").read_text()
    assert "in no scan" not in before
    assert "left out" not in before
    table = pd.read_csv(prepared / "cases.csv", dtype=str, keep_default_na=False)
    table["declared"] += ";spleen"
    twin = "blocks,subject009,the same scan as blocks/subject001"
    (prepared / "twins.csv").write_text(f"dataset,case,reason\n{twin}\n")
    write_cases(prepared, table.to_csv(index=False))
    write_page(tmp_path / "page.html", COHORT, prepared, [])
    text = (tmp_path / "page.html").read_text()
    assert "<dt>in no scan</dt><dd>spleen</dd>" in text
    said = "subject009, the same scan as blocks/subject001"
    assert f"<dt>left out</dt><dd>{said}</dd>" in text


def test_real_data_are_not_called_phantoms(cohort, tmp_path):
    write_page(tmp_path / "page.html", COHORT, cohort.prepared, [])
    assert "phantoms" not in (tmp_path / "page.html").read_text()


def test_the_page_says_what_was_not_drawn_in_a_scan(cohort, tmp_path):
    prepared = tmp_path / "prepared"
    shutil.copytree(cohort.prepared, prepared)
    table = pd.read_csv(prepared / "cases.csv", dtype=str, keep_default_na=False)
    table.loc[0, "declared"] = "right"
    write_cases(prepared, table.to_csv(index=False))
    write_page(tmp_path / "page.html", COHORT, prepared, [])
    assert (tmp_path / "page.html").read_text().count("not drawn: left") == 1


def test_structures_of_other_tasks_are_not_missed(cohort, tmp_path):
    prepared = tmp_path / "prepared"
    shutil.copytree(cohort.prepared, prepared)
    table = pd.read_csv(prepared / "cases.csv", dtype=str, keep_default_na=False)
    table["task"] = ["one", "one", "one", *5 * ["other"]]
    table["declared"] = ["left", "left", "", *5 * ["right"]]
    write_cases(prepared, table.to_csv(index=False))
    write_page(tmp_path / "page.html", COHORT, prepared, [])
    text = (tmp_path / "page.html").read_text()
    assert re.findall("not drawn: [^<]*", text) == ["not drawn: left"]
    assert "<dt>scans</dt><dd>3 one, 5 other</dd>" in text
