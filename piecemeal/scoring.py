"""Scores of one run: every test scan predicted, written in the scan's own space, and measured."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import torch

from piecemeal import methods
from piecemeal.datasets.store import PreparedScan, read_cases
from piecemeal.evaluation.components import largest_component
from piecemeal.evaluation.metrics import evaluate
from piecemeal.inference import predict
from piecemeal.training.loop import load_network

log = logging.getLogger(__name__)

COLUMNS = [
    *("cohort", "annotation", "method", "seed", "dataset", "case", "phase", "structure", "status"),
    *("dice", "assd_mm", "hd_mm", "hd95_mm"),
    *("true_voxels", "predicted_voxels", "overlap_voxels", "seconds"),
]


def score_run(
    settings: dict[str, Any], prepared: Path, weights: Path, predictions: Path, threads: int = 1
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predict and score the test scans of a run.

    settings: the run's, as in the plan; predictions: folder for `<dataset>/<scan>.nii.gz`.
    Returns two tables in the columns of scores.csv, one row a scan and structure: as the cohort
    asks to score (largest components kept where it says so), and of the prediction as it came.
    `seconds` is the time to predict the scan, the same in all its rows.
    """
    torch.set_num_threads(threads)
    method = methods.load(
        settings["implementation"], settings["classes"], settings["method_options"]
    )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = load_network(settings, method, weights).to(device) if method.trained else None
    names = dict(enumerate(settings["structures"], start=1))
    kept = [i for i, name in names.items() if name in settings["largest_component"]]

    cases = read_cases(prepared)
    processed, raw = [], []
    for row in cases[cases["split"] == "test"].itertuples(index=False):
        scan = PreparedScan(prepared / row.dataset / row.scan)
        start = time.perf_counter()
        prediction = predict(method, network, scan)
        seconds = time.perf_counter() - start
        cleaned = largest_component(prediction, kept)
        _write(predictions / row.dataset / f"{row.scan}.nii.gz", cleaned, scan)
        for table, volume in ((processed, cleaned), (raw, prediction)):
            scores = evaluate(volume, np.asarray(scan.reference), names, scan.geometry.spacing)
            table.append(
                scores.rename(columns={"label": "structure"}).assign(
                    dataset=row.dataset, case=row.case, phase=row.phase, seconds=round(seconds, 4)
                )
            )
        log.info("%s: %s", row.scan, processed[-1]["dice"].round(3).tolist())
    identity = {key: settings[key] for key in ("cohort", "annotation", "method", "seed")}
    first, second = (pd.concat(t).assign(**identity)[COLUMNS] for t in (processed, raw))
    return first, second


def _write(path: Path, prediction: np.ndarray, scan: PreparedScan) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = scan.geometry.affine
    nib.save(nib.Nifti1Image(prediction.transpose(2, 1, 0), affine, dtype=np.uint8), path)
