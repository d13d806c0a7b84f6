import multiprocessing
import os
import signal
import subprocess
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from piecemeal.datasets.store import PreparedScan, read_cases
from piecemeal.errors import InputError
from piecemeal.training.cases import Case, load_cases
from piecemeal.training.data import Batch, Samples, StepBatches, loader
from piecemeal.training.runtime import StopRequest
from piecemeal.training.sampling import build_sampler
from piecemeal.training.window import Draw, Window

CLASSES = 3
SLICES = {"kind": "slices", "neighbours": 0}
PATCHES = {"kind": "patches", "size": [2, 20, 24]}
CPU = torch.device("cpu")
COMPLETE = np.eye(3, dtype=bool)
SPARSE = np.array([[1, 1, 1], [0, 1, 0]], dtype=bool)


def samples(cohort, annotation="half_merged", given=SLICES) -> Samples:
    cases = load_cases(cohort.prepared, cohort.annotated[annotation], "train", CLASSES)
    return Samples(cases, Window.of(given, cases))


def numbered(shape, sets=COMPLETE, view="") -> Case:
    """Voxel (z, y, x) of the image is 100 z + 10 y + x + 1; its code and label are z."""
    z, y, x = np.indices(shape)
    image = (100 * z + 10 * y + x + 1).astype(np.float32)
    z = z.astype(np.uint8)
    return Case("a", "scan", "c", "CT", image, z, z, sets, None, view=view)


def equal(one: Batch, other: Batch) -> bool:
    names = ("images", "codes", "sets", "views")
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in names)


class TestSlices:
    def test_a_batch_is_slices_with_their_codes_and_sets(self, cohort):
        some = samples(cohort)
        draws = some.every()
        batch = some.batch([draws[i] for i in (3, 0, 7, 0)])
        assert batch.images.shape == (4, 1, 32, 32)
        assert batch.images.dtype == torch.float32
        assert batch.codes.shape == (4, 32, 32)
        assert batch.codes.dtype == torch.uint8
        assert batch.sets.shape[::2] == (4, CLASSES)
        assert batch.sets.dtype == torch.bool
        for field in (batch.images, batch.codes, batch.sets):
            assert torch.equal(field[1], field[3])
            assert len(field) == 4

    def test_codes_and_sets_say_what_the_labels_say(self, cohort):
        """Voxel by voxel: the set holds the true class; it is {1, 2} where half 2 was merged."""
        cases = read_cases(cohort.annotated["half_merged"])
        cases = cases[cases["split"] == "train"]
        some = samples(cohort)
        batch = some.batch(some.every())
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
        assert position == len(batch.codes) == 12

    def test_padding_of_set_tables_is_no_class(self, cohort):
        some = samples(cohort)
        assert {len(case.sets) for case in some.cases} == {2, 3}
        for draw in some.every():  # of one shape, whatever the batch holds
            assert some.batch([draw]).sets.shape == (1, 3, CLASSES)
        sets = some.batch(some.every()).sets
        assert sorted({int(s.any(-1).sum()) for s in sets}) == [2, 3]

    def test_neighbours_are_channels_in_order_and_repeated_at_the_edges(self):
        case = numbered((3, 2, 2))
        some = Samples([case], Window((5, 2, 2), True, 2))
        batch = some.batch([Draw(0, (-2, 0, 0)), Draw(0, (-1, 0, 0)), Draw(0, (0, 0, 0))])
        slices = [[0, 0, 0, 1, 2], [0, 0, 1, 2, 2], [0, 1, 2, 2, 2]]
        assert np.array_equal(batch.images.numpy(), case.image[np.array(slices)])
        assert batch.codes.unique_consecutive().tolist() == [0, 1, 2]

    def test_every_is_all_slices_case_by_case(self):
        some = Samples([numbered((2, 4, 4)), numbered((1, 4, 4))], Window((3, 4, 4), True, 1))
        draws = [Draw(0, (-1, 0, 0)), Draw(0, (0, 0, 0)), Draw(1, (-1, 0, 0))]
        assert some.every() == draws

    def test_parts_of_slices_come_with_their_codes_labels_and_neighbours(self):
        case = numbered((4, 5, 6))
        some = Samples([case], Window((3, 2, 3), True, 1, (5, 6)))
        draw = [Draw(0, (2, 3, 1))]
        assert np.array_equal(some.batch(draw).images[0], case.image[[2, 3, 3], 3:5, 1:4])
        assert np.array_equal(some.batch(draw).codes[0], case.codes[3, 3:5, 1:4])
        assert np.array_equal(some.labels(draw)[0], case.labels[3, 3:5, 1:4])

    def test_slices_of_several_sizes_are_refused(self):
        with pytest.raises(InputError, match=r"a/scan: its slices are \(4, 5\).*\(4, 4\)"):
            Samples([numbered((2, 4, 4)), numbered((2, 4, 5))], Window((1, 4, 4), True))


class TestPatches:
    def test_a_window_inside(self):
        case = numbered((4, 5, 6))
        batch = Samples([case], Window((2, 3, 4), False)).batch([Draw(0, (1, 2, 0))])
        assert np.array_equal(batch.images[0, 0], case.image[1:3, 2:5, 0:4])
        assert np.array_equal(batch.codes[0], case.codes[1:3, 2:5, 0:4])

    @pytest.mark.parametrize("corner", [(-1, 2, 4), (3, -2, -1), (-1, -1, -1)])
    def test_outside_the_case_is_padding(self, corner):
        case = numbered((3, 5, 6))
        window = (5, 7, 8)
        some = Samples([case], Window(window, False))
        batch, labels = some.batch([Draw(0, corner)]), some.labels([Draw(0, corner)])
        wide = [(10, 10)] * 3
        here = tuple(slice(10 + c, 10 + c + s) for c, s in zip(corner, window, strict=True))
        outside = np.pad(np.zeros(case.image.shape, bool), wide, constant_values=True)[here]
        assert np.array_equal(batch.images[0, 0], np.pad(case.image, wide)[here])
        assert np.array_equal(labels[0], np.pad(case.labels, wide)[here])
        allowed = batch.sets[0][batch.codes[0].long()].numpy()
        assert not allowed[outside].any()
        assert np.array_equal(allowed[~outside], COMPLETE[np.pad(case.codes, wide)[here][~outside]])

    def test_a_margin_is_what_lies_around_the_window(self):
        cases, draws = [numbered((3, 5, 6))], [Draw(0, (1, -1, 2))]
        narrow, wide = Window((2, 3, 4), False), Window((2, 7, 6), False)
        found = Samples(cases, narrow, (0, 2, 1)).batch(draws)
        assert equal(found, Samples(cases, wide).batch([Draw(0, (1, -3, 1))]))
        inner = found.images[:, :, :, 2:-2, 1:-1]
        assert torch.equal(inner, Samples(cases, narrow).batch(draws).images)

    def test_what_lies_outside_is_told_from_what_was_left_out_where_a_method_asks(self):
        some = Samples([numbered((2, 4, 4), SPARSE)], Window((4, 4, 4), False))
        batch = some.batch(some.every())
        assert batch.codes[0, :, 0, 0].tolist() == [2, 0, 1, 2]
        asks, does_not = (SimpleNamespace(wants_padding=wants) for wants in (True, False))
        assert batch.sets_for(asks)[0].tolist() == [*SPARSE.tolist(), 3 * [False]]
        assert batch.sets_for(does_not)[0].tolist() == [*SPARSE.tolist(), 3 * [True]]

    def test_tables_of_several_lengths_keep_their_own_code_of_the_outside(self):
        cases = [numbered((2, 4, 4), SPARSE), numbered((2, 4, 4))]
        some = Samples(cases, Window((4, 4, 4), False))
        batch = some.batch(some.every())
        assert batch.sets.any(-1).sum(1).tolist() == [2, 3]
        assert batch.codes[:, 0, 0, 0].tolist() == [2, 3]

    def test_no_room_for_padding_is_refused(self):
        sets = np.ones((256, 3), dtype=bool)
        with pytest.raises(InputError, match="a/scan: its annotation has 256 label sets"):
            Samples([numbered((2, 4, 4), sets)], Window((4, 4, 4), False))

    def test_every_holds_each_voxel_once(self):
        cases = [numbered((3, 5, 6)), numbered((2, 2, 2))]
        some = Samples(cases, Window((2, 3, 4), False))
        images = some.batch(some.every()).images
        wanted = np.concatenate([case.image.ravel() for case in cases])
        assert np.array_equal(np.sort(images[images > 0].numpy()), np.sort(wanted))

    def test_a_window_reads_nothing_else_of_the_volume(self):
        read = []

        class Watched(np.ndarray):
            def __getitem__(self, key):
                read.append(np.asarray(self)[key].size)
                return np.asarray(self)[key]

        case = numbered((4, 5, 6))
        watched = Case(
            *"abcd", *(v.view(Watched) for v in (case.image, case.codes)), None, COMPLETE, None
        )
        some = Samples([watched], Window((2, 3, 4), False))
        some.batch([Draw(0, (-1, 1, 3))])
        assert read == [1 * 3 * 3, 1 * 3 * 3]


class TestViews:
    @pytest.fixture
    def some(self):
        views = ("", "axial", "coronal", "sagittal")
        return Samples([numbered((3, 4, 4), view=v) for v in views], Window((2, 4, 4), False))

    def test_patches_say_across_which_axis_their_slices_lie(self, some):
        views = some.batch([Draw(case, (0, 0, 0)) for case in (3, 0, 1, 2, 0)]).views
        assert views.dtype == torch.int8
        assert views.tolist() == [2, -1, 0, 1, -1]

    def test_slices_have_none(self):
        one = Samples([numbered((3, 4, 4), view="axial")], Window((1, 4, 4), True))
        assert one.batch(one.every()).views.tolist() == [-1, -1, -1]

    def test_a_batch_is_of_whole_scans_if_nothing_is_said(self):
        empty = torch.zeros(3, 1, 4, 4)
        views = Batch(empty, empty[:, 0].byte(), torch.ones(3, 1, 2, dtype=torch.bool)).views
        assert views.tolist() == [-1, -1, -1]
        assert views.dtype == torch.int8

    @pytest.mark.parametrize("workers", [0, 2])
    def test_they_come_with_the_batches_of_a_run(self, some, workers):
        sampler = build_sampler({"name": "cases"}, some.cases, some.window, 5, seed=2)
        steps = StepBatches(some, sampler, range(1, 5), None)
        for step, batch in enumerate(loader(steps, 0, 12, workers, CPU)):
            cases = [draw.case for draw in sampler.at(step)[1:]]
            assert batch.views.tolist() == [(-1, 0, 1, 2)[case] for case in cases]
            assert batch.copy(pinned=False).views.tolist() == batch.views.tolist()

    @pytest.mark.parametrize("workers", [0, 2])
    def test_beside_them_stands_what_was_to_be_shown(self, some, workers):
        """Draws 0 and 1 of each batch; of the second half nobody said what it shows."""
        steps = StepBatches(some, None, range(4), None)
        draws = [Draw(0, (0, 0, 0), 3), Draw(1, (0, 0, 0), 0), *[Draw(2, (0, 0, 0))] * 2]
        steps.sampler = SimpleNamespace(at=lambda step: draws, size=4)
        for batch in loader(steps, 0, 3, workers, CPU):
            assert batch.shown.tolist() == [3, 0, -1, -1]
            assert batch.shown.dtype == torch.int16

    def test_they_stay_with_the_cpu(self, some):
        batch = some.batch([Draw(1, (0, 0, 0))])
        moved = batch.to(torch.device("meta"), torch.contiguous_format)
        assert moved.images.is_meta
        assert moved.codes.is_meta
        assert moved.views.tolist() == [0]
        assert moved.shown.tolist() == [-1]
        assert torch.equal(moved.sets, batch.sets)


def test_only_images_take_the_memory_format(cohort):
    some = samples(cohort, given={"kind": "slices", "neighbours": 1})
    batch = some.batch(some.every())
    moved = batch.to(CPU, torch.channels_last)
    assert moved.images.is_contiguous(memory_format=torch.channels_last)
    assert equal(moved, batch)


def test_labels_are_the_true_classes(cohort):
    some = samples(cohort)
    draws = some.every()[2:5]
    labels = some.labels(draws)
    assert labels.dtype == torch.uint8
    for draw, found in zip(draws, labels, strict=True):
        assert np.array_equal(found, some.cases[draw.case].labels[draw.corner[0]])


def test_labels_that_nobody_drew_are_refused():
    case = numbered((2, 4, 4))
    bare = Case("a", "s2", "c", "CT", case.image, case.codes, None, COMPLETE, None)
    some = Samples([case, bare], Window((1, 4, 4), True))
    assert some.labels([Draw(0, (0, 0, 0))]).shape == (1, 4, 4)
    with pytest.raises(InputError, match="a/s2: has no labels"):
        some.labels([Draw(1, (0, 0, 0))])


class Mixed:
    """Stands for an augmentation that mixes row i with row `others[i]` of the effective batch."""

    def __init__(self, others: list[int]):
        self.others = others

    def partners(self, step: int, size: int) -> np.ndarray:
        return np.roll(self.others[:size], step)


def step_batches(cohort, rows=None, augmentation=None, given=SLICES, name="cases") -> StepBatches:
    some = samples(cohort, given=given)
    sampler = build_sampler({"name": name}, some.cases, some.window, 5, seed=11)
    rows = range(sampler.size) if rows is None else rows
    return StepBatches(some, sampler, rows, augmentation)


class TestSteps:
    @pytest.mark.parametrize("given", [SLICES, PATCHES], ids=["slices", "patches"])
    def test_a_step_is_the_samples_that_the_sampler_draws(self, cohort, given):
        steps = step_batches(cohort, given=given)
        for step in (0, 9):
            assert equal(steps[step], steps.samples.batch(steps.sampler.at(step)))

    @pytest.mark.parametrize("given", [SLICES, PATCHES], ids=["slices", "patches"])
    def test_the_parts_of_two_processes_are_the_batch(self, cohort, given):
        whole = step_batches(cohort, given=given)[4]
        parts = [step_batches(cohort, rows, given=given)[4] for rows in (range(2), range(2, 5))]
        assert [len(part.images) for part in parts] == [2, 3]
        for field in ("images", "codes", "sets", "views"):
            joined = torch.cat([getattr(part, field) for part in parts])
            assert torch.equal(joined, getattr(whole, field))

    def test_partners_follow_the_rows(self, cohort):
        whole = step_batches(cohort)[3].images
        batch = step_batches(cohort, range(2, 5), Mixed([4, 3, 1, 0, 2]))[3]
        assert len({image.numpy().tobytes() for image in whole}) == 5
        # Rolled by the step: 1 0 2 4 3 for the rows 0 to 4.
        assert torch.equal(batch.images, whole[[2, 3, 4, 2, 4, 3]])

    def test_an_augmentation_without_partners_adds_nothing(self, cohort):
        class Alone:
            def partners(self, step, size):
                return None

        assert len(step_batches(cohort, range(2), Alone())[0].images) == 2


class TestLoader:
    @pytest.mark.parametrize("workers", [0, 1, 2])
    @pytest.mark.parametrize("given", [SLICES, PATCHES], ids=["slices", "patches"])
    def test_workers_do_not_change_the_batches(self, cohort, given, workers):
        steps = step_batches(cohort, given=given, augmentation=Mixed([4, 3, 1, 0, 2]))
        found = list(loader(steps, 3, 8, workers, CPU))
        assert len(found) == 5
        assert all(equal(batch, steps[step]) for step, batch in enumerate(found, start=3))

    def test_the_global_generator_is_left_alone(self, cohort):
        before = torch.random.get_rng_state()
        next(iter(loader(step_batches(cohort), 0, 2, 1, CPU)))
        assert torch.equal(before, torch.random.get_rng_state())

    def test_more_steps_than_slots_keep_their_own_batches(self, cohort):
        """A batch that was handed over stays what it is when its slot is used again."""
        steps = step_batches(cohort)
        found = list(loader(steps, 0, 40, 2, CPU))
        assert all(equal(batch, steps[step]) for step, batch in enumerate(found))

    @pytest.mark.parametrize("workers", [0, 1])
    def test_a_run_that_has_all_its_steps_gets_none(self, cohort, workers):
        assert list(loader(step_batches(cohort), 8, 8, workers, CPU)) == []

    def test_a_mistake_in_a_worker_is_raised(self, cohort):
        steps = step_batches(cohort)
        steps.sampler.at = {0: [Draw(0, (0, 0, 0))] * 5, 1: [Draw(99, (0, 0, 0))] * 5}.get
        with pytest.raises(IndexError):
            list(loader(steps, 0, 2, 1, CPU))

    def test_workers_end_with_the_loop(self, cohort):
        for _ in loader(step_batches(cohort), 0, 100, 2, CPU):
            assert len(multiprocessing.active_children()) == 2
            break
        assert multiprocessing.active_children() == []


class Noted(StepBatches):
    """Batches that say which process read them, after a moment, and in how many threads."""

    def __getitem__(self, step):
        time.sleep(0.01)
        process, threads = torch.tensor([os.getpid()]), torch.tensor([torch.get_num_threads()])
        return Batch(process, threads, torch.tensor([True]))


@pytest.fixture
def noted(cohort):
    steps = step_batches(cohort)
    return Noted(steps.samples, steps.sampler, steps.rows, None)


def test_a_worker_computes_in_one_thread(noted):
    torch.set_num_threads(2)
    try:
        assert [batch.codes.item() for batch in loader(noted, 0, 4, 2, CPU)] == [1, 1, 1, 1]
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize("name", ["TERM", "USR1", "URG", "INT"])
def test_a_signal_to_every_process_leaves_the_workers_at_work(noted, name):
    """The run notes it and saves; for that it needs the batches that are on their way."""
    with StopRequest() as stop:
        batches = loader(noted, 0, 60, 2, CPU)
        workers = {next(batches).images.item() for _ in range(2)}
        assert len(workers - {os.getpid()}) == 2
        for process in (*workers, os.getpid()):
            subprocess.run(["kill", f"-{name}", str(process)], check=True)
        assert {batch.images.item() for batch in batches} == workers
        assert stop.signal == getattr(signal, f"SIG{name}")


def test_a_worker_ends_when_the_run_asks_it_to(noted):
    """With the handler that it inherits it would take note and wait for ever."""
    with StopRequest():
        batches = loader(noted, 0, 60, 1, CPU)
        next(batches)
        (worker,) = multiprocessing.active_children()
        worker.terminate()
        worker.join(300)
        assert worker.exitcode == 0
        with pytest.raises(RuntimeError, match="exited unexpectedly"):
            list(batches)
