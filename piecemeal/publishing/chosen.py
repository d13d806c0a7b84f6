"""Which scan, and which slice of it, stands for many: the median one, never one picked by hand."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
import pandas as pd

from piecemeal.bitmasks import bit
from piecemeal.datasets.grid import Geometry, resample_from_grid
from piecemeal.datasets.orientation import to_canonical
from piecemeal.datasets.store import PreparedScan, read_cases
from piecemeal.errors import InputError
from piecemeal.figure_specs import QualitativeFigure
from piecemeal.publishing import style
from piecemeal.publishing.composition import parted
from piecemeal.publishing.examples import Panel

# What nibabel raises on a file that is missing, cut short or damaged.
_UNREADABLE = (
    *(OSError, ValueError, EOFError, zlib.error),
    nib.filebasedimages.ImageFileError,
    nib.spatialimages.HeaderDataError,
    nib.wrapstruct.WrapStructError,
)


class Scored(NamedTuple):
    """What tells a scored scan from all others of a cohort; texts, empty where there is none."""

    dataset: str
    case: str
    phase: str
    task: str


def median_scan(scores: pd.DataFrame) -> Scored:
    """The scan with the median Dice over arms and structures.

    An arm counts by its mean over seeds, however many it has. With an even number of scans the
    lower of the two in the middle; ties go by name. `scores` are the rows of one cohort and of the
    arms that are shown.
    """
    scores = _with_texts(scores)
    dice = scores["dice"].mask(scores["status"].isin(("missed", "invented")), 0.0)
    scan = list(Scored._fields)
    of_arms = dice.groupby([*(scores[name] for name in scan), scores["arm"]]).mean()
    means = of_arms.groupby(scan).mean().dropna().reset_index().sort_values(["dice", *scan])
    return Scored(*map(str, means.iloc[(len(means) - 1) // 2][scan]))


def rows_of(scores: pd.DataFrame, scan: Scored) -> pd.Series:
    """Which rows of `scores` are those of a scan, bool."""
    scores = _with_texts(scores)
    return (scores[list(Scored._fields)] == list(scan)).all(axis=1)


def folder_of(prepared: Path, scan: Scored) -> Path:
    """Where a scan lies in the prepared folder of its cohort."""
    if not scan.task:
        return prepared / scan.dataset / "_".join(filter(None, (scan.case, scan.phase)))
    cases = read_cases(prepared)
    here = cases[rows_of(cases, scan)]
    if here.empty:
        raise InputError(
            f"{prepared / 'cases.csv'}: has no {scan}, which was scored; prepare the data again"
        )
    return prepared / scan.dataset / here["scan"].iloc[0]


def largest_slice(reference: np.ndarray) -> int:
    """Index of the slice of `reference` (z, y, x) with most foreground, the first of equals."""
    return int(np.argmax((reference > 0).sum(axis=(1, 2))))


def examples(
    spec: QualitativeFigure, about: Mapping[str, Any], scores: pd.DataFrame, prepared: Path
) -> Iterator[tuple[str, Scored]]:
    """Title and scan of every row of a figure that a cohort has.

    about: title and tasks {task: structures} of the cohort; scores: of the cohort and of the arms
    shown. Without arms the first test scan by name stands for the others. Raises InputError for a
    task that the cohort has not.
    """
    if spec.arms:
        rows = _with_texts(scores[scores["status"] != "both_empty"])
    else:
        cases = read_cases(prepared)
        rows = cases[cases["split"] == "test"]
    if spec.each_task:
        wanted = spec.tasks or list(about["tasks"])
        if not wanted or not set(wanted) <= set(about["tasks"]):
            raise InputError(
                f"figures.yaml: figure '{spec.key}' asks for the tasks {wanted} of the cohort "
                f"'{about['title']}', which has {list(about['tasks'])}; name some of these"
            )
        parts = [(style.task_title(task), rows[rows["task"] == task]) for task in wanted]
    elif spec.each_dataset:
        parts = parted(rows)
    else:
        parts = [(about["title"], rows)]
    for title, part in parts:
        if len(part):
            yield title, median_scan(part) if spec.arms else _first(part)


def panel(
    title: str,
    scan: Scored,
    about: Mapping[str, Any],
    predicted: Mapping[str, Path],
    prepared: Path,
) -> Panel:
    """The slice of a scan with most foreground, and what every arm made of it.

    about: structures, tasks and `overlapping` of the cohort; predicted: arm -> the folder of its
    run's predictions. An arm without a prediction of the scan was not asked for its task. Raises
    InputError for a prediction that cannot be read.
    """
    stored = PreparedScan(folder_of(prepared, scan))
    reference = np.asarray(stored.reference)
    z = largest_slice(reference)
    names = about["tasks"][scan.task] if scan.task else about["structures"]
    classes = [about["structures"].index(name) + 1 for name in names]

    def masks(volume: np.ndarray) -> np.ndarray:
        return masks_of(volume[z], classes, about["overlapping"])

    predictions: dict[str, np.ndarray | None] = {}
    for arm, folder in predicted.items():
        path = folder / scan.dataset / f"{stored.folder.name}.nii.gz"
        known = path.exists() or not scan.task
        predictions[arm] = masks(_prediction(path, stored.geometry)) if known else None
    declared = stored.record["declared"]
    return Panel(
        cohort=title,
        image=resample_from_grid(np.asarray(stored.image), stored.geometry, order=1)[z],
        reference=masks(reference),
        predictions=predictions,
        structures=[style.in_task(name, scan.task) for name in names],
        spacing_yx=stored.geometry.spacing[1:],
        judged=[place for place, name in enumerate(names) if name in declared],
        whole=about["overlapping"],
    )


def masks_of(labels: np.ndarray, classes: Sequence[int], overlapping: bool) -> np.ndarray:
    """Where each structure is, bool (structures, y, x).

    labels (y, x): class ids, or bit masks over the structures if they overlap.
    """
    if overlapping:
        return np.stack([bit(labels, k) for k in range(len(classes))])
    return np.stack([labels == number for number in classes])


def _first(cases: pd.DataFrame) -> Scored:
    return min(Scored(*row) for row in cases[list(Scored._fields)].itertuples(index=False))


def _with_texts(rows: pd.DataFrame) -> pd.DataFrame:
    """With phases and tasks as texts: a csv column of nothing is read as numbers."""
    columns = {
        name: rows[name].astype(object).fillna("") if name in rows else ""
        for name in ("phase", "task")
    }
    return rows.assign(**columns)


def _prediction(path: Path, geometry: Geometry) -> np.ndarray:
    """Labels (z, y, x) of a prediction, which lies in the file's own order, in the store's.

    path: <run>/predictions/<data set>/<scan>.nii.gz. Raises InputError if it cannot be read.
    """
    try:
        file = nib.load(path)
        volume = np.asarray(file.dataobj).transpose(2, 1, 0)
    except _UNREADABLE as error:
        raise InputError(
            f"{path}: the prediction cannot be read ({error}); delete "
            f"{path.parents[2] / 'scores.csv'} and start again"
        ) from None
    return to_canonical(volume, None, file.affine)[0] if geometry.file_axes else volume
