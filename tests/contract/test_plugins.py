"""Layouts and phantoms belong together: what a phantom writes, its layout reads."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from piecemeal import registry
from piecemeal.config import DatasetConfig
from piecemeal.datasets import layouts, phantoms
from piecemeal.errors import InputError
from piecemeal.validation import load_model

ROOT = Path(__file__).resolve().parents[2]
LAYOUTS = registry.known("piecemeal.datasets.layouts")
SIZE = {"size": 48, "slices": 3}
CASES = 3
SEED = 5


@pytest.fixture(scope="module", params=LAYOUTS)
def phantom(request, tmp_path_factory) -> tuple[str, Path]:
    """A layout's name, and the folder of a small phantom in that layout."""
    folder = tmp_path_factory.mktemp(request.param)
    phantoms.load(request.param).write(folder, CASES, SEED, **SIZE)
    return request.param, folder


def labels_of(layout: str) -> dict[int, str]:
    found = [load_model(p, DatasetConfig) for p in (ROOT / "config/datasets").glob("*.yaml")]
    (dataset,) = [d for d in found if d.layout == layout]
    return dataset.labels


def test_every_layout_has_its_phantom_and_the_other_way_round():
    assert set(LAYOUTS) == set(phantoms.known())


def test_every_layout_says_what_to_expect():
    for name in LAYOUTS:
        assert layouts.load(name).EXAMPLE


def test_finds_as_many_patients_as_were_drawn(phantom):
    layout, folder = phantom
    cases = layouts.load(layout).find_cases(folder)
    assert len({case.case for case in cases}) == CASES
    assert len({case.scan for case in cases}) == len(cases)
    assert cases == sorted(cases, key=lambda case: (case.case, case.phase))


def test_reads_every_scan_with_labels_inside_the_map(phantom):
    layout, folder = phantom
    declared = labels_of(layout)
    drawn: set[int] = set()
    for case in layouts.load(layout).find_cases(folder):
        scan = layouts.load(layout).read(case)
        assert scan.image.dtype == np.float32
        assert scan.image.shape == scan.labels.shape
        assert len(scan.image) >= 3
        assert all(mm > 0 for mm in scan.spacing)
        assert np.isfinite(scan.image).all()
        assert scan.image.std() > 0
        drawn |= set(np.unique(scan.labels).tolist()) - {0}
    assert drawn == set(declared)


def test_a_phantom_says_that_it_is_one(phantom):
    _, folder = phantom
    assert "not patients" in (folder / "PHANTOM").read_text()


def test_same_seed_same_bytes_whatever_the_number_of_cases(phantom, tmp_path):
    layout, folder = phantom
    phantoms.load(layout).write(tmp_path, 1, SEED, **SIZE)
    written = [p for p in tmp_path.rglob("*") if p.is_file() and p.name != "PHANTOM"]
    assert written
    for path in written:
        assert path.read_bytes() == (folder / path.relative_to(tmp_path)).read_bytes()


def test_another_seed_is_another_subject(phantom, tmp_path):
    layout, folder = phantom
    phantoms.load(layout).write(tmp_path, 1, SEED + 1, **SIZE)
    case = layouts.load(layout).find_cases(tmp_path)[0]
    assert case.image.read_bytes() != (folder / case.image.relative_to(tmp_path)).read_bytes()


@pytest.mark.parametrize("package", [layouts, phantoms], ids=["layouts", "phantoms"])
def test_unknown_name_lists_the_known_ones(package):
    with pytest.raises(InputError, match=f"{LAYOUTS[0]}, {LAYOUTS[1]}"):
        package.load("nothing")


def test_every_data_set_of_the_configuration_can_be_drawn():
    for path in (ROOT / "config/datasets").glob("*.yaml"):
        assert yaml.safe_load(path.read_text())["layout"] in phantoms.known()
