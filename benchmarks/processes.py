"""Whole processes beside one another: seconds of the call, and peak memory of the process."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import Any

from paired import Pairs, Wanted, attempt, format_gigabytes, in_turn, row, run_job, say
from products import cores
from sizes import FAST, Size


def scikit_learn(quick: bool) -> Iterator[str]:
    """Row 4: whole processes, seconds of the call and peak memory."""
    size = Size(n=20_000, k=1_000, dtype="float32")
    arguments = (size.rows(quick), size.k, size.dtype)
    for metric in FAST:
        name = f"{metric}, {size.name(quick)}"

        def measure(metric: str = metric, name: str = name) -> str:
            tried = {
                jobs: run_job("scikit-learn", metric, *arguments, f"n_jobs={jobs}")
                for jobs in (1, cores())
            }
            best = min(tried, key=lambda jobs: tried[jobs].answer["seconds"])
            found: dict[str, list[Any]] = {"ours": [], "theirs": []}

            def ours() -> float:
                found["ours"].append(run_job("clustergrid", metric, *arguments))
                return float(found["ours"][-1].answer["seconds"])

            def theirs() -> float:
                # A run of minutes is not made twice.
                is_long = not found["theirs"] and tried[best].answer["seconds"] > 60
                again = tried[best] if is_long else None
                job = again or run_job("scikit-learn", metric, *arguments, f"n_jobs={best}")
                found["theirs"].append(job)
                return float(job.answer["seconds"])

            pairs = in_turn(ours, theirs, repeats=1 if quick else 5)
            memory = Pairs(
                ours=[job.resident_bytes / 1e9 for job in found["ours"]],
                theirs=[job.resident_bytes / 1e9 for job in found["theirs"]],
            )
            peer = f"scikit-learn, n_jobs={best}"
            return "\n".join(
                (
                    row(name, peer, pairs, Wanted(bound=1.5)),
                    row(
                        f"{name}: peak memory of the process",
                        peer,
                        memory,
                        Wanted(bound=0.5, at_most=True),
                        format_gigabytes,
                    ),
                )
            )

        yield attempt(name, measure)


def memory(quick: bool) -> Iterator[str]:
    """Row 9: the memory limit, of the whole process tree."""
    size = Size(n=60_000, k=500, dtype="float32", quick=20_000)
    name = f"euclidean, {size.name(quick)}, memory=2GB, to the store: peak of the process tree"

    def measure() -> str:
        with tempfile.TemporaryDirectory(prefix="clustergrid-bench-") as store:
            arguments = (size.rows(quick), size.k, size.dtype, "memory=2GB", f"store={store}")
            job = run_job("clustergrid", "euclidean", *arguments, "warm=no", sampled=True)
        peak = max(job.resident_bytes, job.tree_bytes) / 1e9
        say(f"  {job.answer['seconds']:.1f} s, {job.resident_bytes / 1e9:.3f} GB resident")
        pairs = Pairs(ours=[peak], theirs=[2.0])
        return row(name, "the limit", pairs, Wanted(bound=1, at_most=True), format_gigabytes)

    yield attempt(name, measure)
