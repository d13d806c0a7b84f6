"""Turning scans to canonical axes, and predictions back."""

import itertools

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from piecemeal.datasets.orientation import axes_of, to_canonical, to_file_order
from piecemeal.errors import InputError

ORIENTATIONS = [
    "".join(pick)
    for order in itertools.permutations(("LR", "PA", "IS"))
    for pick in itertools.product(*order)
]
TOWARDS = {"R": (1, 0, 0), "A": (0, 1, 0), "S": (0, 0, 1)}
TOWARDS |= {code: tuple(-np.array(TOWARDS[plus])) for code, plus in zip("LPI", "RAS", strict=True)}

SHAPES = st.tuples(*3 * [st.integers(1, 5)])
SPACINGS = st.tuples(*3 * [st.floats(0.5, 5)])
ORIGINS = st.tuples(*3 * [st.floats(-300, 300)])


def straight(codes, spacing=(1, 1, 1), origin=(0, 0, 0)):
    """An affine whose voxel axes (x, y, z) run along these codes."""
    affine = np.eye(4)
    affine[:3, :3] = np.transpose([TOWARDS[code] for code in codes]) * spacing
    affine[:3, 3] = origin
    return affine


def tilted(rotation):
    """An affine that turns the world."""
    affine = np.eye(4)
    affine[:3, :3] = rotation.as_matrix()
    return affine


def numbered(shape):
    """A volume whose every voxel is another number."""
    return np.arange(np.prod(shape)).reshape(shape)


def positions(volume, affine):
    """World position of each voxel value of `numbered`, in the order of the values."""
    z, y, x = np.unravel_index(np.argsort(volume, axis=None), volume.shape)
    return np.stack([x, y, z, np.ones_like(x)], axis=1) @ affine[:3].T


def test_there_are_48_orientations():
    assert len(set(ORIENTATIONS)) == 48


def test_a_flip_worked_by_hand():
    """RAS to LPS: x and y run the other way from the corner opposite; 2 columns, 3 rows."""
    image = np.array([[[0, 1], [2, 3], [4, 5]]])
    affine = straight("RAS", (2, 1, 4), (10, 20, 30))
    turned, labels, there, file_axes = to_canonical(image, image + 10, affine)
    assert turned.tolist() == [[[5, 4], [3, 2], [1, 0]]]
    assert labels.tolist() == [[[15, 14], [13, 12], [11, 10]]]
    assert there.tolist() == [[-2, 0, 0, 12], [0, -1, 0, 22], [0, 0, 4, 30], [0, 0, 0, 1]]
    assert file_axes == "RAS"


def test_sagittal_slices_become_columns():
    """The file counts slices to the left, rows downwards and columns to the back."""
    image = numbered((2, 3, 4))
    turned, _, there, file_axes = to_canonical(image, None, straight("PIL", (0.5, 0.6, 3)))
    assert file_axes == "PIL"
    assert turned.shape == (3, 4, 2)
    assert turned[2, 1, 0] == image[0, 0, 1]  # the first row is the top
    np.testing.assert_allclose(np.linalg.norm(there[:3, :3], axis=0), [3, 0.5, 0.6])


def test_a_scan_without_labels_has_none():
    assert to_canonical(numbered((1, 2, 3)), None, straight("LAS"))[1] is None


def check(image, affine, codes):
    """Turned, its axes run along the codes and every voxel is where it was; so it is turned back.

    Returns the axes of the file.
    """
    turned, labels, there, file_axes = to_canonical(image, image, affine, codes)
    assert axes_of(there) == codes
    assert turned.flags.c_contiguous
    np.testing.assert_array_equal(turned, labels)
    np.testing.assert_allclose(positions(turned, there), positions(image, affine), atol=1e-9)
    back, again = to_file_order(turned, there, file_axes)
    assert back.flags.c_contiguous
    np.testing.assert_array_equal(back, image)
    np.testing.assert_allclose(again, affine, atol=1e-9)
    return file_axes


@pytest.mark.parametrize("codes", ["LPS", "RAS"])
@pytest.mark.parametrize("file_axes", ORIENTATIONS)
def test_every_orientation_is_turned_and_turned_back(file_axes, codes):
    affine = straight(file_axes, (0.8, 1.2, 5), (12, -7, 300))
    assert check(numbered((2, 3, 4)), affine, codes) == file_axes


@given(
    st.sampled_from(ORIENTATIONS),
    st.sampled_from(ORIENTATIONS),
    SHAPES,
    SPACINGS,
    ORIGINS,
    st.integers(0, 2**32 - 1),
)
def test_every_voxel_keeps_its_place_in_the_world(start, codes, shape, spacing, origin, seed):
    """However the scan is tilted."""
    tilt = tilted(Rotation.random(random_state=seed))
    check(numbered(shape), tilt @ straight(start, spacing, origin), codes)


@given(st.lists(st.integers(-4, 4), min_size=3, max_size=3), st.sampled_from(ORIENTATIONS), SHAPES)
def test_tilts_of_45_degrees_come_back_too(eighths, start, shape):
    """Where two axes are as close, the choice is the same before and after the turn."""
    tilt = tilted(Rotation.from_euler("xyz", 45.0 * np.array(eighths), degrees=True))
    check(numbered(shape), tilt @ straight(start, (0.8, 1.2, 5)), "LPS")


def test_an_oblique_scan_is_turned_to_the_closest_axes():
    """30 degrees about the long axis of the body."""
    tilt = tilted(Rotation.from_euler("z", 30, degrees=True))
    image = numbered((2, 3, 4))
    turned, _, there, file_axes = to_canonical(image, None, tilt @ straight("RPI"))
    assert file_axes == "RPI"
    np.testing.assert_array_equal(turned, image[::-1, :, ::-1])
    np.testing.assert_allclose(there[:3, :3], (tilt @ straight("LPS"))[:3, :3], atol=1e-12)


def test_what_is_canonical_is_not_copied():
    image = numbered((2, 3, 4))
    turned, labels, there, file_axes = to_canonical(image, image, straight("LPS"))
    assert np.shares_memory(turned, image)
    assert np.shares_memory(labels, image)
    assert file_axes == "LPS"
    np.testing.assert_array_equal(there, straight("LPS"))


def test_nibabel_agrees_on_ras():
    """Its own turn to the closest canonical axes, of (x, y, z)."""
    tilt = tilted(Rotation.from_euler("xyz", [8, -5, 20], degrees=True))
    image, affine = numbered((2, 3, 4)), tilt @ straight("IRP", (3, 0.7, 0.8), (5, 6, 7))
    theirs = nib.as_closest_canonical(nib.Nifti1Image(image.T.astype(np.int16), affine))
    turned, _, there, _ = to_canonical(image, None, affine, "RAS")
    np.testing.assert_array_equal(turned, np.asarray(theirs.dataobj).T)
    np.testing.assert_allclose(there, theirs.affine, atol=1e-6)


@pytest.mark.parametrize("third", [(0, -1, 0), (0, 0, 0)])
def test_axes_in_one_plane_are_refused(third):
    flat = straight("LPS")
    flat[:3, 2] = third
    with pytest.raises(InputError, match="expected axes in three directions"):
        to_canonical(numbered((2, 2, 2)), None, flat)
