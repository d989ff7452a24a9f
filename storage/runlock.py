"""Driver: one process at a time in a directory, and the lock of a dead one taken over.

The lock is a file that names its holder. It appears whole (a hard link to a finished file), so
nobody reads half of it, and a process number that was given to another process does not count.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from clustergrid.storage.errors import RunDirectoryError, StorageError

__all__ = ["LOCK", "Holder", "holder_of", "lock_directory"]

LOCK = "run.lock"
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


def _myself() -> Holder:
    pid = os.getpid()
    return Holder(socket.gethostname(), pid, round(_started(pid) or 0.0, 2), _boot())


def _read(lock: Path) -> Holder | None:
    try:
        entry = json.loads(lock.read_text(encoding="utf-8"))
        host, boot = str(entry["host"]), str(entry.get("boot", ""))
        return Holder(host, int(entry["pid"]), float(entry["started"]), boot)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def holder_of(directory: Path) -> Holder | None:
    """Who holds a directory; None where nobody living does."""
    holder = _read(directory / LOCK)
    return holder if holder is not None and holder.is_alive else None


@contextmanager
def lock_directory(directory: Path) -> Iterator[None]:
    """Hold a directory for this process; take over the lock of a process that died.

    Raises
    ------
    RunDirectoryError
        Another process holds it; the message names its host and number.
    StorageError
        The directory cannot be written.
    """
    lock = directory / LOCK
    mine = _myself()
    with _one_taker(directory):
        for _ in range(3):
            if _take(lock, mine):
                break
            _put_aside_stale(lock)
        else:
            raise RunDirectoryError(f"{directory} was taken by another process just now")
    try:
        yield
    finally:
        if _read(lock) == mine:
            lock.unlink(missing_ok=True)


@contextmanager
def _one_taker(directory: Path) -> Iterator[None]:
    """Let one process at a time look for a stale lock, where the file system can see to that."""
    try:
        descriptor = os.open(directory, os.O_RDONLY)
    except OSError:
        yield
        return
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _take(lock: Path, mine: Holder) -> bool:
    text = json.dumps(asdict(mine))
    whole = lock.with_name(f".{LOCK}.{mine.pid}")
    try:
        whole.write_text(text, encoding="utf-8")
        try:
            os.link(whole, lock)
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links
            try:
                with lock.open("x", encoding="utf-8") as stream:
                    stream.write(text)
            except FileExistsError:
                return False
    except OSError as error:
        raise StorageError(f"cannot write to the run directory {lock.parent}: {error}") from error
    finally:
        with suppress(OSError):
            whole.unlink(missing_ok=True)
    return True


def _put_aside_stale(lock: Path) -> None:
    """Remove the lock of a dead process; of several that try, one succeeds."""
    found = _read(lock)
    if found is not None and found.is_alive:
        raise RunDirectoryError(
            f"{lock.parent} is in use by process {found.pid} on {found.host}. Wait for it, or, if "
            f"that process is gone, delete {lock}"
        )
    aside = lock.with_name(f".{LOCK}.{os.getpid()}.stale")
    try:
        lock.rename(aside)
    except FileNotFoundError:
        return
    # Somebody else may have replaced the stale lock by their own since it was read.
    if _read(aside) != found:
        with suppress(OSError):
            os.link(aside, lock)
    aside.unlink(missing_ok=True)
