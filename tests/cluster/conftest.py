"""Copies of the project whose jobs run on a SLURM that this session starts and ends.

Not among the plain tests: `make test-cluster`.
"""

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # tests are no package

from projects import CATCHABLE, COHORTS, LEFT_OUT, LONG, Project, Run, copy_project
from toy_slurm import ToySlurm, UnavailableError


@pytest.fixture(scope="session")
def slurm(tmp_path_factory):
    """A SLURM with nothing in its queue; these tests are skipped where none can be started."""
    toy = ToySlurm(tmp_path_factory.mktemp("slurm"))
    try:
        toy.start()
    except UnavailableError as error:
        pytest.skip(f"no SLURM: {error}")
    yield toy
    toy.stop()


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory):
    """Data, and runs trained without SLURM and without a break, for others to compare with."""
    project = copy_project(tmp_path_factory.mktemp("cluster") / "uninterrupted", ["kemnitz2018"])

    def longer(scale):
        scale["cohorts"] = {name: scale["cohorts"][name] for name in COHORTS}
        for name, how in COHORTS.items():
            scale["cohorts"][name]["training"] = LONG | how

    project.edit_yaml("config/scales/smoke.yaml", longer)
    project.finish(project.start("--cores", "2", "data"))
    runs = [project.run(f"{cohort}/{name}") for cohort in COHORTS for name in CATCHABLE]
    project.finish(project.start("--cores", "2", *(run.weights for run in runs)))
    yield project
    project.close()


@pytest.fixture(scope="session")
def copy_without_runs(uninterrupted, tmp_path_factory):
    """Makes copies that have the data and no results."""
    made = []

    def make() -> Project:
        target = tmp_path_factory.mktemp("cluster") / "project"
        ignored = shutil.ignore_patterns("runs", "checkpoints", "logs")
        shutil.copytree(uninterrupted.folder, target, symlinks=True, ignore=ignored)
        made.append(Project(target))
        return made[-1]

    yield make
    for project in made:
        project.close()


@pytest.fixture
def project(slurm, copy_without_runs):
    """A copy that is used by one test; its jobs end with it."""
    project = copy_without_runs()
    yield project
    project.close()
    slurm.cancel_all()


@pytest.fixture
def same_weights(uninterrupted):
    """Says whether a run ended with the very weights of the one that was never interrupted."""

    def compare(run: Run) -> bool:
        expected = uninterrupted.folder / run.weights
        return (run.folder / "weights.pt").read_bytes() == expected.read_bytes()

    return compare


@pytest.fixture(scope="session")
def published(slurm, tmp_path_factory):
    """A project made from data to report by one command: slices of one cohort, volumes of another.

    One arm on volumes, as whole runs of this scale would take too long here.
    """
    folder = tmp_path_factory.mktemp("cluster") / "published"
    project = copy_project(folder, ["kemnitz2018", "li2023"])

    def fewer(scale):
        cohorts = scale["cohorts"]
        cohorts["liver_kidney_spleen"]["leave_out"] = LEFT_OUT
        scale["cohorts"] = {key: cohorts[key] for key in ("cardiac", "liver_kidney_spleen")}

    project.edit_yaml("config/scales/smoke.yaml", fewer)
    project.finish(project.on_slurm())
    yield project
    project.close()
