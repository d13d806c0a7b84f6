"""From a figure's entry in figures.yaml and the runs' folders to the figure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from piecemeal.datasets.grid import Geometry, resample_from_grid
from piecemeal.datasets.orientation import to_canonical
from piecemeal.datasets.store import PreparedScan
from piecemeal.papers import CaseScores, QualitativeFigure, Table, TrainingCurves
from piecemeal.publishing import collect
from piecemeal.publishing.examples import Panel, example_slices, largest_slice, median_scan
from piecemeal.publishing.figures import case_scores, case_values, training_curves


def draw(
    spec: QualitativeFigure | TrainingCurves | CaseScores,
    table: Table | None,
    given: Mapping[str, Any],
    runs: Path,
    prepared: Mapping[str, Path],
) -> Figure:
    """Draw the figure `spec`.

    table: the one whose columns a figure of case scores shows; given: the parameters all published
    files of the paper share; runs: the folder of all runs; prepared: cohort -> prepared folder.
    """
    entries, cohorts = given["runs"], given["cohorts"]
    records = collect.read_records(runs, entries)
    sources = collect.circumstances(given["scale"], records, {})
    phantom = any(sources.is_phantom(record["cohort"]) for record in records)
    note = f"Scale {given['scale']['title']}" + (", built-in phantoms" if phantom else "")
    if isinstance(spec, TrainingCurves):
        titles = {c: cohorts[c]["title"] for c in spec.cohorts if not cohorts[c]["not_run"]}
        histories = collect.read_histories(runs, entries)
        return training_curves(histories, titles, spec.arms, note)
    scores = collect.processed(collect.read_scores(runs, entries, cohorts), cohorts)
    if isinstance(spec, CaseScores):
        values = case_values(table, spec.metric, scores)
        return case_scores(values, spec.arms, spec.metric, note)
    shown = [c for c in spec.cohorts if not cohorts[c]["not_run"]]
    panels = [_panel(spec, c, cohorts[c], scores, entries, runs, prepared[c]) for c in shown]
    return example_slices(panels, spec.arms, note)


def _panel(
    spec: QualitativeFigure,
    cohort: str,
    about: Mapping[str, Any],
    scores: pd.DataFrame,
    entries: list[Mapping[str, str]],
    runs: Path,
    prepared: Path,
) -> Panel:
    """The slice with most foreground of the scan with the median score, first seed."""
    rows = scores[(scores["cohort"] == cohort) & scores["arm"].isin(list(spec.arms))]
    dataset, case, phase = median_scan(rows)
    name = f"{case}_{phase}" if phase else case
    scan = PreparedScan(prepared / dataset / name)
    z = largest_slice(np.asarray(scan.reference))
    predictions: dict[str, np.ndarray] = {}
    for entry in entries:  # in the order of the seeds: the first one is kept
        if entry["run"].startswith(f"{cohort}/") and entry["arm"] in spec.arms:
            path = runs / entry["run"] / "predictions" / dataset / f"{name}.nii.gz"
            predictions.setdefault(entry["arm"], _prediction(path, scan.geometry)[z])
    image = resample_from_grid(np.asarray(scan.image), scan.geometry, order=1)[z]
    spacing = scan.geometry.spacing
    return Panel(
        cohort=about["title"],
        image=image,
        reference=np.asarray(scan.reference)[z],
        predictions=predictions,
        structures=about["structures"],
        spacing_yx=(spacing[1], spacing[2]),
        declared=scan.record["declared"],
    )


def _prediction(path: Path, geometry: Geometry) -> np.ndarray:
    """Class ids (z, y, x) of a prediction, which lies in the file's own order, in the store's."""
    file = nib.load(path)
    volume = np.asarray(file.dataobj).transpose(2, 1, 0)
    return to_canonical(volume, None, file.affine)[0] if geometry.file_axes else volume
