"""NRRD files: where their voxels lie, and what is refused by name."""

import io

import nrrd
import numpy as np
import pytest

from piecemeal.datasets.reading.nrrd import read_volume
from piecemeal.errors import InputError

VOXELS = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4)
HEADER = {
    "space": "left-posterior-superior",
    "space directions": np.diag([1.0, 1.5, 3.0]),
    "space origin": [10, 20, 30],
    "encoding": "gzip",
}


@pytest.fixture
def file(tmp_path):
    """Write a file; what is given replaces a field of the header, None removes it."""

    def write(voxels=VOXELS, **fields):
        header = HEADER | {name.replace("_", " "): value for name, value in fields.items()}
        header = {name: value for name, value in header.items() if value is not None}
        nrrd.write(str(tmp_path / "a.nrrd"), voxels, header)
        return tmp_path / "a.nrrd"

    return write


def with_space(path, name):
    """The same file with another word for its space, which the library would not write."""
    content = path.read_bytes()
    path.write_bytes(content.replace(b"left-posterior-superior", name.encode(), 1))
    return path


def test_voxels_stay_in_the_order_of_the_file(file):
    volume = read_volume(file())
    np.testing.assert_array_equal(volume.voxels, VOXELS)
    assert volume.voxels.dtype == np.int16
    assert volume.notes == ()


@pytest.mark.parametrize(
    ("space", "signs"),
    [
        ("left-posterior-superior", (-1, -1, 1)),
        ("LPS", (-1, -1, 1)),
        ("right-anterior-superior", (1, 1, 1)),
        ("RAS", (1, 1, 1)),
        ("left-anterior-superior", (-1, 1, 1)),
        ("LAS", (-1, 1, 1)),
        ("Right-Anterior-Superior", (1, 1, 1)),
    ],
)
def test_every_space_becomes_right_front_up(file, space, signs):
    affine = read_volume(with_space(file(), space)).affine
    # The voxel (1, 1, 1) lies at (11, 21.5, 33) of the file's space.
    np.testing.assert_allclose(affine @ [1, 1, 1, 1], [*np.multiply(signs, (11, 21.5, 33)), 1])


def test_each_row_of_directions_is_an_axis(file):
    directions = [[0, 2, 0], [1, 0, 0], [0, 0, 3]]  # axis x of the file runs to the back
    affine = read_volume(file(space_directions=np.array(directions, float))).affine
    np.testing.assert_allclose(affine[:3, 0], [0, -2, 0])
    np.testing.assert_allclose(affine[:3, 1], [-1, 0, 0])


def test_sheared_directions_are_squared(file):
    sheared = np.array([[1, 0, 0], [0, 1, 0], [0, 0.1, 3]], float)
    volume = read_volume(file(space_directions=sheared))
    directions = volume.affine[:3, :3] / np.linalg.norm(volume.affine[:3, :3], axis=0)
    np.testing.assert_allclose(directions.T @ directions, np.eye(3), atol=1e-12)
    assert volume.notes[0].startswith("sheared affine")


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2", "ascii"])
def test_encodings(file, encoding):
    np.testing.assert_array_equal(read_volume(file(encoding=encoding)).voxels, VOXELS)


def test_slicer_keys_do_no_harm(file):
    path = file(Segment0_ID="Segment_1", Segment0_LabelValue="1", kinds=["domain"] * 3)
    np.testing.assert_array_equal(read_volume(path).voxels, VOXELS)


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2"])
@pytest.mark.parametrize("cut", [1, 5, 20])
def test_truncated(file, encoding, cut):
    path = file(encoding=encoding)
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(InputError, match=r"a\.nrrd: is truncated, corrupt or not an NRRD"):
        read_volume(path)


def test_flipped_bit(file):
    path = file(np.random.default_rng(0).integers(0, 999, (9, 9, 9)))
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="is truncated, corrupt"):
        read_volume(path)


@pytest.mark.parametrize("content", [b"", b"<html>log in first</html>", b"NRRD0004\n", b"\x00\xff"])
def test_not_an_nrrd_file(tmp_path, content):
    (tmp_path / "a.nrrd").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.nrrd: is truncated, corrupt or not an NRRD"):
        read_volume(tmp_path / "a.nrrd")


def test_missing(tmp_path):
    with pytest.raises(InputError, match=r"a\.nrrd: is missing"):
        read_volume(tmp_path / "a.nrrd")


def test_voxels_in_another_file(tmp_path):
    nrrd.write(str(tmp_path / "a.nhdr"), VOXELS, dict(HEADER), detached_header=True)
    with pytest.raises(InputError, match=r"a\.nhdr: .*expected them attached"):
        read_volume(tmp_path / "a.nhdr")


def test_four_dimensions(file):
    directions = np.vstack([np.full(3, np.nan), HEADER["space directions"]])
    path = file(VOXELS[None].repeat(2, 0), space_directions=directions)
    with pytest.raises(InputError, match=r"expected one 3D volume, found shape \(2, 2, 3, 4\)"):
        read_volume(path)


@pytest.mark.parametrize("name", ["scanner-xyz", "3D-right-handed"])
def test_a_space_that_tells_no_sides(file, name):
    with pytest.raises(InputError, match=f"space is '{name}', expected one of"):
        read_volume(with_space(file(), name))


def test_no_space_at_all(file):
    path = file(space=None, space_directions=None, space_origin=None, spacings=[1, 1, 1])
    with pytest.raises(InputError, match="space is '', expected one of"):
        read_volume(path)


def test_no_origin(file):
    with pytest.raises(InputError, match=r"expected three space directions and a space origin"):
        read_volume(file(space_origin=None))


def test_directions_without_length(file):
    with pytest.raises(InputError, match=r"a\.nrrd: the header's affine has an axis of no length"):
        read_volume(file(space_directions=np.diag([1.0, 0, 1])))


def test_other_units(file):
    with pytest.raises(InputError, match=r"space units are \['cm', 'cm', 'cm'\], expected mm"):
        read_volume(file(space_units=["cm"] * 3))


def test_what_is_read_need_not_be_a_path():
    class Member:
        def read_bytes(self):
            stream = io.BytesIO()
            nrrd.write(stream, VOXELS, dict(HEADER))
            return stream.getvalue()

    np.testing.assert_array_equal(read_volume(Member()).voxels, VOXELS)
