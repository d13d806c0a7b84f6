"""Who trains, validates and tests: seeded, read from a committed file, carved from training."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from piecemeal.datasets.splits import carve_validation, read_split, split_cases, with_halves
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


@pytest.fixture
def file(tmp_path):
    """Write rows (dataset, case, split) as a file of splits; returns its path."""

    def write(rows, columns="dataset,case,split"):
        path = tmp_path / "some.csv"
        path.write_text("\n".join([columns, *(",".join(row) for row in rows)]) + "\n")
        return path

    return write


def listed(*rows):
    return [("liver", *row.rsplit(":", 1)) for row in rows]


def as_dict(table):
    return dict(zip(table.case, table.split, strict=True))


def test_a_file_splits_the_cases_that_are_there(file):
    path = file(
        [*listed("a:train", "10:validation", "2:test", "c:leave out"), ("other", "x", "test")]
    )
    table = read_split(path, "liver", ["c", "a", "2", "10"])
    assert list(table.columns) == ["case", "split"]
    assert list(table.case) == ["10", "2", "a"]
    assert as_dict(table) == {"a": "train", "10": "validation", "2": "test"}


def test_names_of_a_file_are_text(file):
    path = file(listed("0001:train", "NA:test"))
    assert as_dict(read_split(path, "liver", ["0001", "NA"])) == {"0001": "train", "NA": "test"}


@pytest.mark.parametrize(
    ("word", "expected"),
    [("train", {"a": "test", "b": "train"}), ("test", {"a": "test", "b": "test"})],
)
def test_a_star_speaks_for_every_other_case(file, word, expected):
    path = file(listed("a:test", f"*:{word}"))
    assert as_dict(read_split(path, "liver", ["a", "b"])) == expected


def test_a_star_can_leave_out_every_other_case(file):
    path = file(listed("a:test", "*:leave out"))
    assert as_dict(read_split(path, "liver", ["a", "b", "c"])) == {"a": "test"}


def test_a_case_without_a_row_is_refused_where_there_is_no_star(file):
    with pytest.raises(InputError, match=r"some\.csv: 2 cases of data set liver have no row: b, d"):
        read_split(file(listed("a:train")), "liver", ["a", "b", "d"])


def test_a_listed_case_that_is_not_there_is_refused_unless_told_otherwise(file):
    path = file(listed("a:train", "b:test", "c:test", "d:leave out"))
    with pytest.raises(InputError, match=r"1 of the 3 cases of data set liver are not there: b;"):
        read_split(path, "liver", ["a"], excluded=["c"])
    assert as_dict(read_split(path, "liver", ["a"], excluded=["b", "c"])) == {"a": "train"}
    assert as_dict(read_split(path, "liver", ["a"], missing="ignore")) == {"a": "train"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            ["a:train", "b:val"],
            r"some\.csv, line 3: b is to be 'val', expected one of train",
        ),
        (["a:train", "*:validation"], r"line 3: \* is to be 'validation'"),
        (["a:train", "b:test", "a:train"], "line 4: case a of data set liver is there for the sec"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(file, rows, message):
    with pytest.raises(InputError, match=message):
        read_split(file(listed(*rows)), "liver", ["a", "b"])


def test_the_same_case_of_two_data_sets_is_no_contradiction(file):
    path = file([*listed("a:train"), ("spleen", "a", "test")])
    assert as_dict(read_split(path, "spleen", ["a"])) == {"a": "test"}


def test_a_file_without_the_data_set_names_those_it_has(file):
    with pytest.raises(InputError, match=r"some\.csv: has no data set kidney, only liver;"):
        read_split(file(listed("a:train")), "kidney", ["a"])


def test_a_file_with_other_columns_or_none_at_all_is_refused(file, tmp_path):
    with pytest.raises(InputError, match="has the columns dataset, case, expected dataset"):
        read_split(file([], columns="dataset,case"), "liver", [])
    with pytest.raises(InputError, match=r"nowhere\.csv: cannot be read as a table"):
        read_split(tmp_path / "nowhere.csv", "liver", [])
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(InputError, match=r"empty\.csv: has the columns none at all"):
        read_split(tmp_path / "empty.csv", "liver", [])
    with pytest.raises(InputError, match=r"some\.csv, line 2: expected dataset, case, split"):
        read_split(file([("liver", "a", "train", "and more")]), "liver", ["a"])


@given(st.integers(0, 1000), counts, counts, counts)
def test_halves_of_a_table_are_those_of_the_seeded_split(seed, train, validation, test):
    table = split_cases(PATIENTS, seed, train, validation, test)
    shuffled = table[["case", "split"]].sample(frac=1, random_state=seed)
    assert with_halves(shuffled, seed).equals(table)


@given(st.integers(0, 1000), st.floats(0.01, 0.9))
def test_validation_is_carved_from_training_alone(seed, fraction):
    table = split_cases(PATIENTS, 0, 20, 0, 10)[["case", "split"]]
    carved = carve_validation(table, fraction, seed)
    assert list(carved.case) == list(table.case)
    assert names(carved, "test") == names(table, "test")
    assert len(names(carved, "validation")) == max(1, int(fraction * 20 + 0.5))
    assert names(carved, "validation") <= names(table, "train")


def test_a_larger_share_keeps_the_validation_cases_of_a_smaller_one():
    table = split_cases(PATIENTS, 0, 30, 0, 0)
    small, large = (names(carve_validation(table, f, 3), "validation") for f in (0.1, 0.3))
    assert len(small) == 3
    assert small < large


def test_validation_cases_that_are_there_already_stay():
    table = split_cases(PATIENTS, 0, 10, 4, 0)
    assert names(table, "validation") < names(carve_validation(table, 0.1, 0), "validation")


@pytest.mark.parametrize("fraction", [0, 1, -0.1, float("nan")])
def test_a_share_outside_of_0_and_1_is_refused(fraction):
    with pytest.raises(InputError, match="between 0 and 1"):
        carve_validation(split_cases(PATIENTS, 0, 10, 0, 0), fraction, 0)


def test_something_is_left_to_train_on():
    with pytest.raises(InputError, match="1 of 1 training patients leave none"):
        carve_validation(split_cases(PATIENTS, 0, 1, 0, 5), 0.1, 0)
