"""What is odd about each data set is caught or handled on the way from its files to the store.

The phantoms plant it as `config/datasets` and the publishers' errata describe it.
"""

from pathlib import Path

import numpy as np
import pytest

from piecemeal.dataset_specs import DatasetConfig
from piecemeal.datasets import phantoms
from piecemeal.datasets.fetch import fetch_download
from piecemeal.datasets.prepare import prepare
from piecemeal.datasets.sources import Layout, dataset_root
from piecemeal.datasets.store import PreparedScan
from piecemeal.errors import InputError
from piecemeal.validation import load_model

FOLDER = Path(__file__).resolve().parents[2] / "config/datasets"
CASES = 4
INTENSITY = {
    "CT": {"kind": "window", "low": -400, "high": 400, "scale": [0, 1]},
    "MR": {"kind": "percentiles", "low": 1, "high": 99, "above": 0, "scale": [0, 1]},
}
GRID = {"spacing_mm": [None, None, None], "size": [None, None, None], "fit": False}


def config(name: str) -> DatasetConfig:
    return load_model(FOLDER / f"{name}.yaml", DatasetConfig)


def draw(name: str, folder: Path, **options) -> DatasetConfig:
    dataset = config(name)
    given = dataset.phantom.options | options
    phantoms.load(dataset.phantom.writer).write(folder, CASES, 3, **given)
    return dataset


def prepared(dataset: DatasetConfig, name: str, root: Path, store: Path, test: int = CASES - 2):
    content = dataset.model_dump(mode="json")
    keys = ("layout", "layout_options", "modality", "other_modality")
    keys += ("sides", "side_check", "unit_spacing")
    source = {key: content[key] for key in keys} | {
        "root": root,
        "labels": [[raw, structure] for raw, structure in dataset.labels.items()],
    }
    structures = {structure: [structure] for structure in dataset.structures}
    split = {"seed": 1, "train": 1, "validation": 1, "test": test, "twins": "separate"}
    return prepare(store, {name: source}, structures, "canonical", GRID, INTENSITY, split)


FATAL = {
    "abdomenct1k": "claims voxels of exactly 1 x 1 x 1 mm",
    "hanseg": "case_03_IMG_CT.nrrd",
    "lits": "claims voxels of exactly 1 x 1 x 1 mm",
    "totalseg_v1": "ct.nii.gz: is truncated",
}


@pytest.mark.parametrize(("name", "message"), FATAL.items())
def test_a_useless_scan_is_named_and_the_others_are_kept(name, message, tmp_path):
    dataset = draw(name, tmp_path / "raw", broken=True)
    unlabelled = 1 if name == "abdomenct1k" else 0  # an image without mask is no case
    with pytest.raises(InputError) as caught:
        prepared(dataset, name, tmp_path / "raw", tmp_path / "store", CASES - 2 - unlabelled)
    text = str(caught.value)
    assert f"1 scans could not be prepared; the other {CASES - 1 - unlabelled} are done" in text
    assert message in text
    assert f"config/datasets/{name}.yaml" in text


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """`read(name)`: the phantom of a data set, prepared: cases.csv and the folder of its scans."""
    done = {}

    def prepare_once(name: str, **options):
        key = (name, *options.items())
        if key not in done:
            folder = tmp_path_factory.mktemp(name)
            dataset = draw(name, folder / "raw", **options)
            test = CASES - 2 - (name in ("abdomenct1k", "nihpancreas"))
            done[key] = prepared(dataset, name, folder / "raw", folder / "store", test), folder
        return done[key]

    return prepare_once


def notes(table) -> str:
    return "; ".join(table.notes)


def test_what_an_image_without_mask_and_a_sheared_header_become(read):
    table, _ = read("abdomenct1k")
    assert len(table) == CASES - 1
    assert "off a right angle, made square" in notes(table)
    assert all("kidneys" not in cell for cell in table.present)
    assert any("right kidney" in cell for cell in table.present)


def test_overlapping_and_stray_masks_are_noted_and_absent_ones_are_absent(read):
    table, folder = read("totalseg_v1")
    text = notes(table)
    assert "voxels in several masks" in text
    assert "voxels neither 0 nor 1: 1" in text
    # What a field of view does not show is declared all the same.
    assert table.declared.nunique() == 1
    assert table.present.nunique() > 1
    masks = {p.name for p in folder.glob("raw/**/segmentations/*.nii.gz")}
    assert "prostate.nii.gz" not in masks


def test_scans_of_every_orientation_stand_upright(read):
    """Liver up and to the right, whatever the order of the file's axes."""
    for name in ("lits", "abdomenct1k", "word"):
        table, folder = read(name)
        axes = set()
        for row in table.itertuples():
            scan = PreparedScan(folder / "store" / name / row.scan)
            axes.add(scan.geometry.file_axes)
            structures = config(name).structures
            liver = np.asarray(scan.reference) == structures.index("liver") + 1
            z, _, x = np.argwhere(liver).mean(axis=0) / np.array(liver.shape)
            assert x < 0.5, row.scan
            assert z > 0.4, row.scan
        assert "" not in axes
    assert len(axes) == 1  # of WORD, all stored alike


def test_a_modality_of_a_mixed_source_is_told_by_the_number(read):
    table, _ = read("amos22")
    assert set(table.modality) == {"CT", "MR"}
    magnetic = table[table.modality == "MR"]
    assert magnetic.case.str.match(r"amos_05\d\d").all()
    for present in magnetic.present:
        assert not {"bladder", "prostate or uterus"} & set(present.split(";"))


def test_merged_sides_are_split_where_a_source_merges_them(read):
    table, _ = read("word")
    assert table.declared.str.contains("right adrenal gland").all()
    assert table.present.str.contains("left adrenal gland").any()


def test_labels_without_images_are_passed_over(read):
    table, folder = read("nihpancreas")
    labels = list((folder / "raw").rglob("label*.nii.gz"))
    assert len(labels) > len(table)


def test_what_was_not_drawn_is_not_declared(read):
    table, _ = read("openkbp")
    assert table.declared.nunique() > 1
    for row in table.itertuples():
        assert set(row.present.split(";")) <= set(row.declared.split(";"))


PACKED = ["abdomenct1k", "amos22", "btcv", "flare22", "lits", "msd03", "msd09"]
PACKED += ["nihpancreas", "totalseg_v1", "word"]


@pytest.mark.parametrize("name", PACKED)
def test_published_archives_become_the_layout(name, tmp_path, monkeypatch):
    monkeypatch.setenv("WORD_PASSWORD", "of a zip that is encrypted; the phantom's is not")
    dataset = draw(name, tmp_path / "downloads", packed=True)
    draw(name, tmp_path / "unpacked")
    unknown = {"sha256": None, "md5": None, "bytes": None, "urls": [], "by_hand": "the test"}
    archives = [archive.model_dump() | unknown for archive in dataset.archives]
    layout = Layout(dataset.layout, dataset.layout_options)
    fetch_download(tmp_path / "raw", layout, archives, tmp_path / "downloads")
    found = layout.find_cases(dataset_root(tmp_path / "raw"))
    expected = layout.find_cases(tmp_path / "unpacked")
    assert [case.scan for case in found] == [case.scan for case in expected]
    assert found
