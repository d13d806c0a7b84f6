"""Reading HaN-Seg: NRRD, one mask an organ, by name and by geometry."""

import nrrd
import numpy as np
import pytest

from piecemeal.datasets.layouts import hanseg as layout
from piecemeal.errors import InputError

SHAPE = (16, 14, 6)
STEPS = np.array([1.0, 1.0, 3.0])
ORIGIN = np.array([-8.0, -200.0, 40.0])
LABELS = {
    "Bone_Mandible": "mandible",
    "Parotid_L": "left parotid",
    "Parotid_R": "right parotid",
    "Eye_AL": "left eye anterior segment",
}


def write(path, voxels, start=(0, 0, 0), **fields):
    """Voxels on the lattice of the CT, the first at the index `start`."""
    header = {
        "space": "left-posterior-superior",
        "space directions": np.diag(STEPS),
        "space origin": ORIGIN + STEPS * start,
        "encoding": "gzip",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    nrrd.write(str(path), voxels, header | fields)


def box(start, size=3):
    mask = np.zeros(SHAPE, np.uint8)
    mask[start : start + size, 4:7, 1:4] = 1
    return mask


def write_patient(folder):
    name = folder.name
    image = np.random.default_rng(0).normal(0, 200, SHAPE).astype(np.int16)
    write(folder / f"{name}_IMG_CT.nrrd", image)
    mr = np.ones((5, 5, 5), np.uint16)
    write(folder / f"{name}_IMG_MR_T1.nrrd", mr, (500, 0, 0))
    for organ, start in {"Parotid_R": 1, "Bone_Mandible": 6, "Parotid_L": 12, "Lips": 9}.items():
        slicer = {"Segment0_ID": organ, "Segment0_LabelValue": "1"}
        write(folder / f"{name}_OAR_{organ}.seg.nrrd", box(start), **slicer)
    # An eye is cropped to its bounding box.
    eye = np.ones((2, 2, 2), np.uint8)
    write(folder / f"{name}_OAR_Eye_AL.seg.nrrd", eye, (10, 11, 4))


@pytest.fixture
def patients(tmp_path):
    """Two patients in the doubled folder that the archive unpacks to."""
    for case in ("case_02", "case_01"):
        write_patient(tmp_path / "HaN-Seg" / "HaN-Seg" / "set_1" / case)
    return tmp_path


def test_finds_ct_and_masks_by_name(patients):
    cases = layout.find_cases(patients)
    assert [case.scan for case in cases] == ["case_01", "case_02"]
    folder = patients / "HaN-Seg" / "HaN-Seg" / "set_1" / "case_01"
    assert cases[0].image == folder / "case_01_IMG_CT.nrrd"
    names = ["Bone_Mandible", "Eye_AL", "Lips", "Parotid_L", "Parotid_R"]
    assert [name for name, _ in cases[0].masks] == names
    assert cases[0].labels is None
    assert layout.find_cases(folder.parents[1]) == cases


def test_reads_masks_where_they_lie(patients):
    scan = layout.read(layout.find_cases(patients)[0], LABELS)
    assert scan.image.shape == scan.labels.shape == SHAPE[::-1]
    assert scan.spacing == (3, 1, 1)
    expected = 1 * box(6) + 2 * box(12) + 3 * box(1)
    expected[10:12, 11:13, 4:6] = 4
    np.testing.assert_array_equal(scan.labels, expected.T)
    np.testing.assert_allclose(scan.affine[:3, 3], [8, 200, 40])  # LPS to RAS
    assert scan.notes == ()


def test_a_missing_organ_shifts_no_number(patients):
    (missing,) = patients.rglob("case_01_OAR_Bone_Mandible.seg.nrrd")
    missing.unlink()
    scan = layout.read(layout.find_cases(patients)[0], LABELS)
    assert set(np.unique(scan.labels)) == {0, 2, 3, 4}
    assert scan.labels.T[13, 5, 2] == 2


def test_a_mask_between_the_voxels_is_resampled_and_noted(patients):
    (path,) = patients.rglob("case_01_OAR_Eye_AL.seg.nrrd")
    write(path, np.ones((2, 2, 2), np.uint8), (10.3, 11.2, 4))
    scan = layout.read(layout.find_cases(patients)[0], LABELS)
    assert (scan.labels == 4).sum() == 8
    expected = "labels: Eye_AL: resampled to the image's grid (nearest voxel)"
    assert scan.notes == (expected,)


def test_a_mask_elsewhere(patients):
    (path,) = patients.rglob("case_01_OAR_Eye_AL.seg.nrrd")
    write(path, np.ones((2, 2, 2), np.uint8), (500, 0, 0))
    with pytest.raises(InputError, match=r"case_01_OAR_Eye_AL\.seg\.nrrd: lies outside its image"):
        layout.read(layout.find_cases(patients)[0], LABELS)


def test_patient_without_ct(patients):
    (path,) = patients.rglob("case_02_IMG_CT.nrrd")
    path.unlink()
    bad = []
    assert [case.case for case in layout.find_cases(patients, bad)] == ["case_01"]
    assert [one.scan for one in bad] == ["case_02"]
    with pytest.raises(InputError, match=r"case_02: has no case_02_IMG_CT\.nrrd; copy it"):
        layout.find_cases(patients)


def test_patient_without_masks(patients):
    for path in patients.rglob("case_02_OAR_*"):
        path.unlink()
    with pytest.raises(InputError, match=r"case_02: has no case_02_OAR_"):
        layout.find_cases(patients)


def test_same_patient_in_two_folders(patients):
    write_patient(patients / "set_1" / "case_01")
    bad = []
    assert [case.case for case in layout.find_cases(patients, bad)] == ["case_02"]
    assert [one.case for one in bad] == ["case_01"]
    with pytest.raises(InputError, match="are the same patient; remove one"):
        layout.find_cases(patients)


def test_no_patient(tmp_path):
    with pytest.raises(InputError, match=r"no HaN-Seg patient here, expected set_1/case_01/"):
        layout.find_cases(tmp_path)
