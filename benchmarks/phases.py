"""One measured process: seconds of the phases of a tree on so many threads of it.

    python benchmarks/phases.py THREADS ROWS COLUMNS

The tree is average x euclidean of grouped float64 rows. As many threads as cores: the process
keeps to the first THREADS of those it may use. Prints a JSON object: seconds of the whole call, of
its phases, and the peak memory. `Phases` is for a cluster, too.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from distance_jobs import grouped, peak_bytes
from paired import seconds

WARM_ROWS = 4096
NEWS = "; next: "
"""In a note that announces a phase, and is its first."""


@dataclass(frozen=True, kw_only=True)
class Phases:
    """Seconds of a tree, and of its phases, as it tells of them a few times a second."""

    seconds: float
    of: dict[str, float]

    @classmethod
    def of_tree(cls, client: Any, data: Any) -> Phases:
        from clustergrid.pipeline import linkage

        told: list[tuple[float, str]] = []

        def listen(event: Any) -> None:
            told.append((time.perf_counter(), event.note))

        whole = seconds(
            lambda: linkage(data, "average", engine="data", client=client, progress=listen)
        )
        return cls(seconds=whole, of=seconds_of(told))


def seconds_of(told: list[tuple[float, str]]) -> dict[str, float]:
    """Add up the seconds from each note to the next, by the phase that the note names first."""
    found: dict[str, float] = defaultdict(float)
    for (start, note), (end, after) in pairwise(told):
        named = after if NEWS in note else note
        found[named.split(" ")[0].rstrip(":")] += end - start
    return found


def main() -> None:
    threads, n, k = map(int, sys.argv[1:])
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < threads:
        raise SystemExit(f"there are {len(cores)} cores, fewer than {threads} threads")
    os.sched_setaffinity(0, cores[:threads])
    values = grouped(n, k, "float64")
    Phases.of_tree(None, values[:WARM_ROWS])
    phases = Phases.of_tree(None, values)
    print(json.dumps({**phases.of, "seconds": phases.seconds, "peak_bytes": peak_bytes()}))


if __name__ == "__main__":
    main()
