"""Figures drawn from the folders of runs, as the rule draws them."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch

from piecemeal import methods, networks
from piecemeal.datasets.store import PreparedScan, read_cases
from piecemeal.errors import InputError
from piecemeal.figure_specs import FiguresFile, TableFigure
from piecemeal.provenance import file_sha256
from piecemeal.publishing import chosen
from piecemeal.publishing.drawing import draw
from piecemeal.publishing.trained import middle_scans
from piecemeal.table_specs import Table

ARMS = {"mos": "blocks/half/mos/seed0-1", "fan": "blocks/half/fan/seed0-2"}
IMPLEMENTATIONS = {"mos": "unimos", "fan": "pipo_fan"}
BASE = {"key": "f", "title": "t", "caption": "c"}
VIEWS = {"kind": "views", "arm": "mos", "cohort": "blocks"}
ATTENTION = {"kind": "attention", "arms": {"fan": "FAN", "mos": "MOS"}, "cohort": "blocks"}
NOTED = {"kind": "noted_curves", "arms": {"mos": "MOS", "fan": "FAN"}, "cohorts": ["blocks"]}
NOTED |= {"columns": {"accepted": "accepted", "threshold": "threshold"}}
LEARNED = {"channels": {"1": 1, "2": 1}, "relative_sizes": {"1": 1.0, "2": 1.0}, "grown": 0}


TABLE = Table.model_validate(
    {
        **{"key": "t", "label": "T", "title": "t", "base": "b"},
        "metrics": [
            {"name": "DSC", "score": "dice", "unit": "1", "decimals": 3, "better": "higher"}
        ],
        "arms": [{"name": arm, "label": arm, "tex": arm} for arm in ARMS],
        "halves": [
            {
                **{"setting": "blocks", "cohort": "blocks"},
                "columns": [{"name": "left", "heading": "left", "structure": "left"}],
            }
        ],
    }
)


def settings_of(arm, options):
    return {
        **{"implementation": IMPLEMENTATIONS[arm], "classes": 3, "method_options": options},
        **{"network": "pipo_fan", "network_options": {"width": 2}, "method": arm},
        **{"input": {"kind": "slices", "neighbours": 1, "crop": 0.75}},
        **{"structures": ["left", "right"], "tasks": {"one": [1], "other": [2]}},
    }


def leave_run(folder, arm, prepared, options, data):
    """What training and scoring leave of an untrained network."""
    settings = settings_of(arm, options)
    method = methods.load(settings["implementation"], 3, options)
    torch.manual_seed(0)
    network = method.build(lambda out: networks.build("pipo_fan", 3, out, width=2))
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), folder / "weights.pt")
    sources = {"blocks": {"phantom": True, "source": "phantom"}}
    record = {"config": settings, "cohort": "blocks", "data_sources": sources, "best_step": 2}
    record |= {"annotation": "half", "method": arm, "seed": 0, "hash": "0123456789"}
    record["data_manifest_sha256"] = data or file_sha256(prepared / "cases.csv")
    record["learned"] = LEARNED if arm == "mos" else {}
    (folder / "run.json").write_text(json.dumps(record))
    history = pd.DataFrame({"step": [1, 2], "loss": [2.0, 1.0], "validation_loss": [None, 1.0]})
    if arm == "mos":
        history = history.assign(accepted=[0.5, 0.75], threshold=0.7)
    history.to_csv(folder / "history.csv", index=False)
    cases = read_cases(prepared)
    tested = cases[cases["split"] == "test"][["dataset", "case", "phase", "task"]]
    rows = tested.assign(cohort="blocks", seed=0, structure="left", status="ok")
    rows = rows.assign(dice=[0.5, 0.75])
    rows.to_csv(folder / "scores.csv", index=False)
    for case in tested.itertuples():
        path = folder / "predictions" / case.dataset / f"{case.case}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        reference = PreparedScan(prepared / case.dataset / case.case).reference
        nib.save(nib.Nifti1Image(np.array(reference).transpose(2, 1, 0), np.eye(4)), path)
    scans = [{**row, "diagonal_mm": 90.0, "forward_passes": 1} for row in tested.to_dict("records")]
    (folder / "scores.json").write_text(json.dumps({"scoring": "s", "scans": scans}))


@pytest.fixture
def drawn(tmp_path, cohort):
    """Draws a figure of two runs on blocks."""

    def of(figure, options=None, not_run=None, ran=tuple(ARMS), data=None):
        (spec,) = FiguresFile.model_validate({"figures": [BASE | figure]}).figures
        runs = {} if not_run else {arm: ARMS[arm] for arm in ran}
        for arm, run in runs.items():
            leave_run(tmp_path / run, arm, cohort.prepared, (options or {}).get(arm, {}), data)
        about = {"title": "the blocks", "structures": ["left", "right"]}
        about |= {"tasks": {}, "overlapping": False}
        about |= {"shortened": [], "training": ""}
        given = {
            "runs": [{"arm": arm, "run": run, "scoring": "s"} for arm, run in runs.items()],
            "cohorts": {"blocks": about | {"treatment": "as predicted", "not_run": not_run}},
            "scale": {"title": "smoke", "notice": "n", "shortened": []},
            "datasets": {"blocks": "Blocks Challenge", "others": "never scored"},
            "networks": runs,
        }
        table = TABLE if isinstance(spec, TableFigure) else None
        # What no run asks for, the workflow does not prepare for a figure.
        prepared = {"blocks": cohort.prepared} if ran else {}
        return draw(spec, table, given, tmp_path, prepared)

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


BOTH = {"arms": {"mos": "MOS", "fan": "FAN"}}
CURVES = BOTH | {"kind": "training_curves", "cohorts": ["blocks"]}
CASES = BOTH | {"kind": "case_scores", "table": "t", "metric": "DSC"}
EXAMPLES = BOTH | {"kind": "qualitative", "cohorts": ["blocks"]}
GROUPS = CASES | {"kind": "structure_scores"}
STAGES = {"kind": "stages", "table": "t", "metric": "DSC", "orders": {"one": BOTH["arms"]}}
SHARING = BOTH | {"kind": "sharing", "cohort": "blocks"}
KINDS = [VIEWS, ATTENTION, NOTED, CURVES, CASES, EXAMPLES, GROUPS, STAGES, SHARING]


@pytest.mark.parametrize("figure", KINDS, ids=lambda f: f["kind"])
def test_a_cohort_that_is_not_run_says_why(drawn, figure):
    shown = drawn(figure, not_run="private data, phantom only")
    assert not shown.axes
    assert "the blocks: private data, phantom only" in texts(shown)


@pytest.mark.parametrize("figure", KINDS, ids=lambda f: f["kind"])
def test_a_figure_of_arms_that_were_all_left_out_says_so(drawn, figure):
    arms = {"arm": "mos"} if figure is VIEWS else {"arms": {"mos": "MOS"}}
    if figure is STAGES:
        arms = {"orders": {"one": {"mos": "MOS", "pip": "PIP"}}}
    shown = drawn(figure | arms, ran=["fan"])
    assert not shown.axes
    which = "mos, pip" if figure is STAGES else "mos"
    assert f"the blocks: {which} left out at this scale" in texts(shown)


@pytest.mark.parametrize("figure", KINDS, ids=lambda f: f["kind"])
def test_runs_of_other_data_are_not_drawn(drawn, figure):
    with pytest.raises(InputError, match=r"cases\.csv: not the data that .* was trained on"):
        drawn(figure, data="0" * 64)


def test_curves_are_of_the_arms_that_ran(drawn):
    for figure in (CURVES, NOTED):
        (axes,) = drawn(figure, ran=["mos"]).axes
        assert axes.get_title() == "MOS"
    (axes,) = drawn(NOTED, ran=["fan"]).axes
    assert (axes.get_title(), axes.texts[0].get_text()) == ("FAN", "notes none of this")


def test_attention_is_that_of_the_arms_that_ran(drawn):
    (axes,) = drawn(ATTENTION, ran=["mos"]).axes
    assert axes.get_ylabel() == "MOS\nweight"


def test_case_scores_are_those_of_the_arms_that_ran(drawn):
    for ran in (["fan"], ["mos", "fan"]):
        (axes,) = drawn(CASES, ran=ran).axes
        assert [label.get_text() for label in axes.get_xticklabels()] == [
            BOTH["arms"][arm] for arm in ran
        ]
        assert [len(dots.get_offsets()) for dots in axes.collections] == [2] * len(ran)


def test_examples_are_those_of_the_arms_that_ran(drawn):
    figure = drawn(EXAMPLES, ran=["fan"])
    assert len(figure.axes) == 2
    assert {"ground truth", "FAN"} <= texts(figure)
    assert "MOS" not in texts(figure)


def test_what_was_left_out_is_in_the_note(drawn):
    for figure in (CURVES, CASES, EXAMPLES, GROUPS, SHARING):
        note = "Scale smoke, built-in phantoms; left out at this scale: MOS"
        assert note in texts(drawn(figure, ran=["fan"]))
    many = {"arms": {arm: arm.upper() for arm in ("fan", "a", "b", "c", "d")}}
    note = "Scale smoke, built-in phantoms; left out at this scale: 4 arms"
    assert note in texts(drawn(CURVES | many, ran=["fan"]))


def test_groups_are_of_the_arms_that_ran(drawn):
    (axes,) = drawn(GROUPS).axes
    assert [len(dots.get_offsets()) for dots in axes.collections] == [2, 2]
    means = [line.get_ydata()[0] for line in axes.lines if line.get_marker() == "o"]
    assert means == pytest.approx([0.625, 0.625])
    (axes,) = drawn(GROUPS, ran=["fan"]).axes
    assert [len(dots.get_offsets()) for dots in axes.collections] == [2]


def test_a_stage_that_was_left_out_says_so(drawn):
    (axes,) = drawn(STAGES, ran=["fan"]).axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["MOS\n(not run)", "FAN"]


def test_sharing_is_what_the_first_run_of_an_arm_learned(drawn):
    first, second = drawn(SHARING).axes
    words = [text.get_text() for text in first.texts]
    assert words == ["one", "other", "channel 1", "left\n100 %", "right\n100 %"]
    assert [text.get_text() for text in second.texts] == ["shares no channels"]


def test_without_arms_images_and_references_are_shown(drawn):
    figure = drawn(EXAMPLES | {"arms": {}})
    assert {"image", "ground truth", "the blocks"} <= texts(figure)
    assert len(figure.axes) == 2


def test_the_matrix_of_a_cohort_is_read_from_its_cases(drawn, cohort):
    figure = drawn({"kind": "annotation_matrix", "cohort": "blocks"})
    cases = read_cases(cohort.prepared)
    bars, matrix = figure.axes
    assert [label.get_text() for label in bars.get_yticklabels()] == ["Blocks Challenge"]
    assert [label.get_text() for label in matrix.get_xticklabels()] == ["left", "right"]
    training = (cases["split"] == "train").sum()
    assert {text.get_text() for text in matrix.texts} == {str(training)}
    assert "Scale smoke, built-in phantoms" in texts(figure)


def test_rows_of_a_data_set_are_parted_by_modality(tmp_path, cohort):
    (spec,) = FiguresFile.model_validate({"figures": [BASE | EXAMPLES]}).figures
    spec = spec.model_copy(update={"each_dataset": True})
    rows = pd.DataFrame(
        {"dataset": "amos", "case": ["a", "b", "c"], "modality": ["CT", "MR", "MR"]}
    )
    rows = rows.assign(arm="mos", status="ok", dice=[0.5, 0.7, 0.9])
    found = chosen.examples(spec, {"title": "t", "tasks": {}}, rows, cohort.prepared)
    assert [(title, scan.case) for title, scan in found] == [("amos CT", "a"), ("amos MR", "b")]


def test_without_arms_a_cohort_that_is_not_run_says_why(drawn):
    shown = drawn(EXAMPLES | {"arms": {}}, not_run="private data, phantom only")
    assert not shown.axes
    assert "the blocks: private data, phantom only" in texts(shown)


def test_without_arms_a_cohort_on_which_none_is_run_says_so(drawn):
    shown = drawn(EXAMPLES | {"arms": {}}, ran=())
    assert not shown.axes
    assert "the blocks: all arms left out at this scale" in texts(shown)


def test_curves_mark_the_step_that_was_kept(drawn):
    first, _ = drawn(CURVES).axes
    assert first.texts[0].get_text() == "kept: step 2"


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
