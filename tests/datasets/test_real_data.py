"""Real volumes are read as their publishers describe them; skipped where they are not at hand."""

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from piecemeal.datasets.layouts import acdc, msd, totalsegmentator
from piecemeal.datasets.scans import CaseFiles

DATA = Path(os.environ.get("PIECEMEAL_DATA", "/nowhere"))

HEART = {1: "right ventricle", 2: "myocardium", 3: "left ventricle"}
HEAD = ["brainstem", "spinal cord", "right parotid", "left parotid", "esophagus", "larynx"]
HEAD = dict(enumerate([*HEAD, "mandible"], start=1))
HIPPOCAMPUS = {1: "hippocampus anterior", 2: "hippocampus posterior"}


def folder(name: str) -> Path:
    if not (DATA / name).is_dir():
        pytest.skip(f"PIECEMEAL_DATA: no real {name} here")
    return DATA / name


def ml(scan, value: int) -> float:
    return float((scan.labels == value).sum() * np.prod(scan.spacing) / 1000)


def range_of(values) -> tuple[float, float]:
    return (round(float(np.min(values)), 3), round(float(np.max(values)), 3))


@pytest.fixture(scope="module")
def hearts():
    """Every frame of ACDC: phase, shape, spacing, volumes (ml), slices without each value."""
    found = []
    for case in acdc.find_cases(folder("acdc")):
        scan = acdc.read(case, HEART)
        assert scan.notes == ()
        assert set(np.unique(scan.labels)) == {0, 1, 2, 3}
        in_slice = [(scan.labels == value).any(axis=(1, 2)) for value in HEART]
        found.append(
            {
                "phase": case.phase,
                "shape": scan.image.shape,
                "spacing": scan.spacing,
                "ml": [ml(scan, value) for value in HEART],
                "without": [*(int((~there).sum()) for there in in_slice)],
                "empty": int((~np.any(in_slice, axis=0)).sum()),
            }
        )
    return found


def test_acdc_has_80_patients_of_five_groups():
    cases = acdc.find_cases(folder("acdc"))
    assert len(cases) == 160
    groups = {case.case: case.group for case in cases}
    assert {
        name: list(groups.values()).count(name) for name in set(groups.values())
    } == dict.fromkeys(("DCM", "HCM", "MINF", "NOR", "RV"), 16)
    late = {case.image.name for case in cases if case.phase == "ED" and case.case == "patient090"}
    assert late == {"patient090_frame04.nii.gz"}


def test_acdc_sizes_and_spacings(hearts):
    shapes = np.array([frame["shape"] for frame in hearts])
    assert [range_of(sizes) for sizes in shapes.T] == [(6, 18), (154, 288), (154, 264)]
    np.testing.assert_array_equal(np.median(shapes, axis=0), [10, 256, 216])
    spacings = np.array([frame["spacing"] for frame in hearts])
    assert range_of(spacings[:, 1:]) == (1.215, 1.92)
    np.testing.assert_allclose(spacings[:, 1], spacings[:, 2])
    assert (spacings[:, 0] == 10).sum() == 134
    assert (spacings[:, 0] == 5).sum() == 22


def test_acdc_volumes(hearts):
    for phase, means, deviations in [
        ("ED", (153, 125, 166), (56, 50, 74)),
        ("ES", (84, 141, 100), (51, 55, 80)),
    ]:
        volumes = np.array([frame["ml"] for frame in hearts if frame["phase"] == phase])
        np.testing.assert_allclose(volumes.mean(axis=0), means, atol=0.5)
        np.testing.assert_allclose(volumes.std(axis=0), deviations, atol=0.5)


def test_acdc_slices_without_a_structure(hearts):
    assert sum(frame["shape"][0] for frame in hearts) == 1552
    assert sum(frame["empty"] for frame in hearts) == 56
    np.testing.assert_array_equal(np.sum([f["without"] for f in hearts], axis=0), [288, 67, 82])


@pytest.fixture(scope="module")
def head_and_neck():
    return msd.find_cases(folder("openkbp"), annotated="annotated.json")


def test_openkbp_says_what_was_drawn_in_whom(head_and_neck):
    assert len(head_and_neck) == 150
    counts = {value: sum(value in case.declared for case in head_and_neck) for value in HEAD}
    assert counts[5] == 51
    assert counts[6] == 70
    assert counts[7] == 98
    assert sum(len(case.declared) == 7 for case in head_and_neck) == 24


def test_openkbp_shows_no_structure_that_was_not_drawn(head_and_neck):
    spacings, shapes = [], []
    for case in head_and_neck:
        scan = msd.read(case, HEAD)
        assert set(np.unique(scan.labels)) <= {0, *case.declared}
        assert scan.image.min() == -1024
        assert nib.aff2axcodes(scan.affine) == ("P", "L", "I")
        assert scan.notes == ()
        spacings.append(scan.spacing)
        shapes.append(scan.image.shape)
    spacings = np.array(spacings)
    assert spacings[:, 0].max() <= 3.31
    assert spacings[:, 1:].max() <= 5.1
    assert np.array(shapes)[:, 1:].max() <= 128


def test_hippocampus_is_small_and_at_1_mm():
    cases = msd.find_cases(folder("hippocampus"))
    assert len(cases) == 195
    shapes = []
    for case in cases:
        scan = msd.read(case, HIPPOCAMPUS)
        assert scan.spacing == (1, 1, 1)
        assert set(np.unique(scan.labels)) == {0, 1, 2}
        assert scan.notes == ()
        shapes.append(scan.image.shape)
    np.testing.assert_array_equal(np.median(shapes, axis=0), [36, 50, 35])


@pytest.fixture(scope="module")
def torso():
    """The one subject of TotalSegmentator, which lies there in a form of its own."""
    root = folder("totalsegmentator_example")
    masks = [(p.name.removesuffix(".nii.gz"), p) for p in sorted((root / "example_seg").iterdir())]
    return CaseFiles("example", "", root / "example_ct.nii.gz", None, masks=tuple(masks))


def test_totalsegmentator_has_a_mask_of_each_of_104_classes(torso):
    assert len(torso.masks) == 104
    labels = {name: name for name, _ in torso.masks}
    scan = totalsegmentator.read(torso, labels)
    assert scan.image.shape == (112, 101, 122)
    assert scan.spacing == (3, 3, 3)
    assert len(np.unique(scan.labels)) == 1 + 59  # the others lie outside the field of view
    assert (scan.labels > 0).sum() == 340786
    assert scan.notes == ()  # these masks come from one label map: none overlap


def test_totalsegmentator_lies_the_right_way_round(torso):
    labels = {"liver": "liver", "spleen": "spleen", "kidney_right": "r", "kidney_left": "l"}
    scan = totalsegmentator.read(torso, labels)
    centres = {}
    for value, name in enumerate(labels, start=1):
        index = np.argwhere(scan.labels == value).mean(axis=0)[::-1]
        centres[name] = (scan.affine @ [*index, 1])[0]
    assert centres["liver"] > centres["spleen"]
    assert centres["kidney_right"] > centres["kidney_left"]
