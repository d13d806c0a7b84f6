import re

import numpy as np
import pandas as pd
import pytest

from piecemeal.publishing.footers import Circumstances
from piecemeal.publishing.formats import escape_latex, escape_markdown, to_latex, to_markdown
from piecemeal.publishing.misses import policy
from piecemeal.publishing.printed import NONE, lay_out
from piecemeal.publishing.ranks import build_ranks
from piecemeal.publishing.tables import TRAINING, build_table
from piecemeal.table_specs import Half, Table


@pytest.fixture
def here():
    return Circumstances(
        "demo", {"cardiac": "phantom"}, {"heart": "as predicted"}, ["100 steps & no patience"]
    )


@pytest.fixture
def printed(table, scores, published, here):
    rows = build_table(table, scores, published)
    return lay_out(table, rows, published, here, build_ranks(table, scores))


@pytest.fixture
def excluded(table, scores, published, here):
    spec = table.model_copy(update={"misses": "excluded"})
    return lay_out(spec, build_table(spec, scores, published), published, here)


@pytest.fixture
def cost(table, scores, unpublished, here):
    """A table of cost alone: training 2.5 min an epoch for arm a, none for b_1."""
    content = table.model_dump(mode="json") | {
        **{"label": "Cost", "metrics": [], "published": None},
        "speed": [
            {"name": "Tr.", "measure": "minutes_per_epoch", "unit": "min/epoch", "decimals": 2},
            {"name": "Ts.", "measure": "seconds_per_case", "unit": "s/case", "decimals": 1},
        ],
        "halves": [{"setting": "heart", "cohort": "cardiac"}],
    }
    spec = Table.model_validate(content)
    scores = scores.assign(seconds=(scores["arm"] == "b_1") + 1.0)
    training = pd.DataFrame([("cardiac", "a", 0, 2.5, 25.0, 1000, 1)], columns=TRAINING)
    rows = build_table(spec, scores, unpublished, None, training)
    return lay_out(spec, rows, unpublished, here, build_ranks(spec, scores))


def test_blocks_follow_the_printed_width(printed):
    half = printed.halves[0]
    assert [block.headings for block in half.blocks] == [["LV (ED)", "LV (ES)"], ["average"]]
    assert [len(row.cells) for row in half.blocks[0].rows] == [4, 4, 4]


def test_best_compared_arm_is_bold_and_ties_share_it(printed):
    rows = {row.label: row.cells for row in printed.halves[0].blocks[0].rows}
    # DSC at ED: 0.8 against 0.5; DSC at ES: 0.5 against 0.5
    assert [rows["A & co"][0].best, rows["B_1 | x"][0].best] == [True, False]
    assert [rows["A & co"][2].best, rows["B_1 | x"][2].best] == [True, True]


def test_where_nobody_found_anything_nobody_is_the_best(table, scored, published):
    rows = [(arm, 0, "p1", phase, 0.0, 20.0) for arm in ("a", "b_1") for phase in ("ED", "ES")]
    numbers = build_table(table, scored(*rows), published)
    here = Circumstances("demo", {"cardiac": "phantom"}, {"heart": "as predicted"}, [])
    (block, *_) = lay_out(table, numbers, published, here).halves[0].blocks
    assert not any(row.cells[place].best for row in block.rows for place in (0, 2))


def test_phantoms_are_named_in_caption_and_footer(printed):
    assert "phantoms, not from patients" in printed.caption
    assert "phantom, not patients" in dict(printed.footer)["Data"]


def test_real_data_are_not_called_phantoms(table, scores, published):
    here = Circumstances("pocket", {"cardiac": "ACDC, 100 patients"})
    printed = lay_out(table, build_table(table, scores, published), published, here)
    assert printed.caption == table.title
    assert dict(printed.footer)["Data"] == "heart: ACDC, 100 patients"
    assert "phantom" not in to_markdown(printed) + to_latex(printed)


def test_footer_says_how_to_read_the_numbers(table, printed):
    footer = dict(printed.footer)
    assert footer["Scale"] == "demo"
    assert footer["Size"] == "heart: 3 cases, 2 seeds (B_1 | x: 1 seed)"
    assert footer["Shortened against the paper"] == "100 steps & no patience"
    assert footer["Empty masks"] == policy(table)
    assert footer["Ranks"].startswith("heart, DSC: A & co 1 (1 to 1), B_1 | x 2 (2 to 2).")
    assert footer["Post-processing"] == "heart: as predicted"


def test_what_is_shortened_and_how_long_it_trained_is_said_of_the_table_s_own_cohorts(
    table, scores, published
):
    here = Circumstances(
        **{"scale": "demo", "sources": {}, "shortened": ["phantoms"]},
        of_cohorts={"cardiac": ["small images", "width 2"], "other": ["no images"]},
        training={"cardiac": "90 steps", "other": "1 step"},
    )
    footer = dict(lay_out(table, build_table(table, scores, published), published, here).footer)
    assert footer["Shortened against the paper"] == "phantoms; small images; width 2"
    assert footer["Training"] == "90 steps"
    two = table.model_copy(update={"halves": [*table.halves, _half("side", "other")]})
    rows = build_table(two, scores, published)
    footer = dict(lay_out(two, rows, published, here).footer)
    assert footer["Training"] == "heart: 90 steps; side: 1 step"


def _half(setting: str, cohort: str) -> Half:
    column = {"name": "LV", "heading": "LV", "structure": "LV"}
    return Half(setting=setting, cohort=cohort, columns=[column])


def test_an_arm_that_is_left_out_is_named(table, scores, published):
    rows = build_table(table, scores[scores["arm"] != "a"], published)
    footer = dict(lay_out(table, rows, published, Circumstances("demo", {})).footer)
    assert footer["Not run"] == "heart (A & co, nothing): not run: left out at this scale"


def test_footer_says_why_nothing_was_run(table, scores, published):
    rows = build_table(table, scores.iloc[:0], published, {"cardiac": "private data"})
    footer = dict(lay_out(table, rows, published, Circumstances("paper", {})).footer)
    assert footer["Not run"] == "heart: not run: private data"
    assert footer["Size"] == "nothing was run"


def test_the_footer_of_last_weights_says_so_even_of_nothing(
    table, scores, published, nothing_scored, here
):
    last = table.model_copy(update={"weights": "last"})
    said = "of the last step of every run, not those that the validation chose"
    for found in (scores, nothing_scored):
        rows, ranking = build_table(last, found, published), build_ranks(last, found)
        printed = lay_out(last, rows, published, here, ranking)
        assert dict(printed.footer)["Weights"] == said
        assert said in to_markdown(printed)
    assert dict(printed.footer)["Size"] == "nothing was run"
    assert dict(printed.footer)["Not run"].startswith("heart: not run: last weights are not scored")
    rows = build_table(table, scores, published)
    assert "Weights" not in dict(lay_out(table, rows, published, here).footer)


def test_only_the_post_processing_of_what_is_shown_is_said(table, scores, published):
    done = {"heart": "largest component", "heart, as predicted": "as predicted"}
    rows = build_table(table, scores, published)
    footer = dict(lay_out(table, rows, published, Circumstances("demo", {}, done)).footer)
    assert footer["Post-processing"] == "heart: largest component"


def test_markdown_shows_ours_above_the_published_number(printed):
    text = to_markdown(printed)
    assert r"| A & co | **0.800** (0.147)<br><sub><em>0.900 (0.010)</em></sub> |" in text
    assert "<sub><em>4.50 (1.00)</em><sup>a</sup></sub>" in text
    assert f"<sub><em>{NONE} (0.020)</em></sub>" in text
    assert r"<sup>a</sup> A copy\_error & more." in text
    assert "### heart (phantom)" in text


def test_markdown_tables_are_rectangular(printed):
    blocks = re.findall(r"(?:^\|.*\n)+", to_markdown(printed), flags=re.MULTILINE)
    assert len(blocks) == 3  # two blocks and the missed structures
    for block in blocks:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(widths) == 1
        assert re.fullmatch(r"\|(:--|--:|\|)+", block.splitlines()[1])


def test_a_distance_that_rests_on_a_miss_says_so(printed):
    text = to_markdown(printed)
    assert f"10.33 (7.41)<br><sub>1/3 missed</sub><br><sub><em>{NONE}</em></sub>" in text
    assert "misses in 1/2 columns" in text
    (row,) = [row for row in printed.halves[0].blocks[0].rows if row.label == "A & co"]
    assert [cell.remark for cell in row.cells] == ["", "", "", ""]


def test_the_other_conventions_stand_below_for_all_compared_arms(printed):
    text = to_markdown(printed)
    assert r"| setting | structure | metric | counted otherwise | A & co | B\_1 \| x |" in text
    found = (
        "| heart | LV ED | HD | where every arm found it | 5.50 (3.50), n=2 | 5.50 (3.50), n=2 |"
    )
    assert found in text
    assert "| heart | LV ED | HD | a miss counts 1 mm | 5.00 (2.94) | 4.00 (3.56) |" in text
    # Nothing was missed at ES.
    assert {line.column for line in printed.misses.lines} == {"LV ED", "average"}


def test_where_cases_are_left_out_an_arm_that_missed_is_never_the_best(excluded):
    (found, missed) = (
        [cell for block in excluded.halves[0].blocks for cell in block.rows[arm].cells]
        for arm in (0, 1)
    )
    # ED, ES and average, Dice and HD each: equal distances, but b_1 missed a case at ED.
    assert [cell.best for cell in found] == [True] * 6
    assert [cell.best for cell in missed] == [False, False, True, True, False, False]


def test_excluded_cases_are_counted_and_the_diagonal_stands_below(excluded):
    text = to_markdown(excluded)
    assert "**5.50** (3.50)<br><sub>mean of 2/3 cases</sub>" in text
    assert "| 5.50 (3.50)<br><sub>1/3 missed, mean of 2/3 cases</sub>" in text
    below = "| heart | LV ED | HD | a miss counts the diagonal | 5.00 (2.94) | 10.33 (7.41) |"
    assert below in text
    assert "left out for every compared arm" in dict(excluded.footer)["Empty masks"]


def test_without_misses_nothing_stands_below(table, scores, published, here):
    whole = scores[scores["status"] == "ok"]
    printed = lay_out(table, build_table(table, whole, published), published, here)
    assert printed.misses.lines == []
    for text in (to_markdown(printed), to_latex(printed)):
        assert "Distances where a structure was missed" not in text


def test_cost_is_a_block_of_its_own(cost):
    (block,) = cost.halves[0].blocks
    assert block.headings == ["Cost"]
    text = to_markdown(cost)
    assert "| | Cost<br>Tr. (min/epoch) | Cost<br>Ts. (s/case) |" in text
    assert "| A & co | 2.50 (\N{EN DASH}) | **1.0** (0.0) |" in text
    assert r"| B\_1 \| x | _no training time recorded_ | 2.0 (0.0) |" in text


def test_a_table_that_no_paper_has_does_not_say_as(cost, printed):
    assert r"\caption{As Table 1: " in to_latex(printed)
    assert r"\caption{Accuracy" in to_latex(cost)
    assert "published" not in dict(cost.footer)["Cells"]


def test_the_footer_of_cost_says_what_was_measured(cost):
    footer = dict(cost.footer)
    assert footer["Cost"].startswith("Tr.: minutes of training steps for one pass")
    assert not {"Empty masks", "Ranks", "Post-processing"} & footer.keys()
    assert footer["Size"] == "heart: 3 cases, 2 seeds (B_1 | x: 1 seed)"


@pytest.mark.parametrize("fewer", [False, True])
def test_cost_has_no_best_where_arms_predict_other_scans(table, scores, published, here, fewer):
    speed = {"name": "Ts.", "measure": "seconds_per_case", "unit": "s/case", "decimals": 2}
    spec = Table.model_validate(table.model_dump(mode="json") | {"speed": [speed]})
    scores = scores.assign(seconds=scores["arm"].map({"a": 1.0}).fillna(2.0))
    if fewer:
        scores = scores[(scores["arm"] != "a") | (scores["case"] != "p1")]
    printed = lay_out(spec, build_table(spec, scores, published), published, here)
    *_, cost = printed.halves[0].blocks
    assert [row.cells[0].best for row in cost.rows if row.role == "compared"] == [not fewer, False]
    assert "nothing is in bold" in dict(printed.footer)["Cost"]


def test_cost_follows_the_structures_of_a_table(table, scores, published, here):
    speed = {"name": "Ts.", "measure": "seconds_per_case", "unit": "s/case", "decimals": 2}
    spec = Table.model_validate(table.model_dump(mode="json") | {"speed": [speed]})
    scores = scores.assign(seconds=1.0)
    columns = {"column": "", "metric": "Ts.", "unit": "s/case", "mean": 8.43, "std": np.nan}
    known = pd.concat([published, published.iloc[:1].assign(**columns)])
    printed = lay_out(spec, build_table(spec, scores, known), known, here)
    blocks = printed.halves[0].blocks
    assert [block.headings for block in blocks] == [["LV (ED)", "LV (ES)"], ["average"], ["Cost"]]
    assert f"**1.00** (0.00)<br><sub><em>8.43 ({NONE})</em></sub>" in to_markdown(printed)


def test_latex_has_two_lines_an_arm(printed):
    text = to_latex(printed)
    ours = r"$\mathcal{A}$ & \textbf{0.800} (0.147) & 5.00 (2.94) & \textbf{0.500} (0.000)"
    assert ours in text.replace(r"\textbf{5.00}", "5.00")
    assert r" & {\scriptsize\itshape 0.900 (0.010)} & {\scriptsize\itshape 4.50 (1.00)}" in text
    assert r"\textsuperscript{a} A copy\_error \& more." in text


@pytest.mark.parametrize("which", ["printed", "excluded", "cost"])
def test_latex_is_escaped_and_balanced(which, request):
    text = to_latex(request.getfixturevalue(which))
    assert r"Accuracy of A \& B\_1, 100\% honest" in text
    assert not re.search(r"[^\x00-\x7f]", text)
    bare = re.sub(r"\\[{}%&_$]", "", text)
    assert bare.count("{") == bare.count("}")
    for kind in ("table*", "tabular", "flushleft"):
        assert text.count(rf"\begin{{{kind}}}") == text.count(rf"\end{{{kind}}}") > 0
    for rows in re.findall(r"\\midrule\n(.*?)\\bottomrule", text, flags=re.DOTALL):
        counts = {len(re.findall(r"(?<!\\)&", line)) for line in rows.splitlines()}
        assert len(counts) == 1


def test_escapes():
    assert escape_latex(rf"a_b\c{{d}}~50% {NONE} <x>") == (
        r"a\_b\textbackslash{}c\{d\}\textasciitilde{}50\% -- \textless{}x\textgreater{}"
    )
    assert escape_markdown("a|b *c* <d>_e") == r"a\|b \*c\* \<d\>\_e"


def test_same_input_same_text(table, scores, published):
    here = Circumstances("demo", {"cardiac": "phantom"})
    shuffled = scores.sample(frac=1, random_state=0)
    texts = [
        to_markdown(
            lay_out(table, build_table(table, s, published), published, here, build_ranks(table, s))
        )
        for s in (scores, shuffled)
    ]
    assert texts[0] == texts[1]
