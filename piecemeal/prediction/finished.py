"""A finished run as its folder has it, and the settings that its scans were prepared with.

`run.json` has the settings of the training alone. How scans are prepared and predicted is in the
plan, under hashes that the run's own hash is made from: a plan that has the run under its hash says
what held for it, whatever was changed since. The plan that the workflow wrote beside the runs is
asked first, then the configuration, for where results were brought from elsewhere no plan lies.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from piecemeal.errors import InputError
from piecemeal.plan import Planner
from piecemeal.plan_file import Plan, Unit, as_jobs_see_it, thaw
from piecemeal.provenance import ROOT, file_sha256, source_hash

_RECORDED = {
    **dict.fromkeys(("scale", "cohort", "annotation", "method", "hash", "source_hash"), str),
    **{"seed": int, "config": dict, "data_sources": dict, "weights_sha256": str},
}


@dataclass(frozen=True)
class FinishedRun:
    """A run that can predict.

    key: its path below results/<scale>/runs; record: run.json; scoring, cohort: the settings that
    its scans were predicted and prepared with; settings_from: the file or folder that has them;
    same_code: whether the code that prepares and predicts is still that of these settings.
    """

    folder: Path
    key: str
    record: dict[str, Any]
    scoring: dict[str, Any]
    cohort: dict[str, Any]
    settings_from: str
    same_code: bool

    @property
    def weights(self) -> Path:
        """The weights that its validation chose."""
        return self.folder / "weights.pt"

    @property
    def phantoms(self) -> list[str]:
        """The data sets of its cohort that are phantoms."""
        sources = self.record["data_sources"].items()
        return [name for name, source in sources if source["phantom"]]


def read_run(folder: Path) -> FinishedRun:
    """The run in `folder`.

    Raises InputError if it is not finished, has no network, is of projections, has other weights
    than it was finished with, or if its settings are nowhere to be found.
    """
    record = _read_record(folder / "run.json")
    key = "{cohort}/{annotation}/{method}/seed{seed}-{hash}".format_map(record)
    if not record["config"].get("network"):
        raise InputError(
            f"{folder}: the method '{record['method']}' has no network here and predicts nothing; "
            "choose a run of a method with one"
        )
    if record["config"].get("overlapping"):
        raise InputError(
            f"{folder}: the cohort '{record['cohort']}' is made of projections, in which "
            "structures overlap; a scan of its own has no label map of them, expected a run of "
            "another cohort"
        )
    weights = folder / "weights.pt"
    if not weights.is_file():
        raise InputError(
            f"{weights}: is missing, expected the weights of the run; copy the whole folder, or "
            "`dvc pull` it"
        )
    if file_sha256(weights) != record["weights_sha256"]:
        raise InputError(
            f"{weights}: is not the file that run.json speaks of (weights_sha256); copy both again"
        )
    place, scoring, cohort = _find_settings(folder, key, record)
    same = _is_of_this_code(scoring) and _is_of_this_code(cohort)
    return FinishedRun(folder, key, record, scoring.settings, cohort.settings, place, same)


def _read_record(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); expected the folder of a finished run, "
            "results/<scale>/runs/<cohort>/<annotation>/<method>/seed<k>-<hash> "
            "(`piecemeal status` lists them)"
        ) from None
    except ValueError as error:
        raise InputError(f"{path}: is damaged ({error}); copy it again") from None
    for name, kind in _RECORDED.items():
        if not isinstance(record, dict) or not isinstance(record.get(name), kind):
            raise InputError(f"{path}: key '{name}': missing or damaged; copy the file again")
    # Without it nobody could say whether the weights have ever seen a patient.
    for name, source in record["data_sources"].items() or [("*", None)]:
        if not isinstance(source, dict) or not isinstance(source.get("phantom"), bool):
            raise InputError(
                f"{path}: key 'data_sources.{name}.phantom': missing, expected true or false; copy "
                "the file again"
            )
    return record


def _find_settings(folder: Path, key: str, record: dict[str, Any]) -> tuple[str, Unit, Unit]:
    """Where the settings of a run are, those of its scoring, and those of its cohort."""
    asked = []
    for place, plan in _plans(folder, record["scale"]):
        if key in plan.scores and record["cohort"] in plan.prepared:
            return place, plan.scores[key], plan.prepared[record["cohort"]]
        asked.append(place)
    unknown = f"{folder}: how the scans of this run were prepared is not known here"
    if not asked:
        raise InputError(
            f"{unknown}: no results/{record['scale']}/plan.json lies above it, and no config where "
            "you are; start in the project's main folder"
        )
    commit = record.get("commit") or "<the commit that made it>"
    raise InputError(
        f"{unknown}: it is of older settings or code than {' and '.join(asked)}, expected the run "
        f"{key} there; start again in the code that made it (`git worktree add ../older {commit}`),"
        " or train the run again"
    )


def _is_of_this_code(unit: Unit) -> bool:
    modules = unit.settings["modules"]
    files = (ROOT.joinpath(*module.split(".")).with_suffix(".py") for module in modules)
    there = all(file.is_file() for file in files)  # a method, say, may be gone
    return there and source_hash(*modules) == unit.settings["source_hash"]


def _plans(folder: Path, scale: str) -> Iterator[tuple[str, Plan]]:
    """The plans that may have a run, with the names of their places; one by one, as they take time.

    A folder of results/<scale>/runs has its plan five folders above.
    """
    above = Path(os.path.abspath(folder)).parents
    path = above[4] / "plan.json" if len(above) > 4 else None
    if path is not None and path.exists():
        yield str(path), thaw(path)
    if Path("config", "config.yaml").exists():
        yield str(Path("config").absolute()), as_jobs_see_it(Planner().plan(scale))
