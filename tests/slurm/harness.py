"""A real Slurm of two nodes on this machine, as root and without systemd: a few light processes.

Everything of it is in one temporary folder, on ports that were free, with a munged of its own; so
several can run side by side. Both nodes are this host: `n1` and `n2`, each of 2 cores and 6 GB.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

NODES = ("n1", "n2")
PARTITION = "debug"
PROGRAMS = ("munged", "mungekey", "slurmctld", "slurmd", "sbatch", "setpriv")
INSTALL = "apt-get install --no-install-recommends slurm-wlm munge"
_START_SECONDS = 180.0
_GONE_SECONDS = 20.0
_ANSWER_SECONDS = 60.0

# `config_overrides`: the nodes have what is written here, whatever the machine has. Times are the
# least that Slurm takes: a node that does not answer is down within some 20 s, a job that was
# requeued may start again at once, and a job that asks to go is killed after 2 s (by default 30).
_CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
SlurmctldPort={controller_port}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=2
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2
ReturnToService=2
SlurmdTimeout=15
KillWait=2
MinJobAge=300
JobRequeue=1
SlurmdParameters=config_overrides
{nodes}
PartitionName={partition} Nodes={names} Default=YES MaxTime=INFINITE State=UP
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as `squeue` shows it.

    Attributes
    ----------
    number
        Of the job.
    name
        As `sbatch --job-name` gave it.
    state
        ``"PENDING"``, ``"RUNNING"``, ...
    node
        Where it runs; empty while it does not.
    reason
        Why it waits.
    """

    number: int
    name: str
    state: str
    node: str
    reason: str


@dataclass(slots=True)
class Slurm:
    """A Slurm that runs; made by `running_slurm`.

    Attributes
    ----------
    folder
        Where its configuration, its logs and its state are.
    """

    folder: Path
    _daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def configuration(self) -> Path:
        """The file for ``SLURM_CONF``."""
        return self.folder / "slurm.conf"

    @property
    def environment(self) -> dict[str, str]:
        """This process's variables, and ``SLURM_CONF``; not those of an allocation around us."""
        ours = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SBATCH_"))}
        return ours | {"SLURM_CONF": str(self.configuration)}

    def run(self, *arguments: object, timeout: float = _ANSWER_SECONDS) -> str:
        """Run a command of Slurm; return what it prints, and fail with what it complains of."""
        words = [str(argument) for argument in arguments]
        done = subprocess.run(
            words, env=self.environment, capture_output=True, text=True, timeout=timeout
        )
        assert done.returncode == 0, f"{' '.join(words)}: {done.stderr or done.stdout}"
        return done.stdout

    def jobs(self, name: str | None = None) -> list[Job]:
        """Jobs that wait or run, of all names or of one; the oldest first."""
        lines = self.run("squeue", "--noheader", "-a", "-o", "%i|%j|%T|%N|%r").splitlines()
        found = []
        for line in lines:
            number, job_name, state, node, reason = line.split("|", 4)
            found.append(
                Job(number=int(number), name=job_name, state=state, node=node, reason=reason)
            )
        return sorted(
            (job for job in found if name in (None, job.name)), key=lambda job: job.number
        )

    def show_job(self, number: int) -> dict[str, str]:
        """What `scontrol show job` says of a job, also of one that ended of late."""
        words = self.run("scontrol", "--oneliner", "show", "job", number).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def node_states(self) -> dict[str, str]:
        """State of each node: ``"idle"``, ``"mixed"``, ``"allocated"``, ``"down*"``, ..."""
        lines = self.run("sinfo", "--noheader", "-N", "-o", "%N|%T").splitlines()
        return dict(line.split("|") for line in lines)

    def submit(self, script: str, *options: str) -> int:
        """Submit a script with `sbatch`; return the job's number."""
        words = ["sbatch", "--parsable", "--output=/dev/null", *options, "--wrap", script]
        return int(self.run(*words).strip().split(";")[0])

    def cancel(self, *numbers: int) -> None:
        """Cancel jobs by `scancel`; all of them where no number is given."""
        if numbers:
            self.run("scancel", *numbers)
        else:
            self.run("scancel", "--user=root")

    def set_down(self, node: str) -> None:
        """Take a node away as an administrator does: its jobs are lost or requeued at once."""
        self.run("scontrol", "update", f"nodename={node}", "state=down", "reason=test")

    def kill_node(self, node: str) -> None:
        """Take a node away as a power cut does: its daemon, and all that runs on it, are killed.

        The controller notices after ``SlurmdTimeout``, some 20 s.
        """
        daemon = self._daemons.pop(node)
        daemon.kill()
        daemon.wait(_GONE_SECONDS)
        _kill(self._on_node(node))

    def bring_back(self, node: str) -> None:
        """Let a node that was taken away work again, and wait until it is idle."""
        if node not in self._daemons:
            self._start(node, "slurmd", "-D", "-N", node)

        def is_idle() -> bool:
            state = self.node_states()[node]
            if state == "down":  # not "down*", which does not answer yet, and returns by itself
                with suppress(AssertionError):
                    self.run("scontrol", "update", f"nodename={node}", "state=resume")
            return state == "idle"

        self.wait_for(is_idle, f"{node} is idle")

    def wait_for(
        self, is_so: Callable[[], object], what: str, *, seconds: float = _START_SECONDS
    ) -> None:
        """Wait until something is so; fail with what it was, and the jobs there are."""
        end = time.monotonic() + seconds
        while not is_so():
            if time.monotonic() > end:
                pytest.fail(
                    f"not within {seconds:.0f} s: {what}; {self.node_states()}\n{self.jobs()}"
                )
            time.sleep(0.2)

    def clear(self) -> None:
        """Cancel all jobs and bring nodes back, so that the next test finds what this one found."""
        self.cancel()
        for node in NODES:
            self.bring_back(node)
        self.wait_for(lambda: not self.jobs(), "no jobs are left")

    def _start(self, name: str, *words: str) -> None:
        # A session of its own, so that Ctrl-C in the terminal of the tests ends these in order; but
        # if the tests are killed, the kernel ends them.
        following = ["setpriv", "--pdeathsig", "TERM", *words]
        with (self.folder / f"{name}.out").open("ab") as out:
            self._daemons[name] = subprocess.Popen(
                following, env=self.environment, stdout=out, stderr=out, start_new_session=True
            )

    def _on_node(self, node: str) -> list[psutil.Process]:
        """Processes of jobs on a node, and before them the daemons that watch over these."""
        jobs = [each for each, known in self._processes() if known.get("SLURMD_NODENAME") == node]
        return [*self._watchers(node), *jobs]

    def _watchers(self, *nodes: str) -> list[psutil.Process]:
        """Find each `slurmstepd` by its socket in the node's folder: its environment is empty."""
        spools = tuple(f"{self.folder / f'spool-{node}'}/" for node in nodes)
        listening = psutil.net_connections("unix")
        numbers = {each.pid for each in listening if str(each.laddr).startswith(spools)}
        found = []
        for number in numbers - {None}:
            with suppress(psutil.Error):
                found.append(psutil.Process(number))
        return found

    def _processes(self) -> Iterator[tuple[psutil.Process, dict[str, str]]]:
        """Processes that know this Slurm by their environment, but for us and who called us."""
        ours = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                environment = process.environ()
                is_of_it = environment.get("SLURM_CONF") == str(self.configuration)
                if is_of_it and process.pid not in ours:
                    yield process, environment

    def start(self) -> None:
        """Start munged, the controller and the nodes; wait until these are idle."""
        for node in NODES:
            (self.folder / f"spool-{node}").mkdir()
        (self.folder / "state").mkdir()
        key = self.folder / "munge.key"
        subprocess.run(["mungekey", "--create", f"--keyfile={key}"], check=True)
        self.configuration.write_text(_configuration(self.folder), encoding="utf-8")
        files = {
            "socket": "munge.socket",
            "key-file": key.name,
            "log-file": "munged.log",
            "pid-file": "munged.pid",
            "seed-file": "munged.seed",
        }
        options = [f"--{name}={self.folder / file}" for name, file in files.items()]
        self._start("munged", "munged", "--foreground", *options)
        _wait_for_file(self.folder / "munge.socket")
        self._start("slurmctld", "slurmctld", "-D", "-c")
        for node in NODES:
            self._start(node, "slurmd", "-D", "-N", node)
        end = time.monotonic() + _START_SECONDS
        while not self._is_idle():
            if time.monotonic() > end:
                pytest.fail(f"Slurm does not start within {_START_SECONDS:.0f} s:\n{self.logs()}")
            time.sleep(0.2)

    def _is_idle(self) -> bool:
        with suppress(AssertionError, subprocess.TimeoutExpired):
            states = self.node_states()
            return all(states.get(node) == "idle" for node in NODES)
        return False

    def logs(self) -> str:
        """The ends of all logs, for people who look for what is wrong."""
        files = sorted([*self.folder.glob("*.log"), *self.folder.glob("*.out")])
        return "\n".join(
            f"--- {file.name}\n{file.read_text(errors='replace')[-2000:]}" for file in files
        )

    def stop(self) -> None:
        """End all jobs and daemons; fail where a process is left."""
        with suppress(AssertionError, subprocess.TimeoutExpired):
            self.cancel()
            end = time.monotonic() + _GONE_SECONDS
            while self.jobs() and time.monotonic() < end:
                time.sleep(0.2)
        for daemon in reversed(self._daemons.values()):
            daemon.terminate()
        for daemon in self._daemons.values():
            with suppress(subprocess.TimeoutExpired):
                daemon.wait(_GONE_SECONDS)
        _kill([*self._watchers(*NODES), *(process for process, _ in self._processes())])
        left = [process.name() for process, _ in self._processes()]
        assert not left, f"processes are left: {left}"


def _kill(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.Error):
            process.send_signal(signal.SIGKILL)
    psutil.wait_procs(processes, _GONE_SECONDS)


def _wait_for_file(path: Path) -> None:
    end = time.monotonic() + _START_SECONDS
    while not path.exists():
        assert time.monotonic() < end, f"{path} does not appear"
        time.sleep(0.05)


def _configuration(folder: Path) -> str:
    host = socket.gethostname().split(".")[0]
    with ExitStack() as stack:
        # All are held until all are known, so that they differ.
        sockets = [stack.enter_context(socket.socket()) for _ in range(1 + len(NODES))]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        controller_port, *node_ports = (each.getsockname()[1] for each in sockets)
    nodes = "\n".join(
        f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=2 RealMemory=6000"
        for node, port in zip(NODES, node_ports, strict=True)
    )
    return _CONFIGURATION.format(
        host=host,
        folder=folder,
        controller_port=controller_port,
        nodes=nodes,
        names=",".join(NODES),
        partition=PARTITION,
    ).lstrip()


def refuse_without_slurm() -> None:
    """Fail with what to install where Slurm's programs are not there, or we may not start them."""
    missing = [program for program in PROGRAMS if shutil.which(program, path=_path()) is None]
    if missing:
        pytest.fail(f"no {', '.join(missing)} on this machine: {INSTALL}", pytrace=False)
    if os.geteuid() != 0:
        pytest.fail("Slurm of two nodes on one machine is started by root", pytrace=False)


def _path() -> str:
    """Where daemons are, too: a user's path often lacks /usr/sbin."""
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


@contextmanager
def running_slurm() -> Iterator[Slurm]:
    """Start a Slurm of two idle nodes; when it is left, nothing of it runs any more."""
    refuse_without_slurm()
    # Not pytest's own folders: a socket's path has at most 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    folder.chmod(0o711)  # munged wants its socket where all can reach it
    slurm = Slurm(folder)
    before = os.environ.get("PATH", "")
    os.environ["PATH"] = _path()
    try:
        slurm.start()
        yield slurm
    finally:
        try:
            slurm.stop()
        finally:
            os.environ["PATH"] = before
            shutil.rmtree(folder, ignore_errors=True)
