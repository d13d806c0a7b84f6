"""Scores of one run: every test scan predicted, written in the scan's own space, and measured."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
import pandas as pd
from torch import nn

from piecemeal import methods
from piecemeal.datasets.grid import Geometry
from piecemeal.datasets.orientation import to_file_order
from piecemeal.datasets.store import PreparedScan, names_to_ids, read_cases
from piecemeal.evaluation.components import largest_component
from piecemeal.evaluation.metrics import evaluate
from piecemeal.evaluation.slices import slice_distances
from piecemeal.inference import ForwardPasses, predict, warm_up
from piecemeal.methods._base import Method, TaskConditioned
from piecemeal.training.results import load_network
from piecemeal.training.runtime import prepare_process, return_freed_memory
from piecemeal.training.validation import memory_format_of

log = logging.getLogger(__name__)

COLUMNS = [
    *("cohort", "annotation", "method", "seed", "dataset", "case", "phase", "structure", "status"),
    *("dice", "assd_mm", "hd_mm", "hd95_mm"),
    *("true_voxels", "predicted_voxels", "overlap_voxels", "seconds"),
]


class RunScores(NamedTuple):
    """Scores of a run: two tables in the columns of scores.csv, one row a scan and structure.

    `processed`: as the cohort asks to score (largest components kept where it says so);
    `unprocessed`: of the predictions as they came; `scans`: what belongs to a scan as a whole, one
    entry each: dataset, case, phase, diagonal_mm, seconds, forward_passes, head_passes, and of a
    method that takes a pass for every task seconds_one_pass and forward_passes_one_pass; `slices`:
    of a cohort that asks for them, one entry a scan, structure and table (processed: true, false):
    hd_slice_px (None without any slice), slices, left_out; its scans have slice_diagonal_px, the
    diagonal of their plane: no two voxels of a slice lie further apart.
    """

    processed: pd.DataFrame
    unprocessed: pd.DataFrame
    scans: list[dict[str, Any]]
    slices: list[dict[str, Any]]


def score_run(
    settings: dict[str, Any], prepared: Path, weights: Path, predictions: Path, threads: int = 1
) -> RunScores:
    """Predict and score the test scans of a run.

    settings: the run's, as in the plan; predictions: folder for `<dataset>/<scan>.nii.gz`.
    `seconds` is the time to predict the scan, the same in all its rows; `forward_passes` counts the
    slices or windows that the network (of a task-conditioned one: its backbone) evaluated for it,
    `head_passes` those that its task heads did.
    """
    # As in training: without its allocator a prediction spends most of its time on page faults.
    device = prepare_process(threads)
    method = methods.load(
        settings["implementation"], settings["classes"], settings["method_options"]
    )
    if isinstance(method, TaskConditioned):
        method.one_pass = settings.get("inference", {}).get("one_pass", method.one_pass)
    network = None
    if method.trained:
        network = load_network(settings, method, weights)
        network.to(device, memory_format=memory_format_of(network))
    names = dict(enumerate(settings["structures"], start=1))
    kept = [i for i, name in names.items() if name in settings["largest_component"]]

    cases = read_cases(prepared)
    processed, raw, scans, slices = [], [], [], []
    for row in cases[cases["split"] == "test"].itertuples(index=False):
        scan = PreparedScan(prepared / row.dataset / row.scan)
        if network is not None and not scans:
            # The first forward pass of a process also loads kernels and sets up threads and memory:
            # an empty input pays for that, untimed, so that the first scan takes as long as others.
            warm_up(method, network, scan, settings)
        prediction, seconds, passes = _timed(method, network, scan, settings)
        identity = {"dataset": row.dataset, "case": row.case, "phase": row.phase}
        scans.append(
            identity
            | {"diagonal_mm": round(diagonal_mm(scan.geometry), 4), "seconds": seconds}
            | {"forward_passes": passes.count, "head_passes": passes.head_count}
            | _in_one_pass(method, network, scan, settings)
        )
        cleaned = largest_component(prediction, kept)
        _write(predictions / row.dataset / f"{row.scan}.nii.gz", cleaned, scan)
        # What nobody was asked to draw is unknown: it has no row, rather than a wrong one.
        declared = names_to_ids(row.declared, settings["structures"])
        labels = {i: names[i] for i in declared}
        for table, volume in ((processed, cleaned), (raw, prediction)):
            scores = evaluate(
                volume, np.asarray(scan.reference), labels, scan.geometry.spacing, threads=threads
            )
            table.append(
                scores.rename(columns={"label": "structure"}).assign(**identity, seconds=seconds)
            )
        if plane := settings.get("slices"):
            scans[-1]["slice_diagonal_px"] = round(math.hypot(*plane), 4)
            for which, volume in ((True, cleaned), (False, prediction)):
                slices += _slices(volume, scan, labels, plane, identity | {"processed": which})
        log.info("%s: %s", row.scan, processed[-1]["dice"].round(3).tolist())
        return_freed_memory()
    run = {key: settings[key] for key in ("cohort", "annotation", "method", "seed")}
    first, second = (pd.concat(t).assign(**run)[COLUMNS] for t in (processed, raw))
    return RunScores(first, second, scans, slices)


def _timed(
    method: Method, network: nn.Module | None, scan: PreparedScan, settings: dict[str, Any]
) -> tuple[np.ndarray, float, ForwardPasses]:
    """Predict a scan; also the seconds and the forward passes that it took."""
    with ForwardPasses(network) as passes:
        start = time.perf_counter()
        prediction = predict(method, network, scan, settings)
        return prediction, round(time.perf_counter() - start, 4), passes


def _in_one_pass(
    method: Method, network: nn.Module | None, scan: PreparedScan, settings: dict[str, Any]
) -> dict[str, Any]:
    """What a method that takes a pass for every task would take if all shared one; else nothing.

    Published protocols evaluate the whole network for every task, though what is new is the head.
    """
    if not isinstance(method, TaskConditioned) or method.one_pass:
        return {}
    shared = copy.copy(method)
    shared.one_pass = True
    _, seconds, passes = _timed(shared, network, scan, settings)
    return {"seconds_one_pass": seconds, "forward_passes_one_pass": passes.count}


def _slices(
    volume: np.ndarray,
    scan: PreparedScan,
    labels: dict[int, str],
    plane: Sequence[int],
    identity: dict[str, Any],
) -> list[dict[str, Any]]:
    """Distances slice by slice as entries of scores.json, which has null instead of NaN.

    They are in pixels of `plane` (y, x), which is stretched to the scan's own.
    """
    pixels = np.divide(plane, scan.geometry.native_shape[1:])
    found = slice_distances(volume, np.asarray(scan.reference), labels, pixels)
    found = found.rename(columns={"label": "structure"}).astype(object)
    return [identity | row for row in found.where(found.notna(), None).to_dict("records")]


def diagonal_mm(geometry: Geometry) -> float:
    """Length in mm of the diagonal of a scan's volume: no two of its voxels lie further apart."""
    sides = zip(geometry.native_shape, geometry.spacing, strict=True)
    return math.hypot(*(voxels * spacing for voxels, spacing in sides))


def _write(path: Path, prediction: np.ndarray, scan: PreparedScan) -> None:
    """Write class ids (z, y, x) voxel by voxel as the scan's own file has them."""
    affine, file_axes = scan.geometry.affine, scan.geometry.file_axes
    if file_axes:
        prediction, affine = to_file_order(prediction, affine, file_axes)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(prediction.transpose(2, 1, 0), affine, dtype=np.uint8), path)
