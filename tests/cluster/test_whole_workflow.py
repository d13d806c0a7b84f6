"""From the data to the report through `snakemake --profile slurm`: slices and volumes."""

import re

import pytest


@pytest.fixture(scope="module")
def jobs(slurm, published):
    """What was submitted: the rules in a job -> its jobs."""
    found: dict[str, list[dict[str, str]]] = {}
    for job in slurm.jobs_of(published.folder):
        rules = re.sub("run-[0-9a-f]{10}_", "", job["Comment"])
        found.setdefault(rules, []).append(job)
    return found


def test_the_report_is_made(published):
    assert (published.folder / "results/smoke/report.html").is_file()


def test_every_job_is_submitted_once(jobs):
    assert {rules: len(found) for rules, found in jobs.items()} == {}


def test_every_job_succeeds(jobs):
    assert {job["JobState"] for found in jobs.values() for job in found} == {"COMPLETED"}
