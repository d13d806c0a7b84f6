"""The commands on a planned project whose runs are folders made by hand."""

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from piecemeal import cli, prediction, status
from piecemeal.plan import Plan, Planner
from piecemeal.provenance import locked

ROOT = Path(__file__).resolve().parent.parent
SCALE = "smoke"
STEPS = 12
RUN_KEYS = ["run", "cohort", "annotation", "method", "seed", "hash", "state", "step", "steps"]
RUN_KEYS += ["seconds", "gpu_hours", "samples_per_second", "left_seconds", "left_is_estimate"]
RUN_KEYS += ["updated", "problems"]


class Project:
    """A copy of the project's configuration, and the results that a test puts there."""

    def __init__(self, root: Path):
        shutil.copytree(ROOT / "config", root / "config", ignore=shutil.ignore_patterns("local.*"))
        self.results = root / "results" / SCALE
        self.scale_file = root / "config" / "scales" / f"{SCALE}.yaml"
        self.root = root
        self.plan_anew()

    def plan_anew(self, **changes) -> None:
        """Plan once more, with these keys of the scale changed."""
        content = yaml.safe_load(self.scale_file.read_text()) | changes
        self.scale_file.write_text(yaml.safe_dump(content, sort_keys=False))
        self.plan: Plan = Planner(self.root).plan(SCALE)

    def key(self, start: str) -> str:
        """The run whose name starts like this."""
        (key,) = [key for key in self.plan.runs if key.startswith(start)]
        return key

    def checkpoint(self, key: str, age: float = 0.0, **changes) -> Path:
        """A checkpoint at step 3 after 6 seconds, saved `age` seconds ago; its folder."""
        progress = {"step": 3, "steps": STEPS, "seconds": 6.0, "samples_per_second": 2.5}
        folder = self.results / "checkpoints" / key
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("last.pt", "LOCK"):
            (folder / name).touch()
        text = json.dumps(progress | {"stopped": None} | changes)
        (folder / "progress.json").write_text(text)
        now = time.time()
        os.utime(folder / "progress.json", (now - age, now - age))
        return folder

    def trained(self, key: str, **changes) -> Path:
        record = {"steps": STEPS, "seconds": 40.0, "gpu_hours": 0.0} | changes
        folder = self.results / "runs" / key
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "run.json").write_text(json.dumps(record))
        return folder

    def finished(self, key: str, **changes) -> Path:
        folder = self.trained(key, **changes)
        scores = {"scoring": self.plan.scores[key].hash, "rows": 1, "scans": []}
        (folder / "scores.json").write_text(json.dumps(scores))
        return folder


@pytest.fixture
def project(tmp_path, monkeypatch) -> Project:
    made = Project(tmp_path)
    monkeypatch.chdir(tmp_path)
    # Wherever the tests themselves lie.
    monkeypatch.setattr(status, "on_shared_file_system", lambda _: False)
    return made


@pytest.fixture(scope="module")
def hours():
    """What `gpu_hours` found for the runs and the speed that it was asked about, once each."""
    return {}


@pytest.fixture(autouse=True)
def hours_are_counted_once(monkeypatch, hours):
    """It takes ten seconds, and several tests ask for the plan of the same runs."""

    def gpu_hours(plan, tflops):
        asked = (*plan.runs, tflops)
        if asked not in hours:
            hours[asked] = counted(plan, tflops)
        return hours[asked]

    counted = cli.estimates.gpu_hours
    monkeypatch.setattr(cli.estimates, "gpu_hours", gpu_hours)


@pytest.fixture
def ask(capsys):
    """What a command with --json says."""

    def ask_one(command: str) -> dict:
        assert cli.main([command, "--scale", SCALE, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return ask_one


@pytest.fixture
def one(ask):
    """The status of one run."""

    def find(key: str) -> dict:
        (found,) = [run for run in ask("status")["runs"] if run["run"] == key]
        return found

    return find


@pytest.fixture
def lines(capsys):
    """The lines that a command prints."""

    def read(command: str) -> list[str]:
        assert cli.main([command, "--scale", SCALE]) == 0
        return capsys.readouterr().out.splitlines()

    return read


SLAC = "thigh/half_merged/slac/"
ORACLE = "thigh/complete/oracle/"


# --- states -------------------------------------------------------------------------------------


def test_without_results_every_run_waits(project, ask):
    runs = ask("status")["runs"]
    assert [run["run"] for run in runs] == list(project.plan.runs)
    assert {run["state"] for run in runs} == {"waiting"}
    assert {run["left_seconds"] for run in runs} == {None}


def test_trained_and_scored_is_finished(project, one):
    key = project.key(SLAC)
    project.finished(key, seconds=40.0, gpu_hours=0.25)
    run = one(key)
    assert (run["state"], run["seconds"], run["gpu_hours"]) == ("finished", 40.0, 0.25)
    assert (run["step"], run["left_seconds"]) == (STEPS, 0.0)
    assert run["problems"] == []


def test_without_scores_it_is_trained(project, one, lines):
    key = project.key(SLAC)
    project.trained(key)
    assert one(key)["state"] == "trained"
    assert any("trained, not scored" in line for line in lines("status"))


def test_scores_of_another_scoring_do_not_count(project, one):
    key = project.key(SLAC)
    folder = project.finished(key)
    (folder / "scores.json").write_text('{"scoring": "0123456789"}')
    run = one(key)
    assert run["state"] == "trained"
    (problem,) = run["problems"]
    assert "scores.json" in problem
    assert "0123456789" in problem


def test_broken_scores_are_named_and_do_not_count(project, one):
    key = project.key(SLAC)
    (project.finished(key) / "scores.json").write_text('{"scoring": ')
    run = one(key)
    assert run["state"] == "trained"
    (problem,) = run["problems"]
    assert "scores.json: cannot be read" in problem


def test_a_held_checkpoint_is_in_training(project, one):
    key = project.key(SLAC)
    with locked(project.checkpoint(key, step=3, samples_per_second=2.5)):
        run = one(key)
    assert run["state"] == "training"
    assert (run["step"], run["steps"], run["seconds"]) == (3, STEPS, 6.0)
    assert run["samples_per_second"] == 2.5


def test_a_run_that_has_just_started_is_in_training(project, one):
    key = project.key(SLAC)
    with locked(project.results / "checkpoints" / key):
        run = one(key)
    assert (run["state"], run["step"], run["left_seconds"]) == ("training", None, None)


def test_a_checkpoint_that_nobody_holds_is_interrupted(project, one):
    key = project.key(SLAC)
    project.checkpoint(key)
    assert (one(key)["state"], one(key)["step"]) == ("interrupted", 3)


def test_without_its_checkpoint_progress_means_nothing(project, one):
    key = project.key(SLAC)
    (project.checkpoint(key) / "last.pt").unlink()
    assert (one(key)["state"], one(key)["step"]) == ("waiting", None)


def test_the_record_beats_the_checkpoint(project, one):
    # Checkpoints stay: they are those of a finished run as well.
    key = project.key(SLAC)
    project.checkpoint(key, step=10, seconds=9.0, samples_per_second=2.5, stopped="steps")
    project.finished(key, steps=STEPS, seconds=40.0, samples_per_second=3.5)
    run = one(key)
    assert (run["state"], run["step"], run["seconds"]) == ("finished", STEPS, 40.0)
    assert run["samples_per_second"] == 3.5


def test_a_method_without_training_has_no_steps(project, one):
    key = project.key(ORACLE)
    project.finished(key, steps=0, seconds=0.0)
    assert (one(key)["state"], one(key)["steps"]) == ("finished", None)


# --- locks --------------------------------------------------------------------------------------


def test_asking_leaves_the_lock_as_it_was(tmp_path):
    with locked(tmp_path):
        assert status.is_held(tmp_path) is True
        assert status.is_held(tmp_path) is True
    assert status.is_held(tmp_path) is False
    with (tmp_path / "LOCK").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # refused if asking had kept it


def test_two_that_ask_at_once_take_neither_for_a_trainer(tmp_path):
    with (tmp_path / "LOCK").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        assert status.is_held(tmp_path) is False


def test_nobody_holds_what_does_not_exist(tmp_path):
    assert status.is_held(tmp_path / "nothing") is False
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize(("age", "state"), [(100, "training"), (200, "interrupted")])
def test_on_a_shared_file_system_the_age_of_the_progress_decides(
    project, one, monkeypatch, age, state
):
    content = yaml.safe_load(project.scale_file.read_text())
    content["cohorts"]["thigh"]["training"]["checkpoint_seconds"] = 30  # five of them: 150 s
    project.plan_anew(**content)
    monkeypatch.setattr(status, "on_shared_file_system", lambda _: True)
    key = project.key(SLAC)
    project.checkpoint(key, age=age)
    assert one(key)["state"] == state


def test_where_there_are_no_locks_the_age_decides(project, one, monkeypatch):
    def no_locks(*_):
        raise OSError(38, "Function not implemented")

    key = project.key(SLAC)
    project.checkpoint(key, age=5)
    monkeypatch.setattr(status.fcntl, "flock", no_locks)
    assert one(key)["state"] == "training"


def test_who_has_stopped_is_not_in_training_however_fresh(project, one, monkeypatch):
    monkeypatch.setattr(status, "on_shared_file_system", lambda _: True)
    key = project.key(SLAC)
    project.checkpoint(key, stopped="patience")
    assert (one(key)["state"], one(key)["left_seconds"]) == ("interrupted", 0.0)


@pytest.mark.parametrize(
    ("folder", "shared"),
    [("/", False), ("/home/me", False), ("/scratch/a/b", True), ("/scratch/local", False)],
)
def test_the_file_system_is_that_of_the_nearest_mount(tmp_path, folder, shared):
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "/dev/sda / ext4 rw 0 0\n"
        "systemd-1 /scratch autofs rw 0 0\n"
        "server:/scratch /scratch nfs4 rw 0 0\n"
        "/dev/sdb /scratch/local xfs rw 0 0\n"
    )
    assert status.on_shared_file_system(Path(folder), mounts) is shared


def test_without_a_list_of_mounts_locks_are_trusted(tmp_path):
    assert status.on_shared_file_system(tmp_path, tmp_path / "nothing") is False


# --- time left ----------------------------------------------------------------------------------


def test_time_left_by_hand(project, one, lines):
    key = project.key(SLAC)
    with locked(project.checkpoint(key, step=3, seconds=6.0)):  # 2 s a step, 9 steps to do
        run = one(key)
        (line,) = [line for line in lines("status") if line.startswith(key)]
    assert (run["left_seconds"], run["left_is_estimate"]) == (18.0, False)
    assert re.search(r" training +3/12 +25 % +18 s +6 s", line)


def test_who_waits_is_estimated_by_the_mean_of_its_method_and_cohort(project, one, ask, lines):
    project.plan_anew(seeds=[0, 1, 2])
    project.finished(project.key(f"{SLAC}seed0"), seconds=40.0)
    project.trained(project.key(f"{SLAC}seed1"), seconds=60.0)
    project.finished(project.key("cardiac/half_merged/slac/seed0"), seconds=1000.0)
    project.finished(project.key("thigh/half_merged/naive_masking/seed0"), seconds=1000.0)
    key = project.key(f"{SLAC}seed2")
    assert (one(key)["left_seconds"], one(key)["left_is_estimate"]) == (50.0, True)
    (line,) = [line for line in lines("status") if line.startswith(key)]
    assert re.search(r" waiting +~50 s$", line)


def test_an_interrupted_run_is_estimated_by_its_own_pace(project, one):
    project.plan_anew(seeds=[0, 1])
    project.finished(project.key(f"{SLAC}seed0"), seconds=1000.0)
    key = project.key(f"{SLAC}seed1")
    project.checkpoint(key, step=6, seconds=3.0)
    assert (one(key)["left_seconds"], one(key)["left_is_estimate"]) == (3.0, False)


def test_the_last_line_sums_up(project, ask, lines):
    project.plan_anew(seeds=[0, 1])
    project.finished(project.key(f"{SLAC}seed0"), seconds=40.0, gpu_hours=1.25)
    project.trained(project.key("cardiac/half_merged/slac/seed0"), seconds=80.0, gpu_hours=0.5)
    project.checkpoint(project.key("thigh/half/cross_entropy/seed0"), step=3, seconds=6.0)
    # 40 s and 80 s for the second seeds, 18 s for the interrupted run.
    unknown = len(project.plan.runs) - 5
    assert ask("status")["totals"] == {
        "runs": len(project.plan.runs),
        "finished": 1,
        "gpu_hours": 1.75,
        "left_seconds": 138.0,
        "left_is_estimate": True,
        "left_unknown_runs": unknown,
    }
    assert lines("status")[-1] == (
        f"1 of {len(project.plan.runs)} runs finished, 1.75 GPU hours used, "
        f"~2:18 min left over all, unknown for {unknown} runs"
    )


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59.6, "1:00 min"), (725, "12:05 min"), (11220, "3 h 07 min")],
)
def test_durations_are_easy_to_read(project, lines, seconds, words):
    project.finished(key := project.key(SLAC), seconds=seconds)
    (line,) = [line for line in lines("status") if line.startswith(key)]
    assert f" {words} " in line


# --- files that are not what they should be -----------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"step": 3, "ste', "cannot be read"),
        ("", "cannot be read"),
        ("[1, 2]", "expected a JSON object"),
        ('{"step": 3}', "'steps' is missing"),
        ({"step": "three"}, "'step' is 'three', expected a whole number"),
        ({"step": -3}, "'step' is -3"),
        ({"step": True}, "'step' is True"),
        ({"seconds": float("nan")}, "'seconds' is nan"),
        ({"seconds": float("inf")}, "'seconds' is inf"),
        ({"samples_per_second": "fast"}, "'samples_per_second' is 'fast'"),
        ({"stopped": 1}, "'stopped' is 1"),
    ],
)
def test_a_broken_progress_is_named_and_the_rest_goes_on(project, ask, lines, text, words):
    key, other = project.key(SLAC), project.key("thigh/half/cross_entropy")
    folder = project.checkpoint(key, **(text if isinstance(text, dict) else {}))
    if isinstance(text, str):
        (folder / "progress.json").write_text(text)
    project.finished(other)
    runs = {run["run"]: run for run in ask("status")["runs"]}
    assert (runs[key]["state"], runs[key]["step"]) == ("interrupted", None)
    (problem,) = runs[key]["problems"]
    assert f"results/{SCALE}/checkpoints/{key}/progress.json" in problem
    assert words in problem
    assert runs[other]["state"] == "finished"
    assert problem in lines("status")


def test_of_a_finished_run_only_the_record_counts(project, one):
    # Its progress is never written anew.
    key = project.key(SLAC)
    (project.checkpoint(key) / "progress.json").write_text("{")
    project.finished(key)
    assert one(key)["problems"] == []


def test_a_pace_that_is_not_yet_known_is_no_problem(project, one):
    key = project.key(SLAC)
    path = project.checkpoint(key) / "progress.json"
    progress = json.loads(path.read_text())
    del progress["samples_per_second"]
    path.write_text(json.dumps(progress))
    assert (one(key)["step"], one(key)["samples_per_second"]) == (3, None)
    assert one(key)["problems"] == []


def test_a_progress_that_is_not_yet_there_is_no_problem(project, one):
    key = project.key(SLAC)
    (project.checkpoint(key) / "progress.json").unlink()
    run = one(key)
    assert (run["state"], run["left_seconds"], run["problems"]) == ("interrupted", None, [])


def test_more_steps_than_there_are_leave_no_negative_time(project, one):
    key = project.key(SLAC)
    project.checkpoint(key, step=STEPS + 1)
    assert one(key)["left_seconds"] == 0.0


def test_a_broken_record_is_named_and_counts_for_nothing(project, one, ask):
    project.plan_anew(seeds=[0, 1])
    key, other = project.key(f"{SLAC}seed0"), project.key(f"{SLAC}seed1")
    folder = project.trained(key)
    (folder / "run.json").write_text('{"steps": 12, "seconds": 40.0, "gpu_h')
    run = one(key)
    assert (run["state"], run["seconds"], run["gpu_hours"]) == ("trained", None, None)
    (problem,) = run["problems"]
    assert "run.json" in problem
    assert "delete" in problem
    assert one(other)["left_seconds"] is None


# --- runs of other hashes -----------------------------------------------------------------------


def test_runs_of_older_hashes_are_counted_not_listed(project, ask, lines):
    old = "thigh/half_merged/slac/seed0-0000000000"
    (project.finished(project.key(SLAC)) / "weights.pt").write_bytes(bytes(5000))
    for part, size in (("runs", 3000), ("checkpoints", 1096)):
        folder = project.results / part / old
        (folder / "predictions").mkdir(parents=True)
        (folder / "predictions" / "file").write_bytes(bytes(size))
    (project.results / "checkpoints" / "gone/half/slac/seed1-1111111111").mkdir(parents=True)
    content = ask("status")
    assert content["unplanned"] == {"runs": 2, "bytes": 4096}
    assert {run["run"] for run in content["runs"]} == project.plan.runs.keys()
    (line,) = [line for line in lines("status") if "older" in line]
    assert line.startswith("2 runs of older settings or code, 4 KiB")
    assert not any("0000000000" in line for line in lines("status"))


def test_runs_of_papers_on_request_are_no_older_ones(project, ask, capsys):
    before = set(project.plan.runs)
    project.plan_anew(on_request=["moseley2023"])
    (left_out, *_) = sorted(before - set(project.plan.runs))
    (project.results / "runs" / left_out).mkdir(parents=True)
    content = ask("status")
    assert left_out not in {run["run"] for run in content["runs"]}
    assert content["unplanned"]["runs"] == 0
    for papers in (["all"], ["moseley2023"]):
        assert cli.main(["status", "--scale", SCALE, "--json", "--papers", *papers]) == 0
        asked = {run["run"] for run in json.loads(capsys.readouterr().out)["runs"]}
        assert left_out in asked
        assert (asked == before) == (papers == ["all"])


def test_without_older_hashes_nothing_is_said_of_them(project, lines):
    project.finished(project.key(SLAC))
    assert not any("older" in line for line in lines("status"))


# --- what programs read -------------------------------------------------------------------------


def test_keys_of_the_status_are_stable(project, ask):
    project.checkpoint(project.key(SLAC))
    project.finished(project.key(ORACLE), steps=0, seconds=0.0)
    content = ask("status")
    assert list(content) == ["scale", "runs", "unplanned", "totals"]
    assert content["scale"] == SCALE
    assert {tuple(run) for run in content["runs"]} == {tuple(RUN_KEYS)}


def test_the_time_of_the_last_checkpoint_is_in_utc(project, one):
    key = project.key(SLAC)
    folder = project.checkpoint(key)
    os.utime(folder / "progress.json", (86400, 86400))
    assert one(key)["updated"] == "1970-01-02T00:00:00+00:00"


def test_the_plan_says_what_every_run_is_for(project, ask):
    content = ask("plan")
    runs = {run["run"]: run for run in content["runs"]}
    assert list(runs) == list(project.plan.runs)
    keys = ["run", "cohort", "annotation", "method", "seed", "hash", "network"]
    assert {tuple(run) for run in content["runs"]} == {
        (*keys, "network_options", "steps", "arms", "gpu_hours")
    }
    slac, oracle = runs[project.key(SLAC)], runs[project.key(ORACLE)]
    assert slac["arms"] == [{"paper": "kemnitz2018", "arm": "slac"}]
    assert (slac["steps"], slac["network"]) == (STEPS, "baumgartner_unet")
    assert (oracle["steps"], oracle["network"], oracle["gpu_hours"]) == (None, None, 0)
    assert slac["gpu_hours"] > 0
    assert content["downloads"] == []  # phantoms only


def test_the_plan_says_what_is_to_be_downloaded(project, capsys):
    assert cli.main(["plan", "--scale", "paper"]) == 0
    printed = capsys.readouterr().out
    (row,) = [line for line in printed.splitlines() if line.startswith("msd03 ")]
    assert row.split() == ["msd03", "28.93", "0.00"]
    assert re.search(r"\d+ data sets to download, \d+\.\d GB, and \d+ files whose size", printed)
    assert re.search(r"\d+ runs at scale paper, about \d+\.\d GPU hours of training, if", printed)


def test_a_run_of_two_arms_is_one_line(project, lines, monkeypatch):
    key = project.key(SLAC)
    project.plan.papers["other2020"] = [{"arm": "twin", "run": key}]
    monkeypatch.setattr(cli.Planner, "plan", lambda *_: project.plan)
    printed = lines("plan")
    (line,) = [line for line in printed if line.startswith(key)]
    assert line.endswith("kemnitz2018: slac; other2020: twin")
    assert re.search(r" 12 +0\.00 +baumgartner_unet width=2 padding=same ", line)
    (line,) = [line for line in printed if line.startswith(project.key(ORACLE))]
    assert re.search(r"seed0-\w{10} +0\.00 +no network +kemnitz2018: oracle$", line)
    assert printed[-1].startswith(
        f"{len(project.plan.runs)} runs at scale smoke, about 0.0 GPU hours"
    )


# --- predictions of other scans; tests/prediction has what they are ------------------------------


def test_a_prediction_is_asked_for_with_its_options(monkeypatch, capsys):
    asked = []

    def predict_own_scan(*given, **options):
        asked.append((given, options))
        yield "labels.nii.gz: liver 1500 ml"

    monkeypatch.setattr(prediction, "predict_own_scan", predict_own_scan)
    command = ["predict", "run", "scan.nii.gz", "--output", "labels.nii.gz"]
    assert cli.main(command) == 0
    assert capsys.readouterr().out == "labels.nii.gz: liver 1500 ml\n"
    more = ["--task", "hip", "--modality", "CT", "--threads", "2", "--force"]
    assert cli.main(command + more) == 0
    (given, options), (_, all_options) = asked
    assert given == (Path("run"), Path("scan.nii.gz"), Path("labels.nii.gz"))
    assert options.pop("threads") >= 1
    assert options == {"task": None, "modality": None, "force": False}
    assert all_options == {"task": "hip", "modality": "CT", "threads": 2, "force": True}


def test_a_prediction_that_cannot_be_made_ends_in_its_message(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["predict", "run", "scan.nii.gz", "--output", "labels.nii.gz"]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert "piecemeal: run/run.json: cannot be read" in output.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("threads", ["0", "-1", "2.5", "many"])
def test_a_prediction_takes_a_thread(capsys, threads):
    with pytest.raises(SystemExit) as caught:
        cli.main(["predict", "run", "scan.nii", "--output", "map.nii", f"--threads={threads}"])
    assert caught.value.code == 2
    assert f"got '{threads}'" in capsys.readouterr().err


# --- the command itself -------------------------------------------------------------------------


def test_the_scale_of_the_configuration_is_the_default(project, capsys):
    path = project.root / "config" / "config.yaml"
    path.write_text(path.read_text().replace("scale: demo", f"scale: {SCALE}"))
    assert cli.main(["plan", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scale"] == SCALE


@pytest.mark.parametrize("command", ["plan", "status"])
def test_a_mistake_ends_in_its_message(project, capsys, command):
    assert cli.main([command, "--scale", "nonsense"]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert "nonsense.yaml: no such file" in output.err


def test_elsewhere_it_says_where_to_go(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["status"]) == 2
    assert "main folder" in capsys.readouterr().err


@pytest.mark.parametrize("seconds", ["0", "-1", "soon", "nan", "inf"])
def test_watching_needs_a_time(project, capsys, seconds):
    with pytest.raises(SystemExit) as caught:
        cli.main(["status", f"--watch={seconds}"])
    assert caught.value.code == 2
    assert f"got '{seconds}'" in capsys.readouterr().err


def test_watching_looks_again_until_it_is_stopped(project, monkeypatch, capsys):
    key, waits = project.key(SLAC), []

    def sleep(seconds):
        waits.append(seconds)
        if len(waits) == 2:
            raise KeyboardInterrupt
        project.finished(key)

    monkeypatch.setattr(cli.time, "sleep", sleep)
    assert cli.main(["status", "--scale", SCALE, "--json", "--watch", "7"]) == 130
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (first["totals"]["finished"], second["totals"]["finished"]) == (0, 1)
    assert waits == [7.0, 7.0]


def test_a_reader_that_goes_away_is_no_error(project):
    command = [sys.executable, "-m", "piecemeal", "status", "--scale", SCALE, "--watch", "0.01"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout.readline().startswith("run ")
        process.stdout.close()  # as `| head -1` does
        assert process.stderr.read() == ""
        assert process.wait() == 1


# Counting the operations of a network takes torch, and of some of chen2024's MONAI, which imports
# much of what there is.
@pytest.mark.parametrize(
    ("command", "absent"),
    [
        ("plan", ["pandas", "nibabel", "matplotlib"]),
        ("status", ["torch", "pandas", "scipy", "nibabel", "matplotlib"]),
    ],
)
def test_it_starts_without_what_it_does_not_need(project, command, absent):
    Path("config/local.yaml").write_text("papers: [kemnitz2018, moseley2023, li2023, anand2024]\n")
    code = (
        "import sys; from piecemeal.cli import main\n"
        f"assert main(['{command}', '--scale', '{SCALE}']) == 0\n"
        f"assert not set({absent}) & set(sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_the_command_is_declared():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    module, function = scripts["piecemeal"].split(":")
    assert getattr(import_module(module), function) is cli.main
