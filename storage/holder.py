"""Driver: which process holds a directory, and whether it still runs."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from clustergrid.storage.errors import RunDirectoryError
from clustergrid.storage.places import StorePath

__all__ = ["Holder", "in_use", "myself", "parse_holder"]

_SAME_START_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that holds a directory.

    Attributes
    ----------
    host, pid
        Where it runs, and its number there.
    started
        Seconds from the machine's start to its own: setting the clock does not change it.
    boot
        Which start of the machine that was, where the system tells.
    """

    host: str
    pid: int
    started: float
    boot: str = ""

    @property
    def is_alive(self) -> bool:
        """Whether it still runs; of another host's process nobody here can tell, so it does."""
        if self.host != socket.gethostname():
            return True
        if self.boot != _boot():
            return False
        started = _started(self.pid)
        return started is not None and abs(started - self.started) < _SAME_START_SECONDS


def _started(pid: int) -> float | None:
    """When a process started, in seconds since this machine did; None for one that is gone."""
    import psutil

    try:
        # The first, since psutil makes the second of it, and both move with the clock.
        machine: float = psutil.boot_time()
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        started: float = process.create_time()
        return started - machine
    except psutil.NoSuchProcess:
        return None


def _boot() -> str:
    """Identity that Linux gives every start of a machine; empty elsewhere."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def myself() -> Holder:
    """Describe this process."""
    pid = os.getpid()
    return Holder(socket.gethostname(), pid, round(_started(pid) or 0.0, 2), _boot())


def parse_holder(content: bytes) -> Holder | None:
    """Read what a lock says; None where it is no lock."""
    try:
        entry = json.loads(content)
        host, boot = str(entry["host"]), str(entry.get("boot", ""))
        return Holder(host, int(entry["pid"]), float(entry["started"]), boot)
    except (ValueError, KeyError, TypeError):
        return None


def in_use(directory: StorePath, holder: Holder, lock: StorePath) -> RunDirectoryError:
    """Make the error that names who is at work in a directory."""
    return RunDirectoryError(
        f"{directory} is in use by process {holder.pid} on {holder.host}. Wait for it, or, if "
        f"that process is gone, delete {lock}"
    )
