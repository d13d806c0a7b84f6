import logging

import nibabel as nib
import numpy as np
import pytest

from piecemeal.datasets.scans import map_labels, read_nifti_pair, sha256_of
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
    assert scan.image[3, 2, 1] == voxels[1, 2, 3]
    assert scan.spacing == (3, 2, 1)
    assert scan.labels is None


def test_intensities_are_scaled_as_the_header_says(tmp_path):
    values = np.linspace(-0.5, 0.5, 8).reshape(2, 2, 2)
    nifti = nib.Nifti1Image(values, np.eye(4))
    nifti.set_data_dtype(np.int16)  # stored as whole numbers with a slope
    nib.save(nifti, tmp_path / "a.nii")
    np.testing.assert_allclose(read_nifti_pair(tmp_path / "a.nii", None).image, values.T, atol=1e-4)


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


@pytest.mark.parametrize(("shift", "logged"), [(0.005, False), (0.2, True)])
def test_small_displacement_is_taken(pair, volumes, caplog, shift, logged):
    volumes.write(pair[1], volumes.draw(0)[1], shift=shift)
    with caplog.at_level(logging.WARNING):
        scan = read_nifti_pair(*pair)
    assert scan.affine[0, 3] == 0
    assert ("mm off its image" in caplog.text) == logged


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


@pytest.mark.parametrize("value", [1.5, np.nan])
def test_labels_not_whole(pair, volumes, value):
    labels = volumes.draw(0)[1].astype(np.float32)
    labels[3, 4, 1] = value
    volumes.write(pair[1], labels)
    with pytest.raises(InputError, match=r"labels\.nii\.gz: expected whole numbers"):
        read_nifti_pair(*pair)


def test_whole_labels_stored_as_floats(pair, volumes):
    labels = volumes.draw(0)[1]
    volumes.write(pair[1], labels.astype(np.float64))
    raw = read_nifti_pair(*pair).labels
    assert raw.dtype.kind == "i"
    np.testing.assert_array_equal(raw, labels.T)


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 4, 2)])
def test_not_one_volume(tmp_path, shape):
    nib.save(nib.Nifti1Image(np.ones(shape, np.int16), np.eye(4)), tmp_path / "a.nii.gz")
    with pytest.raises(InputError, match="expected one 3D volume"):
        read_nifti_pair(tmp_path / "a.nii.gz", None)


def test_volume_of_one_time_point(tmp_path):
    nib.save(nib.Nifti1Image(np.ones((4, 5, 6, 1), np.int16), np.eye(4)), tmp_path / "a.nii.gz")
    assert read_nifti_pair(tmp_path / "a.nii.gz", None).image.shape == (6, 5, 4)


def write_unscaled_sform(path, voxels, qform):
    """The header of the official ACDC files: pixdim (and qform) right, sform of unit steps."""
    nifti = nib.Nifti1Image(voxels, None)
    nifti.header.set_zooms((1.5, 1.25, 10))
    if qform:
        nifti.set_qform(np.diag([-1.5, -1.25, 10, 1]), code=1)
    nifti.set_sform(np.diag([-1.0, -1, 1, 1]), code=1)
    nifti.header["pixdim"][1:4] = (1.5, 1.25, 10)
    nib.save(nifti, path)


@pytest.mark.parametrize("qform", [True, False])
def test_unscaled_sform(pair, volumes, caplog, qform):
    for path, voxels in zip(pair, volumes.draw(0), strict=True):
        write_unscaled_sform(path, voxels, qform)
    np.testing.assert_allclose(nib.load(pair[0]).affine, np.diag([-1.0, -1, 1, 1]))
    with caplog.at_level(logging.INFO):
        scan = read_nifti_pair(*pair)
    assert scan.spacing == (10, 1.25, 1.5)
    np.testing.assert_allclose(scan.affine, np.diag([-1.5, -1.25, 10, 1]))
    assert "the sform says voxels of [1.0, 1.0, 1.0] mm" in caplog.text


def test_axis_without_length(tmp_path):
    nifti = nib.Nifti1Image(np.ones((4, 4, 4), np.int16), None)
    nifti.header["sform_code"] = 1
    nifti.header["srow_x"] = (0, 0, 0, 0)
    nifti.header["srow_y"] = (0, 1, 0, 0)
    nifti.header["srow_z"] = (0, 0, 1, 0)
    raw = nifti.header.binaryblock + b"\0\0\0\0" + bytes(128)
    raw = raw[:108] + np.float32(352).tobytes() + raw[112:]
    (tmp_path / "a.nii").write_bytes(raw)
    with pytest.raises(InputError, match=r"a\.nii: the header's affine has an axis of no length"):
        read_nifti_pair(tmp_path / "a.nii", None)


def test_map_labels(tmp_path):
    table = {1: "bone", 2: "muscle", 500: "fat", 3: "muscle"}
    raw = np.array([[[0, 1, 2], [500, 3, 0]]])
    ids = map_labels(raw, table, ["fat", "muscle"], tmp_path)
    assert ids.dtype == np.uint8
    assert ids.tolist() == [[[0, 0, 2], [1, 2, 0]]]


def test_label_outside_the_map(tmp_path):
    with pytest.raises(InputError, match=r"gt\.nii: label values \[-1, 7\] are not in"):
        map_labels(np.array([0, 1, 7, -1]), {1: "bone"}, ["bone"], tmp_path / "gt.nii")


def test_empty_labels(tmp_path):
    with pytest.raises(InputError, match=r"gt\.nii: no voxel is labelled"):
        map_labels(np.zeros((2, 2, 2), int), {1: "bone"}, ["bone"], tmp_path / "gt.nii")


def test_sha256_of(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of([tmp_path / "a"])[tmp_path / "a"].startswith("ba7816bf")
    with pytest.raises(InputError, match="cannot be read"):
        sha256_of([tmp_path / "b"])
