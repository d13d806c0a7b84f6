from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from piecemeal.datasets.places import Places, write_places
from piecemeal.errors import InputError
from piecemeal.training.cases import Case
from piecemeal.training.sampling import SAMPLERS, build_sampler
from piecemeal.training.window import Draw, Window

SLICES = {"kind": "slices", "neighbours": 0}
COMPLETE = np.eye(3, dtype=bool)
MERGED = np.array([[1, 0, 0], [0, 1, 1]], dtype=bool)
EVERY = {
    "epochs": {},
    "cases": {},
    "tasks": {},
    "foreground": {"fraction": 0.5},
    "alternating": {},
    "class_modality_dataset": {},
    "modality_dataset_class": {},
    "hybrid": {},
}


@pytest.fixture
def make(tmp_path):
    """`make(codes)`: a case with these codes, an image of zeros, and places."""
    made = []

    def case(codes, sets=COMPLETE, dataset="a", modality="CT", task="", view="") -> Case:
        codes = np.asarray(codes, np.uint8)
        name = f"scan{len(made)}"
        write_places(tmp_path / name, codes, len(sets), name)
        image = np.zeros(codes.shape, np.float32)
        places = Places(tmp_path / name)
        names = (dataset, name, name, modality)
        made.append(Case(*names, image, codes, None, sets, places, task=task, view=view))
        return made[-1]

    return case


@pytest.fixture
def cases(make):
    """Three cases of 4, 3 and 5 slices; structure 1 in the first two, 2 in the last two.

    The last one was drawn in slices.
    """
    rng = np.random.default_rng(0)
    return [
        make(rng.integers(0, 2, (4, 6, 6))),
        make(rng.integers(0, 3, (3, 6, 6)), modality="MR"),
        make(2 * rng.integers(0, 2, (5, 6, 6)), dataset="b", view="axial"),
    ]


def patches(*size: int) -> dict:
    return {"kind": "patches", "size": list(size)}


def sampler(cases, name, batch_size=4, seed=3, given=SLICES, **options):
    window = Window.of(given, cases)
    settings = {"name": name} | EVERY[name] | options
    return build_sampler(settings, cases, window, batch_size, seed)


def draws(sampler, count: int) -> list[Draw]:
    return [draw for step in range(-(-count // sampler.size)) for draw in sampler.at(step)][:count]


def centre(draw: Draw, size) -> tuple[int, ...]:
    return tuple(low + length // 2 for low, length in zip(draw.corner, size, strict=True))


class TestWindow:
    def test_of_slices(self, cases):
        window = Window.of({"kind": "slices", "neighbours": 2}, cases)
        assert (window.shape, window.is_slice) == ((5, 6, 6), True)
        assert (window.channels, window.space) == (5, (6, 6))

    def test_of_patches(self, cases):
        window = Window.of(patches(2, 3, 4), cases)
        assert (window.shape, window.is_slice) == ((2, 3, 4), False)
        assert (window.channels, window.space) == (1, (2, 3, 4))

    def test_of_parts_of_slices(self, cases):
        window = Window.of({"kind": "slices", "neighbours": 1, "crop": 0.875}, cases)
        assert (window.shape, window.plane) == ((3, 5, 5), (6, 6))  # 0.875 of 6 is 5.25
        assert window.whole() == Window((3, 6, 6), True, 1)
        assert Window((3, 6, 6), True, 1).whole() == Window((3, 6, 6), True, 1)

    def test_tiles_of_parts_of_slices_are_one_a_slice(self):
        assert len(Window((1, 3, 3), True, 0, (6, 6)).tiles((5, 6, 6))) == 5

    def test_around_a_voxel(self):
        assert Window((2, 3, 4), False).around((5, 0, 2)) == (4, -1, 0)

    def test_around_is_the_slice_with_its_neighbours(self):
        assert Window((3, 6, 6), True, 1).around((5, 2, 2)) == (4, 0, 0)

    def test_anywhere_is_inside_and_reaches_everywhere(self):
        window, rng = Window((2, 3, 4), False), np.random.default_rng(0)
        found = {window.anywhere((3, 3, 6), rng) for _ in range(200)}
        assert found == set(product((0, 1), (0,), (0, 1, 2)))

    def test_anywhere_in_a_smaller_case_is_centred(self):
        rng = np.random.default_rng(0)
        assert Window((4, 5, 8), False).anywhere((2, 2, 8), rng) == (-1, -2, 0)

    def test_anywhere_of_slices(self):
        window, rng = Window((3, 6, 6), True, 1), np.random.default_rng(0)
        found = {window.anywhere((3, 6, 6), rng) for _ in range(50)}
        assert found == {(-1, 0, 0), (0, 0, 0), (1, 0, 0)}

    def test_tiles_of_slices(self):
        assert Window((3, 6, 6), True, 1).tiles((2, 6, 6)) == [(-1, 0, 0), (0, 0, 0)]

    def test_tiles_of_patches_share_the_padding_between_both_sides(self):
        corners = Window((2, 4, 3), False).tiles((4, 6, 3))
        assert corners == [(0, -1, 0), (0, 3, 0), (2, -1, 0), (2, 3, 0)]

    sizes = st.tuples(*3 * [st.integers(1, 7)])

    @given(shape=sizes, size=sizes)
    def test_tiles_hold_every_voxel_once(self, shape, size):
        counts = np.zeros(shape, int)
        for corner in Window(size, False).tiles(shape):
            there = [slice(max(c, 0), c + s) for c, s in zip(corner, size, strict=True)]
            assert counts[tuple(there)].size > 0
            counts[tuple(there)] += 1
        assert np.all(counts == 1)


@pytest.mark.parametrize("given", [SLICES, patches(2, 3, 3)], ids=["slices", "patches"])
@pytest.mark.parametrize("name", EVERY)
class TestEverySampler:
    def test_a_step_is_a_function_of_seed_and_step(self, cases, name, given):
        first, second = (sampler(cases, name, given=given) for _ in range(2))
        forwards = [first.at(step) for step in range(30)]
        np.random.seed(1)
        assert [second.at(step) for step in reversed(range(30))] == forwards[::-1]

    def test_steps_rows_and_seeds_differ(self, cases, name, given):
        one = sampler(cases, name, given=given, batch_size=3)
        first, second = one.at(0) + one.at(1), one.at(2) + one.at(3)
        assert len(set(first)) > 1
        assert first != second
        other = sampler(cases, name, given=given, batch_size=3, seed=4)
        assert first != other.at(0) + other.at(1)

    def test_a_batch_has_its_size(self, cases, name, given):
        one = sampler(cases, name, given=given)
        assert one.size == (3 if name == "epochs" and given is not SLICES else 4)
        assert all(len(one.at(step)) == one.size for step in range(5))


class TestEpochs:
    def test_order_is_that_of_a_shuffled_list_of_slices(self, cases):
        one = sampler(cases, "epochs", batch_size=5, seed=2**39 + 1)
        slices = [
            Draw(i, (z, 0, 0)) for i, case in enumerate(cases) for z in range(len(case.image))
        ]
        for epoch in (0, 1, 7):
            order = np.random.default_rng([2**39 + 1, epoch]).permutation(12)
            # Two batches of five; the other two slices are left out of this epoch.
            for position in (0, 1):
                wanted = [slices[i] for i in order[5 * position : 5 * position + 5]]
                assert one.at(2 * epoch + position) == wanted

    @given(batch_size=st.integers(1, 20), epoch=st.integers(0, 50), seed=st.integers(0, 2**40))
    def test_an_epoch_repeats_no_slice(self, batch_size, epoch, seed):
        image = np.zeros((4, 2, 2), np.float32)
        case = Case("a", "s", "c", "CT", image, image, None, COMPLETE, Places("none"))
        one = build_sampler(
            {"name": "epochs"}, 3 * [case], Window((1, 2, 2), True), batch_size, seed
        )
        assert one.size == min(batch_size, 12)
        steps = 12 // one.size
        drawn = [draw for i in range(steps) for draw in one.at(epoch * steps + i)]
        assert len(set(drawn)) == len(drawn) == steps * one.size
        assert {(d.case, d.corner[0]) for d in drawn} <= set(product(range(3), range(4)))

    def test_slices_come_with_their_neighbours(self, cases):
        one = sampler(cases, "epochs", 12, given={"kind": "slices", "neighbours": 1})
        assert {draw.corner[0] for draw in one.at(0) if draw.case == 1} == {-1, 0, 1}

    def test_patches_are_every_case_once_at_a_random_place(self, cases):
        one = sampler(cases, "epochs", batch_size=3, given=patches(2, 3, 3))
        for step in range(5):
            assert sorted(draw.case for draw in one.at(step)) == [0, 1, 2]
        corners = {draw.corner for step in range(300) for draw in one.at(step) if draw.case == 1}
        assert corners == set(product((0, 1), range(4), range(4)))


class TestRandomCases:
    def test_cases_are_equally_likely_whatever_their_size(self, cases):
        counts = Counter(draw.case for draw in draws(sampler(cases, "cases"), 3000))
        assert all(abs(counts[case] - 1000) < 120 for case in range(3))  # 4.6 deviations

    def test_patches_are_centred_on_any_voxel(self, cases):
        found = draws(sampler(cases, "cases", given=patches(2, 3, 3)), 9000)
        counts = Counter(draw.corner for draw in found if draw.case == 1)
        z, y, x = cases[1].image.shape
        assert counts.keys() == {*product(range(-1, z - 1), range(-1, y - 1), range(-1, x - 1))}
        for places in zip(*counts.elements(), strict=True):
            along = Counter(places).values()
            assert max(along) < 1.2 * min(along)

    def test_slices_of_a_case_are_equally_likely(self, cases):
        found = [d.corner[0] for d in draws(sampler(cases, "cases"), 3000) if d.case == 1]
        assert set(found) == {0, 1, 2}
        assert all(abs(count / len(found) - 1 / 3) < 0.07 for count in Counter(found).values())


class TestForeground:
    @pytest.mark.parametrize(("fraction", "first"), [(0, 6), (0.33, 4), (0.5, 3), (0.9, 1), (1, 0)])
    def test_the_last_rows_are_centred_on_a_structure(self, make, fraction, first):
        codes = np.zeros((9, 9, 9))
        codes[4, 4, 4] = 1
        one = sampler([make(codes)], "foreground", 6, given=patches(3, 3, 3), fraction=fraction)
        centred = [[draw.corner == (3, 3, 3) for draw in one.at(step)] for step in range(60)]
        shares = np.mean(centred, axis=0)
        assert np.all(shares[first:] == 1)
        assert np.all(shares[:first] < 0.2)

    def test_structures_are_equally_likely_whatever_their_size(self, make):
        codes = np.ones((6, 6, 6))
        codes[5, 5, 5] = 2
        one = sampler([make(codes)], "foreground", fraction=1, given=patches(3, 3, 3))
        found = [codes[centre(draw, (3, 3, 3))] for draw in draws(one, 1000)]
        assert abs(found.count(2) - 500) < 80

    def test_a_slice_shows_the_structure(self, make):
        codes = np.zeros((6, 4, 4))
        codes[2, 0, 0] = codes[4, 1, 1] = codes[4, 2, 2] = 1
        one = sampler([make(codes)], "foreground", fraction=1)
        found = Counter(draw.corner[0] for draw in draws(one, 1000))
        assert set(found) == {2, 4}
        assert abs(found[2] - 500) < 80  # whatever the number of voxels in the slice

    def test_a_merged_structure_is_not_named(self, make):
        codes = np.zeros((8, 4, 4))
        codes[3, 0, 0] = 1
        one = sampler([make(codes, MERGED)], "foreground", fraction=1)
        assert {draw.corner[0] for draw in draws(one, 300)} == set(range(8))

    def test_by_chance_every_row_throws_its_own_coin(self, make):
        """Four fifths of a batch of 2, which are no number of its rows."""
        codes = np.zeros((9, 9, 9))
        codes[4, 4, 4] = 1
        options = {"given": patches(1, 1, 1), "fraction": 0.8}
        one = sampler([make(codes)], "foreground", 2, by_chance=True, **options)
        hit = np.array([[d.corner == (4, 4, 4) for d in one.at(step)] for step in range(1500)])
        assert hit.mean(axis=0) == pytest.approx([0.8, 0.8], abs=0.045)
        both = hit.all(axis=1).mean()
        assert both == pytest.approx(0.64, abs=0.05)  # one coin for the batch would give 0.8
        fixed = sampler(one.cases, "foreground", 2, **options)
        assert all(d.corner == (4, 4, 4) for d in draws(fixed, 100))

    @pytest.mark.parametrize("fraction", [-0.1, 1.5])
    def test_a_share_that_is_none_is_refused(self, cases, fraction):
        with pytest.raises(InputError, match=f"sampler: fraction: {fraction} given, expected"):
            sampler(cases, "foreground", fraction=fraction)


NOTHING = np.ones((1, 3), dtype=bool)


class TestAlternating:
    @pytest.fixture
    def patchwork(self, make):
        """Two data sets, a of structure 1 and b of 2: of each two cases labelled, one not."""
        found = []
        for structure, name in ((1, "a"), (2, "b")):
            codes = np.zeros((20, 4, 4))
            codes[3:5, 1, 1] = structure
            found += [make(codes, dataset=name), make(codes, dataset=name)]
            found.append(make(np.zeros((20, 4, 4)), NOTHING, dataset=name))
        return found

    def test_data_sets_take_turns(self, patchwork):
        one = sampler(patchwork, "alternating")
        for step in range(10):
            expected = {0, 1} if step % 2 == 0 else {3, 4}
            assert {draw.case for draw in one.at(step)} <= expected

    def test_labelled_rows_show_the_structure_and_are_of_any_case_alike(self, patchwork):
        drawn = draws(sampler(patchwork, "alternating"), 2000)
        assert {draw.corner[0] for draw in drawn} == {3, 4}
        counts = Counter(draw.case for draw in drawn)
        assert all(abs(counts[case] - 500) < 90 for case in (0, 1, 3, 4))

    @pytest.mark.parametrize(
        ("share", "rows"), [(0.5, [1, 3, 5, 7]), (0.25, [3, 7]), (0.34, [2, 5])]
    )
    def test_unlabelled_rows_are_spread_over_the_batch(self, patchwork, share, rows):
        one = sampler(patchwork, "alternating", 8, unlabelled=share)
        for step in range(6):
            nothing = [row for row, draw in enumerate(one.at(step)) if draw.case in (2, 5)]
            assert nothing == rows

    def test_unlabelled_rows_are_of_the_data_set_whose_turn_it_is(self, patchwork):
        one = sampler(patchwork, "alternating", 8, unlabelled=0.5)
        for step in range(6):
            labelled, unlabelled = (
                {patchwork[draw.case].dataset for draw in one.at(step)[first::2]}
                for first in (0, 1)
            )
            assert labelled == unlabelled == {"ab"[step % 2]}

    def test_unlabelled_rows_are_from_the_middle_or_from_anywhere(self, patchwork):
        for middle, slices in (
            (2, set(range(8, 13))),
            (None, set(range(20))),
            (50, set(range(20))),
        ):
            one = sampler(patchwork, "alternating", unlabelled=0.5, middle=middle)
            drawn = [draw for draw in draws(one, 1000) if draw.case in (2, 5)]
            assert {draw.corner[0] for draw in drawn} == slices

    def test_patches_are_centred_on_the_structure(self, patchwork):
        one = sampler(patchwork, "alternating", given=patches(3, 3, 3))
        assert {draw.corner for draw in draws(one, 100)} == {(2, 0, 0), (3, 0, 0)}

    def test_labelled_slices_show_enough_of_the_structure_if_any_of_the_case_do(self, make):
        """Of 16 pixels structure 1 covers 1, 4 and 5, structure 2 in the other case 1 and 3."""
        one, two = np.zeros((5, 4, 4)), np.zeros((5, 4, 4))
        one[1, 0, 0], one[2, :2, :2], one[3, :, 0], one[3, 0, 1] = 1, 1, 1, 1
        two[0, 0, 0], two[4, 0, :3] = 2, 2
        cases = [make(one), make(two)]

        def seen(*least):
            found = draws(sampler(cases, "alternating", least=least), 200)
            return {
                case: {d.corner[0] for d in found if d.case == case} for case in range(len(cases))
            }

        assert seen() == {0: {1, 2, 3}, 1: {0, 4}}
        assert seen(0, 0.2) == {0: {2, 3}, 1: {0, 4}}  # nothing is asked of class 2
        assert seen(0, 0.25, 0.1) == {0: {3}, 1: {4}}  # more than 4 pixels
        assert seen(0, 0.5, 0.5) == {0: {1, 2, 3}, 1: {0, 4}}  # none has as much

    def test_a_labelled_case_that_shows_nothing_is_seen_anywhere(self, make):
        one = sampler([make(np.zeros((3, 4, 4)))], "alternating")
        assert {draw.corner[0] for draw in draws(one, 100)} == {0, 1, 2}

    def test_a_data_set_without_labelled_cases_is_refused(self, patchwork):
        with pytest.raises(InputError, match="training cases of b are all unlabelled"):
            sampler([*patchwork[:3], patchwork[5]], "alternating")

    def test_a_data_set_without_unlabelled_cases_is_refused_if_they_are_asked_for(self, patchwork):
        assert sampler(patchwork[:5], "alternating").size == 4
        with pytest.raises(InputError, match="training cases of b are all labelled"):
            sampler(patchwork[:5], "alternating", unlabelled=0.5)


@pytest.mark.parametrize("name", EVERY)
def test_parts_of_slices_lie_anywhere_in_them(cases, name):
    """Half of 6 x 6 pixels: corners 0 to 3 along both sides."""
    one = sampler(cases, name, given=SLICES | {"crop": 0.5})
    assert one.window.shape == (1, 3, 3)
    assert {draw.corner[1:] for draw in draws(one, 400)} == set(product(range(4), range(4)))


@pytest.fixture
def uneven(make):
    """CT of two data sets with structure 1, one MR with both, one CT that names none."""
    codes = np.zeros((4, 6, 6))
    one, both = codes.copy(), codes.copy()
    one[1] = 1
    both[1], both[2] = 1, 2
    return [
        *(make(one, dataset="a") for _ in range(6)),
        make(one, dataset="b"),
        make(both, dataset="a", modality="MR"),
        make(codes, dataset="c"),
    ]


def shares(cases, name, **options) -> dict[int, float]:
    count = 4000
    found = Counter(draw.case for draw in draws(sampler(cases, name, **options), count))
    return {case: found[case] / count for case in range(len(cases))}


class TestHierarchies:
    def test_class_then_modality_then_data_set(self, uneven):
        """Structure 2: always the MR. Structure 1: the MR, or a CT data set, half each."""
        found = shares(uneven, "class_modality_dataset")
        assert found[7] == pytest.approx(1 / 2 + 1 / 4, abs=0.035)
        assert found[6] == pytest.approx(1 / 8, abs=0.035)
        assert sum(found[i] for i in range(6)) == pytest.approx(1 / 8, abs=0.035)
        assert found[8] == 0

    def test_modality_then_data_set_then_class(self, uneven):
        found = shares(uneven, "modality_dataset_class")
        assert found[7] == pytest.approx(1 / 2, abs=0.035)
        assert found[6] == pytest.approx(1 / 4, abs=0.035)
        assert sum(found[i] for i in range(6)) == pytest.approx(1 / 4, abs=0.035)
        assert found[8] == 0

    @pytest.mark.parametrize("name", ["class_modality_dataset", "modality_dataset_class"])
    def test_cases_of_a_data_set_are_equally_likely(self, uneven, name):
        found = shares(uneven[:6], name)
        assert all(found[i] == pytest.approx(1 / 6, abs=0.035) for i in range(6))

    def test_structures_of_a_case_are_equally_likely_under_both(self, uneven):
        for name in ("class_modality_dataset", "modality_dataset_class"):
            found = [draw.corner[0] for draw in draws(sampler(uneven[7:8], name), 1000)]
            assert set(found) == {1, 2}
            assert abs(found.count(2) - 500) < 80

    def test_with_the_background_as_a_class_nobody_is_left_out(self, uneven):
        """CMD: a third of the draws is background, half of it CT, a third of that data set c."""
        found = shares(uneven, "class_modality_dataset", background=True)
        assert found[8] == pytest.approx(1 / 18, abs=0.02)
        found = shares(uneven, "modality_dataset_class", background=True)
        assert found[8] == pytest.approx(1 / 6, abs=0.035)

    @pytest.mark.parametrize("name", ["class_modality_dataset", "modality_dataset_class"])
    def test_patches_are_centred_on_the_structure_and_may_leave_the_case(self, make, name):
        codes = np.zeros((4, 6, 6))
        codes[0, 5, 2] = 1
        one = sampler([make(codes)], name, given=patches(4, 4, 5))
        assert set(one.at(0)) == {Draw(0, (-2, 3, 0), shown=1)}

    @pytest.mark.parametrize(("temperature", "weight"), [(1, 7), (2, 7**0.5), (0.5, 49)])
    def test_a_temperature_gives_modalities_chances_by_their_scans(
        self, uneven, temperature, weight
    ):
        """Of structure 1 there are seven CT and one MR, of structure 2 one MR alone."""
        found = shares(uneven, "class_modality_dataset", temperature=temperature)
        assert found[7] == pytest.approx(1 / 2 + 1 / 2 / (weight + 1), abs=0.035)
        found = shares(uneven, "modality_dataset_class", temperature=temperature)
        assert found[7] == pytest.approx(1 / (weight + 1), abs=0.035)
        said = sampler(uneven, "modality_dataset_class", temperature=temperature).shares()
        assert said["a", "MR"] == pytest.approx(1 / (weight + 1))

    @pytest.mark.parametrize("name", ["class_modality_dataset", "hybrid"])
    @pytest.mark.parametrize("temperature", [0, -1.0, float("nan")])
    def test_a_temperature_that_is_none_is_refused(self, uneven, name, temperature):
        with pytest.raises(InputError, match=f"temperature: {temperature} given, expected more"):
            sampler(uneven, name, temperature=temperature)

    @pytest.mark.parametrize("name", ["class_modality_dataset", "modality_dataset_class"])
    def test_an_annotation_that_names_no_structure_is_refused(self, make, name):
        with pytest.raises(InputError, match="no training case names a structure alone"):
            sampler([make(np.ones((4, 6, 6)), MERGED)], name)


class TestHybrid:
    def test_whole_scans_and_scans_in_slices_take_turns(self, uneven, make):
        codes = np.zeros((4, 6, 6))
        codes[3] = 2
        cases = [*uneven, make(codes, view="coronal"), make(codes, view="axial", dataset="b")]
        one = sampler(cases, "hybrid", batch_size=5)
        for step in range(20):
            sliced = [cases[draw.case].view != "" for draw in one.at(step)]
            assert sliced == [False, True, False, True, False]

    def test_each_half_is_drawn_by_class_first(self, uneven, make):
        codes = np.zeros((4, 6, 6))
        codes[3] = 2
        sliced = [make(codes, view="coronal", dataset=name) for name in "aab"]
        found = shares([*uneven, *sliced], "hybrid")
        whole = shares(uneven, "class_modality_dataset")
        for case, share in whole.items():
            assert found[case] == pytest.approx(share / 2, abs=0.03)
        assert found[11] == pytest.approx(1 / 4, abs=0.03)
        assert found[9] + found[10] == pytest.approx(1 / 4, abs=0.03)

    def test_shares_are_those_of_the_rows(self, make):
        codes = np.ones((2, 4, 4))
        cases = [make(codes), make(codes, view="axial", dataset="b")]
        assert sampler(cases, "hybrid", 3).shares() == pytest.approx(
            {("a", "CT"): 2 / 3, ("b", "CT"): 1 / 3}
        )

    @pytest.mark.parametrize(
        ("view", "absent"), [("", "scans in slices"), ("axial", "whole scans")]
    )
    def test_a_group_without_cases_is_refused(self, make, view, absent):
        with pytest.raises(InputError, match=f"hybrid: no training case of {absent} names"):
            sampler([make(np.ones((2, 4, 4)), view=view)], "hybrid")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("class_modality_dataset", {("a", "CT"): 1 / 8, ("b", "CT"): 1 / 8, ("a", "MR"): 3 / 4}),
        ("modality_dataset_class", {("a", "CT"): 1 / 4, ("b", "CT"): 1 / 4, ("a", "MR"): 1 / 2}),
    ],
)
def test_expected_shares_are_logged_when_a_sampler_is_built(uneven, caplog, name, expected):
    caplog.set_level("INFO")
    assert sampler(uneven, name).shares() == pytest.approx(expected)
    (said,) = [record.getMessage() for record in caplog.records]
    mr, ct = (100 * expected["a", modality] for modality in ("MR", "CT"))
    assert said == (
        f"expected shares of the samples: a MR {mr:.1f} %, a CT {ct:.1f} %, b CT {ct:.1f} %"
    )


def test_samplers_without_a_hierarchy_say_nothing_of_shares(uneven, caplog):
    caplog.set_level("INFO")
    assert sampler(uneven, "cases").shares() == {}
    assert caplog.records == []


# Nothing is known of code 0, code 1 may be 0 or 2, code 2 is structure 1.
PARTIAL = np.array([[1, 1, 1], [1, 0, 1], [0, 1, 0]], dtype=bool)


class TestBackground:
    def test_of_partial_labels_is_where_somebody_looked(self, make):
        codes = np.zeros((6, 3, 3))
        codes[2], codes[3] = 1, 2
        one = make(codes, PARTIAL)
        assert (one.named, one.empty) == ({1: 2}, (1,))
        hierarchy = sampler([one], "class_modality_dataset", background=True)
        found = Counter(draw.corner[0] for draw in draws(hierarchy, 1000))
        assert set(found) == {2, 3}
        assert abs(found[2] - 500) < 80

    def test_of_a_scan_of_which_nothing_is_known_is_anywhere(self, make):
        one = make(np.zeros((3, 4, 4)), PARTIAL)
        assert (one.named, one.empty) == ({}, (0,))
        hierarchy = sampler([one], "modality_dataset_class", background=True)
        assert {draw.corner[0] for draw in draws(hierarchy, 100)} == {0, 1, 2}

    def test_of_several_codes_every_voxel_is_as_likely(self, make):
        """Slices that show other structures have other sets of what may be there."""
        sets = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 0]], dtype=bool)
        codes = np.zeros((9, 3, 3))
        codes[2], codes[5:8] = 1, 2
        one = make(codes, sets, view="axial")
        assert one.empty == (1, 2)
        hierarchy = sampler([one], "class_modality_dataset", background=True)
        found = Counter(draw.corner[0] for draw in draws(hierarchy, 1000))
        assert set(found) == {2, 5, 6, 7}
        assert all(abs(times - 250) < 60 for times in found.values())


def test_every_sampler_has_been_tested():
    assert SAMPLERS.keys() == EVERY.keys()


def test_an_unknown_sampler_is_refused(cases):
    window = Window.of(SLICES, cases)
    with pytest.raises(InputError, match=r"there is no 'random'; known: alternating, cases, class"):
        build_sampler({"name": "random"}, cases, window, 4, 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "epochs", "fraction": 1}, r"epochs takes \[\] .*, found \['fraction'\]"),
        ({"name": "foreground"}, r"foreground takes \['by_chance', 'fraction'\] .*, found \[\]"),
        (
            {"name": "modality_dataset_class", "share": 1},
            r"takes \['background', 'temperature'\] \(needed: \[\]\), found \['share'\]",
        ),
    ],
)
def test_an_option_that_is_missing_or_unknown_is_refused(cases, settings, message):
    with pytest.raises(InputError, match=message):
        build_sampler(settings, cases, Window.of(SLICES, cases), 4, 0)


class TestTasks:
    def test_are_seen_equally_often_whatever_their_slices(self, make):
        shapes = {"a": [12, 4], "b": [2], "c": [1]}
        cases = [
            make(np.zeros((slices, 4, 4)), task=task)
            for task, many in shapes.items()
            for slices in many
        ]
        drawn = sampler(cases, "tasks", batch_size=1000).at(0)
        seen = Counter(cases[draw.case].task for draw in drawn)
        assert set(seen) == set(shapes)
        assert all(abs(count - 1000 / 3) < 60 for count in seen.values())  # 4 standard deviations

    def test_show_all_their_slices_equally_often(self, make):
        cases = [make(np.zeros((slices, 4, 4)), task="a") for slices in (1, 3)]
        drawn = sampler(cases, "tasks", batch_size=1200).at(0)
        seen = Counter((draw.case, draw.corner[0]) for draw in drawn)
        assert set(seen) == {(0, 0), (1, 0), (1, 1), (1, 2)}
        assert all(abs(count - 300) < 61 for count in seen.values())

    def test_may_have_whole_batches(self, make):
        cases = [make(np.zeros((3, 4, 4)), task=task) for task in ("a", "a", "b")]
        one = sampler(cases, "tasks", batch_size=6, whole_batches=True)
        steps = [{cases[draw.case].task for draw in one.at(step)} for step in range(60)]
        assert {len(tasks) for tasks in steps} == {1}
        assert 15 <= sum(tasks == {"a"} for tasks in steps) <= 45
        mixed = sampler(cases, "tasks", batch_size=6)
        assert any(len({cases[d.case].task for d in mixed.at(step)}) == 2 for step in range(9))

    def test_of_a_cohort_without_tasks_are_all_slices(self, cases):
        seen = {(d.case, d.corner[0]) for d in sampler(cases, "tasks", batch_size=300).at(1)}
        assert len(seen) == sum(len(case.image) for case in cases)
