import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from piecemeal.datasets.case_table import write_cases
from piecemeal.errors import InputError
from piecemeal.training import cases as module
from piecemeal.training.cases import load_cases

CLASSES = 3


def load(cohort, annotation: str, split: str = "train"):
    return load_cases(cohort.prepared, cohort.annotated[annotation], split, CLASSES)


@pytest.fixture
def broken(cohort, tmp_path):
    """`broken(name, content)`: load with the first file of that name so; None deletes it."""
    annotated, prepared = tmp_path / "annotated", tmp_path / "prepared"
    shutil.copytree(cohort.annotated["complete"], annotated)
    shutil.copytree(cohort.prepared, prepared)
    scan = load(cohort, "complete")[0].scan

    def check(name: str, content: bytes | None):
        folder = annotated if name == "codes.npy" else prepared
        path = folder / "blocks" / scan / name
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
        return load_cases(prepared, annotated, "train", CLASSES)

    return check


@pytest.mark.parametrize(
    ("annotation", "split", "count"),
    [
        ("complete", "train", 4),
        ("complete", "validation", 2),
        ("half", "train", 2),
        ("half", "validation", 1),
        ("half_merged", "train", 4),
    ],
)
def test_every_case_of_the_split_is_there(cohort, annotation, split, count):
    assert len(load(cohort, annotation, split)) == count


def test_a_case_is_the_files_of_its_scan(cohort):
    for case in load(cohort, "half_merged"):
        folder = Path(case.dataset) / case.scan
        assert (case.dataset, case.modality) == ("blocks", "MR")
        assert case.scan.startswith(case.case)
        for found, file in [
            (case.image, cohort.prepared / folder / "image.npy"),
            (case.labels, cohort.prepared / folder / "labels.npy"),
            (case.codes, cohort.annotated["half_merged"] / folder / "codes.npy"),
        ]:
            assert isinstance(found, np.memmap)
            np.testing.assert_array_equal(found, np.load(file))
        np.testing.assert_array_equal(case.places.voxels(1), np.argwhere(case.codes == 1)[:1000])


def test_the_table_is_that_of_the_protocol(cohort):
    tables = {str(case.sets.astype(int).tolist()) for case in load(cohort, "half_merged")}
    assert tables == {"[[1, 0, 0], [0, 1, 0], [0, 0, 1]]", "[[1, 0, 0], [0, 1, 1]]"}


def test_named_are_the_classes_that_stand_alone(cohort):
    """Half 2 has its structures merged: it names the background only."""
    named = {len(case.sets): case.named for case in load(cohort, "half_merged")}
    assert named == {3: {0: 0, 1: 1, 2: 2}, 2: {0: 0}}


def test_named_is_only_what_occurs(cohort):
    case = load(cohort, "complete")[0]
    case.places.areas = np.array([[3], [0], [1]])
    assert case.named == {0: 0, 2: 2}


def test_the_view_of_a_case_is_that_of_its_row(cohort, tmp_path):
    assert {case.view for case in load(cohort, "complete")} == {""}
    shutil.copytree(cohort.annotated["complete"], tmp_path / "annotated")
    path = tmp_path / "annotated" / "cases.csv"
    header, first, *others = path.read_text().splitlines()
    assert header.endswith(",view")
    write_cases(path.parent, "\n".join([header, first + "coronal", *others]) + "\n")
    splits = ("train", "validation")
    cases = [c for s in splits for c in load_cases(cohort.prepared, path.parent, s, CLASSES)]
    assert sorted(case.view for case in cases) == ["", "", "", "", "", "coronal"]


def test_the_background_is_where_there_is_no_label(cohort):
    for annotation in ("complete", "half_merged"):
        assert {case.empty for case in load(cohort, annotation)} == {(0,)}
    assert {case.empty for case in load(cohort, "unlabelled")} == {(0,)}


def test_a_scan_that_nobody_has_drawn_on_has_no_labels(broken):
    cases = broken("labels.npy", None)
    assert [case.labels is None for case in cases] == [True, False, False, False]


@pytest.mark.parametrize("content", [None, b"", b"\x93NUMPY"])
@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("image.npy", r"delete the folder \S+ and \S+/prepared/cases\.csv"),
        ("codes.npy", r"delete \S+/annotated/cases\.csv"),
    ],
)
def test_an_array_that_cannot_be_read_is_named(broken, name, remedy, content):
    with pytest.raises(InputError, match=rf"{name}: cannot be read .*{remedy}, and start again"):
        broken(name, content)


@pytest.mark.parametrize("name", ["image.npy", "labels.npy", "codes.npy"])
def test_an_array_that_was_cut_short_is_named(cohort, broken, name):
    scan = load(cohort, "complete")[0].scan
    folder = cohort.annotated["complete"] if name == "codes.npy" else cohort.prepared
    whole = (folder / "blocks" / scan / name).read_bytes()
    with pytest.raises(InputError, match=rf"{name}: cannot be read \(mmap length"):
        broken(name, whole[:-1])


def test_codes_of_another_shape_are_refused(broken, tmp_path):
    np.save(tmp_path / "other.npy", np.zeros((3, 32, 31), np.uint8))
    with pytest.raises(InputError, match=r"codes\.npy: \(3, 32, 31\) differs .* \(3, 32, 32\)"):
        broken("codes.npy", (tmp_path / "other.npy").read_bytes())


def test_an_empty_split_is_refused_by_name(cohort, tmp_path):
    folder = tmp_path / "annotated"
    shutil.copytree(cohort.annotated["half"], folder)
    path = folder / "cases.csv"
    rows = path.read_text().splitlines()
    write_cases(folder, "\n".join(row for row in rows if ",validation," not in row) + "\n")
    with pytest.raises(InputError, match=r"cases\.csv: no case of the split 'validation' is left"):
        load_cases(cohort.prepared, folder, "validation", CLASSES)


def test_an_annotation_that_is_not_finished_is_refused(cohort, tmp_path):
    with pytest.raises(InputError, match=r"cases\.csv: is missing"):
        load_cases(cohort.prepared, tmp_path, "train", CLASSES)


@pytest.mark.parametrize(("soft", "hard", "wanted"), [(64, 256, 256), (64, 10**6, 65536)])
def test_more_scans_than_files_a_process_may_open_by_default(monkeypatch, soft, hard, wanted):
    asked = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: asked.append(limits))
    module._allow_open_files()
    assert asked == [(wanted, hard)]


@pytest.mark.parametrize(("soft", "hard"), [(10**6, 10**6), (-1, -1), (100, 100)])
def test_a_limit_of_open_files_that_is_high_enough_stays(monkeypatch, soft, hard):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda *_: pytest.fail("changed"))
    module._allow_open_files()


def test_samples_need_torch_and_numpy_only(cohort):
    """A machine that trains has no more, and every import costs at every start."""
    arguments = [str(cohort.prepared), str(cohort.annotated["half_merged"])]
    code = """
import json, sys
for name in ("pandas", "scipy", "pydantic", "yaml", "nibabel", "numba", "monai", "jinja2",
             "matplotlib", "snakemake"):
    sys.modules[name] = None
from pathlib import Path
from piecemeal.training.cases import load_cases
from piecemeal.training.data import Samples, StepBatches, Window
from piecemeal.training.sampling import build_sampler
cases = load_cases(Path(sys.argv[1]), Path(sys.argv[2]), "train", 3)
window = Window.of({"kind": "patches", "size": [2, 8, 8]}, cases)
sampler = build_sampler({"name": "class_modality_dataset"}, cases, window, 2, 0)
batch = StepBatches(Samples(cases, window), sampler, range(2), None)[0]
print(json.dumps(list(batch.images.shape)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == [2, 1, 2, 8, 8]
