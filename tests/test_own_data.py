"""The files of docs/own-data.md, as they stand there, plan what the page promises."""

import re
import shutil
from pathlib import Path

import pytest

from piecemeal.plan import Planner

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs/own-data.md").read_text()
FILE = r"^`(config/\S+)`[^\n]*\n\n```\w+\n(.+?)```"
FILES = dict(re.findall(FILE, PAGE, re.DOTALL | re.MULTILINE))
ARMS = ["naive", "marginal", "exclusion", "multitalent", "individual", "dodnet"]


@pytest.fixture
def planner(tmp_path) -> Planner:
    """Of a copy of the configuration with the page's files."""
    ignored = shutil.ignore_patterns("local.yaml", "site.yaml")
    shutil.copytree(ROOT / "config", tmp_path / "config", ignore=ignored)
    for name, content in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        assert not path.exists()
        path.write_text(content)
    recipes = ROOT / "config/papers/arena/recipes.yaml"
    shutil.copy(recipes, tmp_path / "config/papers/mine")
    return Planner(tmp_path)


def test_every_file_of_the_page_is_found():
    assert len(FILES) == 8


def test_the_page_plans_its_arms(planner):
    plan = planner.plan(planner.main.scale)
    assert plan.scale == "mine"
    assert list(plan.papers) == ["mine"]
    assert [run["arm"] for run in plan.papers["mine"]] == [a for a in ARMS for _ in range(3)]
    assert {plan.raw[name].settings["path"] for name in plan.raw} == {
        "/data/kidneys",
        "/data/livers",
    }


def test_the_page_has_its_table(planner):
    (table,) = planner.paper("mine").tables
    assert [arm.name for arm in table.arms] == ARMS
