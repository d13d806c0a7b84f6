"""Claims on some structures of a cohort with tasks, and on normalised distances."""

from pathlib import Path

import pandas as pd
import pytest
import yaml
from pydantic import ValidationError

from piecemeal.claim_specs import Superior, load_claims
from piecemeal.errors import InputError
from piecemeal.evaluation.claims import evaluate_claims

CONFIG = Path(__file__).parents[2] / "config"
ANAND = CONFIG / "papers" / "anand2024"


def claim(**changes):
    return Superior(
        **{
            **{"kind": "superior", "claim": "one_beats_two", "statement": "One is better."},
            **{"quote": "We found it better.", "cohort": "body", "metric": "hd_mm"},
            **{"better": "one", "worse": "two"},
        }
        | changes
    )


def scores(cases=8, **of_two):
    """Arm one is 10 mm off in the hip and 1 mm in the knee; arm two what `of_two` says."""
    tasks = {"hip": "hip axial", "knee": "knee axial"}
    return pd.DataFrame(
        {
            **{"cohort": "body", "arm": arm, "dataset": "ct", "case": f"p{case}", "phase": ""},
            **{"structure": structure, "task": tasks[structure], "seed": 0, "status": "ok"},
            **{"dice": 0.5, "hd_mm": float(hd), "diagonal_mm": 100.0},
        }
        for arm, found in (("one", {"hip": 10, "knee": 1}), ("two", of_two))
        for structure, hd in found.items()
        for case in range(cases)
    )


def row(of, table):
    return evaluate_claims("paper", [of], table, {"body": None}).iloc[0]


def test_a_claim_is_about_the_structures_that_it_names():
    table = scores(hip=9, knee=3)
    assert row(claim(), table)["difference"] == pytest.approx((-1 + 2) / 2)
    found = row(claim(structures=["knee"]), table)
    assert (found["difference"], found["verdict"]) == (2, "supported")
    assert row(claim(structures=["hip"]), table)["verdict"] == "contradicted"


def test_an_unknown_structure_is_named():
    with pytest.raises(InputError, match=r"no scores of elbow in cohort body; .* hip, knee"):
        row(claim(structures=["elbow"]), scores(hip=9, knee=3))


def test_normalised_every_task_counts_alike():
    """1 mm of 10 mm in the hip against half of the largest distance in the knee."""
    table = scores(hip=8, knee=2)
    assert row(claim(), table)["verdict"] == "contradicted"
    found = row(claim(normalised=True), table)
    assert found["difference"] == pytest.approx((-2 / 10 + 1 / 2) / 2)
    assert (found["verdict"], found["metric"]) == ("supported", "hd_mm, normalised")


def test_a_miss_counts_the_diagonal_before_it_is_divided():
    table = scores(hip=10, knee=3)
    missed = (table["arm"] == "two") & (table["case"] == "p0") & (table["structure"] == "knee")
    table.loc[missed, ["status", "hd_mm"]] = ["missed", None]
    found = row(claim(normalised=True, structures=["knee"]), table)
    # The largest is the diagonal, 100: one patient is 0.99 behind, seven are 0.02 behind.
    assert found["difference"] == pytest.approx((0.99 + 7 * 0.02) / 8)


def test_distances_of_nothing_are_not_divided():
    table = scores(hip=10, knee=1).assign(hd_mm=0.0)
    assert row(claim(normalised=True), table)["difference"] == 0


def test_a_task_that_only_one_arm_has_learned_is_not_compared():
    found = row(claim(), scores(hip=12))
    assert (found["difference"], found["n_cases"]) == (2, 8)


def test_tasks_of_a_scan_are_one_patient():
    assert row(claim(), scores(hip=12, knee=2))["n_cases"] == 8


def test_dice_scores_are_not_normalised():
    with pytest.raises(ValidationError, match="normalised: of distances only"):
        claim(metric="dice", normalised=True)


# ---- the claims of the paper ----


@pytest.fixture(scope="module")
def anand():
    return load_claims(ANAND / "claims.yaml")


def test_anand_arms_cohorts_and_structures_exist(anand):
    runs = pd.read_csv(ANAND / "runs.tsv", sep="\t")
    known = set(zip(runs.cohort, runs.arm, strict=True))
    for one in anand:
        cohort = yaml.safe_load((CONFIG / "cohorts" / f"{one.cohort}.yaml").read_text())
        assert one.claim.endswith(f"_{one.cohort}")
        assert {(one.cohort, one.better), (one.cohort, one.worse)} <= known
        assert set(one.structures) <= set(cohort["structures"])


def test_anand_claims_on_the_other_projections_leave_out_the_knee_from_the_front(anand):
    """All of the nine tasks of the paper but one; those of the head come later."""
    tasks = yaml.safe_load((CONFIG / "cohorts" / "extremities.yaml").read_text())["tasks"]
    first = {s for task, names in tasks.items() if not task.startswith("head") for s in names}
    for one in anand:
        if one.claim.startswith("label_sharing_nearer_than"):
            assert set(one.structures) == first - set(tasks["knee_coronal"])


def test_anand_margins_follow_from_the_published_table(anand):
    published = pd.read_csv(ANAND / "published" / "table1.csv")
    means = published.pivot(index="task", columns="method", values="mean")
    for one in (one for one in anand if one.kind == "close" and one.metric == "dice"):
        shortfall = means[one.better] - means[one.worse]
        chosen = shortfall.loc[["head"]] if one.structures else shortfall
        assert one.margin == pytest.approx(chosen.max())
