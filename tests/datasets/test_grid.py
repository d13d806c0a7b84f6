"""Resampling between a scan's own voxels and the grid of its cohort."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from piecemeal.datasets.grid import Geometry, GridSpec, resample_from_grid, resample_to_grid

AXES = (0, 1, 2)


def geometry(shape, spacing, grid_spacing, grid_shape):
    return Geometry(shape, spacing, np.eye(4), grid_spacing, grid_shape)


def in_plane(shape, spacing, pixel, size):
    """Spacing and shape of a grid of `size` x `size` pixels with the slices of the scan."""
    return (spacing[0], pixel, pixel), (shape[0], size, size)


def along(axis, line, dtype=np.float32):
    """A volume of one line of voxels along an axis."""
    shape = [1, 1, 1]
    shape[axis] = len(line)
    return np.array(line, dtype).reshape(shape)


def on_axis(axis, value, others=1):
    """`value` on an axis, `others` on the other two."""
    return tuple(value if i == axis else others for i in AXES)


def blobs(shape, spacing):
    """Class ids of two smooth blobs, (z, y, x), in the middle of the plane."""
    y, x = (
        (np.arange(size) - (size - 1) / 2) * step
        for size, step in zip(shape[1:], spacing[1:], strict=True)
    )
    y, x = np.meshgrid(y, x, indexing="ij")
    plane = np.where((y / 30) ** 2 + (x / 40) ** 2 < 1, 1, 0)
    plane[(y + 5) ** 2 + (x - 8) ** 2 < 15**2] = 2
    return np.repeat(plane[None].astype(np.uint8), shape[0], axis=0)


def dice(first, second, label):
    first, second = first == label, second == label
    return 2 * np.sum(first & second) / (first.sum() + second.sum())


def test_voxel_centres_worked_by_hand():
    # Four pixels of 2 mm have centres at -3, -1, 1, 3 mm; five grid pixels of 1 mm at -2 to 2.
    row = np.tile(np.array([0.0, 10, 20, 30], np.float32), (1, 4, 1))
    grid = resample_to_grid(row, (5, 2, 2), (5, 1, 1), (1, 5, 5), order=1)
    np.testing.assert_allclose(grid[0, 2], [5, 10, 15, 20, 25], rtol=1e-6)


def test_outer_half_of_border_pixels_belongs_to_the_scan():
    # Two pixels of 2 mm span -2 to 2 mm; six grid pixels of 1 mm sit at -2.5, -1.5, ... 2.5.
    plane = np.array([[[3, 4], [3, 4]]], np.uint8)
    grid = resample_to_grid(plane, (5, 2, 2), (5, 1, 1), (1, 6, 6), order=0)
    assert grid[0, 2].tolist() == [0, 3, 3, 4, 4, 0]
    assert grid[0, :, 1].tolist() == [0, 3, 3, 3, 3, 0]


def test_same_spacing_is_a_centre_crop():
    volume = np.random.default_rng(0).normal(size=(2, 8, 6)).astype(np.float32)
    np.testing.assert_array_equal(
        resample_to_grid(volume, (9, 1, 1), (9, 1, 1), (2, 4, 4), order=1), volume[:, 2:6, 1:5]
    )


def test_same_spacing_is_a_centre_pad():
    volume = np.random.default_rng(0).normal(size=(2, 4, 2)).astype(np.float32)
    grid = resample_to_grid(volume, (9, 1, 1), (9, 1, 1), (2, 6, 6), order=1)
    expected = np.zeros((2, 6, 6), np.float32)
    expected[:, 1:5, 2:4] = volume
    np.testing.assert_array_equal(grid, expected)


@pytest.mark.parametrize(("native", "size"), [(7, 10), (8, 11), (8, 10), (7, 11)])
def test_labels_come_back_exactly_at_equal_spacing(native, size):
    labels = np.random.default_rng(0).integers(0, 4, (2, native, native)).astype(np.uint8)
    spacing = (9, 0.98, 0.98)
    target = in_plane(labels.shape, spacing, 0.98, size)
    grid = resample_to_grid(labels, spacing, *target, order=0)
    there = geometry(labels.shape, spacing, *target)
    np.testing.assert_array_equal(resample_from_grid(grid, there, order=0), labels)


def test_rows_and_columns_have_their_own_spacing():
    volume = np.zeros((1, 4, 8), np.uint8)
    volume[0, 1:3, 2:6] = 1  # 2 rows of 2 mm, 4 columns of 1 mm
    grid = resample_to_grid(volume, (9, 2, 1), (9, 1, 1), (1, 8, 8), order=0)
    expected = np.zeros((8, 8), np.uint8)
    expected[2:6, 2:6] = 1
    np.testing.assert_array_equal(grid[0], expected)


@given(
    st.integers(60, 90),
    st.integers(60, 90),
    st.floats(1.2, 2.0),
    st.floats(1.2, 1.6),
)
def test_labels_survive_the_way_to_the_grid_and_back(rows, columns, step, grid_step):
    shape, spacing = (2, rows, columns), (8.0, step, step)
    labels = blobs(shape, spacing)
    target = in_plane(shape, spacing, grid_step, 96)
    grid = resample_to_grid(labels, spacing, *target, order=0)
    back = resample_from_grid(grid, geometry(shape, spacing, *target), order=0)
    assert back.dtype == np.uint8
    assert back.shape == shape
    for label in (1, 2):
        assert dice(back, labels, label) > 0.95


def test_probabilities_survive_the_way_back():
    shape, spacing = (3, 100, 90), (10.0, 1.5625, 1.5625)
    labels = blobs(shape, spacing)
    target = in_plane(shape, spacing, 1.36719, 128)
    grid = resample_to_grid(labels, spacing, *target, order=0)
    probabilities = np.stack([grid == label for label in range(3)]).astype(np.float32)
    back = resample_from_grid(probabilities, geometry(shape, spacing, *target), order=1)
    assert back.shape == (3, *shape)
    np.testing.assert_allclose(back.sum(0), 1, atol=1e-5)
    for label in (1, 2):
        assert dice(back.argmax(0), labels, label) > 0.95


def test_beyond_the_grid_is_background():
    there = geometry((1, 10, 10), (5, 1, 1), (5, 1, 1), (1, 4, 4))
    back = resample_from_grid(np.full((2, 1, 4, 4), 0.5, np.float32), there, order=1)
    assert back[:, 0, 3:7, 3:7].min() == 0.5
    assert back.sum() == pytest.approx(0.5 * 2 * 16)


def test_plane_that_falls_between_the_grid_pixels():
    grid = resample_to_grid(
        np.ones((2, 2, 2), np.float32), (1, 0.01, 0.01), (1, 1, 1), (2, 4, 4), order=1
    )
    assert not grid.any()


@pytest.mark.parametrize("axis", AXES)
def test_a_finer_grid_worked_by_hand(axis):
    """Four voxels of 2 mm have centres at -3, -1, 1, 3 mm; five grid voxels of 1 mm at -2 to 2."""
    target = (on_axis(axis, 1, 2), on_axis(axis, 5))
    grid = resample_to_grid(along(axis, [0, 10, 20, 30]), (2, 2, 2), *target, order=1)
    assert grid.shape == on_axis(axis, 5)
    assert grid.ravel().tolist() == [5, 10, 15, 20, 25]


@pytest.mark.parametrize("axis", AXES)
def test_a_coarser_grid_worked_by_hand(axis):
    """Six voxels of 1 mm at -2.5 to 2.5 mm; two grid voxels of 4 mm at -2 and 2, not averaged."""
    target = (on_axis(axis, 4), on_axis(axis, 2))
    grid = resample_to_grid(along(axis, [0, 10, 90, 80, 0, 4]), (1, 1, 1), *target, order=1)
    assert grid.ravel().tolist() == [5, 2]


@pytest.mark.parametrize("axis", AXES)
def test_the_way_back_worked_by_hand(axis):
    """Two grid voxels of 4 mm at -2, 2; six native ones of 2 mm at -5, -3, -1, 1, 3, 5 mm."""
    there = geometry(on_axis(axis, 6), (2, 2, 2), on_axis(axis, 4, 2), on_axis(axis, 2))
    back = resample_from_grid(along(axis, [0, 8]), there, order=1)
    assert back.shape == there.native_shape
    assert back.ravel().tolist() == [0, 0, 2, 6, 8, 0]


@pytest.mark.parametrize("axis", AXES)
def test_labels_take_the_nearest_voxel_and_end_with_the_scan(axis):
    """Two voxels of 3 mm span -3 to 3 mm; eight grid voxels of 1 mm sit at -3.5 to 3.5."""
    target = (on_axis(axis, 1, 3), on_axis(axis, 8))
    grid = resample_to_grid(along(axis, [3, 4], np.uint8), (3, 3, 3), *target, order=0)
    assert grid.dtype == np.uint8
    assert grid.ravel().tolist() == [0, 3, 3, 3, 4, 4, 4, 0]


def test_whole_numbers_are_rounded_once():
    """Half-way between four voxels, 0.25 is 0; rounded along one axis first it would become 1."""
    volume = np.array([[[0], [0]], [[0], [1]]], np.int16)
    grid = resample_to_grid(volume, (1, 1, 1), (1, 1, 1), (1, 1, 1), order=1)
    assert grid.dtype == np.int16
    assert grid.item() == 0


@pytest.mark.parametrize("order", [0, 1])
def test_a_scan_that_is_on_the_grid_stays_as_it_is(order):
    volume = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)
    spacing = (3.3, 0.7, 0.9)
    grid = resample_to_grid(volume, spacing, spacing, volume.shape, order)
    assert grid.tobytes() == volume.tobytes()
    assert not np.shares_memory(grid, volume)
    there = geometry(volume.shape, spacing, spacing, volume.shape)
    assert resample_from_grid(volume, there, order).tobytes() == volume.tobytes()


@pytest.mark.parametrize("axis", AXES)
def test_an_axis_that_is_on_the_grid_is_not_resampled(axis):
    """Each position along it comes out as if the others were not there."""
    volume = np.random.default_rng(0).normal(size=(4, 4, 4)).astype(np.float32)
    target = (on_axis(axis, 1, 0.7), on_axis(axis, 4, 6))
    grid = resample_to_grid(volume, (1, 1, 1), *target, order=1)
    for place in range(4):
        one = volume.take([place], axis)
        alone = resample_to_grid(one, (1, 1, 1), target[0], on_axis(axis, 1, 6), order=1)
        np.testing.assert_array_equal(grid.take([place], axis), alone)


def plane_by_plane(volume, shape, steps, order, tie):
    """The last two axes as they were resampled when grids lay in the plane only."""
    result = np.zeros((*volume.shape[:-2], *shape), volume.dtype)
    axes = []
    for source, target, step in zip(volume.shape[-2:], shape, steps, strict=True):
        start = (source - 1) / 2 - step * (target - 1) / 2
        place = start + step * np.arange(target)
        (where,) = np.nonzero((place >= -0.5 - 1e-6) & (place <= source - 0.5 + 1e-6))
        if where.size == 0:
            return result
        axes.append((slice(where[0], where[-1] + 1), start + step * where[0]))
    (rows, y), (columns, x) = axes
    nudge = tie if order == 0 else 0.0
    for index in np.ndindex(volume.shape[:-2]):
        size = (rows.stop - rows.start, columns.stop - columns.start)
        result[*index, rows, columns] = ndimage.affine_transform(
            volume[index], steps, [y + nudge, x + nudge], size, order=order, mode="nearest"
        )
    return result


@given(
    st.tuples(st.integers(1, 3), st.integers(1, 40), st.integers(1, 40)),
    st.tuples(st.floats(1, 9), st.floats(0.3, 3), st.floats(0.3, 3)),
    st.one_of(st.floats(0.3, 3), st.none()),
    st.integers(1, 40),
    st.sampled_from([(np.float32, 1), (np.int16, 1), (np.uint8, 0)]),
)
def test_slices_that_stay_are_resampled_to_the_bit_as_ever(shape, spacing, pixel, size, kind):
    dtype, order = kind
    pixel = pixel or spacing[1]
    volume = (np.random.default_rng(0).normal(size=shape) * 50).astype(dtype)
    target = in_plane(shape, spacing, pixel, size)
    grid = resample_to_grid(volume, spacing, *target, order)
    steps = (pixel / spacing[1], pixel / spacing[2])
    assert grid.tobytes() == plane_by_plane(volume, (size, size), steps, order, 1e-6).tobytes()
    back = resample_from_grid(grid, geometry(shape, spacing, *target), order)
    steps = (spacing[1] / pixel, spacing[2] / pixel)
    assert back.tobytes() == plane_by_plane(grid, shape[1:], steps, order, -1e-6).tobytes()


def test_some_planes_come_back_alone_where_slices_stay():
    there = geometry((5, 6, 4), (9, 1, 2), (9, 1.3, 1.3), (5, 8, 8))
    grid = np.random.default_rng(0).normal(size=(5, 8, 8)).astype(np.float32)
    whole = resample_from_grid(grid, there, order=1)
    np.testing.assert_array_equal(resample_from_grid(grid[2:4], there, order=1), whole[2:4])


SIZES = st.tuples(*3 * [st.integers(1, 12)])
SPACINGS = st.tuples(*3 * [st.floats(0.5, 4)])


@given(SIZES, SIZES, SPACINGS)
def test_labels_come_back_at_equal_spacing_where_the_grid_holds_them(shape, size, spacing):
    """Odd sizes in even ones and the other way round too, where every position is a tie."""
    labels = np.random.default_rng(0).integers(1, 5, shape).astype(np.uint8)
    grid = resample_to_grid(labels, spacing, spacing, size, order=0)
    back = resample_from_grid(grid, geometry(shape, spacing, spacing, size), order=0)
    for axis, (native, held) in enumerate(zip(shape, size, strict=True)):
        cut = max(0, native - held)  # the odd one is lost on either side
        kept = np.arange((cut + 1) // 2, native - (cut + 1) // 2)
        labels, back = labels.take(kept, axis), back.take(kept, axis)
    np.testing.assert_array_equal(back, labels)


@given(SIZES, SIZES, SPACINGS, SPACINGS)
def test_the_centre_of_the_scan_is_that_of_the_grid(shape, size, spacing, grid_spacing):
    """An image of its own mm from the centre, along each axis, is one of the grid's mm there."""
    for axis in AXES:
        place, wanted = (
            (np.arange(n[axis]) - (n[axis] - 1) / 2) * step[axis]
            for n, step in ((shape, spacing), (size, grid_spacing))
        )
        volume = np.broadcast_to(along(axis, place, np.float64), shape)
        grid = resample_to_grid(volume, spacing, grid_spacing, size, order=1)
        reach = [
            abs(np.arange(n) - (n - 1) / 2) * step <= (native - 1) / 2 * own
            for n, step, native, own in zip(size, grid_spacing, shape, spacing, strict=True)
        ]
        found = grid[np.ix_(*reach)]
        expected = np.broadcast_to(along(axis, wanted[reach[axis]], np.float64), found.shape)
        np.testing.assert_allclose(found, expected, atol=1e-9)


def test_a_grid_of_the_plane_leaves_slices_as_they_are():
    spec = GridSpec((None, 1.37, 1.37), (None, 212, 212))
    assert spec.of((9, 256, 216), (10.0, 1.5, 1.6)) == ((9, 212, 212), (10.0, 1.37, 1.37))


def test_an_isotropic_grid_covers_the_scan():
    spec = GridSpec((2, 2, 2), (None, None, None))
    assert spec.of((300, 512, 500), (1.0, 0.75, 0.8)) == ((150, 192, 200), (2.0, 2.0, 2.0))


def test_fit_stretches_the_plane_but_not_the_slices():
    spec = GridSpec((None, None, None), (None, 256, 256), fit=True)
    assert spec.of((40, 512, 320), (5.0, 0.8, 0.8)) == ((40, 256, 256), (5.0, 1.6, 1.0))
    sized = GridSpec((None, None, 1.5), (32, 256, 128), fit=True)
    assert sized.of((40, 512, 320), (5.0, 0.8, 0.8)) == ((32, 256, 128), (5.0, 1.6, 1.5))


def test_without_fit_the_plane_keeps_its_spacing():
    spec = GridSpec((None, None, None), (None, 256, 256))
    assert spec.of((40, 512, 320), (5.0, 0.8, 0.7)) == ((40, 256, 256), (5.0, 0.8, 0.7))


@given(st.integers(1, 600), st.floats(0.1, 5))
def test_fit_to_the_size_it_has_is_the_scan_itself(size, spacing):
    spec = GridSpec((None, None, None), (None, size, size), fit=True)
    shape, spacing = (3, size, size), (4.0, spacing, spacing)
    assert spec.of(shape, spacing) == (shape, spacing)


@pytest.mark.parametrize(
    ("native", "size"),
    # 0.5 mm on 2 mm: the field of view is rounded, and raised where a centre would lie outside.
    [(1, 1), (5, 1), (6, 2), (8, 2), (9, 2), (10, 3), (200, 50), (201, 50), (202, 51)],
)
def test_sizes_worked_by_hand(native, size):
    spec = GridSpec((2, 2, 2), (None, None, None))
    assert spec.of(3 * (native,), 3 * (0.5,)) == (3 * (size,), 3 * (2.0,))


@given(SIZES, SPACINGS, st.floats(0.5, 4))
def test_a_grid_of_no_size_holds_every_voxel_of_the_scan(shape, spacing, step):
    grid_shape, grid_spacing = GridSpec(3 * (step,), 3 * (None,)).of(shape, spacing)
    there = geometry(shape, spacing, grid_spacing, grid_shape)
    assert (resample_from_grid(np.ones(grid_shape, np.uint8), there, order=0) == 1).all()
    ones = resample_to_grid(np.ones(shape, np.uint8), spacing, grid_spacing, grid_shape, order=0)
    assert (ones == 1).all()
