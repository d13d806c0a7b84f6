"""Reading CT with landmarks: points and lines in mm become labels."""

import json

import nibabel as nib
import numpy as np
import pytest

from piecemeal.datasets.layouts import landmarks as layout
from piecemeal.errors import InputError

LABELS = {"eye": "eye", "tibia": "tibia", "nasion": "nasion"}
SHAPE = (12, 14, 10)
# Index 0 of x lies to the left; voxels of 1 x 2 x 3 mm.
AFFINE = np.array([[1, 0, 0, -100], [0, -2, 0, 50], [0, 0, 3, 10], [0, 0, 0, 1.0]])


def world(*index):
    return (AFFINE @ [*index, 1])[:3].tolist()


@pytest.fixture
def write(tmp_path):
    def subject(landmarks, number=1):
        folder = tmp_path / f"subject{number:03d}"
        folder.mkdir(exist_ok=True)
        image = np.random.default_rng(number).normal(0, 100, SHAPE).astype(np.int16)
        nib.save(nib.Nifti1Image(image, AFFINE), folder / "ct.nii.gz")
        text = landmarks if isinstance(landmarks, str) else json.dumps(landmarks)
        (folder / "landmarks.json").write_text(text)
        return tmp_path

    return subject


def read(root):
    return layout.read(layout.find_cases(root)[0], LABELS)


def nearest(scan):
    """Distance (mm) of every voxel, (z, y, x, point), from points given as indices."""
    index = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1)

    def distance(*points):
        steps = (index[..., None, :] - np.array(points, float)) * [1, 2, 3]
        return np.moveaxis(np.linalg.norm(steps, axis=-1), (0, 1, 2), (2, 1, 0))

    return distance


def test_subjects_in_order(write):
    write({}, 2)
    cases = layout.find_cases(write({}, 1))
    assert [case.scan for case in cases] == ["subject001", "subject002"]
    assert cases[0].labels.name == "landmarks.json"


def test_a_point_is_a_sphere_of_3_mm(write):
    scan = read(write({"tibia": [world(5, 6, 4)]}))
    inside = nearest(scan)((5, 6, 4))[..., 0] <= 3
    np.testing.assert_array_equal(scan.labels, 2 * inside)
    assert inside.sum() > 10
    assert scan.labels[4, 6, 8] == 2  # 3 mm along x
    assert scan.labels[4, 6, 9] == 0
    assert scan.labels[5, 6, 5] == 2  # 3 mm along z
    assert scan.notes == ()


def test_a_line_is_a_tube_with_round_ends(write):
    scan = read(write({"eye": [world(2, 6, 4), world(9, 6, 4), world(9, 10, 4)]}))
    along = [(2 + t, 6, 4) for t in np.linspace(0, 7, 701)]
    along += [(9, 6 + t, 4) for t in np.linspace(0, 4, 401)]
    inside = nearest(scan)(*along).min(axis=-1) <= 3
    np.testing.assert_array_equal(scan.labels, inside)


def test_the_later_of_labels_wins(write):
    points = {"nasion": [world(6, 6, 4)], "eye": [world(5, 6, 4)]}
    scan = read(write(points))
    assert scan.labels[4, 6, 5] == scan.labels[4, 6, 6] == 3
    assert scan.labels[4, 6, 2] == 1


def test_landmarks_between_the_middles_of_large_voxels_are_drawn(write, tmp_path):
    root = write({"tibia": [world(0, 0, 0)]})
    coarse = AFFINE * [10, 10, 10, 1]
    volume = np.zeros(SHAPE, np.int16)
    nib.save(nib.Nifti1Image(volume, coarse), root / "subject001" / "ct.nii.gz")
    ends = [(coarse @ [*index, 1])[:3].tolist() for index in ([2.4, 3.4, 1.4], [2.4, 3.4, 6.4])]
    points = {"eye": ends, "nasion": [(coarse @ [8.6, 8.6, 8.6, 1])[:3].tolist()]}
    (root / "subject001" / "landmarks.json").write_text(json.dumps(points))
    scan = read(root)
    assert (scan.labels == 1).nonzero()[0].tolist() == [1, 2, 3, 4, 5, 6]
    assert np.argwhere(scan.labels == 3).tolist() == [[9, 9, 9]]


@pytest.mark.parametrize("landmarks", [{}, {"eye": []}])
def test_a_missing_landmark_is_absent(write, landmarks):
    scan = read(write({"tibia": [world(5, 6, 4)]} | landmarks))
    assert set(np.unique(scan.labels)) == {0, 2}
    assert scan.labels.dtype == np.uint8


def test_a_point_at_the_edge_is_cut(write):
    scan = read(write({"eye": [world(0, 0, 0)]}))
    np.testing.assert_array_equal(scan.labels, nearest(scan)((0, 0, 0))[..., 0] <= 3)


@pytest.mark.parametrize("place", [(-10, 0, 0), (5, 6, 40), (-4, 6, 4)])
def test_a_point_outside_is_noted(write, place):
    scan = read(write({"eye": [world(*place)], "tibia": [world(5, 6, 4)]}))
    assert scan.notes == ("labels: eye: outside the image",)
    assert set(np.unique(scan.labels)) == {0, 2}


def test_unknown_name(write):
    with pytest.raises(InputError, match=r"landmarks\.json: landmarks \['ear'\] are not in"):
        read(write({"ear": [world(1, 1, 1)]}))


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"eye": 3}', '{"eye": [1, 2, 3]}', '{"eye": [[1, 2]]}', '{"eye": [["a", 2, 3]]}'],
)
def test_landmarks_of_another_form(write, text):
    with pytest.raises(InputError, match=r"landmarks\.json: cannot be read"):
        read(write(text))


def test_points_that_are_not_finite(write):
    with pytest.raises(InputError, match=r"landmarks\.json: points of \['eye'\] are not finite"):
        read(write('{"eye": [[NaN, 0, 0]]}'))


@pytest.mark.parametrize("name", ["ct.nii.gz", "landmarks.json"])
def test_missing_file(write, name):
    write({}, 1)
    root = write({}, 2)
    (root / "subject002" / name).unlink()
    bad = []
    assert [case.case for case in layout.find_cases(root, bad)] == ["subject001"]
    assert [one.scan for one in bad] == ["subject002"]
    with pytest.raises(InputError, match=f"subject002/{name}: is missing"):
        layout.find_cases(root)


def test_no_subject(tmp_path):
    with pytest.raises(InputError, match=r"no subject with landmarks here, expected subject001/"):
        layout.find_cases(tmp_path)
