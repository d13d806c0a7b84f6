"""Reading Pancreas-CT: DICOM series, labels in NIfTI that may lie otherwise than they say."""

import logging

import nibabel as nib
import numpy as np
import pytest

from piecemeal.datasets.layouts import tcia_pancreas as layout
from piecemeal.errors import InputError

SHAPE = (12, 10, 8)  # x, y, z
LABELS = {1: "pancreas"}
# As the series are published: rows run to the front, so that the sorted slices run downwards.
ORIENTATION = [1, 0, 0, 0, -1, 0]
AFFINE = np.array([[-0.5, 0, 0, -10], [0, 2, 0, -20], [0, 0, -3, 21], [0, 0, 0, 1.0]])


def pancreas():
    """(x, y, z) in the order of the slices, in a corner that no flip leaves in place."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:5, 6:9, 1:3] = 1
    return mask


def hounsfield(rng):
    """Fat all around the organ."""
    organ = rng.normal(90, 20, SHAPE)
    return np.where(pancreas(), organ, rng.normal(-100, 20, SHAPE)).round()


@pytest.fixture
def write(tmp_path, dicom_slice):
    """`write(number)`: the series of a patient; `write.label(number, voxels, affine)`: a label."""

    def series(number, folder="", patient=None):
        target = tmp_path / "manifest" / (folder or f"study{number}") / "series"
        target.mkdir(parents=True)
        voxels = hounsfield(np.random.default_rng(number))
        for z in range(SHAPE[2]):
            one = dicom_slice(
                *(voxels[:, :, z].T, (10, 20, 21 - 3 * z)),
                PatientID=patient or f"PANCREAS_{number:04d}",
                ImageOrientationPatient=ORIENTATION,
                RescaleSlope=1,
                RescaleIntercept=0,
            )
            one.save_as(target / f"1-{SHAPE[2] - z:03d}.dcm")
        return target

    def label(number, voxels=None, affine=AFFINE):
        target = tmp_path / "TCIA_pancreas_labels" / f"label{number:04d}.nii.gz"
        target.parent.mkdir(exist_ok=True)
        voxels = pancreas() if voxels is None else voxels
        nib.save(nib.Nifti1Image(voxels, affine), target)
        return target

    series.label = label
    return series


@pytest.fixture
def dataset(tmp_path, write):
    """Patients 1 and 2, and the label of patient 25, whose images were withdrawn."""
    for number in (2, 1):
        write(number)
        write.label(number)
    write.label(25)
    return tmp_path


def test_series_and_labels_are_paired_by_patient(dataset, caplog):
    with caplog.at_level(logging.INFO):
        cases = layout.find_cases(dataset)
    assert [case.scan for case in cases] == ["PANCREAS_0001", "PANCREAS_0002"]
    assert cases[0].labels.name == "label0001.nii.gz"
    assert cases[0].image.name == "1-001.dcm"
    assert len(cases[0].slices) == SHAPE[2] - 1
    assert len(set(cases[0].files)) == SHAPE[2] + 1
    assert "labels without images are passed over: 0025" in caplog.text


def test_only_one_header_of_each_series_is_read(dataset):
    for path in dataset.rglob("*.dcm"):
        if path.name != "1-001.dcm":
            path.write_bytes(b"")
    assert len(layout.find_cases(dataset)) == 2


def check(scan):
    np.testing.assert_array_equal(scan.labels, pancreas().T)
    assert scan.labels.dtype == np.uint8
    assert scan.image[scan.labels == 1].mean() == pytest.approx(90, abs=15)
    np.testing.assert_allclose(scan.affine, AFFINE)
    assert scan.spacing == (3, 2, 0.5)


def test_reads_a_series_with_its_label(dataset):
    scan = layout.read(layout.find_cases(dataset)[0], LABELS)
    check(scan)
    assert scan.notes == ()


def test_a_label_in_another_order_is_turned_by_its_affine(dataset, write):
    flip = np.diag([1.0, -1, -1, 1])
    flip[:3, 3] = 0, SHAPE[1] - 1, SHAPE[2] - 1
    write.label(1, pancreas()[:, ::-1, ::-1], AFFINE @ flip)
    scan = layout.read(layout.find_cases(dataset)[0], LABELS)
    check(scan)
    assert scan.notes == ("labels: turned from LPS to the image's LAI",)


@pytest.mark.parametrize("axes", [(), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)])
def test_a_label_elsewhere_is_flipped_onto_soft_tissue(dataset, write, axes):
    elsewhere = AFFINE.copy()
    elsewhere[:3, 3] = 0
    write.label(1, np.flip(pancreas(), axes), elsewhere)
    scan = layout.read(layout.find_cases(dataset)[0], LABELS)
    check(scan)
    named = " and ".join("xyz"[axis] for axis in axes) or "nothing"
    far = np.linalg.norm(AFFINE[:3, 3])
    assert scan.notes == (
        f"labels: header puts them up to {far:.1f} mm off the image: {named} flipped, where they "
        "lie on soft tissue",
    )


def test_a_label_that_lies_on_fat_by_its_own_header(dataset, write):
    write.label(1, pancreas()[:, ::-1])
    scan = layout.read(layout.find_cases(dataset)[0], LABELS)
    check(scan)
    (note,) = scan.notes
    assert note.startswith("labels: header puts them on other than soft tissue: y flipped")


@pytest.mark.parametrize("start", [0, 4])
def test_no_flip_is_clearly_the_best(dataset, write, start):
    """In the middle every flip is alike; in the far corner none is soft tissue."""
    voxels = np.zeros(SHAPE, np.uint8)
    if start:
        voxels[4:8, 3:7, 2:6] = 1
    else:
        voxels[0, 0, 0] = 1
    elsewhere = AFFINE.copy()
    elsewhere[:3, 3] = 0
    path = write.label(1, voxels, elsewhere)
    with pytest.raises(InputError, match="no flip of it puts clearly more on soft tissue") as error:
        layout.read(layout.find_cases(dataset)[0], LABELS)
    assert str(path) in str(error.value)


def test_label_of_another_shape(dataset, write):
    write.label(1, pancreas()[..., :-1])
    with pytest.raises(InputError, match=r"label0001\.nii\.gz: shape \(12, 10, 7\) differs"):
        layout.read(layout.find_cases(dataset)[0], LABELS)


def test_empty_label(dataset, write):
    write.label(1, np.zeros(SHAPE, np.uint8))
    with pytest.raises(InputError, match=r"label0001\.nii\.gz: no voxel is labelled"):
        layout.read(layout.find_cases(dataset)[0], LABELS)


def test_missing_slice(dataset):
    (dataset / "manifest" / "study1" / "series" / "1-004.dcm").unlink()
    with pytest.raises(InputError, match=r"1-00[35]\.dcm: lies 6\.000 mm from the slice before"):
        layout.read(layout.find_cases(dataset)[0], LABELS)


def test_images_without_label(dataset, write):
    folder = write(7)
    bad = []
    assert len(layout.find_cases(dataset, bad)) == 2
    assert [one.scan for one in bad] == ["PANCREAS_0007"]
    with pytest.raises(InputError, match=r"expected one label0007\.nii\.gz .* found none") as error:
        layout.find_cases(dataset)
    assert str(folder) in str(error.value)


def test_two_series_of_a_patient(dataset, write):
    write(1, folder="again")
    bad = []
    assert [case.case for case in layout.find_cases(dataset, bad)] == ["PANCREAS_0002"]
    assert [one.case for one in bad] == ["PANCREAS_0001"]
    with pytest.raises(InputError, match=r"again/series and .*study1/series are both of"):
        layout.find_cases(dataset)


def test_two_labels_of_a_patient(dataset, write):
    label = write.label(1)
    (dataset / "more").mkdir()
    (dataset / "more" / label.name).write_bytes(label.read_bytes())
    with pytest.raises(InputError, match=r"expected one label0001\.nii\.gz .* and "):
        layout.find_cases(dataset)


@pytest.mark.parametrize("patient", ["LIVER_0001", "PANCREAS_1"])
def test_series_of_somebody_else(dataset, write, patient):
    write(9, patient=patient)
    with pytest.raises(InputError, match=f"PatientID is '{patient}', expected one like PANCREAS"):
        layout.find_cases(dataset)


def test_series_that_cannot_be_read(dataset):
    (dataset / "manifest" / "study2" / "series" / "1-001.dcm").write_bytes(b"<html>")
    bad = []
    assert [case.case for case in layout.find_cases(dataset, bad)] == ["PANCREAS_0001"]
    assert [one.case for one in bad] == ["manifest/study2/series"]


def test_a_series_that_cannot_be_read_is_of_the_patient_in_its_path(dataset, write):
    folder = write(7, folder="Pancreas-CT/PANCREAS_0007/1.2.3")
    min(folder.rglob("*.dcm")).write_bytes(b"<html>")
    bad = []
    assert len(layout.find_cases(dataset, bad)) == 2
    assert [(one.case, one.scan) for one in bad] == [("PANCREAS_0007", "PANCREAS_0007")]


def test_nothing_here(tmp_path):
    with pytest.raises(InputError, match="no series of slices here, expected Pancreas-CT/"):
        layout.find_cases(tmp_path)
