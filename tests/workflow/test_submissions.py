"""What `snakemake --profile slurm` asks of SLURM, told by commands that only take notes.

tests/cluster does the same with a SLURM that runs the jobs.
"""

import os
from typing import NamedTuple

import pytest
import yaml

from piecemeal.plan import Planner

# Every job fails at once, so that each is submitted as often as it may be.
FAKE = """\
#!/bin/bash
name=$(basename "$0")
printf '%s\\0' "$name" "$@" >> "$NOTES"
printf '\\n' >> "$NOTES"
last=$(cat "$NOTES.last" 2>/dev/null || echo 0)
case $name in
  sbatch) echo $((last + 1)) | tee "$NOTES.last" ;;
  sacct) for job in $(seq "$last"); do echo "$job|FAILED"; done ;;
  squeue) [ ! -e "$NOTES.queue" ] || cat "$NOTES.queue" ;;
  sacctmgr) echo my_project ;;
esac
"""
SITE = {
    "account": "my_project",
    "cpu": {"partition": "short", "flags": ["--nice=100"]},
    "gpu": {"partition": "long", "model": "a100", "qos": "gpus"},
    "status": "sacct",
    "max_minutes": 1000,
    "retries": 2,
}


class Started(NamedTuple):
    """What Snakemake said, the options of each job it submitted, the commands it used."""

    output: str
    jobs: list[dict[str, str]]
    used: set[str]


@pytest.fixture
def slurm(tmp_path):
    """Runs Snakemake with the profile."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sbatch", "squeue", "sacct", "scancel", "sinfo", "scontrol", "sacctmgr", "sshare"):
        (tools / name).write_text(FAKE)
        (tools / name).chmod(0o755)
    notes = tmp_path / "notes"

    def start(project, site: dict, *arguments: str) -> Started:
        (project.folder / "config/site.yaml").write_text(yaml.safe_dump(site))
        often = ("--slurm-init-seconds-before-status-checks", "1")
        path = f"{tools}{os.pathsep}{project.environment()['PATH']}"
        code, output = project.snakemake(
            "--profile", "slurm", *often, *arguments, check=False, PATH=path, NOTES=str(notes)
        )
        assert code != 0, output  # as every job fails
        calls = [line.split("\0") for line in notes.read_text().splitlines()]
        jobs = [_options(call[1:]) for call in calls if call[0] == "sbatch"]
        return Started(output, jobs, {call[0] for call in calls})

    return start


def _options(words: list[str]) -> dict[str, str]:
    """Option -> value, of `--option value`, `--option=value` and `-o value`."""
    found: dict[str, str] = {}
    for place, word in enumerate(words):
        if word.startswith("-"):
            name, _, value = word.partition("=")
            following = words[place + 1] if place + 1 < len(words) else ""
            found[name] = value or ("" if following.startswith("-") else following)
    return found


def prepared(project) -> str:
    """The prepared cohort that is the smallest."""
    unit = Planner(project.folder).plan("smoke").prepared["cardiac"]
    return f"data/smoke/prepared/cardiac-{unit.hash}/cases.csv"


def test_a_run_asks_for_a_gpu_and_for_more_at_each_attempt(project, slurm):
    plan = Planner(project.folder).plan("smoke")
    annotated = plan.annotated["cardiac/half_merged"].hash
    project.snakemake(
        *("--cores", "2", f"data/smoke/annotated/cardiac/half_merged-{annotated}/cases.csv")
    )
    (run,) = (key for key in plan.runs if key.startswith("cardiac/half_merged/slac/"))
    jobs = slurm(project, SITE, f"results/smoke/runs/{run}/scores.csv").jobs
    assert len(jobs) == 3
    for job in jobs:
        assert (job["-A"], job["-p"], job["--qos"]) == ("my_project", "long", "gpus")
        assert (job["--gpus"], job["--cpus-per-task"]) == ("a100:1", "8")
        assert job["--signal"] == "URG@600"
        assert job["-D"] == str(project.folder)
        assert job["--job-name"].startswith("piecemeal_")
    assert [job["--mem"] for job in jobs] == ["24000", "48000", "72000"]
    # Twelve hours of training, then three quarters of the 1,000 minutes that the site allows; an
    # hour of scoring more each time.
    assert [job["-t"] for job in jobs] == ["780", "870", "930"]


def test_a_cohort_is_prepared_without_a_gpu_after_its_data_are_fetched_here(project, slurm):
    jobs = slurm(project, SITE, prepared(project)).jobs
    assert list((project.folder / "data/smoke/raw").glob("acdc-*/manifest.json"))
    assert len(jobs) == 3
    for job in jobs:
        assert (job["-A"], job["-p"], job["--nice"]) == ("my_project", "short", "100")
        assert not {"--gpus", "--gres", "--qos", "--signal"} & job.keys()
        assert job["--cpus-per-task"] == "4"  # however few this machine has
    assert [job["--mem"] for job in jobs] == ["32000", "64000", "96000"]
    assert [job["-t"] for job in jobs] == ["720", "1000", "1000"]


def test_without_a_site_nothing_but_the_need_is_said(project, slurm):
    (job,) = slurm(project, {"retries": 0, "status": "sacct"}, prepared(project)).jobs
    assert not {"-A", "-p", "--qos", "-C"} & job.keys()
    assert (job["--mem"], job["-t"]) == ("32000", "720")


def test_an_unknown_key_of_the_site_is_refused(project):
    (project.folder / "config/site.yaml").write_text("gpu: {partitoin: long}\n")
    code, output = project.snakemake("-n", "--profile", "slurm", check=False)
    assert code != 0
    assert "config/site.yaml: key 'gpu.partitoin': unknown key" in output
    assert "did you mean 'partition'?" in output


def test_jobs_of_a_snakemake_that_may_live_on_another_host_are_left_alone(project, slurm, tmp_path):
    (tmp_path / "notes.queue").write_text(f"7|piecemeal_a|{project.folder}\n")
    lock = project.folder / ".snakemake/one-at-a-time"
    lock.parent.mkdir()
    lock.write_text("elsewhere\n")
    for _ in range(2):  # the refusal itself is no reason to think otherwise
        started = slurm(project, SITE, prepared(project))
        assert "a snakemake on elsewhere started SLURM jobs" in started.output
        assert not {"sbatch", "scancel"} & started.used
