"""Claims on score tables built to support them, to contradict them, and to decide nothing."""

from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from piecemeal.errors import InputError
from piecemeal.evaluation.claims import (
    COLUMNS,
    Close,
    LargerGain,
    Superior,
    evaluate_claims,
    load_claims,
)

CONFIG = Path(__file__).parents[2] / "config" / "papers" / "kemnitz2018"
COMMON = {
    "statement": "One is better.",
    "quote": "We found it better.",
    "cohort": "heart",
    "better": "one",
    "worse": "two",
}


def superior(**changes):
    return Superior(**COMMON | {"claim": "one_beats_two", "kind": "superior"} | changes)


def close(**changes):
    return Close(
        **COMMON
        | {"claim": "two_is_close", "kind": "close", "margin": 0.05, "margin_reason": "chosen"}
        | changes
    )


def larger_gain(**changes):
    return LargerGain(
        **COMMON
        | {
            "claim": "more_in_a",
            "kind": "larger_gain",
            "structures": ["a"],
            "others": ["b"],
        }
        | changes
    )


def scores(differences, other_differences=None, metric="dice", seeds=(0, 1), **columns):
    """Scores of arms one and two, patient by patient that much apart in structure a (and b)."""
    per_structure = {"a": differences, "b": differences}
    if other_differences is not None:
        per_structure["b"] = other_differences
    rows = [
        {
            "cohort": "heart",
            "arm": arm,
            "dataset": "acdc",
            "case": f"patient{i:03}",
            "phase": phase,
            "structure": structure,
            "seed": seed,
            "status": "ok",
            "dice": 0.8,
            "hd_mm": 8.0,
        }
        | {metric: 0.8 + i / 1000 + (difference if arm == "one" else 0)}
        | columns
        for structure, values in per_structure.items()
        for i, difference in enumerate(values)
        for phase in ("ED", "ES")
        for seed in seeds
        for arm in ("one", "two")
    ]
    return pd.DataFrame(rows)


def spread(centre, width, n=12):
    """Return n values around `centre`, evenly up to `width` away."""
    return centre + width * np.linspace(-1, 1, n)


def verdict(claim, table):
    return evaluate_claims("paper", [claim], table).iloc[0].verdict


# ---- each kind, each verdict ----


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        (spread(0.04, 0.03), "supported"),
        (spread(-0.04, 0.03), "contradicted"),
        (spread(0.002, 0.03), "inconclusive"),
        (np.zeros(12), "inconclusive"),
    ],
)
def test_superior(differences, expected):
    assert verdict(superior(), scores(differences)) == expected
    # A distance is better when it is shorter.
    by_distance = scores(-differences, metric="hd_mm")
    assert verdict(superior(metric="hd_mm"), by_distance) == expected


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        (spread(0.01, 0.03), "supported"),
        (spread(-0.2, 0.03), "supported"),
        (spread(0.09, 0.03), "contradicted"),
        (spread(0.05, 0.03), "inconclusive"),
    ],
)
def test_close(differences, expected):
    row = evaluate_claims("paper", [close()], scores(differences)).iloc[0]
    assert row.verdict == expected
    assert np.isnan(row.p_value)
    assert np.isnan(row.p_holm)


@pytest.mark.parametrize(
    ("gain", "other_gain", "expected"),
    [
        (spread(0.05, 0.02), spread(0.01, 0.02), "supported"),
        (spread(0.01, 0.02), spread(0.05, 0.01), "contradicted"),
        (spread(0.05, 0.02), spread(0.05, 0.01), "inconclusive"),
    ],
)
def test_larger_gain(gain, other_gain, expected):
    assert verdict(larger_gain(), scores(gain, other_gain)) == expected


# ---- numbers ----


def test_row_of_claims_csv():
    table = evaluate_claims("kemnitz2018", [superior()], scores(spread(0.04, 0.03)))
    assert table.columns.tolist() == COLUMNS
    row = table.iloc[0]
    assert (row.paper, row.claim, row.statement) == (
        "kemnitz2018",
        "one_beats_two",
        "One is better.",
    )
    assert (row.metric, row.better, row.worse) == ("dice", "one", "two")
    assert row.difference == pytest.approx(0.04)
    assert row.ci_low < 0.04 < row.ci_high
    # All of 12 patients differ the same way: 2 of 2^12 sign patterns.
    assert row.p_value == row.p_holm == pytest.approx(2 / 2**12)
    assert (row.n_cases, row.n_seeds) == (12, 2)


def test_holm_runs_over_the_tested_claims_only():
    claims = [superior(), close(), superior(claim="again"), superior(claim="gone", better="three")]
    table = evaluate_claims("paper", claims, scores(spread(0.04, 0.03)))
    assert table.claim.tolist() == ["one_beats_two", "two_is_close", "again"]
    assert table.p_holm[0] == pytest.approx(2 * table.p_value[0])


def test_correction_can_take_a_verdict_away():
    # 6 patients: p = 2 / 64 alone, 4 / 64 as one of two.
    table = scores(spread(0.04, 0.03, n=6))
    assert verdict(superior(), table) == "supported"
    both = evaluate_claims("paper", [superior(), superior(claim="again")], table)
    assert both.verdict.tolist() == ["inconclusive"] * 2


def test_patients_are_the_unit_not_scans():
    # 5 patients, each with 2 phases, 2 structures and 2 seeds, are still 5.
    table = evaluate_claims("paper", [superior(), close()], scores(spread(0.04, 0.03, n=5)))
    assert table.n_cases.tolist() == [5, 5]
    assert table.verdict.tolist() == ["inconclusive"] * 2


def test_same_case_name_in_two_datasets_is_two_patients():
    both = pd.concat([scores(spread(0.04, 0.03)), scores(spread(0.04, 0.03), dataset="mnms")])
    assert evaluate_claims("paper", [superior()], both).n_cases[0] == 24


def test_only_the_cohort_of_the_claim_counts():
    table = scores(spread(0.04, 0.03))
    other = scores(spread(-0.4, 0.03), cohort="thigh")
    assert evaluate_claims("paper", [superior()], pd.concat([table, other])).difference[
        0
    ] == pytest.approx(0.04)


# ---- empty structures ----


def test_missed_counts_and_both_empty_does_not():
    table = scores(np.zeros(8), seeds=(0,))
    # Arm two misses structure a of one patient in both phases; structure b of another patient is
    # absent altogether.
    missed = (table.arm == "two") & (table.case == "patient000") & (table.structure == "a")
    table.loc[missed, ["status", "dice"]] = ["missed", 0.0]
    absent = (table.case == "patient001") & (table.structure == "b")
    table.loc[absent, "dice"] = np.nan
    table.loc[absent, "status"] = "both_empty"
    row = evaluate_claims("paper", [superior()], table).iloc[0]
    # 0.8 in one of two structures of one of eight patients.
    assert row.difference == pytest.approx(0.8 / 2 / 8)
    assert row.n_cases == 8


def test_undefined_distances_are_left_out_in_pairs():
    table = scores(np.full(8, -1.0), metric="hd_mm")
    table.loc[(table.arm == "two") & (table.case == "patient000"), ["status", "hd_mm"]] = [
        "missed",
        np.nan,
    ]
    row = evaluate_claims("paper", [superior(metric="hd_mm")], table).iloc[0]
    assert row.n_cases == 7
    assert row.difference == pytest.approx(1)


def test_nothing_to_compare_is_inconclusive():
    table = scores(np.zeros(8)).assign(status="both_empty", dice=np.nan)
    result = evaluate_claims("paper", [superior(), close(), larger_gain()], table)
    assert result.verdict.tolist() == ["inconclusive"] * 3
    assert result.n_cases.tolist() == [0, 0, 0]
    assert result.difference.isna().all()


# ---- absent runs, odd tables ----


def test_claims_without_runs_are_left_out():
    table = scores(spread(0.04, 0.03))
    for claim in (superior(cohort="thigh"), superior(worse="three")):
        result = evaluate_claims("paper", [claim], table)
        assert result.columns.tolist() == COLUMNS
        assert result.empty


def test_an_empty_phase_survives_a_csv_file():
    table = scores(spread(0.04, 0.03)).query("phase == 'ED'").assign(phase="")
    read_back = pd.read_csv(StringIO(table.to_csv(index=False)))
    assert read_back.phase.isna().all()
    row = evaluate_claims("paper", [superior()], read_back).iloc[0]
    assert (row.n_cases, row.verdict) == (12, "supported")


def test_a_run_given_twice_is_an_error():
    table = scores(spread(0.04, 0.03))
    with pytest.raises(InputError, match=r"arm one has more than one score for .*patient000"):
        evaluate_claims("paper", [superior()], pd.concat([table, table]))


def test_unknown_structures_are_an_error():
    with pytest.raises(InputError, match=r"more_in_a: no scores of c in cohort heart.* a, b"):
        evaluate_claims("paper", [larger_gain(structures=["c"])], scores(np.zeros(8)))


# ---- the file ----


def written(folder, **changes):
    path = folder / "claims.yaml"
    claim = COMMON | {"claim": "one_beats_two", "kind": "superior"} | changes
    path.write_text(yaml.safe_dump({"claims": [claim]}))
    return path


def test_reads_a_file(tmp_path):
    assert load_claims(written(tmp_path)) == [superior()]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"beter": "one"}, "beter"),
        ({"metric": "iou"}, "metric"),
        ({"kind": "best"}, "kind"),
        ({"claim": "SLAC wins"}, "claim"),
        ({"kind": "close", "margin": -1, "margin_reason": "x"}, "margin"),
        ({"kind": "close"}, "margin_reason"),
    ],
)
def test_a_wrong_key_names_file_and_key(tmp_path, changes, named):
    path = written(tmp_path, **changes)
    with pytest.raises(InputError) as error:
        load_claims(path)
    assert str(path) in str(error.value)
    assert named in str(error.value)


def test_ids_must_differ(tmp_path):
    path = written(tmp_path)
    content = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({"claims": content["claims"] * 2}))
    with pytest.raises(InputError, match="repeated: one_beats_two"):
        load_claims(path)


# ---- the claims of the paper ----


def test_kemnitz_arms_and_cohorts_exist():
    runs = pd.read_csv(CONFIG / "runs.tsv", sep="\t")
    known = set(zip(runs.cohort, runs.arm, strict=True))
    for claim in load_claims(CONFIG / "claims.yaml"):
        assert claim.claim.endswith(f"_{claim.cohort}")
        assert {(claim.cohort, claim.better), (claim.cohort, claim.worse)} <= known


def test_kemnitz_margins_follow_from_the_published_table():
    published = pd.read_csv(CONFIG / "published" / "table2.csv").query("metric == 'DSC'")
    means = published.pivot(index=["anatomy", "structure"], columns="method", values="mean")
    shortfall = (means["xent-ub"] - means["slac"]).groupby("anatomy").max()
    margins = {c.cohort: c.margin for c in load_claims(CONFIG / "claims.yaml") if c.kind == "close"}
    assert margins == pytest.approx(shortfall.to_dict())
