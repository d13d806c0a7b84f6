"""Slices of the scan itself that were drawn, and where they are on the grid."""

import json

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from piecemeal.datasets.annotate import annotate
from piecemeal.datasets.annotators import drawn_slices
from piecemeal.datasets.grid import Geometry
from piecemeal.datasets.prepare import prepare
from piecemeal.datasets.store import PreparedScan, read_cases

NAMES = ["right ventricle", "myocardium", "left ventricle"]
COMPLETE = {"kind": "complete"}
VIEWS = ["axial", "coronal", "sagittal"]


def every_nth(step=5, offset=0, view="axial") -> dict:
    return {"kind": "every_nth_slice", "step": step, "offset": offset, "view": view}


def geometry(native: int, spacing: float, size: int, grid: float, axis: int = 0) -> Geometry:
    """A scan of 7 mm voxels, but for one axis; a grid of 3 x 3 voxels beside it."""

    def along(value, other):
        return tuple(value if i == axis else other for i in range(3))

    shapes, spacings = (along(native, 4), along(size, 3)), (along(spacing, 7.0), along(grid, 9.0))
    return Geometry(shapes[0], spacings[0], np.eye(4), spacings[1], shapes[1])


@pytest.mark.parametrize(
    ("step", "offset", "expected"),
    [
        (5, 0, [5, 10]),  # slice 0 is left out
        (5, 2, [2, 7]),
        (4, 3, [3, 7, 11]),
        (1, 0, list(range(12))),  # every slice, the first one as well
        (20, 0, []),
    ],
)
@pytest.mark.parametrize("view", VIEWS)
def test_slices_of_a_scan_on_its_own_grid(view, step, offset, expected):
    own = geometry(12, 2.0, 12, 2.0, axis=VIEWS.index(view))
    assert drawn_slices(own, step, offset, view).tolist() == expected


def test_a_finer_grid_has_several_slices_of_one_that_was_drawn():
    """Six slices of 5 mm on 15 of 2 mm: both are 30 mm, so grid slice i is at 2 i + 1 mm.

    Slice 3 of the scan reaches from 15 to 20 mm, which are the grid's 15, 17 and 19.
    """
    assert drawn_slices(geometry(6, 5.0, 15, 2.0), 3, 0, "axial").tolist() == [7, 8, 9]


def test_a_coarser_grid_may_miss_a_slice():
    """Twelve slices of 1 mm on six of 2 mm: 2 i + 1 mm lies between two; the upper one counts.

    Which slices are met repeats where the spacings go together: slices of even number never are.
    """
    assert drawn_slices(geometry(12, 1.0, 6, 2.0), 4, 0, "axial").tolist() == []
    assert drawn_slices(geometry(12, 1.0, 6, 2.0), 4, 1, "axial").tolist() == [0, 2, 4]


@pytest.mark.parametrize(("step", "expected"), [(1, range(2, 8)), (3, [5])])
def test_beyond_the_scan_nothing_was_drawn(step, expected):
    own = geometry(6, 2.0, 10, 2.0)
    assert drawn_slices(own, step, 0, "axial").tolist() == list(expected)


@given(
    native=st.integers(10, 300),
    spacing=st.floats(0.5, 6.0),
    step=st.integers(1, 8),
    offset=st.integers(0, 7),
)
def test_a_slice_is_drawn_if_the_nearest_of_the_scan_is(native, spacing, step, offset):
    size, offset = max(1, round(native * spacing / 2)), offset % step
    drawn = set(drawn_slices(geometry(native, spacing, size, 2.0), step, offset, "axial").tolist())
    for i in range(size):
        place = (i - (size - 1) / 2) * 2 / spacing + (native - 1) / 2
        k = round(place)
        if abs(place - k) > 0.49 or not 0 < k < native - 1:
            continue  # between two slices, or at an end, where rounding decides
        assert (i in drawn) == (k % step == offset)


def oblique(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A file's voxels and affine of a volume (z, y, x), z up, y back, x to the left.

    Pixels of 0.78 mm, slices of 5 mm, tilted by 12 degrees; along the file's axes they run
    down, to the left and to the front.
    """
    angle = np.deg2rad(12)
    tilt = np.array(
        [[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]]
    )
    x, y, z = (tilt @ np.diag([-0.78, -0.78, 5.0])).T
    depth, rows, _ = labels.shape
    affine = np.eye(4)
    affine[:3, :3] = np.stack([-z, x, -y], axis=1)
    affine[:3, 3] = (depth - 1) * z + (rows - 1) * y + [11, -7, 3]
    return labels.transpose(0, 2, 1)[::-1, :, ::-1], affine


@pytest.mark.parametrize("view", VIEWS)
def test_slices_of_an_oblique_file_are_the_right_ones(tmp_path, arguments, acdc, view):
    """Slices to be drawn are of structure 1, the others of 2: so they are on the grid."""
    shape, axis = (20, 145, 120), VIEWS.index(view)
    k = np.arange(shape[axis])
    one = np.where((k % 5 == 0) & (k > 0), 1, 2).reshape([-1 if i == axis else 1 for i in range(3)])
    labels = np.broadcast_to(one, shape).astype(np.uint8)
    for number, path in enumerate(sorted(acdc.glob("*/*_gt.nii.gz"))):
        voxels, affine = oblique(labels)
        nib.save(nib.Nifti1Image(voxels, affine), path)
        image = np.random.default_rng(number).normal(size=voxels.shape).astype(np.float32)
        nib.save(nib.Nifti1Image(image, affine), path.with_name(path.name.replace("_gt", "")))
    grid = {"spacing_mm": [2.0, 2.0, 2.0], "size": [None, None, None], "fit": False}
    changes = {"orientation": "canonical", "grid": grid}
    changes["split"] = arguments["split"] | {"twins": "keep"}
    prepare(tmp_path / "prepared", **arguments | changes)
    halves = {1: every_nth(view=view), 2: every_nth(view=view)}
    rows = annotate(tmp_path / "a", tmp_path / "prepared", NAMES, halves, "present")
    assert len(rows) == 6
    assert set(rows["view"]) == {view}
    tables = json.loads((tmp_path / "a" / "sets.json").read_text())
    for row in rows.itertuples():
        scan = PreparedScan(tmp_path / "prepared" / "acdc" / row.scan)
        assert scan.image.shape == (50, 57, 47)
        codes = np.load(tmp_path / "a" / "acdc" / row.scan / "codes.npy")
        assert tables[row.protocol][0] == [0, 1, 2, 3]
        assert np.array_equal(codes, np.where(scan.labels == 1, 1, 0))
        assert (codes == 1).mean() == pytest.approx(1 / 5, abs=0.055)


@pytest.fixture
def prepared(tmp_path, arguments):
    """Two data sets of the same scans, in canonical order, on their own three slices."""
    arguments["sources"]["other"] = arguments["sources"]["acdc"]
    split = arguments["split"] | {"twins": "keep"}
    prepare(tmp_path / "prepared", **arguments | {"orientation": "canonical", "split": split})
    return tmp_path / "prepared"


def annotated(tmp_path, prepared, *halves, **options):
    """{(data set, scan): (row of cases.csv, sets of every voxel, labels)}."""
    annotate(tmp_path / "a", prepared, NAMES, dict(enumerate(halves, start=1)), **options)
    tables = json.loads((tmp_path / "a" / "sets.json").read_text())
    found = {}
    for row in read_cases(tmp_path / "a").itertuples():
        table = np.array([[c in members for c in range(4)] for members in tables[row.protocol]])
        codes = np.load(tmp_path / "a" / row.dataset / row.scan / "codes.npy")
        labels = PreparedScan(prepared / row.dataset / row.scan).labels
        found[row.dataset, row.scan] = row, table[codes], labels
    return found


def test_a_data_set_may_have_a_protocol_of_its_own(tmp_path, prepared):
    own = {"other": every_nth(2, 0, "sagittal")}
    scans = annotated(tmp_path, prepared, COMPLETE, None, own=own)
    views = {(row.dataset, row.half): row.view for row, _, _ in scans.values()}
    # The second half is dropped, but not of the data set that has its own.
    assert views == {("acdc", 1): "", ("other", 1): "sagittal", ("other", 2): "sagittal"}
    for row, allowed, labels in scans.values():
        assert row.protocol == ("complete" if row.dataset == "acdc" else "every_nth_slice")
        whole = np.eye(4, dtype=bool)[labels]
        if row.dataset == "acdc":
            assert np.array_equal(allowed, whole)
        else:
            known = ~allowed.all(-1)
            assert np.array_equal(allowed[known], whole[known])
            drawn = known.any((0, 1))
            assert np.array_equal(known, np.broadcast_to(drawn, known.shape))
            assert 0.3 < drawn.mean() < 0.7


def test_only_scans_of_the_sources_are_annotated(tmp_path, prepared):
    scans = annotated(tmp_path, prepared, COMPLETE, COMPLETE, sources=["other"])
    assert {dataset for dataset, _ in scans} == {"other"}
    assert len(scans) == 6


@pytest.mark.parametrize(("known", "per_slice"), [("present", True), ("declared", False)])
def test_what_is_known_of_a_slice_is_what_it_shows_or_what_is_declared(
    tmp_path, prepared, known, per_slice
):
    """A sagittal slice of the bars shows one structure, or none."""
    every = every_nth(1, 0, "sagittal")
    scans = annotated(tmp_path, prepared, every, every, known=known)
    assert len({row.protocol for row, _, _ in scans.values()}) == 1
    for row, allowed, labels in scans.values():
        assert row.view == "sagittal"
        for plane, sets in zip(np.moveaxis(labels, 2, 0), np.moveaxis(allowed, 2, 0), strict=True):
            shown = set(np.unique(plane)) - {0} if per_slice else {1, 2, 3}
            assert np.all(sets[plane == 0] == [c not in shown for c in range(4)])
            assert np.array_equal(sets[plane > 0], np.eye(4, dtype=bool)[plane[plane > 0]])


def test_scans_whose_drawn_slices_say_nothing_are_counted(tmp_path, prepared, caplog):
    """Three slices, of which the rule takes none."""
    nothing = every_nth(20, 0, "axial")
    scans = annotated(tmp_path, prepared, nothing, COMPLETE, own={"acdc": COMPLETE})
    lost = [row for row, allowed, _ in scans.values() if allowed.all()]
    assert len(lost) > 0
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith(f"other: in {len(lost)} scans none of the drawn slices says anything")


def test_kinds_that_differ_are_told_apart_by_half_or_data_set(tmp_path, prepared):
    halves = every_nth(2, 0, "axial"), every_nth(2, 1, "axial")
    scans = annotated(tmp_path, prepared, *halves, own={"other": every_nth(3, 1, "coronal")})
    names = {(row.dataset, row.half): row.protocol for row, _, _ in scans.values()}
    assert names == {
        ("acdc", 1): "every_nth_slice_1",
        ("acdc", 2): "every_nth_slice_2",
        ("other", 1): "every_nth_slice_other",
        ("other", 2): "every_nth_slice_other",
    }
