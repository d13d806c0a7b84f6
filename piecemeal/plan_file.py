"""The plan: what it holds, and its file, which the main process writes and its jobs read.

Little is imported here, as every job on a cluster starts two Snakemakes that read the plan.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from piecemeal.errors import InputError
from piecemeal.provenance import write_text


@dataclass(frozen=True)
class Unit:
    """One thing a rule makes: its hash, and the settings it is made from."""

    hash: str
    settings: dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """Everything one scale asks for. Keys are what the wildcards of the rules say.

    raw: data set; prepared: cohort; annotated: "cohort/annotation"; runs and scores:
    "cohort/annotation/method/seed<k>-<hash>"; papers: paper -> [{"arm": ..., "run": ...}].
    """

    scale: str
    raw: dict[str, Unit]
    prepared: dict[str, Unit]
    annotated: dict[str, Unit]
    runs: dict[str, Unit]
    scores: dict[str, Unit]
    papers: dict[str, list[dict[str, str]]]


def freeze(plan: Plan, path: Path) -> None:
    """Write the plan where jobs read it; an unchanged file is left alone.

    Raises InputError where it cannot be written, as on a full disk.
    """
    text = _as_text(plan)
    try:
        if not path.exists() or path.read_text(encoding="utf-8", errors="replace") != text:
            write_text(path, text)
    except OSError as error:
        raise InputError(
            f"{path}: the plan cannot be written ({error.strerror}); make room or mend the "
            "permissions there and start the same command again"
        ) from error


def thaw(path: Path) -> Plan:
    """The plan that `freeze` wrote; InputError if it is absent or unreadable."""
    try:
        return _from_text(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: the plan cannot be read ({error}); start snakemake again from the main folder"
        ) from error


def as_jobs_see_it(plan: Plan) -> Plan:
    """The plan after a way through JSON, so that all processes work with the same types."""
    return _from_text(_as_text(plan))


def _as_text(plan: Plan) -> str:
    return json.dumps(vars(plan), default=vars) + "\n"


def _from_text(text: str) -> Plan:
    content = json.loads(text)
    for stage in ("raw", "prepared", "annotated", "runs", "scores"):
        content[stage] = {key: Unit(**unit) for key, unit in content[stage].items()}
    return Plan(**content)
