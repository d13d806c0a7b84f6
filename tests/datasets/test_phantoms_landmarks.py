"""Landmark phantoms: points that sit on the bones they name, inside the image."""

import json

import nibabel as nib
import numpy as np
import pytest

from piecemeal.datasets.layouts import landmarks as layout
from piecemeal.datasets.phantoms import landmarks
from piecemeal.errors import InputError

CASES = 5
# Anand et al. 2024, Table 3: landmarks of a region over all its projections.
NAMES = {
    "hip": {"femur head", "iliac", "ischiac spine"},
    "knee": {"condyles", "tibia", "plateau", "femur"},
    "foot": {
        *("first metatarsal", "second metatarsal", "third metatarsal"),
        *("talo-navicular joint", "medial malleolus", "lateral malleolus"),
        *("sub-taloid joint", "tibia"),
    },
    "head": {"eye", "ear", "nasion"},
}
BONE = 250  # HU


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("landmarks")
    for region in NAMES:
        landmarks.write(folder / region, CASES, 3, region=region)
    return folder


@pytest.fixture(scope="module")
def subjects(root):
    """Region -> [(image (x, y, z), affine, {name: points (n, 3)})]."""
    found = {}
    for region in NAMES:
        found[region] = []
        for number in range(1, CASES + 1):
            folder = root / region / f"subject{number:03d}"
            file = nib.load(folder / "ct.nii.gz")
            places = json.loads((folder / "landmarks.json").read_text())
            points = {name: np.array(of_name) for name, of_name in places.items()}
            found[region].append((np.asarray(file.dataobj), file.affine, points))
    return found


def around(image, affine, point, radius_mm):
    """Values of the voxels within a distance of a world point."""
    places = [
        affine[axis, axis] * index + affine[axis, 3] - point[axis]
        for axis, index in enumerate(np.ogrid[tuple(slice(n) for n in image.shape)])
    ]
    return image[sum(place**2 for place in places) < radius_mm**2]


@pytest.mark.parametrize("region", NAMES)
def test_files_and_names(root, subjects, region):
    assert sorted(p.name for p in (root / region).iterdir()) == [
        "PHANTOM",
        *(f"subject{number:03d}" for number in range(1, CASES + 1)),
    ]
    for image, affine, points in subjects[region]:
        assert image.dtype == np.int16
        assert nib.aff2axcodes(affine) == ("L", "P", "S")
        assert set(points) == NAMES[region]
        assert all(of_name.shape[1] == 3 for of_name in points.values())
    assert f"layout: landmarks of the {region}" in (root / region / "PHANTOM").read_text()


@pytest.mark.parametrize("region", NAMES)
def test_landmarks_lie_in_the_image_and_in_the_body(subjects, region):
    for image, affine, points in subjects[region]:
        for name, of_name in points.items():
            voxels = nib.affines.apply_affine(np.linalg.inv(affine), of_name)
            assert (voxels > -0.5).all(), name
            assert (voxels < np.array(image.shape) - 0.5).all(), name
            for voxel in np.rint(voxels).astype(int):
                assert image[tuple(voxel)] > -500 or name == "ear", name  # the canal holds air


@pytest.mark.parametrize("region", ["hip", "knee", "foot"])
def test_bone_is_at_every_landmark(subjects, region):
    # In a joint it is beside it, in a shaft it is the wall around the marrow.
    for image, affine, points in subjects[region]:
        for name, of_name in points.items():
            for point in of_name:
                assert around(image, affine, point, 18).max() > BONE, name


@pytest.mark.parametrize("region", ["hip", "knee", "foot"])
def test_bones_stand_out_in_the_mean_projections(subjects, region):
    for image, *_ in subjects[region]:
        clipped = np.clip(image, -1000, 1500).astype(float)
        for axis in range(3):
            flat = clipped.mean(axis)
            body = flat > -850
            bone = (image > BONE).mean(axis)
            much = bone > np.quantile(bone[body], 0.9)
            assert flat[much & body].mean() > flat[~much & body].mean() + 80


def test_reader_takes_them(root):
    for region, names in NAMES.items():
        labels = sorted(names)
        (case, *_) = layout.find_cases(root / region)
        scan = layout.read(case, labels)
        assert set(np.unique(scan.labels)) <= set(range(len(labels) + 1))
        assert scan.notes == ()


def test_paired_landmarks_run_from_right_to_left(subjects):
    for region, names in (("hip", NAMES["hip"]), ("head", {"eye", "ear"})):
        for *_, points in subjects[region]:
            for name in names:
                right, left = points[name]
                assert right[0] > left[0] + 30


def test_femoral_heads_are_spheres_of_bone(subjects):
    for image, affine, points in subjects["hip"]:
        for centre in points["femur head"]:
            assert np.median(around(image, affine, centre, 14)) > BONE
        right, left = points["femur head"]
        assert 140 < np.linalg.norm(right - left) < 220


def test_iliac_and_ischiac_spines_lie_above_and_behind_the_hips(subjects):
    for *_, points in subjects["hip"]:
        hips = points["femur head"].mean(0)
        assert points["iliac"].mean(0)[2] > hips[2] + 50
        assert points["iliac"].mean(0)[1] > hips[1] + 20
        assert points["ischiac spine"].mean(0)[1] < hips[1] - 30


def test_knee_lines_follow_the_leg(subjects):
    for *_, points in subjects["knee"]:
        femur, tibia, plateau = points["femur"], points["tibia"], points["plateau"]
        assert femur[1][2] > femur[0][2] > plateau.mean(0)[2] > tibia[0][2] > tibia[1][2]
        assert points["condyles"].mean(0)[1] < plateau.mean(0)[1] - 10
        across = plateau[1] - plateau[0]
        along = femur[1] - tibia[1]
        cosine = across @ along / np.linalg.norm(across) / np.linalg.norm(along)
        assert abs(cosine) < 0.3


def test_foot_bones_are_in_order(subjects):
    for *_, points in subjects["foot"]:
        rays = [points[f"{number} metatarsal"] for number in ("first", "second", "third")]
        assert all(head[1] > base[1] + 40 for base, head in rays)  # y to the front
        inner, outer = points["medial malleolus"][0], points["lateral malleolus"][0]
        way = np.sign(outer[0] - inner[0])
        places = [way * ray.mean(0)[0] for ray in rays]
        assert places == sorted(places)
        assert points["tibia"][1][2] > points["tibia"][0][2] > points["sub-taloid joint"][0][2]
        assert rays[0][0][1] > points["talo-navicular joint"][0][1] > points["tibia"][0][1]


@pytest.mark.parametrize(("region", "line"), [("knee", "plateau"), ("foot", "sub-taloid joint")])
def test_both_sides_of_the_body_occur(subjects, region, line):
    ways = {np.sign(points[line][1, 0] - points[line][0, 0]) for *_, points in subjects[region]}
    assert ways == {-1.0, 1.0}


def test_eyes_are_soft_and_the_nasion_is_bone_between_them(subjects):
    for image, affine, points in subjects["head"]:
        for eye in points["eye"]:
            assert -40 < np.median(around(image, affine, eye, 7)) < 70
        nasion, eyes = points["nasion"][0], points["eye"].mean(0)
        assert around(image, affine, nasion, 12).max() > BONE
        assert nasion[1] > eyes[1]
        assert abs(nasion[0] - eyes[0]) < 10
        assert points["ear"].mean(0)[1] < eyes[1] - 40


def test_unknown_region_names_known_ones(tmp_path):
    with pytest.raises(InputError, match=r"shoulder.*hip.*knee.*foot.*head"):
        landmarks.write(tmp_path, 1, 0, region="shoulder")
