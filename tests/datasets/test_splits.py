import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from piecemeal.datasets.splits import split_cases
from piecemeal.errors import InputError

PATIENTS = [f"patient{number:03d}" for number in range(1, 31)]
counts = st.integers(0, 10)


def names(table, split):
    return set(table.case[table.split == split])


@given(st.integers(0, 1000), counts, counts, counts)
def test_parts_are_disjoint_and_of_the_size_asked_for(seed, train, validation, test):
    table = split_cases(PATIENTS, seed, train, validation, test)
    assert list(table.columns) == ["case", "split", "half"]
    assert table.case.is_unique
    assert table.case.is_monotonic_increasing
    sizes = table.split.value_counts()
    assert sizes.get("train", 0) == train
    assert sizes.get("validation", 0) == validation
    assert sizes.get("test", 0) == test


@given(st.permutations(PATIENTS), st.integers(0, 3))
def test_order_and_repeats_do_not_matter(patients, seed):
    expected = split_cases(PATIENTS, seed, 7, 5, 4)
    assert split_cases(patients + patients[:9], seed, 7, 5, 4).equals(expected)


@given(st.integers(0, 1000), counts, counts, counts)
def test_halves(seed, train, validation, test):
    table = split_cases(PATIENTS, seed, train, validation, test)
    assert table.half[table.split == "test"].isna().all()
    for split, size in (("train", train), ("validation", validation)):
        halves = table.half[table.split == split]
        assert (halves == 1).sum() == (size + 1) // 2
        assert (halves == 2).sum() == size // 2


@given(st.integers(0, 1000), st.integers(0, 15))
def test_more_training_patients_leave_the_test_set_alone(seed, more):
    small, large = (split_cases(PATIENTS, seed, size, 5, 5) for size in (2, 2 + more))
    assert names(small, "test") == names(large, "test")
    assert names(small, "validation") == names(large, "validation")
    assert names(small, "train") <= names(large, "train")


def test_does_not_change_with_versions():
    # sha256sum gives 4162... for 1:a, 6f05... for 1:b, b8a9... for 1:c.
    table = split_cases(["c", "a", "b"], 1, 1, 1, 1).set_index("case")
    assert table.split.to_dict() == {"a": "test", "b": "validation", "c": "train"}


def test_global_random_state_plays_no_part():
    np.random.seed(0)
    first = split_cases(PATIENTS, 1, 5, 5, 5)
    np.random.seed(1)
    assert split_cases(PATIENTS, 1, 5, 5, 5).equals(first)


def test_too_many_asked_for():
    with pytest.raises(InputError, match=r"asks for 31 patients \(train 20.*there are 30"):
        split_cases(PATIENTS, 1, 20, 6, 5)


def test_negative_count():
    with pytest.raises(InputError, match="negative"):
        split_cases(PATIENTS, 1, 20, -6, 5)
