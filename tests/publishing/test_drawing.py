"""Figures drawn from the folders of runs, as the rule draws them."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from piecemeal import methods, networks
from piecemeal.datasets.store import PreparedScan, read_cases
from piecemeal.errors import InputError
from piecemeal.papers import FiguresFile
from piecemeal.publishing.drawing import draw
from piecemeal.publishing.trained import middle_scans

ARMS = {"mos": "blocks/half/mos/seed0-1", "fan": "blocks/half/fan/seed0-2"}
IMPLEMENTATIONS = {"mos": "unimos", "fan": "pipo_fan"}
BASE = {"key": "f", "title": "t", "caption": "c"}
VIEWS = {"kind": "views", "arm": "mos", "cohort": "blocks"}
ATTENTION = {"kind": "attention", "arms": {"fan": "FAN", "mos": "MOS"}, "cohort": "blocks"}
NOTED = {"kind": "noted_curves", "arms": {"mos": "MOS", "fan": "FAN"}, "cohorts": ["blocks"]}
NOTED |= {"columns": {"accepted": "accepted", "threshold": "threshold"}}


def settings_of(arm, options):
    return {
        **{"implementation": IMPLEMENTATIONS[arm], "classes": 3, "method_options": options},
        **{"network": "pipo_fan", "network_options": {"width": 2}, "method": arm},
        **{"input": {"kind": "slices", "neighbours": 1, "crop": 0.75}},
        "structures": ["left", "right"],
    }


def leave_run(folder, arm, prepared, options):
    """What training and scoring leave of an untrained network."""
    settings = settings_of(arm, options)
    method = methods.load(settings["implementation"], 3, options)
    torch.manual_seed(0)
    network = method.build(lambda out: networks.build("pipo_fan", 3, out, width=2))
    folder.mkdir(parents=True)
    torch.save(network.state_dict(), folder / "weights.pt")
    sources = {"blocks": {"phantom": True, "source": "phantom"}}
    record = {"config": settings, "cohort": "blocks", "data_sources": sources}
    (folder / "run.json").write_text(json.dumps(record))
    history = pd.DataFrame({"step": [1, 2], "loss": [2.0, 1.0], "validation_loss": [None, 1.0]})
    if arm == "mos":
        history = history.assign(accepted=[0.5, 0.75], threshold=0.7)
    history.to_csv(folder / "history.csv", index=False)
    cases = read_cases(prepared)
    tested = cases[cases["split"] == "test"][["dataset", "case", "phase"]]
    rows = tested.assign(cohort="blocks", structure="left", status="ok", dice=[0.5, 0.75])
    rows.to_csv(folder / "scores.csv", index=False)
    scans = [{**row, "diagonal_mm": 90.0, "forward_passes": 1} for row in tested.to_dict("records")]
    (folder / "scores.json").write_text(json.dumps({"scoring": "s", "scans": scans}))


@pytest.fixture
def drawn(tmp_path, cohort):
    """Draws a figure of two runs on blocks."""

    def of(figure, options=None, not_run=None):
        (spec,) = FiguresFile.model_validate({"figures": [BASE | figure]}).figures
        for arm, run in ARMS.items():
            leave_run(tmp_path / run, arm, cohort.prepared, (options or {}).get(arm, {}))
        about = {"title": "the blocks", "structures": ["left", "right"]}
        about |= {"shortened": [], "training": ""}
        given = {
            "runs": [{"arm": arm, "run": run, "scoring": "s"} for arm, run in ARMS.items()],
            "cohorts": {"blocks": about | {"treatment": "as predicted", "not_run": not_run}},
            "scale": {"title": "smoke", "notice": "n", "shortened": []},
            "datasets": {"blocks": "Blocks Challenge", "others": "never scored"},
            "networks": {} if not_run else ARMS,
        }
        return draw(spec, None, given, tmp_path, {"blocks": cohort.prepared})

    return of


def texts(figure):
    return {text.get_text() for text in figure.texts}


@pytest.mark.parametrize("as_released", [False, True])
def test_views_of_the_scan_with_the_median_score(drawn, cohort, as_released):
    figure = drawn(VIEWS, {"mos": {"as_released": as_released}})
    cases = read_cases(cohort.prepared)
    lower = cases.loc[cases["split"] == "test", "scan"].iloc[0]
    assert any(text.startswith(f"{lower}, slice ") for text in texts(figure))
    assert "Blocks Challenge" in texts(figure)
    assert "never scored" not in texts(figure)
    weak = figure.axes[0].images[0].get_array()
    assert weak.shape == (24, 24)
    assert figure.axes[1].patches  # there is a box


def test_the_note_says_scale_phantoms_and_which_views(drawn):
    (note,) = (text for text in texts(drawn(VIEWS)) if text.startswith("Scale smoke"))
    assert note == (
        "Scale smoke, built-in phantoms; views: of the random draws the first that pastes a box "
        "into strong view 1"
    )


def test_attention_of_both_arms_in_one_scan(drawn):
    figure = drawn(ATTENTION)
    assert [axes.get_ylabel() for axes in figure.axes] == ["FAN\nweight", "MOS\nweight"]
    assert figure.axes[0].get_title() == "Blocks Challenge"
    for axes in figure.axes:
        total = np.sum([line.get_ydata() for line in axes.lines], axis=0)
        np.testing.assert_allclose(total, 1, rtol=1e-5)
        assert axes.lines[0].get_xdata().tolist() == [0, 5, 10]
    assert "Scale smoke, built-in phantoms" in texts(figure)


def test_shares_come_from_the_histories(drawn):
    first, second = drawn(NOTED).axes
    assert [line.get_ydata().tolist() for line in first.lines] == [[0.5, 0.75], [0.7, 0.7]]
    assert second.texts[0].get_text() == "notes none of this"


CURVES = {"kind": "training_curves", "arms": {"mos": "MOS"}, "cohorts": ["blocks"]}


@pytest.mark.parametrize("figure", [VIEWS, ATTENTION, NOTED, CURVES], ids=lambda f: f["kind"])
def test_a_cohort_that_is_not_run_says_why(drawn, figure):
    shown = drawn(figure, not_run="private data, phantom only")
    assert not shown.axes
    assert "the blocks: private data, phantom only" in texts(shown)


def test_an_arm_that_makes_no_views_is_refused(drawn):
    with pytest.raises(InputError, match="shows 'fan', whose method 'pipo_fan' makes none"):
        drawn(VIEWS | {"arm": "fan"})


def test_the_median_scan_and_that_of_the_others(cohort):
    scans = ["s1", "s2", "s3", "s4"]
    rows = pd.DataFrame({"dataset": "d", "case": scans, "phase": "", "status": "ok"})
    rows = rows.assign(arm="mos", dice=[0.9, 0.1, 0.5, 0.7])
    found = middle_scans(rows, "d", cohort.prepared)
    assert [scan.folder.name for scan in found] == ["s3", "s4"]
    assert isinstance(found[0], PreparedScan)
    assert [scan.folder.name for scan in middle_scans(rows[:1], "d", cohort.prepared)] == ["s1"]
    assert middle_scans(rows.assign(status="both_empty", dice=np.nan), "d", cohort.prepared) == []
    assert middle_scans(rows, "other", cohort.prepared) == []


def test_phases_of_a_case_are_scans_of_their_own(cohort):
    rows = pd.DataFrame({"dataset": "d", "case": "p1", "phase": ["ED", "ES"], "status": "ok"})
    found = middle_scans(rows.assign(arm="mos", dice=[0.8, 0.9]), "d", cohort.prepared)
    assert [scan.folder.name for scan in found] == ["p1_ED", "p1_ES"]
