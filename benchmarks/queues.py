"""Runs on a queue: how soon the first tile is there, and what a queue costs beside local workers.

    python benchmarks/queues.py [ROWS COLUMNS [REPEATS]]

The queue is a real Slurm with two nodes of two cores each, both this machine; it is started here,
by root, and is idle. A submitted run has a job of two cores for its driver, and two of one core for
its workers; a local one has two workers of a core, and its driver both cores. Both leave the same
tree. Prints lines of a table.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

from paired import HEADER, Pairs, Wanted, in_turn, row  # noqa: E402
from queue_jobs import first_tile, local, queued  # noqa: E402

from tests.slurm.harness import running_slurm  # noqa: E402

_FIRST_TILE_SECONDS = 15.0


def main() -> None:
    words = [int(word) for word in sys.argv[1:]]
    n, k, repeats = (*words, *(20_000, 1_000, 3)[len(words) :])
    folder = Path(tempfile.mkdtemp(prefix="clustergrid-bench-"))
    trees: set[str] = set()
    try:
        matrix = folder / "matrix.npy"
        np.save(matrix, np.random.default_rng(0).normal(size=(n, k)).astype(np.float32))
        with running_slurm() as slurm:
            local(matrix, folder / "warm", trees)  # machine code is compiled once
            waits = [first_tile(slurm, matrix, folder / "run") for _ in range(repeats)]
            pairs = in_turn(
                lambda: queued(slurm, matrix, folder / "run", trees),
                lambda: local(matrix, folder / "local", trees),
                repeats,
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if len(trees) != 1:
        raise SystemExit("the trees differ")
    what = f"{n:,} x {k:,} float32"
    print(HEADER)
    wanted = Pairs(ours=waits, theirs=[_FIRST_TILE_SECONDS] * len(waits))
    name = f"from submit to the first tile, idle Slurm, {what}"
    print(row(name, "wanted", wanted, Wanted(bound=1.0, at_most=True)))
    name = f"stages on Slurm, two workers of a core, {what}"
    print(row(name, "local workers", pairs, Wanted(bound=1.1, at_most=True)))


if __name__ == "__main__":
    main()
