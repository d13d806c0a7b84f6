import errno
import json
import logging
import multiprocessing
import os
import signal
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from piecemeal.errors import InputError
from piecemeal.jobs import data_folder, end_with_parent, run_job, settings_of


@pytest.fixture
def job(planned, settings, tmp_path):
    def make(**changes):
        asked = planned(tmp_path, "runs", settings(**changes))
        return SimpleNamespace(params=SimpleNamespace(asked=asked))

    return make


class TestEndsOfAJob:
    @pytest.fixture
    def ends(self, tmp_path, capsys, monkeypatch):
        """`ends(error)`: what a job that raises it leaves on the terminal and in its log."""
        monkeypatch.setattr(logging, "raiseExceptions", True)
        log, output = tmp_path / "job.log", [tmp_path / "results" / "scores.csv"]

        def run(error, status=1):
            def main(_):
                raise error

            monkeypatch.setattr(logging.root, "handlers", [])  # those of pytest come with the call
            job = SimpleNamespace(log=[str(log)], rule="score", output=output)
            with pytest.raises(SystemExit) as ended:
                run_job(main, job)
            assert ended.value.code == status
            return capsys.readouterr().err, log.read_text()

        yield run
        logging.captureWarnings(False)

    def test_a_mistake_ends_in_its_message(self, ends):
        said, log = ends(InputError("a.nii.gz: is cut; copy it again"))
        assert said == "score: a.nii.gz: is cut; copy it again\n"
        assert "ERROR a.nii.gz: is cut" in log
        assert "Traceback" not in log

    def test_an_interrupt_is_no_error_of_the_code(self, ends):
        said, log = ends(KeyboardInterrupt(), status=130)
        assert said == "score: interrupted; start the same command again to go on\n"
        assert "Traceback" not in said + log

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
    def test_a_full_disk_says_where_to_make_room(self, ends, tmp_path, number):
        said, log = ends(OSError(number, os.strerror(number), "data/image.npy"))
        assert said.startswith(f"score: data/image.npy: {os.strerror(number)}; make room there")
        assert "Traceback" not in said + log
        said, _ = ends(OSError(number, os.strerror(number)))  # of a file that was open
        assert said.startswith(f"score: {tmp_path / 'results'}: ")

    def test_a_full_disk_that_numpy_tells_of_is_known(self, ends, tmp_path):
        said, _ = ends(OSError("32768 requested and 16256 written"))
        assert said.startswith(f"score: {tmp_path / 'results'}: No space left on device; make room")

    def test_any_other_error_is_not_hidden(self, tmp_path, monkeypatch):
        monkeypatch.setattr(logging.root, "handlers", [])

        def main(_):
            raise PermissionError(errno.EACCES, "Permission denied", "data/image.npy")

        job = SimpleNamespace(log=[str(tmp_path / "job.log")], rule="score", output=[])
        with pytest.raises(PermissionError):
            run_job(main, job)
        assert "Traceback" in (tmp_path / "job.log").read_text()
        logging.captureWarnings(False)


def test_a_job_has_the_settings_of_its_unit_of_the_plan(job, settings):
    assert settings_of(job(seed=7)) == settings(seed=7)


def test_settings_that_were_planned_otherwise_are_refused(job):
    """As by a second workflow that was planned while this job waited in a queue."""
    late = job()
    plan = Path(late.params.asked["plan"])
    content = json.loads(plan.read_text())
    content["runs"]["unit"]["hash"] = "9876543210"
    plan.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"plan\.json: .* 9876543210, expected 0123456789; start"):
        settings_of(late)
    content["runs"] = {}
    plan.write_text(json.dumps(content))
    with pytest.raises(InputError, match="the hash None, expected 0123456789"):
        settings_of(late)


@pytest.mark.parametrize("content", [None, '{"runs": {'])
def test_a_plan_that_cannot_be_read_is_named(job, content):
    late = job()
    plan = Path(late.params.asked["plan"])
    plan.write_text(content) if content else plan.unlink()
    with pytest.raises(InputError, match=r"plan\.json: the plan cannot be read .*start snakemake"):
        settings_of(late)


def test_code_that_changed_since_it_was_planned_is_refused(job):
    with pytest.raises(InputError, match=r"the code of workflow\.scripts\.train changed after"):
        settings_of(job(source_hash="1111111111"))


def test_data_that_are_not_there_are_named_with_what_makes_them(tmp_path):
    folders = {name: str(tmp_path / name) for name in ("prepared", "annotated")}
    (tmp_path / "prepared").mkdir()
    (tmp_path / "prepared" / "cases.csv").touch()
    params = SimpleNamespace(folders=folders)
    run = SimpleNamespace(params=params, output=["runs/u_net/weights.pt"])
    assert data_folder(run, "prepared") == tmp_path / "prepared"
    with pytest.raises(InputError, match=r"^runs/u_net/weights\.pt: the annotated data .*forcerun"):
        data_folder(run, "annotated")


def test_a_worker_leaves_ctrl_c_to_its_parent():
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(1, context, initializer=end_with_parent) as pool:
        worker = pool.submit(os.getpid).result(timeout=60)
        os.kill(worker, signal.SIGINT)
        assert pool.submit(os.getpid).result(timeout=60) == worker != os.getpid()
