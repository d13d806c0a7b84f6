"""Scans of all formats, prepared like those of a cohort."""

import nibabel as nib
import nrrd
import numpy as np
import pytest

from piecemeal.datasets.reading.volumes import Volume
from piecemeal.datasets.store import PreparedScan
from piecemeal.errors import InputError
from piecemeal.prediction import own_scan
from piecemeal.prediction.own_scan import doubts, prepare_own_scan


def prepared(path, cohort, modality="MR"):
    return prepare_own_scan(path, cohort, modality, ["bone"])


@pytest.fixture
def canonical(bodies):
    return bodies()


def test_it_is_what_the_store_has_of_the_same_scan(canonical):
    name = "subject002"
    found = prepared(canonical.raw / name / "thigh.nii.gz", canonical.cohort)
    stored = PreparedScan(canonical.prepared / "bodies" / name)
    np.testing.assert_array_equal(found.image, stored.image)
    geometry = ("native_shape", "spacing", "affine", "file_axes", "grid_spacing", "grid_shape")
    for key in geometry:
        assert found.record[key] == stored.record[key]
    assert found.record["declared"] == ["bone"]


def test_an_nrrd_is_read_like_the_same_nifti(canonical, tmp_path):
    path = canonical.raw / "subject001" / "thigh.nii.gz"
    nifti = nib.load(path)
    header = {"space": "right-anterior-superior", "space origin": nifti.affine[:3, 3]}
    header["space directions"] = nifti.affine[:3, :3].T
    nrrd.write(str(tmp_path / "own.NRRD"), np.asarray(nifti.dataobj), header)
    found, expected = (prepared(p, canonical.cohort) for p in (tmp_path / "own.NRRD", path))
    np.testing.assert_allclose(found.image, expected.image, atol=1e-5)
    np.testing.assert_allclose(found.geometry.affine, expected.geometry.affine, atol=1e-4)


@pytest.mark.parametrize(
    ("files", "read"),
    [
        (["b.dcm", "a.dcm", "notes.txt"], ["a.dcm", "b.dcm"]),
        (["IM2", "IM1", ".hidden"], ["IM1", "IM2"]),
    ],
)
def test_a_folder_is_a_dicom_series(canonical, tmp_path, monkeypatch, files, read):
    asked = []

    def read_series(paths):
        asked.extend(path.name for path in paths)
        voxels = np.arange(24.0).reshape(2, 3, 4)
        return Volume(paths[0], voxels, np.eye(4))

    monkeypatch.setattr(own_scan, "read_series", read_series)
    folder = tmp_path / "series"
    folder.mkdir()
    for name in files:
        (folder / name).touch()
    assert prepared(folder, canonical.cohort).geometry.native_shape == (4, 3, 2)
    assert asked == read


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing.nii.gz", r"missing\.nii\.gz: is missing"),
        ("scan.mha", r"scan\.mha: expected a file that ends in \.nii, \.nii\.gz, \.nrrd"),
        ("empty", "empty: is empty, expected the slices of one DICOM series"),
        ("cut.nii.gz", r"cut\.nii\.gz: is truncated, corrupt or not a NIfTI file"),
    ],
)
def test_what_is_no_scan_is_refused_by_name(canonical, tmp_path, name, words):
    (tmp_path / "empty").mkdir()
    whole = (canonical.raw / "subject001" / "thigh.nii.gz").read_bytes()
    (tmp_path / "cut.nii.gz").write_bytes(whole[:500])
    with pytest.raises(InputError, match=words):
        prepared(tmp_path / name, canonical.cohort)


def test_a_constant_scan_is_refused_by_name(canonical, tmp_path):
    path = tmp_path / "flat.nii.gz"
    nib.save(nib.Nifti1Image(np.ones((4, 4, 4), np.int16), np.eye(4)), path)
    with pytest.raises(InputError, match=r"flat\.nii\.gz: percentiles"):
        prepared(path, canonical.cohort)


# --- what is odd --------------------------------------------------------------------------------


def of_voxels(tmp_path, size=(8, 6, 4), spacing=1.5):
    path = tmp_path / "own.nii.gz"
    voxels = np.random.default_rng(0).normal(0, 100, size).astype(np.int16)
    nib.save(nib.Nifti1Image(voxels, np.diag([spacing] * 3 + [1.0])), path)
    return path


def cohort_of(size=(None, None, None), orientation="canonical"):
    """Voxels of 1.5 mm, and of the plane so many as `size` says."""
    return {
        "cohort": "blocks",
        "structures": [["bone", ["bone"]]],
        "orientation": orientation,
        "grid": {"spacing_mm": [1.5] * 3, "size": list(size), "fit": False},
        "intensity": {"CT": {"kind": "zscore"}, "MR": {"kind": "zscore"}},
    }


def test_of_an_ordinary_scan_nothing_is_odd(tmp_path):
    scan = prepared(of_voxels(tmp_path), cohort_of())
    assert doubts(scan, cohort_of(), "MR") == []


def test_what_lies_beyond_the_grid_is_told(tmp_path):
    cohort = cohort_of((None, 6, 4))  # half of the columns
    (doubt,) = doubts(prepared(of_voxels(tmp_path), cohort), cohort, "MR")
    assert doubt.startswith("50 % of it lies beyond the cohort's grid")


@pytest.mark.parametrize(("modality", "told"), [("CT", 1), ("MR", 0)])
def test_a_ct_of_exactly_one_millimetre_is_told(tmp_path, modality, told):
    scan = prepared(of_voxels(tmp_path, spacing=1.0), cohort_of(), modality)
    found = doubts(scan, cohort_of(), modality)
    assert sum("true size was lost" in doubt for doubt in found) == told


def test_a_cohort_in_the_order_of_its_files_says_so(tmp_path):
    cohort = cohort_of(orientation="file")
    (doubt,) = doubts(prepared(of_voxels(tmp_path), cohort), cohort, "MR")
    assert "voxel order of its files" in doubt


def test_odd_headers_are_told(tmp_path):
    path = of_voxels(tmp_path)
    nifti = nib.load(path)
    nifti.header.set_qform(np.diag([1.5, 1.5, 1.5, 1]), code=1)
    nifti.header.set_sform(np.eye(4), code=1)
    odd = nib.Nifti1Image(np.asarray(nifti.dataobj), None, nifti.header)
    odd.to_filename(path)
    found = doubts(prepared(path, cohort_of()), cohort_of(), "MR")
    assert found[0].startswith("sform ignored")
