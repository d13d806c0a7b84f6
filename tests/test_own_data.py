"""The files of docs/own-data.md, as they stand there, plan what the page promises."""

import re
import shutil
from pathlib import Path

import pytest

from piecemeal.datasets.local_folders import check_local_folders
from piecemeal.errors import InputError
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


def refused(planner, old: str, new: str) -> str:
    """The message where `old` in the file of the livers is written as `new`."""
    path = planner.folder / "datasets/my_livers.yaml"
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    with pytest.raises(InputError) as caught:
        planner.plan("mine")
    message = str(caught.value)
    assert all(line.startswith(f"{path}: key 'layout_options.") for line in message.split("\n"))
    return message.replace(f"{path}: ", "")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("images:", "image:", "key 'layout_options.image': unknown key (did you mean 'images'?)"),
        (
            '["images/*.nii.gz"]',
            '"images/*.nii.gz"',
            "key 'layout_options.images': Input should be a valid list, got 'images/*.nii.gz'",
        ),
        ("'(L\\d+)'", "'L\\d+'", "key 'layout_options.case': Value error, expected a regular expr"),
        (
            "labels/{case}.nii.gz",
            "labels/*.nii.gz",
            "key 'layout_options.labels.0': Value error, expected a pattern with {case}",
        ),
    ],
)
def test_a_mistake_in_what_the_layout_is_told_stops_the_plan(planner, old, new, expected):
    assert expected in refused(planner, old, new)


def test_a_folder_that_is_missing_is_found_by_who_is_about_to_fetch(planner):
    """Not by every plan: `piecemeal status` and other machines need not see the data."""
    plan = planner.plan("mine")
    with pytest.raises(InputError) as caught:
        check_local_folders(plan)
    assert str(caught.value) == (
        "/data/kidneys: there is no such folder, expected data set my_kidneys with "
        "images/*.nii.gz in it; set its path in config/local.yaml: `local: {my_kidneys: /path}`"
    )


def test_only_a_copy_of_published_data_may_be_a_part_of_them(planner):
    def partial(plan, cohort):
        datasets = plan.prepared[cohort].settings["datasets"]
        return {name: settings["partial"] for name, settings in datasets.items()}

    expected = {"my_kidneys": False, "my_livers": False}
    assert partial(planner.plan("mine"), "my_abdomen") == expected
    livers = planner.folder / "datasets/my_livers.yaml"
    published = "access: by hand\narchives: [{name: a.zip, unpack: zip, by_hand: ask}]"
    published += "\nphantom: {writer: lits}"
    livers.write_text(livers.read_text().replace("access: own", published))
    again = Planner(planner.folder.parent).plan("mine")
    assert partial(again, "my_abdomen") == {"my_kidneys": False, "my_livers": True}
