"""A table as Moseley et al. print it: Dice and slice distances of several runs, and two bounds."""

import re

import numpy as np
import pandas as pd
import pytest

from piecemeal.errors import InputError
from piecemeal.publishing.footers import Circumstances
from piecemeal.publishing.formats import to_latex, to_markdown
from piecemeal.publishing.printed import NONE, lay_out
from piecemeal.publishing.published import read_published
from piecemeal.publishing.ranks import build_ranks
from piecemeal.publishing.tables import build_table
from piecemeal.publishing.values import case_values, column_grids
from piecemeal.table_specs import Table

NOTE = "The paper gives no unit; taken for pixels of its 256 x 256 images."
PUBLISHED = f"""method,setting,column,metric,unit,mean,std,note
unet,liver,liver,DSC,1,0.85,0.03,
unet,liver,liver,HD,px,15.7,2.2,{NOTE}
cmu,liver,liver,DSC,1,0.89,0.01,
cmu,liver,liver,HD,px,12.2,4.2,{NOTE}
"""
FOUND, DIAGONAL = "HD, where every arm found it", "HD, a miss counts the diagonal"
SEEDS, CASES = range(5), ("p1", "p2", "p3")


@pytest.fixture(scope="session")
def table():
    score = {"unit": "1", "decimals": 3, "better": "higher"}
    distance = {"decimals": 1, "better": "lower"}
    return Table.model_validate(
        {
            **{"key": "table1", "label": "Table 1", "title": "Liver", "base": "u_net"},
            "published": {"file": "table1.csv"},
            "metrics": [
                {"name": "DSC", "score": "dice"} | score,
                {"name": "HD", "score": "hd_slice_px", "unit": "px"} | distance,
                {"name": "HD 3D", "score": "hd_mm", "unit": "mm"} | distance,
            ],
            "spread": "runs",
            "arms": [
                {"name": "unet", "label": "U-Net", "tex": "U-Net"},
                {"name": "cmu", "label": "CMU-Net", "tex": "CMU-Net"},
                {"name": "background", "label": "nothing", "tex": "nothing", "role": "floor"},
            ],
            "halves": [
                {
                    **{"setting": "liver", "cohort": "lits"},
                    "columns": [{"name": "liver", "heading": "liver", "structure": "liver"}],
                }
            ],
        }
    )


@pytest.fixture
def scores():
    """Two arms of five seeds, and a floor of the first; 8 slices a case, one of them left out.

    In the seed s, of arm number a: Dice 0.8 + 0.05 a + 0.01 s in every case; slice distances, in
    the cases one after the other, 10 - 4 a + s plus 0, 1 and 2 px. Planes have a diagonal of 100.
    """
    rows = []
    for number, arm in enumerate(("unet", "cmu")):
        for seed in SEEDS:
            for more, case in enumerate(CASES):
                distance = 10 - 4 * number + seed + more
                dice = 0.8 + 0.05 * number + 0.01 * seed
                rows.append((arm, seed, case, "ok", dice, distance, 7, 1))
    rows += [("background", 0, case, "missed", 0.0, np.nan, 0, 8) for case in CASES]
    columns = ["arm", "seed", "case", "status", "dice", "hd_slice_px", "slices", "left_out"]
    scores = pd.DataFrame(rows, columns=columns)
    distances = 3 * scores["hd_slice_px"]
    scores = scores.assign(assd_mm=distances, hd_mm=distances, hd95_mm=distances)
    same = {"cohort": "lits", "postprocessing": "as predicted", "dataset": "lits", "phase": ""}
    return scores.assign(**same, structure="liver", diagonal_mm=400.0, slice_diagonal_px=100.0)


@pytest.fixture
def published(table, tmp_path):
    (tmp_path / "table1.csv").write_text(PUBLISHED)
    return read_published(table, tmp_path)


def cells(table, scores, published):
    rows = build_table(table, scores, published)
    return rows.set_index(["method", "metric"])


@pytest.fixture
def printed(table, scores, published):
    rows = build_table(table, scores, published)
    here = Circumstances("demo", {"lits": "LiTS, 17 scans"})
    return lay_out(table, rows, published, here, build_ranks(table, scores))


def without_slice(scores, arm="cmu"):
    """One scan of one seed of an arm whose prediction shares no slice with the reference."""
    here = (scores["arm"] == arm) & (scores["seed"] == 2) & (scores["case"] == "p2")
    scores.loc[here, ["hd_slice_px", "slices", "left_out"]] = [np.nan, 0, 8]
    return scores


# ---- numbers ----


def test_means_are_over_cases_and_stds_over_runs(table, scores, published):
    row = cells(table, scores, published).loc["cmu", "HD"]
    # Seed s has the mean 6 + s + 1 over its cases.
    assert row["mean"] == pytest.approx(9)
    assert row["std"] == pytest.approx(np.std([7, 8, 9, 10, 11], ddof=1))
    assert (row["n_cases"], row["n_seeds"], row["unit"]) == (3, 5, "px")
    assert row["ci_low"] < 9 < row["ci_high"]


def test_stds_are_over_cases_unless_the_table_says_otherwise(table, scores, published):
    over_cases = table.model_copy(update={"spread": "cases"})
    row = cells(over_cases, scores, published).loc["cmu", "HD"]
    assert row["std"] == pytest.approx(np.std([8, 9, 10]))


def test_an_average_is_spread_over_the_runs_averages(table, scores, unpublished):
    # In the second structure every seed undoes what it adds in the first.
    other = scores.assign(structure="spleen", dice=1.6 - scores["dice"])
    half = table.halves[0]
    (liver,) = half.columns
    spleen = liver.model_copy(update={"name": "spleen", "structure": "spleen"})
    half = half.model_copy(update={"columns": [liver, spleen], "average": "average"})
    spec = table.model_copy(update={"halves": [half]})
    rows = build_table(spec, pd.concat([scores, other]), unpublished)
    place = rows.set_index(["method", "column", "metric"])
    assert place.loc["unet", "spleen", "DSC"]["std"] > 0.01
    assert place.loc["unet", "average", "DSC"]["std"] == pytest.approx(0, abs=1e-12)
    row = place.loc["unet", "average", "HD"]
    assert row["std"] == pytest.approx(np.std(SEEDS, ddof=1))
    assert row["status"] == "30 of 240 slices left out"


def test_published_numbers_stand_beside_those_that_have_them(table, scores, published):
    rows = cells(table, scores, published)
    row = rows.loc["cmu", "HD"]
    assert (row["published_mean"], row["published_std"]) == (12.2, 4.2)
    assert row["difference"] == pytest.approx(9 - 12.2)
    assert rows.loc["cmu", "HD 3D"][["published_mean", "difference"]].isna().all()
    assert rows.loc["cmu", "HD 3D"]["mean"] == pytest.approx(27)


def test_a_published_unit_has_to_be_that_of_the_table(table, tmp_path):
    (tmp_path / "table1.csv").write_text(PUBLISHED.replace(",px,", ",mm,"))
    with pytest.raises(InputError, match=r"line 3: unit 'mm', but tables.yaml says 'px' for HD"):
        read_published(table, tmp_path)


# ---- slices that are left out ----


def test_the_status_says_how_many_slices_were_left_out(table, scores, published):
    rows = cells(table, scores, published)
    assert rows.loc["unet", FOUND]["status"] == "15 of 120 slices left out"
    assert rows.loc["unet", "HD"]["status"].startswith("15 of 120 slices left out; published")
    assert rows.loc["unet", "HD 3D"]["status"] == rows.loc["unet", "DSC"]["status"] == "ok"
    scores["left_out"] = scores["left_out"].where(scores["arm"] == "background", 0)
    assert cells(table, scores, published).loc["unet", FOUND]["status"] == "ok"


def test_a_case_without_a_shared_slice_counts_the_diagonal_of_the_plane(table, scores, published):
    row = cells(table, without_slice(scores), published).loc["cmu", "HD"]
    # p2 in seed 2: 100 instead of 9, one of five seeds of one of three cases.
    assert row["mean"] == pytest.approx(9 + (100 - 9) / 15)
    assert row["status"].startswith("1 of 3 without a shared slice, 22 of 120 slices left out;")


def test_a_missed_structure_counts_the_diagonal_of_the_plane(table, scores, published):
    rows = cells(table, scores, published)
    floor = rows.loc["background", "HD"]
    assert (floor["mean"], floor["n_seeds"]) == (100, 1)
    assert floor["status"] == "3 of 3 missed, 24 of 24 slices left out"
    assert rows.loc["background", "HD 3D"]["mean"] == 400


def test_excluding_leaves_the_case_out_for_every_compared_arm(table, scores, published):
    spec = table.model_copy(update={"misses": "excluded"})
    rows = cells(spec, without_slice(scores), published)
    for arm, mean in (("unet", 13), ("cmu", 9)):  # p1 and p3: 0 and 2 more
        assert rows.loc[arm, "HD"]["mean"] == pytest.approx(mean)
        assert rows.loc[arm, "HD"]["n_cases"] == 2
    # The distance in the volume has its own misses.
    assert rows.loc["cmu", "HD 3D"]["n_cases"] == 3
    assert rows.loc["cmu", DIAGONAL]["mean"] == pytest.approx(9 + (100 - 9) / 15)


def test_no_shared_slice_costs_its_rank(table, scores):
    def rank(of):
        return build_ranks(table, of).set_index(["metric", "arm"])["rank"]["HD", "cmu"]

    assert rank(scores) == 1
    for case in CASES:
        scores.loc[(scores["arm"] == "cmu") & (scores["case"] == case), "hd_slice_px"] = np.nan
    assert rank(scores) == 2


def test_figures_count_slices_as_the_table_does(table, scores):
    values = case_values(column_grids(table, "HD", without_slice(scores)))
    values = values.set_index(["arm", "case"])
    assert values["value"]["unet", "lits/p1"] == pytest.approx(12)
    assert values["value"]["cmu", "lits/p2"] == pytest.approx(9 + (100 - 9) / 5)


@pytest.mark.parametrize("lacking", ["all", "unet"])
def test_a_cohort_that_is_not_scored_by_slices_is_named(table, scores, published, lacking):
    if lacking == "all":
        columns = ["hd_slice_px", "slices", "left_out", "slice_diagonal_px"]
        scores = scores.drop(columns=columns)
    else:
        scores.loc[scores["arm"] == "unet", ["hd_slice_px", "slices", "left_out"]] = np.nan
    for build in (
        lambda: build_table(table, scores, published),
        lambda: build_ranks(table, scores),
        lambda: column_grids(table, "HD", scores),
    ):
        with pytest.raises(InputError, match=r"scoring\.slices.*config/cohorts/lits\.yaml"):
            build()


def test_a_cohort_that_was_not_run_needs_no_slices(table, scores, published):
    plain = scores.iloc[:0].drop(columns=["hd_slice_px", "slices", "slice_diagonal_px"])
    assert set(build_table(table, plain, published)["n_cases"]) == {0}


# ---- in print ----


def test_a_printed_number_has_its_unit_its_slices_and_its_caveat(printed):
    text = to_markdown(printed)
    assert "| liver<br>DSC | liver<br>HD (px) | liver<br>HD 3D (mm) |" in text
    ours = "**9.0** (1.6)<br><sub>15/120 slices left out</sub>"
    assert f"{ours}<br><sub><em>12.2 (4.2)</em><sup>a</sup></sub>" in text
    assert f"**27.0** (4.7)<br><sub><em>{NONE}</em></sub>" in text
    assert text.count(f"<sup>a</sup> {NOTE}") == 1
    latex = to_latex(printed)
    assert r"{\scriptsize 15/120 slices left out}" in latex
    assert r"{\scriptsize\itshape 12.2 (4.2)}\textsuperscript{a}" in latex
    assert "HD (px) & HD 3D (mm)" in latex


def test_the_spread_of_one_run_is_a_dash(printed):
    assert f"| nothing (floor) | 0.000 ({NONE}) | 100.0 ({NONE})" in to_markdown(printed)
    latex = to_latex(printed)
    assert "nothing & 0.000 (--) & 100.0 (--) & 400.0 (--)" in latex
    assert not re.search(r"[^\x00-\x7f]", latex)


def test_one_run_of_every_arm_is_printed_without_spread(table, scores, published):
    first = without_slice(scores.assign(seed=scores["seed"] + 2))
    first = first[first["seed"] == 2]
    rows = build_table(table, first, published)
    printed = lay_out(table, rows, published, Circumstances("demo", {}))
    assert "nan" not in to_markdown(printed) + to_latex(printed)
    (line,) = printed.misses.lines  # of HD, and of no other distance
    assert line.numbers == [f"11.0 ({NONE}), n=2", f"7.0 ({NONE}), n=2"]


def test_slices_left_out_are_no_misses(printed):
    assert printed.misses.lines == []


def test_an_arm_without_a_shared_slice_is_never_the_best_where_cases_are_left_out(
    table, scores, published
):
    spec = table.model_copy(update={"misses": "excluded"})
    rows = build_table(spec, without_slice(scores), published)
    (block,) = lay_out(spec, rows, published, Circumstances("demo", {})).halves[0].blocks
    best = {row.label: [cell.best for cell in row.cells] for row in block.rows}
    assert best["CMU-Net"] == [True, False, True]
    assert best["U-Net"] == [False, True, False]


def test_the_footer_says_which_seeds_are_shared(table, scores, published):
    spec = table.model_copy(update={"shared_seeds": True})
    some = scores[(scores["arm"] != "cmu") | (scores["seed"] < 2)]
    rows = build_table(spec, some, published)
    footer = dict(lay_out(spec, rows, published, Circumstances("demo", {})).footer)
    assert footer["Size"] == "liver: 3 cases, 2 seeds (nothing: 1 seed)"


def test_the_footer_explains(printed):
    footer = dict(printed.footer)
    assert footer["Cells"].startswith("mean (std over runs, of each run's mean over cases;")
    assert footer["Size"] == "liver: 3 cases, 5 seeds (nothing: 1 seed)"
    policy = footer["Empty masks"]
    assert "HD, in pixels of one plane at every scale, is the mean over the slices" in policy
    assert "a scan without any counts as a miss, and a miss the diagonal of its plane" in policy
    assert footer["Ranks"].startswith("liver, DSC: CMU-Net 1 (1 to 1), U-Net 2 (2 to 2)")
