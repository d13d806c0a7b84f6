"""Folders of a user's own that have a data set: whether they are there."""

import os
from pathlib import Path

from piecemeal.datasets.sources import Layout
from piecemeal.errors import InputError
from piecemeal.plan_file import Plan, Unit


def local_folder(source: Path, layout: Layout, dataset: str) -> Path:
    """The absolute path of the folder `source`, which has `dataset` in its layout.

    A relative path is taken from the current folder, `~` as the home. Raises InputError, which
    says what is expected there, if it is missing or not a folder.
    """
    folder = Path(source).expanduser().absolute()
    if os.path.isdir(folder):
        return folder
    there = "is not a folder" if os.path.exists(folder) else "there is no such folder"
    raise InputError(
        f"{folder}: {there}, expected data set {dataset} with {layout.example} in it; set its "
        f"path in config/local.yaml: `local: {{{dataset}: /path}}`"
    )


def check_local_folders(plan: Plan) -> None:
    """Raise InputError if a folder that data sets of `plan` are read from is missing.

    For who is about to fetch, on a machine that sees these folders: making a plan looks at no
    data, as other machines, and `piecemeal status`, need not see any.
    """
    for dataset, unit in plan.raw.items():
        check_local_folder(dataset, unit)


def check_local_folder(dataset: str, unit: Unit) -> None:
    """The same of one data set and its unit in `raw` of a plan."""
    if path := unit.settings.get("path"):
        layout = Layout(unit.settings["layout"], unit.settings["layout_options"])
        local_folder(Path(path), layout, dataset)
