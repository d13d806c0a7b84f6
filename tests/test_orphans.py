import os

import pytest

from piecemeal import orphans as module
from piecemeal.errors import InputError
from piecemeal.orphans import cancel_orphans, orphans


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A queue in a file, of lines `id|name|folder`, and an scancel that takes jobs out of it."""
    queue = tmp_path / "queue"
    tools = tmp_path / "tools"
    tools.mkdir()
    scripts = {
        "squeue": f"cat {queue}",
        "scancel": f'touch {queue}.called; for job; do sed -i "/^$job|/d" {queue}; done',
    }
    for name, script in scripts.items():
        (tools / name).write_text(f"#!/bin/sh\n{script}\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LOOKS", 0.0)
    return queue


def test_only_jobs_of_the_same_name_and_folder_are_cancelled(slurm, tmp_path):
    others = [
        f"2|piecemeal_b|{tmp_path}/elsewhere",
        f"3|piecemealer_c|{tmp_path}",
        f"4|other_d|{tmp_path}",
    ]
    slurm.write_text("\n".join([f"1|piecemeal_a|{tmp_path}", *others]) + "\n")
    assert cancel_orphans("piecemeal", tmp_path) == ["1"]
    assert slurm.read_text().splitlines() == others


def test_a_snakemake_that_is_a_job_itself_goes_on(slurm, tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    slurm.write_text(f"7|piecemeal_controller|{tmp_path}\n8|piecemeal_a|{tmp_path}\n")
    assert orphans("piecemeal", tmp_path) == ["8"]


def test_a_folder_is_the_same_by_any_of_its_names(slurm, tmp_path):
    (tmp_path / "real|one").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real|one")
    slurm.write_text(f"7|piecemeal_a|{tmp_path}/link\n")
    assert orphans("piecemeal", tmp_path / "real|one") == ["7"]


def test_without_orphans_nothing_is_cancelled(slurm, tmp_path):
    slurm.write_text("")
    assert cancel_orphans("piecemeal", tmp_path) == []
    assert not slurm.with_name("queue.called").exists()


def test_a_job_that_does_not_end_is_named(slurm, tmp_path, monkeypatch):
    (tmp_path / "tools/scancel").write_text("#!/bin/sh\n")
    slurm.write_text(f"5|piecemeal_a|{tmp_path}\n")
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0)
    with pytest.raises(InputError, match=r"SLURM jobs 5 .* have not ended"):
        cancel_orphans("piecemeal", tmp_path)


def test_a_silent_slurm_is_no_reason_to_submit_twice(slurm, tmp_path):
    (tmp_path / "tools/squeue").write_text("#!/bin/sh\necho no contact >&2; exit 1\n")
    with pytest.raises(InputError, match=r"squeue does not work \(no contact\)"):
        cancel_orphans("piecemeal", tmp_path)
