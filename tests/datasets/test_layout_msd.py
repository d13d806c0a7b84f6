"""Reading a task of the Medical Segmentation Decathlon, and sets laid out like one."""

import json

import numpy as np
import pytest

from piecemeal.datasets.layouts import msd as layout
from piecemeal.errors import InputError

LABELS = {1: "a", 2: "b", 3: "c"}


def entry(name):
    return {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"}


def describe(folder, **changes):
    content = {
        "name": "Spleen",
        "licence": "CC-BY-SA 4.0",
        "relase": "1.0 06/08/2018",
        "tensorImageSize": "3D",
        "modality": {"0": "CT"},
        "labels": {"0": "background", "1": "Brainstem", "2": "Mandible", "3": "Larynx"},
        "numTraining": 2,
        "training": [entry("spleen_19"), entry("spleen_2")],
        "test": ["./imagesTs/spleen_15.nii.gz"],
    }
    (folder / "dataset.json").write_text(json.dumps(content | changes))


@pytest.fixture
def task(tmp_path, volumes):
    """A task of two training cases and one test image, with junk in between."""
    folder = tmp_path / "Task09_Spleen"
    for name in ("spleen_19", "spleen_2"):
        image, labels = volumes.draw(len(name))
        volumes.write(folder / "imagesTr" / f"{name}.nii.gz", image[..., None])
        volumes.write(folder / "labelsTr" / f"{name}.nii.gz", labels)
    (folder / "imagesTr" / "._spleen_19.nii.gz").write_bytes(b"junk")
    volumes.write(folder / "imagesTs" / "spleen_15.nii.gz", volumes.draw(3)[0])
    describe(folder)
    return folder


def test_training_cases_by_dataset_json(task):
    cases = layout.find_cases(task)
    assert [case.scan for case in cases] == ["spleen_19", "spleen_2"]
    assert cases[0].image == task / "imagesTr" / "spleen_19.nii.gz"
    assert cases[0].labels == task / "labelsTr" / "spleen_19.nii.gz"
    assert cases[0].described_by == (task / "dataset.json",)
    assert {case.split for case in cases} == {"train"}
    assert {case.declared for case in cases} == {None}


def test_the_task_may_lie_one_folder_down(task):
    assert layout.find_cases(task.parent) == layout.find_cases(task)


def test_an_axis_of_length_one_is_dropped(task):
    scan = layout.read(layout.find_cases(task)[0], LABELS)
    assert scan.image.shape == scan.labels.shape == (3, 24, 20)
    assert set(np.unique(scan.labels)) == {0, 1, 2, 3}


def test_validation_is_a_split(task):
    describe(task, training=[entry("spleen_19")], validation=[entry("spleen_2")])
    assert [case.split for case in layout.find_cases(task)] == ["train", "validation"]


def test_listed_junk_and_images_without_labels_are_no_cases(task):
    junk = entry("spleen_2") | {"image": "./imagesTr/._spleen_2.nii.gz"}
    listed = [entry("spleen_19"), junk, {"image": "./imagesTr/spleen_2.nii.gz"}]
    describe(task, training=listed, validation=["./imagesTs/spleen_15.nii.gz"])
    assert [case.case for case in layout.find_cases(task)] == ["spleen_19"]


@pytest.mark.parametrize("folder", ["imagesTr", "labelsTr"])
def test_missing_file(task, folder):
    (task / folder / "spleen_2.nii.gz").unlink()
    bad = []
    assert [case.case for case in layout.find_cases(task, bad)] == ["spleen_19"]
    assert [one.scan for one in bad] == ["spleen_2"]
    with pytest.raises(InputError, match=rf"{folder}/spleen_2\.nii\.gz: is missing, though"):
        layout.find_cases(task)


def test_case_listed_twice(task):
    describe(task, validation=[entry("spleen_2")])
    bad = []
    assert [case.case for case in layout.find_cases(task, bad)] == ["spleen_19"]
    assert [one.reason.split(": ")[1] for one in bad] == [
        "lists spleen_2 2 times; correct the file"
    ]


@pytest.mark.parametrize("text", ["", "[]", "{", "\x00"])
def test_dataset_json_that_cannot_be_read(task, text):
    (task / "dataset.json").write_text(text)
    with pytest.raises(InputError, match=r"dataset\.json: "):
        layout.find_cases(task)


@pytest.mark.parametrize("training", [[1], [{"label": "a"}], [{"image": "a", "label": 1}]])
def test_entries_of_another_form(task, training):
    describe(task, training=training)
    with pytest.raises(InputError, match="expected objects with `image` and `label`"):
        layout.find_cases(task)


@pytest.mark.parametrize(
    ("training", "message"),
    [
        (None, "training is None, expected a list"),
        ({}, r"training is \{\}, expected a list"),
        ("spleen_2", "training is 'spleen_2', expected a list"),
        ([], "training and validation list no labelled scan"),
    ],
)
def test_a_list_of_another_form(task, training, message):
    describe(task, training=training)
    with pytest.raises(InputError, match=rf"dataset\.json: {message}"):
        layout.find_cases(task)


def test_no_list_at_all(task):
    (task / "dataset.json").write_text("{}")
    with pytest.raises(InputError, match=r"dataset\.json: training and validation list no"):
        layout.find_cases(task)


def test_no_task(tmp_path):
    with pytest.raises(InputError, match=r"no Decathlon task here, expected dataset\.json"):
        layout.find_cases(tmp_path)


def test_two_tasks(task):
    other = task.parent / "Task03_Liver"
    other.mkdir()
    describe(other)
    with pytest.raises(InputError, match="Task03_Liver/ and in Task09_Spleen/, expected one task"):
        layout.find_cases(task.parent)


@pytest.fixture
def partial(task):
    drawn = {"spleen_19": ["Mandible", "Brainstem"], "spleen_2": [], "spleen_99": ["Larynx"]}
    (task / "annotated.json").write_text(json.dumps(drawn))
    return task


def test_structures_drawn_in_each_patient(partial):
    cases = layout.find_cases(partial, annotated="annotated.json")
    assert [case.declared for case in cases] == [(1, 2), ()]
    assert cases[0].described_by == (partial / "dataset.json", partial / "annotated.json")
    assert [case.declared for case in layout.find_cases(partial)] == [None, None]


def test_patient_of_whom_nothing_is_said(partial):
    (partial / "annotated.json").write_text('{"spleen_2": ["Larynx"]}')
    bad = []
    (case,) = layout.find_cases(partial, bad, annotated="annotated.json")
    assert case.declared == (3,)
    assert [one.case for one in bad] == ["spleen_19"]
    assert "annotated.json: says nothing of spleen_19" in bad[0].reason


def test_structure_that_is_no_label(partial):
    (partial / "annotated.json").write_text('{"spleen_2": [], "spleen_19": ["Nose"]}')
    with pytest.raises(InputError, match=r"spleen_19 has \['Nose'\], which are no labels"):
        layout.find_cases(partial, annotated="annotated.json")


@pytest.mark.parametrize("value", ["null", "3", '[["Larynx"]]', '"Larynx"', "{}"])
def test_drawn_structures_of_another_form(partial, value):
    (partial / "annotated.json").write_text(f'{{"spleen_2": [], "spleen_19": {value}}}')
    with pytest.raises(InputError, match=r"annotated\.json: spleen_19 is .*, expected a list of"):
        layout.find_cases(partial, annotated="annotated.json")


def test_missing_file_of_what_was_drawn(task):
    with pytest.raises(InputError, match=r"annotated\.json: cannot be read"):
        layout.find_cases(task, annotated="annotated.json")
