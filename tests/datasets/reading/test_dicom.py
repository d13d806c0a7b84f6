"""DICOM series: slices in their true order and place, or an error that names the file."""

import numpy as np
import pydicom
import pytest
from pydicom.uid import JPEGLSLossless

from piecemeal.datasets.reading.dicom import patient_id, read_series
from piecemeal.errors import InputError

ROWS, COLUMNS, SLICES = 3, 4, 5


@pytest.fixture
def series(tmp_path, dicom_slice):
    """Write a series whose slice k holds 100 k + 10 row + column; `change(k)` alters slice k."""

    def write(heights=range(0, 3 * SLICES, 3), change=lambda number: {}, name="{:03d}.dcm"):
        paths = []
        for number, height in enumerate(heights):
            row, column = np.mgrid[:ROWS, :COLUMNS]
            values = {"position": (10, 20, height), **change(number)}
            pixels = values.pop("pixels", 100 * number + 10 * row + column)
            paths.append(tmp_path / name.format(number))
            dicom_slice(pixels, values.pop("position"), **values).save_as(paths[-1])
        return paths

    return write


def test_voxels_are_rescaled_and_in_the_order_column_row_slice(series):
    volume = read_series(series())
    assert volume.voxels.shape == (COLUMNS, ROWS, SLICES)
    assert volume.voxels.dtype == np.float32
    assert volume.voxels[3, 2, 4] == 2 * (400 + 20 + 3) - 1000
    assert volume.notes == ()


def test_affine_has_rows_and_columns_the_right_way_round_in_ras(series):
    affine = read_series(series()).affine
    np.testing.assert_allclose(
        affine, [[-0.5, 0, 0, -10], [0, -2, 0, -20], [0, 0, 3, 0], [0, 0, 0, 1]]
    )


def test_slices_are_sorted_by_place_not_by_name(series):
    paths = series(heights=[6, 0, 12, 3, 9])
    volume = read_series(paths[::-1])
    np.testing.assert_array_equal((volume.voxels[0, 0] + 1000) / 200, [1, 3, 0, 4, 2])
    assert volume.affine[2, 3] == 0


def test_rows_that_run_to_the_front_are_sorted_downwards(series):
    """With [1, 0, 0, 0, -1, 0] the normal points to the feet; the affine stays right-handed."""
    turned = {"ImageOrientationPatient": [1, 0, 0, 0, -1, 0]}
    volume = read_series(series(change=lambda number: turned))
    np.testing.assert_array_equal((volume.voxels[0, 0] + 1000) / 200, [4, 3, 2, 1, 0])
    np.testing.assert_allclose(np.diag(volume.affine), [-0.5, 2, -3, 1])
    np.testing.assert_allclose(volume.affine[:3, 3], [-10, -20, 12])


def test_each_slice_has_its_own_slope(series):
    slopes = {"RescaleIntercept": 0, "pixels": np.ones((ROWS, COLUMNS))}
    paths = series(change=lambda number: slopes | {"RescaleSlope": number + 1})
    np.testing.assert_array_equal(read_series(paths).voxels[0, 0], [1, 2, 3, 4, 5])


@pytest.mark.parametrize("said", [None, ""])
def test_no_rescaling_said_is_none(series, said):
    paths = series(change=lambda number: {"RescaleSlope": said, "RescaleIntercept": said})
    assert read_series(paths).voxels[3, 2, 4] == 423


def test_tilted_gantry_is_squared_and_noted(series):
    """Slices 3 mm apart that also shift by 0.5 mm along the rows: a shear of 9.5 degrees."""
    volume = read_series(series(change=lambda n: {"position": (10, 20 + 0.5 * n, 3 * n)}))
    directions = volume.affine[:3, :3] / np.linalg.norm(volume.affine[:3, :3], axis=0)
    np.testing.assert_allclose(directions.T @ directions, np.eye(3), atol=1e-12)
    assert volume.notes == ("sheared affine: axes 9.5 degrees off a right angle, made square",)


def test_missing_slice_is_named(series):
    paths = series()
    del paths[2]
    with pytest.raises(InputError, match=r"003\.dcm: lies 6\.000 mm from .*001\.dcm.*3\.000 mm"):
        read_series(paths)


@pytest.mark.parametrize(("shift", "fine"), [(0.02, True), (0.04, False)])
def test_distances_may_differ_by_one_per_cent(series, shift, fine):
    heights = [0, 3, 6 + shift, 9 + shift, 12 + shift]
    if fine:
        assert read_series(series(heights)).affine[2, 2] == pytest.approx(3 + shift / 4)
    else:
        with pytest.raises(InputError, match="a slice is missing"):
            read_series(series(heights))


def test_rounded_positions_of_thin_slices(series):
    heights = [round(0.625 * number, 2) for number in range(SLICES)]  # 0.62 1.25 1.88 2.5
    assert read_series(series(heights)).affine[2, 2] == pytest.approx(0.625)


def test_slice_that_is_there_twice(series):
    with pytest.raises(InputError, match=r"00[23]\.dcm and .*00[23]\.dcm lie at the same place"):
        read_series(series(heights=[0, 3, 6, 6, 9]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"SeriesInstanceUID": "1.2.3.4"}, "its series is"),
        ({"PixelSpacing": [2.0, 0.6]}, "its pixel spacing is"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, -1, 0]}, "its orientation is"),
        ({"pixels": np.ones((ROWS, COLUMNS + 1))}, r"its shape is \(3, 5\)"),
        ({"ImagePositionPatient": None}, "has no ImagePositionPatient"),
        ({"PixelSpacing": None}, "has no PixelSpacing"),
        ({"ImageOrientationPatient": [1, 0, 0]}, "expected 6 numbers"),
        ({"NumberOfFrames": 2, "PixelData": bytes(48)}, "expected one grey slice"),
        ({"SamplesPerPixel": 3}, "expected one grey slice"),
        ({"PixelSpacing": [2.0, 0.0]}, "its pixel spacing is"),
        ({"PixelData": None}, "truncated, corrupt"),
        ({"PixelData": bytes(20)}, "truncated, corrupt"),
    ],
)
def test_odd_slice_is_named(series, change, message):
    paths = series(change=lambda number: change if number == 3 else {})
    with pytest.raises(InputError, match=rf"003\.dcm: .*{message}"):
        read_series(paths)


@pytest.mark.parametrize("keep", [0, 100, 300, -10])
def test_truncated(series, keep):
    paths = series()
    paths[1].write_bytes(paths[1].read_bytes()[:keep])
    with pytest.raises(InputError, match=r"001\.dcm: "):
        read_series(paths)


def test_missing_file(series):
    paths = series()
    paths[1].unlink()
    with pytest.raises(InputError, match=r"001\.dcm: is missing"):
        read_series(paths)


def test_compressed_pixels_say_how_to_decompress(series):
    paths = series()
    dataset = pydicom.dcmread(paths[0])
    dataset.file_meta.TransferSyntaxUID = JPEGLSLossless
    dataset.PixelData = pydicom.encaps.encapsulate([b"not really a picture"])
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(paths[0])
    with pytest.raises(InputError, match=r"000\.dcm: .*gdcmconv --raw"):
        read_series(paths)


def test_axis_without_length(series):
    paths = series(change=lambda number: {"PixelSpacing": [2.0, 0.0]})
    with pytest.raises(InputError, match=r"000\.dcm: the header's affine has an axis of no length"):
        read_series(paths)


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_slices(series, count):
    with pytest.raises(InputError, match=f"{count} slices, expected at least two"):
        read_series(series()[:count])


def test_patient_id_needs_the_header_only(series):
    path = series()[0]
    assert patient_id(path) == "PANCREAS_0001"
    path.write_bytes(path.read_bytes()[:-10])
    assert patient_id(path) == "PANCREAS_0001"


def test_no_patient_id(series):
    path = series(change=lambda number: {"PatientID": None})[0]
    with pytest.raises(InputError, match=r"000\.dcm: has no PatientID"):
        patient_id(path)
