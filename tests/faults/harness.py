"""Real processes and real faults: start a run, watch it, kill it, compare what it left to the bit.

A `Run` is the command in a session of its own, so that whatever it started can be found when it is
gone. A `DaskProcesses` is a scheduler, a nanny and a worker, each a process, as a batch system
starts them. `contents` is all that a run directory is for, as digests.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

COMMAND = [sys.executable, "-m", "clustergrid.pipeline.cli"]
LOOK = ["--figsize", "3", "3", "--dpi", "40"]
_QUIET: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
_GONE_SECONDS = 30.0

# What differs between two runs that did the same: times, and the order in which tiles were ready.
_OF_THE_MOMENT = {"run.json", "run.json.damaged", "progress.jsonl", "run.lock"}
_FOLDERS_OF_THE_MOMENT = {"jobs", "report", "pieces", "manifest"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A progress event of a run, as `--json` prints it."""

    stage: str
    state: str
    done: int
    total: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended."""

    status: int
    notices: list[str]
    events: list[Event]
    err: str

    def stages(self, *states: str) -> set[str]:
        """Stages of which an event with one of these states was told."""
        return {event.stage for event in self.events if event.state in states}


class Run:
    """A command under way, in a session of its own; its events are read as they come.

    Parameters
    ----------
    *arguments
        Of ``clustergrid``; ``--json`` is added to ``run``.
    environment
        Variables besides those of this process.
    """

    def __init__(self, *arguments: object, environment: dict[str, str] | None = None) -> None:
        words = [*map(str, arguments), *(["--json"] if arguments[0] == "run" else [])]
        self._err = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by `end`
        self.process = subprocess.Popen(
            [*COMMAND, *words],
            stdout=subprocess.PIPE,
            stderr=self._err,
            text=True,
            start_new_session=True,
            env={**os.environ, **(environment or {})},
        )
        self.seen: list[Event] = []
        self._notices: list[str] = []

    @property
    def pid(self) -> int:
        """Number of the process, and of its session."""
        return self.process.pid

    def events(self) -> Iterator[Event]:
        """Yield the events that were not read yet, until the command ends."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with suppress(ValueError):  # a line torn by a kill
                entry = json.loads(line)
                if "notice" in entry:
                    self._notices.append(entry["notice"])
                if "event" in entry:
                    event = Event(**{name: entry["event"][name] for name in Event.__slots__})
                    self.seen.append(event)
                    yield event

    def wait_for(self, stage: str, state: str = "started") -> bool:
        """Read until a stage is so far; False if the command ended before."""
        return any((event.stage, event.state) == (stage, state) for event in self.events())

    def signal(self, number: int) -> None:
        """Send a signal to the process alone."""
        self.process.send_signal(number)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Hold the process still, to do something in the middle of what it does."""
        self.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.signal(signal.SIGCONT)

    def children(self) -> list[psutil.Process]:
        """Processes that it started, the workers of a local cluster among them."""
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self.pid).children(recursive=True)
        return []

    def kill(self) -> Ended:
        """SIGKILL, and see that nothing of it stays."""
        self.process.kill()
        return self.end()

    def end(self, timeout: float = 240.0) -> Ended:
        """Wait for the end; fail if it takes too long, or if a process of its session stays."""
        deadline = time.monotonic() + timeout
        for _ in self.events():
            assert time.monotonic() < deadline, "the command goes on and on"
        status = self.process.wait(timeout=max(1.0, deadline - time.monotonic()))
        assert_session_is_gone(self.pid)
        self._err.seek(0)
        err = self._err.read()
        self.close()
        return Ended(status=status, notices=self._notices, events=self.seen, err=err)

    def close(self) -> None:
        """End it by force, if it has not ended; used by fixtures."""
        for process in _session(self.pid):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._err.close()


def _session(number: int) -> list[psutil.Process]:
    found = []
    for pid in psutil.pids():
        with suppress(OSError, psutil.NoSuchProcess):
            if os.getsid(pid) == number:
                process = psutil.Process(pid)
                if process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
    return found


def assert_session_is_gone(number: int) -> None:
    """No process that a command started is left, after some seconds."""
    until(lambda: not _session(number), "stray processes stay", _GONE_SECONDS)


def until(condition: Callable[[], Any], otherwise: str, seconds: float = 60.0) -> None:
    """Wait for a condition, looking often."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.01)


def one_line(ended: Ended) -> str:
    """Return the one line that a command ended with, which says all there is to say."""
    lines = ended.err.splitlines()
    said = [line for line in lines if not line.startswith("clustergrid: warning:")]
    assert len(said) == 1, ended.err
    assert said[0].startswith("clustergrid: "), ended.err
    assert "Traceback" not in ended.err
    assert ended.status != 0
    return said[0]


class DaskProcesses:
    """``dask scheduler`` and ``dask worker``: scheduler, nanny and worker are processes.

    Parameters
    ----------
    folder
        Where the scheduler file and the workers' scratch files are.
    threads
        Of the worker.
    """

    def __init__(self, folder: Path, *, threads: int = 2) -> None:
        self.file = folder / "scheduler.json"
        self._folder, self._threads, self._patience = folder, threads, "120s"
        self._started: list[subprocess.Popen[bytes]] = []
        self.scheduler = self.nanny = None
        self.start_scheduler()
        self.start_worker()

    def _start(self, *words: object) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "dask", *map(str, words)],
            cwd=self._folder,
            start_new_session=True,
            env={**os.environ, "DASK_DISTRIBUTED__SCHEDULER__NO_WORKERS_TIMEOUT": self._patience},
            **_QUIET,
        )
        self._started.append(process)
        return process

    def start_scheduler(self) -> None:
        """Start a scheduler, in place of one that is gone."""
        self.file.unlink(missing_ok=True)
        self.scheduler = self._start(
            "scheduler", "--host", "127.0.0.1", "--port", 0, "--no-dashboard",
            "--scheduler-file", self.file,
        )  # fmt: skip
        until(self.file.exists, "the scheduler does not start")

    def start_worker(self) -> None:
        """Start a nanny, which starts a worker, in place of those that are gone."""
        self.nanny = self._start(
            "worker", "--scheduler-file", self.file, "--host", "127.0.0.1", "--no-dashboard",
            "--nthreads", self._threads, "--memory-limit", "2GB",
        )  # fmt: skip

    def worker(self) -> psutil.Process:
        """The worker's process, a child of the nanny's; waits for it to start."""
        found: list[psutil.Process] = []

        def look() -> bool:
            found[:] = worker_processes(psutil.Process(self.nanny.pid).children(recursive=True))
            return bool(found)

        until(look, "the nanny starts no worker")
        return found[0]

    def kill_nanny(self) -> None:
        """SIGKILL the nanny; its worker is to follow it."""
        self._end(self.nanny)

    def kill_scheduler(self) -> None:
        """SIGKILL the scheduler."""
        self._end(self.scheduler)

    def restart(self, *, no_workers_timeout: str = "120s") -> None:
        """End whatever is left, and start anew."""
        self._patience = no_workers_timeout
        self.close()
        self.start_scheduler()
        self.start_worker()

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()

    def close(self) -> None:
        """End every process that was started here."""
        for process in self._started:
            process.kill()
            process.wait()
            assert_session_is_gone(process.pid)
        self._started.clear()


def worker_processes(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Those of some processes that are Dask workers (not the tracker of shared resources)."""
    found = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            if "spawn_main" in " ".join(process.cmdline()):
                found.append(process)
    return found


def contents(directory: Path) -> dict[str, str]:
    """Everything that a run is for, as digests of bytes: results, arrays, figures, copies, keys.

    Times and logs are left out, and the order in which pieces were noted.
    """
    found = {}
    for file in sorted(directory.rglob("*")):
        name = file.relative_to(directory)
        if not file.is_file() or name.parts[0] in _FOLDERS_OF_THE_MOMENT | _OF_THE_MOMENT:
            continue
        found[str(name)] = hashlib.sha256(file.read_bytes()).hexdigest()
    for stage, entry in state_of(directory)["stages"].items():
        found[f"key of {stage}"] = entry["key"]
    return found


def state_of(directory: Path) -> dict[str, Any]:
    """What ``run.json`` holds."""
    state: dict[str, Any] = json.loads((directory / "run.json").read_text(encoding="utf-8"))
    return state


def assert_same(directory: Path, undisturbed: Path) -> None:
    """Two finished run directories hold the same bits, and nothing besides."""
    ours, theirs = contents(directory), contents(undisturbed)
    # A comparison of too little would prove nothing.
    for part in ("linkage_row.npy", "order_row.txt", "order_col.txt", "figure.png"):
        assert part in theirs
    for array in ("condensed_row", "image"):
        assert any(re.match(rf"arrays\.zarr/{array}[\w/]*/c/", name) for name in theirs)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []
    assert "finished" in state_of(directory)
    left = [str(f) for f in directory.rglob("*") if f.name.startswith((".writing", ".run"))]
    assert left == []
    assert not (directory / "run.lock").exists()


def tile_files(directory: Path, axis: str = "row") -> dict[str, tuple[int, int]]:
    """Tiles at rest: inode and time of each file, which change when it is written again."""
    found = {}
    for file in (directory / "arrays.zarr").glob(f"condensed_{axis}*/*/c/*/0/0"):
        with suppress(FileNotFoundError):
            about = file.stat()
            found[file.relative_to(directory).as_posix()] = (about.st_ino, about.st_mtime_ns)
    return found
