"""Cohorts of several tasks: which slices of a scan are a case of a task, and where they lie."""

import logging
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from piecemeal import scoring
from piecemeal.cohort_specs import CohortConfig
from piecemeal.dataset_specs import DatasetConfig
from piecemeal.datasets import phantoms
from piecemeal.datasets.annotate import annotate
from piecemeal.datasets.labelling import Labelled
from piecemeal.datasets.prepare import COLUMNS, prepare
from piecemeal.datasets.store import PreparedScan, read_cases
from piecemeal.datasets.tasks import find_part
from piecemeal.errors import InputError
from piecemeal.training.cases import load_cases
from piecemeal.validation import load_model

CONFIG = Path(__file__).resolve().parents[2] / "config"
NAMES = ["bone", "liver", "lung"]
TASKS = {"pelvis": ["bone"], "abdomen": ["liver"], "chest": ["lung"]}
# In the files slices run down, rows to the front and columns to the left, and are turned a bit.
AFFINE = np.array(
    [
        [-1.44, -1.08, 0.0, 40.0],
        [-1.08, 1.44, 0.0, -7.0],
        [0.0, 0.0, -3.0, 900.0],
        [0.0, 0.0, 0.0, 1.0],
    ]
)
# Label -> slices from the lowest up: two neighbours of the liver reach into its slices.
WHOLE = {1: slice(0, 8), 2: slice(6, 15), 3: slice(14, 24)}
LEGS = {1: slice(3, 20)}
# Task -> slices of the whole that show it alone, less one at both ends.
ALONE = {"pelvis": slice(1, 5), "abdomen": slice(9, 13), "chest": slice(16, 23)}


def write_subject(root: Path, number: int, shown: dict[int, slice], seed: int | None = None):
    """A subject of 20 x 18 voxels in 24 slices, of the labels `shown`."""
    rng = np.random.default_rng(number if seed is None else seed)
    labels = np.zeros((20, 18, 24), np.uint8)
    for label, where in shown.items():
        labels[4 * label : 4 * label + 4, 5:11, where] = label
    waves = [np.cos(rng.uniform(0.2, 1) * np.arange(n) + rng.uniform(0, 6)) for n in (20, 18)]
    image = 100 * labels + 100 * np.outer(*waves)[:, :, None] + rng.normal(0, 5, labels.shape)
    folder = root / f"subject{number:03d}"
    folder.mkdir(parents=True)
    for name, voxels in (("thigh", image.astype(np.int16)), ("thigh_labels", labels)):
        nib.save(nib.Nifti1Image(voxels[:, :, ::-1], AFFINE), folder / f"{name}.nii.gz")


@pytest.fixture
def arguments(tmp_path) -> dict:
    """Arguments of `prepare`: three subjects that show all tasks, and one that shows one."""
    for number in (1, 2, 3):
        write_subject(tmp_path / "raw", number, WHOLE)
    write_subject(tmp_path / "raw", 4, LEGS)
    source = {
        "root": tmp_path / "raw",
        "layout": "oai_thigh",
        "layout_options": {},
        "labels": [[number, name] for number, name in enumerate(NAMES, start=1)],
        "sides": {},
        "side_check": [],
        "unit_spacing": "reject",
        "modality": "MR",
        "other_modality": {},
    }
    return {
        "sources": {"bodies": source},
        "structures": {name: [name] for name in NAMES},
        "orientation": "canonical",
        "grid": {"spacing_mm": [None, None, None], "size": [None, 20, 22], "fit": False},
        "intensity": {"MR": {"kind": "zscore"}},
        "split": {"seed": 1, "train": 2, "validation": 1, "test": 1},
        "tasks": TASKS,
        "transition": {"margin": 1, "least": 1},
    }


@pytest.fixture
def store(tmp_path) -> Path:
    return tmp_path / "bodies-0000000001"


def found(planes: list[str], task: str, margin: int = 0, least: int = 1, declared=NAMES):
    """What `find_part` says of slices that show these structures, by their first letters."""
    ids = np.zeros((len(planes), 2, 3), np.uint8)
    for z, shown in enumerate(planes):
        for column, letter in enumerate(shown):
            ids[z, 1, column] = "BLl".index(letter) + 1
    settings = {
        "structures": [[name, [name]] for name in NAMES],
        "tasks": {"pelvis": ["bone"], "trunk": ["liver", "lung"]},
        "transition": {"margin": margin, "least": least},
    }
    return find_part(Labelled(ids, list(declared), []), task, settings)


def test_slices_of_a_task_are_those_that_show_it_and_no_other():
    planes = ["", "B", "B", "BL", "Ll", "l", "L", "Bl", ""]
    assert found(planes, "pelvis") == (slice(1, 3), "")
    assert found(planes, "trunk") == (slice(4, 7), "")


def test_the_longest_run_is_taken_and_of_equal_ones_the_lowest():
    assert found(["B", "L", "B", "B", "L", "B"], "pelvis")[0] == slice(2, 4)
    assert found(["B", "B", "L", "B", "B"], "pelvis")[0] == slice(0, 2)


def test_slices_that_show_nothing_may_lie_between_structures_and_not_around_them():
    assert found(["", "B", "", "", "B", "", "L", "B", ""], "pelvis")[0] == slice(1, 5)


def test_a_margin_is_taken_off_both_ends():
    assert found(["B"] * 7, "pelvis", margin=2) == (slice(2, 5), "")
    assert found(["B"] * 5, "pelvis", margin=2) == (slice(2, 3), "")


@pytest.mark.parametrize(("slices", "least"), [(4, 1), (6, 3), (0, 1)])
def test_too_few_slices_are_no_case(slices, least):
    planes, reason = found(["B"] * slices + ["L"], "pelvis", margin=2, least=least)
    assert planes == slice(0)
    assert reason.startswith(f"{slices} slices show it and no other task; it takes {least} beside")


def test_what_nobody_drew_is_no_case():
    assert found(["B"] * 9, "pelvis", declared=["liver"])[1] == "nobody has drawn its structures"
    assert find_part(None, "pelvis", {"tasks": TASKS})[1] == "nobody has drawn its structures"


@given(st.lists(st.sampled_from(["", "B", "L", "l", "BL", "Ll"]), max_size=30), st.integers(0, 3))
def test_a_part_shows_its_task_alone_and_nothing_longer_does(planes, margin):
    part, reason = found(["", *planes], "trunk", margin)
    words = "".join(" " if "B" in shown else "x" if shown else "-" for shown in ["", *planes])
    longest = max((len(run.strip("-")) for run in words.split()), default=0)
    assert bool(reason) == (longest <= 2 * margin)
    if not reason:
        run = words[part.start - margin : part.stop + margin]
        assert " " not in run
        assert (run[0], run[-1]) == ("x", "x")
        assert part.stop - part.start == longest - 2 * margin


def test_a_scan_is_a_case_of_every_task_that_it_shows(store, arguments, caplog):
    with caplog.at_level(logging.INFO):
        table = prepare(store, **arguments)
    assert list(read_cases(store).columns) == COLUMNS
    whole = {f"subject00{n}_{task}" for n in (1, 2, 3) for task in TASKS}
    assert set(table.scan) == whole | {"subject004_pelvis"}
    assert (table.scan == table.case + "_" + table.task).all()
    for row in table.itertuples():
        assert row.declared == row.present == TASKS[row.task][0]
    for task in ("abdomen", "chest"):
        assert f"bodies/subject004_{task} is left out: 0 slices" in caplog.text
        record = PreparedScan(store / "bodies" / f"subject004_{task}").record
        assert "0 slices show it" in record["left_out"]
    legs = table.set_index("scan").loc["subject004_pelvis"]
    assert (legs.slices, legs.fov_z) == (15, 45)


def test_all_tasks_of_a_patient_are_on_one_side_of_the_split(store, arguments):
    table = prepare(store, **arguments)
    assert table.groupby("case").split.nunique().eq(1).all()
    assert table.groupby("case").half.nunique(dropna=False).eq(1).all()
    assert table.groupby("case").patient.nunique().eq(1).all()


@pytest.mark.parametrize("task", TASKS)
def test_a_part_is_the_slices_of_its_task(store, arguments, task):
    prepare(store, **arguments)
    arguments |= {"tasks": None, "transition": None}
    prepare(store.with_name("whole-0000000001"), **arguments)
    whole = PreparedScan(store.with_name("whole-0000000001") / "bodies" / "subject002")
    part = PreparedScan(store / "bodies" / f"subject002_{task}")
    where = ALONE[task]
    np.testing.assert_array_equal(part.image, whole.image[where])
    np.testing.assert_array_equal(part.labels, whole.labels[where])
    np.testing.assert_array_equal(part.reference, whole.reference[where])
    assert set(np.unique(part.reference)) == {0, NAMES.index(TASKS[task][0]) + 1}
    assert (part.record["task"], part.record["planes"]) == (task, [where.start, where.stop])
    assert part.geometry.native_shape == part.reference.shape


@pytest.mark.parametrize("task", TASKS)
def test_a_prediction_of_a_part_lies_where_the_part_lies_in_its_scan(
    store, arguments, tmp_path, task
):
    prepare(store, **arguments)
    scan = PreparedScan(store / "bodies" / f"subject002_{task}")
    scoring._write(tmp_path / "prediction.nii.gz", scan.reference, scan)
    prediction = nib.load(tmp_path / "prediction.nii.gz")
    drawn = nib.load(tmp_path / "raw/subject002/thigh_labels.nii.gz")
    assert nib.aff2axcodes(prediction.affine) == nib.aff2axcodes(AFFINE)
    # Voxel of the prediction -> world -> voxel of the file that it was cut out of.
    to_file = np.linalg.inv(drawn.affine) @ prediction.affine
    voxels = np.indices(prediction.shape).reshape(3, -1)
    there = to_file[:3, :3] @ voxels + to_file[:3, 3:]
    assert np.abs(there - there.round()).max() < 1e-6
    there = there.round().astype(int)
    np.testing.assert_array_equal(
        np.asarray(prediction.dataobj)[tuple(voxels)], np.asarray(drawn.dataobj)[tuple(there)]
    )
    upwards = 23 - there[2]
    assert (upwards.min(), upwards.max() + 1) == (ALONE[task].start, ALONE[task].stop)


def test_without_tasks_nothing_is_cut_and_nothing_said(store, arguments):
    arguments |= {"tasks": None, "transition": None}
    table = prepare(store, **arguments)
    assert table.task.eq("").all()
    assert table.scan.tolist() == [f"subject00{n}" for n in (1, 2, 3, 4)]
    record = PreparedScan(store / "bodies" / "subject001").record
    assert not {"task", "planes", "left_out"} & record.keys()
    assert not {"task", "tasks", "transition"} & record["settings"].keys()


def test_parts_are_not_done_again(store, arguments):
    prepare(store, **arguments)
    before = {path: path.stat().st_mtime_ns for path in (store / "bodies").rglob("*.*")}
    prepare(store, **arguments)
    assert {path: path.stat().st_mtime_ns for path in (store / "bodies").rglob("*.*")} == before
    arguments["transition"] = {"margin": 0, "least": 1}
    assert prepare(store, **arguments).slices.min() == 6


def test_a_lost_part_is_done_again(store, arguments):
    table = prepare(store, **arguments)
    (store / "bodies" / "subject001_chest" / "image.npy").unlink()
    (store / "bodies" / "subject004_chest" / "scan.json").write_text("{")
    assert prepare(store, **arguments).equals(table)
    assert (store / "bodies" / "subject001_chest" / "image.npy").exists()


def test_a_new_split_links_the_parts_of_the_old_one(store, arguments):
    prepare(store, **arguments)
    arguments["split"]["seed"] = 2
    other = store.with_name("bodies-0000000002")
    prepare(other, **arguments)
    for scan in ("subject001_chest/image.npy", "subject004_chest/scan.json"):
        assert (other / "bodies" / scan).samefile(store / "bodies" / scan)


def test_a_twin_leaves_training_with_all_its_parts(store, arguments, tmp_path):
    tested = prepare(store, **arguments).query("split == 'test'").case.iloc[0]
    number = int(tested[-3:])
    twin = next(n for n in (1, 2, 3) if n != number)
    for file in (tmp_path / "raw" / f"subject{number:03d}").iterdir():
        (tmp_path / "raw" / f"subject{twin:03d}" / file.name).write_bytes(file.read_bytes())
    table = prepare(store, **arguments)
    assert f"subject{twin:03d}" not in set(table.case)
    assert tested in set(table.case)


def test_a_data_set_is_cut_into_the_tasks_that_it_labels(store, arguments):
    source = arguments["sources"]["bodies"]
    legs = [[1, "bone"], [2, "background"], [3, "background"]]
    arguments["sources"]["legs"] = source | {"labels": legs}
    arguments["split"]["twins"] = "keep"
    table = prepare(store, **arguments)
    assert set(table[table.dataset == "legs"].task) == {"pelvis"}
    assert set(table[table.dataset == "bodies"].task) == set(TASKS)
    assert not list((store / "legs").glob("*_chest"))
    # There the liver is not labelled, and nothing else says where the pelvis ends.
    assert PreparedScan(store / "legs" / "subject001_pelvis").record["planes"] == [1, 7]


def test_a_task_that_no_scan_shows_is_told(store, arguments):
    arguments["transition"]["least"] = 6
    with pytest.raises(InputError, match=r"no scan is a case of \['abdomen'\].*`transition`"):
        prepare(store, **arguments)
    assert not (store / "cases.csv").exists()


@pytest.mark.parametrize(
    ("known", "others"), [("declared", {0, 2, 3}), ("present", {0, 2, 3}), ("all", {0})]
)
def test_structures_of_other_tasks_are_unknown_unless_all_are_known(
    store, arguments, tmp_path, known, others
):
    prepare(store, **arguments)
    complete = {"kind": "complete"}
    annotate(tmp_path / "a", store, NAMES, {1: complete, 2: complete}, known)
    cases = load_cases(store, tmp_path / "a", "train", len(NAMES) + 1)
    assert {case.task for case in cases} >= {"pelvis"}
    for case in cases:
        assert case.scan == f"{case.case}_{case.task}"
        if case.task == "pelvis":
            said = [set(np.flatnonzero(case.sets[code]).tolist()) for code in np.unique(case.codes)]
            assert said == [others, {1}]
            # What the data set did not draw stays unknown to whoever watches a run.
            assert case.undeclared == (2, 3)


def test_only_the_tasks_asked_for_are_annotated(tmp_path, store, arguments):
    prepare(store, **arguments)
    complete = {"kind": "complete"}
    halves = {1: complete, 2: complete}
    every = annotate(tmp_path / "a", store, NAMES, halves)
    some = annotate(tmp_path / "b", store, NAMES, halves, tasks=["liver", "pelvis"])
    assert set(every["task"]) > set(some["task"]) == {"pelvis"}
    assert len(some) == (every["task"] == "pelvis").sum()


@pytest.fixture(scope="module")
def anatomy(tmp_path_factory) -> SimpleNamespace:
    """The cohort of Anand et al. (2024) on small phantoms: its table and its configuration."""
    root = tmp_path_factory.mktemp("anatomy")
    cohort = load_model(CONFIG / "cohorts/anatomy.yaml", CohortConfig)
    sources = {}
    for name in cohort.datasets:
        dataset = load_model(CONFIG / f"datasets/{name}.yaml", DatasetConfig)
        options = dataset.phantom.options | {"size": 40, "slices": 20}
        phantoms.load(dataset.phantom.writer).write(root / name, 3, 1, **options)
        labels = [[raw, structure] for raw, structure in dataset.labels.items()]
        content = dataset.model_dump(mode="json")
        sources[name] = content | {"root": root / name, "labels": labels, "exclude": {}}
    table = prepare(
        root / "anatomy-0000000001",
        sources,
        cohort.parts(),
        cohort.orientation,
        {"spacing_mm": [None, 12.0, 12.0], "size": [None, 32, 32], "fit": False},
        {key: value.model_dump(mode="json") for key, value in cohort.intensity.items()},
        {"seed": 1, "train": 1, "validation": 1, "test": 1},
        tasks=cohort.tasks,
        transition=cohort.transition.model_dump(),
    )
    return SimpleNamespace(table=table, cohort=cohort)


def test_the_phantoms_show_every_task_of_anand_2024(anatomy):
    tasks = anatomy.table.groupby("dataset").task.unique()
    assert set(tasks["totalseg_v1"]) == {"pelvis", "abdomen", "chest"}
    assert set(tasks["hanseg"]) == {"head"}
    for row in anatomy.table.itertuples():
        own = set(anatomy.cohort.tasks[row.task])
        assert set(row.present.split(";")) <= own
        assert set(row.declared.split(";")) <= own
