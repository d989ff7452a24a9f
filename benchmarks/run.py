"""Measure clustergrid beside seaborn: whole processes, in turn, medians.

    python benchmarks/run.py [--quick] [--repeats N] [--only TEXT] [--readme README.md]

Every case runs `benchmarks/job.py` for both libraries alternately, so that both see the same
machine. Seconds are wall time and memory is the peak resident size, as the operating system
accounts them for the finished process. One run of each library comes first and is not counted: it
fills the disk cache and Numba's cache, as on any machine that has run the command once.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from clustergrid.storage.datasets import endometrial_path

JOB = Path(__file__).with_name("job.py")
LIBRARIES = ("clustergrid", "seaborn")
START, END = "<!-- bench:start -->", "<!-- bench:end -->"
SEED = 20261122


@dataclass(frozen=True, kw_only=True)
class Case:
    name: str
    shape: tuple[int, int]
    real: bool = False

    def matrix(self, folder: Path) -> Path:
        """Path of the matrix; synthetic ones are 30 groups of rows and noise, float64."""
        if self.real:
            return endometrial_path()
        path = folder / f"{self.shape[0]}x{self.shape[1]}.npy"
        if not path.exists():
            random = np.random.default_rng(SEED)
            n, k = self.shape
            centres = random.normal(size=(30, k))
            values = centres[random.integers(30, size=n)] + random.normal(size=(n, k))
            np.save(path, values)
        return path


CASES = (
    Case(name="1,000 x 100", shape=(1_000, 100)),
    Case(name="5,000 x 1,000", shape=(5_000, 1_000)),
    Case(name="10,000 x 1,000", shape=(10_000, 1_000)),
    Case(name="demo: 28,057 x 115, real", shape=(28_057, 115), real=True),
)
QUICK = CASES[:1]
WARM = "iris, warm"


@dataclass(frozen=True, kw_only=True)
class Measurement:
    seconds: float
    peak_bytes: int


def measure(library: str, matrix: Path, output: Path) -> Measurement:
    """Run one process and return what the system accounts for it."""
    command = [sys.executable, str(JOB), library, str(matrix), str(output)]
    with tempfile.TemporaryFile() as errors:
        started = time.perf_counter()
        child = subprocess.Popen(command, stdout=errors, stderr=errors)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - started
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            errors.seek(0)
            text = errors.read().decode(errors="replace")
            raise SystemExit(f"{library} failed on {matrix.name}:\n{text[-2000:]}")
    # Linux counts kilobytes, macOS bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return Measurement(seconds=seconds, peak_bytes=usage.ru_maxrss * unit)


def compare(case: Case, folder: Path, repeats: int) -> str:
    """One row of the table: medians of the runs, and of the ratios pair by pair."""
    matrix = case.matrix(folder)
    measured: dict[str, list[Measurement]] = {library: [] for library in LIBRARIES}
    for repeat in range(repeats + 1):
        for library in LIBRARIES:
            if repeat == 0 and library == "seaborn" and case.shape[0] > 1_000:
                continue  # its warm-up would change nothing and takes minutes
            result = measure(library, matrix, folder / f"{library}.png")
            print(
                f"  {library:<12} {result.seconds:8.2f} s {result.peak_bytes / 1e6:8.0f} MB"
                + ("  (not counted)" if repeat == 0 else ""),
                file=sys.stderr,
                flush=True,
            )
            if repeat:
                measured[library].append(result)
    ours, theirs = measured["clustergrid"], measured["seaborn"]

    def middle(runs: list[Measurement]) -> tuple[float, float]:
        return (
            statistics.median(run.seconds for run in runs),
            statistics.median(run.peak_bytes for run in runs) / 1e9,
        )

    (our_seconds, our_memory), (their_seconds, their_memory) = middle(ours), middle(theirs)
    ratio = statistics.median(b.seconds / a.seconds for a, b in zip(ours, theirs, strict=True))
    return (
        f"| {case.name} | {our_seconds:.1f} s | {their_seconds:.1f} s | **{ratio:.1f}x** "
        f"| {our_memory:.2f} GB | {their_memory:.2f} GB |"
    )


def compare_warm() -> str:
    """One row: a small matrix in a process that has drawn it before."""
    command = [sys.executable, str(JOB.with_name("warm.py"))]
    answer = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return (
        f"| iris 150 x 4, in a warm process | {answer['clustergrid']:.2f} s "
        f"| {answer['seaborn']:.2f} s | **{answer['ratio']:.1f}x** | | |"
    )


def machine() -> str:
    """Describe what was measured on."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = names[0].split(":", 1)[1].strip() if names else model
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    packages = ("clustergrid", "seaborn", "fastcluster", "scipy", "numpy", "numba")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return f"{model}, {cores} cores, Python {platform.python_version()}; {versions}"


def table(cases: tuple[Case, ...], repeats: int, *, warm: bool) -> str:
    """Measure the cases and return a Markdown table."""
    lines = [
        "| matrix | clustergrid | seaborn | faster by | peak memory | seaborn's |",
        "|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for case in cases:
            print(case.name, file=sys.stderr)
            lines.append(compare(case, Path(folder), repeats))
    if warm:
        print(WARM, file=sys.stderr)
        lines.append(compare_warm())
    note = (
        f"Whole processes from the file to the PNG (average linkage, Euclidean, rows and columns), "
        f"in turn, median of {repeats}; seaborn with fastcluster and its recursion limit lifted. "
        f"{machine()}."
    )
    return "\n".join([*lines, "", note])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="only the smallest case, once")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", default="", help="only cases whose name holds this")
    parser.add_argument("--readme", type=Path, help="put the table into this file")
    arguments = parser.parse_args()
    cases = QUICK if arguments.quick else CASES
    cases = tuple(case for case in cases if arguments.only in case.name)
    warm = not arguments.quick and arguments.only in WARM
    text = table(cases, 1 if arguments.quick else arguments.repeats, warm=warm)
    print(text)
    if arguments.readme:
        page = arguments.readme.read_text(encoding="utf-8")
        before, rest = page.split(START, 1)
        _, after = rest.split(END, 1)
        arguments.readme.write_text(f"{before}{START}\n{text}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
