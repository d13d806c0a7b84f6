"""Copies of the project whose jobs run on a SLURM that is started and ended for these tests.

Not among the plain tests: `make test-cluster`.
"""

import os
import shutil
import sys
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))  # tests are no package

from projects import COHORTS, COMPARED, FEW_AT_A_TIME, LONG, SITE, TOO_LITTLE, Project, Run
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
def project_of(copy_checkout):
    """Makes a fresh copy that knows this cluster; some rules may be given other resources."""

    def make(target: Path, resources: dict | None = None, **changes) -> Project:
        copy_checkout(target, **changes)
        site = SITE | {"resources": SITE["resources"] | (resources or {})}
        (target / "config/site.yaml").write_text(yaml.safe_dump(site, sort_keys=False))
        return Project(target)

    return make


@pytest.fixture(scope="session")
def uninterrupted(project_of, tmp_path_factory):
    """Data, and runs trained without SLURM and without a break, for others to compare with."""

    def longer(scale):
        scale["cohorts"] = {name: scale["cohorts"][name] for name in COHORTS}
        for name, how in COHORTS.items():
            scale["cohorts"][name]["training"] = LONG | how

    folder = tmp_path_factory.mktemp("cluster") / "uninterrupted"
    with project_of(folder, TOO_LITTLE, papers=["kemnitz2018"]) as project:
        project.edit_yaml("config/scales/smoke.yaml", longer)
        project.finish(project.start("--cores", "2", "data"))
        runs = [project.run(name).weights for name in COMPARED]
        project.finish(project.start("--cores", "2", *runs))
        yield project


@pytest.fixture(scope="session")
def copy_without_runs(uninterrupted, tmp_path_factory):
    """Makes copies that have the data and no results."""

    def make() -> Project:
        target = tmp_path_factory.mktemp("cluster") / "project"
        ignored = shutil.ignore_patterns("runs", "checkpoints", "logs")
        shutil.copytree(uninterrupted.folder, target, symlinks=True, ignore=ignored)
        return Project(target)

    return make


@pytest.fixture
def project(slurm, copy_without_runs):
    """A copy that is used by one test; its jobs end with it."""
    with copy_without_runs() as project:
        yield project
    slurm.cancel_all()


@pytest.fixture
def same_weights(uninterrupted):
    """Says whether a run ended with the very weights of the one that was never interrupted."""

    def compare(run: Run) -> bool:
        expected = uninterrupted.folder / run.weights
        return (run.folder / "weights.pt").read_bytes() == expected.read_bytes()

    return compare


@pytest.fixture(scope="session")
def published(slurm, project_of, tmp_path_factory):
    """The whole smoke scale, made from data to report by one command.

    In the folder PIECEMEAL_SMOKE, if that is set, where the other tests find it (see .ci/run).
    """
    folder = os.environ.get("PIECEMEAL_SMOKE") or tmp_path_factory.mktemp("cluster") / "published"
    with project_of(Path(folder), FEW_AT_A_TIME) as project:
        # So many in the queue that the nodes are busy until Snakemake asks after the jobs again.
        project.finish(project.on_slurm("--jobs", "24"), seconds=3600)
        yield project
