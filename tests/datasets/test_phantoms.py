"""Phantom writers: official layouts, the same bytes each time, anatomy that holds together."""

import hashlib
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import binary_erosion, label

from piecemeal.datasets import phantoms
from piecemeal.datasets.phantoms import acdc, oai_thigh
from piecemeal.datasets.phantoms.drawing import files, heart, mr, shapes
from piecemeal.errors import InputError

RIGHT, MUSCLE, LEFT = 1, 2, 3
HEARTS, THIGHS = 10, 6
NAMES = ["acdc", "oai_thigh"]  # tests/contract goes through all data sets


def hashes(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def info(patient):
    lines = (patient / "Info.cfg").read_text().split("\n")
    return dict(line.strip().split(": ") for line in lines if line.strip())


def volume(path):
    """(z, y, x) voxels and the header."""
    image = nib.load(path)
    return np.asarray(image.dataobj).T, image.header


def frame(patient, phase):
    stem = f"{patient.name}_frame{int(info(patient)[phase]):02d}"
    image, header = volume(patient / f"{stem}.nii.gz")
    labels, _ = volume(patient / f"{stem}_gt.nii.gz")
    return image, labels, header


@pytest.fixture(scope="module")
def hearts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("acdc")
    acdc.write(folder, HEARTS, 3)
    return folder


@pytest.fixture(scope="module")
def patients(hearts):
    return sorted((hearts / "training").iterdir())


@pytest.fixture(scope="module")
def phases(patients):
    """Every labelled frame: (patient, phase, image, labels, header)."""
    return [(p, phase, *frame(p, phase)) for p in patients for phase in ("ED", "ES")]


@pytest.fixture(scope="module")
def thighs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("thigh")
    oai_thigh.write(folder, THIGHS, 3)
    return folder


@pytest.fixture(scope="module")
def sections(thighs):
    """Every thigh: (image, labels, header)."""
    found = []
    for number in range(1, THIGHS + 1):
        subject = thighs / f"subject{number:03d}"
        image, header = volume(subject / "thigh.nii.gz")
        labels, _ = volume(subject / "thigh_labels.nii.gz")
        found.append((image, labels, header))
    return found


# Both writers


@pytest.mark.parametrize("name", ["acdc", "oai_thigh"])
def test_registry_finds_writer(name):
    assert name in phantoms.known()
    assert callable(phantoms.load(name).write)


def test_registry_holds_only_writers():
    assert all(hasattr(phantoms.load(name), "write") for name in phantoms.known())


def test_unknown_writer_names_known_ones():
    with pytest.raises(InputError, match="oai_thigh"):
        phantoms.load("drawing")


def test_same_seed_same_bytes_in_another_process(tmp_path):
    code = """
import sys
from pathlib import Path
from piecemeal.datasets import phantoms
for name in phantoms.known():
    phantoms.load(name).write(Path(sys.argv[1]) / name, 1, 5, size=48, slices=4)
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "there")], check=True)
    for name in phantoms.known():
        phantoms.load(name).write(tmp_path / "here" / name, 1, 5, size=48, slices=4)
    assert hashes(tmp_path / "here") == hashes(tmp_path / "there")


@pytest.mark.parametrize("name", NAMES)
def test_more_cases_leave_earlier_ones_alone(name, tmp_path):
    phantoms.load(name).write(tmp_path / "few", 2, 5, size=48, slices=4)
    phantoms.load(name).write(tmp_path / "many", 4, 5, size=48, slices=4)
    few, many = hashes(tmp_path / "few"), hashes(tmp_path / "many")
    del few["PHANTOM"]
    assert few.items() <= many.items()


@pytest.mark.parametrize("name", NAMES)
def test_another_seed_another_subject(name, tmp_path):
    for seed in (1, 2):
        phantoms.load(name).write(tmp_path / str(seed), 1, seed, size=48, slices=4)
    one, two = hashes(tmp_path / "1"), hashes(tmp_path / "2")
    images = [path for path in one.keys() & two.keys() if path.endswith(".nii.gz")]
    assert images
    assert all(one[path] != two[path] for path in images)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"cases": 0}, "cases"),
        ({"seed": -1}, "seed"),
        ({"size": 8}, "size"),
        ({"slices": 2.5}, "slices"),
    ],
)
def test_options_out_of_range_are_named(name, options, key, tmp_path):
    with pytest.raises(InputError, match=key):
        phantoms.load(name).write(tmp_path, **{"cases": 1, "seed": 0, **options})


def test_marker(hearts, thighs):
    assert "layout: acdc" in (hearts / "PHANTOM").read_text()
    assert "layout: oai_thigh" in (thighs / "PHANTOM").read_text()


# ACDC: layout


def test_acdc_names(patients):
    assert [p.name for p in patients] == [f"patient{i:03d}" for i in range(1, HEARTS + 1)]
    assert sorted(path.name for path in patients[0].iterdir()) == [
        "Info.cfg",
        "patient001_4d.nii.gz",
        "patient001_frame01.nii.gz",
        "patient001_frame01_gt.nii.gz",
        "patient001_frame03.nii.gz",
        "patient001_frame03_gt.nii.gz",
    ]


def test_acdc_info(patients):
    assert list(info(patients[0])) == ["ED", "ES", "Group", "Height", "NbFrame", "Weight"]
    groups = [info(p)["Group"] for p in patients]
    assert groups == ["DCM", "HCM", "MINF", "NOR", "RV"] * (HEARTS // 5)


def test_acdc_one_patient_with_late_diastole(patients):
    assert [int(info(p)["ED"]) for p in patients].count(4) == 1
    assert (patients[3] / "patient004_frame04_gt.nii.gz").is_file()


def test_acdc_one_info_with_carriage_returns(patients):
    assert [b"\r\n" in (p / "Info.cfg").read_bytes() for p in patients].count(True) == 1


def test_acdc_headers(phases):
    for *_, image, labels, header in phases:
        across, down, along = header.get_zooms()
        assert image.dtype == np.int16
        assert labels.dtype == np.uint8
        assert image.shape == labels.shape
        assert 1.2 < across == down < 1.95
        assert 5 <= along <= 10
        assert image.shape[1] != image.shape[2]
        np.testing.assert_allclose(header.get_qform(), np.diag([-across, -down, along, 1]))


def test_acdc_most_sforms_are_unscaled(phases):
    unscaled = [np.allclose(np.diag(h.get_sform())[:3], (-1, -1, 1)) for *_, h in phases]
    honest = [np.allclose(h.get_sform(), h.get_qform()) for *_, h in phases]
    assert sum(unscaled) > sum(honest) > 0
    assert all(u != h for u, h in zip(unscaled, honest, strict=True))


def test_acdc_cine_holds_the_labelled_frames(patients):
    cine, header = volume(patients[3] / "patient004_4d.nii.gz")
    assert len(cine) == int(info(patients[3])["NbFrame"]) == header["dim"][4]
    for phase in ("ED", "ES"):
        image, *_ = frame(patients[3], phase)
        np.testing.assert_array_equal(cine[int(info(patients[3])[phase]) - 1], image)


def test_acdc_without_cine_is_otherwise_the_same(tmp_path):
    acdc.write(tmp_path / "with", 1, 8, size=48, slices=4)
    acdc.write(tmp_path / "without", 1, 8, size=48, slices=4, cine=False)
    expected = hashes(tmp_path / "with")
    del expected["training/patient001/patient001_4d.nii.gz"]
    assert hashes(tmp_path / "without") == expected


def test_acdc_size_and_slices(tmp_path):
    acdc.write(tmp_path, 1, 8, size=48, slices=4, cine=False)
    _, labels, header = frame(tmp_path / "training/patient001", "ED")
    assert 32 <= labels.shape[2] <= 64
    assert labels.shape[2] * header.get_zooms()[0] > 120
    assert len(labels) < 8


# ACDC: anatomy


def test_every_frame_has_all_structures(phases):
    assert all(set(np.unique(labels)) == {0, RIGHT, MUSCLE, LEFT} for *_, labels, _ in phases)


def test_volumes_are_plausible(phases):
    limits = {RIGHT: (15, 260), MUSCLE: (50, 280), LEFT: (8, 340)}
    for *_, labels, header in phases:
        for structure, (low, high) in limits.items():
            assert low < (labels == structure).sum() * np.prod(header.get_zooms()) / 1000 < high


def test_both_ventricles_empty_in_systole(patients):
    for patient in patients:
        full, empty = (frame(patient, phase)[1] for phase in ("ED", "ES"))
        assert (empty == LEFT).sum() < (full == LEFT).sum()
        assert (empty == RIGHT).sum() < (full == RIGHT).sum()


def test_groups_differ_as_their_names_say(patients):
    def fraction(patient):
        full, empty = ((frame(patient, phase)[1] == LEFT).sum() for phase in ("ED", "ES"))
        return 1 - empty / full

    by_group = {group: [] for group in acdc.GROUPS}
    for patient in patients:
        by_group[info(patient)["Group"]].append(fraction(patient))
    assert max(by_group["DCM"]) < 0.4 < min(by_group["NOR"])
    assert np.mean(by_group["HCM"]) > np.mean(by_group["NOR"]) > np.mean(by_group["MINF"])


def middle(labels):
    """Slices with a cavity, the outermost one on either side left out."""
    return np.flatnonzero((labels == LEFT).any((1, 2)))[1:-1]


def test_muscle_surrounds_the_cavity(phases):
    for *_, labels, _ in phases:
        for plane in labels[middle(labels)]:
            cavity = plane == LEFT
            heart_mask = cavity | (plane == MUSCLE)
            assert (cavity <= binary_erosion(heart_mask, np.ones((3, 3)))).all()
            assert label(cavity)[1] == 1


def test_right_ventricle_is_one_piece_beside_the_muscle(phases):
    for *_, labels, _ in phases:
        for plane in labels[middle(labels)]:
            pieces, count = label(plane == RIGHT)
            if count:
                sizes = np.bincount(pieces.ravel())[1:]
                assert sizes.max() > 0.9 * sizes.sum()


def test_heart_stays_inside_the_picture(phases):
    for *_, labels, _ in phases:
        assert not labels[:, [0, -1]].any()
        assert not labels[:, :, [0, -1]].any()


def test_slices_without_label_and_without_ventricles_occur(phases):
    empty = [~labels.any((1, 2)) for *_, labels, _ in phases]
    assert any(slices[0] for slices in empty)
    assert any(slices[-1] for slices in empty)
    apical = [
        (labels == MUSCLE).any((1, 2)) & ~(labels == LEFT).any((1, 2)) for *_, labels, _ in phases
    ]
    assert any(slices.any() for slices in apical)


def test_papillary_muscle_is_dark_and_labelled_cavity():
    subject = acdc.Subject(files.generator(3, 0), "DCM", 96, 8)
    section = heart.cut(subject.heart, subject.heart_points, subject.heights, 0.0)
    image, labels = subject.frame(files.generator(3, 0, 1), 0.0)
    deep = section.cavity < -6
    papillary = (section.papillary < -1) & deep
    pool = (section.papillary > 4) & deep & (labels == LEFT)
    assert papillary.sum() > 20
    assert (labels[papillary] == LEFT).all()
    assert np.median(image[papillary]) < 0.75 * np.median(image[pool])


# Thigh


def test_thigh_names_and_geometry(thighs, sections):
    assert sorted(p.name for p in thighs.iterdir()) == [
        "PHANTOM",
        *(f"subject{i:03d}" for i in range(1, THIGHS + 1)),
    ]
    for image, labels, header in sections:
        assert image.shape == labels.shape == (6, 96, 96)
        assert (image.dtype, labels.dtype) == (np.int16, np.uint8)
        np.testing.assert_allclose(header.get_zooms(), (2.135, 2.135, 5.0), atol=1e-3)
        np.testing.assert_allclose(header.get_sform(), header.get_qform())


def test_thigh_at_full_size_has_published_pixels(tmp_path):
    oai_thigh.write(tmp_path, 1, 0, size=256, slices=1)
    _, header = volume(tmp_path / "subject001/thigh.nii.gz")
    np.testing.assert_allclose(header.get_zooms(), (0.98, 0.98, 5.0), rtol=1e-6)


def test_every_thigh_has_all_seven_tissues(sections):
    assert all(set(np.unique(labels)) == set(range(8)) for _, labels, _ in sections)


def test_thigh_stays_inside_the_picture(sections):
    for _, labels, _ in sections:
        assert not labels[:, [0, -1]].any()
        assert not labels[:, :, [0, -1]].any()


def test_tissues_lie_where_they_belong(sections):
    # The right thigh, front up, inner side to the right: (row, column) centroids.
    for _, labels, _ in sections:
        at = {k: np.argwhere(labels == k).mean(0)[1:] for k in range(1, 8)}
        assert at[2][0] < at[1][0] + 3 < at[3][0]  # quadriceps, bone, flexors, front to back
        assert at[4][1] > at[1][1]  # sartorius and adductors inside of the bone
        assert at[6][1] > at[1][1]


def test_subcutaneous_fat_encloses_the_rest(sections):
    for _, labels, _ in sections:
        for plane in labels:
            inside = (plane > 0) & (plane != 5)
            assert not (inside & ~binary_erosion(plane > 0, np.ones((3, 3)))).any()


def test_muscles_share_one_intensity_and_fats_another(sections):
    for image, labels, _ in sections:
        level = [np.median(image[labels == k]) for k in range(8)]
        muscles = [level[k] for k in (2, 3, 4, 6)]
        assert max(muscles) < 0.8 * min(level[5], level[7])
        assert max(muscles) < 1.6 * min(muscles)  # the coil's sensitivity remains


# Parts


def test_ellipse_distance_on_the_axes():
    points = np.array([[[0 + 0j, 5, 3j, 6, 4j]]], np.complex64)
    distance = shapes.ellipse(points, 0, (5, 3))[0, 0]
    np.testing.assert_allclose(distance[1:], [0, 0, 1, 1], atol=1e-3)
    assert distance[0] < 0


def test_turned_ellipse():
    points = np.array([[[5j, 3]]], np.complex64)
    np.testing.assert_allclose(shapes.ellipse(points, 0, (5, 3), np.pi / 2), 0, atol=1e-3)


def test_series_of_one_order():
    unit = np.exp(1j * np.array([[[0, np.pi / 2, np.pi]]])).astype(np.complex64)
    coefficients = np.array([0, 0.5], np.complex64)[:, None, None, None]
    np.testing.assert_allclose(shapes.series(unit, coefficients)[0, 0], [0.5, -0.5, 0.5], atol=1e-6)


def test_coverage_is_half_on_the_edge():
    np.testing.assert_allclose(
        shapes.coverage(np.array([-2.0, -0.5, 0.0, 0.5, 2.0]), 2.0), [1, 0.75, 0.5, 0.25, 0]
    )


def test_noise_is_rician():
    # Without signal the magnitude of two unit Gaussians is Rayleigh: mean sqrt(pi / 2).
    scanner = mr.Scanner(blur=0.1, noise=1.0, gain=1000, gamma=1, bias=np.ones((1, 1, 1)))
    image = mr.acquire(np.random.default_rng(0), np.zeros((4, 64, 64), np.float32), scanner)
    assert image.mean() / 1000 == pytest.approx(np.sqrt(np.pi / 2), rel=0.02)
