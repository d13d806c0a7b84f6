"""A small table that every test here shares: two arms, one anatomy in two phases."""

import json
from pathlib import Path

import pandas as pd
import pytest

from piecemeal.publishing.collect import read_scores
from piecemeal.publishing.published import read_published
from piecemeal.scoring import COLUMNS as SCORE_COLUMNS
from piecemeal.table_specs import Table


@pytest.fixture(scope="session")
def table():
    return Table.model_validate(
        {
            "key": "table1",
            "label": "Table 1",
            "title": "Accuracy of A & B_1, 100% honest",
            "base": "u_net",
            "published": {"file": "table1.csv", "rename": {"structure": "column"}},
            "metrics": [
                {"name": "DSC", "score": "dice", "unit": "1", "decimals": 3, "better": "higher"},
                {
                    **{"name": "HD", "score": "hd_mm", "unit": "mm", "decimals": 2},
                    **{"better": "lower", "miss_counts": 1},
                },
            ],
            "arms": [
                {"name": "a", "label": "A & co", "tex": r"$\mathcal{A}$"},
                {"name": "b_1", "label": "B_1 | x", "tex": "B"},
                {"name": "floor", "label": "nothing", "tex": "nothing", "role": "floor"},
            ],
            "halves": [
                {
                    **{"setting": "heart", "cohort": "cardiac", "average": "average"},
                    "columns": [
                        {"name": "LV ED", "heading": "LV (ED)", "structure": "LV", "phase": "ED"},
                        {"name": "LV ES", "heading": "LV (ES)", "structure": "LV", "phase": "ES"},
                    ],
                }
            ],
        }
    )


@pytest.fixture(scope="session")
def scored():
    """Rows of scores from (arm, seed, case, phase, dice, hd), None for a missed structure.

    The diagonal of every scan is 20 mm.
    """

    def rows(*scores, postprocessing="as predicted"):
        return pd.DataFrame(
            {
                "cohort": "cardiac",
                "arm": arm,
                "postprocessing": postprocessing,
                "seed": seed,
                "dataset": "acdc",
                "case": case,
                "phase": phase,
                "structure": "LV",
                "status": "missed" if dice is None else "ok",
                "dice": dice,
                "assd_mm": hd,
                "hd_mm": hd,
                "hd95_mm": hd,
                "diagonal_mm": 20.0,
            }
            for arm, seed, case, phase, dice, hd in scores
        ).astype({"dice": float, "assd_mm": float, "hd_mm": float, "hd95_mm": float})

    return rows


@pytest.fixture
def scores(scored):
    """Arm a: two seeds, nothing missed. Arm b_1: one seed, p2 missed at ED. No floor."""
    ed = {("a", 0): [0.8, 0.6, 0.95], ("a", 1): [0.9, 0.6, 0.95], ("b_1", 0): [0.7, None, 0.8]}
    hd = {"p1": 2.0, "p2": 4.0, "p3": 9.0}
    found = []
    for (arm, seed), values in ed.items():
        for (case, distance), dice in zip(hd.items(), values, strict=True):
            found.append((arm, seed, case, "ED", dice, None if dice is None else distance))
            found.append((arm, seed, case, "ES", 0.5, 3.0))
    return scored(*found)


@pytest.fixture
def nothing_scored(tmp_path):
    """The scores of last weights as they are read where no run has any."""
    run = "cardiac/complete/slac/seed0-0123456789"
    folder = tmp_path / run
    folder.mkdir(parents=True)
    scan = {"dataset": "acdc", "case": "p1", "phase": "ED", "task": "", "diagonal_mm": 20.0}
    record = {"scoring": "new", "scans": [scan | {"forward_passes": 1}]}
    (folder / "scores.json").write_text(json.dumps(record))
    (folder / "scores_last.csv").write_text(",".join(SCORE_COLUMNS) + "\n")
    entry = {"arm": "a", "run": run, "scoring": "new"}
    return read_scores(tmp_path, [entry], {"cardiac": {"treatment": "as predicted"}}, last=True)


@pytest.fixture
def published():
    columns = ["method", "setting", "column", "metric", "unit", "mean", "std", "note"]
    return pd.DataFrame(
        [
            ["a", "heart", "LV ED", "DSC", "1", 0.9, 0.01, ""],
            ["a", "heart", "LV ES", "DSC", "1", None, 0.02, ""],
            ["a", "heart", "LV ED", "HD", "mm", 4.5, 1.0, "A copy_error & more."],
            ["b_1", "heart", "LV ED", "HD", "mm", None, None, ""],
        ],
        columns=columns,
    )


@pytest.fixture(scope="session")
def unpublished(table):
    """No published numbers at all."""
    return read_published(table.model_copy(update={"published": None}), Path())
