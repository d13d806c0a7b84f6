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


def test_conda_environment_is_in_step_with_the_lock():
    content = yaml.safe_load((ROOT / "envs/piecemeal.yaml").read_text())
    (pip,) = [entry["pip"] for entry in content["dependencies"] if isinstance(entry, dict)]
    pins = dict(line.split("==") for line in pip)
    assert {package: locked()[package] for package in pins} == pins
