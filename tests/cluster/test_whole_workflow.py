"""The smoke scale from the data to the report through `snakemake --profile slurm`."""

import re
from collections import Counter

import pytest


@pytest.fixture(scope="module")
def jobs(slurm, published):
    """What was submitted: (the rules in a job, what SLURM says of it)."""
    found = slurm.jobs_of(published.folder)
    return [(re.sub(r"^rule_(run-\w+?_)?|_wildcards.*", "", j["Comment"]), j) for j in found]


def test_the_report_is_made(published):
    assert (published.folder / "results/smoke/report.html").is_file()


def test_nothing_is_left_to_do(published):
    again = published.start("--profile", "slurm", "--dry-run")
    published.finish(again)
    assert "Nothing to be done" in published.said()


def test_every_job_is_submitted_once_and_what_needs_the_network_or_a_moment_is_not(jobs, published):
    plan = published.plan()
    cohorts = len(plan["prepared"])
    assert Counter(rules for rules, _ in jobs) == {
        "prepare": cohorts,
        "annotate": len(plan["annotated"]),
        "quality": cohorts,
        "gallery": 1,
        "score_train": len(plan["runs"]),
    }


def test_every_job_succeeds(jobs):
    assert {job["JobState"] for _, job in jobs} == {"COMPLETED"}


def test_runs_are_where_the_gpus_are(jobs):
    places = {(rules == "score_train", job["Partition"]) for rules, job in jobs}
    assert places == {(True, "gpu"), (False, "cpu")}
    assert {job.get("TresPerJob") for rules, job in jobs if rules == "score_train"} == {
        "gres:gpu:toy:1"
    }
