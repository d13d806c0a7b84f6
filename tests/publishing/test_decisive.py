"""What decides a result changes with it, and with nothing else."""

import shutil
from pathlib import Path

import pytest

from piecemeal.plan import Planner
from piecemeal.publishing.decisive import decides

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def project(tmp_path, monkeypatch):
    ignored = shutil.ignore_patterns("local.yaml")
    shutil.copytree(ROOT / "config", tmp_path / "config", ignore=ignored)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def decisive() -> dict:
    planner = Planner(overrides={"papers": ["kemnitz2018"]})
    return decides(planner, planner.plan("smoke"))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def changed(before: dict, after: dict) -> set[str]:
    return {key for key in before if before[key] != after[key]}


def test_a_learning_rate_changes_its_method_and_its_runs(project):
    before = decisive()
    edit(project / "config/methods/slac.yaml", "learning_rate: 0.01", "learning_rate: 0.02")
    after = decisive()
    assert changed(before, after) == {"methods", "runs", "published"}
    assert changed(before["methods"], after["methods"]) == {"slac"}
    runs = changed(before["runs"], after["runs"])
    assert runs == {"cardiac/half_merged/slac/seed0", "thigh/half_merged/slac/seed0"}


def test_a_caption_changes_its_table_and_what_shows_it(project):
    before = decisive()
    tables = project / "config/papers/kemnitz2018/tables.yaml"
    edit(tables, "Thigh and cardiac MR", "MR of thigh and heart")
    after = decisive()
    assert changed(before, after) == {"published"}
    assert changed(before["published"], after["published"]) == {"tables", "figures", "report"}
    here, there = (found["published"]["tables"] for found in (before, after))
    assert changed(here, there) == {"kemnitz2018_table2"}
    here, there = (found["published"]["figures"] for found in (before, after))
    assert changed(here, there) == {"kemnitz2018_case_scores"}


def test_a_licence_changes_the_tables_of_licences(project):
    before = decisive()
    edit(project / "config/datasets/acdc.yaml", "licence: CC BY-NC-SA 4.0", "licence: CC0")
    after = decisive()
    assert changed(before, after) == {"data"}
    assert changed(before["data"], after["data"]) == {"licences"}
