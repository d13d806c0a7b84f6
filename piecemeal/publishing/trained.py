"""Trained networks that a figure asks once more, and the scans that they are shown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from piecemeal.datasets.store import PreparedScan
from piecemeal.publishing.chosen import folder_of, median_scan, rows_of
from piecemeal.publishing.collect import read_records

if TYPE_CHECKING:  # what publishes is imported without torch
    from torch import nn

    from piecemeal.methods._base import Method


class Trained(NamedTuple):
    """A finished run: its settings, its method, and its network ready to predict."""

    settings: dict[str, Any]
    method: Method
    network: nn.Module

    @property
    def neighbours(self) -> int:
        """Slices above and below that are further channels of the network's input."""
        return self.settings["input"].get("neighbours", 0)


def load(runs: Path, run: str) -> Trained:
    """The run at `run` below the folder of all runs; InputError if its weights do not fit."""
    from piecemeal import methods
    from piecemeal.training.results import load_network

    (record,) = read_records(runs, [{"run": run}])
    settings = record["config"]
    method = methods.load(
        settings["implementation"], settings["classes"], settings["method_options"]
    )
    return Trained(settings, method, load_network(settings, method, runs / run / "weights.pt"))


def middle_scans(scores: pd.DataFrame, dataset: str, prepared: Path) -> list[PreparedScan]:
    """Up to two test scans of a data set: that with the median Dice, and that of the others.

    `scores` are the rows of one cohort and of the arms that choose (see `median_scan`); prepared:
    folder of the cohort. None where there was nothing to find in the data set.
    """
    known = (scores["dataset"] == dataset) & (scores["status"] != "both_empty")
    rows, found = scores[known], []
    while len(rows) and len(found) < 2:
        scan = median_scan(rows)
        found.append(PreparedScan(folder_of(prepared, scan)))
        rows = rows[~rows_of(rows, scan)]
    return found
