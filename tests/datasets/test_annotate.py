import json
import os
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from piecemeal.datasets import places as places_module
from piecemeal.datasets.annotate import annotate
from piecemeal.datasets.places import Places
from piecemeal.datasets.prepare import prepare
from piecemeal.datasets.store import PreparedScan, read_cases
from piecemeal.errors import InputError

NAMES = ["right ventricle", "myocardium", "left ventricle"]
COMPLETE = {"kind": "complete"}
MERGED = {"kind": "super_label", "merged": [[1, 2, 3]]}
SPARSE = {"kind": "sparse_slices", "fraction": 0.34, "axis": 0, "seed": 5}


@pytest.fixture
def prepared(tmp_path, arguments):
    prepare(tmp_path / "prepared", **arguments)
    return tmp_path / "prepared"


def read(folder):
    """{scan: (row of cases.csv, codes, label sets)} of an annotated folder."""
    sets = json.loads((folder / "sets.json").read_text())
    return {
        row.scan: (
            row,
            np.load(folder / row.dataset / row.scan / "codes.npy"),
            [set(members) for members in sets[row.protocol]],
        )
        for row in read_cases(folder).itertuples()
    }


def test_halves_have_their_protocols(tmp_path, prepared):
    annotate(tmp_path / "a", prepared, NAMES, {1: COMPLETE, 2: MERGED})
    scans = read(tmp_path / "a")
    assert len(scans) == 6
    columns = ["dataset", "scan", "case", "modality", "phase", "task", "split", "half"]
    columns += ["undeclared", "protocol", "view"]
    assert list(read_cases(tmp_path / "a").columns) == columns
    assert {row.modality for row, _, _ in scans.values()} == {"MR"}
    assert {row.split for row, _, _ in scans.values()} == {"train", "validation"}
    for scan, (row, codes, sets) in scans.items():
        labels = PreparedScan(prepared / "acdc" / scan).labels
        assert row.protocol == {1: "complete", 2: "super_label"}[row.half]
        assert codes.dtype == np.uint8
        assert codes.shape == labels.shape
        expected = {1: [{0}, {1}, {2}, {3}], 2: [{0}, {1, 2, 3}]}[row.half]
        assert sorted(map(sorted, sets)) == sorted(map(sorted, expected))
        for label in range(4):
            said = [sets[code] for code in np.unique(codes[labels == label])]
            assert said == [next(members for members in expected if label in members)]


def test_codes_lie_on_the_disk_before_they_have_their_name(tmp_path, prepared, monkeypatch):
    synced, fsync = [], os.fsync

    def spy(number):
        path = Path(os.readlink(f"/proc/self/fd/{number}"))
        named = path.name.removeprefix(".").split(".")[0]
        there = [file.name for file in path.parent.iterdir() if not file.name.startswith(".")]
        synced.append((named, sorted(there)))
        fsync(number)

    monkeypatch.setattr("os.fsync", spy)
    annotate(tmp_path / "a", prepared, NAMES, {1: COMPLETE, 2: COMPLETE})
    scans = 6 * [("codes", []), ("places", ["codes.npy"])]
    tables = ["SHA256SUMS", "acdc", "sets.json"]
    sums = ("SHA256SUMS", ["acdc", "sets.json"])
    assert synced == [*scans, ("sets", ["acdc"]), sums, ("cases", tables)]


def test_places_of_the_codes_lie_beside_them(tmp_path, prepared):
    annotate(tmp_path / "a", prepared, NAMES, {1: COMPLETE, 2: MERGED})
    for scan, (_, codes, sets) in read(tmp_path / "a").items():
        places = Places(tmp_path / "a" / "acdc" / scan / "places.npz")
        assert places.slices.shape == (len(sets), len(codes))
        for code, members in enumerate(sets):
            voxels = places.voxels(code)
            assert len(voxels) == (codes == code).sum(), members
            assert np.all(codes[tuple(voxels.T)] == code)


def test_sampled_places_differ_between_scans(tmp_path, prepared, monkeypatch):
    monkeypatch.setattr(places_module, "LIMIT", 20)
    annotate(tmp_path / "a", prepared, NAMES, {1: COMPLETE, 2: COMPLETE})
    background = [Places(path).voxels(0).tolist() for path in (tmp_path / "a").rglob("places.npz")]
    assert len(background) == 6
    assert all(one != background[0] for one in background[1:])


def test_dropped_half(tmp_path, prepared):
    annotate(tmp_path / "a", prepared, NAMES, {1: COMPLETE, 2: None})
    assert {row.half for row, _, _ in read(tmp_path / "a").values()} == {1}


def test_same_kind_in_two_variants(tmp_path, prepared):
    halves = {1: {"kind": "partial", "annotated": [1]}, 2: {"kind": "partial", "annotated": [2]}}
    annotate(tmp_path / "a", prepared, NAMES, halves)
    for row, _, sets in read(tmp_path / "a").values():
        assert row.protocol == f"partial_{row.half}"
        assert {row.half} in sets


def test_patients_are_dealt_out_to_the_hands(tmp_path, prepared):
    hands = {
        "first": {"kind": "partial", "annotated": [1]},
        "second": {"kind": "partial", "annotated": [2]},
        "nothing": {"kind": "unlabelled"},
    }
    annotate(tmp_path / "a", prepared, NAMES, {}, dealt={"seed": 7, "hands": hands})
    scans = read(tmp_path / "a")
    for split in ("train", "validation"):
        of_case = {row.case: row.protocol for row, _, _ in scans.values() if row.split == split}
        order = sorted(of_case, key=lambda case: sha256(f"7:{case}".encode()).hexdigest())
        names = ["partial_first", "partial_second", "unlabelled"]
        assert [of_case[case] for case in order] == [names[k % 3] for k in range(len(order))]
    for row, _, sets in scans.values():
        drawn = {"partial_first": [{0, 2, 3}, {1}], "partial_second": [{0, 1, 3}, {2}]}
        assert sets == drawn.get(row.protocol, [{0, 1, 2, 3}])


def test_a_data_set_with_a_protocol_of_its_own_is_not_dealt_out(tmp_path, prepared):
    dealt = {"seed": 7, "hands": {"one": COMPLETE, "other": MERGED}}
    annotate(tmp_path / "a", prepared, NAMES, {}, own={"acdc": SPARSE}, dealt=dealt)
    assert {row.protocol for row, _, _ in read(tmp_path / "a").values()} == {"sparse_slices"}


def test_sparse_slices_differ_between_scans_not_between_times(tmp_path, prepared):
    for name in "ab":
        annotate(tmp_path / name, prepared, NAMES, {1: SPARSE, 2: SPARSE})
    first, second = read(tmp_path / "a"), read(tmp_path / "b")
    kept = set()
    for scan, (row, codes, sets) in first.items():
        assert row.protocol == "sparse_slices"
        np.testing.assert_array_equal(codes, second[scan][1])
        unknown = sets.index({0, 1, 2, 3})
        drawn = [z for z in range(3) if not (codes[z] == unknown).all()]
        assert len(drawn) == 1
        kept.update(drawn)
    assert len(kept) > 1


def test_unlabelled_says_nothing(tmp_path, prepared):
    annotate(tmp_path / "a", prepared, NAMES, {1: None, 2: {"kind": "unlabelled"}})
    for _, codes, sets in read(tmp_path / "a").values():
        assert codes.shape == (3, 16, 16)
        assert sets[int(codes[0, 0, 0])] == {0, 1, 2, 3}
        assert np.unique(codes).size == 1


@pytest.mark.parametrize(("known", "background"), [("declared", {0, 2}), ("all", {0})])
def test_what_a_data_set_does_not_label_is_nowhere_if_all_is_known(
    tmp_path, arguments, known, background
):
    arguments["sources"]["acdc"]["labels"] = [[1, NAMES[0]], [2, "fat"], [3, NAMES[2]]]
    everything = [[raw, name] for raw, name in enumerate(NAMES, start=1)]
    arguments["sources"]["other"] = arguments["sources"]["acdc"] | {"labels": everything}
    arguments["split"]["twins"] = "keep"
    prepare(tmp_path / "prepared", **arguments)
    annotate(tmp_path / "a", tmp_path / "prepared", NAMES, {1: COMPLETE, 2: COMPLETE}, known)
    rows = read_cases(tmp_path / "a").query("dataset == 'acdc'")
    assert rows.undeclared.eq("2").all()
    sets = json.loads((tmp_path / "a" / "sets.json").read_text())
    assert {frozenset(sets[row.protocol][0]) for row in rows.itertuples()} == {
        frozenset(background)
    }


@pytest.mark.parametrize(
    ("protocol", "message"),
    [
        ({"kind": "scribbles"}, "half 2: kind 'scribbles' is unknown"),
        ({"kind": "super_label"}, r"half 2: super_label takes \['merged'\], found \[\]"),
        ({"kind": "complete", "seed": 1}, r"half 2: complete takes \[\], found \['seed'\]"),
        ({"kind": "super_label", "merged": [[1, 9]]}, "9"),
    ],
)
def test_wrong_protocol(tmp_path, prepared, protocol, message):
    with pytest.raises(InputError, match=message):
        annotate(tmp_path / "a", prepared, NAMES, {1: COMPLETE, 2: protocol})
    assert not (tmp_path / "a" / "cases.csv").exists()


def test_prepared_not_finished(tmp_path):
    with pytest.raises(InputError, match=r"cases\.csv: is missing"):
        annotate(tmp_path / "a", tmp_path, 4, {1: COMPLETE, 2: None})
