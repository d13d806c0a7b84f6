"""Headers of all kinds: which affine is believed, and what is noted."""

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from piecemeal.datasets.reading.affines import (
    corner_displacement,
    orthonormal,
    spacing_of,
)
from piecemeal.datasets.reading.nifti import read_nifti_pair, read_volume
from piecemeal.errors import InputError

SHAPE = (5, 6, 7)
SIZES = (1.5, 1.25, 10)
PLAIN = np.diag([*SIZES, 1.0])
LPS = np.array([[-1.5, 0, 0, 40], [0, -1.25, 0, 30], [0, 0, 10, -20], [0, 0, 0, 1]])


def file_of(sform=None, qform=None, sizes=None) -> bytes:
    """A NIfTI file with these forms (None: code 0) and voxel sizes."""
    header = nib.Nifti1Image(np.ones(SHAPE, np.int16), None).header
    header.set_qform(qform, code=0 if qform is None else 1)
    header.set_sform(sform, code=0 if sform is None else 1)
    if sizes is not None:
        header["pixdim"][1:4] = sizes
    header["vox_offset"] = 352
    return header.binaryblock + bytes(4) + np.ones(SHAPE, np.int16).tobytes()


@pytest.fixture
def affine_of(tmp_path):
    """The affine and the notes that are read from such a file."""

    def read(*args, **kwargs):
        (tmp_path / "a.nii").write_bytes(file_of(*args, **kwargs))
        volume = read_volume(tmp_path / "a.nii")
        return volume.affine, list(volume.notes)

    return read


def test_sform_only(affine_of):
    affine, notes = affine_of(sform=LPS, sizes=SIZES)
    np.testing.assert_array_equal(affine, LPS)
    assert notes == []


def test_qform_only(affine_of):
    affine, notes = affine_of(qform=LPS)
    np.testing.assert_allclose(affine, LPS, atol=1e-6)
    assert notes == []


def test_both_forms_agree(affine_of):
    affine, notes = affine_of(sform=LPS, qform=LPS)
    np.testing.assert_allclose(affine, LPS)
    assert notes == []


def test_forms_that_disagree_in_place_only(affine_of):
    moved = LPS.copy()
    moved[0, 3] += 12
    affine, notes = affine_of(sform=LPS, qform=moved)
    np.testing.assert_allclose(affine, LPS)
    assert notes == ["sform and qform are up to 12.0 mm apart: sform used"]


def test_unscaled_sform_beside_a_qform(affine_of):
    affine, notes = affine_of(np.diag([-1.0, -1, 1, 1]), LPS)
    np.testing.assert_allclose(affine, LPS, atol=1e-6)
    said = "1 x 1 x 1 mm in the sform and 1.5 x 1.25 x 10 mm in the header"
    assert notes == [f"sform ignored: voxel sizes disagree, {said}"]


def test_unscaled_sform_alone(affine_of):
    unscaled = np.diag([-1.0, -1, 1, 1])
    unscaled[:3, 3] = 40, 30, -20
    affine, notes = affine_of(unscaled, sizes=SIZES)
    np.testing.assert_allclose(affine, LPS)
    assert notes[0].startswith("sform scaled to the header's voxel sizes: voxel sizes disagree")


def test_broken_sform_beside_a_qform(affine_of):
    broken = LPS.copy()
    broken[:, 1] = 0
    affine, _ = affine_of(broken, LPS)
    np.testing.assert_allclose(affine, LPS, atol=1e-6)


@pytest.mark.parametrize("sizes", [(0, 0, 0), (np.nan, 1, 1), (-1, 1, 1)])
def test_header_sizes_that_cannot_be(affine_of, sizes):
    affine, notes = affine_of(sform=LPS, sizes=sizes)
    np.testing.assert_array_equal(affine, LPS)
    assert notes == []


def test_no_orientation_at_all(affine_of):
    affine, notes = affine_of(sizes=SIZES)
    assert spacing_of(affine) == SIZES[::-1]
    assert notes == ["header without orientation: axes taken as the format's default"]


@pytest.mark.parametrize("qform", [LPS, None])
def test_no_sizes_to_go_by(affine_of, qform):
    with pytest.raises(InputError, match=r"a\.nii: the header's affine has an axis of no length"):
        affine_of(qform=qform, sizes=(1.5, 0, 10))


@pytest.mark.parametrize("broken", [np.diag([0.0, 1, 1, 1]), np.diag([np.nan, 1, 1, 1])])
def test_axis_without_length(affine_of, broken):
    with pytest.raises(InputError, match=r"a\.nii: the header's affine has an axis of no length"):
        affine_of(sform=broken, sizes=(1, 1, 1))


def test_shear_is_squared_and_noted(affine_of):
    sheared = PLAIN.copy()
    sheared[1, 2] = 10 * np.tan(np.radians(3))  # the slices are stacked at 3 degrees
    lengths = np.linalg.norm(sheared[:3, :3], axis=0)
    affine, notes = affine_of(sform=sheared, sizes=lengths)
    directions = affine[:3, :3] / lengths
    np.testing.assert_allclose(directions.T @ directions, np.eye(3), atol=1e-6)
    np.testing.assert_allclose(spacing_of(affine)[::-1], lengths, rtol=1e-6)
    assert notes == ["sheared affine: axes 3 degrees off a right angle, made square"]
    # The nearest rotation shares the angle between the two axes: 1.5 degrees each.
    angle = np.degrees(np.arccos(directions[1, 1]))
    assert angle == pytest.approx(1.5, abs=1e-3)


def test_two_axes_alike():
    flat = PLAIN.copy()
    flat[:3, 2] = (0, 10, 0.1)
    with pytest.raises(InputError, match=r"a\.nii: two axes of the header's affine point the same"):
        orthonormal(flat, "a.nii")


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_any_affine_at_right_angles_is_kept_in_any_handedness(seed, mirrored):
    rng = np.random.default_rng(seed)
    affine = np.eye(4)
    affine[:3, :3] = Rotation.random(rng=rng).as_matrix() * rng.uniform(0.3, 9, 3)
    affine[:3, 3] = rng.uniform(-500, 500, 3)
    affine[:, 0] *= -1 if mirrored else 1
    kept, notes = orthonormal(affine, "a.nii")
    assert kept is affine
    assert notes == []


@given(st.integers(0, 2**32 - 1))
def test_no_square_affine_is_nearer_than_the_one_found(seed):
    rng = np.random.default_rng(seed)
    sheared = np.eye(4)
    sheared[:3, :3] = Rotation.random(rng=rng).as_matrix() + rng.uniform(-0.1, 0.1, (3, 3))
    directions = sheared[:3, :3] / np.linalg.norm(sheared[:3, :3], axis=0)
    sheared[:3, :3] = directions
    found = orthonormal(sheared, "a.nii")[0][:3, :3]
    turn = Rotation.from_rotvec(rng.uniform(-0.05, 0.05, 3)).as_matrix()
    best = np.linalg.norm(found - directions)
    assert np.linalg.norm(turn @ found - directions) >= best - 1e-9
    assert np.linalg.det(found) == pytest.approx(1)


def test_corner_displacement_is_that_of_the_farthest_corner():
    longer = PLAIN.copy()
    longer[0, 0] += 0.1
    longer[1, 3] = 0.3
    # at x = 4: 0.4 along x and 0.3 along y
    assert corner_displacement(PLAIN, longer, SHAPE) == pytest.approx(0.5)


def test_image_and_labels_with_headers_of_two_kinds_lie_together(tmp_path):
    (tmp_path / "image.nii").write_bytes(file_of(qform=LPS))
    (tmp_path / "labels.nii").write_bytes(file_of(LPS, sizes=SIZES))
    scan = read_nifti_pair(tmp_path / "image.nii", tmp_path / "labels.nii")
    assert scan.notes == ()
    assert scan.spacing == pytest.approx(SIZES[::-1])


def test_notes_tell_image_and_labels_apart(tmp_path):
    (tmp_path / "image.nii").write_bytes(file_of(qform=LPS))
    (tmp_path / "labels.nii").write_bytes(file_of(np.diag([-1.0, -1, 1, 1]), LPS))
    ours = read_nifti_pair(tmp_path / "image.nii", tmp_path / "labels.nii").notes
    theirs = read_nifti_pair(tmp_path / "labels.nii", tmp_path / "image.nii").notes
    assert ours[0] == f"labels: {theirs[0]}"
    assert theirs[0].startswith("sform ignored")


def test_what_is_odd_about_both_is_noted_once(tmp_path):
    (tmp_path / "a.nii").write_bytes(file_of(np.diag([-1.0, -1, 1, 1]), LPS))
    (note,) = read_nifti_pair(tmp_path / "a.nii", tmp_path / "a.nii").notes
    assert note.startswith("sform ignored")
