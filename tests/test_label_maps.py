"""Predictions of other software, read from files and scored like our own."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from piecemeal.datasets.store import PreparedScan, read_cases
from piecemeal.errors import InputError
from piecemeal.label_maps import check_label_maps, read_label_map
from piecemeal.scoring import label_image, score_run

UNTRAINED = {"network": None, "network_options": {}, "optimiser": None, "batch_size": None}


@pytest.fixture
def score(cohort, settings, tmp_path):
    """`score(method, **changes)`: the scores of an untrained method, and where its maps lie."""

    def make(method: str, **changes):
        asked = settings(method=method, implementation=method, **UNTRAINED) | changes
        folder = tmp_path / method
        return score_run(asked, cohort.prepared, tmp_path / "none", folder), folder

    return make


@pytest.fixture
def scan(cohort):
    """A prepared scan, its data set and its name."""
    row = read_cases(cohort.prepared).query("split == 'test'").iloc[0]
    return PreparedScan(cohort.prepared / row.dataset / row.scan), row.dataset, row.scan


@pytest.fixture
def save(scan, tmp_path):
    """`save(image)`: the map of the scan, as a file."""

    def write(image):
        path = tmp_path / scan[1] / f"{scan[2]}.nii.gz"
        path.parent.mkdir(exist_ok=True)
        nib.save(image, path)

    return write


def test_our_own_predictions_score_the_same_when_they_are_read_back(score):
    own, folder = score("oracle")
    given, written = score("elsewhere", label_maps=str(folder))
    for mine, theirs in ((own.processed, given.processed), (own.unprocessed, given.unprocessed)):
        left_out = ["seconds", "method"]
        pd.testing.assert_frame_equal(mine.drop(columns=left_out), theirs.drop(columns=left_out))
        assert theirs["seconds"].isna().all()
    names = sorted(path.relative_to(folder) for path in folder.rglob("*.nii.gz"))
    assert names == sorted(path.relative_to(written) for path in written.rglob("*.nii.gz"))
    for scan in given.scans:
        assert scan["seconds"] is scan["forward_passes"] is scan["head_passes"] is None


def test_what_the_cohort_asks_for_is_done_to_them_as_well(score):
    _, folder = score("background")
    changed = sorted(folder.rglob("*.nii.gz"))[0]
    image = nib.load(changed)
    voxels = np.zeros(image.shape, np.uint8)
    voxels[0, 0, 0], voxels[4:6, 4, 1] = 1, 1
    nib.save(nib.Nifti1Image(voxels, image.affine), changed)
    scores, _ = score("elsewhere", label_maps=str(folder), largest_component=["left"])
    assert scores.unprocessed["predicted_voxels"].sum() == 3
    assert scores.processed["predicted_voxels"].sum() == 2


def test_maps_that_are_missing_are_named_before_any_is_scored(score):
    _, folder = score("oracle")
    first, *_ = sorted(folder.rglob("*.nii.gz"))
    first.unlink()
    with pytest.raises(InputError, match=rf"no label map of 1 of \d+ test scans.*{first.name}"):
        score("elsewhere", label_maps=str(folder))


def test_of_many_missing_maps_some_are_named(tmp_path):
    with pytest.raises(InputError, match=r"of 9 of 9 test scans") as caught:
        check_label_maps(tmp_path, [("a", f"scan{n}") for n in range(9)])
    assert "scan4" in str(caught.value)
    assert "scan5" not in str(caught.value)


def test_axes_may_run_another_way_than_in_the_file_of_a_scan_that_was_turned(scan, save, tmp_path):
    prepared, *names = scan
    ids = np.random.default_rng(0).integers(0, 3, prepared.geometry.native_shape).astype(np.uint8)
    # The arrays of the store run along LPS, the file of the scan along RAS, the map along PIR.
    affine = np.diag([-1.0, -1.0, 2.0, 1.0])
    prepared.geometry = replace(prepared.geometry, affine=affine, file_axes="RAS")
    image = label_image(ids, replace(prepared.geometry, file_axes="PIR"))
    assert nib.aff2axcodes(image.affine) == tuple("PIR")
    save(image)
    assert (read_label_map(tmp_path, *names, prepared, 3) == ids).all()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda v, a: (v[1:], a), r"voxels \(z, y, x\), expected the .* of the scan itself"),
        (lambda v, a: (v, a + np.outer([2, 0, 0, 0], [0, 0, 0, 1])), r"lies up to .* mm away"),
        (lambda v, a: (v + 7, a), r"values from 7 to 7, expected 0 to 2: the background and the"),
        (lambda v, a: (v.astype(np.int16) - 1, a), r"values from -1 to -1, expected 0 to 2"),
        (lambda v, a: (v + np.float32(0.5), a), r"expected whole numbers as labels"),
    ],
    ids=["shape", "place", "values", "negative", "fractions"],
)
def test_maps_that_cannot_be_of_the_scan_are_refused(scan, save, tmp_path, spoil, message):
    prepared, *names = scan
    shape, affine = prepared.geometry.native_shape[::-1], prepared.geometry.affine
    save(nib.Nifti1Image(*spoil(np.zeros(shape, np.uint8), affine)))
    with pytest.raises(InputError, match=rf"{names[1]}\.nii\.gz: .*{message}"):
        read_label_map(tmp_path, *names, prepared, 3)


def test_a_damaged_map_is_named(scan, tmp_path):
    prepared, *names = scan
    path = tmp_path / names[0] / f"{names[1]}.nii.gz"
    path.parent.mkdir()
    path.write_bytes(b"not a map")
    with pytest.raises(InputError, match=rf"{path.name}: is truncated, corrupt or not a NIfTI"):
        read_label_map(tmp_path, *names, prepared, 3)
