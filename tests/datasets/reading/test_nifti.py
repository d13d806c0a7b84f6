"""NIfTI files: what is read, and what is refused by name."""

import logging

import nibabel as nib
import numpy as np
import pytest

from piecemeal.datasets.reading.nifti import read_nifti_pair, read_volume
from piecemeal.errors import InputError


@pytest.fixture
def pair(tmp_path, volumes):
    image, labels = volumes.draw(0)
    volumes.write(tmp_path / "image.nii.gz", image)
    volumes.write(tmp_path / "labels.nii.gz", labels)
    return tmp_path / "image.nii.gz", tmp_path / "labels.nii.gz"


def test_arrays_are_slice_row_column(tmp_path, volumes):
    voxels = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    volumes.write(tmp_path / "a.nii.gz", voxels, spacing=(1, 2, 3))
    scan = read_nifti_pair(tmp_path / "a.nii.gz", None)
    assert scan.image.dtype == np.float32
    assert scan.image.flags.c_contiguous
    assert scan.image[3, 2, 1] == voxels[1, 2, 3]
    assert scan.spacing == (3, 2, 1)
    assert scan.labels is None


def test_an_ordinary_pair_is_nothing_to_note(pair):
    scan = read_nifti_pair(*pair)
    assert scan.notes == ()
    assert scan.labels.dtype == np.uint8
    assert scan.labels.flags.c_contiguous


@pytest.mark.parametrize("stored", [np.int16, np.uint8])
def test_intensities_are_scaled_as_the_header_says(tmp_path, stored):
    values = np.linspace(-0.5, 0.5, 8).reshape(2, 2, 2)
    nifti = nib.Nifti1Image(values, np.eye(4))
    nifti.set_data_dtype(stored)  # stored as whole numbers with a slope
    nib.save(nifti, tmp_path / "a.nii")
    read = read_nifti_pair(tmp_path / "a.nii", None).image
    np.testing.assert_allclose(read, values.T, atol=3e-3)


def test_slope_and_intercept(tmp_path):
    nifti = nib.Nifti1Image(np.full((2, 2, 2), 30, np.int16), np.eye(4))
    content = bytearray(nifti.to_bytes())
    content[112:120] = np.array([0.5, -1000], "<f4").tobytes()
    (tmp_path / "a.nii").write_bytes(content)
    assert (read_nifti_pair(tmp_path / "a.nii", None).image == 0.5 * 30 - 1000).all()


@pytest.mark.parametrize("kept", [0.5, 0.05, -1, -9])
@pytest.mark.parametrize("which", [0, 1])
def test_truncated(pair, which, kept):
    content = pair[which].read_bytes()
    end = int(len(content) * kept) if kept > 0 else kept
    pair[which].write_bytes(content[:end])
    with pytest.raises(InputError, match=r"truncated.*download or copy it again") as caught:
        read_nifti_pair(*pair)
    assert str(pair[which]) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"<html>log in first</html>", b"\x1f\x8b", b"\0" * 352])
def test_not_a_nifti_file(pair, content):
    pair[0].write_bytes(content)
    with pytest.raises(InputError, match=r"image\.nii\.gz: is truncated, corrupt or not a NIfTI"):
        read_nifti_pair(*pair)


def test_header_that_speaks_of_more_than_there_is(tmp_path):
    nifti = nib.Nifti1Image(np.ones((4, 4, 4), np.int16), np.eye(4))
    content = bytearray(nifti.to_bytes())
    content[42:48] = np.full(3, 32767, np.int16).tobytes()
    (tmp_path / "a.nii").write_bytes(content)
    with pytest.raises(InputError, match="480 bytes, the header speaks of"):
        read_nifti_pair(tmp_path / "a.nii", None)


def test_flipped_bit(pair):
    content = bytearray(pair[0].read_bytes())
    content[len(content) // 2] ^= 1
    pair[0].write_bytes(bytes(content))
    with pytest.raises(InputError, match=r"image\.nii\.gz: is truncated, corrupt"):
        read_nifti_pair(*pair)


def test_missing(pair):
    pair[1].unlink()
    with pytest.raises(InputError, match=r"labels\.nii\.gz: is missing"):
        read_nifti_pair(*pair)


def test_shapes_differ(pair, volumes):
    volumes.write(pair[1], volumes.draw(0, (20, 24, 4))[1])
    with pytest.raises(InputError, match=r"labels\.nii\.gz: shape \(20, 24, 4\) differs"):
        read_nifti_pair(*pair)


@pytest.mark.parametrize(("shift", "noted"), [(0.005, False), (0.2, True)])
def test_small_displacement_is_taken(pair, volumes, caplog, shift, noted):
    volumes.write(pair[1], volumes.draw(0)[1], shift=shift)
    with caplog.at_level(logging.WARNING):
        scan = read_nifti_pair(*pair)
    assert scan.affine[0, 3] == 0
    assert scan.notes == (("labels: lies 0.2 mm off the image",) if noted else ())
    assert ("mm off its image" in caplog.text) == noted


def test_other_space(pair, volumes):
    volumes.write(pair[1], volumes.draw(0)[1], shift=0.6)
    with pytest.raises(InputError, match=r"labels\.nii\.gz: lies up to 0\.60 mm away"):
        read_nifti_pair(*pair)


def test_small_spacing_difference_adds_up_at_the_far_corner(pair, volumes):
    volumes.write(pair[1], volumes.draw(0)[1], spacing=(1.5, 1.53, 10))  # 23 * 0.03 = 0.69
    with pytest.raises(InputError, match=r"0\.69 mm away"):
        read_nifti_pair(*pair)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_voxels_not_finite(pair, volumes, value):
    image = volumes.draw(0)[0].astype(np.float32)
    image[3, 4, 1] = value
    volumes.write(pair[0], image)
    with pytest.raises(InputError, match=r"image\.nii\.gz: 1 of 1440 voxels"):
        read_nifti_pair(*pair)


@pytest.mark.parametrize("dtype", [np.complex64, [("R", "u1"), ("G", "u1"), ("B", "u1")]])
def test_voxels_that_are_no_numbers(tmp_path, volumes, dtype):
    volumes.write(tmp_path / "a.nii.gz", np.zeros((2, 3, 4), dtype))
    with pytest.raises(InputError, match=r"a\.nii\.gz: expected one real number a voxel"):
        read_nifti_pair(tmp_path / "a.nii.gz", None)


@pytest.mark.parametrize("value", [1.5, np.nan, np.inf])
def test_labels_not_whole(pair, volumes, value):
    labels = volumes.draw(0)[1].astype(np.float32)
    labels[3, 4, 1] = value
    volumes.write(pair[1], labels)
    with pytest.raises(InputError, match=r"labels\.nii\.gz: expected whole numbers"):
        read_nifti_pair(*pair)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int32, np.uint16])
def test_labels_of_any_type_come_as_the_smallest_integers(pair, volumes, dtype):
    labels = volumes.draw(0)[1]
    volumes.write(pair[1], labels.astype(dtype))
    raw = read_nifti_pair(*pair).labels
    assert raw.dtype == np.uint8
    np.testing.assert_array_equal(raw, labels.T)


@pytest.mark.parametrize(("value", "dtype"), [(300, np.uint16), (-1, np.int16)])
def test_label_values_are_not_cut_off(pair, volumes, value, dtype):
    labels = volumes.draw(0)[1].astype(np.int16)
    labels[3, 4, 1] = value
    volumes.write(pair[1], labels)
    raw = read_nifti_pair(*pair).labels
    assert raw[1, 4, 3] == value
    assert raw.dtype == dtype


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 4, 2)])
def test_not_one_volume(tmp_path, shape):
    nib.save(nib.Nifti1Image(np.ones(shape, np.int16), np.eye(4)), tmp_path / "a.nii.gz")
    with pytest.raises(InputError, match="expected one 3D volume"):
        read_nifti_pair(tmp_path / "a.nii.gz", None)


@pytest.mark.parametrize("shape", [(4, 5, 6, 1), (4, 5, 6, 1, 1)])
def test_volume_of_one_time_point(tmp_path, shape):
    nib.save(nib.Nifti1Image(np.ones(shape, np.int16), np.eye(4)), tmp_path / "a.nii.gz")
    scan = read_nifti_pair(tmp_path / "a.nii.gz", tmp_path / "a.nii.gz")
    assert scan.image.shape == scan.labels.shape == (6, 5, 4)


def test_a_volume_knows_its_file(pair):
    volume = read_volume(pair[0])
    assert volume.file == pair[0]
    assert volume.voxels.shape == (20, 24, 3)
    assert volume.voxels.dtype == np.int16


def test_bytes_in_the_other_order(tmp_path):
    voxels = np.arange(24, dtype=">i2").reshape(2, 3, 4)
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    nib.save(nib.Nifti1Image(voxels, np.diag([1.5, 2, 3, 1]), header), tmp_path / "a.nii")
    assert (tmp_path / "a.nii").read_bytes()[:4] == b"\0\0\1\x5c"
    scan = read_nifti_pair(tmp_path / "a.nii", tmp_path / "a.nii")
    assert scan.spacing == (3, 2, 1.5)
    np.testing.assert_array_equal(scan.image, voxels.T)
    assert scan.labels.dtype == np.uint8
