import re

import pytest

from piecemeal.publishing.formats import escape_latex, escape_markdown, to_latex, to_markdown
from piecemeal.publishing.printed import NONE, Circumstances, lay_out
from piecemeal.publishing.tables import POLICY, build_table


@pytest.fixture
def printed(table, scores, published):
    here = Circumstances(
        "demo", {"cardiac": "phantom"}, {"heart": "as predicted"}, ["100 steps & no patience"]
    )
    return lay_out(table, build_table(table, scores, published), published, here)


def test_blocks_follow_the_printed_width(printed):
    half = printed.halves[0]
    assert [block.headings for block in half.blocks] == [["LV (ED)", "LV (ES)"], ["average"]]
    assert [len(row.cells) for row in half.blocks[0].rows] == [4, 4, 4]


def test_best_compared_arm_is_bold_and_ties_share_it(printed):
    rows = {row.label: row.cells for row in printed.halves[0].blocks[0].rows}
    # DSC at ED: 0.8 against 0.5; DSC at ES: 0.5 against 0.5
    assert [rows["A & co"][0].best, rows["B_1 | x"][0].best] == [True, False]
    assert [rows["A & co"][2].best, rows["B_1 | x"][2].best] == [True, True]


def test_phantoms_are_named_in_caption_and_footer(printed):
    assert "phantoms, not from patients" in printed.caption
    assert "phantom, not patients" in dict(printed.footer)["Data"]


def test_real_data_are_not_called_phantoms(table, scores, published):
    here = Circumstances("pocket", {"cardiac": "ACDC, 100 patients"})
    printed = lay_out(table, build_table(table, scores, published), published, here)
    assert printed.caption == table.title
    assert dict(printed.footer)["Data"] == "heart: ACDC, 100 patients"
    assert "phantom" not in to_markdown(printed) + to_latex(printed)


def test_footer_says_how_to_read_the_numbers(printed):
    footer = dict(printed.footer)
    assert footer["Scale"] == "demo"
    assert footer["Size"] == "heart: 3 cases, 2 seeds"
    assert footer["Shortened against the paper"] == "100 steps & no patience"
    assert footer["Empty masks"] == POLICY
    assert footer["Post-processing"] == "heart: as predicted"


def test_footer_says_why_nothing_was_run(table, scores, published):
    rows = build_table(table, scores.iloc[:0], published, {"cardiac": "private data"})
    footer = dict(lay_out(table, rows, published, Circumstances("paper", {})).footer)
    assert footer["Not run"] == "heart: not run: private data"
    assert footer["Size"] == "nothing was run"


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


def test_a_miss_is_shown_with_both_other_conventions(printed):
    text = to_markdown(printed)
    assert f"_1/3 missed_<br><sub><em>{NONE}</em></sub>" in text
    missed = r"| heart | B_1 \| x | LV ED | HD | 1 of 3 missed | 5.50 (3.50) | 4.00 (3.56) |"
    assert missed.replace("B_1", r"B\_1") in text


def test_latex_has_two_lines_an_arm(printed):
    text = to_latex(printed)
    ours = r"$\mathcal{A}$ & \textbf{0.800} (0.147) & 5.00 (2.94) & \textbf{0.500} (0.000)"
    assert ours in text.replace(r"\textbf{5.00}", "5.00")
    assert r" & {\scriptsize\itshape 0.900 (0.010)} & {\scriptsize\itshape 4.50 (1.00)}" in text
    assert r"\textsuperscript{a} A copy\_error \& more." in text


def test_latex_is_escaped_and_balanced(printed):
    text = to_latex(printed)
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
        to_markdown(lay_out(table, build_table(table, s, published), published, here))
        for s in (scores, shuffled)
    ]
    assert texts[0] == texts[1]
