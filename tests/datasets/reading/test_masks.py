"""Binary masks become one volume of labels."""

import numpy as np
import pytest

from piecemeal.datasets.reading.masks import combine_masks
from piecemeal.datasets.scans import label_table
from piecemeal.errors import InputError

SHAPE = (4, 4, 1)
# Rows x, columns y; they overlap in (1, 1).
SPLEEN = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]], np.uint8)[..., None]
STOMACH = np.array([[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]], np.uint8)[..., None]
FILES = {"spleen": SPLEEN, "stomach": STOMACH}


def combine(labels, files=FILES, notes=()):
    """Combine masks that are given as arrays in place of files."""

    def read(name):
        return files[name], list(notes)

    return combine_masks([(name, name) for name in files], labels, SHAPE, read)


@pytest.mark.parametrize("order", [["spleen", "stomach"], ["stomach", "spleen"]])
def test_the_later_of_labels_wins_whatever_the_order_of_the_files(order):
    combined, notes = combine({name: name for name in order})
    assert combined.dtype == np.uint8
    assert combined.shape == SHAPE
    assert combined[1, 1, 0] == 2
    assert (combined == 1).sum() == 3
    assert (combined == 2).sum() == 4
    assert label_table({name: name for name in order})[combined[1, 1, 0]] == order[1]
    assert notes == ["voxels in several masks: 1, the later of `labels` wins"]


def test_a_mask_without_a_file_is_absent_and_keeps_its_number():
    combined, notes = combine({"liver": "liver", "stomach": "stomach"})
    np.testing.assert_array_equal(combined, 2 * STOMACH)
    assert notes == []


def test_masks_that_nobody_wants_are_not_read():
    opened = []

    def read(name):
        opened.append(name)
        return FILES[name], []

    combine_masks([(name, name) for name in FILES], {"spleen": "spleen"}, SHAPE, read)
    assert opened == ["spleen"]


def test_an_empty_mask_is_absent():
    combined, notes = combine({"spleen": "spleen"}, {"spleen": np.zeros(SHAPE, np.uint8)})
    assert not combined.any()
    assert notes == []


@pytest.mark.parametrize(
    ("values", "stray"), [([4, 1, 0], 1), ([0.5, 1.0, 0.0], 1), ([-1, 1, 0], 1), ([4, 255, 0], 2)]
)
def test_what_is_above_0_is_inside_and_stray_values_are_counted(values, stray):
    mask = np.zeros(SHAPE, np.array(values).dtype)
    mask[:3, 0, 0] = values
    combined, notes = combine({"rib": "rib"}, {"rib": mask})
    np.testing.assert_array_equal(combined[:3, 0, 0], [value > 0 for value in values])
    assert notes == [f"rib: voxels neither 0 nor 1: {stray}"]


def test_what_many_masks_have_in_common_is_noted_once():
    _, notes = combine({name: name for name in FILES}, notes=["sform ignored"])
    assert notes[0] == "2 masks: sform ignored"
    _, notes = combine({"spleen": "spleen"}, notes=["sform ignored"])
    assert notes == ["spleen: sform ignored"]


def test_more_masks_than_a_byte_can_number():
    labels = {f"m{number}": f"m{number}" for number in range(1, 301)}
    mask = np.ones(SHAPE, bool)
    combined, _ = combine(labels, {"m300": mask})
    assert combined.dtype == np.uint16
    assert (combined == 300).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_mask_with_voxels_that_are_no_numbers_is_refused(value):
    mask = SPLEEN.astype(np.float32)
    mask[3, 3, 0] = value
    with pytest.raises(InputError, match="spleen: 1 of 16 voxels are NaN or infinite"):
        combine({"spleen": "spleen"}, {"spleen": mask})
