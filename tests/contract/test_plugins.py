"""Layouts, phantoms and data sets belong together: what a phantom writes, its data set reads."""

from pathlib import Path

import numpy as np
import pytest

from piecemeal import registry
from piecemeal.config import MainConfig
from piecemeal.dataset_specs import DatasetConfig
from piecemeal.datasets import layouts, phantoms
from piecemeal.datasets.orientation import to_canonical
from piecemeal.datasets.scans import label_table, map_labels
from piecemeal.datasets.sources import Layout
from piecemeal.errors import InputError
from piecemeal.validation import load_model

ROOT = Path(__file__).resolve().parents[2]
LAYOUTS = registry.known("piecemeal.datasets.layouts")
DATASETS = {
    path.stem: load_model(path, DatasetConfig)
    for path in sorted((ROOT / "config/datasets").glob("*.yaml"))
}
DRAWN = {name: dataset for name, dataset in DATASETS.items() if dataset.phantom}
CASES = 3
SEED = 5


def write(dataset: DatasetConfig, folder: Path, cases: int, seed: int) -> None:
    phantoms.load(dataset.phantom.writer).write(folder, cases, seed, **dataset.phantom.options)


def cases_of(dataset: DatasetConfig, folder: Path):
    return Layout(dataset.layout, dataset.layout_options).find_cases(folder)


@pytest.fixture(scope="module", params=DRAWN)
def phantom(request, tmp_path_factory) -> tuple[DatasetConfig, Path]:
    """A data set, and the folder of its phantom."""
    folder = tmp_path_factory.mktemp(request.param)
    write(DATASETS[request.param], folder, CASES, SEED)
    return DATASETS[request.param], folder


def test_every_layout_and_every_phantom_serves_a_data_set():
    assert {d.layout for d in DATASETS.values()} == set(LAYOUTS)
    assert {d.phantom.writer for d in DRAWN.values()} == set(phantoms.known())


def test_every_data_set_says_what_to_expect_in_its_folder():
    for name, dataset in DATASETS.items():
        example = Layout(dataset.layout, dataset.layout_options).example
        assert Path(example).name, name


def test_finds_the_patients_that_were_drawn(phantom):
    dataset, folder = phantom
    cases = cases_of(dataset, folder)
    patients = {case.case for case in cases}
    # One of the quirks is a patient without labels, who is no case.
    assert len(patients) in (CASES, CASES - 1)
    assert len({case.scan for case in cases}) == len(cases)
    assert cases == sorted(cases, key=lambda case: (case.case, case.phase))


def test_reads_every_scan_with_labels_inside_the_map(phantom):
    dataset, folder = phantom
    drawn: set[str] = set()
    for case in cases_of(dataset, folder):
        scan = layouts.load(dataset.layout).read(case, dataset.labels)
        assert scan.image.dtype == np.float32
        assert scan.image.shape == scan.labels.shape
        assert all(mm > 0 for mm in scan.spacing)
        assert np.isfinite(scan.image).all()
        assert scan.image.std() > 0
        table = label_table(dataset.labels)
        ids, names = map_labels(scan.labels, table, case.image, may_be_empty=bool(case.masks))
        drawn |= {names[i - 1] for i in np.unique(ids) if i}
    phantom_only = {name for name in dataset.labels.values() if name != "background"}
    # Masks may be named that no phantom has room for, raw values of one file may not.
    if all(isinstance(raw, int) for raw in dataset.labels):
        assert drawn == phantom_only
    else:
        assert len(drawn) >= 0.4 * len(phantom_only)


def test_sides_are_the_patients_sides(phantom):
    """In canonical order x runs to the patient's left."""
    dataset, folder = phantom
    pairs = [
        (f"right {name[5:]}", name) for name in dataset.labels.values() if name.startswith("left ")
    ]
    pairs += [("liver", "spleen")]
    table = label_table(dataset.labels)
    for case in cases_of(dataset, folder):
        scan = layouts.load(dataset.layout).read(case, dataset.labels)
        _, labels, _, _ = to_canonical(scan.image, scan.labels, scan.affine)
        ids, names = map_labels(labels, table, case.image, may_be_empty=True)
        places = {name: np.argwhere(ids == i)[:, 2] for i, name in enumerate(names, start=1)}
        for right, left in pairs:
            if len(places.get(right, ())) and len(places.get(left, ())):
                assert places[right].mean() < places[left].mean(), (case.scan, right)


def test_a_phantom_says_that_it_is_one(phantom):
    _, folder = phantom
    assert "not patients" in (folder / "PHANTOM").read_text()


def test_same_seed_same_bytes_whatever_the_number_of_cases(phantom, tmp_path):
    dataset, folder = phantom
    write(dataset, tmp_path, CASES - 1, SEED)
    lists = {"PHANTOM", "dataset.json", "meta.csv", "kits.json", "annotated.json"}
    written = [p for p in tmp_path.rglob("*") if p.is_file() and p.name not in lists]
    assert written
    for path in written:
        assert path.read_bytes() == (folder / path.relative_to(tmp_path)).read_bytes()


def test_another_seed_is_another_subject(phantom, tmp_path):
    dataset, folder = phantom
    write(dataset, tmp_path, 1, SEED + 1)
    other, same = (cases_of(dataset, place)[0] for place in (tmp_path, folder))
    read = layouts.load(dataset.layout).read
    first, second = read(other, dataset.labels).image, read(same, dataset.labels).image
    assert first.shape != second.shape or not np.array_equal(first, second)


@pytest.mark.parametrize("package", [layouts, phantoms], ids=["layouts", "phantoms"])
def test_unknown_name_lists_the_known_ones(package):
    with pytest.raises(InputError, match="acdc"):
        package.load("nothing")


def test_the_defaults_of_the_configuration_are_those_of_its_file():
    assert load_model(ROOT / "config/config.yaml", MainConfig).downloads == Path("data/downloads")
