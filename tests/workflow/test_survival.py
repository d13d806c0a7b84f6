"""Kill it anywhere, or feed it bad files: what is finished stays, the rest can go on."""

import os
import random
import signal
import subprocess
import time

import yaml

from piecemeal.datasets.phantoms import load as load_phantom

RUNS = "results/smoke/runs"


def weights(project) -> dict[str, bytes]:
    folder = project.folder / RUNS
    return {
        path.parent.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("weights.pt"))
    }


def test_kill_9_of_snakemake_and_its_jobs_loses_nothing(project, finished):
    expected = {run: w for run, w in weights(finished).items() if run.startswith("cardiac/half_")}
    assert len(expected) == 2
    command = ["snakemake", "--cores", "2", *(f"{RUNS}/{run}/weights.pt" for run in expected)]
    moment = random.SystemRandom()
    for _ in range(3):
        running = subprocess.Popen(
            command,
            cwd=project.folder,
            env=project.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        checkpoints = project.folder / "results/smoke/checkpoints"
        deadline = time.time() + 600
        while not any(checkpoints.rglob("last.pt")) and time.time() < deadline:
            time.sleep(0.05)
        time.sleep(moment.uniform(0, 3))
        os.killpg(running.pid, signal.SIGKILL)  # snakemake and every job it started
        running.wait()
    project.run(*command)  # nothing to unlock, nothing to clean up

    assert weights(project) == expected


def test_one_bad_scan_stops_its_cohort_only(project):
    data = project.folder / "acdc"
    load_phantom("acdc").write(data, cases=8, seed=1, size=48, slices=4, cine=False)
    bad = data / "training/patient003/patient003_frame03.nii.gz"
    bad.write_bytes(bad.read_bytes()[:500])
    scale = project.folder / "config/scales/smoke.yaml"
    content = yaml.safe_load(scale.read_text())
    content["sources"]["acdc"] = {"kind": "local"}
    content["cohorts"] = {name: content["cohorts"][name] for name in ("cardiac", "thigh")}
    scale.write_text(yaml.safe_dump(content))
    (project.folder / "config/local.yaml").write_text("local: {acdc: acdc}\n")

    code, output = project.snakemake("--cores", "2", "--until", "prepare", check=False)
    assert code != 0
    assert "patient003_frame03.nii.gz" in output
    assert "exclude" in output
    prepared = [p.parent.name for p in (project.folder / "data/smoke/prepared").rglob("cases.csv")]
    assert [name.split("-")[0] for name in prepared] == ["thigh"]
    stored = {p.name for p in (project.folder / "data/smoke/prepared").glob("cardiac-*/acdc/*")}
    assert "patient002_ES" in stored
    assert "patient003_ES" not in stored
