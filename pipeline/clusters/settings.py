"""Driver: what schedulers and workers that a run starts are told, whoever starts them."""

from __future__ import annotations

import importlib
import os
import signal
import socket
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from clustergrid.pipeline.security import dashboard_origins
from clustergrid.storage.errors import MissingExtraError

__all__ = [
    "WORKER_VARIABLES",
    "environment",
    "free_port",
    "import_back_end",
    "private_directory",
    "scheduler_settings",
    "worker_settings",
]

_KEPT_BYTES = 2**28

WORKER_VARIABLES = {
    "MALLOC_ARENA_MAX": 1,
    "MALLOC_TRIM_THRESHOLD_": _KEPT_BYTES,
    "MALLOC_MMAP_THRESHOLD_": _KEPT_BYTES,
}
"""Variables of the environment of worker processes, which the C library reads as they start.

Tasks of one stage take the same amounts of memory again and again. Giving them back to the system
in between costs more time than the distances themselves; it is given back after every stage. One
arena serves all threads: each of many would keep up to 64 MB that nobody uses.
"""


def scheduler_settings(
    dashboard_port: int, no_workers_timeout: str, *, loses_nodes: bool = True
) -> dict[str, Any]:
    """Make the settings of a scheduler that a run starts.

    Parameters
    ----------
    dashboard_port
        Of the dashboard, on loopback.
    no_workers_timeout
        How long a task waits for a worker that could take it. A run that waits for ever for workers
        which never come is worse than one that stops.
    loses_nodes
        Whether workers are on other machines. A task may be under way on more dying workers then
        before it is blamed for them: it may run twice, and is rarely to blame.
    """
    failures = {"distributed.scheduler.allowed-failures": 10} if loses_nodes else {}
    return failures | {
        "distributed.scheduler.no-workers-timeout": no_workers_timeout,
        "distributed.scheduler.dashboard.bokeh-application.allow_websocket_origin": (
            dashboard_origins(dashboard_port)
        ),
    }


def worker_settings(terminate_share: float) -> dict[str, Any]:
    """Make the settings of workers.

    Parameters
    ----------
    terminate_share
        Of its limit, at which a worker is ended. The plan fills the limit, so that being near it
        is no reason to stop: a worker that pauses for want of memory would wait for ever. One that
        is beyond it is ended, and its task tried again.
    """
    return {
        "distributed.worker.memory.spill": False,
        "distributed.worker.memory.pause": False,
        "distributed.worker.memory.terminate": terminate_share,
    }


@contextmanager
def environment(variables: Mapping[str, object]) -> Iterator[None]:
    """Give variables to the processes that start inside.

    Dask's setting for this yields to variables that are there already, and an earlier cluster of
    this process leaves its own.
    """
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update({name: str(value) for name, value in variables.items()})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def private_directory() -> str:
    """Make the directory where workers spill; nobody else may look in, or put something there.

    What is spilled is pickled, and unpickled when it is wanted again. The name is the same for
    every run, so that Dask finds there, and removes, what a killed one left.
    """
    import dask

    parent = dask.config.get("temporary-directory") or tempfile.gettempdir()
    path = os.path.join(parent, f"clustergrid-{os.geteuid()}")
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
        found = os.lstat(path)
        is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
        if is_ours and not found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            return path
    except FileExistsError:
        pass  # a file, or a link to nowhere
    return tempfile.mkdtemp(prefix="clustergrid-", dir=parent)


def free_port(wanted: int) -> int:
    """Return the wanted port, or another one when somebody listens there (or 0 is wanted)."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    return 0


def import_back_end(module: str, extra: str, word: str) -> ModuleType:
    """Import the library of a back end.

    Raises
    ------
    MissingExtraError
        It is not installed.
    """
    try:
        with _interrupts_as_they_are():
            return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"--cluster {word} needs {module.partition('.')[0].replace('_', '-')}: "
            f"pip install 'clustergrid[{extra}]' ({error})"
        ) from error


@contextmanager
def _interrupts_as_they_are() -> Iterator[None]:
    """Keep what happens on Ctrl-C: dask-jobqueue, imported, ends the process with status 0."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        # Python itself has none where somebody else's library set one.
        if before is not None and signal.getsignal(signal.SIGINT) is not before:
            signal.signal(signal.SIGINT, before)
