"""A scale in a few numbers and curves: small enough for git, and compared from commit to commit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

ARM = ["paper", "cohort", "arm"]
OF_RUN = ["cohort", "annotation", "method"]
POINTS = 60  # of a curve, at most
VERDICTS = ("supported", "contradicted", "inconclusive")


def mean_dice(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean Dice of every arm over structures, scans and seeds: paper, cohort, arm, dice, in order.

    scores: rows of scores.csv with the columns paper and arm. A missed or invented structure counts
    0, and what is in neither mask does not count.
    """
    counted = scores[scores["status"] != "both_empty"]
    return counted.groupby(ARM, sort=True)["dice"].mean().round(4).reset_index()


def metrics(dice: pd.DataFrame, claims: pd.DataFrame) -> dict[str, Any]:
    """{"dice": {paper: {cohort: {arm: mean}}}, "claims": {paper: {verdict: how many}}}.

    dice: as from `mean_dice`; claims: the rows of claims.csv.
    """
    means: dict[str, Any] = {}
    for row in dice.itertuples():
        means.setdefault(row.paper, {}).setdefault(row.cohort, {})[row.arm] = row.dice
    verdicts = {
        paper: {verdict: int((rows["verdict"] == verdict).sum()) for verdict in VERDICTS}
        for paper, rows in claims.groupby("paper", sort=True)
    }
    return {"dice": means, "claims": verdicts}


def training_curves(folder: Path, runs: Mapping[str, str]) -> pd.DataFrame:
    """Loss over steps of the arms of `runs`, the mean over the seeds of an arm.

    runs: path below `folder` -> arm. Columns cohort, annotation, method, curve (annotation and
    method, and the arm where several arms of the cohort have the same), step, loss; at most
    `POINTS` steps of each, the last among them. What is not trained has no curve.
    """
    read, arms = [], defaultdict(set)
    for run, arm in sorted(runs.items()):
        history = pd.read_csv(folder / run / "history.csv", usecols=["step", "loss"])
        place = tuple(run.split("/")[: len(OF_RUN)])
        read.append(history.assign(**dict(zip(OF_RUN, place, strict=True)), arm=arm))
        arms[place].add(arm)
    curve = [*OF_RUN, "arm"]
    means = pd.concat(read).dropna().groupby([*curve, "step"], sort=True)["loss"].mean()
    curves = means.reset_index()
    # From the end, so that the last step is there.
    every = curves.groupby(curve)["step"].transform(lambda steps: -(-len(steps) // POINTS))
    left = curves.groupby(curve).cumcount(ascending=False)
    curves = curves[left % every == 0]
    names = [
        f"{place[1]} {place[2]}" + (f" ({arm})" if len(arms[tuple(place)]) > 1 else "")
        for *place, arm in curves[curve].itertuples(index=False)
    ]
    curves.insert(3, "curve", names)
    return curves.drop(columns="arm").assign(loss=curves["loss"].map("{:.5g}".format))
