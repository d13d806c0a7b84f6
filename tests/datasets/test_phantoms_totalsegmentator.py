"""The phantom of TotalSegmentator: masks, fields of view, oddities, versions and archives."""

import csv
import gzip
import zipfile

import nibabel as nib
import numpy as np
import pytest

from piecemeal.datasets.phantoms import totalsegmentator
from piecemeal.errors import InputError


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The small subset of version 2, five subjects."""
    folder = tmp_path_factory.mktemp("small")
    totalsegmentator.write(folder, 5, 3)
    return folder


def subjects(folder):
    return sorted(path.parent for path in folder.rglob("ct.nii.gz"))


def masks(subject):
    paths = sorted((subject / "segmentations").iterdir())
    return {path.name.removesuffix(".nii.gz"): np.asarray(nib.load(path).dataobj) for path in paths}


@pytest.fixture(scope="module")
def version_1(tmp_path_factory):
    folder = tmp_path_factory.mktemp("v1")
    totalsegmentator.write(folder, 5, 3, flavour="v1", size=40, slices=20)
    return folder


def test_names_and_geometry(small):
    found = subjects(small)
    assert [path.name for path in found] == ["s0000", "s0001", "s0002", "s0004", "s0005"]
    for subject in found:
        ct = nib.load(subject / "ct.nii.gz")
        assert nib.aff2axcodes(ct.affine) == ("R", "A", "S")
        assert ct.get_data_dtype() == np.int16
        assert (np.diag(ct.affine)[:3] > 0).all()
        for path in (subject / "segmentations").iterdir():
            mask = nib.load(path)
            assert mask.get_data_dtype() == np.uint8
            assert mask.shape == ct.shape
            np.testing.assert_array_equal(mask.affine, ct.affine)


def test_stems(small, version_1):
    needed = {
        *("gluteus_minimus_left", "gluteus_maximus_right", "gluteus_medius_left", "hip_right"),
        *("femur_left", "liver", "kidney_left", "stomach", "spleen", "gallbladder"),
        *("clavicula_left", "lung_lower_lobe_left", "lung_upper_lobe_right", "aorta", "esophagus"),
        *("lung_upper_lobe_left", "lung_middle_lobe_right", "scapula_left", "humerus_right"),
        *("urinary_bladder", "inferior_vena_cava", "portal_vein_and_splenic_vein", "duodenum"),
        *("adrenal_gland_left", "colon", "rib_left_1", "vertebrae_L1", "autochthon_left", "sacrum"),
    }
    stems = [set(masks(subject)) for subject in subjects(small)]
    assert all(found == stems[0] for found in stems)
    assert needed < stems[0]
    old = [set(masks(subject)) for subject in subjects(version_1)]
    assert old[0] == stems[0] - {"prostate"}
    assert [old[0] - found for found in old] == [set()] * 4 + [{"gallbladder"}]


def test_missing_structure_is_an_empty_mask(small):
    found = masks(subjects(small)[4])
    assert not found["gallbladder"].any()
    assert found["liver"].any()


def test_masks_overlap_and_stray(small):
    found = masks(subjects(small)[0])
    assert ((found["spleen"] > 0) & (found["stomach"] > 0)).any()
    assert np.count_nonzero(found["liver"] == 4) == 1
    assert all(mask.max() <= 1 for stem, mask in found.items() if stem != "liver")


def test_fields_of_view_differ(small):
    present = [
        {stem for stem, mask in masks(subject).items() if mask.any()} for subject in subjects(small)
    ]
    assert {"liver", "spleen", "stomach"} < present[0]
    assert {"gluteus_maximus_left", "gluteus_minimus_right", "hip_left", "femur_right"} < present[1]
    assert "liver" not in present[1]
    assert {"lung_upper_lobe_left", "scapula_left", "humerus_left", "clavicula_left"} < present[2]
    assert not {"hip_left", "urinary_bladder"} & present[2]


def test_voxels_are_isotropic_and_of_one_size(small):
    headers = [nib.load(subject / "ct.nii.gz").header for subject in subjects(small)]
    zooms = np.array([header.get_zooms() for header in headers])
    np.testing.assert_allclose(zooms, 400 / 60, rtol=1e-6)
    assert len({header.get_data_shape() for header in headers}) > 1


def test_prostate_is_of_men(small):
    folder = small
    with (folder / "meta.csv").open(encoding="utf-8-sig") as file:
        about = {row["image_id"]: row for row in csv.DictReader(file, delimiter=";")}
    for subject in subjects(folder):
        if masks(subject)["prostate"].any():
            assert about[subject.name]["gender"] == "m"


def test_meta(small, version_1):
    def rows(folder):
        (path,) = folder.rglob("meta.csv")
        return list(csv.DictReader(path.open(encoding="utf-8-sig"), delimiter=";"))

    first = ["image_id", "age", "gender", "institute", "study_type", "split"]
    assert list(rows(version_1)[0]) == first
    assert list(rows(small)[0])[:8] == [
        *first,
        "manufacturer",
        "scanner_model",
    ]
    assert [row["split"] for row in rows(version_1)] == ["train"] * 3 + ["val", "test"]
    assert "test" not in {row["split"] for row in rows(small)}
    assert (version_1 / "Totalsegmentator_dataset/meta.csv").is_file()
    assert (small / "meta.csv").is_file()


def test_truncated_ct_only_if_broken(tmp_path):
    totalsegmentator.write(tmp_path, 3, 3, broken=True, size=40, slices=6)
    good, _, bad = (path / "ct.nii.gz" for path in subjects(tmp_path))
    assert gzip.decompress(good.read_bytes())
    with pytest.raises(EOFError):
        gzip.decompress(bad.read_bytes())


@pytest.mark.parametrize("wrapper", [True, False])
@pytest.mark.parametrize(
    ("flavour", "name"),
    [
        ("v1", "Totalsegmentator_dataset.zip"),
        ("v2", "Totalsegmentator_dataset_v201.zip"),
        ("small", "Totalsegmentator_dataset_small_v201.zip"),
    ],
)
def test_zip_with_and_without_wrapper(flavour, name, wrapper, tmp_path):
    options = {"flavour": flavour, "wrapper": wrapper, "size": 40, "slices": 6}
    totalsegmentator.write(tmp_path / "packed", 1, 3, packed=True, **options)
    totalsegmentator.write(tmp_path / "loose", 1, 3, **options)
    (tmp_path / "loose/PHANTOM").unlink()
    loose = [path for path in (tmp_path / "loose").rglob("*") if path.is_file()]
    with zipfile.ZipFile(tmp_path / "packed" / name) as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    below = {path.relative_to(tmp_path / "loose").as_posix(): path.read_bytes() for path in loose}
    assert members == below
    assert ("Totalsegmentator_dataset/meta.csv" in members) == wrapper


def test_unknown_flavour_names_the_known_ones(tmp_path):
    with pytest.raises(InputError, match="v1, v2, small"):
        totalsegmentator.write(tmp_path, 1, 3, flavour="v3")
