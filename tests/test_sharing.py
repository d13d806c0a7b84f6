"""Label sharing: both constraints for any table, the paper's ranking, and new tasks."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from piecemeal.errors import InputError
from piecemeal.sharing import (
    ORDERS,
    add_task,
    check_shared,
    from_table,
    groups,
    mean_relative_sizes,
    share_labels,
    shared_count,
)

# Table 2 of the paper.
PRINTED = {
    "pelvis": ["gluteus minimus", "gluteus maximus", "hip", "femur", "gluteus medius"],
    "abdomen": ["liver", "kidney", "stomach", "spleen", "gallbladder"],
    "chest": ["lung", "scapula", "humerus", "clavicula"],
}
# About what an adult's organs measure, in ml; left and right together.
VOLUMES = {
    "pelvis": {
        "hip": 750,
        "femur": 900,
        "gluteus maximus": 1700,
        "gluteus medius": 640,
        "gluteus minimus": 170,
    },
    "abdomen": {"gallbladder": 25, "kidney": 330, "liver": 1500, "spleen": 200, "stomach": 300},
    "chest": {"clavicula": 55, "humerus": 210, "lung": 4200, "scapula": 230},
}
HEAD = {"eyes": 15, "mandible": 60, "parotid": 50}

sizes = st.dictionaries(
    st.text("abcdefgh", min_size=1, max_size=2),
    st.floats(0, 1) | st.sampled_from([0.0, 0.25, 0.5]),
    min_size=1,
    max_size=6,
)
tables = st.dictionaries(st.sampled_from("RSTUV"), sizes, min_size=1, max_size=5)
orders = st.sampled_from(ORDERS)


def by_size(mapping, task):
    """Labels of a task by their shared label."""
    return sorted(mapping[task], key=mapping[task].get)


@given(tables, orders, st.integers(0, 9))
def test_both_constraints_hold(table, order, seed):
    mapping = share_labels(table, order, seed)
    assert mapping.keys() == table.keys()
    for task, labels in mapping.items():
        assert labels.keys() == table[task].keys()
        assert len(set(labels.values())) == len(labels)
    largest = max(len(labels) for labels in table.values())
    used = {shared for labels in mapping.values() for shared in labels.values()}
    assert used == set(range(1, largest + 1))
    check_shared(mapping, table)


@given(tables)
def test_larger_labels_come_first(table):
    for task, labels in share_labels(table).items():
        assert sorted(labels.values()) == list(range(1, len(labels) + 1))
        ranked = [table[task][label] for label in sorted(labels, key=labels.get)]
        assert ranked == sorted(ranked, reverse=True)


@given(tables, orders, st.integers(0, 9), st.integers(0, 20))
def test_only_the_ranking_counts(table, order, seed, power):
    scaled = {
        task: {label: math.ldexp(size, power) for label, size in labels.items()}
        for task, labels in table.items()
    }
    assert share_labels(scaled, order, seed) == share_labels(table, order, seed)


@given(tables, orders, st.integers(0, 9), st.randoms())
def test_order_of_the_labels_in_the_table_does_not_count(table, order, seed, random):
    shuffled = {}
    for task, labels in table.items():
        items = list(labels.items())
        random.shuffle(items)
        shuffled[task] = dict(items)
    assert share_labels(shuffled, order, seed) == share_labels(table, order, seed)


@given(tables, sizes, orders, st.integers(0, 9))
def test_a_new_task_leaves_the_others_alone(table, new, order, seed):
    before = share_labels(table, order, seed)
    after, grown = add_task(before, "new", new, order, seed)
    assert {task: after[task] for task in table} == before
    assert grown == max(0, len(new) - shared_count(before))
    check_shared(after, table | {"new": new})


@given(tables, sizes, orders, st.integers(0, 9))
def test_a_task_that_fits_may_be_there_from_the_start(table, new, order, seed):
    before = share_labels(table, order, seed)
    assume(len(new) <= shared_count(before))
    assert add_task(before, "new", new, order, seed) == (
        share_labels(table | {"new": new}, order, seed),
        0,
    )


def test_abdomen_and_chest_are_ranked_as_printed():
    mapping = share_labels(VOLUMES)
    assert by_size(mapping, "abdomen") == PRINTED["abdomen"]
    assert by_size(mapping, "chest") == PRINTED["chest"]
    assert shared_count(mapping) == 5


def test_pelvis_is_not_ranked_as_printed():
    """Table 2 has the smallest muscle first: it cannot be read as the mapping."""
    ranked = by_size(share_labels(VOLUMES), "pelvis")
    assert ranked[0] == "gluteus maximus"
    assert ranked[-1] == "gluteus minimus"
    assert by_size(from_table(PRINTED), "pelvis") == PRINTED["pelvis"] != ranked


def test_a_new_task_of_the_paper():
    mapping, grown = add_task(share_labels(VOLUMES), "head", HEAD)
    assert by_size(mapping, "head") == ["mandible", "parotid", "eyes"]
    assert grown == 0
    assert groups(mapping)[1] == {
        "pelvis": "gluteus maximus",
        "abdomen": "liver",
        "chest": "lung",
        "head": "mandible",
    }
    assert groups(mapping)[5] == {"pelvis": "gluteus minimus", "abdomen": "gallbladder"}


def test_a_new_task_with_more_labels_needs_a_larger_head():
    mapping, grown = add_task(share_labels({"head": HEAD}), "chest", VOLUMES["chest"])
    assert grown == 1
    assert mapping["chest"]["clavicula"] == shared_count(mapping) == 4


def test_ties_go_by_name():
    assert share_labels({"task": {"b": 0.4, "c": 0.2, "a": 0.4}}) == {
        "task": {"a": 1, "b": 2, "c": 3}
    }


def test_reversed_has_large_labels_share_with_small_ones():
    """Every second task is turned round."""
    mapping = share_labels(VOLUMES, "reversed")
    assert by_size(mapping, "pelvis") == by_size(share_labels(VOLUMES), "pelvis")
    assert by_size(mapping, "abdomen") == PRINTED["abdomen"][::-1]
    assert by_size(mapping, "chest") == PRINTED["chest"]


def test_random_goes_by_seed_and_task():
    found = [share_labels(VOLUMES, "random", seed) for seed in range(20)]
    assert found[0] == share_labels(VOLUMES, "random", 0)
    for task in VOLUMES:
        assert len({tuple(mapping[task].items()) for mapping in found}) > 10
    alike = {"one": HEAD, "two": HEAD}
    assert any(m["one"] != m["two"] for m in (share_labels(alike, "random", s) for s in range(9)))


def test_random_uses_shared_labels_beyond_those_of_a_small_task():
    found = [share_labels(VOLUMES, "random", seed)["chest"] for seed in range(20)]
    assert {shared for labels in found for shared in labels.values()} == {1, 2, 3, 4, 5}


def test_random_stays_as_it_is():
    """On any machine, or a seed would mean another run there."""
    assert share_labels({"head": HEAD, "chest": VOLUMES["chest"]}, "random", 1) == {
        "head": {"mandible": 1, "parotid": 2, "eyes": 4},
        "chest": {"clavicula": 1, "scapula": 2, "humerus": 3, "lung": 4},
    }


def test_relative_sizes_by_hand():
    """Shares 3/4 and 1/4, then 1 and 0; the volume without a label does not count."""
    volumes = [{"liver": 30, "spleen": 10}, {"liver": 0, "spleen": 0}, {"spleen": 0, "liver": 7}]
    assert mean_relative_sizes(iter(volumes)) == {"liver": 0.875, "spleen": 0.125}


def test_large_volumes_do_not_count_more():
    volumes = [{"liver": 1, "spleen": 3}, {"liver": 2000, "spleen": 0}]
    assert mean_relative_sizes(volumes) == {"liver": 0.625, "spleen": 0.375}


def test_a_label_that_never_occurs_is_the_smallest():
    found = mean_relative_sizes([{"liver": 0, "spleen": 5}])
    assert share_labels({"abdomen": found}) == {"abdomen": {"spleen": 1, "liver": 2}}


def test_counts_may_be_of_numpy():
    """In a narrow type, too: they are added up as whole numbers of any size."""
    found = mean_relative_sizes([{"liver": np.uint8(200), "spleen": np.uint8(200)}])
    assert found == {"liver": 0.5, "spleen": 0.5}
    assert share_labels({"task": {"a": np.float32(0.5)}}) == {"task": {"a": 1}}


@given(st.lists(st.fixed_dictionaries({k: st.integers(0, 999) for k in "abc"}), min_size=1))
def test_relative_sizes_add_up_to_one(volumes):
    assume(any(sum(voxels.values()) for voxels in volumes))
    assert sum(mean_relative_sizes(volumes).values()) == pytest.approx(1)


@given(st.lists(st.fixed_dictionaries({k: st.integers(0, 999) for k in "abc"}), min_size=1))
def test_order_of_the_volumes_does_not_count(volumes):
    assume(any(sum(voxels.values()) for voxels in volumes))
    assert mean_relative_sizes(volumes[::-1]) == mean_relative_sizes(volumes)


@pytest.mark.parametrize(
    ("volumes", "said"),
    [
        ([], "none of the volumes shows any label"),
        ([{}], "none of the volumes shows any label"),
        ([{"a": 0}, {"a": 0}], "none of the volumes shows any label"),
        ([{"a": 1, "b": 2}, {"a": 1}], r"volume 1 counts \['a'\], expected \['a', 'b'\]"),
        ([{}, {"a": 1}], r"volume 1 counts \['a'\], expected \[\]"),
        ([{"a": -1, "b": 2}], r"volume 0 counts {'a': -1}, expected whole numbers"),
        ([{"a": 1.5}], r"volume 0 counts {'a': 1.5}, expected whole numbers"),
    ],
)
def test_wrong_counts_are_refused(volumes, said):
    with pytest.raises(InputError, match=f"relative sizes: {said}"):
        mean_relative_sizes(volumes)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({}, "there are no tasks"),
        ({"head": HEAD, "chest": {}}, r"tasks \['chest'\] have no labels"),
        ({"head": {"eyes": -0.1}}, "'eyes' of task 'head' has the mean relative size -0.1"),
        ({"head": {"eyes": math.nan}}, "'eyes' of task 'head' has the mean relative size nan"),
        ({"head": {"eyes": math.inf}}, "'eyes' of task 'head' has the mean relative size inf"),
        ({"head": {"eyes": "large"}}, "'eyes' of task 'head' has the mean relative size 'large'"),
        ({"head": {"eyes": True}}, "'eyes' of task 'head' has the mean relative size True"),
    ],
)
def test_wrong_tables_are_refused(table, said):
    with pytest.raises(InputError, match=f"sharing: {said}"):
        share_labels(table)


def test_an_unknown_order_is_refused():
    with pytest.raises(InputError, match="order is 'name'; allowed: size, reversed, random"):
        share_labels({"head": HEAD}, "name")


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        ({}, "there are no tasks"),
        ({"head": {}}, r"tasks \['head'\] have no labels"),
        ({"head": {"eyes": 2, "ears": 2}}, "'eyes' and 'ears' of task 'head' have the same"),
        ({"head": {"eyes": 0}}, "'eyes' of task 'head' has the shared label 0"),
        ({"head": {"eyes": 1.0}}, "'eyes' of task 'head' has the shared label 1.0"),
        ({"head": {"eyes": True}}, "'eyes' of task 'head' has the shared label True"),
    ],
)
def test_wrong_mappings_are_refused(mapping, said):
    with pytest.raises(InputError, match=f"sharing: {said}"):
        check_shared(mapping)


@pytest.mark.parametrize(
    ("mapping", "task"),
    [
        ({"head": {"eyes": 1}}, "head"),
        ({"head": {"eyes": 1, "ears": 2, "nose": 3}}, "head"),
        ({"head": {"eyes": 1, "ears": 2}, "chest": {"lung": 1}}, "chest"),
    ],
)
def test_labels_left_out_or_added_are_refused(mapping, task):
    with pytest.raises(InputError, match=f"the mapping of task '{task}' has the labels"):
        check_shared(mapping, {"head": ["ears", "eyes"]})


def test_a_mapping_may_have_gaps():
    """More shared labels than the largest task has labels are allowed: n* is at least that."""
    mapping = {"head": {"eyes": 3}}
    check_shared(mapping)
    assert shared_count(mapping) == 3
    assert groups(mapping) == {1: {}, 2: {}, 3: {"head": "eyes"}}


def test_a_task_is_not_added_twice():
    with pytest.raises(InputError, match="task 'head' is there already"):
        add_task(share_labels({"head": HEAD}), "head", HEAD)


def test_a_label_named_twice_in_a_table_is_refused():
    with pytest.raises(InputError, match=r"task 'knee' names \['tibia'\] twice"):
        from_table({"knee": ["tibia", "plateau", "tibia"]})
