"""A scale in a few numbers and curves: small enough for git, and compared from commit to commit."""

from __future__ import annotations

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


def training_curves(folder: Path, runs: list[str]) -> pd.DataFrame:
    """Loss over steps of `runs` (paths below `folder`), the mean over the seeds of a run.

    Columns cohort, annotation, method, curve (annotation and method), step, loss; at most `POINTS`
    steps of each, the last among them. What is not trained has no curve.
    """
    read = []
    for run in sorted(runs):
        history = pd.read_csv(folder / run / "history.csv", usecols=["step", "loss"])
        read.append(history.assign(**dict(zip(OF_RUN, run.split("/"), strict=False))))
    means = pd.concat(read).dropna().groupby([*OF_RUN, "step"], sort=True)["loss"].mean()
    curves = means.reset_index()
    # From the end, so that the last step is there.
    every = curves.groupby(OF_RUN)["step"].transform(lambda steps: -(-len(steps) // POINTS))
    left = curves.groupby(OF_RUN).cumcount(ascending=False)
    curves = curves[left % every == 0]
    curves.insert(3, "curve", curves["annotation"] + " " + curves["method"])
    return curves.assign(loss=curves["loss"].map("{:.5g}".format))
