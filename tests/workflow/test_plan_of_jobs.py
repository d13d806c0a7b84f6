"""What a dry run lists, and what changes it."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


def test_dry_run_needs_neither_torch_nor_network(project, tmp_path):
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "torch.py").write_text("raise ImportError('torch must not be imported here')\n")
    (blocked / "sitecustomize.py").write_text(
        "import socket\n"
        "def refuse(*_, **__): raise OSError('no network while planning')\n"
        "socket.socket.connect = socket.create_connection = refuse\n"
    )
    _, output = project.snakemake("-n", PYTHONPATH=str(blocked))
    assert "total" in output


def test_jobs_of_the_smoke_scale(project):
    # Data of all cohorts are prepared and shown. kemnitz2018: two cohorts; four arms, a floor and a
    # ceiling each; three annotations each. moseley2023: five arms with two seeds, a floor and a
    # ceiling; one annotation. li2023: six arms, a floor and a ceiling; two annotations. anand2024:
    # 23 arms with nine annotations on anatomy, eight with four on landmarks, one on bones
    # with two, a floor and a ceiling each. chen2024: 24 arms, a floor and a ceiling; thirteen
    # annotations. The arena: nine arms, a floor and a ceiling; two annotations.
    runs = 2 * 6 + (5 * 2 + 2) + 8 + (25 + 10 + 3) + 26 + 11
    annotations = 2 * 3 + 1 + 2 + (9 + 4 + 2) + 13 + 2
    scale = yaml.safe_load((project.folder / "config/scales/smoke.yaml").read_text())
    cohorts = len(scale["cohorts"])
    jobs = project.planned_jobs()
    assert {rule: jobs[rule] for rule in ("quality", "gallery")} == {
        "quality": cohorts,
        "gallery": 1,
    }
    assert {rule: jobs[rule] for rule in ("fetch", "prepare", "annotate", "train", "score")} == {
        "fetch": len(scale["sources"]),
        "prepare": cohorts,
        "annotate": annotations,
        "train": runs,
        "score": runs,
    }


@pytest.mark.parametrize("stage", ["prepared", "annotated"])
def test_data_are_made_in_no_other_place_than_their_licence_allows(project, stage):
    """Of `abdominal` at the paper scale, which has restricted data, and of phantoms at this one."""
    _, listed = project.snakemake("-n", "--config", "scale=paper")
    (hidden, *_) = re.findall(rf"data/paper/restricted/{stage}/abdominal\S*/cases.csv", listed)
    _, listed = project.snakemake("-n")
    (shared, *_) = re.findall(rf"data/smoke/{stage}/cardiac\S*/cases.csv", listed)
    for place, wrong in {
        hidden.replace("restricted/", ""): "lies below data/paper/restricted",
        shared.replace("smoke/", "smoke/restricted/"): "lies outside data/smoke/restricted",
    }.items():
        status, output = project.snakemake("-n", "--", place, check=False)
        assert status != 0
        assert wrong in output


def test_a_table_of_another_scale_can_be_asked_for_by_name(project):
    jobs = project.planned_jobs("results/demo/tables/kemnitz2018_table2.csv")
    assert jobs["train"] == 12
    assert jobs["table"] == 1


def test_a_finished_workflow_has_nothing_to_do(finished):
    assert finished.planned_jobs() == {}


@pytest.mark.parametrize(
    "files",
    [
        "config/**/*.yaml",
        "piecemeal/**/*.py",
        "workflow/scripts/*.py",
        "data/**/*.*",
        "data/**/cases.csv",
        "results/**/weights.pt",
        "results/**/*.csv",
        "results/**/run.json",
    ],
)
def test_touching_files_reruns_nothing(finished_copy, files):
    later = time.time() + 60
    touched = [path for path in finished_copy.folder.glob(files) if path.is_file()]
    assert touched
    for path in touched:
        os.utime(path, (later, later))
    assert finished_copy.planned_jobs() == {}


def test_a_learning_rate_reruns_its_method_and_what_follows(finished_copy):
    finished_copy.edit("config/methods/slac.yaml", "learning_rate: 0.01", "learning_rate: 0.02")
    _, output = finished_copy.snakemake("-n")
    jobs = finished_copy.planned_jobs()
    assert jobs.pop("total") == sum(jobs.values())
    assert {rule: jobs.pop(rule) for rule in ("train", "score")} == {"train": 2, "score": 2}
    assert set(jobs) <= {"all", "table", "figure", "claims", "metrics", "params", "report"}
    assert {"table", "claims", "report"} <= set(jobs)
    trained = [line for line in output.splitlines() if "output:" in line and "weights.pt" in line]
    assert len(trained) == 2
    assert all("/half_merged/slac/" in line for line in trained)


def test_a_claim_but_no_comment_beside_it_reruns_the_claims(finished_copy):
    path = "config/papers/kemnitz2018/claims.yaml"
    finished_copy.edit(path, "claims:", "# From the abstract.\nclaims:")
    assert finished_copy.planned_jobs() == {}
    finished_copy.edit(path, "margin: 0.011", "margin: 0.012")
    jobs = finished_copy.planned_jobs()
    assert jobs.pop("total") == sum(jobs.values())
    assert {"claims"} <= set(jobs) <= {"all", "claims", "metrics", "params", "report"}


def test_a_caption_redraws_the_table_only(finished_copy):
    finished_copy.edit(
        "config/papers/kemnitz2018/tables.yaml", "Thigh and cardiac MR", "MR of thigh and heart"
    )
    jobs = finished_copy.planned_jobs()
    assert "train" not in jobs
    assert "score" not in jobs
    assert jobs["table"] == 1


def test_code_that_is_declared_equivalent_reruns_no_training(finished_copy):
    show = "from piecemeal.plan import Planner; from dataclasses import asdict; import json; "
    show += "print(json.dumps(asdict(Planner().plan('smoke'))))"

    def codes() -> list[str]:
        plan = json.loads(finished_copy.run(sys.executable, "-c", show)[1])
        stages = ("raw", "prepared", "annotated", "runs", "scores")
        return [unit["settings"]["source_hash"] for s in stages for unit in plan[s].values()]

    rules = {"fetch", "prepare", "annotate", "train", "score"}
    before = codes()
    edited = ("layouts/acdc", "prepare", "annotate")
    for module in (*(f"datasets/{name}" for name in edited), "methods/slac", "scoring"):
        with (finished_copy.folder / f"piecemeal/{module}.py").open("a") as file:
            file.write("tidied = True\n")
    assert rules <= finished_copy.planned_jobs().keys()
    same = {new: old for new, old in zip(codes(), before, strict=True) if new != old}
    finished_copy.edit(
        "config/config.yaml", "equivalent_code: {}", f"equivalent_code: {json.dumps(same)}"
    )
    jobs = finished_copy.planned_jobs()
    assert not rules & jobs.keys()
    assert jobs["report"] == 1  # which says so


def test_a_job_of_a_cluster_imports_nothing_that_makes_plans(finished_copy, tmp_path):
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "sitecustomize.py").write_text(
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(name, path=None, target=None):\n"
        "        if name in ('piecemeal.plan', 'piecemeal.config'):\n"
        "            raise ImportError(f'{name} is imported')\n"
        "sys.meta_path.insert(0, Refuse)\n"
    )
    run = finished_copy.folder / "results/smoke/runs/cardiac/half_merged/slac"
    (weights,) = run.glob("*/weights.pt")
    weights.unlink()
    seed, hash_ = weights.parent.name.removeprefix("seed").split("-")
    wildcards = f"scale=smoke,cohort=cardiac,annotation=half_merged,method=slac,seed={seed}"
    job = ("--target-jobs", f"train:{wildcards},hash={hash_}", "--allowed-rules", "train")
    as_submitted = ("--mode", "remote", "--executor", "local", "--force", "--nolock", "--no-hooks")
    finished_copy.snakemake(*as_submitted, "--cores", "1", *job, PYTHONPATH=str(blocked))
    assert weights.exists()


FINISHED = {
    "runs/cardiac/half_merged/slac/*/weights.pt": {"annotate", "train"},
    "runs/cardiac/half_merged/slac/*/scores.csv": {"score"},
    "figures/kemnitz2018_figure2.svg": {"figure"},
    "quality/cardiac.html": {"quality"},
}


def jobs_for(project, *arguments: str) -> set[str]:
    """Rules of the jobs that a start with these arguments would run."""
    _, output = project.snakemake("-n", *arguments)
    return set(re.findall(r"^(?:local)?rule (\w+):", output, re.M))


@pytest.mark.parametrize(("target", "rules"), FINISHED.items())
@pytest.mark.parametrize("forced", [("fetch",), ("prepare",)])
def test_what_is_missing_is_made_though_its_data_are_made_anew(
    finished_copy, target, rules, forced
):
    """Of jobs with ancient inputs, Snakemake would pass over it and call that a success."""
    (found,) = finished_copy.folder.glob(f"results/smoke/{target}")
    found.unlink()
    path = str(found.relative_to(finished_copy.folder))
    planned = jobs_for(finished_copy, "--forcerun", *forced, "--", path)
    assert {*forced, "prepare"} | rules <= planned


def test_forced_data_are_made_and_looked_at_again_and_no_run_is_trained(finished_copy):
    planned = jobs_for(finished_copy, "--forcerun", "fetch")
    assert {"fetch", "prepare", "quality"} <= planned
    assert not {"train", "score"} & planned
    of_data = jobs_for(finished_copy, "--forcerun", "fetch", "--", "data")
    assert {"fetch", "prepare", "annotate"} <= of_data


def test_a_page_of_changed_data_waits_for_them(finished_copy):
    finished_copy.edit("config/cohorts/cardiac.yaml", "kind: zscore", "kind: percentiles")
    planned = jobs_for(finished_copy, "--", "results/smoke/quality/cardiac.html")
    assert planned == {"prepare", "quality"}


def test_a_training_that_is_forced_is_scored_again(finished_copy):
    (found,) = finished_copy.folder.glob("results/smoke/runs/cardiac/half_merged/slac/*/scores.csv")
    scores = str(found.relative_to(finished_copy.folder))
    _, output = finished_copy.snakemake("-n", "--forcerun", "train", "--", scores)
    assert re.findall(r"^rule (\w+):", output, re.M) == ["train", "score"]


SCORED = "from piecemeal.plan import Planner; scores = Planner().plan('smoke').scores; "
SCORED += "print(*next((k, u.hash) for k, u in scores.items() if '/half_merged/slac/' in k))"


@pytest.fixture
def done(project):
    """A copy that has all files of one run and its data, though nothing in most of them."""
    _, found = project.run(sys.executable, "-c", SCORED)
    run, scoring = found.split()
    folder = f"results/smoke/runs/{run}"
    _, listed = project.snakemake("-n", "--", f"{folder}/scores.csv")
    for line in re.findall(r"^    output: (.*)", listed, re.M):
        for path in map(project.folder.joinpath, line.split(", ")):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    (project.folder / folder / "scores.json").write_text(json.dumps({"scoring": scoring}))
    return project, folder


def test_a_run_that_is_trained_once_more_is_scored_again(done):
    project, run = done
    targets = (f"{run}/history.csv", f"{run}/scores.csv")
    assert project.planned_jobs(*targets) == {}
    (project.folder / targets[0]).unlink()
    assert project.planned_jobs(*targets) == {"train": 1, "score": 1, "total": 2}


@pytest.mark.parametrize("target", ["runs", "all"])
def test_a_training_that_was_forced_and_broken_off_goes_on(done, target):
    """Snakemake has deleted what it was to make; the scores from before are there."""
    project, run = done
    before = project.planned_jobs(target)
    for name in ("weights.pt", "last.pt", "history.csv", "run.json"):
        (project.folder / run / name).unlink()
    after = project.planned_jobs(target)
    assert {rule: after[rule] - before[rule] for rule in ("train", "score")} == {
        "train": 1,
        "score": 1,
    }


@pytest.fixture(scope="module")
def bare(finished, tmp_path_factory):
    """Results without their data, as after `make restore` of data that may not be shared."""
    target = tmp_path_factory.mktemp("bare") / "project"
    ignored = shutil.ignore_patterns("data", "logs", "benchmarks", "predictions*")
    shutil.copytree(finished.folder, target, symlinks=True, ignore=ignored)
    return type(finished)(target)


@pytest.fixture(scope="module")
def lone_run(bare):
    """The folder of one run there."""
    (found,) = bare.folder.glob("results/smoke/runs/cardiac/half_merged/slac/*/scores.csv")
    return str(found.parent.relative_to(bare.folder))


def test_a_run_without_its_data_is_left_alone_unless_forced(bare, lone_run):
    assert bare.planned_jobs(f"{lone_run}/scores.csv") == {}


@pytest.mark.parametrize(
    ("forced", "expected"),
    [
        (["--forcerun", "train"], {"annotate", "train", "score"}),
        (["--forcerun", "{run}/weights.pt"], {"annotate", "train", "score"}),
        (["--forcerun", "score"], {"score"}),
        (["--force"], {"score"}),
        (["--forceall"], {"annotate", "train", "score"}),
    ],
)
def test_a_forced_run_without_its_data_has_them_made_first(bare, lone_run, forced, expected):
    forced = [word.format(run=lone_run) for word in forced]
    _, output = bare.snakemake("-n", "--quiet", "rules", *forced, "--", f"{lone_run}/scores.csv")
    jobs = set(re.findall(r"^(\w+) +\d+$", output, re.M)) - {"total"}
    assert jobs == expected | {"fetch", "prepare"}


def test_a_run_whose_weights_are_gone_has_its_data_made_first(bare, lone_run):
    weights = bare.folder / lone_run / "weights.pt"
    elsewhere = weights.rename(weights.with_suffix(".away"))
    jobs = bare.planned_jobs(f"{lone_run}/weights.pt", f"{lone_run}/scores.csv")
    elsewhere.rename(weights)
    assert jobs.keys() - {"total"} == {"fetch", "prepare", "annotate", "train", "score"}


def test_a_hash_that_the_configuration_does_not_ask_for_is_refused(project):
    code, output = project.snakemake(
        "-n", "results/smoke/runs/cardiac/half/slac/seed0-0123456789/weights.pt", check=False
    )
    assert code != 0
    assert "ask for a path that `snakemake -n` lists" in output


def test_an_unreadable_configuration_names_file_and_key(project):
    project.edit("config/methods/slac.yaml", "batch_size: 10", "batchsize: 10")
    code, output = project.snakemake("-n", check=False)
    assert code != 0
    assert "config/methods/slac.yaml: key 'batchsize': unknown key" in output
    assert "did you mean 'batch_size'?" in output
    assert "Traceback (most recent call last)" not in output

    (project.folder / "config/scales/smoke.yaml").write_text("title: [")
    code, output = project.snakemake("-n", check=False)
    assert code != 0
    assert "config/scales/smoke.yaml: cannot be read as YAML" in output


def test_the_stages_of_dvc_are_targets_that_exist(project):
    stages = yaml.safe_load((project.folder / "dvc.yaml").read_text())["stages"]
    assert stages.keys() == {"params", "data", "runs", "publish"}
    for stage in stages.values():
        snakemake, *arguments = shlex.split(stage["cmd"].replace("${scale}", "smoke"))
        # Without the rules of earlier stages their files are missing, which is all that may be.
        _, output = project.run(snakemake, "-n", *arguments, check=False)
        assert "No rule to produce" not in output
        assert "Traceback (most recent call last)" not in output


def test_every_rule_belongs_to_a_stage_of_dvc():
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    allowed = [
        word
        for stage in stages.values()
        for word in stage["cmd"].partition("--allowed-rules")[2].partition("--")[0].split()
    ]
    files = [ROOT / "Snakefile", *(ROOT / "rules").glob("*.smk")]
    rules = {name for path in files for name in re.findall(r"^rule (\w+):", path.read_text(), re.M)}
    assert set(allowed) == rules


WAITING = """
include: "rules/common.smk"
include: "rules/start.smk"

rule wait:
    output: "done"
    shell: "touch started; while [ ! -e go ]; do sleep 0.05; done; touch {output}"

rule other:
    output: "other"
    shell: "touch {output}"
"""


def appears(path: Path, process: subprocess.Popen) -> bool:
    """Wait for a file that a process makes."""
    deadline = time.monotonic() + 120
    while not path.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    return path.exists()


def test_a_second_snakemake_in_the_folder_is_refused(project):
    """As long as a job of the first one runs, and no longer."""
    folder, command = project.folder, ("snakemake", "--cores", "1")
    (folder / "Snakefile").write_text(WAITING)
    with subprocess.Popen(command, cwd=folder, env=project.environment()) as first:
        try:
            assert appears(folder / "started", first)
            status, output = project.run(*command, "other", check=False)
        finally:
            (folder / "go").touch()
    assert status != 0
    assert "another snakemake is at work" in output
    assert first.returncode == 0
    project.run(*command, "other")


def test_code_that_was_edited_after_planning_is_refused(project):
    # Planned by the main process, then the reader changes before its job starts.
    frozen = "        freeze_plans()\n"
    reader = "piecemeal/datasets/layouts/acdc.py"
    edit = f"        with open('{reader}', 'a') as code: code.write('x = 1\\n')\n"
    project.edit("rules/start.smk", frozen, frozen + edit)
    code, output = project.snakemake("--cores", "1", "--until", "fetch", check=False)
    assert code != 0
    assert "changed after this workflow was planned" in output.replace("\n", " ")
