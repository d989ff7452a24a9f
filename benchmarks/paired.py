"""Two things timed in turn, and rows of a table that know what was wanted of them."""

from __future__ import annotations

import gc
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LONG_SECONDS = 60.0
"""Runs end once the peer has taken that long in all."""
REPEATS = 5
HEADER = (
    "| work | clustergrid | beside it | ratio | of the best | wanted | | runs |\n"
    "|---|---|---|---|---|---|---|---|"
)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A bound of a ratio: ours by theirs where little is wanted, theirs by ours where much is."""

    bound: float
    at_most: bool = False
    unit: str = "x"

    def __str__(self) -> str:
        return f"{'at most' if self.at_most else 'at least'} {self.bound:g}{self.unit}"

    def ratio(self, ours: float, theirs: float) -> float:
        return ours / theirs if self.at_most else theirs / ours

    def verdict(self, ratio: float) -> str:
        kept = ratio <= self.bound if self.at_most else ratio >= self.bound
        return "ok" if kept else "**missed**"


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """What was measured in turn, in the order of the runs."""

    ours: list[float]
    theirs: list[float]


def seconds(function: Callable[[], Any]) -> float:
    """Wall time of a call; what it returns is freed after the clock has stopped."""
    gc.collect()
    started = time.perf_counter()
    result = function()
    passed = time.perf_counter() - started
    del result
    return passed


def in_turn(
    ours: Callable[[], float], theirs: Callable[[], float], repeats: int = REPEATS
) -> Pairs:
    """Measure ours, theirs, ours, theirs; fewer times where theirs takes a minute in all."""
    pairs = Pairs(ours=[], theirs=[])
    while len(pairs.ours) < repeats:
        pairs.ours.append(ours())
        pairs.theirs.append(theirs())
        say(f"    {pairs.ours[-1]:9.3f}  {pairs.theirs[-1]:9.3f}")
        if max(sum(pairs.ours), sum(pairs.theirs)) > LONG_SECONDS:
            break
    return pairs


def format_seconds(value: float) -> str:
    return f"{value:.2f} s" if value < 100 else f"{value:.0f} s"


def format_gigabytes(value: float) -> str:
    return f"{value:.2f} GB"


def row(
    name: str,
    peer: str,
    pairs: Pairs,
    wanted: Wanted,
    form: Callable[[float], str] = format_seconds,
) -> str:
    """One line of the table: medians, the median of the ratios, the ratio of the best runs."""
    ratios = [wanted.ratio(a, b) for a, b in zip(pairs.ours, pairs.theirs, strict=True)]
    ratio = statistics.median(ratios)
    best = wanted.ratio(min(pairs.ours), min(pairs.theirs))
    line = (
        f"| {name} | {form(statistics.median(pairs.ours))} | {peer}: "
        f"{form(statistics.median(pairs.theirs))} | {ratio:.2f}x | {best:.2f}x | {wanted} "
        f"| {wanted.verdict(ratio)} | {len(ratios)} |"
    )
    say(line)
    return line


def missing_row(name: str, error: BaseException) -> str:
    """Line of a row that cannot be measured."""
    text = str(error).strip() or type(error).__name__
    line = f"| {name} | not there yet: {text.splitlines()[-1][:120]} | | | | | **missed** | 0 |"
    say(line)
    return line


def attempt(name: str, measure: Callable[[], str]) -> str:
    """One row, or what keeps it from being measured."""
    try:
        return measure()
    except Exception as error:
        return missing_row(name, error)


@dataclass(frozen=True, kw_only=True)
class Job:
    """A measured child process.

    Attributes
    ----------
    answer
        The JSON object it printed last.
    resident_bytes
        Most resident memory of the process itself.
    tree_bytes
        Most private memory of it and of all that it started, as seen every 50 ms.
    """

    answer: dict[str, Any]
    resident_bytes: int
    tree_bytes: int


def run_job(*arguments: object, sampled: bool = False, script: str = "distance_jobs.py") -> Job:
    """Run a script beside this one with these arguments in a process of its own.

    Raises
    ------
    RuntimeError
        The process failed; the message is the last line it printed.
    """
    path = Path(__file__).with_name(script)
    command = [sys.executable, str(path), *map(str, arguments)]
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(command, stdout=output, stderr=errors)
        tree = _TreeMemory(child.pid)
        if sampled:
            tree.start()
        child.wait()
        tree.stop()
        errors.seek(0)
        output.seek(0)
        if child.returncode:
            lines = errors.read().decode(errors="replace").strip().splitlines()
            raise RuntimeError(lines[-1] if lines else f"exit code {child.returncode}")
        answer = json.loads(output.read().decode().strip().splitlines()[-1])
    return Job(answer=answer, resident_bytes=answer["peak_bytes"], tree_bytes=tree.peak_bytes)


class _TreeMemory:
    """Looks at a process and its descendants every 50 ms: the sum of their private memory (USS)."""

    def __init__(self, pid: int) -> None:
        self.peak_bytes = 0
        self._pid = pid
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ends.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        import psutil

        while not self._ends.wait(0.05):
            total = 0
            try:
                root = psutil.Process(self._pid)
                for process in (root, *root.children(recursive=True)):
                    try:
                        total += process.memory_full_info().uss
                    except psutil.Error:
                        continue
            except psutil.Error:
                return
            self.peak_bytes = max(self.peak_bytes, total)
