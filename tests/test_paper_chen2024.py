"""The folder of Chen et al. 2024: every printed number has a row, and every claim its arms."""

import numpy as np
import pandas as pd
import pytest

from piecemeal.claim_specs import load_claims
from piecemeal.cohort_specs import CohortConfig
from piecemeal.papers import load_paper
from piecemeal.publishing.published import as_printed, read_published
from piecemeal.validation import load_model

PRINTED = {"table1": 6, "table2": 4, "table3": 3, "table4": 6 * 17, "table5": 6 * 9}
PRINTED |= {"table6": 3 * 17, "table7": 4, "table8": 6, "table9": 3}
PRINTED["table1_last"] = PRINTED["table1"]  # once more


@pytest.fixture(scope="module")
def paper(pytestconfig):
    return load_paper(pytestconfig.rootpath / "config" / "papers" / "chen2024")


@pytest.fixture(scope="module")
def cohort(pytestconfig):
    path = pytestconfig.rootpath / "config" / "cohorts" / "abdominal.yaml"
    return load_model(path, CohortConfig)


@pytest.fixture(scope="module")
def tables(paper):
    return {table.key: table for table in paper.tables}


def test_all_nine_tables_are_there(tables):
    assert {key for key, table in tables.items() if table.published} == set(PRINTED)


def test_table_1_is_shown_with_the_last_weights_as_well(tables):
    one, last = tables["table1"], tables["table1_last"]
    assert [key for key, table in tables.items() if table.weights == "last"] == ["table1_last"]
    assert [arm.name for arm in last.arms] == one.compared
    assert (last.halves, last.published) == (one.halves, one.published)


@pytest.mark.parametrize("key", PRINTED)
def test_every_printed_number_has_a_row_of_the_same_name(tables, paper, key):
    table = tables[key]
    path = paper.folder / table.published.file
    typed = pd.read_csv(path)
    read = read_published(table, paper.folder)
    assert len(typed) == len(read) == PRINTED[key]
    assert typed[["mean", "std"]].notna().all(axis=None)
    names = ["method", "base", "setting", "column", "metric", "unit"]
    assert as_printed(table, read)[names].to_numpy().tolist() == typed[names].to_numpy().tolist()
    assert (read[["mean", "std"]] == typed[["mean", "std"]]).all(axis=None)


def test_every_row_but_floor_and_ceiling_is_printed(tables, paper):
    for key in PRINTED:
        table = tables[key]
        read = read_published(table, paper.folder)
        assert set(read["method"]) == set(table.compared), key


def test_printed_averages_are_those_of_their_rows_but_one(tables, paper):
    for key in ("table4", "table6"):
        table = tables[key]
        read = read_published(table, paper.folder)
        for arm, row in read.groupby("method"):
            average = row["column"] == "average"
            (printed,) = row[average].to_dict("records")
            ours = row.loc[~average, ["mean", "std"]].mean()
            # Columns and average are rounded to a tenth each.
            assert abs(ours["std"] - printed["std"]) <= 0.1
            follows = bool(abs(ours["mean"] - printed["mean"]) <= 0.1)
            assert follows == (arm != "ours-mednext")
            assert bool(printed["note"]) == (arm == "ours-mednext")


def test_arms_of_several_tables_are_one_run(paper, tables):
    runs = [(run.cohort, run.annotation, run.method, run.length) for run in paper.runs]
    assert len(set(runs)) == len(runs)
    shared = [key for key, table in tables.items() if "ours" in table.compared]
    assert {"table1", "table2", "table3", "table4", "table5", "table6", "table7"} <= set(shared)


def test_baselines_train_twice_as_long(paper):
    assert {run.arm for run in paper.runs if run.length == 2} == {"dodnet", "clip-driven"}


def test_columns_are_what_the_cohort_has(tables, cohort):
    halves = [half for table in tables.values() for half in table.halves]
    columns = [column for half in halves for column in half.columns]
    named = {name for column in columns for name in column.members}
    assert named == set(cohort.structures)
    assert (cohort.scoring.least_voxels, cohort.scoring.resampled) == (50, "labels")
    assert {half.cohort for half in halves} == {"abdominal"}


def test_overall_is_over_all_structures_and_sources_are_told_apart(tables, cohort):
    (overall,) = tables["table1"].halves[0].columns
    assert overall.members == cohort.structures
    places = [(c.datasets, c.modality) for c in tables["table5"].halves[0].columns]
    assert sorted({d for of, _ in places for d in of}) == sorted(cohort.datasets)
    assert [m for of, m in places if of == ["amos22"]] == ["CT", "MR"]


def test_annotations_of_the_runs_are_those_of_the_cohort(paper, cohort):
    assert {run.annotation for run in paper.runs} <= set(cohort.annotations)


def test_claims_compare_arms_that_are_run(paper, cohort):
    claims = load_claims(paper.folder / "claims.yaml")
    arms = {run.arm for run in paper.runs}
    assert {arm for claim in claims for arm in (claim.better, claim.worse)} <= arms
    assert {name for claim in claims for name in claim.named} <= set(cohort.structures)
    assert all(claim.claim.endswith(f"_{claim.cohort}") for claim in claims)


def test_margins_are_what_the_paper_prints(paper, tables):
    """The largest shortfall that the sentences accept, from the published numbers themselves."""
    printed = {
        row.method: row.mean
        for key in ("table1", "table8", "table9")
        for row in read_published(tables[key], paper.folder).itertuples()
    }
    claims = {c.claim: c for c in load_claims(paper.folder / "claims.yaml") if c.kind == "close"}
    assert len(claims) == 3
    for claim in claims.values():
        shortfall = (printed[claim.better] - printed[claim.worse]) / 100
        assert np.isclose(claim.margin, shortfall)
