"""Expected shares of the samples, against those of the authors' training images."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from piecemeal.training.hierarchical import CMD, MDC, Hierarchy, Row, expected_shares

# Training images and, class by class, in how many of them it occurs (Chen et al. 2024, the lists in
# the released code): spleen, right and left kidney, gallbladder, esophagus, liver, stomach, aorta,
# inferior vena cava, pancreas, right and left adrenal gland, duodenum, bladder, prostate or uterus,
# portal and splenic vein.
OCCUR = """
abdomenct1k CT  893  891 887 885   0   0 893   0   0   0 893   0   0   0   0   0   0
amos22      CT  270  268 268 269 253 269 270 268 270 270 270 269 270 269 265 260   0
amos22      MR   54   54  54  54  49  54  54  54  54  54  54  54  54  54   2   2   0
btcv        CT   27   27  27  27  25  27  27  27  27  27  27  27  27   0   0   0  27
flare22     CT   45   45  45  45  45  45  45  45  45  45  45  45  45  45   0   0   0
nihpancreas CT   73    0   0   0   0   0   0   0   0   0  73   0   0   0   0   0   0
totalseg_v1 CT 1081  781 684 705 576 910 826 797 961 860 714 728 706 670 496   0 730
urogram     CT  109    0 109 109   0   0   0   0   0   0   0   0   0   0 109   0   0
word        CT  100  100 100 100 100 100 100 100   0   0 100 100  99 100 100   0   0
"""
SOURCES = {
    (name, modality): (int(images), list(map(int, counts)))
    for name, modality, images, *counts in map(str.split, OCCUR.strip().splitlines())
}


def rows_of_the_paper(background: bool) -> list[Row]:
    """As many images of each source; of class c the first so many show it."""
    return [
        Row(*source, _classes(i, counts, background))
        for source, (images, counts) in SOURCES.items()
        for i in range(images)
    ]


def _classes(number: int, counts: list[int], background: bool) -> set[int]:
    shown = {c for c, count in enumerate(counts, start=1) if number < count}
    return shown | {0} if background else shown


def percent(shares: dict) -> dict:
    return {source: round(100 * share, 1) for source, share in shares.items()}


def test_class_first_makes_the_few_mr_scans_half_of_the_samples():
    rows = rows_of_the_paper(background=True)
    assert len(rows) == 2652
    assert percent(expected_shares(rows, CMD)) == {
        ("amos22", "MR"): 47.1,
        ("totalseg_v1", "CT"): 11.4,
        ("amos22", "CT"): 11.4,
        ("btcv", "CT"): 10.0,
        ("flare22", "CT"): 7.8,
        ("word", "CT"): 7.0,
        ("abdomenct1k", "CT"): 2.6,
        ("urogram", "CT"): 1.9,
        ("nihpancreas", "CT"): 0.8,
    }


def test_modality_first_gives_every_data_set_of_a_modality_as_much():
    shares = expected_shares(rows_of_the_paper(background=True), MDC)
    assert shares.pop(("amos22", "MR")) == pytest.approx(1 / 2)
    assert list(shares.values()) == pytest.approx([1 / 16] * 8)


def test_random_cases_go_by_the_number_of_images():
    shares = expected_shares(rows_of_the_paper(background=False), ())
    wanted = {source: images / 2652 for source, (images, _) in SOURCES.items()}
    assert shares == pytest.approx(wanted)


def test_rows_without_a_class_are_never_drawn():
    rows = [Row("a", "CT", {1}), Row("b", "CT", set()), Row("c", "MR", ())]
    for levels in (CMD, MDC):
        assert expected_shares(rows, levels) == {("a", "CT"): 1.0}
    assert not Hierarchy(rows[1:], CMD)


rows = st.lists(
    st.builds(
        Row,
        st.sampled_from("ab"),
        st.sampled_from(["CT", "MR"]),
        st.sets(st.integers(0, 3), max_size=2),
    ),
    min_size=1,
    max_size=6,
)


@given(rows, st.sampled_from([CMD, MDC]))
def test_shares_are_how_often_the_hierarchy_draws(rows, levels):
    rows = [row._replace(number=number) for number, row in enumerate(rows)]
    shares = expected_shares(rows, levels)
    hierarchy = Hierarchy(rows, levels)
    assert bool(hierarchy) == bool(shares)
    if not shares:
        return
    assert sum(shares.values()) == pytest.approx(1)
    rng, count = np.random.default_rng(0), 600
    drawn = [hierarchy.draw(rng) for _ in range(count)]
    assert all(wanted in rows[number].classes for number, wanted in drawn)
    found = Counter((rows[number].dataset, rows[number].modality) for number, _ in drawn)
    assert set(found) <= set(shares)
    # Five standard deviations.
    slack = 5 * 0.5 / np.sqrt(count)
    assert all(abs(found[source] / count - share) < slack for source, share in shares.items())
