"""Head and neck phantoms: OpenKBP and HaN-Seg in their own layouts, organs where they belong."""

import hashlib
import json

import nibabel as nib
import nrrd
import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from piecemeal.datasets.layouts import hanseg as hanseg_layout
from piecemeal.datasets.layouts import msd as msd_layout
from piecemeal.datasets.phantoms import hanseg, openkbp
from piecemeal.datasets.phantoms.drawing import figures, files, head, head_images
from piecemeal.errors import InputError

CASES = 8
STEM, CORD, RIGHT, LEFT, GULLET, LARYNX, JAW = range(1, 8)
# Smallest and largest volume (ml) of each structure in the 150 patients of OpenKBP, measured.
MEASURED_ML = {
    STEM: (5.5, 43.7),
    CORD: (5.3, 57.0),
    RIGHT: (5.2, 77.4),
    LEFT: (7.8, 80.3),
    GULLET: (3.1, 40.9),
    LARYNX: (0.5, 76.1),
    JAW: (29.1, 99.6),
}
# In how many of the 150 each structure was outlined, measured.
OUTLINED = {STEM: 136, CORD: 148, RIGHT: 144, LEFT: 145, GULLET: 51, LARYNX: 70, JAW: 98}
# Organs that every reader of HaN-Seg in this project needs.
TASK = ("Bone_Mandible", "Parotid_R", "Eye_AL", "Eye_AR", "Eye_PL", "Eye_PR")


def hashes(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def kbp(tmp_path_factory):
    folder = tmp_path_factory.mktemp("openkbp")
    openkbp.write(folder, CASES, 3)
    return folder


@pytest.fixture(scope="module")
def patients(kbp):
    """Name -> (image, labels, header and affine, names outlined); voxels (back, left, down)."""
    outlined = json.loads((kbp / "annotated.json").read_text())
    found = {}
    for name, names in outlined.items():
        image = nib.load(kbp / f"imagesTr/{name}.nii.gz")
        labels = nib.load(kbp / f"labelsTr/{name}.nii.gz")
        np.testing.assert_array_equal(image.affine, labels.affine)
        found[name] = (np.asarray(image.dataobj), np.asarray(labels.dataobj), image, names)
    return found


def middle(labels, value, affine):
    """Centre of a structure in world mm: right, front, up."""
    return nib.affines.apply_affine(affine, np.argwhere(labels == value).mean(0))


def gap_mm(labels, one, other, spacing):
    """Smallest distance between voxels of two structures."""
    return distance_transform_edt(labels != one, spacing)[labels == other].min()


# OpenKBP: layout


def test_openkbp_files_and_description(kbp):
    about = json.loads((kbp / "dataset.json").read_text())
    names = [f"openkbp_{number:03d}" for number in range(1, CASES + 1)]
    assert about["labels"]["3"] == "RightParotid"
    assert [*about["labels"].values()] == ["background", *openkbp.NAMES]
    assert about["numTraining"] == CASES
    assert about["training"][0] == {
        "image": "./imagesTr/openkbp_001.nii.gz",
        "label": "./labelsTr/openkbp_001.nii.gz",
    }
    assert [*json.loads((kbp / "annotated.json").read_text())] == names
    for part in ("imagesTr", "labelsTr"):
        assert sorted(p.name for p in (kbp / part).iterdir()) == [f"{n}.nii.gz" for n in names]
    assert "layout: openkbp" in (kbp / "PHANTOM").read_text()


def test_openkbp_voxels_run_back_left_and_down(patients):
    for image, labels, file, _ in patients.values():
        assert (image.dtype, labels.dtype) == (np.int16, np.uint8)
        assert nib.aff2axcodes(file.affine) == ("P", "L", "I")
        down, across, thick = file.header.get_zooms()
        assert 3.7 < down == across < 5
        assert 1.9 < thick < 3.4


def test_openkbp_is_cut_to_the_body(patients):
    for image, *_ in patients.values():
        body = image > openkbp.PADDING
        assert image.min() == openkbp.PADDING
        assert 0.05 < body.mean() < 0.6
        for axis in range(3):
            for end in (0, -1):
                assert np.take(body, end, axis).any()


def test_openkbp_labels_only_what_was_outlined(patients):
    for _, labels, _, names in patients.values():
        values = {openkbp.NAMES.index(name) + 1 for name in names}
        assert set(np.unique(labels)) - {0} == values


def test_openkbp_outlines_as_often_as_the_real_set():
    counts = {
        value: sum(n for which, n in openkbp.OUTLINED.items() if str(value) in which)
        for value in OUTLINED
    }
    assert counts == OUTLINED
    assert sum(openkbp.OUTLINED.values()) == 150


def test_openkbp_is_read_as_partially_labelled(kbp):
    cases = msd_layout.find_cases(kbp, annotated="annotated.json")
    assert len(cases) == CASES
    outlined = json.loads((kbp / "annotated.json").read_text())
    assert {case.case: len(case.declared) for case in cases} == {
        name: len(names) for name, names in outlined.items()
    }


def test_openkbp_keeps_of_some_patients_strips_only(patients):
    least = {
        name: (image > openkbp.PADDING).sum((0, 1)).min() for name, (image, *_) in patients.items()
    }
    assert min(least.values()) < 120 < 400 < max(least.values())


def test_openkbp_keeps_the_image_under_every_contour(patients):
    for image, labels, *_ in patients.values():
        for value in np.unique(labels[labels > 0]):
            drawn = (labels == value).any((0, 1))
            seen = ((labels == value) & (image > openkbp.PADDING)).any((0, 1))
            np.testing.assert_array_equal(drawn, seen)


def test_openkbp_more_patients_leave_earlier_ones_alone(kbp, tmp_path):
    openkbp.write(tmp_path, 2, 3)
    few, many = hashes(tmp_path), hashes(kbp)
    images = [path for path in few if path.endswith(".nii.gz")]
    assert len(images) == 4
    assert all(few[path] == many[path] for path in images)


# OpenKBP: anatomy


def test_volumes_are_those_of_patients(patients):
    for _, labels, file, _ in patients.values():
        voxel = np.prod(file.header.get_zooms()) / 1000
        for value in np.unique(labels[labels > 0]):
            low, high = MEASURED_ML[value]
            assert low < (labels == value).sum() * voxel < high


def test_organs_lie_on_their_side_and_level(patients):
    for _, labels, file, _ in patients.values():
        at = {v: middle(labels, v, file.affine) for v in np.unique(labels[labels > 0])}
        if RIGHT in at and LEFT in at:
            assert 80 < at[RIGHT][0] - at[LEFT][0] < 150  # x to the patient's right
        for value in at.keys() & {STEM, JAW, RIGHT, LEFT}:
            if CORD in at:
                assert at[value][2] > at[CORD][2]  # above
        for value in at.keys() & {JAW, LARYNX, GULLET}:
            if STEM in at and value != GULLET:
                assert at[value][1] > at[STEM][1] + 15  # in front
        if LARYNX in at and GULLET in at:
            assert at[LARYNX][2] > at[GULLET][2]
            assert at[LARYNX][1] > at[GULLET][1]


def test_cord_goes_on_where_the_brainstem_ends(patients):
    for _, labels, file, _ in patients.values():
        if {STEM, CORD} <= set(np.unique(labels)):
            assert gap_mm(labels, STEM, CORD, file.header.get_zooms()) < 9


def test_parotids_touch_the_jaw(patients):
    pairs = 0
    for _, labels, file, _ in patients.values():
        for side in {RIGHT, LEFT} & set(np.unique(labels)):
            if (labels == JAW).any():
                assert gap_mm(labels, side, JAW, file.header.get_zooms()) < 8
                pairs += 1
    assert pairs > 2


def test_organs_look_like_what_they_are(patients):
    for image, labels, *_ in patients.values():
        level = {v: np.median(image[labels == v]) for v in np.unique(labels[labels > 0])}
        assert level.get(JAW, 800) > 350
        assert -30 < level.get(STEM, 40) < 90
        assert all(-130 < level[v] < 110 for v in level.keys() & {RIGHT, LEFT})
        if LARYNX in level:
            assert (image[labels == LARYNX] < -500).mean() > 0.05  # its airway belongs to it
        if GULLET in level:
            assert (image[labels == GULLET] > -200).mean() > 0.4


def test_parotid_and_muscle_share_intensities(patients):
    # No threshold tells the gland from what surrounds it.
    for image, labels, *_ in patients.values():
        gland = np.isin(labels, (RIGHT, LEFT))
        low, high = np.percentile(image[gland], [20, 80])
        others = ~gland & (image > low) & (image < high)
        assert others.sum() > 5 * gland.sum()


def test_a_head_drawn_twice_is_the_same_body():
    subject = head.sample_head(files.generator(1, 0))
    again = head.sample_head(files.generator(1, 0), chin_up=2.0)
    assert len(subject.parts) == len(again.parts)
    np.testing.assert_allclose(subject.place.scale, again.place.scale)
    eyes = [one.landmarks()["eye"] for one in (subject, again)]
    distances = [np.linalg.norm(right - left) for right, left in eyes]
    np.testing.assert_allclose(*distances)
    assert eyes[0][0, 0] > eyes[1][0, 0]  # the lifted chin lifts the eyes


def test_streaks_run_through_slices_with_metal_only():
    space = figures.grid((9, 20, 20), (10.0, 4.0, 4.0), (0, 0, 0))
    hu = np.full(space.shape, 40, np.float32)
    head_images.add_streaks(np.random.default_rng(0), hu, space, np.array([[0.0, 0.0, 0.0]]))
    changed = (hu != 40).any((1, 2))
    assert changed.tolist() == [False] * 3 + [True] * 3 + [False] * 3
    assert hu.max() == 3000


# HaN-Seg


@pytest.fixture(scope="module")
def han(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hanseg")
    hanseg.write(folder, 3, 5, size=80, slices=48)
    return folder


def file_of(folder, case, part):
    return folder / f"HaN-Seg/set_1/{case}/{case}_{part}"


def names_of(folder, case):
    return {
        path.name.split("_OAR_")[1].removesuffix(".seg.nrrd")
        for path in (folder / f"HaN-Seg/set_1/{case}").glob("*_OAR_*.seg.nrrd")
    }


def test_hanseg_names(han):
    assert sorted(p.name for p in han.iterdir()) == ["HaN-Seg", "PHANTOM"]
    assert sorted(p.name for p in (han / "HaN-Seg/set_1").iterdir()) == [
        "case_01",
        "case_02",
        "case_03",
    ]
    assert file_of(han, "case_01", "IMG_CT.nrrd").is_file()
    assert file_of(han, "case_01", "IMG_MR_T1.nrrd").is_file()
    assert names_of(han, "case_01") <= set(hanseg.ORGANS)
    assert set(TASK) | {"Parotid_L", "SpinalCord", "OpticNrv_L"} <= names_of(han, "case_01")


def test_hanseg_second_case_has_no_left_parotid(han):
    assert "Parotid_L" not in names_of(han, "case_02")
    assert set(TASK) <= names_of(han, "case_02")
    assert "Parotid_L" in names_of(han, "case_03")


def test_hanseg_headers(han):
    voxels, header = nrrd.read(file_of(han, "case_01", "IMG_CT.nrrd"))
    assert voxels.dtype == np.int16
    assert header["space"] == "left-posterior-superior"
    assert header["encoding"] == "gzip"
    mask, own = nrrd.read(file_of(han, "case_01", "OAR_Bone_Mandible.seg.nrrd"))
    assert mask.dtype == np.uint8
    assert set(np.unique(mask)) == {0, 1}
    assert (own["Segment0_ID"], own["Segment0_LabelValue"]) == ("Bone_Mandible", "1")
    assert mask.shape == voxels.shape
    np.testing.assert_allclose(own["space origin"], header["space origin"])
    np.testing.assert_allclose(own["space directions"], header["space directions"])


def test_hanseg_files_hold_no_time_of_day(han):
    # pynrrd writes a comment with the date; two writes within a second would not tell.
    for path in (han / "HaN-Seg/set_1/case_01").iterdir():
        assert b"\n#" not in path.read_bytes().partition(b"\n\n")[0]


def test_hanseg_mr_has_a_frame_of_its_own(han):
    for case in ("case_01", "case_02"):
        ct, ct_header = nrrd.read(file_of(han, case, "IMG_CT.nrrd"))
        mr, mr_header = nrrd.read(file_of(han, case, "IMG_MR_T1.nrrd"))
        assert mr.dtype == np.uint16
        assert mr.shape != ct.shape
        apart = np.abs(mr_header["space origin"] - ct_header["space origin"])
        assert apart.max() > 20


def test_hanseg_eyes_of_every_other_case_are_cropped(han):
    for case, cropped in (("case_01", True), ("case_02", False), ("case_03", True)):
        ct, header = nrrd.read(file_of(han, case, "IMG_CT.nrrd"))
        mask, own = nrrd.read(file_of(han, case, "OAR_Eye_PR.seg.nrrd"))
        assert (mask.size < ct.size / 100) == cropped
        steps = (own["space origin"] - header["space origin"]) / np.diag(header["space directions"])
        start = np.rint(steps).astype(int)
        np.testing.assert_allclose(steps, start, atol=1e-3)
        box = tuple(slice(a, a + n) for a, n in zip(start, mask.shape, strict=True))
        assert -20 < np.median(ct[box][mask > 0]) < 60  # the vitreous body


def test_hanseg_is_read_with_eyes_and_glands_in_place(han):
    names = list(hanseg.ORGANS)
    for case in hanseg_layout.find_cases(han):
        scan = hanseg_layout.read(case, names)
        at = {
            name: middle(scan.labels.transpose(2, 1, 0), number, scan.affine)
            for number, name in enumerate(names, start=1)
            if (scan.labels == number).any()
        }
        assert at["Parotid_R"][0] > at["Eye_PR"][0] > at["Eye_PL"][0]
        assert at["Eye_AR"][1] > at["Eye_PR"][1] > at["OpticNrv_R"][1] > at["Brainstem"][1]
        assert at["Eye_AL"][2] > at["Cavity_Oral"][2] > at["Larynx_SG"][2]
        assert at["Bone_Mandible"][1] > at["SpinalCord"][1]
        eye = np.isin(scan.labels, [names.index(n) + 1 for n in ("Eye_PR", "Eye_AR")])
        assert 4 < eye.sum() * np.prod(scan.spacing) / 1000 < 15  # ml; an eyeball has 7


def test_hanseg_folder_may_be_doubled(han, tmp_path):
    hanseg.write(tmp_path, 1, 5, size=80, slices=48, doubled=True)
    single = hashes(han)
    doubled = hashes(tmp_path / "HaN-Seg")
    assert len(doubled) > 20
    assert all(single[path] == content for path, content in doubled.items())


def test_hanseg_broken_off_ct_is_refused(han, tmp_path):
    hanseg.write(tmp_path, 3, 5, size=80, slices=48, broken=True)
    whole, broken = hashes(han), hashes(tmp_path)
    different = {path for path in whole if path != "PHANTOM" and whole[path] != broken[path]}
    assert different == {"HaN-Seg/set_1/case_03/case_03_IMG_CT.nrrd"}
    with pytest.raises(InputError, match="case_03_IMG_CT"):
        hanseg_layout.read(hanseg_layout.find_cases(tmp_path)[2], list(hanseg.ORGANS))


def test_hanseg_size_and_slices(tmp_path):
    hanseg.write(tmp_path, 1, 5, size=48, slices=12)
    voxels, header = nrrd.read(file_of(tmp_path, "case_01", "IMG_CT.nrrd"))
    assert voxels.shape == (48, 48, 12)
    assert 220 < 48 * header["space directions"][0, 0] < 280
