import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from piecemeal.bitmasks import bit, pack, table
from piecemeal.errors import InputError


def test_a_voxel_is_of_every_structure_whose_bit_is_set():
    first, third = np.array([True, True, False]), np.array([False, True, False])
    volume = pack([first, np.zeros(3, bool), third])
    assert volume.dtype == np.uint8
    assert volume.tolist() == [1, 5, 0]
    assert [bit(volume, k).tolist() for k in range(3)] == [
        [True, True, False],
        [False, False, False],
        [False, True, False],
    ]


def test_the_table_names_the_structures_of_every_value():
    assert table([4, 2], classes=6).tolist() == [
        [True, False, False, False, False, False],
        [False, False, False, False, True, False],
        [False, False, True, False, False, False],
        [False, False, True, False, True, False],
    ]


@given(hnp.arrays(bool, st.tuples(st.integers(1, 8), st.integers(1, 3), st.integers(1, 4))))
def test_what_is_packed_is_found_again(masks):
    volume = pack(list(masks))
    assert all((bit(volume, k) == mask).all() for k, mask in enumerate(masks))
    assert (volume < 2 ** len(masks)).all()


@given(st.lists(st.integers(1, 12), min_size=1, max_size=8, unique=True), st.integers(0, 255))
def test_the_table_agrees_with_the_bits(structures, value):
    rows = table(structures, classes=13)
    value %= len(rows)
    found = np.flatnonzero(rows[value]).tolist()
    volume = np.array([value], np.uint8)
    assert found == (sorted(c for k, c in enumerate(structures) if bit(volume, k)[0]) or [0])


@pytest.mark.parametrize(
    ("volume", "k"),
    [(np.zeros(2, np.int64), 0), (np.zeros(2, np.uint8), 8), (np.zeros(2, bool), 0)],
)
def test_bits_are_those_of_a_byte(volume, k):
    with pytest.raises(InputError, match=f"bit {k} of a {volume.dtype} volume"):
        bit(volume, k)


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ([], "0 masks"),
        ([np.zeros(2, bool)] * 9, "9 masks"),
        ([np.zeros(2, bool), np.zeros(3, bool)], "of one shape"),
        ([np.zeros(2, np.uint8)], "expected bool"),
    ],
)
def test_what_does_not_fit_into_a_byte_is_refused(masks, message):
    with pytest.raises(InputError, match=message):
        pack(masks)


@pytest.mark.parametrize(
    ("structures", "message"),
    [([], "expected 1 to 8"), ([1, 1], "each once"), ([0], "from 1 to 9"), ([10], "from 1 to 9")],
)
def test_a_table_is_of_structures_of_the_cohort(structures, message):
    with pytest.raises(InputError, match=message):
        table(structures, classes=10)
