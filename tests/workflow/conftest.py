"""A copy of the project in which Snakemake is run for real, at smoke scale."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from snakemake.utils import available_cpu_count

from piecemeal.provenance import locked

BIN = Path(sys.executable).parent
CORES = str(min(8, max(2, available_cpu_count())))


class Project:
    """One checkout: commands run in it, with the tools of this environment."""

    def __init__(self, folder: Path):
        self.folder = folder

    def environment(self, **more: str) -> dict[str, str]:
        return {
            **os.environ,
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
            "DVC_NO_ANALYTICS": "1",
            **more,
        }

    def run(self, *command: str, check: bool = True, **environment: str):
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment(**environment),
            capture_output=True,
            text=True,
            timeout=2400,
        )
        output = done.stdout + done.stderr
        assert not check or done.returncode == 0, output
        return done.returncode, output

    def snakemake(self, *arguments: str, **keywords):
        return self.run("snakemake", *arguments, **keywords)

    def planned_jobs(self, *arguments: str) -> dict[str, int]:
        """What a dry run lists, by rule."""
        _, output = self.snakemake("-n", "--quiet", "rules", "--", *arguments)
        rows = [line.split() for line in output.splitlines()]
        return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}

    def edit(self, path: str, old: str, new: str) -> None:
        file = self.folder / path
        text = file.read_text()
        assert old in text, f"{path} has no {old!r}"
        file.write_text(text.replace(old, new))


@pytest.fixture
def project(copy_checkout, tmp_path) -> Project:
    """A fresh copy without any result."""
    copy_checkout(tmp_path / "project")
    return Project(tmp_path / "project")


@pytest.fixture(scope="session")
def finished(copy_checkout, tmp_path_factory) -> Project:
    """A copy in which the default target has been made; tests must leave it as it is.

    It takes minutes, so all workers of pytest-xdist share one: the first to ask for it makes it,
    unless the tests on a cluster of this very checkout have left it in the folder PIECEMEAL_SMOKE.
    """
    left = os.environ.get("PIECEMEAL_SMOKE")
    if left and Path(left, "results/smoke/report.html").exists():
        return Project(Path(left))
    place = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        place = place.parent
    folder = place / "finished"
    with locked(folder):
        project = Project(folder / "project")
        if not project.folder.exists():
            copy_checkout(project.folder)
        if not (project.folder / "results/smoke/report.html").exists():
            project.snakemake("--cores", CORES)
    return project


@pytest.fixture
def finished_copy(finished, tmp_path) -> Project:
    """The same, to change at will."""
    target = tmp_path / "copy"
    shutil.copytree(finished.folder, target, symlinks=True)
    return Project(target)
