import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from piecemeal.annotations import (
    as_declared,
    complete,
    partial,
    slices_as_they_show,
    sparse_slices,
    super_label,
    unlabelled,
)
from piecemeal.errors import InputError
from piecemeal.labelsets import carries_information, is_complete, validate

LABELS = np.array([[0, 1, 2], [3, 3, 0]])


def members(annotation):
    """Class ids of every row of the set table."""
    return [np.flatnonzero(row).tolist() for row in annotation.sets]


def allows_truth(annotation, labels):
    """Whether every voxel's set holds its true class."""
    return np.take_along_axis(annotation.sets[annotation.codes], labels[..., None], -1).all()


@st.composite
def labelled_volumes(draw):
    classes = draw(st.integers(2, 6))
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=3, max_side=5))
    dtype = draw(st.sampled_from([np.uint8, np.int16, np.int64]))
    return draw(hnp.arrays(dtype, shape, elements=st.integers(0, classes - 1))), classes


@st.composite
def simulations(draw):
    """A simulated annotation and the labels it was made from."""
    labels, classes = draw(labelled_volumes())
    kind = draw(st.sampled_from(["complete", "super_label", "partial", "unlabelled"]))
    if kind == "super_label":
        owner = draw(st.lists(st.integers(0, 2), min_size=classes, max_size=classes))
        groups = [[c for c in range(classes) if owner[c] == k] for k in (1, 2)]
        annotation = super_label(labels, groups, classes)
    elif kind == "partial":
        annotation = partial(labels, draw(st.sets(st.integers(1, classes - 1))), classes)
    elif kind == "unlabelled":
        annotation = unlabelled(labels.shape, classes)
    else:
        annotation = complete(labels, classes)
    if draw(st.booleans()):
        axis = draw(st.integers(0, labels.ndim - 1))
        kept = draw(st.sets(st.integers(0, labels.shape[axis] - 1)))
        annotation = sparse_slices(annotation, kept, axis)
    return annotation, labels


@given(simulations())
def test_the_true_class_is_always_in_the_set(simulation):
    annotation, labels = simulation
    assert allows_truth(annotation, labels)


@given(simulations())
def test_simulations_are_well_formed(simulation):
    annotation, labels = simulation
    validate(annotation)
    assert annotation.codes.shape == labels.shape


@given(labelled_volumes())
def test_complete_is_the_identity(volume):
    labels, classes = volume
    annotation = complete(labels, classes)
    np.testing.assert_array_equal(annotation.codes, labels)
    assert members(annotation) == [[c] for c in range(classes)]


def test_complete_copies_the_labels():
    labels = np.zeros((2, 2), np.uint8)
    complete(labels, 2).codes[0, 0] = 1
    assert labels[0, 0] == 0


def test_super_label_merges_classes():
    # Classes 0 and 1 keep their own sets; 2 and 3 share the third.
    annotation = super_label(LABELS, [2, 3], 4)
    assert members(annotation) == [[0], [1], [2, 3]]
    np.testing.assert_array_equal(annotation.codes, [[0, 1, 2], [2, 2, 0]])


def test_super_label_takes_several():
    annotation = super_label(LABELS, [[3, 0], [1, 2]], 4)
    assert members(annotation) == [[0, 3], [1, 2]]
    np.testing.assert_array_equal(annotation.codes, [[0, 1, 1], [0, 0, 0]])


@pytest.mark.parametrize("merged", [[], [[]], [2], [[1], [3]]])
def test_super_labels_of_at_most_one_class_are_complete(merged):
    annotation = super_label(LABELS, merged, 4)
    assert is_complete(annotation.sets)
    assert allows_truth(annotation, LABELS)


def test_super_label_of_every_class_says_nothing():
    assert members(super_label(LABELS, range(4), 4)) == [[0, 1, 2, 3]]


def test_super_labels_must_be_disjoint():
    with pytest.raises(InputError, match=r"classes \[2\] are in more than one"):
        super_label(LABELS, [[1, 2], [2, 3]], 4)


def test_super_label_needs_known_classes():
    with pytest.raises(InputError, match=r"merged: \[4\] are not class ids"):
        super_label(LABELS, [3, 4], 4)


def test_partial_leaves_the_rest_open():
    # Only 2 is drawn: everything else may be background, 1 or 3.
    annotation = partial(LABELS, [2], 4)
    assert members(annotation) == [[0, 1, 3], [2]]
    np.testing.assert_array_equal(annotation.codes, [[0, 0, 1], [0, 0, 0]])


def test_partial_annotation_of_every_structure_is_complete():
    annotation = partial(LABELS, [3, 1, 2], 4)
    np.testing.assert_array_equal(annotation.codes, LABELS)
    assert members(annotation) == [[0], [1], [2], [3]]


def test_partial_annotation_of_nothing_says_nothing():
    assert members(partial(LABELS, [], 4)) == [[0, 1, 2, 3]]


def test_partial_does_not_take_background_for_a_structure():
    with pytest.raises(InputError, match="leave 0 out"):
        partial(LABELS, [0, 1], 4)


def test_partial_needs_known_classes():
    with pytest.raises(InputError, match=r"annotated: \[7\] are not class ids"):
        partial(LABELS, [7], 4)


def test_sparse_slices_keeps_the_given_ones():
    annotation = sparse_slices(LABELS, [1], axis=0, classes=4)
    np.testing.assert_array_equal(annotation.codes, [[4, 4, 4], [3, 3, 0]])
    assert members(annotation) == [[0], [1], [2], [3], [0, 1, 2, 3]]


def test_sparse_slices_cuts_across_the_given_axis():
    annotation = sparse_slices(LABELS, [0, 2], axis=-1, classes=4)
    np.testing.assert_array_equal(annotation.codes, [[0, 4, 2], [3, 4, 0]])


def test_sparse_slices_composes_with_other_simulations():
    # Slice 0 is lost, on slice 1 the super label {2, 3} stays.
    annotation = sparse_slices(super_label(LABELS, [2, 3], 4), [1])
    assert members(annotation) == [[0], [1], [2, 3], [0, 1, 2, 3]]
    np.testing.assert_array_equal(annotation.codes, [[3, 3, 3], [2, 2, 0]])


def test_sparse_slices_uses_the_row_of_all_classes_that_is_there():
    once = sparse_slices(LABELS, [0], classes=4)
    twice = sparse_slices(once, [0, 1], axis=1)
    np.testing.assert_array_equal(twice.sets, once.sets)
    np.testing.assert_array_equal(twice.codes, [[0, 1, 4], [4, 4, 4]])


def test_sparse_slices_leaves_its_input_alone():
    annotation = complete(LABELS, 4)
    sparse_slices(annotation, [])
    np.testing.assert_array_equal(annotation.codes, LABELS)


@pytest.mark.parametrize(
    ("fraction", "kept"), [(0.2, 2), (0.25, 2), (0.01, 1), (0.5, 5), (0.99, 10), (1.0, 10)]
)
def test_a_fraction_keeps_that_many_slices(fraction, kept):
    annotation = sparse_slices(
        np.zeros((3, 10, 2), int), axis=1, classes=2, fraction=fraction, seed=7
    )
    annotated = annotation.codes == 0
    assert annotated.all(axis=(0, 2)).sum() == annotated.any(axis=(0, 2)).sum() == kept


def test_a_fraction_depends_on_the_seed_alone():
    def draw(seed):
        return sparse_slices(np.zeros((40, 1), int), classes=2, fraction=0.5, seed=seed).codes

    np.testing.assert_array_equal(draw(1), draw(1))
    assert (draw(1) != draw(2)).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "exactly one of the two"),
        ({"slices": [0], "fraction": 0.5, "seed": 1}, "exactly one of the two"),
        ({"slices": [2]}, "not all slices"),
        ({"slices": [-1]}, "not all slices"),
        ({"slices": [0], "axis": 2}, "axis: 2"),
        ({"slices": [True, False]}, "not all slices"),
        ({"slices": np.array([True, False])}, "not all slices"),
        ({"slices": [0.5]}, "not all slices"),
        ({"fraction": 0.0, "seed": 1}, "fraction: 0.0"),
        ({"fraction": 1.5, "seed": 1}, "fraction: 1.5"),
        ({"fraction": 0.5}, "seed: missing"),
    ],
)
def test_sparse_slices_names_what_is_wrong(arguments, message):
    with pytest.raises(InputError, match=message):
        sparse_slices(complete(LABELS, 4), **arguments)


def test_sparse_slices_needs_the_classes_of_labels():
    with pytest.raises(InputError, match="classes: missing"):
        sparse_slices(LABELS, [0])


def test_sparse_slices_refuses_other_classes_than_the_annotation_has():
    with pytest.raises(InputError, match="classes: 5 given, but the annotation has 4"):
        sparse_slices(complete(LABELS, 4), [0], classes=5)


def test_unlabelled_says_nothing_anywhere():
    annotation = unlabelled((2, 3), 4)
    assert members(annotation) == [[0, 1, 2, 3]]
    np.testing.assert_array_equal(annotation.codes, np.zeros((2, 3)))


def test_256_classes_fit_and_not_one_set_more():
    labels = np.arange(256).reshape(16, 16)
    annotation = complete(labels, 256)
    validate(annotation)
    with pytest.raises(InputError, match="256 label sets already"):
        sparse_slices(annotation, [0])


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        (np.array([[0, 4]]), 4, r"labels hold \[4\]"),
        (np.array([[-1, 0]]), 4, r"labels hold \[-1\]"),
        (np.array([[0.0, 1.0]]), 4, "labels are float64"),
        (np.array([[True]]), 4, "labels are bool"),
        (LABELS, 257, "classes: 257"),
        (LABELS, 0, "classes: 0"),
    ],
)
@pytest.mark.parametrize(
    "annotate",
    [
        complete,
        lambda labels, classes: super_label(labels, [2, 3], classes),
        lambda labels, classes: partial(labels, [1], classes),
        lambda labels, classes: sparse_slices(labels, [0], classes=classes),
        lambda labels, classes: slices_as_they_show(labels, [0], 0, classes),
    ],
)
def test_labels_are_checked(annotate, labels, classes, message):
    with pytest.raises(InputError, match=message):
        annotate(labels, classes)


def test_a_slice_says_nothing_of_structures_that_it_does_not_show():
    labels = np.array([[0, 1, 1], [0, 2, 0], [0, 0, 0], [3, 0, 0], [0, 1, 0]])
    said = slices_as_they_show(labels, [0, 1, 2, 4], 0, 4)
    every = [0, 1, 2, 3]
    # Slices 0 and 4 show structure 1, slice 1 shows 2; 2 shows none, and 3 was not drawn.
    assert members(said) == [every, [1], [2], [3], [0, 2, 3], [0, 1, 3]]
    assert said.codes.tolist() == [[4, 1, 1], [5, 2, 5], [0, 0, 0], [0, 0, 0], [4, 1, 4]]


def test_slices_lie_across_any_axis():
    labels = np.arange(24).reshape(2, 3, 4) % 5
    for axis in (0, 1, 2):
        turned = slices_as_they_show(np.moveaxis(labels, axis, 0), [1], 0, 5)
        said = slices_as_they_show(labels, [1], axis, 5)
        np.testing.assert_array_equal(np.moveaxis(said.codes, axis, 0), turned.codes)
        np.testing.assert_array_equal(said.sets, turned.sets)


@given(labelled_volumes(), st.data())
def test_slices_hold_the_truth_and_every_structure_that_they_do_not_show(volume, data):
    labels, classes = volume
    axis = data.draw(st.integers(0, labels.ndim - 1))
    kept = data.draw(st.sets(st.integers(0, labels.shape[axis] - 1)))
    said = slices_as_they_show(labels, kept, axis, classes)
    validate(said)
    assert allows_truth(said, labels)
    for k, (codes, plane) in enumerate(
        zip(np.moveaxis(said.codes, axis, 0), np.moveaxis(labels, axis, 0), strict=True)
    ):
        shown = set(np.unique(plane)) - {0} if k in kept else set()
        wanted = [
            [c == p if p in shown else c not in shown for c in range(classes)] for p in plane.flat
        ]
        np.testing.assert_array_equal(said.sets[codes.ravel()], wanted)


def test_the_rarest_sets_of_too_many_slices_become_one():
    """Slice k shows the structures of the bits of k: 511 sets, where 245 have room."""
    k = np.arange(512)[:, None]
    labels = np.where(k >> np.arange(9) & 1, np.arange(1, 10), 0)
    labels = np.concatenate([labels, np.zeros((512, 1), int)], axis=1)  # background everywhere
    labels = np.concatenate([labels, labels[-1:]])  # all nine structures twice
    said = slices_as_they_show(labels, range(513), 0, 10)
    validate(said)
    assert len(said.sets) == 255
    assert allows_truth(said, labels)
    assert members(said)[10] == [0]
    commonest = said.codes[511, -1], said.codes[512, -1]
    assert commonest == (10, 10)


def test_slices_need_room_for_a_set_of_their_own():
    labels = np.array([[0, 1]])
    assert len(slices_as_they_show(labels, [0], 0, 254).sets) == 255
    with pytest.raises(InputError, match="classes: 255 given, expected at most 254"):
        slices_as_they_show(labels, [0], 0, 255)


def test_what_was_never_asked_for_may_be_wherever_the_labels_say_background():
    # Two structures were drawn, the third was not asked for.
    said = as_declared(complete(np.array([0, 1, 2]), 4), [1, 2])
    assert members(said) == [[0, 3], [1], [2], []]
    sparse = as_declared(sparse_slices(np.array([[0, 1], [0, 1]]), [0], classes=4), [1])
    assert members(sparse) == [[0, 2, 3], [1], [], [], [0, 1, 2, 3]]


def test_of_a_scan_that_was_asked_for_nothing_nothing_is_known():
    said = as_declared(complete(np.zeros((2, 2), int), 4), [])
    assert members(said) == [[0, 1, 2, 3], [], [], []]
    assert not carries_information(said.sets).any()


def test_a_super_label_with_the_background_in_it_widens_too():
    said = as_declared(super_label(LABELS, [0, 1], 4), [1, 2])
    assert members(said) == [[2], [], [0, 1, 3]]


def test_a_scan_with_everything_declared_is_left_as_it_is():
    annotation = partial(LABELS, [1, 3], 4)
    assert members(as_declared(annotation, [1, 2, 3])) == members(annotation)


def test_unknown_declared_classes_are_refused():
    with pytest.raises(InputError, match="declared"):
        as_declared(complete(LABELS, 4), [7])


@given(simulations(), st.sets(st.integers(1, 5)))
def test_declaring_less_never_rules_the_truth_out(simulation, declared):
    annotation, labels = simulation
    classes = annotation.sets.shape[1]
    declared = {c for c in declared if c < classes} | set(np.unique(labels).tolist()) - {0}
    said = as_declared(annotation, declared)
    validate(said)
    # What nobody asked for is background in the labels, whatever is there.
    truths = [labels, np.where(np.isin(labels, [0]), classes - 1, labels)]
    assert allows_truth(said, labels)
    if classes - 1 not in declared:
        assert allows_truth(said, truths[1])
    asked = annotation.sets[:, [0, *declared]].any(axis=1)
    assert (said.sets[asked] >= annotation.sets[asked]).all()
    assert not said.sets[~asked].any()
