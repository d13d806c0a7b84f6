"""The splits in config/splits: counts of the papers, seeded ones made again, names of cases."""

import csv
import re
from collections import Counter
from pathlib import Path

import pytest

from piecemeal.dataset_specs import DatasetConfig
from piecemeal.datasets.splits import COLUMNS, EVERY_OTHER, LEAVE_OUT, read_split, split_cases
from piecemeal.validation import load_model

FOLDER = Path(__file__).resolve().parent.parent / "config"
DATASETS = {p.stem: load_model(p, DatasetConfig) for p in sorted(FOLDER.glob("datasets/*.yaml"))}
SPLITS = {p.stem: p for p in sorted(FOLDER.glob("splits/*.csv"))}

# data set -> what its layout calls a case.
CASE = {
    "acdc": r"patient\d{3}",
    "totalseg_v1": r"s\d{4}",
    "hanseg": r"case_\d\d",
    "msd03": r"liver_\d+",
    "msd04": r"hippocampus_\d{3}",
    "msd09": r"spleen_\d+",
    "nihpancreas": r"PANCREAS_\d{4}",
    "openkbp": r"openkbp_\d{3}",
}


def case_name(dataset: str) -> str:
    return CASE.get(dataset) or DATASETS[dataset].layout_options["case"]


def rows_of(split: str) -> list[dict[str, str]]:
    with SPLITS[split].open(newline="") as file:
        return list(csv.DictReader(file))


def parts_of(split: str, dataset: str) -> dict[str, set[str]]:
    """train, validation, test, leave out and * -> cases of the data set."""
    found = {name: set() for name in ("train", "validation", "test", LEAVE_OUT, EVERY_OTHER)}
    for row in rows_of(split):
        if row["dataset"] == dataset:
            found[EVERY_OTHER if row["case"] == EVERY_OTHER else row["split"]].add(
                row["split"] if row["case"] == EVERY_OTHER else row["case"]
            )
    return found


def counts_of(split: str, dataset: str) -> dict[str, int]:
    return {name: len(cases) for name, cases in parts_of(split, dataset).items()}


@pytest.mark.parametrize("name", [name for name, config in DATASETS.items() if config.exclude])
def test_what_is_excluded_is_named_as_the_layout_names_it(name):
    for case, reason in DATASETS[name].exclude.items():
        assert re.fullmatch(case_name(name), case), case
        assert reason.strip()


@pytest.mark.parametrize("name", SPLITS)
def test_a_file_of_splits_can_be_read_and_names_cases_as_their_layouts_do(name):
    rows = rows_of(name)
    assert list(rows[0]) == COLUMNS
    for dataset in {row["dataset"] for row in rows}:
        assert dataset in DATASETS
        cases = [row["case"] for row in rows if row["dataset"] == dataset]
        listed = [case for case in cases if case != EVERY_OTHER]
        assert len(cases) == len(listed) + 1
        for case in listed:
            assert re.fullmatch(case_name(dataset), case), case
        wanted = [row for row in rows if row["dataset"] == dataset and row["case"] in listed]
        kept = [row["case"] for row in wanted if row["split"] != LEAVE_OUT]
        assert sorted(read_split(SPLITS[name], dataset, listed).case) == sorted(kept)


@pytest.mark.parametrize(
    ("dataset", "train", "test", "left_out", "others"),
    [
        # One of the 107 of AbdomenCT-1K is as likely as another to be one of the seven that the
        # authors removed; the six MR of AMOS that they held out are what is left of 60.
        ("abdomenct1k", 893, 107, 0, LEAVE_OUT),
        ("amos22", 270 + 54, 30, 0, "test"),
        ("btcv", 27, 3, 0, LEAVE_OUT),
        ("flare22", 45, 5, 0, LEAVE_OUT),
        ("nihpancreas", 73 - 2, 9, 2, LEAVE_OUT),
        ("totalseg_v1", 1081, 122, 0, LEAVE_OUT),
        ("urogram", 109, 13, 0, LEAVE_OUT),
        ("word", 100, 20, 0, LEAVE_OUT),
    ],
)
def test_the_split_of_chen_2024_has_the_numbers_of_the_paper(
    dataset, train, test, left_out, others
):
    assert counts_of("chen2024", dataset) == {
        **{"train": train, "validation": 0, "test": test},
        **{LEAVE_OUT: left_out, EVERY_OTHER: 1},
    }
    assert parts_of("chen2024", dataset)[EVERY_OTHER] == {others}


def test_the_split_of_chen_2024_adds_up_to_its_2960_scans():
    rows = [row for row in rows_of("chen2024") if row["case"] != EVERY_OTHER]
    corrupt, unlisted_mr = 7, 6
    assert len(rows) - corrupt + unlisted_mr == 2960
    withdrawn = Counter(row["split"] for row in rows)[LEAVE_OUT]
    assert Counter(row["split"] for row in rows)["train"] + withdrawn == 2652


def test_the_split_of_chen_2024_has_its_amos_mr_above_500():
    parts = parts_of("chen2024", "amos22")
    expression = DATASETS["amos22"].other_modality["MR"]
    assert sum(bool(re.search(expression, case)) for case in parts["train"]) == 54
    assert not any(re.search(expression, case) for case in parts["test"])


def numbered(pattern: str, *numbers: int) -> list[str]:
    return [pattern.format(number) for number in numbers]


LITS = numbered("volume-{}", *range(28), *range(48, 131))
MSD03 = numbered("liver_{}", *range(131))
SPLEENS = (
    *(2, 3, 6, 8, 9, 10, 12, 13, 14, *range(16, 23), *range(24, 30), 31, 32, 33, 38, 40, 41),
    *(*range(44, 48), 49, 52, 53, 56, *range(59, 64)),
)


@pytest.mark.parametrize(
    ("file", "dataset", "cases", "seed", "sizes"),
    [
        ("kemnitz2018", "acdc", numbered("patient{:03d}", *range(1, 101)), 2018, (60, 15, 25)),
        ("moseley2023", "lits", LITS, 2023, (10, 2, 5)),
        ("moseley2023", "msd03", MSD03, 2023, (10, 2, 5)),
        ("li2023", "lits", LITS, 2023, (78, 11, 22)),
        ("li2023", "msd03", MSD03, 2023, (92, 13, 26)),
        ("li2023", "kits19", numbered("case_{:05d}", *range(210)), 2023, (147, 21, 42)),
        ("li2023", "msd09", numbered("spleen_{}", *SPLEENS), 2023, (29, 4, 8)),
        ("anand2024", "hanseg", numbered("case_{:02d}", *range(1, 43)), 2024, (36, 0, 6)),
        ("chen2024", "urogram", numbered("urogram_{:03d}", *range(1, 123)), 2024, (109, 0, 13)),
        ("arena", "openkbp", None, 2024, (90, 30, 30)),
    ],
)
def test_a_seeded_split_can_be_made_again(file, dataset, cases, seed, sizes):
    parts = parts_of(file, dataset)
    cases = cases or sorted(set().union(*(parts[name] for name in ("train", "validation", "test"))))
    again = split_cases(cases, seed, *sizes)
    for name in ("train", "validation", "test"):
        assert parts[name] == set(again.case[again.split == name])
    assert parts[EVERY_OTHER] == {LEAVE_OUT}


def test_excluded_scans_of_lits_are_in_no_split():
    for file in ("li2023", "moseley2023"):
        parts = parts_of(file, "lits")
        assert not set().union(*parts.values()) & set(DATASETS["lits"].exclude)


def test_both_volumes_of_a_subject_of_the_hippocampus_are_in_one_set():
    parts = parts_of("arena", "msd04")
    subject = {
        case: f"subject{(int(case[-3:]) + 1) // 2:03d}"
        for name in ("train", "validation", "test")
        for case in parts[name]
    }
    assert subject["hippocampus_003"] == subject["hippocampus_004"] == "subject002"
    assert len(subject) == 195
    again = split_cases(sorted(set(subject.values())), 2024, 89, 30, 30).set_index("case").split
    for name in ("train", "validation", "test"):
        assert parts[name] == {case for case, who in subject.items() if again[who] == name}


def test_official_splits_have_their_published_sizes():
    assert counts_of("official", "acdc")["test"] == 50
    assert counts_of("official", "word") == {
        **{"train": 0, "validation": 20, "test": 30},
        **{LEAVE_OUT: 0, EVERY_OTHER: 1},
    }
    for dataset in ("acdc", "word"):
        assert parts_of("official", dataset)[EVERY_OTHER] == {"train"}
    word = parts_of("chen2024", "word")
    assert word["test"] == parts_of("official", "word")["validation"]
    assert not word["train"] & parts_of("official", "word")["test"]
