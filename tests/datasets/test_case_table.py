"""Tables of data that are not as they were written are refused, and made again by what is said."""

import json
import shutil
import subprocess

import pytest

from piecemeal.datasets.annotate import annotate
from piecemeal.datasets.case_table import NAME, cases_file, write_cases
from piecemeal.datasets.store import read_cases, read_rows, read_sources
from piecemeal.errors import InputError
from piecemeal.training.cases import load_cases

CLASSES = 3


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sets.json").write_text("{}")
    (tmp_path / "scan").mkdir()
    (tmp_path / "scan" / "scan.json").write_text("{}")
    write_cases(tmp_path, "dataset,scan\nacdc,1\nacdc,2\n", ["sets.json"])
    return tmp_path


def test_what_was_written_is_accepted(folder):
    assert cases_file(folder).read_text() == "dataset,scan\nacdc,1\nacdc,2\n"
    assert [row["scan"] for row in read_rows(folder)] == ["1", "2"]


def test_sha256sum_reads_the_checksums(folder):
    done = subprocess.run(["sha256sum", "-c", NAME], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout == "sets.json: OK\ncases.csv: OK\n"


def cut_at_a_line(path):
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def empty(path):
    path.write_text("")


def one_more(path):
    path.write_text(path.read_text() + " ")


@pytest.mark.parametrize("damage", [cut_at_a_line, empty, one_more, lambda path: path.unlink()])
@pytest.mark.parametrize("name", ["cases.csv", "sets.json", NAME])
def test_damage_names_the_file_and_what_makes_it_again(folder, name, damage):
    damage(folder / name)
    gone = name == "cases.csv" and not (folder / name).exists()
    with pytest.raises(InputError) as caught:
        cases_file(folder)
    assert str(caught.value).startswith(f"{folder / name}: ")
    remedy = "run it again" if gone else f"delete {folder / 'cases.csv'} and start again"
    assert str(caught.value).endswith(remedy)
    (folder / "sets.json").write_text("{}")
    write_cases(folder, "dataset,scan\nacdc,1\nacdc,2\n", ["sets.json"])  # as the job would
    assert cases_file(folder).exists()


def test_a_cut_annotation_is_not_trained_on(cohort, tmp_path):
    annotated = tmp_path / "annotated"
    shutil.copytree(cohort.annotated["complete"], annotated)
    assert len(load_cases(cohort.prepared, annotated, "train", CLASSES)) == 4
    cut_at_a_line(annotated / "cases.csv")
    with pytest.raises(InputError, match=r"annotated/cases\.csv: is damaged"):
        load_cases(cohort.prepared, annotated, "train", CLASSES)


def test_cut_scans_are_neither_annotated_nor_read(cohort, tmp_path):
    prepared = tmp_path / "prepared"
    shutil.copytree(cohort.prepared, prepared)
    cut_at_a_line(prepared / "cases.csv")
    halves = {1: {"kind": "complete"}, 2: {"kind": "complete"}}
    for use in (
        lambda: annotate(tmp_path / "a", prepared, ["left", "right"], halves),
        lambda: read_cases(prepared),
        lambda: read_sources(prepared),
    ):
        with pytest.raises(InputError, match=r"prepared/cases\.csv: is damaged"):
            use()


def test_sources_belong_to_the_tables(cohort, tmp_path):
    prepared = tmp_path / "prepared"
    shutil.copytree(cohort.prepared, prepared)
    assert read_sources(prepared)["blocks"]["source"] == "local"
    (prepared / "sources.json").write_text(json.dumps({}))
    with pytest.raises(InputError, match=r"sources\.json: is damaged.*delete .*cases\.csv"):
        read_cases(prepared)
