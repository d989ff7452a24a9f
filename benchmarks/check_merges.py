"""Derive merges of a large tree from its rows again: heights, and that nobody was nearer.

    python benchmarks/check_merges.py KIND ROWS COLUMNS DTYPE METHOD METRIC MEMORY
        [--tree FILE] [--merges COUNT] [--all-heights]

The first words are those of ``large_jobs.py``. The tree is read from FILE, or made straight from
the rows and kept there. Of COUNT merges (2,000 by default, drawn from a fixed seed) heights and
neighbours are checked, as ``merge_checks.py`` says; with ``--all-heights`` the heights of all,
too, which takes the distances of all pairs of rows once. Prints a JSON object for each, and ends
with status 1 where something is wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from distance_jobs import SEED
from large_jobs import matrix, ours
from merge_checks import Checked, check_merges
from products import cores


def tree_of(values: np.ndarray, method: str, metric: str, memory: str, file: Path | None) -> object:
    """Read the tree, or make it and keep it."""
    if file is not None and file.exists():
        return np.load(file)
    Z = ours(values, method, metric, memory)
    if file is not None:
        np.save(file, Z)
    return Z


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("kind", "rows", "columns", "dtype", "method", "metric", "memory"):
        parser.add_argument(name, type=int if name in ("rows", "columns") else str)
    parser.add_argument("--tree", type=Path)
    parser.add_argument("--merges", type=int, default=2000)
    parser.add_argument("--all-heights", action="store_true")
    asked = parser.parse_args()
    values = matrix(asked.kind, asked.rows, asked.columns, asked.dtype)
    Z = np.asarray(tree_of(values, asked.method, asked.metric, asked.memory, asked.tree))
    if Z.shape != (len(values) - 1, 4):
        raise SystemExit(f"a tree of {len(values):,} rows is needed, and {asked.tree} is {Z.shape}")
    sample = np.random.default_rng(SEED).choice(
        len(Z), size=min(asked.merges, len(Z)), replace=False
    )
    started = time.perf_counter()
    found = check_merges(
        values, Z, asked.method, asked.metric, merges=np.sort(sample), threads=cores()
    )
    report("sample", found, started)
    problems = found.problems
    if asked.all_heights:
        started = time.perf_counter()
        found = check_merges(
            *(values, Z, asked.method, asked.metric),
            merges=np.arange(len(Z))[::-1],
            neighbours=False,
            threads=cores(),
        )
        report("all heights", found, started)
        problems += found.problems
    sys.exit(bool(problems))


def report(name: str, found: Checked, started: float) -> None:
    shown = asdict(replace(found, problems=found.problems[:20]))
    seconds = time.perf_counter() - started
    print(json.dumps({"what": name, "seconds": seconds, **shown}), flush=True)


if __name__ == "__main__":
    main()
