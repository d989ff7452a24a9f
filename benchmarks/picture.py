"""Measure the picture: the pass to pixels, the body, the reordered matrix, whole cluster maps.

    python benchmarks/picture.py [--quick] [--readme PAGE] [NAME ...]

The names are those of `GROUPS`: pass aggregates body reorder clustermap demo machine. Every row
knows what is wanted of it and says ok or missed. Rates are of bytes of the matrix, decoded.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import machine
import numpy as np
from distance_jobs import grouped
from paired import Pairs, Wanted, attempt, format_gigabytes, in_turn, row, run_job, say, seconds
from picture_jobs import make_matrix, make_warm
from table import Group, run_command

_JOBS = "picture_jobs.py"
_MEGABYTES_PER_SECOND = 400
_MEMORY = "1GB"


def _rows(quick: bool) -> int:
    return 20_000 if quick else 100_000


_COLUMNS = 5_000


@contextmanager
def _stored(quick: bool) -> Iterator[tuple[Path, str, str]]:
    """A matrix at rest, and a small one to load and compile with; and room for others."""
    with tempfile.TemporaryDirectory(prefix="clustergrid-bench-") as name:
        folder = Path(name)
        make_matrix(folder / "matrix.zarr", _rows(quick), _COLUMNS)
        make_warm(folder / "warm.zarr", _COLUMNS)
        yield folder, str(folder / "matrix.zarr"), str(folder / "warm.zarr")


def _job(*arguments: object) -> float:
    return float(run_job(*arguments, script=_JOBS).answer["seconds"])


def _what(quick: bool) -> str:
    return f"{_rows(quick):,} x {_COLUMNS:,} float32 from Zarr"


def take_pass(quick: bool) -> Iterator[str]:
    """To 2,000 x 1,000 pixels in a random order: the rate, the floor, and the memory."""
    name = f"{_what(quick)} in random order to 2,000 x 1,000 pixels"
    size = _rows(quick) * _COLUMNS * 4

    def measure() -> str:
        with _stored(quick) as (_, path, warm):
            jobs = [
                run_job("pass", path, warm, "mean", _MEMORY, script=_JOBS, sampled=True)
                for _ in range(1 if quick else 3)
            ]
            ours = [job.answer["seconds"] for job in jobs]
            wanted = size / 1e6 / _MEGABYTES_PER_SECOND
            rates = ", ".join(f"{size / 1e6 / each:.0f} MB/s" for each in ours)
            floor = in_turn(
                lambda: _job("pass", path, warm, "mean", _MEMORY),
                lambda: _job("read", path, warm),
                repeats=1 if quick else 3,
            )
        peaks = [max(job.resident_bytes, job.tree_bytes) / 1e9 for job in jobs]
        return "\n".join(
            (
                row(
                    f"{name} ({rates})",
                    f"at {_MEGABYTES_PER_SECOND} MB/s",
                    Pairs(ours=ours, theirs=[wanted] * len(ours)),
                    Wanted(bound=1),
                ),
                row(name, "reading the chunks alone", floor, Wanted(bound=2, at_most=True)),
                row(
                    f"{name}: peak of the process tree",
                    "wanted",
                    Pairs(ours=peaks, theirs=[1.0] * len(peaks)),
                    Wanted(bound=1, at_most=True),
                    format_gigabytes,
                ),
            )
        )

    yield attempt(name, measure)


def aggregates(quick: bool) -> Iterator[str]:
    """Other aggregates beside means; medians read the matrix once a thread."""
    with _stored(quick) as (_, path, warm):
        for aggregate, bound in (("min", 1.2), ("max_abs", 1.2), ("median", 8)):
            name = f"{aggregate} in place of means, {_what(quick)}"
            memory = "16GB" if aggregate == "median" else _MEMORY

            def measure(
                aggregate: str = aggregate, name: str = name, bound: float = bound, memory=memory
            ) -> str:
                pairs = in_turn(
                    lambda: _job("pass", path, warm, aggregate, memory),
                    lambda: _job("pass", path, warm, "mean", memory),
                    repeats=1 if quick else 3,
                )
                return row(name, "means", pairs, Wanted(bound=bound, at_most=True))

            yield attempt(name, measure)


def body(quick: bool) -> Iterator[str]:
    """The body alone, from memory to a PNG, without trees: beside seaborn's heatmap."""
    n, k = (2_000, 500) if quick else (10_000, 1_000)
    name = f"body of {n:,} x {k:,} in memory to PNG"

    def measure() -> str:
        import matplotlib as mpl

        mpl.use("Agg")
        import matplotlib.pyplot as plt
        import seaborn

        from clustergrid.pipeline import clustermap

        data = np.random.default_rng(0).standard_normal((n, k))

        def ours() -> None:
            g = clustermap(
                data,
                row_cluster=False,
                col_cluster=False,
                xticklabels=False,
                yticklabels=False,
                figsize=(10, 10),
            )
            g.savefig(io.BytesIO(), format="png")
            plt.close(g.figure)

        def theirs() -> None:
            figure, ax = plt.subplots(figsize=(10, 10))
            seaborn.heatmap(data, ax=ax, xticklabels=False, yticklabels=False)
            figure.savefig(io.BytesIO(), format="png")
            plt.close(figure)

        ours()
        pairs = in_turn(lambda: seconds(ours), lambda: seconds(theirs), 1 if quick else 5)
        return row(name, "seaborn's heatmap", pairs, Wanted(bound=10))

    yield attempt(name, measure)


def reorder(quick: bool) -> Iterator[str]:
    """Out of core, beside copying the same matrix."""
    name = f"{_what(quick)} written in clustered order, memory={_MEMORY}"

    def measure() -> str:
        with _stored(quick) as (folder, path, warm):
            targets = iter(range(100))
            jobs = []

            def ours() -> float:
                target = folder / f"reordered-{next(targets)}.zarr"
                jobs.append(
                    run_job("reorder", path, warm, target, _MEMORY, script=_JOBS, sampled=True)
                )
                subprocess.run(["rm", "-rf", str(target), f"{target}.warm"], check=True)
                return float(jobs[-1].answer["seconds"])

            def theirs() -> float:
                target = folder / f"copy-{next(targets)}.zarr"
                taken = _job("copy", path, warm, target, _MEMORY)
                subprocess.run(["rm", "-rf", str(target), f"{target}.warm"], check=True)
                return taken

            pairs = in_turn(ours, theirs, 1 if quick else 3)
        peaks = [max(job.resident_bytes, job.tree_bytes) / 1e9 for job in jobs]
        limits = Pairs(ours=peaks, theirs=[1.0] * len(peaks))
        return "\n".join(
            (
                row(name, "copying it", pairs, Wanted(bound=6, at_most=True)),
                row(
                    f"{name}: peak of the process tree",
                    "the limit",
                    limits,
                    Wanted(bound=1, at_most=True),
                    format_gigabytes,
                ),
            )
        )

    yield attempt(name, measure)


def clustermap(quick: bool) -> Iterator[str]:
    """A whole cluster map in a process that has loaded nothing."""
    n, k = (2_000, 500) if quick else (10_000, 1_000)
    name = f"clustermap of {n:,} x {k:,}, cold process"

    def measure() -> str:
        with tempfile.TemporaryDirectory() as folder:
            np.save(f"{folder}/matrix.npy", grouped(n, k, "float64"))

            def draw(library: str) -> float:
                script = Path(__file__).with_name("job.py")
                command = [sys.executable, str(script), library, f"{folder}/matrix.npy"]
                return seconds(lambda: subprocess.run([*command, f"{folder}/x.png"], check=True))

            draw("clustergrid")  # machine code is kept from here on
            pairs = in_turn(lambda: draw("clustergrid"), lambda: draw("seaborn"), 1 if quick else 3)
        return row(name, "seaborn", pairs, Wanted(bound=20))

    yield attempt(name, measure)


def demo(quick: bool) -> Iterator[str]:
    """The demo as a user calls it, in a cold process."""
    name = "clustergrid demo (28,057 x 115), cold process"

    def measure() -> str:
        def call() -> None:
            with tempfile.TemporaryDirectory() as folder:
                command = [sys.executable, "-m", "clustergrid.pipeline.cli", "demo"]
                subprocess.run([*command, "-o", f"{folder}/run"], check=True, capture_output=True)

        taken = [seconds(call) for _ in range(1 if quick else 3)]
        say(f"  {taken}")
        pairs = Pairs(ours=taken, theirs=[15.0] * len(taken))
        return row(name, "wanted", pairs, Wanted(bound=1))

    yield attempt(name, measure)


GROUPS: dict[str, Group] = {
    "pass": take_pass,
    "aggregates": aggregates,
    "body": body,
    "reorder": reorder,
    "clustermap": clustermap,
    "demo": demo,
}
ABOUT: dict[str, Group] = {"machine": lambda quick: machine.table()}

NOTE = (
    "Ours and the peer in turn; whole processes but for the body. For the pass and the reordered "
    "matrix code is compiled and loaded before, for cluster maps and the demo it is loaded anew. "
)


if __name__ == "__main__":
    run_command(str(__doc__), "picture", GROUPS, ABOUT, note=NOTE)
