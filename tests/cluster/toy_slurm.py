"""A SLURM cluster on one host, from Debian's packages: two nodes, one with six pretended GPUs.

    python tests/cluster/toy_slurm.py start FOLDER
    python tests/cluster/toy_slurm.py stop FOLDER

Runs on loopback without systemd, cgroups, accounting or hardware; needs root, slurm-wlm and munge.
Never touches a SLURM that is configured already.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

ETC = Path("/etc/slurm")  # the plugin's job step looks nowhere else
NODES = {"n1": 17001, "g1": 17002}
PATIENCE_SECONDS = 60

# pgid: with linuxproc, processes survive a requeue. OverMemoryKill: memory limits without cgroups.
CONFIGURATION = """\
ClusterName=toy
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
MinJobAge=3600
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
KillWait=5
SlurmdTimeout=20
ReturnToService=2
EnforcePartLimits=ALL
SlurmdParameters=config_overrides
MpiDefault=none
JobRequeue=1
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port=17001 CPUs=8 RealMemory=32000
NodeName=g1 NodeHostname={host} NodeAddr=127.0.0.1 Port=17002 CPUs=8 RealMemory=32000 Gres=gpu:toy:6
PartitionName=cpu Nodes=n1 MaxTime=1-0 State=UP Default=YES
PartitionName=gpu Nodes=g1 MaxTime=1-0 State=UP
"""
GPUS = "".join(  # a GPU is any device file
    f"NodeName=g1 Name=gpu Type=toy File=/dev/{name}\n"
    for name in ("null", "zero", "full", "random", "urandom", "ptmx")
)


class UnavailableError(Exception):
    """SLURM cannot be started here; the message says why."""


class ToySlurm:
    """The cluster whose files are in `folder`."""

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self.links = [ETC / "slurm.conf", ETC / "gres.conf"]

    def start(self) -> None:
        """Start munge if need be, the controller and both nodes; UnavailableError if that fails."""
        self._check()
        host = socket.gethostname().split(".")[0]
        for name in ("state", *(f"spool/{node}" for node in NODES)):
            (self.folder / name).mkdir(parents=True)
        for path, text in zip(self.links, (CONFIGURATION, GPUS), strict=True):
            ours = self.folder / path.name
            ours.write_text(text.format(host=host, folder=self.folder))
            ETC.mkdir(exist_ok=True)
            path.symlink_to(ours)
        try:
            self._start_munge()
            self.start_controller()
            for node in NODES:
                _run("slurmd", "-N", node)
            _wait(lambda: set(_run("sinfo", "-h", "-N", "-o", "%T").split()) == {"idle"})
        except (UnavailableError, OSError) as error:
            self.stop()
            raise UnavailableError(f"SLURM does not start: {error}") from error

    def _check(self) -> None:
        missing = [t for t in ("slurmctld", "slurmd", "sbatch", "munged") if not shutil.which(t)]
        if missing:
            raise UnavailableError(f"no {', '.join(missing)} (Debian: slurm-wlm, munge)")
        if os.geteuid() != 0:
            raise UnavailableError("only root can start the daemons")
        there = [str(path) for path in self.links if path.exists() or path.is_symlink()]
        if there:
            raise UnavailableError(f"{', '.join(there)} exists: another SLURM is configured here")

    def _start_munge(self) -> None:
        if subprocess.run(["munge", "-n"], capture_output=True).returncode == 0:
            return
        key = Path("/etc/munge/munge.key")
        for place in ("/run/munge", "/var/log/munge", "/var/lib/munge"):
            Path(place).mkdir(exist_ok=True)
            shutil.chown(place, "munge", "munge")
        Path("/run/munge").chmod(0o755)
        if not key.exists():
            key.write_bytes(os.urandom(1024))
            shutil.chown(key, "munge", "munge")
            key.chmod(0o400)
        owner = ["setpriv", "--reuid=munge", "--regid=munge", "--clear-groups"]
        _run(*owner, "munged", f"--pid-file=/run/munge/{self.folder.name}.pid")
        shutil.copy(f"/run/munge/{self.folder.name}.pid", self.folder / "munged.pid")

    def start_controller(self) -> None:
        """Start slurmctld, with the state it saved, and wait until it answers."""
        _run("slurmctld")
        _wait(lambda: "UP" in _run("scontrol", "ping"))

    def stop_controller(self) -> None:
        """End slurmctld; jobs go on."""
        _end(self.folder / "slurmctld.pid")

    def jobs(self, *states: str) -> dict[str, dict[str, str]]:
        """Id -> what `scontrol show job` says; of the given states only, if any."""
        found = {}
        for line in _run("scontrol", "--oneliner", "show", "job").splitlines():
            fields = dict(word.split("=", 1) for word in line.split() if "=" in word)
            if "JobId" in fields and (not states or fields["JobState"] in states):
                found[fields["JobId"]] = fields
        return found

    def jobs_of(self, folder: Path) -> list[dict[str, str]]:
        """Those that Snakemake submitted from a folder, in the order of their submission."""
        found = [job for job in self.jobs().values() if job["WorkDir"] == str(folder)]
        return sorted((job for job in found if "Comment" in job), key=lambda job: int(job["JobId"]))

    def update(self, job: str, **fields: str) -> None:
        """Change a job, as `scontrol update` does."""
        _run("scontrol", "update", f"JobId={job}", *(f"{k}={v}" for k, v in fields.items()))

    def requeue(self, job: str) -> None:
        """Requeue a job, without the two minutes that it would then wait."""
        _run("scontrol", "requeue", job)
        _wait(lambda: self.jobs()[job]["JobState"] == "PENDING")
        self.update(job, StartTime="now")

    def submit(self, name: str, folder: Path, command: str) -> str:
        """Submit a command to the nodes without GPUs; the job's id."""
        what = [f"--job-name={name}", f"--chdir={folder}", "--mem=100", f"--wrap={command}"]
        return _run("sbatch", "--parsable", "--output=/dev/null", *what).strip()

    def cancel(self, *jobs: str) -> None:
        """Cancel jobs; they may still be ending."""
        _run("scancel", *jobs)

    def cancel_all(self) -> None:
        """Cancel every job, and wait until all have ended."""
        _run("scancel", "--user=root")
        _wait(lambda: not _run("squeue", "-h"))

    def stop(self) -> None:
        """Cancel all jobs, end what `start` started, and leave /etc/slurm as it was."""
        if any(path.is_symlink() and path.resolve().parent == self.folder for path in self.links):
            if (self.folder / "slurmctld.pid").exists():
                with contextlib.suppress(UnavailableError):
                    self.cancel_all()
            for path in self.links:
                path.unlink(missing_ok=True)
        for name in (*(f"slurmd.{node}.pid" for node in NODES), "slurmctld.pid", "munged.pid"):
            _end(self.folder / name)


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    if done.returncode:
        raise UnavailableError(f"{' '.join(command)}: {done.stdout}{done.stderr}".strip())
    return done.stdout


def _wait(condition) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            if condition():
                return
        except (UnavailableError, subprocess.TimeoutExpired):
            pass
        time.sleep(0.3)
    raise UnavailableError(f"no answer within {PATIENCE_SECONDS} s")


def _end(pid_file: Path) -> None:
    """End the daemon of a pid file and wait until it is gone."""
    if not pid_file.exists() or not pid_file.read_text().strip():
        return
    pid = int(pid_file.read_text())
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + 10
        try:
            os.kill(pid, number)
            while time.monotonic() < deadline:
                os.kill(pid, 0)
                time.sleep(0.1)
        except ProcessLookupError:
            break
    pid_file.unlink(missing_ok=True)


if __name__ == "__main__":
    command, folder = sys.argv[1:]
    toy = ToySlurm(Path(folder).resolve())
    toy.start() if command == "start" else toy.stop()
