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
COHORTS = {"heart": None, "thigh": "real data only"}


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


def evaluate(claims, table, paper="paper", cohorts=COHORTS):
    return evaluate_claims(paper, claims, table, cohorts)


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
    return evaluate([claim], table).iloc[0].verdict


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
    row = evaluate([close()], scores(differences)).iloc[0]
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
    table = evaluate([superior()], scores(spread(0.04, 0.03)), paper="kemnitz2018")
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
    claims = [superior(), close(), superior(claim="again"), superior(claim="gone", cohort="thigh")]
    table = evaluate(claims, scores(spread(0.04, 0.03)))
    assert table.claim.tolist() == ["one_beats_two", "two_is_close", "again"]
    assert table.p_holm[0] == pytest.approx(2 * table.p_value[0])


def test_correction_can_take_a_verdict_away():
    # 6 patients: p = 2 / 64 alone, 4 / 64 as one of two.
    table = scores(spread(0.04, 0.03, n=6))
    assert verdict(superior(), table) == "supported"
    both = evaluate([superior(), superior(claim="again")], table)
    assert both.verdict.tolist() == ["inconclusive"] * 2


def test_patients_are_the_unit_not_scans():
    # 5 patients, each with 2 phases, 2 structures and 2 seeds, are still 5.
    table = evaluate([superior(), close()], scores(spread(0.04, 0.03, n=5)))
    assert table.n_cases.tolist() == [5, 5]
    assert table.verdict.tolist() == ["inconclusive"] * 2


def test_same_case_name_in_two_datasets_is_two_patients():
    both = pd.concat([scores(spread(0.04, 0.03)), scores(spread(0.04, 0.03), dataset="mnms")])
    assert evaluate([superior()], both).n_cases[0] == 24


def test_only_the_cohort_of_the_claim_counts():
    table = scores(spread(0.04, 0.03))
    other = scores(spread(-0.4, 0.03), cohort="thigh")
    assert evaluate([superior()], pd.concat([table, other])).difference[0] == pytest.approx(0.04)


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
    row = evaluate([superior()], table).iloc[0]
    # 0.8 in one of two structures of one of eight patients.
    assert row.difference == pytest.approx(0.8 / 2 / 8)
    assert row.n_cases == 8


def of(table, arm, structure="a", case="patient000"):
    return (table.arm == arm) & (table.case == case) & (table.structure == structure)


@pytest.mark.parametrize(("inventor", "sign"), [("one", -1), ("two", 1)])
def test_inventing_an_absent_structure_costs_its_arm(inventor, sign):
    table = scores(np.zeros(8), seeds=(0,))
    other = "two" if inventor == "one" else "one"
    table.loc[of(table, inventor), ["status", "dice"]] = ["invented", 0.0]
    table.loc[of(table, other), ["status", "dice"]] = ["both_empty", np.nan]
    row = evaluate([superior()], table).iloc[0]
    # 1 against 0 in one of two structures of one of eight patients.
    assert row.difference == pytest.approx(sign * 1 / 2 / 8)
    assert row.n_cases == 8


def test_inventing_in_every_patient_decides():
    table = scores(np.zeros(8))
    absent = table.structure == "a"
    table.loc[absent & (table.arm == "one"), ["status", "dice"]] = ["both_empty", np.nan]
    table.loc[absent & (table.arm == "two"), ["status", "dice"]] = ["invented", 0.0]
    result = evaluate([superior(), close(), larger_gain()], table)
    # Structure a: 1 against 0; structure b: no difference.
    assert result.difference.tolist() == pytest.approx([0.5, 0.5, 1.0])
    assert result.verdict.tolist() == ["supported", "contradicted", "supported"]


def test_inventing_by_both_arms_is_a_tie():
    table = scores(np.zeros(8))
    for arm in ("one", "two"):
        table.loc[of(table, arm), ["status", "dice"]] = ["invented", 0.0]
    row = evaluate([superior()], table).iloc[0]
    assert (row.difference, row.n_cases) == (0, 8)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("missed", "ok"),
        ("ok", "missed"),
        ("missed", "missed"),
        ("invented", "both_empty"),
        ("both_empty", "invented"),
        ("invented", "invented"),
    ],
)
def test_a_distance_that_is_lacking_forbids_a_verdict(one, two):
    claims = [
        superior(metric="hd_mm"),
        close(metric="hd_mm", margin=2),
        larger_gain(metric="hd_mm"),
    ]
    # One is shorter by 1 mm in structure a, as long in structure b.
    table = scores(np.full(8, -1.0), np.zeros(8), metric="hd_mm")
    assert evaluate(claims, table).verdict.tolist() == ["supported"] * 3

    # In one phase of one patient and one seed: a single pair of 64.
    here = (table.phase == "ED") & (table.seed == 0)
    for arm, status in (("one", one), ("two", two)):
        value = 7.0 if status == "ok" else np.nan
        table.loc[here & of(table, arm), ["status", "hd_mm"]] = [status, value]
    result = evaluate(claims, table)
    assert result.verdict.tolist() == ["inconclusive"] * 3
    # The other pairs are still described: patient000, seed 0 averages over 3 pairs, not 4.
    mean = (7 * 1 / 2 + (1 / 3 + 1 / 2) / 2) / 8
    assert result.difference.tolist() == pytest.approx([mean, mean, 1])
    assert result.ci_low.notna().all()
    assert result.n_cases.tolist() == [8, 8, 8]


def test_a_patient_without_any_distance_is_not_counted():
    table = scores(np.full(8, -1.0), metric="hd_mm")
    missed = (table.arm == "two") & (table.case == "patient000")
    table.loc[missed, ["status", "hd_mm"]] = ["missed", np.nan]
    row = evaluate([superior(metric="hd_mm")], table).iloc[0]
    assert (row.n_cases, row.verdict) == (7, "inconclusive")
    assert row.difference == pytest.approx(1)


def test_distances_lacking_where_both_are_rightly_empty_or_not_asked_for_do_not_matter():
    table = scores(np.full(8, -1.0), np.zeros(8), metric="hd_mm")
    absent = (table.structure == "a") & (table.case == "patient000")
    table.loc[absent, ["status", "hd_mm"]] = ["both_empty", np.nan]
    assert verdict(superior(metric="hd_mm"), table) == "supported"

    # Structure c is no part of what the claim says of a and b.
    rest = table[table.structure == "a"].assign(structure="c", status="missed", hd_mm=np.nan)
    table = pd.concat([table, rest])
    assert verdict(larger_gain(metric="hd_mm"), table) == "supported"
    assert verdict(superior(metric="hd_mm"), table) == "inconclusive"


def test_nothing_to_compare_is_inconclusive():
    table = scores(np.zeros(8)).assign(status="both_empty", dice=np.nan)
    result = evaluate([superior(), close(), larger_gain()], table)
    assert result.verdict.tolist() == ["inconclusive"] * 3
    assert result.n_cases.tolist() == [0, 0, 0]
    assert result.difference.isna().all()


# ---- absent runs, odd tables ----


def test_claims_about_a_cohort_that_was_not_run_are_left_out():
    # Its arms have no scores there, and that is no error.
    result = evaluate([superior(cohort="thigh")], scores(spread(0.04, 0.03)))
    assert result.columns.tolist() == COLUMNS
    assert result.empty


def test_an_unknown_cohort_is_an_error():
    with pytest.raises(InputError) as error:
        evaluate([superior(cohort="hart")], scores(spread(0.04, 0.03)), paper="who2020")
    for named in ("config/papers/who2020/claims.yaml", "one_beats_two", "hart", "heart, thigh"):
        assert named in str(error.value)


@pytest.mark.parametrize("side", ["better", "worse"])
def test_an_arm_without_scores_is_an_error(side):
    # Scores in another cohort do not help.
    table = pd.concat(
        [
            scores(spread(0.04, 0.03)),
            scores(spread(0.04, 0.03), cohort="thigh").assign(arm="three"),
        ]
    )
    with pytest.raises(InputError) as error:
        evaluate([superior(**{side: "three"})], table, paper="who2020")
    for named in ("config/papers/who2020/claims.yaml", "one_beats_two", "arm three", "one, two"):
        assert named in str(error.value)


def test_a_cohort_that_was_run_but_has_no_scores_is_an_error():
    with pytest.raises(InputError, match=r"arm one, .* the arms there are none"):
        evaluate([superior(cohort="thigh")], scores(np.zeros(8)), cohorts={"thigh": None})


def test_an_empty_phase_survives_a_csv_file():
    table = scores(spread(0.04, 0.03)).query("phase == 'ED'").assign(phase="")
    read_back = pd.read_csv(StringIO(table.to_csv(index=False)))
    assert read_back.phase.isna().all()
    row = evaluate([superior()], read_back).iloc[0]
    assert (row.n_cases, row.verdict) == (12, "supported")


def test_a_run_given_twice_is_an_error():
    table = scores(spread(0.04, 0.03))
    with pytest.raises(InputError, match=r"arm one has more than one score for .*patient000"):
        evaluate([superior()], pd.concat([table, table]))


def test_unknown_structures_are_an_error():
    with pytest.raises(InputError, match=r"more_in_a: no scores of c in cohort heart.* a, b"):
        evaluate([larger_gain(structures=["c"])], scores(np.zeros(8)))


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
