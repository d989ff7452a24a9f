"""Driver: the memory of this process and of all that it started, measured while they run.

Linux keeps a page's share of a file among the processes that map it (PSS) only by walking all the
pages of a process: 15 ms for every gigabyte that is not in huge pages, during which the process
cannot map more. The counters in ``/proc/PID/status`` cost 20 microseconds whatever the size. They
tell private pages from those of files, and the most that ever was. So what is told here is the
private pages of every process, and once the pages of files (libraries, mostly) of the process that
has most of them.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

__all__ = ["MemoryPeak", "MemorySampler", "MemoryWatch"]

_SHARE_OF_A_CORE = 1 / 300
_LIST_EVERY_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPeak:
    """The most memory that was seen.

    Attributes
    ----------
    total_bytes
        Of all processes together, at one moment. Pages that they share count once.
    driver_bytes
        Of this process alone.
    worker_bytes
        Of the largest of the processes that it started.
    """

    total_bytes: int = 0
    driver_bytes: int = 0
    worker_bytes: int = 0

    def or_more(self, other: MemoryPeak) -> MemoryPeak:
        """Return the greater of each number.

        Examples
        --------
        >>> MemoryPeak(total_bytes=3, driver_bytes=2).or_more(MemoryPeak(worker_bytes=1))
        MemoryPeak(total_bytes=3, driver_bytes=2, worker_bytes=1)
        """
        return MemoryPeak(
            total_bytes=max(self.total_bytes, other.total_bytes),
            driver_bytes=max(self.driver_bytes, other.driver_bytes),
            worker_bytes=max(self.worker_bytes, other.worker_bytes),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Use:
    """What one process holds now, and the most it ever held."""

    private_bytes: int
    shared_bytes: int
    highest_bytes: int = 0


class MemorySampler:
    """Looks at the memory of the local process tree, a few times a second, in a thread.

    Parameters
    ----------
    interval_seconds
        Time between two looks. It grows where there are so many processes that looking would
        take more than 1/300 of a core.

    Examples
    --------
    >>> with MemorySampler() as memory, memory.watch() as stage:
    ...     filled = bytearray(b"1") * 50_000_000
    ...     stage.look().total_bytes > 50_000_000
    True
    """

    def __init__(self, *, interval_seconds: float = 0.1) -> None:
        self._interval = interval_seconds
        self._pid = os.getpid()
        self._read = _read_status if sys.platform == "linux" else _read_with_psutil
        self._processes: tuple[int, ...] = (self._pid,)
        self._listed = -_LIST_EVERY_SECONDS
        self._highest: dict[int, int] = {}
        self._watches: set[MemoryWatch] = set()
        self._lock = threading.Lock()
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, name="clustergrid-memory", daemon=True)
        self._peak = MemoryPeak()

    def __enter__(self) -> Self:
        """Start looking."""
        self.look()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop looking."""
        self._ends.set()
        self._thread.join()

    @property
    def peak(self) -> MemoryPeak:
        """The most since this sampler was entered."""
        return self._peak

    @contextmanager
    def watch(self) -> Iterator[MemoryWatch]:
        """Remember the most from now on, besides; inside a stage, for instance."""
        watch = MemoryWatch(self)
        self.look()  # what was before is not of the watch
        with self._lock:
            self._watches.add(watch)
        try:
            watch.look()
            yield watch
        finally:
            with self._lock:
                self._watches.discard(watch)

    def look(self) -> None:
        """Measure now."""
        with self._lock:
            now = time.monotonic()
            if now - self._listed >= _LIST_EVERY_SECONDS:
                self._listed = now
                self._processes = (self._pid, *_descendants(self._pid))
            seen = self._measure()
            self._peak = self._peak.or_more(seen)
            for watch in self._watches:
                watch.peak = watch.peak.or_more(seen)

    def _measure(self) -> MemoryPeak:
        private, shared, driver, worker = 0, 0, 0, 0
        for pid in self._processes:
            use = self._read(pid)
            if use is None:
                continue
            resident = use.private_bytes + use.shared_bytes
            # A process rose to its greatest size, and fell again, since the last look: kernels
            # that hold the interpreter's lock keep this thread from looking.
            missed = 0
            before = self._highest.get(pid, use.highest_bytes if pid == self._pid else 0)
            if use.highest_bytes > before:
                missed = max(0, use.highest_bytes - resident)
            self._highest[pid] = use.highest_bytes
            private += use.private_bytes + missed
            shared = max(shared, use.shared_bytes)
            if pid == self._pid:
                driver = resident + missed
            else:
                worker = max(worker, resident + missed)
        return MemoryPeak(total_bytes=private + shared, driver_bytes=driver, worker_bytes=worker)

    def _run(self) -> None:
        pause = self._interval
        while not self._ends.wait(pause):
            started = time.thread_time()
            self.look()
            pause = max(self._interval, (time.thread_time() - started) / _SHARE_OF_A_CORE)


class MemoryWatch:
    """The most since some moment; made by `MemorySampler.watch`."""

    def __init__(self, sampler: MemorySampler) -> None:
        self.peak = MemoryPeak()
        self._sampler = sampler

    def look(self) -> MemoryPeak:
        """Measure now, and return the most."""
        self._sampler.look()
        return self.peak


def _read_status(pid: int) -> _Use | None:
    """Counters that the kernel keeps; None of a process that ended."""
    try:
        file = os.open(f"/proc/{pid}/status", os.O_RDONLY)
        try:
            lines = os.read(file, 2**14).splitlines()
        finally:
            os.close(file)
    except OSError:
        return None
    # Lines like b"VmHWM:	   10240 kB".
    found = {
        line[:7]: int(line.split()[1]) * 1024
        for line in lines
        if line.startswith((b"VmHWM:", b"RssAnon", b"RssFile", b"RssShme"))
    }
    if b"RssAnon" not in found:  # it ended, and nobody asked for its status yet
        return None
    return _Use(
        private_bytes=found[b"RssAnon"],
        shared_bytes=found[b"RssFile"] + found[b"RssShme"],
        highest_bytes=next((size for name, size in found.items() if name[:5] == b"VmHWM"), 0),
    )


def _read_with_psutil(pid: int) -> _Use | None:
    """Do the same where there is no ``/proc``."""
    import psutil

    try:
        use = psutil.Process(pid).memory_full_info()
    except psutil.Error:
        return None
    return _Use(private_bytes=use.uss, shared_bytes=max(0, use.rss - use.uss))


def _descendants(pid: int) -> list[int]:
    """List the processes that a process started, and those that they started."""
    if not os.path.exists(f"/proc/{pid}/task/{pid}/children"):
        return _descendants_with_psutil(pid)
    found: list[int] = []
    parents = [pid]
    while parents:
        children = list(_children(parents.pop()))
        found += children
        parents += children
    return found


def _children(pid: int) -> Iterator[int]:
    """List those that the threads of a process started, as the kernel knows them."""
    with suppress(OSError):  # a thread, or the whole process, ended meanwhile
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError), open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                yield from map(int, file.read().split())


def _descendants_with_psutil(pid: int) -> list[int]:
    import psutil

    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        return []
