"""Measure large trees straight from rows: minutes each, a process each, one Markdown table.

    python benchmarks/large.py [--quick] [--readme PAGE] [NAME ...]

The names are those of `GROUPS`: low-rank summaries peers shipped wide workers half-million million.
Inputs are seeded: rows of five factors and noise, or 30 groups of rows and noise.

What is not counted: making the input, and Numba's compilation (a call on few rows comes before).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distance_jobs import grouped
from paired import (
    Job,
    Pairs,
    Wanted,
    attempt,
    format_gigabytes,
    in_turn,
    row,
    run_job,
    say,
    seconds,
)
from phases import WARM_ROWS, Phases
from scaling import at_rest, on_workers
from table import Group, run_command

QUICK_ROWS = 10_000


@dataclass(frozen=True, kw_only=True)
class Tree:
    """A tree that is asked for, and what it may take."""

    kind: str
    n: int
    k: int
    method: str
    metric: str = "euclidean"
    dtype: str = "float64"
    memory: str = "-"
    most_seconds: float
    most_gigabytes: float

    def rows(self, quick: bool) -> int:
        return min(self.n, QUICK_ROWS) if quick else self.n

    def name(self, quick: bool) -> str:
        matrix = f"{self.rows(quick):,} x {self.k:,} {self.dtype}, {self.kind}"
        memory = "" if self.memory == "-" else f", memory={self.memory}"
        return f"{self.method} x {self.metric}, {matrix}{memory}"


LOW_RANK = tuple(
    Tree(kind="low-rank", n=182_440, k=34, method=method, most_seconds=limit, most_gigabytes=8)
    for method, limit in (("average", 120), ("complete", 150), ("weighted", 150))
)
SUMMARIES = tuple(
    Tree(
        kind="grouped",
        n=200_000,
        k=50,
        method=method,
        metric=metric,
        most_seconds=150,
        most_gigabytes=2,
    )
    for method, metric in (("ward", "euclidean"), ("average", "correlation"))
)
WIDE = tuple(
    Tree(
        kind=kind,
        n=100_000,
        k=500,
        method="average",
        dtype="float32",
        most_seconds=360,
        most_gigabytes=8,
    )
    for kind in ("low-rank", "grouped")
)
HALF_MILLION = Tree(
    kind="grouped",
    n=500_000,
    k=50,
    method="average",
    memory="20GB",
    most_seconds=1800,
    most_gigabytes=20,
)
MILLION = Tree(
    kind="grouped",
    n=1_000_000,
    k=50,
    method="ward",
    memory="8GB",
    most_seconds=3600,
    most_gigabytes=8,
)


def rows_of(tree: Tree, quick: bool) -> str:
    """Two lines: the seconds of a tree and its peak memory, beside what they may be."""
    name = tree.name(quick)

    def measure() -> str:
        job = run_tree(tree, quick)
        say(f"  {job.answer}")
        taken = Pairs(ours=[job.answer["seconds"]], theirs=[tree.most_seconds])
        peak = Pairs(ours=[job.resident_bytes / 1e9], theirs=[tree.most_gigabytes])
        wanted = Wanted(bound=1, at_most=True)
        return "\n".join(
            (
                row(name, "the limit", taken, wanted),
                row(f"{name}: peak memory", "the limit", peak, wanted, format_gigabytes),
            )
        )

    return attempt(name, measure)


def run_tree(tree: Tree, quick: bool) -> Job:
    shape = (tree.rows(quick), tree.k, tree.dtype)
    return run_job(
        *(tree.kind, *shape, tree.method, tree.metric, tree.memory), script="large_jobs.py"
    )


def low_rank(quick: bool) -> Iterator[str]:
    """Rows 1 and 2: what seaborn answers with "Unable to allocate 124 GiB"."""
    for tree in LOW_RANK:
        yield rows_of(tree, quick)


def summaries(quick: bool) -> Iterator[str]:
    """Row 3: trees whose clusters are means."""
    for tree in SUMMARIES:
        yield rows_of(tree, quick)


def peers(quick: bool) -> Iterator[str]:
    """Rows 4 and 11: ward beside fastcluster from data, average beside SciPy and fastcluster."""
    yield _ward_from_data(quick)
    yield _average_from_data(quick)


def _ward_from_data(quick: bool) -> str:
    import fastcluster

    from clustergrid.pipeline import linkage

    n = 5_000 if quick else 20_000
    values = grouped(n, 50, "float64")

    def measure() -> str:
        linkage(values[:WARM_ROWS], "ward", engine="data")
        pairs = in_turn(
            lambda: seconds(lambda: linkage(values, "ward", engine="data")),
            lambda: seconds(lambda: fastcluster.linkage_vector(values, "ward")),
            repeats=3,
        )
        return row(name, "fastcluster, linkage_vector", pairs, Wanted(bound=10))

    name = f"ward, {n:,} x 50 from data"
    return attempt(name, measure)


def _average_from_data(quick: bool) -> str:
    n = 5_000 if quick else 30_000
    name = f"average x euclidean, {n:,} x 100 from data"
    arguments = (n, 100, "float64", "average", "euclidean", "-")

    def measure() -> str:
        found: dict[str, list[Job]] = {"grouped": [], "peer": []}

        def run(kind: str) -> float:
            found[kind].append(run_job(kind, *arguments, script="large_jobs.py"))
            return float(found[kind][-1].answer["seconds"])

        pairs = in_turn(lambda: run("grouped"), lambda: run("peer"), repeats=3)
        memory = Pairs(
            ours=[job.resident_bytes / 1e9 for job in found["grouped"]],
            theirs=[job.resident_bytes / 1e9 for job in found["peer"]],
        )
        peer = "SciPy's pdist and fastcluster"
        wanted = Wanted(bound=1 / 3, at_most=True)
        return "\n".join(
            (
                row(name, peer, pairs, Wanted(bound=6)),
                row(f"{name}: peak memory", peer, memory, wanted, format_gigabytes),
            )
        )

    return attempt(name, measure)


def shipped(quick: bool) -> Iterator[str]:
    """Row 5: the demo's matrix in 1 GB, beside no limit."""
    name = "average x euclidean, the demo's genes, memory=1GB"

    def measure() -> str:
        arguments = ("genes", 0, 0, "float64", "average", "euclidean")
        limited = run_job(*arguments, "1GB", script="large_jobs.py")
        free = run_job(*arguments, "-", script="large_jobs.py")
        if limited.answer["last_height"] != free.answer["last_height"]:
            say("  the last heights differ")
        pairs = Pairs(ours=[limited.answer["seconds"]], theirs=[free.answer["seconds"]])
        peak = Pairs(ours=[limited.resident_bytes / 1e9], theirs=[1.0])
        return "\n".join(
            (
                row(name, "no limit", pairs, Wanted(bound=3, at_most=True)),
                row(
                    f"{name}: peak memory",
                    "the limit",
                    peak,
                    Wanted(bound=1, at_most=True),
                    format_gigabytes,
                ),
            )
        )

    yield attempt(name, measure)


def workers(quick: bool) -> Iterator[str]:
    """Row 10: two threads beside one, two worker processes beside one; starts are not counted.

    The two phases that are passes over all pairs of rows: what is between them is the driver's.
    """
    n, k = (10_000 if quick else 60_000), 100
    shape = f"{n:,} x {k:,} float64, average x euclidean"
    repeats = 1 if quick else 3

    def threads() -> str:
        found: dict[int, list[Phases]] = {1: [], 2: []}

        def run(count: int) -> float:
            answer = run_job(count, n, k, script="phases.py").answer
            found[count].append(Phases(seconds=answer["seconds"], of=answer))
            return found[count][-1].seconds

        whole = in_turn(lambda: run(2), lambda: run(1), repeats=repeats)
        return _two_beside_one(f"two threads, {shape}", whole, found)

    def processes() -> str:
        found: dict[int, list[Phases]] = {1: [], 2: []}

        def run(count: int) -> float:
            def tree(client: Any, data: str) -> float:
                found[count].append(Phases.of_tree(client, data))
                return found[count][-1].seconds

            return on_workers(count, tree, matrix, few)

        with tempfile.TemporaryDirectory(prefix="clustergrid-bench-") as folder:
            matrix = at_rest(Path(folder), grouped(n, k, "float64"))
            few = at_rest(Path(folder, "few"), grouped(WARM_ROWS, k, "float64"))
            whole = in_turn(lambda: run(2), lambda: run(1), repeats=repeats)
        # The first of every two is the call on few rows.
        of_matrix = {count: each[1::2] for count, each in found.items()}
        return _two_beside_one(f"two worker processes, {shape}", whole, of_matrix)

    yield attempt("two threads", threads)
    yield attempt("two worker processes", processes)


def _two_beside_one(name: str, whole: Pairs, found: dict[int, list[Phases]]) -> str:
    say(f"    the whole tree: {whole.ours} s, {whole.theirs} s")
    rows = []
    for phase in ("lists", "contraction"):
        ours, theirs = ([each.of[phase] for each in found[count]] for count in (2, 1))
        pairs = Pairs(ours=ours, theirs=theirs)
        rows.append(row(f"{name}: {phase}", "one", pairs, Wanted(bound=1.8)))
    return "\n".join(rows)


def wide(quick: bool) -> Iterator[str]:
    """Row 6; the noise of grouped rows has 500 dimensions, which is as hard as it gets."""
    for tree in WIDE:
        yield rows_of(tree, quick)


def half_million(quick: bool) -> Iterator[str]:
    """Row 7."""
    yield rows_of(HALF_MILLION, quick)


def million(quick: bool) -> Iterator[str]:
    """Row 8."""
    yield rows_of(MILLION, quick)


GROUPS: dict[str, Group] = {
    "low-rank": low_rank,
    "summaries": summaries,
    "peers": peers,
    "shipped": shipped,
    "wide": wide,
    "workers": workers,
    "half-million": half_million,
    "million": million,
}
NOTE = (
    "Each tree in a process of its own, with its rows in memory; peak memory is of the whole "
    "process, rows and libraries included; compilation excluded by a call on few rows. "
)


if __name__ == "__main__":
    run_command(str(__doc__), "large", GROUPS, {}, note=NOTE)
