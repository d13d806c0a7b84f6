import shutil

import pytest

from piecemeal.errors import InputError
from piecemeal.plan import Planner


@pytest.fixture
def root(tmp_path, pytestconfig):
    """A copy of the configuration, to be spoilt."""
    shutil.copytree(pytestconfig.rootpath / "config", tmp_path / "config")
    (tmp_path / "config" / "local.yaml").unlink(missing_ok=True)
    return tmp_path


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (
            "kemnitz2018/tables.yaml",
            "structure: quadriceps",
            "structure: quads",
            r"tables.yaml: table 'table2', column 'quadriceps' of half 'thigh', asks for structure "
            r"'quads', which is not of cohort 'thigh'; its structures are: .*quadriceps",
        ),
        (
            "chen2024/tables.yaml",
            "datasets: [amos22]",
            "datasets: [amos]",
            r"tables.yaml: .*data set 'amos', .*'abdominal'; its datasets are: .*amos22",
        ),
        (
            "chen2024/claims.yaml",
            "datasets: [amos22]",
            "datasets: [amos]",
            r"claims.yaml: claim 'ours_\w+' asks for data set 'amos', .*'abdominal'",
        ),
        (
            "chen2024/claims.yaml",
            "modality: MR",
            "modality: mr",
            r"claims.yaml: key 'claims.\d+.modality': .*'CT' or 'MR'",
        ),
        (
            "kemnitz2018/claims.yaml",
            "structures: [",
            "structures: [nowhere, ",
            r"claims.yaml: claim '\w+' asks for structure 'nowhere', which is not of cohort",
        ),
    ],
)
def test_what_a_cohort_does_not_have_is_found_before_anything_runs(root, file, old, new, message):
    path = root / "config" / "papers" / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        Planner(root).plan("smoke")


def test_a_figure_of_tasks_is_of_cohorts_that_have_some(root):
    path = root / "config" / "papers" / "kemnitz2018" / "figures.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("kind: qualitative", "kind: qualitative\n    each_task: true", 1))
    with pytest.raises(InputError, match=r"'figure2' asks for task 'any', .*its tasks are: none"):
        Planner(root).plan("smoke")


def test_a_task_of_a_figure_is_one_of_the_cohort(root):
    path = root / "config" / "papers" / "anand2024" / "figures.yaml"
    text = path.read_text(encoding="utf-8")
    assert "tasks: [" in text
    path.write_text(text.replace("tasks: [", "tasks: [head, ", 1), encoding="utf-8")
    with pytest.raises(InputError, match=r"figures.yaml: figure '\w+' asks for task 'head'"):
        Planner(root).plan("smoke")
