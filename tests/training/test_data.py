import json
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from piecemeal.datasets.store import PreparedScan, read_cases
from piecemeal.errors import InputError
from piecemeal.training.data import SliceData, batch_at

CLASSES = 3


def data(cohort, annotation: str, split: str = "train") -> SliceData:
    return SliceData(cohort.prepared, cohort.annotated[annotation], split, CLASSES)


@pytest.mark.parametrize(
    ("annotation", "split", "slices"),
    [
        ("complete", "train", 12),
        ("complete", "validation", 6),
        ("half", "train", 6),
        ("half", "validation", 3),
        ("half_merged", "train", 12),
    ],
)
def test_every_slice_of_the_split_is_there(cohort, annotation, split, slices):
    assert len(data(cohort, annotation, split)) == slices


def test_a_batch_is_slices_with_their_codes_and_sets(cohort):
    batch = data(cohort, "half_merged").batch(np.array([3, 0, 7, 0]))
    assert batch.images.shape == (4, 1, 32, 32)
    assert batch.images.dtype == torch.float32
    assert batch.codes.shape == (4, 32, 32)
    assert batch.codes.dtype == torch.uint8
    assert batch.sets.shape[::2] == (4, CLASSES)
    assert batch.sets.dtype == torch.bool
    for field in (batch.images, batch.codes, batch.sets):
        assert torch.equal(field[1], field[3])
        assert len(field) == 4


def test_codes_and_sets_say_what_the_labels_say(cohort):
    """Voxel by voxel: the set holds the true class; it is {1, 2} where half 2 was merged."""
    cases = read_cases(cohort.annotated["half_merged"])
    cases = cases[cases["split"] == "train"]
    slices = data(cohort, "half_merged")
    batch = slices.batch(np.arange(len(slices)))
    position = 0
    for row in cases.itertuples():
        scan = PreparedScan(cohort.prepared / row.dataset / row.scan)
        for labels, image in zip(scan.labels, scan.image, strict=True):
            allowed = batch.sets[position][batch.codes[position].long()].numpy()
            assert np.array_equal(batch.images[position, 0].numpy(), image)
            wanted = np.eye(CLASSES, dtype=bool)[labels]
            if row.half == 2:
                wanted[labels > 0] = [False, True, True]
            assert np.array_equal(allowed, wanted)
            position += 1
    assert position == len(slices)


def test_an_empty_split_is_refused_by_name(cohort, tmp_path):
    folder = tmp_path / "annotated"
    shutil.copytree(cohort.annotated["half"], folder)
    path = folder / "cases.csv"
    rows = path.read_text().splitlines()
    path.write_text("\n".join(row for row in rows if ",validation," not in row) + "\n")
    with pytest.raises(InputError, match=r"cases\.csv: no case of the split 'validation' is left"):
        SliceData(cohort.prepared, folder, "validation", CLASSES)


def test_an_annotation_that_is_not_finished_is_refused(cohort, tmp_path):
    with pytest.raises(InputError, match=r"cases\.csv: is missing"):
        SliceData(cohort.prepared, tmp_path, "train", CLASSES)


def test_padding_of_set_tables_is_no_class(cohort):
    slices = data(cohort, "half_merged")
    protocols = json.loads((cohort.annotated["half_merged"] / "sets.json").read_text())
    assert {len(rows) for rows in protocols.values()} == {2, 3}
    sets = slices.batch(np.arange(len(slices))).sets
    assert sets.shape[1] == 3
    assert sorted({int(s.any(-1).sum()) for s in sets}) == [2, 3]


sizes = {"samples": st.integers(1, 40), "batch_size": st.integers(1, 12)}


@given(step=st.integers(0, 10_000), seed=st.integers(0, 2**40), **sizes)
def test_a_batch_is_a_function_of_its_step(step, seed, samples, batch_size):
    batch = batch_at(step, samples, batch_size, seed)
    np.random.seed(step % 1000)
    batch_at(step + 1, samples, batch_size, seed)
    assert np.array_equal(batch, batch_at(step, samples, batch_size, seed))
    assert len(batch) == min(samples, batch_size)
    assert len(set(batch.tolist())) == len(batch)
    assert set(batch.tolist()) <= set(range(samples))


@given(epoch=st.integers(0, 50), seed=st.integers(0, 2**40), **sizes)
def test_an_epoch_repeats_no_sample(epoch, seed, samples, batch_size):
    size = min(samples, batch_size)
    steps = samples // size
    drawn = np.concatenate(
        [batch_at(epoch * steps + i, samples, batch_size, seed) for i in range(steps)]
    )
    assert len(set(drawn.tolist())) == len(drawn) == steps * size
    if samples % size == 0:
        assert sorted(drawn) == list(range(samples))


def test_epochs_and_seeds_have_their_own_order():
    first, second = (batch_at(epoch, 30, 30, seed=1).tolist() for epoch in (0, 1))
    assert first != second
    assert first != batch_at(0, 30, 30, seed=2).tolist()
