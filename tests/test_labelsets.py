import numpy as np
import pytest

from piecemeal.errors import InputError
from piecemeal.labelsets import (
    Annotation,
    all_classes,
    carries_information,
    is_complete,
    pad,
    singletons,
    validate,
)


def table(*rows, classes=3):
    """Set table from rows of class ids."""
    sets = np.zeros((len(rows), classes), dtype=bool)
    for row, members in zip(sets, rows, strict=True):
        row[list(members)] = True
    return sets


def test_singletons_name_one_class_each():
    np.testing.assert_array_equal(singletons(3), table([0], [1], [2]))


def test_all_classes_rules_nothing_out():
    np.testing.assert_array_equal(all_classes(3), [True, True, True])


@pytest.mark.parametrize(
    ("sets", "expected"),
    [
        (table([0], [1], [2]), True),
        (table([0], [2], []), True),
        (table([0], [1, 2]), False),
        (table([0, 1, 2]), False),
    ],
)
def test_complete_means_one_class_a_set(sets, expected):
    assert is_complete(sets) is expected


def test_only_sets_that_exclude_a_class_carry_information():
    sets = table([0], [1, 2], [0, 1, 2], [])
    assert carries_information(sets).tolist() == [True, True, False, False]


def test_pad_fills_up_with_empty_sets():
    padded = pad([table([0], [1, 2]), table([0, 1, 2])])
    assert padded.dtype == bool
    np.testing.assert_array_equal(padded, [table([0], [1, 2]), table([0, 1, 2], [])])


def test_pad_refuses_different_class_lists():
    with pytest.raises(InputError, match="class list"):
        pad([singletons(3), singletons(4)])


def test_pad_refuses_nothing():
    with pytest.raises(InputError, match="at least one table"):
        pad([])


def test_validate_accepts_a_well_formed_annotation():
    validate(Annotation(np.array([[0, 1]], np.uint8), table([0], [1, 2], [])))


@pytest.mark.parametrize(
    ("codes", "sets", "message"),
    [
        (np.array([0, 1]), table([0], [1, 2]), "int64, expected uint8"),
        (np.array([0], np.uint8), table([0]).astype(int), "expected bool"),
        (np.array([0], np.uint8), table([0])[0], "expected bool"),
        (np.array([0], np.uint8), np.ones((257, 3), bool), "1 to 256"),
        (np.array([], np.uint8), np.ones((0, 3), bool), "1 to 256"),
        (np.array([0, 2], np.uint8), table([0], [1, 2]), r"codes \[2\] have no label set"),
        (np.array([0, 1], np.uint8), table([0], []), r"codes \[1\] have no label set"),
    ],
)
def test_validate_names_what_is_wrong(codes, sets, message):
    with pytest.raises(InputError, match=message):
        validate(Annotation(codes, sets))
