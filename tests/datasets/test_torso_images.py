"""What CT and MR show of a drawn torso: contrast, overlap, noise, storage."""

import numpy as np
import pytest

from piecemeal.datasets.phantoms.drawing import torso_mr
from piecemeal.datasets.phantoms.drawing.ct import LEVELS, CtScanner, acquire_ct, paint_ct
from piecemeal.datasets.phantoms.drawing.tissues import STRUCTURE, TISSUE, TISSUES
from piecemeal.datasets.phantoms.drawing.torso import Anatomy, Grid, grid_for, sample_torso
from piecemeal.errors import InputError


def rng(seed):
    return np.random.default_rng(seed)


def cut(subject, region, step=4.0):
    """Drawing of a region on isotropic voxels that hold the body and its arms."""
    low, high = subject.region(region)
    shape = (int((high - low) / step), int(320 / step), int(440 / step))
    return subject.draw(Grid(shape, (step, step, step), ((low + high) / 2, 0.0, 0.0)))


def mask(anatomy, name):
    return anatomy.structures == STRUCTURE[name]


@pytest.fixture(scope="module")
def subject():
    return sample_torso(rng(0))


# CT


def levels(subject, phase, seed=0):
    """Mean Hounsfield units of every tissue that a drawing shows."""
    anatomy = cut(subject, "abdomen_pelvis", 6.0)
    hu = paint_ct(rng(seed), anatomy, phase=phase, table=False)
    return {
        name: hu[anatomy.tissue == value].mean()
        for name, value in TISSUE.items()
        if (anatomy.tissue == value).any()
    }


def test_every_tissue_has_its_levels():
    assert set(LEVELS) == set(torso_mr.LEVELS) == set(TISSUES)


def test_contrast_follows_the_phase(subject):
    found = {
        phase: levels(subject, phase) for phase in ("native", "arterial", "portal", "urographic")
    }
    assert found["native"]["arterial blood"] < 70
    assert found["arterial"]["arterial blood"] > 1.5 * found["portal"]["arterial blood"]
    assert found["portal"]["liver"] > found["native"]["liver"] + 15
    assert found["arterial"]["renal cortex"] > found["arterial"]["renal medulla"] + 25
    for name in ("renal pelvis", "urine"):
        assert found["urographic"][name] > 200
        assert found["portal"][name] < 60


def test_levels_of_neighbours_overlap_between_subjects(subject):
    anatomy = cut(subject, "abdomen", 8.0)
    pairs = [("liver", "spleen"), ("liver", "pancreas"), ("bowel wall", "pancreas")]
    above = dict.fromkeys(pairs, 0)
    for seed in range(40):
        hu = paint_ct(rng(seed), anatomy, table=False)
        mean = {name: hu[anatomy.tissue == TISSUE[name]].mean() for pair in pairs for name in pair}
        for one, other in pairs:
            above[one, other] += mean[one] > mean[other]
    assert all(2 <= count <= 38 for count in above.values()), above


def test_levels_of_neighbours_overlap_within_a_subject(subject):
    anatomy = cut(subject, "abdomen", 4.0)
    hu = paint_ct(rng(2), anatomy)
    image = acquire_ct(rng(3), hu, anatomy.grid.spacing, CtScanner(noise=15))
    liver, spleen = (image[mask(anatomy, name)] for name in ("liver", "spleen"))
    bins = np.arange(-200, 400, 10)
    shares = [np.histogram(values, bins)[0] / len(values) for values in (liver, spleen)]
    assert np.minimum(*shares).sum() > 0.2


def test_tumours_are_darker_than_the_liver():
    subject = sample_torso(rng(1), tumours={"liver tumour": 3})
    anatomy = cut(subject, "abdomen")
    differences = []
    for seed in range(8):
        hu = paint_ct(rng(seed), anatomy)
        tumour = hu[anatomy.structures == STRUCTURE["liver tumour"]].mean()
        differences.append(hu[anatomy.tissue == TISSUE["liver"]].mean() - tumour)
    assert np.mean(differences) > 15
    assert min(differences) < 40


def test_couch_lies_behind_the_patient(subject):
    anatomy = subject.draw(grid_for(subject, "abdomen", (4, 64, 64), margin_mm=30))
    bare, couch = (paint_ct(rng(0), anatomy, table=table) for table in (False, True))
    changed = np.nonzero((bare != couch).any(0))[0]
    body = np.nonzero(anatomy.tissue.any((0, 2)))[0]
    assert len(changed)
    assert changed.mean() > body.max() - 3
    np.testing.assert_array_equal(bare[anatomy.tissue > 0], couch[anatomy.tissue > 0])


def test_unknown_phase_names_the_known_ones(subject):
    with pytest.raises(InputError, match="urographic"):
        paint_ct(rng(0), cut(subject, "abdomen", 20.0), phase="venous")


def test_scanner_stores_offset_and_clips():
    hu = np.array([[[-1000.0, 0, 40], [200, 5000, 40], [0, 0, 0]]], np.float32)
    scanner = CtScanner(noise=0.0, blur_mm=0.01, offset=1024.0, clip=(0, 4095))
    image = acquire_ct(rng(0), hu, (1.0, 1.0, 1.0), scanner)
    assert image.dtype == np.int16
    np.testing.assert_array_equal(image[0, :2], [[24, 1024, 1064], [1224, 4095, 1064]])


def test_scanner_pads_outside_the_round_field_of_view():
    scanner = CtScanner(noise=0.0, blur_mm=0.01, padding=-2000.0)
    image = acquire_ct(rng(0), np.zeros((2, 9, 9), np.float32), (1.0, 1.0, 1.0), scanner)
    assert (image[:, [0, 0, -1, -1], [0, -1, 0, -1]] == -2000).all()
    assert (image[:, 4, :] == 0).all()
    assert (image[:, :, 4] == 0).all()


def test_scanner_noise_has_the_asked_deviation():
    image = acquire_ct(
        rng(0), np.zeros((8, 64, 64), np.float32), (1.0, 1.0, 1.0), CtScanner(noise=20.0)
    )
    assert image.std() == pytest.approx(20, rel=0.03)


def test_scanner_blur_is_in_millimetres():
    hu = np.zeros((1, 1, 41), np.float32)
    hu[..., 20] = 1000
    image = acquire_ct(rng(0), hu, (5.0, 5.0, 0.5), CtScanner(noise=0.0, blur_mm=1.0))
    # The peak of a Gaussian of two voxels' deviation.
    assert image[0, 0, 20] == pytest.approx(1000 / np.sqrt(2 * np.pi * 4), rel=0.03)


# MR


def test_mr_stays_below_the_ceiling(subject):
    anatomy = cut(subject, "abdomen", 8.0)
    for sequence in torso_mr.SEQUENCES:
        image = torso_mr.acquire_mr(rng(1), anatomy, sequence=sequence, ceiling=900)
        assert image.dtype == np.int16
        assert image.min() >= 0
        assert 250 < image.max() <= 900


def test_mr_contrast_follows_the_sequence(subject):
    anatomy = cut(subject, "abdomen_pelvis", 6.0)

    def ratio(sequence, one, other):
        values = []
        for seed in range(5):
            image = torso_mr.acquire_mr(rng(seed), anatomy, sequence=sequence)
            values.append(
                np.median(image[anatomy.tissue == TISSUE[one]])
                / np.median(image[anatomy.tissue == TISSUE[other]])
            )
        return np.mean(values)

    assert ratio("t1", "fat", "muscle") > 1.5
    assert ratio("t1_fat_saturated", "fat", "muscle") < 0.7
    assert ratio("t2", "urine", "muscle") > 2 > 1 > ratio("t1", "urine", "muscle")
    assert (
        ratio("t1_portal", "arterial blood", "muscle") > 1.5 > ratio("t1", "arterial blood", "fat")
    )


def test_bias_field_is_positive_and_smooth():
    field = torso_mr.bias_field(rng(0), Grid((6, 40, 50), (5, 2, 2), (0, 0, 0)), 0.2)
    assert field.shape == (6, 40, 50)
    assert field.min() > 0
    assert max(np.abs(np.diff(field, axis=axis)).max() for axis in (1, 2)) < 0.15


def test_unknown_sequence_names_the_known_ones():
    nothing = np.zeros((2, 4, 4), np.uint8)
    with pytest.raises(InputError, match="t1_portal"):
        torso_mr.acquire_mr(
            rng(0), Anatomy(nothing, nothing, Grid((2, 4, 4), (1, 1, 1), (0, 0, 0))), sequence="pd"
        )
