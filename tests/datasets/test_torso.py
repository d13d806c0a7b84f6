"""The drawn torso: sides, neighbours and volumes of its organs, fields of view, tumours."""

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, label

from piecemeal.datasets.phantoms.drawing.ct import CtScanner, acquire_ct, paint_ct
from piecemeal.datasets.phantoms.drawing.tissues import STRUCTURE, STRUCTURES, TISSUE
from piecemeal.datasets.phantoms.drawing.torso import (
    REGIONS,
    TUMOURS,
    Grid,
    grid_for,
    sample_torso,
)
from piecemeal.errors import InputError

SUBJECTS = 10
STEP = 4.0  # mm between the voxels of the drawings that most tests look at


def rng(seed):
    return np.random.default_rng(seed)


def cut(subject, region="trunk", step=STEP):
    """Drawing of a region on isotropic voxels that hold the body and its arms."""
    low, high = subject.region(region)
    shape = (int((high - low) / step), int(320 / step), int(440 / step))
    return subject.draw(Grid(shape, (step, step, step), ((low + high) / 2, 0.0, 0.0)))


def mask(anatomy, name):
    return anatomy.structures == STRUCTURE[name]


def centroid(anatomy, name):
    """Mean position (z, y, x) of a structure, mm."""
    axes = anatomy.grid.axes()
    found = np.nonzero(mask(anatomy, name))
    return np.array([axis[index].mean() for axis, index in zip(axes, found, strict=True)])


def near(anatomy, one, other, voxels=1):
    """Do two structures come within some voxels of each other?"""
    return bool(
        (binary_dilation(mask(anatomy, one), iterations=voxels) & mask(anatomy, other)).any()
    )


@pytest.fixture(scope="module")
def subjects():
    return [sample_torso(rng(seed)) for seed in range(SUBJECTS)]


@pytest.fixture(scope="module")
def drawings(subjects):
    return [cut(subject) for subject in subjects]


# Anatomy


def test_structure_names_are_unique_and_the_first_is_none():
    assert STRUCTURES[0] == ""
    assert len(set(STRUCTURES)) == len(STRUCTURES) == 53


def test_trunk_holds_every_structure(drawings):
    for drawing in drawings:
        present = {STRUCTURES[i] for i in np.unique(drawing.structures)} - {""}
        assert present == set(STRUCTURES) - {""} - set(TUMOURS)


def test_every_structure_has_a_tissue(drawings):
    assert all((drawing.tissue[drawing.structures > 0] > 0).all() for drawing in drawings)


def test_organs_lie_on_their_sides(drawings):
    for drawing in drawings:
        for name in STRUCTURES[1:]:
            side = {"left": 1, "right": -1}.get(name.split()[0])
            if side:
                assert side * centroid(drawing, name)[2] > 0, name
        assert centroid(drawing, "liver")[2] < -20
        assert centroid(drawing, "gallbladder")[2] < -20
        assert centroid(drawing, "inferior vena cava")[2] < centroid(drawing, "aorta")[2]
        assert centroid(drawing, "spleen")[2] > centroid(drawing, "stomach")[2] > 20


def test_organs_stand_in_order_from_head_to_foot(drawings):
    for drawing in drawings:
        order = ("heart", "liver", "pancreas", "small bowel", "bladder", "left femur")
        heights = [centroid(drawing, name)[0] for name in order]
        assert heights == sorted(heights, reverse=True)
        for side in ("left", "right"):
            kidney = centroid(drawing, f"{side} kidney")[0]
            assert centroid(drawing, f"{side} adrenal gland")[0] > kidney


def test_organs_stand_in_order_from_front_to_back(drawings):
    for drawing in drawings:
        for order in (
            ("sternum", "heart", "vertebrae"),
            ("pancreas", "left kidney", "left autochthon"),
            ("gallbladder", "duodenum", "right kidney"),
            ("trachea", "esophagus"),
            ("bladder", "rectum", "sacrum"),
            ("left gluteus minimus", "left gluteus medius", "left gluteus maximus"),
        ):
            places = [centroid(drawing, name)[1] for name in order]
            assert places == sorted(places), order


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("liver", "right lower lung lobe"),
        ("liver", "right kidney"),
        ("liver", "gallbladder"),
        ("liver", "inferior vena cava"),
        ("stomach", "esophagus"),
        ("stomach", "pancreas"),
        ("pancreas", "duodenum"),
        ("pancreas", "portal and splenic vein"),
        ("spleen", "left kidney"),
        ("left adrenal gland", "left kidney"),
        ("heart", "inferior vena cava"),
        ("heart", "aorta"),
        ("heart", "left upper lung lobe"),
        ("colon", "rectum"),
        ("colon", "small bowel"),
        ("bladder", "prostate or uterus"),
        ("right femur", "right hip"),
        ("sacrum", "left hip"),
        ("sacrum", "vertebrae"),
        ("ribs", "vertebrae"),
        ("left scapula", "left humerus"),
        ("right iliopsoas", "right femur"),
        ("left upper lung lobe", "left lower lung lobe"),
        ("right middle lung lobe", "right upper lung lobe"),
    ],
)
def test_neighbours_touch(drawings, one, other):
    assert all(near(drawing, one, other) for drawing in drawings)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("stomach", "spleen"),
        ("stomach", "duodenum"),
        ("pancreas", "spleen"),
        ("right adrenal gland", "right kidney"),
    ],
)
def test_neighbours_mostly_touch(drawings, one, other):
    assert sum(near(drawing, one, other, 2) for drawing in drawings) >= SUBJECTS - 2


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("liver", "left kidney"),
        ("spleen", "right kidney"),
        ("bladder", "liver"),
        ("heart", "spleen"),
        ("left femur", "right femur"),
    ],
)
def test_strangers_stay_apart(drawings, one, other):
    assert sum(near(drawing, one, other) for drawing in drawings) <= 1


def test_lungs_end_at_the_diaphragm_and_the_liver_stays_below(drawings, subjects):
    for drawing, subject in zip(drawings, subjects, strict=True):
        dome = subject.region("abdomen")[1]
        above = drawing.grid.axes()[0] > dome + 10
        assert not mask(drawing, "liver")[above].any()
        assert mask(drawing, "right lower lung lobe")[above].any()


@pytest.mark.parametrize(
    ("name", "millilitres"),
    [
        ("liver", (1150, 1700)),
        ("spleen", (140, 270)),
        ("right kidney", (110, 190)),
        ("left kidney", (110, 190)),
        ("gallbladder", (12, 32)),
        ("esophagus", (30, 75)),
        ("stomach", (280, 520)),
        ("pancreas", (60, 105)),
        ("right adrenal gland", (2.5, 7)),
        ("left adrenal gland", (3, 8)),
        ("duodenum", (50, 105)),
        ("bladder", (160, 340)),
        ("prostate or uterus", (18, 50)),
        ("portal and splenic vein", (15, 40)),
        ("heart", (380, 750)),
        ("left gluteus maximus", (300, 800)),
        ("right hip", (200, 450)),
    ],
)
def test_mean_volume_is_that_of_an_adult(drawings, name, millilitres):
    volumes = [mask(drawing, name).sum() * STEP**3 / 1000 for drawing in drawings]
    assert millilitres[0] < np.mean(volumes) < millilitres[1]
    assert np.std(volumes) > 0.05 * np.mean(volumes)


@pytest.mark.parametrize("name", ["liver", "spleen", "pancreas", "left kidney", "bladder", "heart"])
def test_organ_is_in_one_piece(drawings, name):
    for drawing in drawings:
        pieces, _ = label(mask(drawing, name), np.ones((3, 3, 3)))
        sizes = np.bincount(pieces.ravel())[1:]
        assert sizes.max() > 0.93 * sizes.sum()


def test_subjects_differ_in_place(drawings):
    for name in ("liver", "left kidney", "pancreas", "gallbladder"):
        places = [centroid(drawing, name) for drawing in drawings]
        assert (np.std(places, 0) > 1.5).all(), name


def test_women_have_breasts_and_men_a_prostate_below_the_bladder():
    heights = {}
    for sex in ("female", "male"):
        drawing = cut(sample_torso(rng(5), sex=sex))
        heights[sex] = centroid(drawing, "prostate or uterus")[0] - centroid(drawing, "bladder")[0]
        assert (drawing.tissue[drawing.grid.axes()[0] < 330] == TISSUE["gland"]).any() == (
            sex == "female"
        )
    assert heights["male"] < -20 < heights["female"]


# Draws, grids, regions


def test_same_seed_same_body_and_same_picture():
    pictures = []
    for _ in range(2):
        subject = sample_torso(rng(3), tumours={"liver tumour": 1})
        anatomy = subject.draw(grid_for(subject, "abdomen", (12, 32, 32)))
        hu = paint_ct(rng(4), anatomy)
        image = acquire_ct(rng(5), hu, anatomy.grid.spacing, CtScanner())
        pictures.append((anatomy.structures.tobytes(), anatomy.tissue.tobytes(), image.tobytes()))
    assert pictures[0] == pictures[1]


def test_another_seed_another_body(subjects):
    one, two = (subject.draw(Grid((4, 40, 50), (40, 8, 8), (80, 0, 0))) for subject in subjects[:2])
    assert (one.structures != two.structures).mean() > 0.02


def test_same_places_in_two_grids_show_the_same(subjects):
    wide = subjects[0].draw(Grid((41, 61, 81), (8, 4, 4), (80, 0, 0)))
    part = subjects[0].draw(Grid((11, 21, 31), (8, 4, 4), (80 + 8 * 5, 4 * 3, -4 * 7)))
    where = np.s_[20:31, 23:44, 18:49]
    np.testing.assert_array_equal(wide.structures[where], part.structures)
    np.testing.assert_array_equal(wide.tissue[where], part.tissue)


@pytest.mark.parametrize("region", REGIONS)
def test_field_of_view_holds_the_body(subjects, region):
    for subject in subjects[:4]:
        drawing = subject.draw(grid_for(subject, region, (10, 40, 48)))
        body = drawing.tissue > 0
        assert body.any((1, 2)).all()
        assert not body[:, [0, -1]].any()
        arms = mask(drawing, "left humerus") | mask(drawing, "right humerus")
        if not arms.any():
            assert not body[:, :, [0, -1]].any()
        assert body.any((0, 1)).mean() > 0.6


def test_grid_keeps_the_spacing_that_is_asked_for(subjects):
    grid = grid_for(subjects[0], "abdomen", (10, 20, 30), spacing=(5.0, 1.5, 1.5))
    assert grid.spacing == (5.0, 1.5, 1.5)
    low, high = subjects[0].region("abdomen")
    assert grid.centre[0] == pytest.approx((low + high) / 2)


def test_regions_hold_what_their_names_say(subjects):
    kept = {
        "chest": ("right humerus", "left scapula", "left upper lung lobe", "right clavicle"),
        "abdomen": ("liver", "spleen", "gallbladder", "stomach", "left kidney", "pancreas"),
        "pelvis": ("left hip", "right femur", "left gluteus minimus", "bladder"),
    }
    for region, names in kept.items():
        for subject in subjects[:4]:
            drawing = subject.draw(grid_for(subject, region, (24, 48, 48)))
            assert all(mask(drawing, name).any() for name in names)


def test_body_axis_is_in_the_middle_of_the_outline(subjects):
    for subject in subjects:
        front, back, right, left = subject.extent(20, 180)
        assert abs(front + back) < 25
        assert abs(left + right) < 20
        assert 250 < subject.width_mm < 480
        assert 180 < subject.depth_mm < 380


# Absent organs, tumours


def test_absent_organs_are_missing_and_the_rest_is_as_before():
    whole, lacking = (
        cut(sample_torso(rng(8), absent=absent), "abdomen", 5.0)
        for absent in ((), ("gallbladder", "left kidney"))
    )
    assert mask(whole, "gallbladder").any()
    assert not mask(lacking, "gallbladder").any()
    assert not mask(lacking, "left kidney").any()
    assert not (lacking.tissue[:, :, lacking.grid.axes()[2] > 25] == TISSUE["renal cortex"]).any()
    rest = ~(mask(whole, "gallbladder") | mask(whole, "left kidney"))
    assert (whole.structures == lacking.structures)[rest].mean() > 0.99
    assert (mask(lacking, "right kidney") == mask(whole, "right kidney")).all()


@pytest.mark.parametrize("seed", range(4))
def test_tumours_grow_in_their_organs(seed):
    counts = {"liver tumour": 2, "kidney tumour": 1}
    healthy, ill = (
        cut(sample_torso(rng(seed), tumours=tumours), "abdomen") for tumours in ({}, counts)
    )
    was = healthy.structures[mask(ill, "liver tumour")]
    assert len(was) > 20
    assert (was == STRUCTURE["liver"]).all()
    kidneys = mask(healthy, "left kidney") | mask(healthy, "right kidney")
    tumour = mask(ill, "kidney tumour")
    assert (tumour & kidneys).sum() > 0.2 * tumour.sum()
    fat = healthy.tissue == TISSUE["visceral fat"]
    collecting = healthy.tissue == TISSUE["renal pelvis"]
    assert (kidneys | fat | collecting)[tumour].all()
    elsewhere = ~tumour & ~mask(ill, "liver tumour")
    np.testing.assert_array_equal(ill.structures[elsewhere], healthy.structures[elsewhere])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"absent": ["heard"]}, "heard"),
        ({"absent": [""]}, "no structure"),
        ({"tumours": {"liver": 1}}, "liver tumour"),
        ({"tumours": {"liver tumour": -1}}, "-1"),
        ({"tumours": {"liver tumour": 1.5}}, "1.5"),
        ({"tumours": {"liver tumour": 1}, "absent": ["liver"]}, "drop either"),
        ({"sex": "other"}, "female"),
    ],
)
def test_impossible_bodies_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        sample_torso(rng(0), **options)


def test_unknown_region_names_the_known_ones(subjects):
    with pytest.raises(InputError, match="abdomen_pelvis"):
        subjects[0].region("foot")
