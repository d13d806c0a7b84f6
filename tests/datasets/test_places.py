import numpy as np
import pytest

from piecemeal.datasets import places as module
from piecemeal.datasets.places import Places, write_places
from piecemeal.errors import InputError


@pytest.fixture
def codes():
    """Three slices of 2 x 4 voxels; code 3 occurs nowhere."""
    volume = np.zeros((3, 2, 4), np.uint8)
    volume[0, 0, 1] = volume[2, 1, 3] = 1
    volume[1, :, 2] = 2
    return volume


@pytest.fixture
def path(tmp_path):
    return tmp_path / "places.npz"


def test_slices_and_voxels_of_each_code(path, codes):
    write_places(path, codes, 4, "scan")
    places = Places(path)
    assert places.slices.dtype == bool
    assert places.slices.astype(int).tolist() == [[1, 1, 1], [1, 0, 1], [0, 1, 0], [0, 0, 0]]
    assert places.counts.tolist() == [(codes == code).sum() for code in range(4)]
    assert places.voxels(1).tolist() == [[0, 0, 1], [2, 1, 3]]
    assert places.voxels(2).tolist() == [[1, 0, 2], [1, 1, 2]]
    assert places.voxels(3).shape == (0, 3)
    assert len(places.voxels(0)) == 20


def test_voxels_of_a_large_structure_are_a_sample_without_repetition(path, codes, monkeypatch):
    monkeypatch.setattr(module, "LIMIT", 7)
    write_places(path, codes, 4, "scan")
    voxels = Places(path).voxels(0)
    assert len(voxels) == len(np.unique(voxels, axis=0)) == 7
    assert not codes[tuple(voxels.T)].any()
    assert len(Places(path).voxels(1)) == 2


def test_the_sample_covers_the_structure_evenly(path):
    write_places(path, np.zeros((4, 50, 50), np.uint8), 1, "scan")
    voxels = Places(path).voxels(0)
    assert len(voxels) == 1000
    # 250 expected in each slice, with a standard deviation below 14.
    assert np.all(abs(np.bincount(voxels[:, 0]) - 250) < 70)


def test_the_sample_depends_on_the_name_of_the_scan_alone(tmp_path):
    volume = np.zeros((4, 50, 50), np.uint8)
    for file, name in {"a": "scan1", "b": "scan1", "c": "scan2"}.items():
        write_places(tmp_path / file, volume, 1, name)
    first, again, other = (Places(tmp_path / file).voxels(0) for file in "abc")
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_nothing_is_read_before_it_is_asked_for(path):
    Places(path)


@pytest.mark.parametrize("spoil", ["missing", "empty", "cut", "flipped", "text"])
def test_a_file_that_cannot_be_read_is_named(path, codes, spoil):
    write_places(path, codes, 4, "scan")
    whole = path.read_bytes()
    if spoil == "missing":
        path.unlink()
    elif spoil == "flipped":  # the file's own check sum notices
        at = whole.index(b"NUMPY") + 128
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    else:
        path.write_bytes({"empty": b"", "cut": whole[:-40], "text": b"slices"}[spoil])
    with pytest.raises(InputError, match=r"places\.npz: cannot be read .* to annotate again"):
        _ = Places(path).slices


def test_a_code_that_was_not_written_is_refused(path, codes):
    write_places(path, codes, 4, "scan")
    with pytest.raises(InputError, match=r"places\.npz: cannot be read .*voxels4"):
        Places(path).voxels(4)
