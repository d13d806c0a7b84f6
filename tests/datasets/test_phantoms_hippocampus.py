"""Hippocampus phantom: the Decathlon's layout, sizes and number formats, anatomy that curves."""

import json

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import binary_dilation, label

from piecemeal.datasets.layouts import msd
from piecemeal.datasets.phantoms import msd_hippocampus
from piecemeal.datasets.phantoms.drawing import figures, hippocampus

CASES = 16
ANTERIOR, POSTERIOR = 1, 2
# Measured in 195 cases of Task04: smallest and largest volume (voxels of 1 mm), shape and the
# margin between labels and the edge of the box.
MEASURED_ML = {ANTERIOR: (1054, 2593), POSTERIOR: (993, 2169)}
MEASURED_SHAPE = ((31, 43), (40, 58), (26, 47))
MEASURED_MARGIN = (3, 13)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hippocampus")
    msd_hippocampus.write(folder, CASES, 3)
    return folder


@pytest.fixture(scope="module")
def scans(folder):
    """Every case: image and labels (x, y, z), and the image's file."""
    found = []
    for path in sorted((folder / "imagesTr").iterdir()):
        image = nib.load(path)
        labels = nib.load(folder / "labelsTr" / path.name)
        np.testing.assert_array_equal(image.affine, labels.affine)
        found.append((np.asarray(image.dataobj), np.asarray(labels.dataobj), image))
    return found


def test_files_and_description(folder):
    about = json.loads((folder / "dataset.json").read_text())
    assert about["labels"] == {"0": "background", "1": "Anterior", "2": "Posterior"}
    assert about["modality"] == {"0": "MRI"}
    assert about["numTraining"] == len(about["training"]) == CASES
    assert about["test"] == []
    assert (folder / about["training"][-1]["image"]).is_file()
    assert len(msd.find_cases(folder)) == CASES
    assert "layout: msd_hippocampus" in (folder / "PHANTOM").read_text()


def test_boxes_are_small_upright_and_as_large_as_the_published_ones(scans):
    shapes = []
    for image, labels, file in scans:
        assert image.shape == labels.shape
        assert labels.dtype == np.uint8
        assert nib.aff2axcodes(file.affine) == ("R", "A", "S")
        np.testing.assert_allclose(file.header.get_zooms(), 1.0)
        shapes.append(image.shape)
    for sizes, (low, high) in zip(zip(*shapes, strict=True), MEASURED_SHAPE, strict=True):
        assert low < np.median(sizes) < high
        assert all(low - 5 <= size <= high + 5 for size in sizes)


def test_labels_keep_off_the_edges(scans):
    low, high = MEASURED_MARGIN
    for _, labels, _ in scans:
        places = np.argwhere(labels)
        margins = [*places.min(0), *(np.array(labels.shape) - 1 - places.max(0))]
        assert all(low <= margin <= high for margin in margins)


def test_volumes_are_those_of_patients(scans):
    for value, (low, high) in MEASURED_ML.items():
        volumes = [(labels == value).sum() for _, labels, _ in scans]
        assert low < np.median(volumes) < high
        assert all(0.75 * low < volume < 1.25 * high for volume in volumes)


def test_anterior_part_lies_in_front_below_and_touches_the_posterior(scans):
    for _, labels, _ in scans:
        front, back = (np.argwhere(labels == value).mean(0) for value in (ANTERIOR, POSTERIOR))
        assert front[1] > back[1] + 10
        assert front[2] < back[2]
        contact = binary_dilation(labels == ANTERIOR) & (labels == POSTERIOR)
        assert contact.sum() > 15


def test_hippocampus_is_one_piece_longer_than_wide(scans):
    for _, labels, _ in scans:
        pieces, count = label(labels > 0, np.ones((3, 3, 3)))
        sizes = np.bincount(pieces.ravel())[1:]
        assert sizes.max() > 0.97 * sizes.sum(), count
        width, length, _ = np.ptp(np.argwhere(labels), axis=0)
        assert length > 1.1 * width


def test_head_reaches_inwards(scans):
    # The left hippocampus: the midline is to the right, and the uncus bends towards it.
    for _, labels, _ in scans:
        front, back = ((labels == value).any((1, 2)) for value in (ANTERIOR, POSTERIOR))
        assert np.flatnonzero(front).max() > np.flatnonzero(back).max() - 3


def test_grey_levels_come_in_bytes_and_in_floats_of_any_scale(scans):
    types = {image.dtype for image, *_ in scans}
    assert types == {np.dtype(np.uint8), np.dtype(np.float32)}
    medians = [np.median(image) for image, *_ in scans]
    assert min(medians) < 120 < 300 < max(medians)


def test_intensity_alone_does_not_tell_the_hippocampus(scans):
    for image, labels, _ in scans:
        inside = image[labels > 0].astype(float)
        low, high = np.percentile(inside, [20, 80])
        outside = image[labels == 0]
        assert ((outside > low) & (outside < high)).sum() > inside.size
        assert 0.6 < inside.mean() / np.median(image) < 1.02


def test_fewer_slices_are_thicker(tmp_path):
    msd_hippocampus.write(tmp_path, 1, 3, size=25, slices=9)
    file = nib.load(tmp_path / "imagesTr/hippocampus_001.nii.gz")
    np.testing.assert_allclose(file.header.get_zooms(), (2, 2, 4))
    assert set(np.unique(nib.load(tmp_path / "labelsTr/hippocampus_001.nii.gz").dataobj)) == {
        0,
        ANTERIOR,
        POSTERIOR,
    }


def test_more_cases_leave_earlier_ones_alone(folder, tmp_path):
    msd_hippocampus.write(tmp_path, 2, 3)
    for part in ("imagesTr", "labelsTr"):
        for path in (tmp_path / part).iterdir():
            assert path.read_bytes() == (folder / part / path.name).read_bytes()


def test_same_random_numbers_same_drawing():
    space = figures.grid((20, 30, 24), (2.0, 2.0, 2.0), (0, 0, 0))
    one, two = (hippocampus.draw(np.random.default_rng(4), space, 2.0) for _ in range(2))
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_array_equal(one[1], two[1])
