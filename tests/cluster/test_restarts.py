"""The controller or Snakemake itself ends while jobs run: nothing is done twice."""

import os
import signal

from projects import caught, until

NAME = "cardiac/half_merged/slac"


def kill(running) -> None:
    """End Snakemake on the spot; its jobs on the cluster go on."""
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()


def test_a_restarted_controller_changes_nothing(slurm, project, same_weights):
    run = project.run(NAME)
    running = project.on_slurm(run.weights)
    ((_, pid),) = caught(run)
    slurm.stop_controller()
    slurm.start_controller()
    os.kill(pid, signal.SIGCONT)
    project.finish(running)
    assert [job["JobState"] for job in run.jobs(slurm)] == ["COMPLETED"]
    assert run.resumed_at() == []
    assert same_weights(run)


def test_jobs_of_a_killed_snakemake_are_ended_before_their_work_begins_anew(
    slurm, project, same_weights, tmp_path
):
    of_another_folder = slurm.submit("piecemeal_1", tmp_path, "sleep 600")
    of_another_name = slurm.submit("something", project.folder, "sleep 600")
    run = project.run(NAME)
    killed = project.on_slurm(run.weights)
    caught(run)
    kill(killed)

    project.finish(project.on_slurm(run.weights))
    first, second = run.jobs(slurm)
    assert (first["JobState"], second["JobState"]) == ("CANCELLED", "COMPLETED")
    assert first["EndTime"] <= second["SubmitTime"]
    (step,) = run.resumed_at()
    assert step > 0
    assert same_weights(run)
    others = slurm.jobs("RUNNING")
    assert {of_another_folder, of_another_name} <= others.keys()
    slurm.cancel(of_another_folder)


def test_a_job_that_nobody_knew_of_is_waited_for(slurm, project, same_weights):
    run = project.run(NAME)
    killed = project.on_slurm("--slurm-jobname-prefix", "elsewhere", run.weights)
    ((unknown, pid),) = caught(run)
    kill(killed)

    again = project.on_slurm(run.weights)
    until(lambda: run.log.exists() and "waiting until" in run.log.read_text(), "a wait")
    assert f"is held by SLURM job {unknown}, process {pid} on " in run.log.read_text()
    os.kill(pid, signal.SIGCONT)
    project.finish(again)
    assert [job["JobState"] for job in run.jobs(slurm)] == ["COMPLETED", "COMPLETED"]
    assert run.resumed_at() == []
    assert same_weights(run)
