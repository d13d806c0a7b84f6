"""The files that say what to install agree with each other."""

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]


def name(requirement: str) -> str:
    return re.match(r"[A-Za-z0-9_.-]+", requirement)[0].lower().replace("_", "-")


def locked() -> dict[str, str]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {name(package): pin for package, pin in pins}


def requirements() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [name(r) for r in [*project["dependencies"], *project["optional-dependencies"]["dev"]]]


@pytest.mark.parametrize("package", requirements())
def test_every_requirement_is_locked_and_installed_so(package):
    # A machine may bring its own torch; a local build adds "+cpu" or the like.
    if package != "torch":
        assert version(package).split("+")[0] == locked()[package]
    assert package in locked()


def conda_pins() -> dict[str, str]:
    content = yaml.safe_load((ROOT / "envs/piecemeal.yaml").read_text())
    (pip,) = [entry["pip"] for entry in content["dependencies"] if isinstance(entry, dict)]
    return dict(line.split("==") for line in pip)


def test_conda_environment_is_in_step_with_the_lock():
    pins = conda_pins()
    assert {package: locked()[package] for package in pins} == pins


def test_conda_environment_has_what_the_scripts_need_and_no_more():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    of_workflow = {"snakemake", "snakemake-executor-plugin-slurm", "dvc"}  # start jobs, not in them
    assert conda_pins().keys() == set(map(name, project["dependencies"])) - of_workflow


def test_what_s3_adds_is_pinned_and_changes_nothing_that_is_locked():
    lines = (ROOT / "requirements-s3.txt").read_text().splitlines()
    packages = [line for line in lines if line and not line.startswith("#")]
    assert {"dvc-s3", "moto"} <= set(map(name, packages))
    assert all(re.fullmatch(r"[a-z0-9._-]+==[0-9][0-9a-z.]*", line) for line in packages)
    assert not set(map(name, packages)) & locked().keys()
