"""From the data to the report through `snakemake --profile slurm`: slices and volumes."""

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


def test_every_job_is_submitted_once_and_what_needs_the_network_or_a_moment_is_not(jobs):
    # Two cohorts with three annotations, three arms.
    assert Counter(rules for rules, _ in jobs) == {
        "prepare": 2,
        "annotate": 3,
        "quality": 2,
        "gallery": 1,
        "score_train": 3,
    }


def test_every_job_succeeds(jobs):
    assert {job["JobState"] for _, job in jobs} == {"COMPLETED"}


def test_runs_are_where_the_gpus_are(jobs):
    places = {(rules == "score_train", job["Partition"]) for rules, job in jobs}
    assert places == {(True, "gpu"), (False, "cpu")}
    assert {job.get("TresPerJob") for rules, job in jobs if rules == "score_train"} == {
        "gres:gpu:toy:1"
    }
