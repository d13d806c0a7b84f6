"""Implicit solids in space: distances worked out by hand, and parts laid over one another."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from piecemeal.datasets.phantoms.drawing import lofts, solids, spaces
from piecemeal.datasets.phantoms.drawing.parts import Layer, Part, lay, without
from piecemeal.datasets.phantoms.drawing.tissues import STRUCTURE, STRUCTURES, TISSUE, TISSUES


def rng(seed):
    return np.random.default_rng(seed)


def block(shape, spacing=1.0):
    """Space of a block of points around the origin."""
    z, y, x = ((np.arange(n) - (n - 1) / 2) * spacing for n in shape)
    return spaces.Space(
        z[:, None, None].astype(np.float32),
        np.broadcast_to(y[None, :, None], (len(z), len(y), 1)).astype(np.float32),
        np.broadcast_to(x[None, None, :], (len(z), 1, len(x))).astype(np.float32),
    )


def gaps(solid, *places):
    return solid.distance(spaces.points(np.array(places, float)))[:, 0, 0]


def test_ellipsoid_distance_on_its_axes():
    ball = solids.Ellipsoid(np.zeros(3), np.array([5.0, 3.0, 2.0]), np.eye(3))
    found = gaps(ball, (5, 0, 0), (0, 3, 0), (0, 0, -2), (7, 0, 0), (0, 0, 2.5))
    np.testing.assert_allclose(found, [0, 0, 0, 2, 0.5], atol=1e-4)


def test_turned_ellipsoid_fills_its_box():
    quarter = np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, 1]])
    ball = solids.Ellipsoid(np.array([1.0, 0, 0]), np.array([5.0, 3.0, 2.0]), quarter)
    np.testing.assert_allclose(gaps(ball, (1, 5, 0), (4, 0, 0)), 0, atol=1e-4)
    np.testing.assert_allclose(ball.box, [[-3, -6, -3], [5, 6, 3]])


def test_tube_tapers_from_end_to_end():
    tube = solids.Tube(np.array([[[0.0, 0, 0], [10, 0, 0]]]), np.array([[2.0, 4.0]]))
    found = gaps(tube, (5, 4, 0), (5, 0, 3), (-3, 0, 0), (14, 0, 0), (0, 0, 0))
    np.testing.assert_allclose(found, [1, 0, 1, 0, -2], atol=1e-4)


def test_tube_is_far_out_of_reach():
    tube = solids.Tube(np.array([[[0.0, 0, 0], [10, 0, 0]]]), np.array([[2.0, 2.0]]))
    assert gaps(tube, (0, 0, 50)) == solids.FAR


def test_sheet_over_the_face_an_edge_and_a_corner():
    corners = np.array([[[0.0, 0, 0], [0, 4, 0], [0, 0, 4]]])
    sheet = solids.Sheet(corners, np.array([[1.0, 1.0, 1.0]]))
    found = gaps(sheet, (3, 1, 1), (0, -2, 1), (0, -3, -4), (0, 4, 4))
    np.testing.assert_allclose(found, [2, 1, 4, np.sqrt(8) - 1], atol=1e-4)


def test_sheet_is_as_thick_as_its_nearest_corner():
    corners = np.array([[[0.0, 0, 0], [0, 4, 0], [0, 0, 4]]])
    sheet = solids.Sheet(corners, np.array([[1.0, 3.0, 1.0]]))
    np.testing.assert_allclose(gaps(sheet, (5, 4, 0), (5, 0, 4)), [2, 4], atol=1e-3)


@given(st.integers(0, 2**32), st.integers(0, 2**32))
def test_sheet_distance_is_that_of_the_nearest_of_many_points(seed, place):
    triangle = rng(seed).uniform(-4, 4, (3, 3))
    area = np.linalg.norm(np.cross(triangle[1] - triangle[0], triangle[2] - triangle[0])) / 2
    assume(area > 1)
    # Within reach of the sheet: distances are not meant to be true farther away.
    point = triangle.mean(0) + rng(place).uniform(-3, 3, 3)
    sheet = solids.Sheet(triangle[None], np.full((1, 3), 0.5))
    share = np.linspace(0, 1, 60)
    v, w = (part[np.add.outer(share, share) <= 1] for part in np.meshgrid(share, share))
    on = triangle[0] + np.outer(v, triangle[1] - triangle[0])
    on += np.outer(w, triangle[2] - triangle[0])
    nearest = np.linalg.norm(on - point, axis=1).min()
    assert gaps(sheet, point) == pytest.approx(nearest - 0.5, abs=0.15)


def test_blended_union_rounds_the_corner_only():
    one, other = (solids.Half(np.array(n, float), 0.0) for n in ((1, 0, 0), (0, 1, 0)))
    sharp, round_ = solids.Union((one, other)), solids.Union((one, other), blend=4.0)
    np.testing.assert_allclose(gaps(sharp, (3, 3, 0), (3, 9, 0)), [3, 3], atol=1e-5)
    np.testing.assert_allclose(gaps(round_, (3, 3, 0), (3, 9, 0)), [2, 3], atol=1e-5)


def test_common_outside_grown_and_seam():
    half = solids.Half(np.array([1.0, 0, 0]), 2.0)
    shell = solids.Common((half, solids.Outside(half, 1.0)))
    np.testing.assert_allclose(gaps(half, (0, 0, 0), (5, 0, 0)), [-2, 3])
    np.testing.assert_allclose(gaps(shell, (1.5, 0, 0)), 0.5 + 1.0)
    np.testing.assert_allclose(gaps(solids.Grown(half, 1.0), (5, 0, 0)), 2)
    np.testing.assert_allclose(
        gaps(solids.Seam(half, 0.5), (1.0, 0, 0), (2.25, 0, 0)), [0.5, -0.25]
    )


def test_waves_are_of_unit_deviation():
    waves = solids.Waves(rng(0).normal(0, 0.3, (6, 3)), rng(1).uniform(0, 6, 6))
    field = waves.distance(block((60, 60, 60)))
    assert field.mean() == pytest.approx(0, abs=0.1)
    assert field.std() == pytest.approx(1, rel=0.15)


def test_loft_on_its_surface_front_back_and_side():
    table = np.array([(0, 0, 0, 20, 10, 15), (40, 0, 0, 20, 10, 15)], float)
    loft = lofts.Loft(table)
    found = gaps(loft, (20, -10, 0), (20, 15, 0), (20, 0, 20), (20, -12, 0), (60, 0, 0))
    np.testing.assert_allclose(found[:3], 0, atol=1e-4)
    assert found[3] == pytest.approx(2, rel=0.1)
    assert found[4] == solids.FAR


def test_hollow_back_of_a_loft_stands_nearer_in_the_midline():
    table = np.array([(0, 0, 0, 50, 30, 30), (40, 0, 0, 50, 30, 30)], float)
    loft = lofts.Loft(table, 2.0, (2.0, 8.0))
    np.testing.assert_allclose(gaps(loft, (20, 15, 0), (20, -30, 0)), 0, atol=1e-3)
    assert gaps(loft, (20, 20, 0)) > 0 > gaps(loft, (20, 20, 25))


def test_crop_keeps_the_points_in_the_box():
    space = block((5, 7, 9))
    where, inner = space.crop((np.array([-1.0, 0, 2]), np.array([9.0, 1, 9])))
    assert where == (slice(1, 5), slice(3, 5), slice(6, 9))
    assert inner.shape == (4, 2, 3)
    assert space.crop((np.array([8.0, 0, 0]), np.array([9.0, 1, 1]))) is None


# Parts


def test_later_part_covers_only_what_it_may():
    space = block((1, 1, 9))
    structures, tissue = np.zeros((2, *space.shape), np.uint8)
    left_of = [solids.Half(np.array([0.0, 0, 1]), edge) for edge in (-1.5, 2.5)]
    lay(Part("liver", left_of[0], (Layer("liver"),)), space, structures, tissue)
    spleen = Part("spleen", left_of[1], (Layer("spleen"), Layer("gas", 2.0)), over=("air",))
    lay(spleen, space, structures, tissue)
    names = [TISSUES[value] for value in tissue[0, 0]]
    assert names == ["liver"] * 3 + ["gas"] * 2 + ["spleen"] * 2 + ["air"] * 2
    assert [STRUCTURES[value] for value in structures[0, 0]] == (
        ["liver"] * 3 + ["spleen"] * 4 + [""] * 2
    )


def test_part_that_tells_tissue_only_keeps_the_label():
    space = block((1, 1, 3))
    structures, tissue = np.full((2, *space.shape), STRUCTURE["liver"], np.uint8)
    half = solids.Half(np.array([0.0, 0, 1]), 0.5)
    lay(Part(None, half, (Layer("portal blood"),)), space, structures, tissue)
    assert (structures == STRUCTURE["liver"]).all()
    assert (tissue[..., :2] == TISSUE["portal blood"]).all()


def test_without_drops_a_structure_with_what_belongs_to_it():
    half = solids.Half(np.array([0.0, 0, 1]), 0.5)
    own = Part("right kidney", half, (Layer("renal cortex"),))
    pelvis = Part("", half, (Layer("renal pelvis"),), of="right kidney")
    other = Part("liver", half, (Layer("liver"),))
    assert without([own, pelvis, other], ["right kidney"]) == (other,)


def test_without_leaves_no_other_label_where_only_the_label_goes():
    lobe = Part("left upper lung lobe", solids.Half(np.array([0.0, 0, 1]), 0.5), ())
    assert [part.structure for part in without([lobe], ["left upper lung lobe"])] == [""]
