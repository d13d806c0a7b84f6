import re

import numpy as np
import pandas as pd
import pytest

from piecemeal.errors import InputError
from piecemeal.papers import Paper
from piecemeal.publishing.printed import NONE, Circumstances, lay_out
from piecemeal.publishing.report import (
    PaperSection,
    ReportFigure,
    ScaleNotice,
    build_report,
    duration,
)
from piecemeal.publishing.tables import build_table

PAPER = Paper(
    key="doe2020",
    title="Segmenting <b>everything</b>",
    citation="J. Doe. Segmenting everything. 2020.",
    url="https://example.org/doe2020",
    bibtex="@article{doe2020, title = {Segmenting everything}}",
)
RUN = {
    **{"scale": "demo", "cohort": "cardiac", "annotation": "half", "method": "slac", "seed": 0},
    **{"commit": "0123456789abcdef", "clean": False, "source_hash": "a1b2c3d4e5"},
    **{"data_manifest_sha256": "f" * 64, "lock_sha256": None, "device": "CPU", "seconds": 3700.4},
    **{"gpu_hours": 0.0, "peak_memory_mib": 812.4, "parameters": 25274472, "steps": 2000},
    **{
        "minutes_per_epoch": 0.61049,
        "best_step": 1500,
        "precision": "float32",
        "resumed_at_steps": [700],
    },
}


def claim(**changes):
    return {
        **{"paper": "doe2020", "claim": "c", "statement": "A beats <i>B</i>", "metric": "dice"},
        **{"better": "a", "worse": "b_1", "difference": 0.041, "ci_low": -0.01, "ci_high": 0.05},
        **{"p_value": 0.01, "p_holm": 0.0004, "n_cases": 3, "n_seeds": 2, "verdict": "supported"},
        **{"p_least": 0.0002},
    } | changes


@pytest.fixture
def build(table, scores, published, tmp_path):
    rows = build_table(table, scores, published)
    here = Circumstances("demo", {"cardiac": "phantom"})
    printed = lay_out(table, rows, published, here)
    picture = tmp_path / "figure.svg"
    picture.write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")

    def page(sources=None, runs=(RUN,), claims=None, figure=picture):
        notice = "Short training & small networks."
        sources = {"acdc": "phantom"} if sources is None else sources
        scale = ScaleNotice("demo", "Demo", notice, ["100 steps"], sources)
        claims = pd.DataFrame(claims or [claim(), claim(verdict="inconclusive", p_holm=np.nan)])
        figures = [ReportFigure("Cases", "Every dot is a case.", figure)]
        section = PaperSection(PAPER, [printed], claims, figures)
        build_report(tmp_path / "report.html", scale, [section], runs)
        return (tmp_path / "report.html").read_text(encoding="utf-8")

    return page


def test_nothing_is_loaded_from_elsewhere(build):
    page = build()
    sources = re.findall(r'src="([^"]*)"', page)
    assert sources
    assert all(source.startswith("data:image/svg+xml;base64,") for source in sources)
    links = set(re.findall(r'href="([^"]*)"', page))
    assert {link for link in links if not link.startswith("#")} == {PAPER.url}
    assert not re.search(r"<(link|script|iframe|object|embed)\b|@import|url\(|file:", page)


def test_links_within_the_page_have_targets(build):
    page = build()
    for target in re.findall(r'href="#([^"]*)"', page):
        assert f'id="{target}"' in page


def test_phantoms_are_announced(build):
    page = build()
    assert "Built-in phantoms, not real patients:</strong> acdc" in page
    assert "phantoms, not from patients" in page
    assert "Short training &amp; small networks." in page
    assert "<li>100 steps</li>" in page


def test_real_data_have_no_phantom_banner(build):
    assert "Built-in phantoms" not in build(sources={"acdc": "local"})


def test_text_is_escaped(build):
    page = build()
    assert "A beats &lt;i&gt;B&lt;/i&gt;" in page
    assert "Segmenting &lt;b&gt;everything&lt;/b&gt;" in page
    assert "<i>" not in page


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"p_least": 0.125}, "too few to decide it: no corrected p below 0.125"),
        ({"p_least": np.nan, "n_cases": 0}, "there is no case to test it on"),
        ({"p_least": 0.049}, None),
    ],
)
def test_claims_that_cannot_be_decided_say_so(build, changes, said):
    page = build(claims=[claim(verdict="inconclusive", **changes)])
    remarks = re.findall(r'inconclusive</span><small class="remark">([^<]*)</small>', page)
    assert remarks == ([said] if said else [])


def test_claims_show_difference_interval_p_and_verdict(build):
    page = build()
    assert '<span class="chip supported">1 supported</span>' in page
    assert '<span class="chip contradicted">0 contradicted</span>' in page
    assert "+0.041<br>" in page
    assert "[\N{MINUS SIGN}0.010, +0.050]" in page
    assert "&lt; 0.001" in page
    assert "3 &times; 2" in page


def test_table_shows_ours_and_the_published_number(build):
    page = build()
    assert '<b>0.800</b> <span class="std">(0.147)</span>' in page
    assert '<small class="published">0.900 (0.010)</small>' in page
    assert "1/3 missed" in page


def test_what_was_run_is_told(build):
    page = build(runs=[RUN, RUN | {"seed": 1, "seconds": 59.6, "resumed_at_steps": []}])
    for fact in ("2, seeds 0, 1", "25,274,472", "1 h 01 min", "1 min 00 s", "812 MiB"):
        assert fact in page
    assert "<td>2</td><td><code>0123456789ab</code></td><td>changed</td>" in page
    assert "the same seed gives the same weights" in page


def test_a_gpu_is_said_to_be_not_deterministic(build):
    page = build(runs=[RUN | {"device": "NVIDIA H200", "gpu_hours": 1.25}])
    assert "1.25 GPU hours" in page
    assert "repeat only to within rounding" in page


def test_untrained_methods_have_no_parameters(build):
    untrained = RUN | {"method": "oracle", "parameters": 0, "best_step": None, "steps": 0}
    assert f'<td class="number">{NONE}</td>' in build(runs=[untrained])


@pytest.mark.parametrize(
    ("minutes", "text"), [(0.0012345, "0.00123"), (2.0, "2"), (61.049, "61"), (4567.8, "4570")]
)
def test_minutes_per_epoch_have_three_digits(build, minutes, text):
    page = build(runs=[RUN | {"minutes_per_epoch": minutes}])
    assert f'1 h 01 min</td><td class="number">{text}</td>' in page


def test_untrained_methods_have_no_minutes_per_epoch(build):
    page = build(runs=[RUN | {"minutes_per_epoch": None}])
    assert f'1 h 01 min</td><td class="number">{NONE}</td>' in page


def test_runs_of_older_code_have_no_minutes_per_epoch(build):
    """Kept as equivalent, they were never asked for it."""
    older = {key: value for key, value in RUN.items() if key != "minutes_per_epoch"}
    assert f'1 h 01 min</td><td class="number">{NONE}</td>' in build(runs=[older])


def test_same_input_same_page(build):
    runs = [RUN, RUN | {"seed": 1}]
    assert build(runs=runs) == build(runs=runs[::-1])


def test_an_absent_figure_is_named(build, tmp_path):
    with pytest.raises(InputError, match=r"gone.png: figure cannot be read"):
        build(figure=tmp_path / "gone.png")


def test_only_pictures_are_embedded(build, tmp_path):
    with pytest.raises(InputError, match=r"figure.pdf: the report embeds .svg and .png"):
        build(figure=tmp_path / "figure.pdf")


def test_an_unknown_verdict_is_refused(build):
    with pytest.raises(InputError, match=r"doe2020.*proven.*allowed.*supported"):
        build(claims=[claim(verdict="proven")])


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")],
)
def test_duration(seconds, text):
    assert duration(seconds) == text
