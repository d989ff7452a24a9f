"""A run in a bucket beside the same run in a folder: whole processes, in turn.

    python benchmarks/object_store.py [ROWS COLUMNS [REPEATS]]

The bucket is moto's, a server in Python on loopback and on the same cores: what is measured is the
protocol and that server, and no network. Each run is a process (`clustergrid run --cluster none` on
a random float32 matrix, with its distances at rest); all leave the same tree. Prints a line of a
table, and the seconds of processors: of the runs, and of the server besides.
"""

import hashlib
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

from paired import HEADER, Wanted, in_turn, row, seconds  # noqa: E402

from clustergrid.storage.places import as_path, remove_tree  # noqa: E402
from tests.storage.object_stores.servers import ObjectServer, environment  # noqa: E402

OPTIONS = ["--cluster", "none", "--no-col-cluster", "--row-engine", "square"]


def processor_seconds() -> float:
    """Of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@dataclass(kw_only=True)
class Place:
    """Where runs are put, and what each took of the processors."""

    output: str
    processor_seconds: list[float] = field(default_factory=list)

    def run(self, matrix: Path, trees: set[str]) -> float:
        """Run into it anew; note the digest of the tree, and return the seconds."""
        remove_tree(as_path(self.output))
        words = ["run", str(matrix), "-o", self.output, *OPTIONS]
        command = [sys.executable, "-m", "clustergrid.pipeline.cli", *words]
        before = processor_seconds()
        taken = seconds(lambda: subprocess.run(command, check=True, capture_output=True))
        self.processor_seconds.append(processor_seconds() - before)
        tree = (as_path(self.output) / "linkage_row.npy").read_bytes()
        trees.add(hashlib.sha256(tree).hexdigest())
        return taken


def main() -> None:
    words = [int(word) for word in sys.argv[1:]]
    n, k, repeats = (*words, *(20_000, 500, 3)[len(words) :])
    folder = Path(tempfile.mkdtemp(prefix="clustergrid-bench-"))
    server = ObjectServer()
    os.environ.update(environment(server.endpoint))
    try:
        matrix = folder / "matrix.npy"
        np.save(matrix, np.random.default_rng(0).normal(size=(n, k)).astype(np.float32))
        there = Place(output=f"{server.make_bucket()}/run")
        here = Place(output=str(folder / "run"))
        trees: set[str] = set()
        pairs = in_turn(lambda: there.run(matrix, trees), lambda: here.run(matrix, trees), repeats)
        if len(trees) != 1:
            raise SystemExit("the trees differ")
        print(HEADER)
        name = f"run in a bucket, {n:,} x {k:,} float32"
        print(row(name, "in a folder", pairs, Wanted(bound=3.0, at_most=True)))
        times = psutil.Process(server.process.pid).cpu_times()
        print(
            f"processors: {statistics.median(there.processor_seconds):.1f} s in a bucket, "
            f"{statistics.median(here.processor_seconds):.1f} s in a folder; the server "
            f"{(times.user + times.system) / len(pairs.ours):.1f} s a run"
        )
    finally:
        server.close()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
