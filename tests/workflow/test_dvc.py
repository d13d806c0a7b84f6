"""Versions through DVC: what a change reruns, what a clone gets back, and what it never gets.

One paper on one cohort, whose runs are those of the finished workflow: none is trained for this.
"""

import hashlib
import importlib.util
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import yaml

from piecemeal.datasets.phantoms import load as load_phantom

RUNS = "results/smoke/runs"
GIT = ("git", "-c", "user.name=test", "-c", "user.email=test@localhost")


def rewrite(path: Path, change) -> None:
    """A YAML file, changed in place by a function of its content."""
    content = yaml.safe_load(path.read_text())
    change(content)
    path.write_text(yaml.safe_dump(content, sort_keys=False))


def one_paper_on_one_cohort(folder: Path) -> None:
    def only_cardiac(scale):
        scale["cohorts"] = {"cardiac": scale["cohorts"]["cardiac"]}
        scale["sources"] = {"acdc": scale["sources"]["acdc"]}

    rewrite(folder / "config/scales/smoke.yaml", only_cardiac)
    rewrite(folder / "config/config.yaml", lambda main: main.update(papers=["kemnitz2018"]))


def faster(project) -> None:
    """Another learning rate for a method with one run."""
    project.edit("config/methods/slac.yaml", "learning_rate: 0.01", "learning_rate: 0.02")


def other_caption(project) -> None:
    project.edit("config/papers/kemnitz2018/tables.yaml", "Thigh and cardiac MR", "MR of the heart")


def commit(project, message: str) -> None:
    project.run(*GIT, "add", "--all")
    project.run(*GIT, "commit", "--quiet", "--message", message)


def clone(project, target: Path):
    project.run("git", "clone", "--quiet", str(project.folder), str(target))
    return type(project)(target)


def copy(project, target: Path):
    shutil.copytree(project.folder, target, symlinks=True)
    return type(project)(target)


def weights(project) -> dict[str, bytes]:
    folder = project.folder / RUNS
    found = sorted(folder.rglob("weights.pt"))
    return {path.parent.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@pytest.fixture(scope="module")
def versioned(finished, tmp_path_factory):
    """The finished runs of a small plan, published, committed and pushed to a remote."""
    folder = tmp_path_factory.mktemp("dvc") / "versioned"
    leave_out = shutil.ignore_patterns("data", "results", ".snakemake")
    shutil.copytree(finished.folder, folder, symlinks=True, ignore=leave_out)
    one_paper_on_one_cohort(folder)
    for pattern in ("data/smoke/raw/acdc-*", "data/smoke/*/cardiac*", f"{RUNS}/cardiac"):
        for source in finished.folder.glob(pattern):
            shutil.copytree(source, folder / source.relative_to(finished.folder))
    project = type(finished)(folder)
    assert "train" not in project.planned_jobs()
    project.snakemake("--cores", "2")
    project.run("git", "init", "--quiet")
    project.run("dvc", "remote", "add", "--default", "store", str(folder.parent / "store"))
    project.run("dvc", "commit", "--quiet", "--force")
    project.run("dvc", "push", "--quiet")
    commit(project, "Results")
    return project


@pytest.fixture(scope="module")
def restored(versioned, tmp_path_factory):
    """A clone after `make restore`; tests must leave it as it is."""
    project = clone(versioned, tmp_path_factory.mktemp("restored") / "clone")
    project.run(sys.executable, "workflow/restore.py", PYTHONPATH=str(project.folder))
    return project


@pytest.fixture
def pulled(versioned, tmp_path):
    """A clone after `dvc pull` alone, its files in any order of time."""
    project = clone(versioned, tmp_path / "clone")
    project.run("dvc", "pull", "--quiet")
    clock = random.Random(1)
    for name in ("data", "results", "config"):
        for path in (project.folder / name).rglob("*"):
            moment = time.time() - clock.uniform(0, 10_000)
            os.utime(path, (moment, moment))
    return project


class TestStages:
    def test_every_out_stays_in_place_and_only_the_restricted_ones_are_kept_back(self, finished):
        stages = yaml.safe_load((finished.folder / "dvc.yaml").read_text())["stages"]
        assert 4 <= len(stages) <= 6
        kept_back = []
        for stage in stages.values():
            for kind in ("outs", "metrics", "plots"):
                for ((path, how),) in (out.items() for out in stage.get(kind, [])):
                    assert how["persist"] is True, path
                    if how.get("push") is False:
                        kept_back.append((path, how["cache"]))
        assert kept_back == [("data/${scale}/restricted", False)]

    def test_no_out_is_a_picture(self, versioned):
        lock = yaml.safe_load((versioned.folder / "dvc.lock").read_text())
        outs = [out["path"] for stage in lock["stages"].values() for out in stage.get("outs", [])]
        files = [path for out in outs for path in (versioned.folder / out).rglob("*.*")]
        assert not [path for path in files if path.suffix in (".png", ".svg", ".html")]

    def test_numbers_are_in_git_and_pictures_are_not(self, versioned):
        _, listed = versioned.run("git", "ls-files", "results")
        kept = {line.split("/")[2] for line in listed.splitlines()}
        assert kept == {"claims.csv", "metrics.json", "params.yaml", "plots", "ranks", "tables"}

    def test_a_caption_touches_neither_data_nor_runs(self, versioned, tmp_path):
        project = copy(versioned, tmp_path / "copy")
        other_caption(project)
        project.run("dvc", "repro", "params")
        _, status = project.run("dvc", "status", "--json")
        assert set(json.loads(status)) == {"publish"}

    def test_a_learning_rate_is_one_training(self, versioned, tmp_path):
        project, before = copy(versioned, tmp_path / "copy"), weights(versioned)
        faster(project)
        _, output = project.run("dvc", "repro", "runs")
        assert "Stage 'data' didn't change, skipping" in output
        after = weights(project)
        assert before.items() <= after.items()
        (trained,) = after.keys() - before.keys()
        assert trained.startswith("cardiac/half_merged/slac/seed0-")

        # What changed, and what it changed, is there to read.
        changed = json.loads(project.run("dvc", "params", "diff", "--json")[1])
        rates = changed["results/smoke/params.yaml"]["methods.slac.optimiser.learning_rate"]
        assert (rates["old"], rates["new"]) == (0.01, 0.02)
        project.snakemake("--cores", "2", "results/smoke/metrics.json")
        plots = json.loads(project.run("dvc", "plots", "diff", "--json")[1])["data"]
        (curves,) = plots["results/smoke/plots/training.csv"]
        values = curves["content"]["data"]["values"]
        slac = {"HEAD": [], "workspace": []}
        for row in values:
            if row["curve"] == "half_merged slac":
                slac[row["rev"]].append(row["loss"])
        assert len(slac["HEAD"]) == len(slac["workspace"]) == 12
        assert slac["HEAD"] != slac["workspace"]


class TestMetrics:
    def test_every_arm_has_its_dice_and_every_claim_its_verdict(self, versioned):
        _, output = versioned.run("dvc", "metrics", "show", "--json")
        (data,) = json.loads(output)[""]["data"].values()
        found = data["data"]
        arms = {"xent-lb", "naive", "slac", "xent-ub", "background", "oracle"}
        assert found["dice"]["kemnitz2018"]["cardiac"].keys() == arms
        claims = (versioned.folder / "results/smoke/claims.csv").read_text().splitlines()
        assert sum(found["claims"]["kemnitz2018"].values()) == len(claims) - 1


class TestRestore:
    def test_leaves_nothing_to_do(self, restored):
        assert restored.planned_jobs() == {}
        assert json.loads(restored.run("dvc", "status", "--json")[1]) == {}
        assert restored.run("git", "status", "--porcelain")[1] == ""

    def test_has_the_runs_and_tables_as_they_were(self, restored, versioned):
        assert weights(restored) == weights(versioned)
        table = Path("results/smoke/tables/kemnitz2018_table2.csv")
        assert (restored.folder / table).read_bytes() == (versioned.folder / table).read_bytes()
        assert (restored.folder / "results/smoke/report.html").exists()

    def test_a_learning_rate_changed_after_it_is_one_training(self, restored, tmp_path):
        project = copy(restored, tmp_path / "copy")
        faster(project)
        jobs = project.planned_jobs()
        assert (jobs["train"], jobs["score"]) == (1, 1)
        assert {"table", "claims", "metrics", "report"} <= jobs.keys()

    def test_a_caption_changed_after_it_redraws_the_table(self, restored, tmp_path):
        project = copy(restored, tmp_path / "copy")
        other_caption(project)
        jobs = project.planned_jobs()
        assert jobs["table"] == 1
        assert not {"train", "score", "prepare", "annotate", "claims"} & jobs.keys()

    def test_tables_that_were_committed_stale_are_made_anew(self, versioned, tmp_path):
        project = clone(versioned, tmp_path / "clone")
        other_caption(project)
        commit(project, "A caption, and its table not made again")
        _, output = project.run(
            sys.executable, "workflow/restore.py", PYTHONPATH=str(project.folder)
        )
        assert "made anew" in output
        printed = project.folder / "results/smoke/tables/kemnitz2018_table2.md"
        assert "MR of the heart" in printed.read_text()


class TestPull:
    def test_whatever_the_times_no_data_and_no_run_are_made_again(self, pulled):
        assert not {"fetch", "prepare", "annotate", "train", "score"} & pulled.planned_jobs().keys()

    def test_a_learning_rate_is_one_training(self, pulled):
        faster(pulled)
        jobs = pulled.planned_jobs()
        assert (jobs["train"], jobs["score"]) == (1, 1)

    def test_no_table_is_taken_for_fresh(self, pulled):
        later = time.time() - 1
        for path in (pulled.folder / "results/smoke").rglob("*.*"):
            os.utime(path, (later, later))
        jobs = pulled.planned_jobs()
        assert jobs["table"] == 2
        assert {"claims", "metrics", "params"} <= jobs.keys()

    def test_missing_data_make_no_run_again(self, pulled):
        """Not even where a picture, or another run, has them prepared."""
        for place in ("raw", "prepared", "annotated"):
            shutil.rmtree(pulled.folder / "data/smoke" / place)
        faster(pulled)
        jobs = pulled.planned_jobs()
        assert (jobs["prepare"], jobs["figure"]) == (1, 3)
        assert (jobs["train"], jobs["score"]) == (1, 1)


class TestRestrictedData:
    def test_are_never_pushed(self, versioned, tmp_path):
        project = clone(versioned, tmp_path / "clone")
        patients = project.folder / "patients"
        load_phantom("acdc").write(patients, cases=8, seed=2, size=48, slices=4, cine=False)
        scale = project.folder / "config/scales/smoke.yaml"
        rewrite(scale, lambda content: content["sources"].update(acdc={"kind": "local"}))
        (project.folder / "config/local.yaml").write_text("local: {acdc: patients}\n")
        project.edit(
            "config/datasets/acdc.yaml", "redistribution: allowed", "redistribution: forbidden"
        )
        project.run("dvc", "repro", "data")
        prepared = project.folder / "data/smoke/restricted/prepared"
        assert list(prepared.glob("cardiac-*/cases.csv"))
        assert (project.folder / "data/smoke/restricted/annotated/cardiac").is_dir()

        remote = tmp_path / "remote"
        project.run("dvc", "remote", "add", "elsewhere", str(remote))
        project.run("dvc", "push", "--remote", "elsewhere", "--run-cache", "data")
        pushed = {path.parent.name + path.name for path in remote.rglob("*") if path.is_file()}
        cached = {
            path.parent.name + path.name
            for path in (project.folder / ".dvc/cache").rglob("*")
            if path.is_file()
        }
        restricted = [*patients.rglob("*"), *prepared.parent.rglob("*")]
        sums = {
            hashlib.md5(path.read_bytes()).hexdigest()
            for path in restricted
            if path.is_file() and not path.name.startswith(("licences", "LOCK"))
        }
        assert pushed
        assert len(sums) > 20
        assert not sums & (pushed | cached)


@pytest.fixture
def s3_server():
    """The address of an S3 server on this machine, with the bucket `shared`; nothing is kept."""
    for package in ("moto", "dvc_s3"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install -r requirements-s3.txt")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    address = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        bucket = urllib.request.Request(f"{address}/shared", method="PUT")
        deadline = time.time() + 120
        while True:
            try:
                urllib.request.urlopen(bucket, timeout=10).close()
                break
            except OSError:
                assert server.poll() is None, "the S3 server ended"
                assert time.time() < deadline, "the S3 server does not answer"
                time.sleep(0.2)
        yield address
        server.kill()


def test_a_clone_gets_its_runs_over_s3(versioned, s3_server, tmp_path):
    keys = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    keys["AWS_DEFAULT_REGION"] = "us-east-1"
    source, target = clone(versioned, tmp_path / "source"), clone(versioned, tmp_path / "target")
    source.run("dvc", "pull", "--quiet")
    for project in (source, target):
        project.run("dvc", "remote", "add", "--default", "--force", "store", "s3://shared/dvc")
        project.run("dvc", "remote", "modify", "store", "endpointurl", s3_server)
    source.run("dvc", "push", **keys)
    target.run("dvc", "pull", **keys)
    assert weights(target) == weights(versioned)
