"""Scores of one run: every test scan predicted, written in the scan's own space, and measured."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
import pandas as pd
import torch
from torch import nn

from piecemeal import methods
from piecemeal.bitmasks import bit
from piecemeal.datasets.grid import Geometry
from piecemeal.datasets.orientation import to_file_order
from piecemeal.datasets.store import PreparedScan, read_cases
from piecemeal.errors import InputError
from piecemeal.evaluation.components import largest_component
from piecemeal.evaluation.metrics import evaluate
from piecemeal.evaluation.overlapping import bit_by_bit, largest_components
from piecemeal.evaluation.slices import slice_distances
from piecemeal.inference import ForwardPasses, predict, warm_up
from piecemeal.label_maps import check_label_maps, read_label_map
from piecemeal.methods._base import Method, TaskConditioned
from piecemeal.provenance import file_sha256
from piecemeal.training.results import load_network
from piecemeal.training.runtime import prepare_process, return_freed_memory
from piecemeal.training.validation import memory_format_of

log = logging.getLogger(__name__)

COLUMNS = [
    *("cohort", "annotation", "method", "seed"),
    *("dataset", "case", "phase", "structure", "status"),
    *("dice", "assd_mm", "hd_mm", "hd95_mm"),
    *("true_voxels", "predicted_voxels", "overlap_voxels", "seconds"),
    "task",  # last: other programs rely on the order of those before it
]
COST = ("seconds", "forward_passes", "head_passes")  # of a scan; None where others predicted it


class RunScores(NamedTuple):
    """Scores of a run: two tables in the columns of scores.csv, one row a scan and structure.

    `processed`: as the cohort asks to score (largest components kept where it says so);
    `unprocessed`: of the predictions as they came; `scans`: what belongs to a scan as a whole, one
    entry each: dataset, case, phase, task ("" in a cohort without tasks), modality, diagonal_mm,
    seconds, forward_passes, head_passes, weights_sha256 (of the file that it was predicted with, if
    there is one), and of a method that takes a pass for every task seconds_one_pass and
    forward_passes_one_pass; `slices`: of a cohort that asks for them, one
    entry a scan, structure and table (processed: true, false): hd_slice_px (None without any
    slice), slices, left_out; its scans have slice_diagonal_px, the diagonal of their plane: no two
    voxels of a slice lie further apart.
    """

    processed: pd.DataFrame
    unprocessed: pd.DataFrame
    scans: list[dict[str, Any]]
    slices: list[dict[str, Any]]


class _Truth(NamedTuple):
    """What the predictions of a scan are measured against.

    reference, predictions: (z, y, x), class ids, or bit masks where structures overlap. names: by
    class id or bit, of what a prediction may hold; labels: those of them that are scored, in a
    cohort with `least_voxels` only what is larger. flat: a projection, whose boundaries lie in its
    plane (in space all voxels of one slice are boundary).
    """

    reference: np.ndarray
    geometry: Geometry
    names: dict[int, str]
    labels: dict[int, str]
    overlapping: bool
    flat: bool

    @classmethod
    def of(cls, scan: PreparedScan, row: Any, settings: Mapping[str, Any]) -> _Truth:
        """That of a scan; row: of cases.csv."""
        overlapping = settings.get("overlapping", False)
        names = dict(enumerate(settings["structures"], start=1))
        if overlapping:
            names = {k: names[c] for k, c in enumerate(settings["tasks"][row.task])}
        # What nobody was asked to draw is unknown: it has no row, rather than a wrong one.
        declared = row.declared.split(";")
        labels = {i: name for i, name in names.items() if name in declared}
        flat = overlapping and scan.geometry.native_shape[0] == 1
        reference = np.asarray(scan.reference)
        if (least := settings.get("least_voxels")) is not None:
            masks = (lambda i: bit(reference, i)) if overlapping else (lambda i: reference == i)
            labels = {i: n for i, n in labels.items() if np.count_nonzero(masks(i)) > least}
        return cls(reference, scan.geometry, names, labels, overlapping, flat)

    @property
    def values(self) -> int:
        """How many values a prediction may have."""
        return 2 ** len(self.names) if self.overlapping else 1 + len(self.names)

    def cleaned(self, prediction: np.ndarray, structures: Collection[str]) -> np.ndarray:
        """`prediction` with the largest component alone of these structures."""
        kept = [i for i, name in self.names.items() if name in structures]
        return (largest_components if self.overlapping else largest_component)(prediction, kept)

    def scores(self, prediction: np.ndarray, threads: int) -> pd.DataFrame:
        """Rows of `evaluate`, with the name of the structure under `structure`."""
        volumes, spacing = (prediction, self.reference), self.geometry.spacing
        if self.flat:
            volumes, spacing = [volume[0] for volume in volumes], spacing[1:]
        return self._measured(evaluate, *volumes, self.labels, spacing, threads=threads)

    def slices(self, prediction: np.ndarray, plane: Sequence[int]) -> list[dict[str, Any]]:
        """Distances slice by slice as entries of scores.json, which has null instead of NaN.

        They are in pixels of `plane` (y, x), which is stretched to the scan's own.
        """
        pixels = np.divide(plane, self.geometry.native_shape[1:])
        found = self._measured(slice_distances, prediction, self.reference, self.labels, pixels)
        found = found.astype(object)
        return found.where(found.notna(), None).to_dict("records")

    def _measured(self, measure: Callable[..., pd.DataFrame], *given: Any, **options: Any):
        of_each = partial(bit_by_bit, measure) if self.overlapping else measure
        return of_each(*given, **options).rename(columns={"label": "structure"})


def score_run(
    settings: dict[str, Any], prepared: Path, weights: Path, predictions: Path, threads: int = 1
) -> RunScores:
    """Predict and score the test scans of a run; of a run with tasks, those of its tasks.

    settings: the run's, as in the plan; predictions: folder for `<dataset>/<scan>.nii.gz`, which
    hold class ids, or, where structures overlap, bit masks over those of the scan's task.
    `seconds` is the time to predict the scan, the same in all its rows; `forward_passes` counts the
    slices or windows that the network (of a task-conditioned one: its backbone) evaluated for it,
    `head_passes` those that its task heads did. Where settings have `label_maps`, a folder, the
    predictions are read from there (see `label_maps`), and have no seconds (nan). Raises InputError
    if there is no scan to score.
    """
    # As in training: without its allocator a prediction spends most of its time on page faults.
    device = prepare_process(threads)
    method, network = load_to_predict(settings, weights, device)

    of_weights = {"weights_sha256": file_sha256(weights)} if weights.is_file() else {}

    processed, raw, scans, slices = [], [], [], []
    to_score = _to_score(prepared, settings)
    if maps := settings.get("label_maps"):
        check_label_maps(Path(maps), zip(to_score["dataset"], to_score["scan"], strict=True))
    for row in to_score.itertuples(index=False):
        scan = PreparedScan(prepared / row.dataset / row.scan)
        if network is not None and not scans:
            # The first forward pass of a process also loads kernels and sets up threads and memory:
            # an empty input pays for that, untimed, so that the first scan takes as long as others.
            warm_up(method, network, scan, settings)
        truth = _Truth.of(scan, row, settings)
        if maps:
            of_scan = (Path(maps), row.dataset, row.scan, scan, truth.values)
            prediction, cost = read_label_map(*of_scan), dict.fromkeys(COST)
        else:
            prediction, cost = _timed(method, network, scan, settings)
        identity = {key: getattr(row, key) for key in ("dataset", "case", "phase", "task")}
        scans.append(
            identity
            | {"modality": getattr(row, "modality", "")}
            | {"diagonal_mm": round(diagonal_mm(scan.geometry, truth.flat), 4)}
            | cost
            | of_weights
            | _in_one_pass(method, network, scan, settings)
        )
        cleaned = truth.cleaned(prediction, settings["largest_component"])
        _write(predictions / row.dataset / f"{row.scan}.nii.gz", cleaned, scan)
        seconds = math.nan if maps else cost["seconds"]
        for table, volume in ((processed, cleaned), (raw, prediction)):
            table.append(truth.scores(volume, threads).assign(**identity, seconds=seconds))
        if plane := settings.get("slices"):
            scans[-1]["slice_diagonal_px"] = round(math.hypot(*plane), 4)
            for which, volume in ((True, cleaned), (False, prediction)):
                found = truth.slices(volume, plane)
                slices += [identity | {"processed": which} | entry for entry in found]
        log.info("%s: %s", row.scan, processed[-1]["dice"].round(3).tolist())
        return_freed_memory()
    run = {key: settings[key] for key in ("cohort", "annotation", "method", "seed")}
    first, second = (_all(t).assign(**run)[COLUMNS] for t in (processed, raw))
    return RunScores(first, second, scans, slices)


def load_to_predict(
    settings: Mapping[str, Any], weights: Path, device: torch.device
) -> tuple[Method, nn.Module | None]:
    """Method and network of a run as scans are predicted with them; None if nothing is trained.

    settings: the run's, of its scoring; the network lies on `device`. Raises InputError if the
    weights are damaged or those of another network.
    """
    method = methods.load(
        settings["implementation"], settings["classes"], settings["method_options"]
    )
    if isinstance(method, TaskConditioned):
        method.one_pass = settings.get("inference", {}).get("one_pass", method.one_pass)
    if not method.trained:
        return method, None
    network = load_network(settings, method, weights)
    return method, network.to(device, memory_format=memory_format_of(network, device))


def _all(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """The rows of all scans; one with nothing to score says nothing of the columns' types."""
    return pd.concat([table for table in tables if len(table)] or tables[:1])


def _to_score(prepared: Path, settings: Mapping[str, Any]) -> pd.DataFrame:
    """The test cases of a run, of one with tasks those of its own; InputError if there is none."""
    cases = read_cases(prepared)
    cases = cases[cases["split"] == "test"]
    if tasks := settings.get("tasks"):
        cases = cases[cases["task"].isin(list(tasks))]
    if cases.empty:
        of_tasks = f" of the tasks {list(tasks)}" if tasks else ""
        raise InputError(
            f"{prepared / 'cases.csv'}: no case of the split 'test'{of_tasks}, expected one at "
            "least to score; enlarge the split"
        )
    return cases


def _timed(
    method: Method, network: nn.Module | None, scan: PreparedScan, settings: dict[str, Any]
) -> tuple[np.ndarray, dict[str, Any]]:
    """Predict a scan; also what it took, in the entries `COST`."""
    with ForwardPasses(network) as passes:
        start = time.perf_counter()
        prediction = predict(method, network, scan, settings)
        seconds = round(time.perf_counter() - start, 4)
    return prediction, dict(zip(COST, (seconds, passes.count, passes.head_count), strict=True))


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
    _, cost = _timed(shared, network, scan, settings)
    return {f"{key}_one_pass": cost[key] for key in ("seconds", "forward_passes")}


def diagonal_mm(geometry: Geometry, flat: bool = False) -> float:
    """Length in mm of the diagonal of a scan's volume: no two of its voxels lie further apart.

    flat: that of its planes, for a projection.
    """
    sides = np.multiply(geometry.native_shape, geometry.spacing)
    return math.hypot(*sides[flat:])


def label_image(prediction: np.ndarray, geometry: Geometry) -> nib.Nifti1Image:
    """Class ids (z, y, x), or a bit mask, voxel by voxel as the scan's own file has them."""
    affine = geometry.affine
    if geometry.file_axes:
        prediction, affine = to_file_order(prediction, affine, geometry.file_axes)
    return nib.Nifti1Image(prediction.transpose(2, 1, 0), affine, dtype=np.uint8)


def _write(path: Path, prediction: np.ndarray, scan: PreparedScan) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(label_image(prediction, scan.geometry), path)
