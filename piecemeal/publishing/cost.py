"""What training and prediction cost: the rows of a table's `speed`."""

from __future__ import annotations

import numpy as np
import pandas as pd

from piecemeal.publishing.cells import Cell, summary
from piecemeal.publishing.misses import CASE
from piecemeal.table_specs import Speed

MEANING = {
    "minutes_per_epoch": "minutes of training steps for one pass over the training samples, "
    "whatever the paper calls an epoch; mean (std) over runs",
    "seconds_per_case": "seconds to predict one scan of a case; mean (std) over cases",
    "forward_passes_per_case": "slices or windows that the network evaluates to predict one scan "
    "of a case; mean (std) over cases",
    "seconds_per_case_one_pass": "seconds to predict one scan if a method that takes a pass for "
    "every task shares one among them; a dash for other methods; mean (std) over cases",
    "forward_passes_per_case_one_pass": "slices or windows that the network then evaluates; a dash "
    "for other methods; mean (std) over cases",
    "training_minutes": "minutes of all training steps of the run itself; those of the run that it "
    "goes on from come on top; mean (std) over runs",
    "parameters": "learned numbers of the network, of all networks together where a method has "
    "several",
    "parameters_per_task": "the same, divided by the tasks that they are for; where a method has a "
    "network of its own for each, so much has one of them",
    "weights_mib": "what they take at 4 bytes each",
}
_OF_A_SCAN = {
    "seconds_per_case": "seconds",
    "forward_passes_per_case": "forward_passes",
    "seconds_per_case_one_pass": "seconds_one_pass",
    "forward_passes_per_case_one_pass": "forward_passes_one_pass",
}
_OF_A_RUN = {  # from a row of `TRAINING`
    "minutes_per_epoch": lambda run: run["minutes_per_epoch"],
    "training_minutes": lambda run: run["training_minutes"],
    "parameters": lambda run: run["parameters"],
    "parameters_per_task": lambda run: run["parameters"] / run["tasks"],
    "weights_mib": lambda run: run["parameters"] * 4 / 2**20,
}
NO_MORE = "no more than one pass"  # status of a method that has no passes to save
NOT_OURS = "predicted by other software"  # status of label maps that came as files


def speed_cell(speed: Speed, ran: pd.DataFrame, training: pd.DataFrame) -> Cell:
    """One arm's cost.

    ran: its scores in one cohort, with the columns seconds and forward_passes of every scan, and
    the same of one pass (`read_scores`) where it takes more than one;
    training: its runs there, with the columns `TRAINING`. Prediction counts as scores do: mean
    over cases of the case's mean over its phases, tasks and seeds. What is of a run has no cases,
    and no interval: there are too few runs for one.
    """
    if speed.measure in _OF_A_SCAN:
        column = _OF_A_SCAN[speed.measure]
        if column.endswith("_one_pass") and (column not in ran or ran[column].isna().all()):
            return Cell(NO_MORE)
        if ran[column].isna().all():
            return Cell(NOT_OURS)
        scans = ran.drop_duplicates([*CASE, "phase", "task", "seed"])
        values = scans.groupby([*CASE, "seed"])[column].mean()
        return summary(values.unstack("seed"), "ok")
    found = _OF_A_RUN[speed.measure](training).dropna()
    if found.empty:
        return Cell(f"no {'training time' if speed.varies else 'size'} recorded")
    std = found.std(ddof=0) if speed.varies and len(found) > 1 else np.nan
    return Cell("ok", found.mean(), std, n_seeds=len(found))


def in_words(speed: list[Speed]) -> str:
    """What the measures of cost mean, for the footer."""
    meaning = "; ".join(f"{s.name}: {MEANING[s.measure]}" for s in speed)
    if any(s.measure in _OF_A_SCAN for s in speed):
        meaning += "; nothing is in bold where arms rest on other numbers of cases"
    if not any("minutes" in s.measure or "seconds" in s.measure for s in speed):
        return f"{meaning}."
    return f"{meaning}. Times depend on the machine, and differ from run to run."
