"""Where the time of a call goes: its threads are looked at every few milliseconds.

A look notes for every thread of ours the innermost line of this package, and the processor time
that the thread has taken since the last look, so it tells a product from a copy without knowing how
the package is built, and does not count what other processes took. Compiled kernels and BLAS run
without the interpreter's lock and are seen like everything else. What the system does for the
process (page faults, files) is told apart by its own accounts.
"""

from __future__ import annotations

import collections
import linecache
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

_EVERY_SECONDS = 0.003
_PACKAGE = str(Path(__file__).resolve().parent.parent)
_MAIN = "main thread"


class Profile:
    """Looks at the threads of this process while a function runs."""

    def __init__(self) -> None:
        self.seconds: collections.Counter[tuple[str, str]] = collections.Counter()
        self.wall_seconds = self.user_seconds = self.system_seconds = 0.0
        self.page_faults = 0
        self._ends = threading.Event()

    def run(self, function: Callable[[], Any]) -> None:
        sampler = threading.Thread(target=self._sample, args=(threading.get_ident(),), daemon=True)
        before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        sampler.start()
        result = function()
        self.wall_seconds = time.perf_counter() - started
        after = resource.getrusage(resource.RUSAGE_SELF)
        self._ends.set()
        sampler.join()
        del result
        self.user_seconds = after.ru_utime - before.ru_utime
        self.system_seconds = after.ru_stime - before.ru_stime
        self.page_faults = after.ru_minflt - before.ru_minflt

    def _sample(self, main: int) -> None:
        own = threading.get_ident()
        before: dict[int, float] = {main: _processor_seconds(main) or 0.0}
        while not self._ends.wait(_EVERY_SECONDS):
            frames = sys._current_frames()
            names = {thread.ident: thread.name for thread in threading.enumerate()}
            for ident, frame in frames.items():
                name = names.get(ident, "").rpartition("_")[0]
                seconds = _processor_seconds(ident) if ident in names else None
                if ident == own or seconds is None:
                    continue
                spent = seconds - before.get(ident, 0.0)
                before[ident] = seconds
                if ident == main or name.startswith("clustergrid"):
                    self.seconds[name or _MAIN, _place(frame)] += spent

    def lines(self, threads: int, most: int = 14) -> Iterable[str]:
        """Markdown: the accounts of the system, then lines by the time that threads spent there."""
        cpu = self.user_seconds + self.system_seconds
        yield (
            f"{self.wall_seconds:.2f} s on {threads} threads: {self.user_seconds:.2f} s of "
            f"computing, {self.system_seconds:.2f} s in the system ({self.page_faults:,} page "
            f"faults), {max(0.0, threads * self.wall_seconds - cpu):.2f} s of waiting"
        )
        yield ""
        yield "| stage | where | processor seconds | share |"
        yield "|---|---|---|---|"
        for (name, place), seconds in self.seconds.most_common(most):
            yield f"| {name} | {place} | {seconds:.2f} | {seconds / cpu:.0%} |"
        rest = cpu - sum(seconds for _, seconds in self.seconds.most_common(most))
        yield f"| | the rest | {rest:.2f} | {rest / cpu:.0%} |"


def _processor_seconds(ident: int) -> float | None:
    """Processor time of a thread so far; None where it has ended or the system does not tell."""
    try:
        return time.clock_gettime(time.pthread_getcpuclockid(ident))
    except (AttributeError, OSError):
        return None


def _place(frame: Any) -> str:
    """The innermost line of the package, as its function and text."""
    while frame is not None and not frame.f_code.co_filename.startswith(_PACKAGE + "/pipeline"):
        if frame.f_code.co_filename.startswith(_PACKAGE + "/storage"):
            break
        if frame.f_back is None:
            break
        frame = frame.f_back
    code = frame.f_code
    text = linecache.getline(code.co_filename, frame.f_lineno).strip().replace("|", "\\|")
    return f"`{Path(code.co_filename).stem}.{code.co_name}`: `{text[:70]}`"
