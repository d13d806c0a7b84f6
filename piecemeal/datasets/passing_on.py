"""Which data may be passed on: where they lie, and a table beside them that says so.

`raw`, `prepared` and `annotated` of a scale's data may be pushed to a DVC remote, `restricted` is
not. In it lie real data as they were fetched or linked, and what was prepared of a cohort if only
one of its data sets may not be passed on (`redistribution` in config/datasets, unless drawn as a
phantom). Nothing here imports torch or pandas: Snakemake asks for the table at every start.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from piecemeal.errors import InputError

COLUMNS = ["dataset", "title", "source", "licence", "redistribution", "cohorts", "citation"]
PLACES = ("raw", "prepared", "annotated", "restricted")


def tables(
    raw: Mapping[str, Mapping[str, Any]],
    prepared: Mapping[str, Mapping[str, Any]],
    datasets: Mapping[str, Mapping[str, Any]],
) -> dict[str, list[dict[str, str]]]:
    """Place -> one row a data set that lies there; places may be empty.

    raw: data set -> settings of its unit in the plan; prepared: the same by cohort; datasets: data
    set -> title, licence, redistribution and citation.
    """
    found: dict[str, list[dict[str, str]]] = {place: [] for place in PLACES}
    for name, settings in sorted(raw.items()):
        of_name = {cohort for cohort, unit in prepared.items() if name in unit["datasets"]}
        kept = {cohort for cohort in of_name if prepared[cohort]["restricted"]}
        source = settings["source"]["kind"]
        row = {"dataset": name, "source": source, **datasets[name]}
        if source == "phantom":
            row["licence"], row["redistribution"] = "drawn by this project", "allowed"
            found["raw"].append(row | {"cohorts": " ".join(sorted(of_name))})
        if of_name - kept:
            shared = row | {"cohorts": " ".join(sorted(of_name - kept))}
            found["prepared"].append(shared)
            found["annotated"].append(shared)
        if kept or source != "phantom":
            found["restricted"].append(row | {"cohorts": " ".join(sorted(kept))})
    return found


def check_places(folder: Path, datasets: Mapping[str, Mapping[str, str]]) -> None:
    """InputError if anything below `folder` that is pushed may not be passed on any more.

    folder: data/<scale>; datasets: as in `tables`. A licence that was corrected leaves what was
    prepared before in its old place, and so did versions without a folder `restricted`.
    """
    for path in sorted(folder.glob("raw/*/manifest.json")):
        with _reading(path):
            source = json.loads(path.read_text(encoding="utf-8"))["source"]
        if source != "phantom":
            raise InputError(
                f"{path.parent}: holds real data ({source}) in a folder that `dvc push` shares; "
                f"delete it, or move it to {folder / 'restricted' / 'raw'}"
            )
    for path in sorted(folder.glob("prepared/*/sources.json")):
        with _reading(path):
            content = json.loads(path.read_text(encoding="utf-8"))
            sources = {name: source["source"] for name, source in content.items()}
        for name, source in sources.items():
            about = datasets.get(name, {"licence": "not among the data sets of this scale"})
            if source != "phantom" and about.get("redistribution") != "allowed":
                raise InputError(
                    f"{path.parent}: holds data of {name}, which may not be passed on "
                    f"({about['licence']}), in a folder that `dvc push` shares; delete it, and "
                    f"{folder / 'annotated' / path.parent.name.rpartition('-')[0]}"
                )


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """InputError if a record cannot be read."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: cannot be read ({error!r}), so it does not say whether the data beside it "
            f"may be passed on; delete {path} and any cases.csv beside it (the whole folder, if no "
            "cohort needs it any more) and start again"
        ) from None
